// Errors, text helpers and assertions.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "bai_manager/result.hpp"
#include "base/assert.hpp"
#include "base/text.hpp"

using namespace bai;

TEST_CASE("every error code has its own name") {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(ErrorCode::Internal); ++code) {
    names.insert(to_string(static_cast<ErrorCode>(code)));
  }
  CHECK(names.size() == static_cast<std::size_t>(ErrorCode::Internal) + 1);
  CHECK(to_string(ErrorCode::InvalidArgument) == "invalid-argument");
  CHECK(to_string(ErrorCode::InDoubt) == "in-doubt");
}

TEST_CASE("a failed assertion names itself and aborts, in every build type") {
  int pipe_ends[2];
  REQUIRE(pipe(pipe_ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // doctest's handler would report the child's abort as a failure of this test.
    std::signal(SIGABRT, SIG_DFL);
    dup2(pipe_ends[1], STDERR_FILENO);
    BAI_ASSERT(1 + 1 == 3, "sums are off");
    _exit(0);
  }
  close(pipe_ends[1]);
  std::string text;
  char buffer[256];
  for (ssize_t n = 0; (n = read(pipe_ends[0], buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(n));
  }
  close(pipe_ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(text.find("base_test.cpp") != std::string::npos);
  CHECK(text.find("`1 + 1 == 3` failed: sums are off") != std::string::npos);
}

TEST_CASE("text for messages is cut and cleaned") {
  CHECK(base::quoted("plain") == "\"plain\"");
  CHECK(base::quoted("a\nb\x7F") == "\"a?b?\"");
  CHECK(base::quoted(std::string(1000, 'x')) == '"' + std::string(64, 'x') + "...\"");
  const std::string cut = base::quoted(std::string(63, 'x') + "\xED\x95\x9C" + "tail");
  CHECK(cut == '"' + std::string(63, 'x') + "...\"");
  CHECK(base::is_utf8(cut));
}

TEST_CASE("UTF-8 is told from what merely looks like it") {
  for (const char* good : {"", "a", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
                           "\xEE\x80\x80", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    CHECK(base::is_utf8(good));
  }
  for (const char* bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2z", "\xE0\x9F\xBF", "\xE2\x82", "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF", "\xF0\x90\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    CHECK(!base::is_utf8(bad));
  }
  CHECK(base::trim(" \t\na b\r ") == "a b");
  CHECK(base::lower("AbC\xC3\x84") == "abc\xC3\x84");
  CHECK(base::equals_ignoring_case("HeLLo", "hEllO"));
  CHECK(!base::equals_ignoring_case("a", "ab"));
}

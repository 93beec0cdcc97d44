// What a commit promised is there after kill -9 at any moment, and nothing else.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <random>
#include <thread>

#include "bai_manager/storage_sqlite.hpp"
#include "conformance/storage_suite.hpp"
#include "conformance/temp_folder.hpp"

using namespace bai;
using namespace bai::conformance;

namespace {

constexpr int kKills = 12;
constexpr std::int64_t kRowsPerBatch = 25;

// Batch n holds rows "<n>-<i>" of size n, and raises the row "counter" to n.
WriteBatch numbered_batch(std::int64_t n) {
  WriteBatch batch;
  for (std::int64_t i = 0; i < kRowsPerBatch; ++i) {
    batch.writes.emplace_back(
        Put{kNotes, note_row(std::to_string(n) + "-" + std::to_string(i), Value{"rows"}, Value{n},
                             Value{}, Bytes(300, static_cast<std::uint8_t>(n)))});
  }
  batch.writes.emplace_back(Put{kNotes, note_row("counter", Value{}, Value{n})});
  batch.expects.push_back({kNotes, Value{"counter"}, static_cast<Revision>(n - 1)});
  return batch;
}

// Writes batches until it is killed; tells the number of each one that was committed.
[[noreturn]] void write_batches(const std::string& path, std::int64_t first, int report) {
  auto opened = open_sqlite_storage({.path = path});
  if (!opened || !(*opened)->open(suite_schema())) _exit(3);
  for (std::int64_t n = first;; ++n) {
    if (!(*opened)->commit(numbered_batch(n))) _exit(4);
    if (write(report, &n, sizeof n) != static_cast<ssize_t>(sizeof n)) _exit(5);
  }
}

// The last batch that the child reported before it was killed, or `first - 1`.
std::int64_t run_and_kill(const std::string& path, std::int64_t first,
                          std::chrono::microseconds alive) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    close(ends[0]);
    write_batches(path, first, ends[1]);
  }
  close(ends[1]);
  // The clock starts with the first commit, so that every round has something to lose.
  std::int64_t last = first - 1;
  std::int64_t n = 0;
  const bool started = read(ends[0], &n, sizeof n) == static_cast<ssize_t>(sizeof n);
  if (started) last = n;
  std::this_thread::sleep_for(alive);
  kill(child, SIGKILL);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  while (read(ends[0], &n, sizeof n) == static_cast<ssize_t>(sizeof n)) last = n;
  close(ends[0]);
  REQUIRE(started);
  CHECK(WIFSIGNALED(status));
  return last;
}

// The last whole batch in the file.
std::int64_t check_file(const std::string& path) {
  auto opened = open_sqlite_storage({.path = path});
  REQUIRE(opened.has_value());
  Storage& storage = **opened;
  REQUIRE(storage.open(suite_schema()).has_value());
  const auto counter = storage.get(kNotes, Value{"counter"});
  REQUIRE(counter.has_value());
  REQUIRE(counter->has_value());
  const auto last = std::get<std::int64_t>((*counter)->row[note::kSize]);
  CHECK((*counter)->revision == static_cast<Revision>(last));
  // Partial batches would show as other numbers, here and below.
  CHECK(storage.count(kNotes, {{note::kOwner, Compare::Eq, Value{"rows"}}}) ==
        static_cast<std::uint64_t>(last * kRowsPerBatch));
  for (std::int64_t n = std::max<std::int64_t>(1, last - 50); n <= last + 1; ++n) {
    const std::uint64_t expected = n <= last ? kRowsPerBatch : 0;
    CHECK(storage.count(kNotes, {{note::kOwner, Compare::Eq, Value{"rows"}},
                                 {note::kSize, Compare::Eq, Value{n}}}) == expected);
  }
  return last;
}

}  // namespace

TEST_CASE("sqlite: kill -9 loses no committed batch and leaves none in part") {
  constexpr std::uint64_t kSeed = 20260801;
  std::mt19937_64 random(kSeed);
  const TempFolder folder;
  const std::string path = folder.file("crash.sqlite");
  std::int64_t last = 0;
  for (int round = 0; round < kKills; ++round) {
    CAPTURE(round);
    const std::int64_t reported =
        run_and_kill(path, last + 1, std::chrono::microseconds(random() % 40'000));
    const std::int64_t found = check_file(path);
    CHECK(found >= reported);
    CHECK(found <= reported + 1);  // at most one was committed and not yet told
    last = found;
  }
  std::printf("storage crash test: %d kills, %lld batches, seed %llu\n", kKills,
              static_cast<long long>(last), static_cast<unsigned long long>(kSeed));
}

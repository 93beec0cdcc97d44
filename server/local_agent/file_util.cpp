#include "local_agent/file_util.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "local_agent/fd.hpp"

namespace bai::server::local {
namespace {

constexpr std::size_t kMaxJsonFileBytes = 16U << 20U;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Appends what the descriptor still holds, up to `limit` bytes in all.
bool read_all(int fd, std::size_t limit, std::string& out) {
  while (out.size() < limit) {
    const std::size_t old = out.size();
    const std::size_t want = std::min<std::size_t>(limit - old, 65536);
    out.resize(old + want);
    const auto got = ::read(fd, out.data() + old, want);
    out.resize(old + (got > 0 ? static_cast<std::size_t>(got) : 0));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return false;
    if (got == 0) return true;
  }
  return true;
}

bool write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const auto put = ::write(fd, content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    content.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

// Length of the character at the start of `text`: 0 when its end is missing, -1 when it is invalid.
int utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return -1;
  const std::size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  for (std::size_t i = 1; i < length; ++i) {
    if (i >= text.size()) return 0;
    unsigned char low = 0x80, high = 0xBF;
    if (i == 1 && first == 0xE0) low = 0xA0;   // overlong
    if (i == 1 && first == 0xED) high = 0x9F;  // surrogates
    if (i == 1 && first == 0xF0) low = 0x90;   // overlong
    if (i == 1 && first == 0xF4) high = 0x8F;  // beyond U+10FFFF
    if (byte(i) < low || byte(i) > high) return -1;
  }
  return static_cast<int>(length);
}

}  // namespace

std::optional<std::string> read_file(const std::string& path, std::size_t limit) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!fd || !read_all(fd.get(), limit, text)) return std::nullopt;
  return text;
}

std::string read_tail(const std::string& path, std::size_t limit) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info{};
  if (!fd || ::fstat(fd.get(), &info) != 0) return {};
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size > limit) ::lseek(fd.get(), static_cast<off_t>(size - limit), SEEK_SET);
  std::string text;
  read_all(fd.get(), limit, text);
  return text;
}

Status write_file(const std::string& path, std::string_view content, Durability durability) {
  const std::string temporary = path + ".new";
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  bool done = fd && write_all(fd.get(), content);
  if (done && durability == Durability::Disk) done = ::fdatasync(fd.get()) == 0;
  if (done) done = ::rename(temporary.c_str(), path.c_str()) == 0;
  if (done) return {};
  return fail(ErrorCode::Unavailable,
              fmt::format("cannot write {}: {}", path, std::strerror(errno)));
}

std::optional<Json> read_json(const std::string& path) {
  const auto text = read_file(path, kMaxJsonFileBytes);
  if (!text) return std::nullopt;
  auto json = Json::parse(*text);
  if (!json) return std::nullopt;
  return std::move(*json);
}

std::string Utf8Stream::feed(std::string_view bytes) {
  std::string joined;
  if (!rest_.empty()) {
    joined = std::move(rest_);
    joined += bytes;
    bytes = joined;
    rest_.clear();
  }
  std::string out;
  out.reserve(bytes.size());
  std::size_t at = 0;
  while (at < bytes.size()) {
    const int length = utf8_length(bytes.substr(at, 4));
    if (length == 0) {
      rest_ = bytes.substr(at);
      break;
    }
    if (length < 0) {
      out += kReplacement;
      ++at;
    } else {
      out += bytes.substr(at, static_cast<std::size_t>(length));
      at += static_cast<std::size_t>(length);
    }
  }
  return out;
}

std::string Utf8Stream::finish() {
  const bool waiting = !rest_.empty();
  rest_.clear();
  return waiting ? std::string(kReplacement) : std::string();
}

std::string clean_utf8(std::string_view bytes) {
  Utf8Stream stream;
  std::string text = stream.feed(bytes);
  return text + stream.finish();
}

}  // namespace bai::server::local

#include "local_agent/console_log.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "local_agent/file_util.hpp"

namespace bai::server::local {

ConsoleLog::ConsoleLog(std::string path, std::int64_t max_bytes)
    : path_(std::move(path)), max_bytes_(std::max<std::int64_t>(max_bytes, 2)) {
  reopen();
}

void ConsoleLog::reopen() {
  fd_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  struct stat info{};
  size_ = fd_ && ::fstat(fd_.get(), &info) == 0 ? info.st_size : 0;
}

void ConsoleLog::append(std::string_view bytes) {
  const auto half = static_cast<std::size_t>(max_bytes_ / 2);
  if (bytes.size() > half) bytes.remove_prefix(bytes.size() - half);
  if (size_ + static_cast<std::int64_t>(bytes.size()) > max_bytes_) {
    const std::string kept = read_tail(path_, half);
    if (!write_file(path_, kept, Durability::Process)) return;
    reopen();
  }
  const auto put = ::write(fd_.get(), bytes.data(), bytes.size());
  if (put > 0) size_ += put;
}

}  // namespace bai::server::local

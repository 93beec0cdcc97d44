#include "storage/sqlite/file_lock.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace bai::storage {

namespace {

std::unexpected<Error> unavailable(const std::string& path, const char* what) {
  return fail(ErrorCode::Unavailable,
              fmt::format("Cannot {} {}: {}", what, path, strerrordesc_np(errno)));
}

}  // namespace

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

Result<FileLock> FileLock::acquire(const std::string& path) {
  const std::string name = path + ".lock";
  FileLock lock(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.fd_ < 0) return unavailable(name, "open");
  if (::flock(lock.fd_, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return unavailable(name, "lock");
  return fail(
      ErrorCode::Unavailable,
      fmt::format("{} is open for writing elsewhere: only one process may write to it", path),
      "database-locked");
}

Status create_private_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return unavailable(path, "open");
  ::close(fd);
  return {};
}

}  // namespace bai::storage

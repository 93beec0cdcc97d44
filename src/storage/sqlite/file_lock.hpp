// Keeps a second process, or a second opener in this one, from writing to the same file.
#pragma once

#include <string>
#include <utility>

#include "bai_manager/result.hpp"

namespace bai::storage {

// Holds `<path>.lock` until destruction or the end of the process, however it ends. The lock file
// itself stays: removing it would let two openers lock two different files of the same name.
class FileLock {
 public:
  FileLock() = default;
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileLock();

  // Never waits. Unavailable when somebody else holds it or the file cannot be created.
  static Result<FileLock> acquire(const std::string& path);

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

// Creates an empty file that only this user can read, if there is none: rows hold secrets.
Status create_private_file(const std::string& path);

}  // namespace bai::storage

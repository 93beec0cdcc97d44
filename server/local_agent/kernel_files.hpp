// The files of a kernel as clients see them: confined to its work directory.
#pragma once

#include <span>
#include <string>

#include "bai_manager/json.hpp"
#include "bai_manager/storage.hpp"
#include "local_agent/executions.hpp"

namespace bai::server::local {

inline constexpr std::size_t kMaxDownloadBytes = 1U << 20U;  // of the files in one archive
inline constexpr std::size_t kMaxUploadBytes = 32U << 20U;
inline constexpr std::size_t kMaxListedFiles = 10'000;  // in one answer of list()
inline constexpr std::size_t kMaxPathBytes = 4096;

// Stateless; any thread. `path` is relative to the work directory, or absolute below it. The
// errors' kinds: PermissionError (leaves the directory, also by a symbolic link),
// FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError (too long, too big),
// OSError.
class KernelFiles {
 public:
  explicit KernelFiles(std::string work_dir) : root_(std::move(work_dir)) {}

  template <class T>
  using FileResult = std::expected<T, CallError>;

  // Creates the directories in between; replaces an existing file.
  FileResult<void> upload(const std::string& path, std::span<const std::uint8_t> data) const;
  FileResult<Bytes> download(const std::string& path) const;         // tar of a file or a tree
  FileResult<Bytes> download_single(const std::string& path) const;  // tar of one file
  // {"files": JSON text of [{mode, size, ctime, mtime, atime, filename}], "errors", "abspath"}
  FileResult<Json> list(const std::string& path) const;

 private:
  FileResult<std::string> relative(const std::string& path) const;
  std::string root_;
};

}  // namespace bai::server::local

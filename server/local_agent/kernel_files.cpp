#include "local_agent/kernel_files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "local_agent/fd.hpp"
#include "local_agent/file_util.hpp"
#include "local_agent/tar_writer.hpp"

namespace bai::server::local {
namespace {

constexpr std::size_t kMaxArchiveEntries = 10'000;
constexpr int kMaxArchiveDepth = 64;

std::unexpected<CallError> refuse(std::string kind, std::string message) {
  return std::unexpected(CallError{std::move(kind), std::move(message)});
}

std::unexpected<CallError> system_error(const std::string& path, int error) {
  switch (error) {
    case ENOENT:
      return refuse("FileNotFoundError", fmt::format("no such file or directory: {}", path));
    case EXDEV:
    case ELOOP:
      return refuse("PermissionError",
                    fmt::format("{} leads out of the work directory: only paths below it are "
                                "allowed",
                                path));
    case EACCES:
    case EPERM:
      return refuse("PermissionError", fmt::format("not allowed: {}", path));
    case EISDIR:
      return refuse("IsADirectoryError", fmt::format("is a directory: {}", path));
    case ENOTDIR:
      return refuse("NotADirectoryError", fmt::format("not a directory: {}", path));
    case ENAMETOOLONG:
      return refuse("ValueError", fmt::format("a name in it is too long: {}", path));
    default:
      return refuse("OSError", fmt::format("{}: {}", path, std::strerror(error)));
  }
}

// The kernel itself keeps the resolution below `root`, also while the user's processes rename
// things. Negative: errno is set.
Fd open_beneath(int root, const std::string& path, int flags, mode_t mode = 0) {
  open_how how{};
  // Without O_NONBLOCK, opening a named pipe would wait for its other end.
  how.flags =
      static_cast<std::uint64_t>(flags | O_CLOEXEC | ((flags & O_PATH) != 0 ? 0 : O_NONBLOCK));
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return Fd(static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
}

Fd open_root(const std::string& root) {
  return Fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

std::string base_name(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  return name == "." || name == ".." || name.empty() ? "work" : name;
}

struct Directory {
  explicit Directory(int fd) : stream(::fdopendir(fd)) {
    if (stream == nullptr) ::close(fd);
  }
  ~Directory() {
    if (stream != nullptr) ::closedir(stream);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  // Sorted, without "." and "..".
  std::vector<std::string> names(std::size_t limit) {
    std::vector<std::string> result;
    while (const dirent* entry = stream != nullptr ? ::readdir(stream) : nullptr) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") result.emplace_back(name);
      if (result.size() > limit) break;
    }
    std::sort(result.begin(), result.end());
    return result;
  }
  DIR* stream;
};

// Copies one tree into an archive, within its limits.
class Packer {
 public:
  std::expected<void, CallError> file(int fd, const std::string& name, const struct stat& info) {
    std::string content;
    content.resize(kMaxDownloadBytes - bytes_ + 1);
    std::size_t size = 0;
    while (size < content.size()) {
      const auto got = ::read(fd, content.data() + size, content.size() - size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return system_error(name, errno);
      if (got == 0) break;
      size += static_cast<std::size_t>(got);
    }
    bytes_ += size;
    if (bytes_ > kMaxDownloadBytes)
      return refuse("ValueError", fmt::format("{} holds more than the {} bytes that one download "
                                              "may have: fetch it in parts",
                                              name, kMaxDownloadBytes));
    content.resize(size);
    tar_.add_file(name, info, content);
    return count();
  }

  std::expected<void, CallError> tree(Fd fd, const std::string& name, const struct stat& info,
                                      int depth) {
    if (depth > kMaxArchiveDepth)
      return refuse("ValueError", fmt::format("{} is nested over {} deep", name, kMaxArchiveDepth));
    tar_.add_directory(name, info);
    Directory directory(fd.release());
    for (const auto& entry : directory.names(kMaxArchiveEntries)) {
      if (auto added = add(::dirfd(directory.stream), entry, name + "/" + entry, depth); !added)
        return added;
    }
    return count();
  }

  Bytes finish() { return tar_.finish(); }

 private:
  std::expected<void, CallError> add(int parent, const std::string& entry, const std::string& name,
                                     int depth) {
    struct stat info{};
    if (::fstatat(parent, entry.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return {};  // just gone
    if (S_ISLNK(info.st_mode)) {
      std::string target(kMaxPathBytes, '\0');
      const auto length = ::readlinkat(parent, entry.c_str(), target.data(), target.size());
      if (length < 0) return {};
      target.resize(static_cast<std::size_t>(length));
      tar_.add_link(name, info, target);
      return count();
    }
    if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) return {};  // sockets, pipes, devices
    Fd fd(::openat(parent, entry.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return errno == ENOENT ? std::expected<void, CallError>{} : system_error(name, errno);
    if (::fstat(fd.get(), &info) != 0) return system_error(name, errno);
    return S_ISDIR(info.st_mode) ? tree(std::move(fd), name, info, depth + 1)
                                 : file(fd.get(), name, info);
  }

  std::expected<void, CallError> count() {
    if (++entries_ <= kMaxArchiveEntries) return {};
    return refuse("ValueError",
                  fmt::format("more than {} files in one archive", kMaxArchiveEntries));
  }

  TarWriter tar_;
  std::size_t bytes_ = 0, entries_ = 0;
};

std::string mode_text(mode_t mode) {
  std::string text = S_ISDIR(mode)    ? "d"
                     : S_ISLNK(mode)  ? "l"
                     : S_ISFIFO(mode) ? "p"
                     : S_ISSOCK(mode) ? "s"
                     : S_ISCHR(mode)  ? "c"
                     : S_ISBLK(mode)  ? "b"
                                      : "-";
  constexpr std::string_view kLetters = "rwxrwxrwx";
  for (std::size_t i = 0; i < kLetters.size(); ++i)
    text += (mode >> (8U - i) & 1U) != 0 ? kLetters[i] : '-';
  return text;
}

double seconds_of(const timespec& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

}  // namespace

// Absolute paths below the work directory are accepted by its real name and by the one that it has
// in containers.
KernelFiles::FileResult<std::string> KernelFiles::relative(const std::string& path) const {
  if (path.size() > kMaxPathBytes || path.find('\0') != std::string::npos)
    return refuse("ValueError",
                  fmt::format("a path has at most {} bytes, none of them NUL", kMaxPathBytes));
  std::string_view rest = path;
  if (rest.starts_with('/')) {
    bool inside = false;
    for (const std::string_view root : {std::string_view(root_), std::string_view("/home/work")}) {
      if (!rest.starts_with(root)) continue;
      const auto tail = rest.substr(root.size());
      if (!tail.empty() && tail[0] != '/') continue;
      rest = tail;
      inside = true;
      break;
    }
    if (!inside)
      return refuse("PermissionError",
                    fmt::format("{} is not below the work directory: give a relative path", path));
  }
  while (rest.starts_with('/')) rest.remove_prefix(1);
  return rest.empty() ? std::string(".") : std::string(rest);
}

KernelFiles::FileResult<void> KernelFiles::upload(const std::string& path,
                                                  std::span<const std::uint8_t> data) const {
  const auto name = relative(path);
  if (!name) return std::unexpected(name.error());
  if (data.size() > kMaxUploadBytes)
    return refuse("ValueError",
                  fmt::format("{} bytes are more than the {} that one upload may have", data.size(),
                              kMaxUploadBytes));
  const Fd root = open_root(root_);
  if (!root) return system_error(root_, errno);
  for (auto slash = name->find('/'); slash != std::string::npos;
       slash = name->find('/', slash + 1)) {
    const std::string prefix = name->substr(0, slash);
    if (open_beneath(root.get(), prefix, O_PATH | O_DIRECTORY)) continue;
    if (errno != ENOENT) return system_error(path, errno);
    const auto cut = prefix.rfind('/');
    const std::string above = cut == std::string::npos ? "." : prefix.substr(0, cut);
    const Fd parent = open_beneath(root.get(), above, O_PATH | O_DIRECTORY);
    if (!parent ||
        (::mkdirat(parent.get(), base_name(prefix).c_str(), 0755) != 0 && errno != EEXIST))
      return system_error(path, errno);
  }
  const Fd fd = open_beneath(root.get(), *name, O_WRONLY | O_CREAT, 0644);
  if (!fd) return system_error(path, errno);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return system_error(path, errno);
  if (!S_ISREG(info.st_mode)) return refuse("ValueError", fmt::format("not a file: {}", path));
  if (::ftruncate(fd.get(), 0) != 0) return system_error(path, errno);
  while (!data.empty()) {
    const auto put = ::write(fd.get(), data.data(), data.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return system_error(path, errno);
    data = data.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

KernelFiles::FileResult<Bytes> KernelFiles::download(const std::string& path) const {
  const auto name = relative(path);
  if (!name) return std::unexpected(name.error());
  const Fd root = open_root(root_);
  if (!root) return system_error(root_, errno);
  Fd fd = open_beneath(root.get(), *name, O_RDONLY);
  struct stat info{};
  if (!fd || ::fstat(fd.get(), &info) != 0) return system_error(path, errno);
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
    return refuse("ValueError", fmt::format("neither a file nor a directory: {}", path));
  Packer packer;
  const auto packed = S_ISDIR(info.st_mode) ? packer.tree(std::move(fd), base_name(*name), info, 0)
                                            : packer.file(fd.get(), base_name(*name), info);
  if (!packed) return std::unexpected(packed.error());
  return packer.finish();
}

KernelFiles::FileResult<Bytes> KernelFiles::download_single(const std::string& path) const {
  const auto name = relative(path);
  if (!name) return std::unexpected(name.error());
  const Fd root = open_root(root_);
  if (!root) return system_error(root_, errno);
  const Fd fd = open_beneath(root.get(), *name, O_PATH);
  struct stat info{};
  if (!fd || ::fstat(fd.get(), &info) != 0) return system_error(path, errno);
  if (S_ISDIR(info.st_mode)) return system_error(path, EISDIR);
  return download(path);
}

KernelFiles::FileResult<Json> KernelFiles::list(const std::string& path) const {
  const auto name = relative(path);
  if (!name) return std::unexpected(name.error());
  const Fd root = open_root(root_);
  if (!root) return system_error(root_, errno);
  Fd fd = open_beneath(root.get(), *name, O_RDONLY | O_DIRECTORY);
  if (!fd) return system_error(path, errno);
  Directory directory(fd.release());
  auto names = directory.names(kMaxListedFiles);
  std::string errors;
  if (names.size() > kMaxListedFiles) {
    names.resize(kMaxListedFiles);
    errors = fmt::format("only {} entries are listed; there are more\n", kMaxListedFiles);
  }
  Json files = Json::array();
  for (const auto& entry : names) {
    struct stat info{};
    if (::fstatat(::dirfd(directory.stream), entry.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0)
      continue;  // just gone
    files.push_back(Json::object({{"mode", mode_text(info.st_mode)},
                                  {"size", static_cast<std::int64_t>(info.st_size)},
                                  {"ctime", seconds_of(info.st_ctim)},
                                  {"mtime", seconds_of(info.st_mtim)},
                                  {"atime", seconds_of(info.st_atim)},
                                  {"filename", clean_utf8(entry)}}));
  }
  return Json::object({{"files", files.dump()},
                       {"errors", errors},
                       {"abspath", *name == "." ? root_ : root_ + "/" + *name}});
}

}  // namespace bai::server::local

#include "local_agent/process.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <functional>
#include <sstream>

#include "local_agent/file_util.hpp"

namespace bai::server::local {
namespace {

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

void limit(__rlimit_resource_t resource, std::int64_t wanted) {
  rlimit current{};
  if (::getrlimit(resource, &current) != 0) return;
  rlim_t value = static_cast<rlim_t>(wanted);
  if (current.rlim_max != RLIM_INFINITY) value = std::min(value, current.rlim_max);
  const rlimit next{value, value};
  ::setrlimit(resource, &next);
}

// Between fork and exec; only what the child needs. Returns the errno of what failed.
int become(const ProcessSpec& spec, char* const* argv, char* const* envp, pid_t parent) {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return errno;
  // Through numbers far above, so that no target overwrites a source that is still needed.
  constexpr int kScratch = 200;
  std::vector<std::pair<int, int>> moves = spec.inherited;
  moves.emplace_back(null, 0);
  moves.emplace_back(spec.out < 0 ? null : spec.out, 1);
  moves.emplace_back(spec.err < 0 ? null : spec.err, 2);
  for (auto& [source, target] : moves) {
    source = ::fcntl(source, F_DUPFD, kScratch);
    if (source < 0) return errno;
  }
  int highest = 2;
  for (const auto& [source, target] : moves) {
    if (::dup2(source, target) < 0) return errno;
    highest = std::max(highest, target);
  }
  ::close_range(static_cast<unsigned>(highest) + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  if (::chdir(spec.directory.c_str()) != 0) return errno;
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_NOFILE, spec.limits.open_files);
  if (spec.limits.data_bytes > 0) limit(RLIMIT_DATA, spec.limits.data_bytes);
  ::execve(argv[0], argv, envp);
  return errno;
}

}  // namespace

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return fail(ErrorCode::Unavailable, fmt::format("pipe2: {}", std::strerror(errno)));
  Pipe pipe{Fd(ends[0]), Fd(ends[1])};
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return pipe;
}

Result<pid_t> start_process(const ProcessSpec& spec) {
  auto argv_texts = spec.argv;
  std::vector<std::string> env_texts;
  for (const auto& [name, value] : spec.environ) env_texts.push_back(name + "=" + value);
  auto argv = pointers(argv_texts);
  auto envp = pointers(env_texts);
  auto report = make_pipe();
  if (!report) return std::unexpected(report.error());
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail(ErrorCode::Unavailable, fmt::format("fork: {}", std::strerror(errno)));
  if (pid == 0) {
    const Fd status(::fcntl(report->write_end.get(), F_DUPFD_CLOEXEC, 300));
    const int error = become(spec, argv.data(), envp.data(), parent);
    [[maybe_unused]] const auto n = ::write(status.get(), &error, sizeof error);
    ::_exit(127);
  }
  // The write end closes at exec, so this waits no longer than the child needs to get there.
  report->write_end.reset();
  ::fcntl(report->read_end.get(), F_SETFL, 0);
  int error = 0;
  ssize_t got = 0;
  do got = ::read(report->read_end.get(), &error, sizeof error);
  while (got < 0 && errno == EINTR);
  if (got != sizeof error) return pid;
  ::waitpid(pid, nullptr, 0);
  return fail(ErrorCode::Unavailable, fmt::format("cannot start {} in {}: {}", spec.argv.front(),
                                                  spec.directory, std::strerror(error)));
}

Result<pid_t> start_detached(const std::string& program, const std::vector<std::string>& argv,
                             const std::string& directory, int channel) {
  auto texts = argv;
  auto arguments = pointers(texts);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, channel, 3);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
  ::posix_spawn_file_actions_adddup2(&actions, 0, 1);
  const std::string log = directory + "/supervisor.log";
  ::posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, 4);
  ::posix_spawn_file_actions_addchdir_np(&actions, directory.c_str());
  sigset_t all, none;
  ::sigfillset(&all);
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, program.c_str(), &actions, &attributes, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0)
    return fail(ErrorCode::Unavailable,
                fmt::format("cannot start the supervisor {}: {}", program, std::strerror(error)));
  return pid;
}

int exit_code_of(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

namespace {

void for_each_process(const std::function<void(pid_t)>& visit) {
  DIR* directory = ::opendir("/proc");
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view name = entry->d_name;
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error == std::errc() && end == name.data() + name.size()) visit(pid);
  }
  ::closedir(directory);
}

// -1 when the process is gone.
pid_t parent_of(pid_t pid) {
  const auto text = read_file(fmt::format("/proc/{}/stat", pid), 4096);
  if (!text) return -1;
  const auto at = text->rfind(')');  // the name in parentheses may contain anything
  if (at == std::string::npos || at + 4 >= text->size()) return -1;
  pid_t parent = -1;
  std::from_chars(text->data() + at + 4, text->data() + text->size(), parent);
  return parent;
}

// While a program is being loaded its process has memory, but no environment yet: /proc shows an
// empty one, which says nothing about what it will hold or, by the time of this call, holds.
bool may_hold_environment(pid_t pid) {
  const auto text = read_file(fmt::format("/proc/{}/stat", pid), 4096);
  if (!text) return false;
  const auto at = text->rfind(')');
  if (at == std::string::npos) return false;
  std::istringstream fields(text->substr(at + 1));
  // As proc(5) numbers them; what follows the name is the third.
  constexpr int kMemory = 23, kEnvironStart = 50, kEnvironEnd = 51;
  std::string field, memory, start;
  for (int number = 3; fields >> field; ++number) {
    if (number == kMemory) memory = field;
    if (number == kEnvironStart) start = field;
    if (number == kEnvironEnd) return memory != "0" && (field == "0" || field != start);
  }
  return false;
}

bool has_marker(pid_t pid, const std::string& entry) {
  constexpr std::size_t kMaxEnvironBytes = 4U << 20U;
  constexpr int kLoadingMs = 1000;  // a program on a disk that hangs is given up
  const std::string path = fmt::format("/proc/{}/environ", pid);
  auto text = read_file(path, kMaxEnvironBytes);
  for (int waited = 0; text && text->empty() && waited < kLoadingMs && may_hold_environment(pid);
       ++waited) {
    ::poll(nullptr, 0, 1);
    text = read_file(path, kMaxEnvironBytes);
  }
  if (!text) return false;
  std::size_t at = 0;
  while (at < text->size()) {
    const auto end = std::min(text->find('\0', at), text->size());
    if (std::string_view(*text).substr(at, end - at) == entry) return true;
    at = end + 1;
  }
  return false;
}

}  // namespace

std::vector<pid_t> descendants_of(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  for_each_process([&](pid_t pid) {
    const pid_t parent = parent_of(pid);
    if (parent > 0) children.emplace(parent, pid);
  });
  std::vector<pid_t> found;
  std::vector<pid_t> open{root};
  while (!open.empty()) {
    const pid_t parent = open.back();
    open.pop_back();
    const auto [first, last] = children.equal_range(parent);
    for (auto it = first; it != last; ++it) {
      found.push_back(it->second);
      open.push_back(it->second);
    }
  }
  return found;
}

std::size_t sweep_kernel_processes(const std::string& kernel_dir) {
  const std::string entry = fmt::format("{}={}", kKernelMarker, kernel_dir);
  constexpr int kRounds = 100;  // a fork bomb may need several
  constexpr int kWaitMs = 1000;
  std::size_t killed = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<Fd> handles;
    for_each_process([&](pid_t pid) {
      if (pid == ::getpid() || !has_marker(pid, entry)) return;
      // The handle pins the process: a number that was reused meanwhile is not killed.
      Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
      if (!handle || !has_marker(pid, entry)) return;
      if (::syscall(SYS_pidfd_send_signal, handle.get(), SIGKILL, nullptr, 0) == 0)
        handles.push_back(std::move(handle));
    });
    if (handles.empty()) break;
    killed += handles.size();
    for (const auto& handle : handles) {
      pollfd poll_entry{handle.get(), POLLIN, 0};
      ::poll(&poll_entry, 1, kWaitMs);
    }
  }
  return killed;
}

}  // namespace bai::server::local

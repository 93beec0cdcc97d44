#include "local_agent/supervisor.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "local_agent/executions.hpp"
#include "local_agent/file_util.hpp"
#include "local_agent/frame_stream.hpp"
#include "local_agent/kernel_config.hpp"
#include "local_agent/process.hpp"

namespace bai::server::local {
namespace {

constexpr std::size_t kMaxControlConnections = 16;
constexpr EventLoop::Millis kKillInterval{20};        // rounds of SIGKILL while processes are left
constexpr EventLoop::Millis kLastWordsTimeout{2000};  // for the agent to read the end
constexpr std::int64_t kNoExitCode = -1;
constexpr std::int64_t kTimeoutExitCode = -2;  // as the reference agent reports it

class Supervisor {
 public:
  explicit Supervisor(std::string dir) : dir_(std::move(dir)) {}
  int run();

 private:
  struct Connection {
    std::unique_ptr<FrameStream> stream;
  };

  Status prepare();
  Status listen();
  void add_connection(Fd fd);
  void on_request(const std::weak_ptr<Connection>& from, const Json& request);
  void call(const Json& request, CallReply reply);
  void broadcast(const Json& event);
  Json state_event(const char* name) const;

  void trigger_batch(const Json& request, CallReply reply);
  void start_batch();
  void on_batch_timeout();
  void finish_batch(bool success, const char* reason, std::int64_t exit_code);

  void on_signal();
  void reap();
  void end(std::string reason, std::int64_t exit_code);
  void kill_round();
  void ended();
  void save(Durability durability);

  std::string dir_;
  EventLoop loop_;
  KernelConfig config_;
  KernelState state_;
  std::unique_ptr<ConsoleLog> log_;
  std::unique_ptr<Executions> executions_;
  Fd signals_, listener_;
  std::vector<std::shared_ptr<Connection>> connections_;

  std::unique_ptr<Job> batch_;
  std::string batch_command_;
  Json batch_timeout_ms_;
  EventLoop::TimerId batch_timer_ = 0;
  bool batch_waiting_ = false, batch_timed_out_ = false;

  bool ending_ = false;
  std::vector<CallReply> destroyers_;
};

void Supervisor::save(Durability durability) {
  if (auto saved = write_file(dir_ + "/state.json", state_.to_json().dump(), durability); !saved)
    fmt::print(stderr, "{}\n", saved.error().message);
}

Json Supervisor::state_event(const char* name) const {
  return Json::object({{"event", name}, {"state", state_.to_json()}});
}

void Supervisor::broadcast(const Json& event) {
  for (const auto& connection : connections_) connection->stream->send(event);
}

Status Supervisor::prepare() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  ::prctl(PR_SET_NAME, "bai-supervisor", 0, 0, 0);
  for (const int number : {SIGPIPE, SIGHUP, SIGINT}) ::signal(number, SIG_IGN);
  sigset_t mask;
  ::sigemptyset(&mask);
  ::sigaddset(&mask, SIGCHLD);
  ::sigaddset(&mask, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &mask, nullptr);
  signals_.reset(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_)
    return fail(ErrorCode::Unavailable, fmt::format("signalfd: {}", std::strerror(errno)));
  loop_.watch(signals_.get(), EPOLLIN, [this](std::uint32_t) { on_signal(); });

  const auto json = read_json(dir_ + "/kernel.json");
  if (!json)
    return fail(ErrorCode::NotFound, fmt::format("{}/kernel.json is missing or broken", dir_));
  auto config = KernelConfig::from_json(*json);
  if (!config) return std::unexpected(config.error());
  config_ = std::move(*config);
  state_.supervisor_pid = ::getpid();
  log_ = std::make_unique<ConsoleLog>(dir_ + "/console.log", config_.max_log_bytes);
  executions_ = std::make_unique<Executions>(
      loop_, config_, dir_, *log_,
      [this](std::int64_t exit_code) { end("self-terminated", exit_code); });
  executions_->on_bootstrapped = [this] {
    if (batch_waiting_) start_batch();
  };
  if (auto listening = listen(); !listening) return listening;
  // A batch session may never need its interpreter.
  if (auto started = executions_->start(config_.session_type == "batch"); !started) return started;
  save(Durability::Process);
  return {};
}

Status Supervisor::listen() {
  // By its short name: the path of the directory may be longer than a socket address.
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, "control.sock");
  ::unlink(address.sun_path);
  listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener_ ||
      ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_.get(), 8) != 0)
    return fail(ErrorCode::Unavailable,
                fmt::format("{}/control.sock: {}", dir_, std::strerror(errno)));
  loop_.watch(listener_.get(), EPOLLIN, [this](std::uint32_t) {
    Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd && connections_.size() < kMaxControlConnections) add_connection(std::move(fd));
  });
  return {};
}

void Supervisor::add_connection(Fd fd) {
  auto connection = std::make_shared<Connection>();
  // Replies may come long after the connection has gone.
  const std::weak_ptr<Connection> weak = connection;
  connection->stream = std::make_unique<FrameStream>(
      loop_, std::move(fd), [this, weak](Json request) { on_request(weak, request); },
      [this, weak] {
        loop_.post([this, weak] {
          executions_->forget_all();
          std::erase_if(connections_, [&](const auto& one) { return one == weak.lock(); });
        });
      });
  connection->stream->send(state_event("hello"));
  connections_.push_back(std::move(connection));
}

void Supervisor::on_request(const std::weak_ptr<Connection>& from, const Json& request) {
  const Json id = request["id"];
  call(request, [from, id](std::expected<Json, CallError> result) {
    const auto connection = from.lock();
    if (!connection) return;
    Json reply = Json::object({{"id", id}});
    if (result) {
      reply.set("result", std::move(*result));
    } else {
      reply.set("error",
                Json::object({{"kind", result.error().kind}, {"message", result.error().message}}));
    }
    connection->stream->send(reply);
  });
}

void Supervisor::call(const Json& request, CallReply reply) {
  const auto op = request["op"].as_string();
  if (op == "destroy") {
    destroyers_.push_back(std::move(reply));
    end(std::string(request["reason"].as_string()), kNoExitCode);
    return;
  }
  if (ending_) {
    reply(std::unexpected(CallError{"RuntimeError", "the kernel is ending"}));
  } else if (op == "execute") {
    executions_->execute(request, std::move(reply));
  } else if (op == "complete") {
    executions_->complete(request, std::move(reply));
  } else if (op == "interrupt") {
    if (!executions_->interrupt() && batch_) batch_->interrupt();
    reply(Json::object({{"status", "finished"}}));
  } else if (op == "forget") {
    executions_->forget(request["call"].as_int());
    reply(Json());
  } else if (op == "batch") {
    trigger_batch(request, std::move(reply));
  } else {
    reply(std::unexpected(
        CallError{"ValueError", fmt::format("the supervisor knows no request \"{}\"", op)}));
  }
}

void Supervisor::trigger_batch(const Json& request, CallReply reply) {
  if (state_.batch) {
    reply(std::unexpected(
        CallError{"RuntimeError", "the batch command of this kernel was already triggered"}));
    return;
  }
  batch_command_ = request["command"].as_string();
  if (batch_command_.empty() || batch_command_.find('\0') != std::string::npos) {
    reply(std::unexpected(
        CallError{"ValueError",
                  "the startup command is empty or holds a NUL character: give a shell command"}));
    return;
  }
  batch_timeout_ms_ = request["timeoutMs"];
  state_.batch.emplace();
  save(Durability::Process);
  reply(Json());
  if (executions_->bootstrapping()) {
    batch_waiting_ = true;
  } else {
    start_batch();
  }
}

void Supervisor::start_batch() {
  batch_waiting_ = false;
  auto job =
      Job::start(loop_, shell_command(config_, dir_, batch_command_),
                 [this](Stream, std::string_view raw, const std::string&) { log_->append(raw); });
  if (!job) {
    log_->append(job.error().message + "\n");
    finish_batch(false, "task-failed", 127);
    return;
  }
  batch_ = std::move(*job);
  if (batch_timeout_ms_.is_number())
    batch_timer_ = loop_.run_after(EventLoop::Millis(batch_timeout_ms_.as_int()),
                                   [this] { on_batch_timeout(); });
}

void Supervisor::on_batch_timeout() {
  if (!batch_) return;
  const int number = batch_timed_out_ ? SIGKILL : SIGTERM;
  batch_timed_out_ = true;
  const auto descendants = descendants_of(batch_->pid());
  batch_->signal(number);  // the shell first, which would report the others
  for (const pid_t pid : descendants) ::kill(pid, number);
  batch_timer_ =
      loop_.run_after(EventLoop::Millis(config_.term_grace_ms), [this] { on_batch_timeout(); });
}

void Supervisor::finish_batch(bool success, const char* reason, std::int64_t exit_code) {
  loop_.cancel(batch_timer_);
  state_.batch = BatchState{true, success, reason, exit_code};
  save(Durability::Disk);
  broadcast(state_event("batch"));
}

void Supervisor::on_signal() {
  signalfd_siginfo info;
  bool terminate = false;
  while (::read(signals_.get(), &info, sizeof info) == sizeof info)
    terminate = terminate || info.ssi_signo == SIGTERM;
  if (terminate) end("agent-termination", kNoExitCode);  // the host shuts down
  reap();
}

void Supervisor::reap() {
  while (true) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno == EINTR)) {
      if (pid == 0) return;
      continue;
    }
    if (pid < 0) {  // no child, so no descendant is left: orphans become our children
      if (ending_) ended();
      return;
    }
    if (batch_ && batch_->pid() == pid) {
      batch_->finish();
      batch_.reset();
      const int exit_code = exit_code_of(status);
      if (batch_timed_out_) {
        finish_batch(false, "task-timeout", kTimeoutExitCode);
      } else if (!ending_) {
        finish_batch(exit_code == 0, exit_code == 0 ? "task-finished" : "task-failed", exit_code);
      }
    } else {
      executions_->on_exit(pid, status);
    }
  }
}

// Begins the end of the kernel; the first reason and the first exit code that is one count.
void Supervisor::end(std::string reason, std::int64_t exit_code) {
  if (state_.exit_code == kNoExitCode) state_.exit_code = exit_code;
  if (ending_) return;
  ending_ = true;
  state_.reason = std::move(reason);
  executions_->abandon(state_.reason == "self-terminated" ? "the kernel's interpreter has ended"
                                                          : "the kernel was terminated",
                       exit_code);
  for (const pid_t pid : descendants_of(::getpid())) ::kill(pid, SIGTERM);
  loop_.run_after(EventLoop::Millis(config_.term_grace_ms), [this] { kill_round(); });
  loop_.post([this] { reap(); });  // there may be nothing to wait for
}

void Supervisor::kill_round() {
  for (const pid_t pid : descendants_of(::getpid())) ::kill(pid, SIGKILL);
  loop_.run_after(kKillInterval, [this] { kill_round(); });
}

void Supervisor::ended() {
  if (state_.ended) return;
  state_.ended = true;
  if (state_.exit_code == kNoExitCode)
    state_.exit_code = state_.batch && state_.batch->finished ? state_.batch->exit_code : 0;
  // The manager knows of an end that it has asked for.
  save(destroyers_.empty() ? Durability::Disk : Durability::Process);
  ::unlink("control.sock");
  for (auto& reply : destroyers_) reply(state_.to_json());
  broadcast(state_event("ended"));
  for (const auto& connection : connections_) connection->stream->flush(kLastWordsTimeout);
  loop_.stop();
}

int Supervisor::run() {
  constexpr int kAgentChannel = 3;
  // A supervisor started by hand has no agent behind that number.
  Fd channel(::fcntl(kAgentChannel, F_GETFD) >= 0 ? kAgentChannel : -1);
  if (channel) ::fcntl(channel.get(), F_SETFD, FD_CLOEXEC);
  if (auto prepared = prepare(); !prepared) {
    fmt::print(stderr, "supervisor: {}\n", prepared.error().message);
    if (channel) {
      FrameStream stream(loop_, std::move(channel), [](Json) {}, nullptr);
      stream.send(Json::object({{"event", "failed"}, {"message", prepared.error().message}}));
      stream.flush(kLastWordsTimeout);
    }
    for (const pid_t pid : descendants_of(::getpid())) ::kill(pid, SIGKILL);
    return 1;
  }
  if (channel) add_connection(std::move(channel));
  loop_.run();
  return 0;
}

}  // namespace
}  // namespace bai::server::local

namespace bai::server {

bool is_supervisor_invocation(int argc, char** argv) noexcept {
  return argc >= 2 && std::strcmp(argv[1], "supervise") == 0;
}

int supervisor_main(int argc, char** argv) {
  if (argc != 3 || ::chdir(argv[2]) != 0) {
    fmt::print(stderr,
               "usage: {} supervise DIR - DIR is a kernel's directory; this command is "
               "for the agent's own use\n",
               argc > 0 ? argv[0] : "PROGRAM");
    return 2;
  }
  ::setsid();
  local::Supervisor supervisor(argv[2]);
  return supervisor.run();
}

}  // namespace bai::server

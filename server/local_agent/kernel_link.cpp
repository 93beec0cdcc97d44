#include "local_agent/kernel_link.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "local_agent/process.hpp"

namespace bai::server::local {

KernelLink::KernelLink(EventLoop& loop, Fd socket, LinkHandlers handlers)
    : handlers_(std::move(handlers)),
      stream_(std::make_unique<FrameStream>(
          loop, std::move(socket), [this](Json message) { on_message(message); },
          [this] { on_close(); })) {}

KernelLink::~KernelLink() = default;

Result<std::unique_ptr<KernelLink>> KernelLink::start(EventLoop& loop,
                                                      const std::string& executable,
                                                      const std::string& dir,
                                                      LinkHandlers handlers) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return fail(ErrorCode::Unavailable, fmt::format("socketpair: {}", std::strerror(errno)));
  Fd mine(pair[0]);
  const Fd theirs(pair[1]);
  const auto pid =
      start_detached(executable, {"bai-supervisor", "supervise", dir}, dir, theirs.get());
  if (!pid) return std::unexpected(pid.error());
  std::unique_ptr<KernelLink> link(new KernelLink(loop, std::move(mine), std::move(handlers)));
  link->process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0)));
  return link;
}

Result<std::unique_ptr<KernelLink>> KernelLink::attach(EventLoop& loop, const std::string& dir,
                                                       LinkHandlers handlers) {
  // A socket address is shorter than a path may be: through the directory's descriptor.
  const Fd directory(::open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/control.sock", directory.get());
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!directory || !socket ||
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail(ErrorCode::Unavailable,
                fmt::format("no supervisor answers in {}: {}", dir, std::strerror(errno)));
  ucred peer{};
  socklen_t size = sizeof peer;
  ::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size);
  std::unique_ptr<KernelLink> link(new KernelLink(loop, std::move(socket), std::move(handlers)));
  link->process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  return link;
}

std::int64_t KernelLink::call(Json request, CallReply reply) {
  const std::int64_t id = next_call_++;
  if (stream_->closed()) {
    reply(std::unexpected(CallError{"RuntimeError", "the kernel has ended"}));
    return id;
  }
  request.set("id", id);
  const auto it = calls_.emplace(id, std::move(reply)).first;
  if (!stream_->send(request)) {
    CallReply refused = std::move(it->second);
    calls_.erase(it);
    refused(std::unexpected(CallError{
        "ValueError", fmt::format("a request may have {} bytes as JSON text; this one has more",
                                  kMaxFrameBytes)}));
  }
  return id;
}

void KernelLink::forget(std::int64_t call_id) {
  if (calls_.erase(call_id) == 0) return;
  call(Json::object({{"op", "forget"}, {"call", call_id}}), [](auto) {});
}

void KernelLink::kill() {
  if (process_) ::syscall(SYS_pidfd_send_signal, process_.get(), SIGKILL, nullptr, 0);
}

void KernelLink::reap() {
  if (!process_) return;
  // Its socket closes as the first step of its exit. One that only closed the socket has stopped
  // obeying.
  constexpr int kExitMs = 1000;
  pollfd poll_entry{process_.get(), POLLIN, 0};
  if (::poll(&poll_entry, 1, kExitMs) == 0) {
    kill();
    ::poll(&poll_entry, 1, kExitMs);
  }
  siginfo_t info{};
  ::waitid(P_PIDFD, static_cast<id_t>(process_.get()), &info, WEXITED | WNOHANG);
}

void KernelLink::on_message(const Json& message) {
  if (const Json* id = message.find("id")) {
    const auto it = calls_.find(id->as_int());
    if (it == calls_.end()) return;
    CallReply reply = std::move(it->second);
    calls_.erase(it);
    if (const Json* error = message.find("error")) {
      reply(std::unexpected(CallError{std::string((*error)["kind"].as_string()),
                                      std::string((*error)["message"].as_string())}));
    } else {
      reply(message["result"]);
    }
    return;
  }
  if (message["event"].as_string() == "failed") {
    handlers_.on_failed(std::string(message["message"].as_string()));
  } else {
    handlers_.on_state(KernelState::from_json(message["state"]));
  }
}

void KernelLink::on_close() {
  auto calls = std::move(calls_);
  calls_.clear();
  for (auto& [id, reply] : calls)
    reply(std::unexpected(CallError{"RuntimeError", "the kernel has ended"}));
  auto on_gone = handlers_.on_gone;
  on_gone();
}

}  // namespace bai::server::local

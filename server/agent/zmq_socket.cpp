#include "agent/zmq_socket.hpp"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <system_error>

#include "agent/gateway.hpp"

namespace bai::server {
namespace {

constexpr int kMaxSockets = 32768;
constexpr std::uint64_t kWakeToken = std::numeric_limits<std::uint64_t>::max();
constexpr auto kLongestWait = std::chrono::minutes(1);

class Message {
 public:
  Message() { zmq_msg_init(&msg_); }
  ~Message() { zmq_msg_close(&msg_); }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  bool receive(void* socket) {
    int rc = 0;
    do rc = zmq_msg_recv(&msg_, socket, ZMQ_DONTWAIT);
    while (rc < 0 && zmq_errno() == EINTR);
    return rc >= 0;
  }
  bool more() const { return zmq_msg_more(&msg_) != 0; }
  Bytes copy() {
    const auto* data = static_cast<const std::uint8_t*>(zmq_msg_data(&msg_));
    return {data, data + zmq_msg_size(&msg_)};
  }

 private:
  zmq_msg_t msg_;
};

}  // namespace

ZmqContext make_context() {
  ZmqContext context(zmq_ctx_new());
  if (context) zmq_ctx_set(context.get(), ZMQ_MAX_SOCKETS, kMaxSockets);
  return context;
}

bool Socket::set(int option, int value) noexcept {
  return zmq_setsockopt(get(), option, &value, sizeof value) == 0;
}
bool Socket::set(int option, std::int64_t value) noexcept {
  return zmq_setsockopt(get(), option, &value, sizeof value) == 0;
}
bool Socket::set(int option, std::string_view value) noexcept {
  return zmq_setsockopt(get(), option, value.data(), value.size()) == 0;
}

int Socket::fd() const noexcept {
  int fd = -1;
  std::size_t size = sizeof fd;
  return zmq_getsockopt(get(), ZMQ_FD, &fd, &size) == 0 ? fd : -1;
}

int Socket::events() const noexcept {
  int events = 0;
  std::size_t size = sizeof events;
  return zmq_getsockopt(get(), ZMQ_EVENTS, &events, &size) == 0 ? events : 0;
}
bool Socket::readable() const noexcept { return (events() & ZMQ_POLLIN) != 0; }
bool Socket::writable() const noexcept { return (events() & ZMQ_POLLOUT) != 0; }

std::string Socket::last_endpoint() const {
  std::array<char, 256> text{};
  std::size_t size = text.size();
  return zmq_getsockopt(get(), ZMQ_LAST_ENDPOINT, text.data(), &size) == 0 ? text.data() : "";
}

bool Socket::send(std::initializer_list<ByteView> frames) noexcept {
  std::size_t left = frames.size();
  for (const ByteView& frame : frames) {
    const int flags = ZMQ_DONTWAIT | (--left > 0 ? ZMQ_SNDMORE : 0);
    while (zmq_send(get(), frame.data(), frame.size(), flags) < 0)
      if (zmq_errno() != EINTR) return false;
  }
  return true;
}

bool Socket::receive(Frames& frames) {
  frames.clear();
  for (;;) {
    Message part;
    if (!part.receive(get())) return false;
    if (frames.size() <= kMaxFrames) frames.push_back(part.copy());
    if (!part.more()) return true;
  }
}

bool set_curve_client(Socket& socket, const CurveKeyPair& own, std::string_view server_key) {
  return socket.set(ZMQ_ZAP_DOMAIN, kZapDomain) && socket.set(ZMQ_CURVE_SERVERKEY, server_key) &&
         socket.set(ZMQ_CURVE_PUBLICKEY, std::string_view(own.public_key)) &&
         socket.set(ZMQ_CURVE_SECRETKEY, std::string_view(own.secret_key));
}

bool set_curve_server(Socket& socket, const CurveKeyPair& own) {
  return socket.set(ZMQ_ZAP_DOMAIN, kZapDomain) && socket.set(ZMQ_CURVE_SERVER, 1) &&
         socket.set(ZMQ_CURVE_SECRETKEY, std::string_view(own.secret_key));
}

Socket open_monitor(const ZmqContext& context, Socket& watched, const std::string& name,
                    int events) {
  const std::string addr = "inproc://" + name;
  if (zmq_socket_monitor(watched.get(), addr.c_str(), events) != 0) return {};
  Socket monitor(context, ZMQ_PAIR);
  if (!monitor) return {};
  monitor.set(ZMQ_LINGER, 0);
  if (zmq_connect(monitor.get(), addr.c_str()) != 0) return {};
  return monitor;
}

int next_monitor_event(Socket& monitor) {
  Frames frames;
  if (!monitor.receive(frames) || frames.empty() || frames[0].size() < 2) return 0;
  std::uint16_t event = 0;  // native byte order, by libzmq's documentation
  std::memcpy(&event, frames[0].data(), sizeof event);
  return event;
}

Poller::Poller()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (ok() && !add(wake_, kWakeToken)) {
    close(epoll_);
    epoll_ = -1;
  }
}

Poller::~Poller() {
  if (epoll_ >= 0) close(epoll_);
  if (wake_ >= 0) close(wake_);
}

bool Poller::add(int fd, std::uint64_t token) noexcept {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = token;
  return fd >= 0 && epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0;
}

void Poller::remove(int fd) noexcept {
  if (fd >= 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
}

void Poller::wake() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(wake_, &one, sizeof one);  // full: already awake
}

void Poller::wait(std::vector<std::uint64_t>& ready, SteadyTime until) noexcept {
  ready.clear();
  const auto now = std::chrono::steady_clock::now();
  const auto left = std::clamp<std::chrono::nanoseconds>(until - now, {}, kLongestWait);
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  std::array<epoll_event, 128> events{};
  const int n =
      epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), static_cast<int>(ms));
  for (int i = 0; i < n; ++i) {
    const std::uint64_t token = events[static_cast<std::size_t>(i)].data.u64;
    if (token != kWakeToken) {
      ready.push_back(token);
      continue;
    }
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = read(wake_, &count, sizeof count);
  }
}

Status start_thread(std::thread& thread, std::move_only_function<void()> body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);  // inherited, so that no signal slips in between
  Status status;
  try {
    thread = std::thread(std::move(body));
  } catch (const std::system_error& e) {
    status = fail(ErrorCode::Unavailable, std::string("No thread can be started: ") + e.what());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return status;
}

void raise_open_file_limit() noexcept {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace bai::server

// libzmq and libsodium are not instrumented: their lock-free pipes look like races to
// ThreadSanitizer. What crosses them is copied on our side, so their inside can be left out without
// hiding a race of ours.
#ifdef __SANITIZE_THREAD__
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libzmq.so\ncalled_from_lib:libsodium.so\nmutex:libzmq.so\n";
}
#endif

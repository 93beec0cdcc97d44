// RAII over libzmq's C API: contexts, sockets, multipart messages, and an epoll set that scales to
// thousands of sockets. Only .cpp files of this folder include this.
#pragma once

#include <zmq.h>

#include <chrono>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "agent/curve.hpp"
#include "agent/value.hpp"

namespace bai::server {

using Bytes = bai::Bytes;
using wire::ByteView;
using SteadyTime = std::chrono::steady_clock::time_point;

inline std::chrono::nanoseconds to_chrono(Duration d) { return std::chrono::nanoseconds(d.ns); }
inline int to_ms(Duration d) { return static_cast<int>(d.ms()); }
inline ByteView as_bytes(std::string_view s) {
  return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()};
}
inline std::string_view as_text(ByteView b) {
  return {reinterpret_cast<const char*>(b.data()), b.size()};
}
inline std::string zmq_error() { return zmq_strerror(zmq_errno()); }

struct ContextCloser {
  void operator()(void* context) const noexcept { zmq_ctx_term(context); }
};
using ZmqContext = std::unique_ptr<void, ContextCloser>;
// Null when out of resources. Every socket must be closed before it is destroyed.
ZmqContext make_context();

// Of one multipart message, at most kMaxFrames + 1 frames are kept; more make it malformed anyway.
inline constexpr std::size_t kMaxFrames = 8;
using Frames = std::vector<Bytes>;

// Not thread-safe. Empty when default constructed or when libzmq refused (zmq_errno says why).
class Socket {
 public:
  Socket() = default;
  Socket(const ZmqContext& context, int type) : socket_(zmq_socket(context.get(), type)) {}

  explicit operator bool() const noexcept { return socket_ != nullptr; }
  void* get() const noexcept { return socket_.get(); }
  void close() noexcept { socket_.reset(); }

  bool set(int option, int value) noexcept;
  bool set(int option, std::int64_t value) noexcept;
  bool set(int option, std::string_view value) noexcept;
  int fd() const noexcept;
  // Also makes libzmq process what its fd has signalled.
  bool readable() const noexcept;
  bool writable() const noexcept;
  std::string last_endpoint() const;

  // Never block. False: would block, or zmq_errno().
  bool send(std::initializer_list<ByteView> frames) noexcept;
  bool receive(Frames& frames);

 private:
  struct Closer {
    void operator()(void* socket) const noexcept { zmq_close(socket); }
  };
  int events() const noexcept;
  std::unique_ptr<void, Closer> socket_;
};

bool set_curve_client(Socket& socket, const CurveKeyPair& own, std::string_view server_key);
bool set_curve_server(Socket& socket, const CurveKeyPair& own);
inline constexpr std::string_view kZapDomain = "local";

// Reports connection events of another socket; empty when out of resources.
Socket open_monitor(const ZmqContext& context, Socket& watched, const std::string& name,
                    int events);
// The next event, 0 when there is none.
int next_monitor_event(Socket& monitor);

// Level-triggered epoll set with a wake-up. A socket's fd only says "look": after every operation
// on a socket, read it until nothing is left before waiting again.
class Poller {
 public:
  Poller();  // check ok()
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  bool ok() const noexcept { return epoll_ >= 0 && wake_ >= 0; }
  bool add(int fd, std::uint64_t token) noexcept;
  void remove(int fd) noexcept;
  void wake() noexcept;  // any thread
  // Tokens of what is ready; the wake-up is consumed and not among them.
  void wait(std::vector<std::uint64_t>& ready, SteadyTime until) noexcept;

 private:
  int epoll_ = -1, wake_ = -1;
};

// Starts an I/O thread with every signal blocked: they are the main thread's. Unavailable when the
// system has no more threads.
Status start_thread(std::thread& thread, std::move_only_function<void()> body);

}  // namespace bai::server

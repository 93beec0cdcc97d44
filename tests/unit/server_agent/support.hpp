// Shared by the tests of the agent wire.
#pragma once

#include <doctest/doctest.h>
#include <zmq.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent/codec.hpp"
#include "agent/gateway.hpp"
#include "agent/rpc_server.hpp"

namespace bai::server::test {

using wire::ByteView;

inline Bytes unhex(std::string_view text) {
  Bytes out;
  int high = -1;
  for (const char c : text) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) continue;
    if (high < 0)
      high = digit;
    else
      out.push_back(static_cast<std::uint8_t>(high * 16 + digit)), high = -1;
  }
  return out;
}

inline std::string hex(ByteView bytes) {
  std::string out;
  for (const std::uint8_t b : bytes) {
    out += "0123456789abcdef"[b >> 4];
    out += "0123456789abcdef"[b & 15];
  }
  return out;
}

inline Bytes bytes_of(std::string_view s) { return {s.begin(), s.end()}; }

template <class Id>
Id id(std::string_view text) {
  return *parse_uuid<Id>(text);
}
inline const KernelId kKernel = id<KernelId>("11111111-2222-3333-4444-555555555555");
inline const SessionId kSession = id<SessionId>("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");

// Polls `condition` until it holds; false after `timeout`.
inline bool eventually(const std::function<bool()>& condition,
                       std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

// A request whose answer can be waited for.
class Call {
 public:
  Call(AgentGateway& gateway, const AgentEndpoint& to, AgentRequest request, Duration timeout) {
    gateway.request(to, std::move(request), timeout,
                    [p = promise_](Result<AgentReply> r) { p->set_value(std::move(r)); });
  }
  bool done() const {
    return future_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }
  Result<AgentReply> get() {
    if (future_.wait_for(std::chrono::seconds(30)) != std::future_status::ready)
      return fail(ErrorCode::Internal, "the test waited too long", "test-timeout");
    return future_.get();
  }

 private:
  std::shared_ptr<std::promise<Result<AgentReply>>> promise_ =
      std::make_shared<std::promise<Result<AgentReply>>>();
  std::future<Result<AgentReply>> future_ = promise_->get_future();
};

// A bare ZeroMQ socket, to send and see what no proper peer would.
class RawSocket {
 public:
  explicit RawSocket(int type) : context_(zmq_ctx_new()), socket_(zmq_socket(context_, type)) {
    const int linger = 0, timeout = 10000;
    zmq_setsockopt(socket_, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &timeout, sizeof timeout);
  }
  ~RawSocket() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  RawSocket(const RawSocket&) = delete;
  RawSocket& operator=(const RawSocket&) = delete;

  void connect(const std::string& addr) { REQUIRE(zmq_connect(socket_, addr.c_str()) == 0); }
  std::string bind(const std::string& addr) {
    REQUIRE(zmq_bind(socket_, addr.c_str()) == 0);
    char text[128];
    std::size_t size = sizeof text;
    zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, text, &size);
    return text;
  }
  void set(int option, std::string_view value) {
    REQUIRE(zmq_setsockopt(socket_, option, value.data(), value.size()) == 0);
  }
  void set(int option, int value) {
    REQUIRE(zmq_setsockopt(socket_, option, &value, sizeof value) == 0);
  }
  void send(const std::vector<Bytes>& frames) {
    for (std::size_t i = 0; i < frames.size(); ++i)
      REQUIRE(zmq_send(socket_, frames[i].data(), frames[i].size(),
                       i + 1 < frames.size() ? ZMQ_SNDMORE : 0) >= 0);
  }
  // Empty when nothing arrives within the timeout.
  std::vector<Bytes> receive(int timeout_ms = 10000) {
    zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms);
    std::vector<Bytes> frames;
    for (;;) {
      zmq_msg_t part;
      zmq_msg_init(&part);
      if (zmq_msg_recv(&part, socket_, 0) < 0) {
        zmq_msg_close(&part);
        return {};
      }
      const auto* data = static_cast<const std::uint8_t*>(zmq_msg_data(&part));
      frames.emplace_back(data, data + zmq_msg_size(&part));
      const bool more = zmq_msg_more(&part) != 0;
      zmq_msg_close(&part);
      if (!more) return frames;
    }
  }

 private:
  void* context_;
  void* socket_;
};

// Collects what is logged.
class MemoryLog : public LogSink {
 public:
  void write(LogLevel, std::string_view component, std::string_view message) noexcept override {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::string(component) + ": " + std::string(message));
  }
  std::size_t count(std::string_view part) const {
    const std::lock_guard lock(mutex_);
    std::size_t n = 0;
    for (const std::string& line : lines_) n += line.find(part) != line.npos ? 1U : 0U;
    return n;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace bai::server::test

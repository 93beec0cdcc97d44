// JSON messages over a stream socket: four bytes of length (big endian), then the text.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "bai_manager/json.hpp"
#include "local_agent/event_loop.hpp"
#include "local_agent/fd.hpp"

namespace bai::server::local {

inline constexpr std::size_t kMaxFrameBytes = 32U << 20U;        // one message
inline constexpr std::size_t kMaxUnsentFrameBytes = 64U << 20U;  // a peer that does not read

// Loop thread only. Callbacks may destroy the stream. `on_close` runs at most once: the peer is
// gone, or has sent something that is no message, or does not read.
class FrameStream {
 public:
  using OnFrame = std::move_only_function<void(Json)>;
  using OnClose = std::move_only_function<void()>;

  FrameStream(EventLoop& loop, Fd fd, OnFrame on_frame, OnClose on_close);  // makes fd non-blocking
  ~FrameStream();
  FrameStream(const FrameStream&) = delete;
  FrameStream& operator=(const FrameStream&) = delete;

  // False: longer than kMaxFrameBytes, not sent. Nothing happens on a closed stream.
  bool send(const Json& message);
  void read_available();  // handles what has arrived without waiting for the loop
  // Blocks until everything is sent, at most `timeout`; for a process about to exit.
  void flush(EventLoop::Millis timeout);
  bool closed() const noexcept { return !fd_; }

 private:
  void on_ready(std::uint32_t events);
  void write_some();
  void fail();
  bool deliver();

  EventLoop& loop_;
  Fd fd_;
  OnFrame on_frame_;
  OnClose on_close_;
  std::string in_, out_;
  std::size_t out_done_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace bai::server::local

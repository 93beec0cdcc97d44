#include "local_agent/frame_stream.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace bai::server::local {

FrameStream::FrameStream(EventLoop& loop, Fd fd, OnFrame on_frame, OnClose on_close)
    : loop_(loop),
      fd_(std::move(fd)),
      on_frame_(std::move(on_frame)),
      on_close_(std::move(on_close)) {
  ::fcntl(fd_.get(), F_SETFL, ::fcntl(fd_.get(), F_GETFL) | O_NONBLOCK);
  loop_.watch(fd_.get(), EPOLLIN, [this](std::uint32_t events) { on_ready(events); });
}

FrameStream::~FrameStream() {
  *alive_ = false;
  if (fd_) loop_.unwatch(fd_.get());
}

void FrameStream::fail() {
  if (!fd_) return;
  loop_.unwatch(fd_.get());
  fd_.reset();
  auto on_close = std::move(on_close_);
  if (on_close) on_close();
}

bool FrameStream::send(const Json& message) {
  if (!fd_) return true;
  const std::string text = message.dump();
  if (text.size() > kMaxFrameBytes) return false;
  const auto length = static_cast<std::uint32_t>(text.size());
  const bool idle = out_.empty();
  for (int shift = 24; shift >= 0; shift -= 8)
    out_.push_back(static_cast<char>((length >> static_cast<unsigned>(shift)) & 0xffU));
  out_ += text;
  if (out_.size() - out_done_ > kMaxUnsentFrameBytes) {
    // Not from inside send(): the caller still holds this stream.
    loop_.post([this, alive = alive_] {
      if (*alive) fail();
    });
  } else if (idle) {
    write_some();
  }
  return true;
}

void FrameStream::write_some() {
  while (out_done_ < out_.size()) {
    const auto sent =
        ::send(fd_.get(), out_.data() + out_done_, out_.size() - out_done_, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      break;  // full, or broken: then the read side reports it
    }
    out_done_ += static_cast<std::size_t>(sent);
  }
  if (out_done_ == out_.size()) {
    out_.clear();
    out_done_ = 0;
  }
  loop_.set_events(fd_.get(), out_.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

void FrameStream::on_ready(std::uint32_t events) {
  const auto alive = alive_;
  if ((events & EPOLLOUT) != 0) write_some();
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && *alive) read_available();
}

// False: the stream is gone or failed.
bool FrameStream::deliver() {
  const auto alive = alive_;
  std::size_t at = 0;
  while (in_.size() - at >= 4) {
    std::uint32_t length = 0;
    for (std::size_t i = 0; i < 4; ++i)
      length = (length << 8U) | static_cast<std::uint8_t>(in_[at + i]);
    if (length > kMaxFrameBytes) {
      fail();
      return false;
    }
    if (in_.size() - at - 4 < length) break;
    auto message = Json::parse(std::string_view(in_).substr(at + 4, length));
    at += 4 + length;
    if (!message) {
      fail();
      return false;
    }
    on_frame_(std::move(*message));
    if (!*alive || !fd_) return false;
  }
  in_.erase(0, at);
  return true;
}

void FrameStream::read_available() {
  std::array<char, 65536> buffer;
  while (fd_) {
    const auto got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got > 0) {
      in_.append(buffer.data(), static_cast<std::size_t>(got));
      if (!deliver()) return;
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    fail();
    return;
  }
}

void FrameStream::flush(EventLoop::Millis timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (fd_ && !out_.empty()) {
    const auto left =
        std::chrono::ceil<EventLoop::Millis>(deadline - std::chrono::steady_clock::now());
    pollfd poll_entry{fd_.get(), POLLOUT, 0};
    if (left.count() <= 0 || ::poll(&poll_entry, 1, static_cast<int>(left.count())) <= 0) return;
    if ((poll_entry.revents & (POLLERR | POLLHUP)) != 0) return;
    write_some();
  }
}

}  // namespace bai::server::local

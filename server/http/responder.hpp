// How a handler answers: once, later, from any thread, whole or as a stream.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include "http/message.hpp"

namespace bai::http {

// The sending side of a streamed response or of an upgraded connection. A cheap copyable handle;
// every call is thread-safe and returns at once. The stream holds no thread.
// When the last copy goes away without close(), the connection is cut, so that a peer never takes
// half a body for a whole one.
class StreamWriter {
 public:
  enum class Outcome {
    Ok,
    Full,    // the peer reads too slowly: nothing was queued; wait for on_drain or give up
    Closed,  // close() was called or the peer is gone: nothing was queued
  };
  using Callback = std::move_only_function<void()>;

  class Channel {  // one implementation per transport; same contracts as below
   public:
    virtual ~Channel() = default;
    virtual Outcome write(std::string_view data) = 0;
    virtual void close() = 0;
    virtual void on_disconnect(Callback callback) = 0;
    virtual void on_drain(Callback callback) = 0;
    virtual bool closed() const = 0;
  };

  StreamWriter() = default;
  explicit StreamWriter(std::shared_ptr<Channel> channel) : channel_(std::move(channel)) {}

  // Queues the bytes (copied) unless the queue already holds `ServerOptions::stream_buffer_bytes`.
  Outcome write(std::string_view data) {
    return channel_ ? channel_->write(data) : Outcome::Closed;
  }
  // Ends the body properly once the queued bytes are out. Later writes are Closed.
  void close() {
    if (channel_) channel_->close();
  }
  // Runs once when the connection has ended for whatever reason, close() included: on an io
  // thread, or inline when it already has. Must not block. Replaces an earlier callback.
  void on_disconnect(Callback callback) {
    if (channel_) channel_->on_disconnect(std::move(callback));
  }
  // Runs on an io thread each time the queue has emptied after a write was refused as Full.
  void on_drain(Callback callback) {
    if (channel_) channel_->on_drain(std::move(callback));
  }
  bool closed() const { return !channel_ || channel_->closed(); }
  explicit operator bool() const noexcept { return channel_ != nullptr; }

 private:
  std::shared_ptr<Channel> channel_;
};

// The right to answer one request. Move-only; usable from any thread, after the handler returned
// too. Dropping it unanswered answers 500. Answering twice is ignored.
class Responder {
 public:
  using OnData = std::move_only_function<void(std::string_view)>;

  class Sink {  // the connection, or a recorder in tests
   public:
    virtual ~Sink() = default;
    virtual void respond(Response response) = 0;
    virtual StreamWriter stream(Response head) = 0;
    virtual StreamWriter upgrade(Response head, OnData on_data) = 0;
    virtual void drop() = 0;  // the responder went away unanswered
  };

  Responder() = default;
  explicit Responder(std::shared_ptr<Sink> sink) : sink_(std::move(sink)) {}
  Responder(Responder&&) noexcept = default;
  Responder& operator=(Responder&& other) noexcept {
    if (this != &other) {
      release();
      sink_ = std::move(other.sink_);
    }
    return *this;
  }
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;
  ~Responder() { release(); }

  // For tests and in-process callers: `answer` runs inline; a dropped responder gives a 500;
  // streams and upgrades are refused (their writer is closed from the start).
  static Responder to_function(std::move_only_function<void(Response)> answer);

  void respond(Response response) {
    if (auto sink = std::exchange(sink_, nullptr)) sink->respond(std::move(response));
  }
  // Sends the head at once and keeps the response open. Chunked, unless `head` has a
  // Content-Length: then exactly that many bytes must follow. `head.body` goes out first.
  StreamWriter stream(Response head) {
    auto sink = std::exchange(sink_, nullptr);
    return sink ? sink->stream(std::move(head)) : StreamWriter{};
  }
  // Leaves HTTP: sends the head (normally 101) and from then on the connection is a raw pipe.
  // `on_data` gets the received bytes on an io thread and must not block.
  StreamWriter upgrade(Response head, OnData on_data) {
    auto sink = std::exchange(sink_, nullptr);
    return sink ? sink->upgrade(std::move(head), std::move(on_data)) : StreamWriter{};
  }
  bool answered() const noexcept { return sink_ == nullptr; }

 private:
  void release() {
    if (auto sink = std::exchange(sink_, nullptr)) sink->drop();
  }
  std::shared_ptr<Sink> sink_;
};

}  // namespace bai::http

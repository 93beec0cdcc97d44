#include "http/connection.hpp"

#include <algorithm>
#include <asio/buffer.hpp>
#include <charconv>
#include <cstdlib>

#include "http/stream.hpp"
#include "http/text.hpp"

namespace bai::http {
namespace {

// Unwritten response bytes beyond which a pipelining client gets no further request handled.
constexpr std::size_t kQueuedOutBytes = 256 * 1024;
// What a client may send ahead while a streamed response is open.
constexpr std::size_t kAheadOfStreamBytes = 64 * 1024;

std::chrono::steady_clock::duration to_chrono(Duration duration) {
  return std::chrono::nanoseconds(duration.ns);
}

bool would_block(std::error_code error) {
  return error == asio::error::would_block || error == asio::error::try_again;
}

}  // namespace

Connection::Connection(std::shared_ptr<Worker> worker, asio::ip::tcp::socket socket)
    : worker_(std::move(worker)),
      shared_(worker_->shared()),
      socket_(std::move(socket)),
      parser_(shared_.options.limits, shared_.options.body_limit) {
  std::error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.non_blocking(true, ignored);
  const auto peer = socket_.remote_endpoint(ignored);
  if (!ignored) {
    peer_ip_ = peer.address().to_string();
    peer_port_ = peer.port();
  }
}

Connection::~Connection() = default;

void Connection::start() {
  deadline_ = std::chrono::steady_clock::now() + to_chrono(shared_.options.header_deadline);
  if (shared_.tls) {
    handshake();
  } else {
    wait_read();
  }
}

void Connection::start_refused() {
  if (shared_.tls) return close();  // no handshake for somebody who is not served
  enqueue_response(
      problem(503, "service-unavailable", "Serivce unavailable.",  // so spelt on this wire
              "backendai_generic_unavailable",
              "This server has as many connections as it accepts; try again later."),
      true);
  flush();
}

void Connection::handshake() {
  phase_ = Phase::Handshake;
  tls_.emplace(socket_, *shared_.tls);
  tls_buffer_.resize(16 * 1024);
  tls_->async_handshake(asio::ssl::stream_base::server,
                        [self = shared_from_this()](std::error_code error) {
                          if (self->phase_ == Phase::Closed) return;
                          if (error) return self->close();
                          self->phase_ = Phase::Reading;
                          self->wait_read();
                        });
}

// ---- reading

void Connection::wait_read() {
  if (reading_ || phase_ == Phase::Closed) return;
  reading_ = true;
  if (tls_) {
    tls_->async_read_some(asio::buffer(tls_buffer_),
                          [self = shared_from_this()](std::error_code error, std::size_t size) {
                            self->reading_ = false;
                            if (self->phase_ == Phase::Closed) return;
                            if (error) return self->on_read_end();
                            self->on_bytes(std::string_view(self->tls_buffer_).substr(0, size));
                          });
    return;
  }
  socket_.async_wait(asio::ip::tcp::socket::wait_read,
                     [self = shared_from_this()](std::error_code error) {
                       self->reading_ = false;
                       if (self->phase_ == Phase::Closed) return;
                       if (error) return self->on_read_end();
                       self->on_readable();
                     });
}

void Connection::on_readable() {
  auto& buffer = worker_->read_buffer();
  std::error_code error;
  const std::size_t size = socket_.read_some(asio::buffer(buffer), error);
  if (would_block(error)) return wait_read();
  if (error) return on_read_end();
  on_bytes({buffer.data(), size});
}

// The peer has ended its side, or the connection broke.
void Connection::on_read_end() {
  if (phase_ == Phase::Handling) return;  // it may have ended its side only; the answer goes out
  peer_ended_ = true;
  if (phase_ == Phase::Reading) {
    if (parser_.started()) ++shared_.counters.truncated_requests;
    phase_ = Phase::Closing;
    return flush();  // earlier answers may still be waiting
  }
  if (phase_ != Phase::Closing) close();
}

void Connection::on_bytes(std::string_view bytes) {
  switch (phase_) {
    case Phase::Reading:
      if (pending_in_.empty()) return consume(bytes);
      pending_in_.append(bytes);
      if (out_bytes_ < kQueuedOutBytes) resume();
      return;
    case Phase::Upgraded:
      if (on_data_) on_data_(bytes);
      return wait_read();
    case Phase::Streaming:
      pending_in_.append(bytes);
      if (pending_in_.size() < kAheadOfStreamBytes) wait_read();
      return;
    case Phase::Handling:
      pending_in_.append(bytes);
      return;
    case Phase::Closing:
    case Phase::Lingering:
      return wait_read();
    case Phase::Handshake:
    case Phase::Closed:
      return;
  }
}

void Connection::consume(std::string_view bytes) {
  processing_ = true;
  while (phase_ == Phase::Reading && !bytes.empty()) {
    if (out_bytes_ >= kQueuedOutBytes) {
      flush();
      if (phase_ != Phase::Reading || out_bytes_ >= kQueuedOutBytes) break;
    }
    const bool was_started = parser_.started();
    bytes.remove_prefix(parser_.feed(bytes));
    if (!was_started) request_start_ = std::chrono::steady_clock::now();
    if (const auto error = parser_.error()) {
      on_framing_error(*error);
    } else if (parser_.done()) {
      handle_request();
    } else if (parser_.expects_continue() && !continue_sent_ && parser_.current().body.empty()) {
      continue_sent_ = true;
      enqueue("HTTP/1.1 100 Continue\r\n\r\n");
    }
  }
  processing_ = false;
  if (phase_ == Phase::Upgraded && on_data_ && !bytes.empty()) {
    on_data_(bytes);
  } else if (!bytes.empty() && phase_ != Phase::Closed) {
    pending_in_.assign(bytes);
  }
  set_reading_deadline();
  flush();
  const bool wants_input = phase_ == Phase::Reading && out_bytes_ < kQueuedOutBytes;
  if (wants_input || phase_ == Phase::Streaming || phase_ == Phase::Upgraded) wait_read();
}

// Goes on with what was received behind the request that has now been answered.
void Connection::resume() {
  if (processing_) return;
  const std::string bytes = std::exchange(pending_in_, {});
  consume(bytes);
}

void Connection::set_reading_deadline() {
  if (phase_ != Phase::Reading) return;
  const ServerOptions& options = shared_.options;
  if (parser_.started()) {
    deadline_ = request_start_ +
                to_chrono(parser_.in_body() ? options.request_deadline : options.header_deadline);
  } else if (had_request_) {
    deadline_ = std::chrono::steady_clock::now() + to_chrono(options.idle_timeout);
  }
}

void Connection::handle_request() {
  auto request = std::make_shared<Request>(parser_.take());
  request->peer_ip = peer_ip_;
  request->peer_port = peer_port_;
  request->secure = tls_.has_value();
  request->arrival = {std::chrono::duration_cast<std::chrono::nanoseconds>(
                          std::chrono::system_clock::now().time_since_epoch())
                          .count()};
  head_only_ = request->method == "HEAD";
  keep_alive_ = request->keep_alive;
  version_minor_ = request->version_minor;
  had_request_ = true;
  continue_sent_ = false;
  phase_ = Phase::Handling;
  deadline_ = SteadyTime::max();
  ++shared_.counters.requests;
  try {
    shared_.handler(std::move(request), Responder(shared_from_this()));
  } catch (...) {  // NOLINT(bugprone-empty-catch)
    // The responder has been dropped on the way, which answered 500 if nobody did before.
  }
}

void Connection::on_framing_error(FramingError error) {
  ++shared_.counters.framing_errors[static_cast<std::size_t>(error)];
  head_only_ = false;
  const int status = status_of(error);
  const bool too_large = error == FramingError::BodyTooLarge;
  enqueue_response(problem(status, too_large ? "request-entity-too-large" : "generic-bad-request",
                           too_large ? "Request body is too large." : "Bad request.",
                           "api_parsing_bad-request", describe(error)),
                   true);
}

// ---- deadlines

void Connection::check_deadlines(SteadyTime now) {
  if (phase_ == Phase::Closed) return;
  if (now >= write_deadline_) {
    ++shared_.counters.write_timeouts;
    return close();
  }
  if (now >= deadline_) on_timeout();
}

void Connection::on_timeout() {
  CounterCells& counters = shared_.counters;
  if (phase_ == Phase::Closing) return;          // that is the write deadline's business
  if (phase_ != Phase::Reading) return close();  // handshake, lingering
  if (!parser_.started()) {
    ++(had_request_ ? counters.idle_timeouts : counters.header_timeouts);
    return close();
  }
  const bool body = parser_.in_body();
  ++(body ? counters.request_timeouts : counters.header_timeouts);
  head_only_ = false;
  enqueue_response(problem(408, "request-timeout", "Request timeout.", "api_parsing_timeout",
                           body ? "The request body did not arrive in time."
                                : "The request headers did not arrive in time."),
                   true);
  flush();
}

void Connection::end_for_stop() {
  switch (phase_) {
    case Phase::Reading: {
      std::error_code error;
      const bool arriving = parser_.started() || (!tls_ && socket_.available(error) > 0);
      if (arriving) return;  // answered with Connection: close, or cut when the patience is over
      phase_ = Phase::Closing;
      peer_ended_ = true;  // nothing that it could still send is of interest
      return flush();
    }
    case Phase::Streaming:
    case Phase::Upgraded:
      return end_stream(true);
    case Phase::Handshake:
    case Phase::Lingering:
      return close();
    default:
      return;
  }
}

// ---- answering

void Connection::respond(Response response) {
  worker_->dispatch([self = shared_from_this(), response = std::move(response)]() mutable {
    self->on_response(std::move(response));
  });
}

void Connection::drop() {
  ++shared_.counters.dropped_responders;
  respond(problem(500, "internal-server-error", "Internal server error.",
                  "backendai_generic_internal-error", "The request was dropped unanswered."));
}

bool Connection::decide_close() const noexcept { return !keep_alive_ || shared_.stopping.load(); }

void Connection::on_response(Response response) {
  if (phase_ != Phase::Handling) return;
  ++shared_.counters.responses;
  const bool closing = decide_close() || response.headers.has_token("Connection", "close");
  enqueue_response(std::move(response), closing);
  if (!closing) phase_ = Phase::Reading;
  if (processing_) return;
  if (closing) return flush();
  resume();
}

// ---- streams

StreamWriter Connection::stream(Response head) {
  auto core = std::make_shared<StreamCore>(shared_from_this(), shared_.options.stream_buffer_bytes);
  StreamWriter writer = StreamCore::writer(core);
  worker_->dispatch(
      [self = shared_from_this(), head = std::move(head), core = std::move(core)]() mutable {
        self->begin_stream(std::move(head), std::move(core));
      });
  return writer;
}

StreamWriter Connection::upgrade(Response head, Responder::OnData on_data) {
  auto core = std::make_shared<StreamCore>(shared_from_this(), shared_.options.stream_buffer_bytes);
  StreamWriter writer = StreamCore::writer(core);
  worker_->dispatch([self = shared_from_this(), head = std::move(head), core = std::move(core),
                     on_data = std::move(on_data)]() mutable {
    self->begin_upgrade(std::move(head), std::move(core), std::move(on_data));
  });
  return writer;
}

void Connection::begin_stream(Response head, std::shared_ptr<StreamCore> core) {
  if (phase_ != Phase::Handling) return core->end();
  ++shared_.counters.responses;
  ++shared_.counters.open_streams;
  const std::string first = std::exchange(head.body, {});
  std::optional<std::size_t> length;
  if (const std::string* text = head.headers.find("Content-Length")) {
    length = static_cast<std::size_t>(std::strtoull(text->c_str(), nullptr, 10));
  }
  stream_chunked_ = !length && version_minor_ == 1;
  stream_remaining_ = length;
  if (!length && version_minor_ == 0) keep_alive_ = false;  // the end of the body is the end
  enqueue(head_of(head, length, stream_chunked_, decide_close()));
  phase_ = Phase::Streaming;
  stream_ = std::move(core);
  if (head_only_) {
    stream_remaining_.reset();
    stream_chunked_ = false;
    end_stream(true);
  } else {
    if (!first.empty()) enqueue_stream_bytes(first);
    pump_stream();
  }
  if (processing_) return;
  flush();
  if (phase_ == Phase::Streaming) wait_read();  // to notice a peer that goes away
}

void Connection::begin_upgrade(Response head, std::shared_ptr<StreamCore> core,
                               Responder::OnData on_data) {
  if (phase_ != Phase::Handling) return core->end();
  ++shared_.counters.responses;
  ++shared_.counters.open_streams;
  enqueue(head_of(head, std::nullopt, false, false));
  phase_ = Phase::Upgraded;
  keep_alive_ = false;
  stream_chunked_ = false;
  stream_remaining_.reset();
  stream_ = std::move(core);
  on_data_ = std::move(on_data);
  pump_stream();
  if (processing_) return;
  const std::string early = std::exchange(pending_in_, {});
  if (!early.empty() && on_data_) on_data_(early);
  flush();
  wait_read();
}

void Connection::enqueue_stream_bytes(std::string bytes) {
  if (bytes.empty()) return;
  if (stream_remaining_) {
    if (bytes.size() > *stream_remaining_) {
      bytes.resize(*stream_remaining_);  // never more than was announced
      keep_alive_ = false;
    }
    *stream_remaining_ -= bytes.size();
  }
  if (!stream_chunked_) return enqueue(std::move(bytes));
  std::array<char, 24> size{};
  const auto end = std::to_chars(size.data(), size.data() + 20, bytes.size(), 16).ptr;
  std::string chunk;
  chunk.reserve(bytes.size() + 24);
  chunk.append(size.data(), end).append("\r\n").append(bytes).append("\r\n");
  enqueue(std::move(chunk));
}

void Connection::pump_stream() {
  if (!stream_) return;
  const auto core = stream_;  // callbacks below may end the stream
  StreamCore::Batch batch = core->take();
  enqueue_stream_bytes(std::move(batch.bytes));
  if (batch.abandoned) return end_stream(false);
  if (batch.closing) return end_stream(true);
  if (!processing_) flush();
}

// A stream that is not complete ends with the connection, so that the peer sees it was cut.
void Connection::end_stream(bool complete) {
  if (!stream_) return;
  if (stream_chunked_ && complete) enqueue("0\r\n\r\n");
  const bool cut = !complete || (stream_remaining_ && *stream_remaining_ > 0);
  const bool closing = cut || phase_ == Phase::Upgraded || decide_close();
  phase_ = closing ? Phase::Closing : Phase::Reading;  // what the callback finds
  release_stream();
  if (cut) return close();
  if (processing_) return;
  if (phase_ == Phase::Closing) return flush();
  if (phase_ == Phase::Reading) resume();
}

void Connection::release_stream() {
  auto core = std::exchange(stream_, nullptr);
  if (!core) return;
  --shared_.counters.open_streams;
  on_data_ = nullptr;
  core->end();
}

void Connection::close() {
  if (phase_ == Phase::Closed) return;
  phase_ = Phase::Closed;
  const auto self = shared_from_this();
  std::error_code ignored;
  socket_.close(ignored);
  out_.clear();
  out_bytes_ = 0;
  release_stream();
  worker_->forget(self);
  {
    std::scoped_lock lock(shared_.closed_mutex);
    --shared_.counters.open_connections;
  }
  shared_.closed.notify_all();
}

}  // namespace bai::http

// The writing half of a connection: response heads, the queue of unsent bytes, the end.
#include <array>
#include <asio/buffer.hpp>

#include "http/connection.hpp"
#include "http/stream.hpp"
#include "http/text.hpp"

namespace bai::http {
namespace {

std::chrono::steady_clock::duration to_chrono(Duration duration) {
  return std::chrono::nanoseconds(duration.ns);
}

bool would_block(std::error_code error) {
  return error == asio::error::would_block || error == asio::error::try_again;
}

}  // namespace

// ---- heads

std::string Connection::head_of(const Response& response, std::optional<std::size_t> length,
                                bool chunked, bool closing) {
  std::string out;
  out.reserve(512);
  const int status = response.status >= 100 && response.status <= 999 ? response.status : 500;
  out.append("HTTP/1.1 ").append(std::to_string(status)).append(" ");
  out.append(status_text(status)).append("\r\n");
  const Headers& headers = response.headers;
  if (!headers.has("Server")) out.append("Server: BackendAI\r\n");
  if (!headers.has("Date")) out.append("Date: ").append(worker_->date()).append("\r\n");
  if (length) out.append("Content-Length: ").append(std::to_string(*length)).append("\r\n");
  if (chunked) out.append("Transfer-Encoding: chunked\r\n");
  if (closing) {
    out.append("Connection: close\r\n");
  } else if (version_minor_ == 0) {
    out.append("Connection: keep-alive\r\n");
  }
  for (const Header& header : headers) {
    if (iequals(header.name, "Content-Length") || iequals(header.name, "Transfer-Encoding") ||
        (iequals(header.name, "Connection") && status != 101) || !is_token(header.name)) {
      continue;
    }
    out.append(header.name).append(": ");
    for (char c : header.value) {
      const auto byte = static_cast<unsigned char>(c);
      out += (byte < 0x20 && c != '\t') || byte == 0x7f ? ' ' : c;
    }
    out.append("\r\n");
  }
  return out.append("\r\n");
}

void Connection::enqueue_response(Response response, bool closing) {
  constexpr std::size_t kJoinBytes = 16 * 1024;  // copying less than this beats a second buffer
  const bool bodiless =
      response.status == 204 || response.status == 304 || response.status / 100 == 1;
  const auto length = bodiless ? std::nullopt : std::optional(response.body.size());
  std::string out = head_of(response, length, false, closing);
  const bool sends_body = !bodiless && !head_only_;
  const bool joined = response.body.size() <= kJoinBytes;
  if (sends_body && joined) out.append(response.body);
  enqueue(std::move(out));
  if (sends_body && !joined) enqueue(std::move(response.body));
  if (closing) phase_ = Phase::Closing;
}

// ---- writing

void Connection::enqueue(std::string bytes) {
  if (bytes.empty()) return;
  out_bytes_ += bytes.size();
  constexpr std::size_t kCoalesceBytes = 16 * 1024;
  if (!out_.empty() && !(writing_ && out_.size() == 1) &&
      out_.back().size() + bytes.size() <= kCoalesceBytes) {
    out_.back().append(bytes);
  } else {
    out_.push_back(std::move(bytes));
  }
}

void Connection::flush() {
  if (phase_ == Phase::Closed || writing_) return;
  if (out_.empty()) return on_drained();
  if (tls_) {
    flush_tls();
  } else {
    flush_plain();
  }
}

void Connection::flush_plain() {
  while (!out_.empty()) {
    constexpr std::size_t kGather = 8;
    std::array<asio::const_buffer, kGather> buffers;
    std::size_t used = 0;
    for (const std::string& piece : out_) {
      if (used == kGather) break;
      const std::size_t skip = used == 0 ? out_offset_ : 0;
      buffers[used++] = asio::buffer(piece.data() + skip, piece.size() - skip);
    }
    std::error_code error;
    const std::size_t size = socket_.write_some(buffers, error);
    if (would_block(error)) {
      writing_ = true;
      write_deadline_ =
          std::chrono::steady_clock::now() + to_chrono(shared_.options.write_deadline);
      socket_.async_wait(asio::ip::tcp::socket::wait_write,
                         [self = shared_from_this()](std::error_code failed) {
                           self->writing_ = false;
                           if (self->phase_ == Phase::Closed) return;
                           if (failed) return self->close();
                           self->flush();
                         });
      if (stream_) stream_->set_in_flight(out_bytes_);
      return;
    }
    if (error) return close();
    on_written(size);
  }
  on_drained();
}

void Connection::flush_tls() {
  writing_ = true;
  write_deadline_ = std::chrono::steady_clock::now() + to_chrono(shared_.options.write_deadline);
  const std::string& front = out_.front();
  tls_->async_write_some(asio::buffer(front.data() + out_offset_, front.size() - out_offset_),
                         [self = shared_from_this()](std::error_code error, std::size_t size) {
                           self->writing_ = false;
                           if (self->phase_ == Phase::Closed) return;
                           if (error) return self->close();
                           self->on_written(size);
                           self->flush();
                         });
}

void Connection::on_written(std::size_t bytes) {
  out_bytes_ -= bytes;
  while (bytes > 0) {
    const std::size_t left = out_.front().size() - out_offset_;
    if (bytes < left) {
      out_offset_ += bytes;
      return;
    }
    bytes -= left;
    out_offset_ = 0;
    out_.pop_front();
  }
}

void Connection::on_drained() {
  write_deadline_ = SteadyTime::max();
  if (stream_) {
    const auto core = stream_;
    core->set_in_flight(0);
  }
  if (phase_ == Phase::Closing) return shut_down();
  if (phase_ != Phase::Reading || processing_) return;
  if (pending_in_.empty()) {
    wait_read();  // it may have been put off while the queue was too long
  } else {
    resume();
  }
}

// Everything is written: ends our side, then waits a little for the peer to end its own. Closing
// with unread input would reset the connection and could take the response back.
void Connection::shut_down() {
  if (peer_ended_) return close();
  phase_ = Phase::Lingering;
  deadline_ = std::chrono::steady_clock::now() + to_chrono(shared_.options.linger);
  if (tls_) {
    tls_->async_shutdown([self = shared_from_this()](std::error_code) { self->close(); });
    return;
  }
  std::error_code error;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, error);
  if (error) return close();
  wait_read();
}

}  // namespace bai::http

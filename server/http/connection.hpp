// Internal to server/http: one accepted socket, from its first byte to its last.
#pragma once

#include <asio/ip/tcp.hpp>
#include <asio/ssl/stream.hpp>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http/parser.hpp"
#include "http/responder.hpp"
#include "http/worker.hpp"

namespace bai::http {

class StreamCore;

// Lives on its worker's io thread; only the Sink functions may be called from elsewhere.
// One request is outstanding at a time: while its handler runs nothing is read, which is the
// back-pressure on pipelining clients.
class Connection final : public Responder::Sink, public std::enable_shared_from_this<Connection> {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;

  Connection(std::shared_ptr<Worker> worker, asio::ip::tcp::socket socket);
  ~Connection() override;

  void start();
  void start_refused();  // says 503 and goes
  void check_deadlines(SteadyTime now);
  void end_for_stop();  // no new requests; idle: at once
  void close();         // cuts; idempotent

  void respond(Response response) override;
  StreamWriter stream(Response head) override;
  StreamWriter upgrade(Response head, Responder::OnData on_data) override;
  void drop() override;

  void pump_stream();  // the stream has bytes or wants to end
  Worker& worker() noexcept { return *worker_; }

 private:
  enum class Phase {
    Handshake,
    Reading,    // waiting for a request or in the middle of one
    Handling,   // the handler has it
    Streaming,  // a streamed response is open
    Upgraded,   // a raw pipe
    Closing,    // ends when the queue is written
    Lingering,  // our side is shut; reading on so that the peer gets to see the response
    Closed,
  };

  void handshake();
  void wait_read();
  void on_readable();
  void on_read_end();
  void on_bytes(std::string_view bytes);
  void consume(std::string_view bytes);
  void resume();
  void set_reading_deadline();
  void handle_request();
  void on_framing_error(FramingError error);
  void on_timeout();

  void on_response(Response response);
  void begin_stream(Response head, std::shared_ptr<StreamCore> core);
  void begin_upgrade(Response head, std::shared_ptr<StreamCore> core, Responder::OnData on_data);
  void end_stream(bool complete);
  void release_stream();
  void enqueue_stream_bytes(std::string bytes);

  bool decide_close() const noexcept;
  std::string head_of(const Response& response, std::optional<std::size_t> length, bool chunked,
                      bool closing);
  void enqueue_response(Response response, bool closing);
  void enqueue(std::string bytes);
  void flush();
  void flush_plain();
  void flush_tls();
  void on_written(std::size_t bytes);
  void on_drained();
  void shut_down();

  std::shared_ptr<Worker> worker_;
  Shared& shared_;
  asio::ip::tcp::socket socket_;
  std::optional<asio::ssl::stream<asio::ip::tcp::socket&>> tls_;
  std::string tls_buffer_;
  std::string peer_ip_;
  std::uint16_t peer_port_ = 0;

  RequestParser parser_;
  Phase phase_ = Phase::Reading;
  bool reading_ = false;     // a read is outstanding
  bool writing_ = false;     // a write (or the wait for one) is outstanding
  bool processing_ = false;  // consume() is on the stack
  bool peer_ended_ = false;  // end of stream seen
  bool continue_sent_ = false;
  bool had_request_ = false;
  std::string pending_in_;  // received, but belongs behind the current request

  // Of the request being handled.
  bool head_only_ = false;
  bool keep_alive_ = true;
  int version_minor_ = 1;

  std::deque<std::string> out_;
  std::size_t out_offset_ = 0;  // of out_.front()
  std::size_t out_bytes_ = 0;

  std::shared_ptr<StreamCore> stream_;
  bool stream_chunked_ = false;
  std::optional<std::size_t> stream_remaining_;  // with a Content-Length
  Responder::OnData on_data_;

  SteadyTime request_start_{};
  SteadyTime deadline_ = SteadyTime::max();
  SteadyTime write_deadline_ = SteadyTime::max();
};

}  // namespace bai::http

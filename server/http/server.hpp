// The network front: accepts connections, reads whole requests, hands them to one handler and
// writes what it answers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "bai_manager/result.hpp"
#include "bai_manager/time.hpp"
#include "http/message.hpp"
#include "http/parser.hpp"
#include "http/responder.hpp"

namespace bai::http {

struct TlsOptions {
  std::string certificate_file;  // PEM, leaf first, then the chain
  std::string private_key_file;  // PEM
};

struct ServerOptions {
  std::string address = "127.0.0.1";  // numeric IPv4 or IPv6
  std::uint16_t port = 8080;          // 0 takes a free one; see Server::port()
  unsigned io_threads = 1;            // a connection stays on one of them for life
  int listen_backlog = 4096;
  std::size_t max_connections = 10'000;  // beyond it: 503 and close
  ParserLimits limits;
  RequestParser::BodyLimit body_limit;      // per-route override; called on io threads
  Duration header_deadline = seconds(10);   // first byte (or accept) to the end of the headers: 408
  Duration request_deadline = seconds(60);  // first byte to the end of the body: 408
  Duration idle_timeout = seconds(75);      // between requests of one connection: silent close
  Duration write_deadline = seconds(60);    // without progress while bytes are waiting: cut
  Duration linger = seconds(2);  // reading on after an error response so that the client sees it
  Duration accept_retry = milliseconds(100);      // pause after running out of descriptors
  std::size_t stream_buffer_bytes = 1024 * 1024;  // per stream, before writes are Full
  TlsOptions tls;                                 // both empty: plain TCP
};

// A consistent-enough copy of the counters; all but the `open_` ones only grow.
struct ServerCounters {
  std::uint64_t open_connections = 0;
  std::uint64_t open_streams = 0;  // streamed responses and upgraded connections
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;  // over max_connections
  std::uint64_t accept_errors = 0;
  std::uint64_t requests = 0;   // handed to the handler
  std::uint64_t responses = 0;  // answered, streams included
  std::uint64_t dropped_responders = 0;
  std::uint64_t header_timeouts = 0;
  std::uint64_t request_timeouts = 0;
  std::uint64_t idle_timeouts = 0;
  std::uint64_t write_timeouts = 0;
  std::uint64_t truncated_requests = 0;  // the peer left in the middle of one
  std::array<std::uint64_t, kFramingErrorCount> framing_errors{};  // by FramingError
};

// Runs on an io thread and must not block; with several io threads it runs on all of them at once.
using Handler = std::move_only_function<void(std::shared_ptr<Request>, Responder)>;

class Server {
 public:
  // Binds, listens and starts the io threads. Unavailable with kind "port-taken" when somebody
  // else listens there; InvalidArgument for an address or a certificate that cannot be used.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, Handler handler);
  ~Server();  // stop() without patience
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t port() const noexcept;
  ServerCounters counters() const;

  // Stops accepting, closes idle connections and ends streams, lets requests in flight be answered
  // for at most `patience`, then cuts what is left. Blocks; not from an io thread. Responders that
  // are still held afterwards stay harmless. A second call does nothing.
  void stop(Duration patience);

 private:
  class Impl;
  explicit Server(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace bai::http

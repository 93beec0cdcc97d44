// Why this front answers requests itself instead of running cpp-httplib's process_request() on
// each of them. Once framing has been checked strictly the request is already parsed; handing the
// bytes to httplib would parse them a second time with a laxer reader, run a linear list of
// regular expressions, and cost about 5 us of the 25 us that one request may take at the rate this
// server is built for. What remains to be gained from it is small text handling, and the packaged
// library keeps those helpers out of its header. So httplib is what it is good at here: the client
// side, in the command-line client and in the tests, where it also checks that a foreign
// implementation understands this one.
#include "http/server.hpp"

#include <fmt/format.h>

#include <asio/ip/address.hpp>
#include <cerrno>

#include "http/connection.hpp"
#include "http/worker.hpp"

namespace bai::http {
namespace {

// Refused clients beyond max_connections that are told so; the ones after them are just closed.
constexpr std::size_t kRefusedAtOnce = 100;

// Compared as errno values: Asio's category does not map to the portable conditions.
bool out_of_resources(std::error_code error) {
  const int value = error.value();
  return value == EMFILE || value == ENFILE || value == ENOBUFS || value == ENOMEM;
}

std::unexpected<Error> listen_error(const ServerOptions& options, std::error_code error) {
  const bool v6 = options.address.find(':') != std::string::npos;
  const std::string where =
      fmt::format(fmt::runtime(v6 ? "[{}]:{}" : "{}:{}"), options.address, options.port);
  if (error.value() == EADDRINUSE) {
    return fail(ErrorCode::Unavailable,
                fmt::format("cannot listen on {}: port {} is taken; stop the program that uses it "
                            "or choose another port",
                            where, options.port),
                "port-taken");
  }
  if (error.value() == EACCES) {
    return fail(ErrorCode::PermissionDenied,
                fmt::format("cannot listen on {}: ports below 1024 need privileges; choose a "
                            "higher port",
                            where),
                "port-not-permitted");
  }
  return fail(ErrorCode::InvalidArgument,
              fmt::format("cannot listen on {}: {}", where, error.message()), "listen-failed");
}

Status load_tls(const TlsOptions& options, std::optional<asio::ssl::context>& out) {
  if (options.certificate_file.empty() && options.private_key_file.empty()) return {};
  const auto wrong = [](std::string_view what, const std::string& file, std::error_code error) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("cannot use the TLS {} in '{}': {}", what, file, error.message()),
                "bad-tls-file");
  };
  if (options.certificate_file.empty() || options.private_key_file.empty()) {
    return fail(ErrorCode::InvalidArgument,
                "TLS needs both a certificate file and a private key file", "bad-tls-file");
  }
  std::error_code error;
  asio::ssl::context context(asio::ssl::context::tls_server);
  context.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 |
                          asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 |
                          asio::ssl::context::no_tlsv1_1,
                      error);
  context.use_certificate_chain_file(options.certificate_file, error);
  if (error) return wrong("certificate", options.certificate_file, error);
  context.use_private_key_file(options.private_key_file, asio::ssl::context::pem, error);
  if (error) return wrong("private key", options.private_key_file, error);
  out.emplace(std::move(context));
  return {};
}

}  // namespace

class Server::Impl {
 public:
  explicit Impl(std::shared_ptr<Shared> shared)
      : shared_(std::move(shared)),
        workers_(make_workers(shared_)),
        acceptor_(workers_[0]->io()),
        retry_(workers_[0]->io()) {}

  Status open() {
    const ServerOptions& options = shared_->options;
    if (auto loaded = load_tls(options.tls, shared_->tls); !loaded) return loaded;
    std::error_code error;
    const auto address = asio::ip::make_address(options.address, error);
    if (error) {
      return fail(ErrorCode::InvalidArgument,
                  fmt::format("'{}' is not an address to listen on; use a numeric IPv4 or IPv6 "
                              "address such as 127.0.0.1 or ::",
                              options.address),
                  "bad-address");
    }
    const asio::ip::tcp::endpoint endpoint(address, options.port);
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(options.listen_backlog, error);
    if (error) return listen_error(options, error);
    port_ = acceptor_.local_endpoint(error).port();
    accept();
    for (const auto& worker : workers_) worker->start();
    return {};
  }

  void stop(Duration patience) {
    if (stopped_.exchange(true)) return;
    shared_->stopping = true;
    workers_[0]->post([this] {
      std::error_code ignored;
      acceptor_.close(ignored);
      retry_.cancel();
    });
    for (const auto& worker : workers_) {
      worker->post([raw = worker.get()] { raw->drain_for_stop(); });
    }
    {
      std::unique_lock lock(shared_->closed_mutex);
      shared_->closed.wait_for(lock, std::chrono::nanoseconds(patience.ns),
                               [this] { return shared_->counters.open_connections.load() == 0; });
    }
    for (const auto& worker : workers_) worker->finish();
    shared_->handler = nullptr;  // what it refers to may go away now
  }

  std::uint16_t port() const noexcept { return port_; }
  const CounterCells& cells() const noexcept { return shared_->counters; }

 private:
  static std::vector<std::shared_ptr<Worker>> make_workers(const std::shared_ptr<Shared>& shared) {
    std::vector<std::shared_ptr<Worker>> workers;
    const unsigned count = std::max(1u, shared->options.io_threads);
    for (unsigned i = 0; i < count; ++i) workers.push_back(std::make_shared<Worker>(shared));
    return workers;
  }

  void accept() {
    const auto& worker = workers_[next_worker_++ % workers_.size()];
    acceptor_.async_accept(worker->io(),
                           [this, worker](std::error_code error, asio::ip::tcp::socket socket) {
                             if (!acceptor_.is_open() || error == asio::error::operation_aborted)
                               return;
                             if (!error) {
                               admit(worker, std::move(socket));
                             } else {
                               ++shared_->counters.accept_errors;
                               if (out_of_resources(error)) return accept_later();
                             }
                             accept();
                           });
  }

  // The waiting connections stay in the kernel's queue until something has been closed.
  void accept_later() {
    retry_.expires_after(std::chrono::nanoseconds(shared_->options.accept_retry.ns));
    retry_.async_wait([this](std::error_code error) {
      if (!error && acceptor_.is_open()) accept();
    });
  }

  void admit(const std::shared_ptr<Worker>& worker, asio::ip::tcp::socket socket) {
    CounterCells& counters = shared_->counters;
    const std::size_t open = counters.open_connections.load();
    const bool refuse = open >= shared_->options.max_connections;
    ++(refuse ? counters.refused : counters.accepted);
    if (open >= shared_->options.max_connections + kRefusedAtOnce) return;
    ++counters.open_connections;
    worker->dispatch([worker, refuse, socket = std::move(socket)]() mutable {
      worker->adopt(std::move(socket), refuse);
    });
  }

  std::shared_ptr<Shared> shared_;
  std::vector<std::shared_ptr<Worker>> workers_;
  asio::ip::tcp::acceptor acceptor_;  // with retry_: on the first worker's thread
  asio::steady_timer retry_;
  std::size_t next_worker_ = 0;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopped_{false};
};

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, Handler handler) {
  auto shared = std::make_shared<Shared>();
  shared->options = std::move(options);
  shared->handler = std::move(handler);
  auto impl = std::make_shared<Impl>(std::move(shared));
  if (auto opened = impl->open(); !opened) return std::unexpected(opened.error());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::~Server() { stop({}); }

std::uint16_t Server::port() const noexcept { return impl_->port(); }

void Server::stop(Duration patience) { impl_->stop(patience); }

ServerCounters Server::counters() const {
  const CounterCells& cells = impl_->cells();
  ServerCounters out;
  out.open_connections = cells.open_connections;
  out.open_streams = cells.open_streams;
  out.accepted = cells.accepted;
  out.refused = cells.refused;
  out.accept_errors = cells.accept_errors;
  out.requests = cells.requests;
  out.responses = cells.responses;
  out.dropped_responders = cells.dropped_responders;
  out.header_timeouts = cells.header_timeouts;
  out.request_timeouts = cells.request_timeouts;
  out.idle_timeouts = cells.idle_timeouts;
  out.write_timeouts = cells.write_timeouts;
  out.truncated_requests = cells.truncated_requests;
  for (std::size_t i = 0; i < kFramingErrorCount; ++i) {
    out.framing_errors[i] = cells.framing_errors[i];
  }
  return out;
}

}  // namespace bai::http

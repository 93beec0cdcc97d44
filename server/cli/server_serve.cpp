// `serve`: the parts put together, run until a signal, taken apart in the right order.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "agent/event_channel.hpp"
#include "agent/gateway.hpp"
#include "bai_manager/runtime.hpp"
#include "http/server.hpp"
#include "local_agent/local_agent.hpp"
#include "rest/api.hpp"
#include "server_collectors.hpp"
#include "server_commands.hpp"
#include "server_log.hpp"

namespace bai::server {
namespace {

// Handlers rather than blocked or ignored signals: those would be inherited by the kernels.
int signal_pipe[2] = {-1, -1};

void on_signal(int number) {
  const auto byte = static_cast<char>(number);
  [[maybe_unused]] const auto written = ::write(signal_pipe[1], &byte, 1);
}
void on_refused_write(int) {}  // the call itself fails, and that is handled where it is made

bool catch_signals() {
  if (::pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0) return false;
  struct sigaction action{};
  action.sa_flags = SA_RESTART;
  action.sa_handler = on_signal;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  action.sa_handler = on_refused_write;
  ::sigaction(SIGPIPE, &action, nullptr);
  ::sigaction(SIGXFSZ, &action, nullptr);  // a file may grow no more: as a full disk
  return true;
}

int wait_for_signal() {
  for (;;) {
    pollfd waiting{signal_pipe[0], POLLIN, 0};
    ::poll(&waiting, 1, -1);
    char byte = 0;
    if (::read(signal_pipe[0], &byte, 1) == 1) return byte;
  }
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

// Everything that runs; members are destroyed in reverse order.
class Server {
 public:
  Server(ServerConfig config, bool internal) : config_(std::move(config)), internal_(internal) {}
  ~Server() { stop(); }

  Status start(const std::vector<std::string>& fixtures);
  void stop();
  ServerLog& log() { return log_; }

 private:
  Status start_manager();
  Status start_events();
  Result<std::unique_ptr<http::Server>> listen(const HostPort& address, bool internal);
  Status start_http();
  Status start_local_agent();
  Status write_pid_file();
  void info(const std::string& text) { log_.write(LogLevel::Info, "server", text); }

  ServerConfig config_;
  const bool internal_;
  ServerLog log_{config_.log_level};
  Metrics metrics_;
  Runtime runtime_{&log_};
  CurveKeyPair keys_;
  std::shared_ptr<ZmqAgentGateway> gateway_;
  std::unique_ptr<RestApi> rest_;
  std::unique_ptr<Manager> manager_;
  std::unique_ptr<EventListener> events_;
  std::unique_ptr<http::Server> public_http_, internal_http_;
  std::unique_ptr<LocalAgent> local_agent_;
  std::vector<Metrics::Guard> collectors_;
  std::string pid_file_;  // empty: not written
};

Status Server::start_manager() {
  auto storage = open_storage(config_);
  if (!storage) return std::unexpected(std::move(storage.error()));
  GatewayOptions gateway;
  gateway.log = &log_;
  gateway.keepalive_idle =
      nanoseconds(static_cast<std::int64_t>(config_.rpc_keepalive_timeout * 1e9));
  if (!config_.rpc_auth_manager_keypair.empty()) {
    auto keys = load_curve_certificate(config_.rpc_auth_manager_keypair, true);
    if (!keys) {
      keys.error().message = "manager.rpc-auth-manager-keypair: " + keys.error().message;
      return std::unexpected(std::move(keys.error()));
    }
    keys_ = gateway.manager_keys = std::move(*keys);
  }
  auto made = ZmqAgentGateway::create(std::move(gateway));
  if (!made) return std::unexpected(std::move(made.error()));
  gateway_ = std::move(*made);
  Ports ports;
  ports.storage = std::move(*storage);
  ports.agents = gateway_;
  ports.metrics = std::shared_ptr<MetricsSink>(std::shared_ptr<void>{}, &metrics_);
  auto manager = Manager::open(config_.options, runtime_.env(), std::move(ports));
  if (!manager) return std::unexpected(std::move(manager.error()));
  manager_ = std::move(*manager);
  return {};
}

Status Server::start_events() {
  EventListenerOptions options;
  options.addr = config_.event_listen_addr;
  options.log = &log_;
  auto made = EventListener::create(std::move(options), [this](AgentEvent event, EventDone done) {
    manager_->deliver(std::move(event), std::move(done));
  });
  if (!made) {
    auto& error = made.error();
    error.message = fmt::format(
        "cannot listen for agents' events on {}: {}. Choose another address with --event-listen "
        "or bai.event-listen-addr",
        config_.event_listen_addr, error.message);
    return std::unexpected(std::move(error));
  }
  events_ = std::move(*made);
  return {};
}

Result<std::unique_ptr<http::Server>> Server::listen(const HostPort& address, bool internal) {
  http::ServerOptions options;
  options.address = address.host;
  options.port = address.port;
  options.io_threads = internal ? 1 : static_cast<unsigned>(config_.io_threads);
  options.max_connections = static_cast<std::size_t>(config_.max_connections);
  options.limits.body_bytes = static_cast<std::size_t>(config_.max_body_bytes);
  if (config_.ssl_enabled && !internal) {
    options.tls = {config_.ssl_cert, config_.ssl_privkey};
  }
  auto server = http::Server::start(
      std::move(options),
      [this, internal](std::shared_ptr<http::Request> request, http::Responder responder) {
        if (internal) {
          rest_->handle_internal(std::move(request), std::move(responder));
        } else {
          rest_->handle(std::move(request), std::move(responder));
        }
      });
  if (server) return server;
  auto& error = server.error();
  error.message =
      fmt::format("cannot listen on {}: {}. Choose another address with {} or {}",
                  to_string(address), error.message, internal ? "--internal-listen" : "--listen",
                  internal ? "manager.internal-addr" : "manager.service-addr");
  return std::unexpected(std::move(error));
}

Status Server::start_http() {
  RestOptions options;
  options.hide_agents = config_.hide_agents;
  options.allow_origins = config_.allow_origins;
  options.trusted_proxies = config_.trusted_proxies;
  options.manager_id = config_.manager_id.empty() ? "i-" + host_name() : config_.manager_id;
  options.service_addr = to_string(config_.service_addr);
  auto rest = RestApi::create(std::move(options), *manager_, metrics_);
  if (!rest) return std::unexpected(std::move(rest.error()));
  rest_ = std::move(*rest);
  if (internal_) {
    auto server = listen(config_.internal_addr, true);
    if (!server) return std::unexpected(std::move(server.error()));
    internal_http_ = std::move(*server);
  }
  auto server = listen(config_.service_addr, false);
  if (!server) return std::unexpected(std::move(server.error()));
  public_http_ = std::move(*server);
  collectors_.push_back(metrics_.add_collector(
      [this](std::vector<Sample>& out) { collect_manager(*manager_, out); }));
  collectors_.push_back(metrics_.add_collector(
      [this](std::vector<Sample>& out) { collect_http(public_http_->counters(), out); }));
  collectors_.push_back(metrics_.add_collector([this](std::vector<Sample>& out) {
    collect_agents(gateway_->stats(), events_->stats(), out);
  }));
  return {};
}

Status Server::start_local_agent() {
  LocalAgentOptions options;
  options.id = AgentId(config_.local_agent_id);
  options.work_root = config_.data_dir + "/kernels";
  options.event_addr = events_->addr();
  options.resource_group = config_.local_agent_resource_group;
  options.log = &log_;
  if (!config_.local_agent_cpu.empty()) options.slots["cpu"] = config_.local_agent_cpu;
  if (!config_.local_agent_mem.empty()) {
    const auto bytes = parse_binary_size(config_.local_agent_mem);
    if (!bytes) {
      return fail(ErrorCode::InvalidArgument, "bai.local-agent.mem: " + bytes.error().message);
    }
    options.slots["mem"] = std::to_string(*bytes);
  }
  if (!keys_.empty()) {
    auto keys = generate_curve_key_pair();
    if (!keys) return std::unexpected(std::move(keys.error()));
    options.keys = std::move(*keys);
    options.manager_public_key = keys_.public_key;
  }
  std::error_code ignored;
  std::filesystem::create_directories(options.work_root, ignored);
  local_agent_ = std::make_unique<LocalAgent>(std::move(options));
  return local_agent_->start();
}

Status Server::write_pid_file() {
  if (config_.pid_file.empty() || config_.pid_file == "/dev/null") return {};
  std::ofstream out(config_.pid_file, std::ios::trunc);
  out << ::getpid() << '\n';
  if (out.flush()) {
    pid_file_ = config_.pid_file;
    return {};
  }
  return fail(ErrorCode::Unavailable,
              fmt::format("cannot write manager.pid-file '{}'", config_.pid_file));
}

Status Server::start(const std::vector<std::string>& fixtures) {
  for (const auto step : {&Server::start_manager, &Server::start_events}) {
    if (auto ok = (this->*step)(); !ok) return ok;
  }
  for (const auto& path : fixtures) {
    auto loaded = load_fixture_file(*manager_, path);
    if (!loaded) return std::unexpected(std::move(loaded.error()));
    info(
        fmt::format("{}: {} rows inserted, {} replaced", path, loaded->inserted, loaded->replaced));
  }
  if (auto ok = start_http(); !ok) return ok;
  if (auto ok = write_pid_file(); !ok) return ok;
  info(fmt::format("listening on {}://{}:{}", config_.ssl_enabled ? "https" : "http",
                   config_.service_addr.host, public_http_->port()));
  if (internal_http_) {
    info(fmt::format("metrics on http://{}:{}/metrics", config_.internal_addr.host,
                     internal_http_->port()));
  }
  info(fmt::format("agents' events on {}", events_->addr()));
  if (config_.local_agent) return start_local_agent();  // it says itself where it is
  return {};
}

void Server::stop() {
  const auto patience = nanoseconds(static_cast<std::int64_t>(config_.drain_seconds * 1e9));
  collectors_.clear();
  if (public_http_) public_http_->stop(patience);
  if (internal_http_) internal_http_->stop(seconds(0));
  // Agent and manager go together and come back together: announcing the agent's end would give
  // up kernels that the next start finds again.
  if (local_agent_) local_agent_->abandon();
  local_agent_.reset();
  events_.reset();
  if (manager_) {
    if (auto closed = manager_->close(patience); !closed) {
      log_.write(LogLevel::Warn, "server", "stopped with work left: " + closed.error().message);
    }
  }
  manager_.reset();
  public_http_.reset();
  internal_http_.reset();
  rest_.reset();
  gateway_.reset();
  if (!pid_file_.empty()) ::unlink(pid_file_.c_str());
}

}  // namespace

int serve(const ServeArguments& arguments) {
  auto config = effective_config(arguments);
  if (!config) return kExitUsage;
  raise_open_file_limit();
  if (!catch_signals()) return kExitFailed;
  Server server(std::move(*config), !arguments.no_internal);
  if (auto started = server.start(arguments.fixtures); !started) {
    server.log().write(LogLevel::Error, "server", started.error().message);
    return kExitFailed;
  }
  const int number = wait_for_signal();
  server.log().write(LogLevel::Info, "server",
                     fmt::format("{}: stopping", number == SIGINT ? "SIGINT" : "SIGTERM"));
  server.stop();
  return kExitOk;
}

}  // namespace bai::server

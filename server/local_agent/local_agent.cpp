#include "local_agent/local_agent.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "agent/rpc_server.hpp"
#include "bai_manager/agent.hpp"
#include "bai_manager/resources.hpp"
#include "local_agent/event_loop.hpp"
#include "local_agent/kernel_host.hpp"

namespace bai::server {

using namespace local;

namespace {

constexpr Duration kGoodbyeTimeout = seconds(1);
// "bai-": the manager may repeat a batch trigger whose outcome it does not know.
constexpr std::string_view kVersion = "bai-0.1.0";

std::string host_architecture() {
  utsname name{};
  ::uname(&name);
  return name.machine;
}

std::map<std::string, std::string> host_slots() {
  const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  const std::int64_t memory =
      std::int64_t{::sysconf(_SC_PHYS_PAGES)} * std::int64_t{::sysconf(_SC_PAGESIZE)};
  return {{"cpu", std::to_string(std::max(1L, cpus))}, {"mem", std::to_string(memory)}};
}

bool is_script(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 2> start{};
  return fd && ::read(fd.get(), start.data(), start.size()) == 2 && start[0] == '#' &&
         start[1] == '!';
}

// Empty when there is none.
std::string find_program(const std::string& name) {
  const char* variable = std::getenv("PATH");
  std::string path = variable != nullptr ? variable : "";
  path += ":/usr/local/bin:/usr/bin:/bin";
  std::string script;
  std::size_t at = 0;
  while (at <= path.size()) {
    const auto end = std::min(path.find(':', at), path.size());
    const std::string candidate = path.substr(at, end - at) + "/" + name;
    at = end + 1;
    if (candidate[0] != '/' || ::access(candidate.c_str(), X_OK) != 0) continue;
    if (!is_script(candidate)) return candidate;
    if (script.empty()) script = candidate;
  }
  return script;
}

// "tcp://HOST:PORT" -> HOST
std::string host_of(const std::string& addr) {
  const auto start = addr.find("://");
  const auto from = start == std::string::npos ? 0 : start + 3;
  return addr.substr(from, addr.rfind(':') - from);
}

CallReply answer(RpcReplier replier) {
  return [replier = std::move(replier)](std::expected<Json, CallError> result) mutable {
    if (result) {
      replier.ok(std::move(*result));
    } else {
      replier.fail(result.error().kind, result.error().message);
    }
  };
}

}  // namespace

std::map<std::string, LocalImageProgram> find_local_images() {
  std::map<std::string, LocalImageProgram> images;
  using Kind = LocalImageProgram::Kind;
  if (auto python = find_program("python3"); !python.empty())
    images["local/python:3"] = {Kind::Python, std::move(python)};
  if (const auto bash = find_program("bash"); !bash.empty())
    images["local/shell"] = images["local/shell:latest"] = {Kind::Shell, bash};
  return images;
}

class LocalAgent::Impl {
 public:
  explicit Impl(LocalAgentOptions options) : options_(std::move(options)) {}
  ~Impl() { stop(true); }

  Status start();
  void stop(bool announce);
  const std::string& addr() const noexcept { return addr_; }

 private:
  Status check_options();
  KernelHostOptions host_options() const;
  void dispatch(DecodedRequest request, RpcReplier replier);
  void execute(const Execute& request, RpcReplier replier);
  template <class Use>
  void use_files(const KernelId& id, RpcReplier& replier, Use use);
  AgentInfo info() const;
  void heartbeat();
  void log(LogLevel level, const std::string& message) const {
    if (options_.log != nullptr) options_.log->write(level, "local-agent", message);
  }

  LocalAgentOptions options_;
  std::string addr_, architecture_ = host_architecture();
  EventLoop loop_;
  std::unique_ptr<EventClient> events_;
  std::unique_ptr<KernelHost> host_;
  std::unique_ptr<RpcServer> rpc_;
  std::thread thread_;
};

Status LocalAgent::Impl::check_options() {
  if (options_.id.empty())
    return fail(ErrorCode::InvalidArgument, "the local agent needs an id, such as i-local");
  if (options_.work_root.empty())
    return fail(ErrorCode::InvalidArgument,
                "the local agent needs a work root: a directory for its kernels");
  if (options_.heartbeat_interval.ms() < 1)
    return fail(ErrorCode::InvalidArgument, "the heartbeat interval must be positive");
  if (options_.max_console_bytes < 1 || options_.max_console_bytes > kMaxConsoleBytes)
    return fail(ErrorCode::InvalidArgument,
                fmt::format("max_console_bytes must be from 1 to {}", kMaxConsoleBytes));
  if (options_.slots.empty()) options_.slots = host_slots();
  const SlotTypes types;
  for (const auto& [name, text] : options_.slots) {
    const auto amount = parse_amount(types.type_of(name), text);
    if (!amount)
      return fail(ErrorCode::InvalidArgument,
                  fmt::format("slot {} of the local agent: {}", name, amount.error().message));
    options_.slots[name] = format_amount(types.type_of(name), *amount);
  }
  if (!options_.slots.contains("cpu") || !options_.slots.contains("mem"))
    return fail(ErrorCode::InvalidArgument, "the slots of a local agent must name cpu and mem");
  std::error_code error;
  options_.work_root = std::filesystem::absolute(options_.work_root, error).lexically_normal();
  while (options_.work_root.size() > 1 && options_.work_root.ends_with('/'))
    options_.work_root.pop_back();
  return {};
}

KernelHostOptions LocalAgent::Impl::host_options() const {
  KernelHostOptions host;
  host.work_root = options_.work_root;
  host.executable = options_.executable;
  host.kernel_host = options_.advertised_host.empty() ? host_of(addr_) : options_.advertised_host;
  host.agent_addr = addr_;
  host.resource_group = options_.resource_group;
  host.architecture = architecture_;
  host.slots = options_.slots;
  for (const auto& [name, program] : options_.images)
    host.images[name] = {
        program.kind == LocalImageProgram::Kind::Python ? Runtime::Python : Runtime::Shell,
        program.path};
  host.limit_memory = options_.limit_memory;
  host.max_log_bytes = options_.max_log_bytes;
  host.max_console_bytes = options_.max_console_bytes;
  host.term_grace = EventLoop::Millis(options_.term_grace.ms());
  host.start_timeout = EventLoop::Millis(options_.start_timeout.ms());
  host.hung_timeout = EventLoop::Millis(options_.hung_timeout.ms());
  host.keep_ended_count = options_.keep_ended_count;
  host.keep_ended_for = EventLoop::Millis(options_.keep_ended_for.ms());
  return host;
}

Status LocalAgent::Impl::start() {
  if (auto checked = check_options(); !checked) return checked;
  EventClientOptions event_options;
  event_options.addr = options_.event_addr;
  event_options.log = options_.log;
  auto events = EventClient::create(std::move(event_options));
  if (!events) return std::unexpected(events.error());
  RpcServerOptions rpc_options;
  rpc_options.keys = options_.keys;
  rpc_options.manager_public_key = options_.manager_public_key;
  rpc_options.log = options_.log;
  auto rpc =
      RpcServer::create(std::move(rpc_options), [this](DecodedRequest request, RpcReplier replier) {
        loop_.post([this, request = std::move(request), replier = std::move(replier)]() mutable {
          dispatch(std::move(request), std::move(replier));
        });
      });
  if (!rpc) return std::unexpected(rpc.error());
  auto bound = (*rpc)->bind(options_.rpc_addr, options_.id);
  if (!bound) return std::unexpected(bound.error());
  addr_ = *bound;
  if (!options_.advertised_host.empty())
    addr_ = fmt::format("tcp://{}{}", options_.advertised_host, addr_.substr(addr_.rfind(':')));
  events_ = std::move(*events);
  // Requests that come this early wait in the loop, whose thread starts below.
  events_->send(options_.id, AgentStarted{"self-started"});
  host_ = std::make_unique<KernelHost>(loop_, host_options(), [this](AgentEventBody event) {
    if (!events_->send(options_.id, event))
      log(LogLevel::Error, "an event was dropped: the manager takes none and the queue is full");
  });
  if (auto opened = host_->open(); !opened) {
    rpc->reset();
    host_.reset();
    events_.reset();
    return opened;
  }
  rpc_ = std::move(*rpc);
  heartbeat();
  log(LogLevel::Info, fmt::format("agent {} at {} with {} kernels in {}", options_.id.str(), addr_,
                                  host_->running(), options_.work_root));
  thread_ = std::thread([this] { loop_.run(); });
  return {};
}

void LocalAgent::Impl::stop(bool announce) {
  if (!thread_.joinable()) return;
  rpc_.reset();
  if (announce) {
    events_->send(options_.id, AgentTerminated{"shutdown"});
    events_->flush(kGoodbyeTimeout);
  }
  loop_.stop();
  thread_.join();
  if (announce && events_->flush({})) host_->confirm_events();
  host_.reset();
  events_.reset();
}

AgentInfo LocalAgent::Impl::info() const {
  AgentInfo info;
  info.addr = addr_;
  info.public_key = options_.keys.public_key;
  info.public_host = host_of(addr_);
  info.resource_group = options_.resource_group;
  info.architecture = architecture_;
  info.version = kVersion;
  const SlotTypes types;
  for (const auto& [name, amount] : options_.slots) {
    info.slots.emplace_back(name, amount);
    info.slot_types.emplace_back(name, to_string(types.type_of(name)));
  }
  info.compute_plugins.set("cpu", Json::object({{"version", kVersion}}));
  info.compute_plugins.set("mem", Json::object({{"version", kVersion}}));
  return info;
}

void LocalAgent::Impl::heartbeat() {
  // Before the next one is queued: is everything acknowledged that was sent until now?
  if (host_->has_unconfirmed() && events_->flush({})) host_->confirm_events();
  host_->prune();
  events_->send(options_.id, AgentHeartbeat{info()});
  loop_.run_after(EventLoop::Millis(options_.heartbeat_interval.ms()), [this] { heartbeat(); });
}

// ---- requests -----------------------------------------------------------------------------------

template <class Use>
void LocalAgent::Impl::use_files(const KernelId& id, RpcReplier& replier, Use use) {
  const auto files = host_->files(id);
  if (!files) return replier.fail(files.error().kind, files.error().message);
  auto result = use(*files);
  using T = typename decltype(result)::value_type;
  if (!result) return replier.fail(result.error().kind, result.error().message);
  if constexpr (std::is_same_v<T, Bytes>) {
    replier.ok_bytes(std::move(*result));
  } else if constexpr (std::is_void_v<T>) {
    replier.ok();
  } else {
    replier.ok(std::move(*result));
  }
}

void LocalAgent::Impl::execute(const Execute& request, RpcReplier replier) {
  // When the caller gives up, the output that it has not got waits for its next call.
  auto forget = std::make_shared<std::function<void()>>();
  replier.on_cancel([this, forget] {
    loop_.post([forget] {
      if (*forget) (*forget)();
    });
  });
  *forget = host_->execute(request, answer(std::move(replier)));
}

void LocalAgent::Impl::dispatch(DecodedRequest request, RpcReplier replier) {
  if (!request.agent.empty() && request.agent != options_.id)
    return replier.fail(
        "AgentIdNotFoundError",
        fmt::format("agent {} is not here: this is {}", request.agent.str(), options_.id.str()));
  struct Visitor {
    Impl& self;
    KernelHost& host;
    RpcReplier& replier;
    CallReply reply() { return answer(std::move(replier)); }

    void operator()(CheckAndPull& r) { host.check_and_pull(r, reply()); }
    void operator()(CreateKernels& r) { host.create(std::move(r), reply()); }
    void operator()(DestroyKernel& r) { host.destroy(r, reply()); }
    void operator()(CheckCreating& r) { replier.ok(host.is_creating(r.kernel)); }
    void operator()(CheckRunning& r) { replier.ok(host.is_running(r.kernel)); }
    void operator()(SyncKernelRegistry& r) { host.sync(r, reply()); }
    void operator()(TriggerBatch& r) { host.trigger_batch(r, reply()); }
    void operator()(Execute& r) { self.execute(r, std::move(replier)); }
    void operator()(InterruptKernel& r) { host.interrupt(r.kernel, reply()); }
    void operator()(GetCompletions& r) { host.complete(r, reply()); }
    void operator()(GetLogs& r) { host.logs(r.kernel, reply()); }
    void operator()(ListFiles& r) {
      self.use_files(r.kernel, replier,
                     [&](const KernelFiles& files) { return files.list(r.path); });
    }
    void operator()(UploadFile& r) {
      self.use_files(r.kernel, replier,
                     [&](const KernelFiles& files) { return files.upload(r.name, r.data); });
    }
    void operator()(DownloadFile& r) {
      self.use_files(r.kernel, replier,
                     [&](const KernelFiles& files) { return files.download(r.path); });
    }
    void operator()(DownloadSingle& r) {
      self.use_files(r.kernel, replier,
                     [&](const KernelFiles& files) { return files.download_single(r.path); });
    }
    void operator()(PingAgent&) { replier.ok("ping"); }
  };
  std::visit(Visitor{*this, *host_, replier}, request.request);
}

LocalAgent::LocalAgent(LocalAgentOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}

LocalAgent::~LocalAgent() = default;

Status LocalAgent::start() { return impl_->start(); }

void LocalAgent::stop() { impl_->stop(true); }

void LocalAgent::abandon() { impl_->stop(false); }

const std::string& LocalAgent::addr() const noexcept { return impl_->addr(); }

}  // namespace bai::server

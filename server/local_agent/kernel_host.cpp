#include "local_agent/kernel_host.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "local_agent/file_util.hpp"
#include "local_agent/process.hpp"

namespace bai::server::local {
namespace {

constexpr std::int64_t kKilledExitCode = 137;

// What the reference agent accepts.
constexpr std::string_view kReasons[] = {"agent-termination",
                                         "already-terminated",
                                         "anomaly-detected",
                                         "exec-timeout",
                                         "failed-to-create",
                                         "failed-to-start",
                                         "force-terminated",
                                         "bootstrap-timeout",
                                         "hang-timeout",
                                         "idle-timeout",
                                         "idle-session-lifetime",
                                         "idle-utilization",
                                         "killed-by-event",
                                         "service-scaled-down",
                                         "new-container-started",
                                         "pending-timeout",
                                         "restarting",
                                         "restart-timeout",
                                         "resuming-agent-operation",
                                         "self-terminated",
                                         "task-failed",
                                         "task-timeout",
                                         "task-cancelled",
                                         "task-finished",
                                         "terminated-unknown-container",
                                         "unknown",
                                         "user-requested",
                                         "user-purged",
                                         "not-found-in-manager",
                                         "container-not-found"};

}  // namespace

// Answers one create_kernels call when its last kernel has started or failed.
struct KernelHost::Creation {
  CallReply reply;
  std::size_t waiting = 0;
  Json results = Json::array();
  std::optional<CallError> error;  // the first one
  void finish() {
    if (!reply) return;
    auto done = std::move(reply);
    reply = nullptr;
    if (error) {
      done(std::unexpected(std::move(*error)));
    } else {
      done(std::move(results));
    }
  }
};

KernelHost::KernelHost(EventLoop& loop, KernelHostOptions options, Emit emit)
    : loop_(loop), options_(std::move(options)), emit_(std::move(emit)) {}

KernelHost::~KernelHost() {
  // Links hold handlers that point here.
  for (auto& [id, kernel] : kernels_) {
    loop_.cancel(kernel->timer);
    kernel->link.reset();
  }
}

CallError KernelHost::no_kernel(const KernelId& id, std::string kind) {
  return {std::move(kind), fmt::format("no such kernel runs here: {}", to_string(id))};
}

KernelHost::KernelPtr KernelHost::find_running(const KernelId& id) const {
  const auto it = kernels_.find(id);
  if (it == kernels_.end() || !it->second->running || !it->second->destroyers.empty())
    return nullptr;
  return it->second;
}

// ---- images -------------------------------------------------------------------------------------

void KernelHost::check_and_pull(const CheckAndPull& request, CallReply reply) {
  Json tasks = Json::object();
  for (const auto& image : request.images) {
    // A task id as callers expect one; nothing is left to run in the background.
    tasks.set(image.canonical, fmt::format("{:032x}", ++pulls_));
    if (options_.images.contains(image.canonical)) {
      emit_(ImagePullFinished{image.canonical});
      continue;
    }
    std::string known;
    for (const auto& [name, unused] : options_.images) known += (known.empty() ? "" : ", ") + name;
    emit_(ImagePullFailed{image.canonical,
                          fmt::format("this local agent runs programs of its host and pulls no "
                                      "images; it has: {}",
                                      known.empty() ? "none" : known)});
  }
  reply(std::move(tasks));
}

// ---- creation -----------------------------------------------------------------------------------

std::expected<SlotMap, CallError> KernelHost::read_slots(const KernelSpec& spec) const {
  SlotMap slots;
  for (const auto& [name, text] : spec.slots) {
    const auto amount = parse_amount(slot_types_.type_of(name), text);
    if (!amount)
      return std::unexpected(CallError{"InvalidResourceArgument",
                                       fmt::format("slot {}: {}", name, amount.error().message)});
    if (!options_.slots.contains(name) && amount->units != 0)
      return std::unexpected(
          CallError{"UnsupportedResource", fmt::format("this agent has no slot {}", name)});
    if (amount->units != 0) slots.set(name, *amount);
  }
  for (const char* name : {"cpu", "mem"})
    if (slots.get(name).units <= 0)
      return std::unexpected(
          CallError{"InvalidResourceArgument",
                    fmt::format("a kernel needs some {}; none was granted", name)});
  return slots;
}

std::expected<void, CallError> KernelHost::admit(const KernelSpec& spec,
                                                 const SlotMap& others) const {
  const std::string id = to_string(spec.id);
  if (kernels_.contains(spec.id))
    return std::unexpected(CallError{
        "ResourceError", fmt::format("kernel {} is being created or exists already", id)});
  if (!options_.images.contains(spec.image.canonical))
    return std::unexpected(
        CallError{"ImageNotAvailable",
                  fmt::format("{} is none of this agent's images", spec.image.canonical)});
  if (!spec.image.architecture.empty() && spec.image.architecture != options_.architecture)
    return std::unexpected(
        CallError{"ImageArchitectureMismatchError",
                  fmt::format("{} is for {}, this agent is {}", spec.image.canonical,
                              spec.image.architecture, options_.architecture)});
  const auto wanted = read_slots(spec);
  if (!wanted) return std::unexpected(wanted.error());
  SlotMap used = others;
  for (const auto& [other_id, kernel] : kernels_) used += kernel->slots;
  for (const auto& [name, amount] : *wanted) {
    const auto type = slot_types_.type_of(name);
    const auto total = parse_amount(type, options_.slots.at(name)).value_or(Amount{});
    const Amount free = total - used.get(name);
    if (amount <= free) continue;
    return std::unexpected(
        CallError{"InsufficientResource",
                  fmt::format("kernel {} wants {} {}, of {} only {} are free", id,
                              format_amount(type, amount), name, format_amount(type, total),
                              format_amount(type, std::max(free, Amount{})))});
  }
  return {};
}

KernelConfig KernelHost::config_for(const SessionId& session, const KernelSpec& spec) const {
  const LocalImage& image = options_.images.at(spec.image.canonical);
  KernelConfig config;
  config.kernel_id = to_string(spec.id);
  config.session_id = to_string(session);
  config.session_type = spec.session_type;
  config.image = spec.image.canonical;
  config.runtime = image.runtime;
  config.interpreter = image.interpreter;
  config.shell = ::access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh";
  config.slots = spec.slots;
  config.bootstrap_script = spec.bootstrap_script;
  config.max_log_bytes = options_.max_log_bytes;
  config.max_console_bytes = options_.max_console_bytes;
  config.term_grace_ms = options_.term_grace.count();
  const auto slot = [&](const char* name) {
    const auto it = spec.slots.find(name);
    return it == spec.slots.end()
               ? Amount{}
               : parse_amount(slot_types_.type_of(name), it->second).value_or(Amount{});
  };
  if (options_.limit_memory && !slot("mem").is_infinite())
    config.data_limit_bytes = std::max(slot("mem").units, kMinDataLimitBytes);
  // Numeric libraries start as many threads as the host has cores unless they are told.
  const std::string cores = std::to_string(std::max<std::int64_t>(1, slot("cpu").units / 1000));
  for (const char* name : {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"})
    config.environ[name] = cores;
  for (const auto& [name, value] : spec.environ) config.environ[name] = value;
  return config;
}

void KernelHost::create(CreateKernels request, CallReply reply) {
  auto creation = std::make_shared<Creation>();
  creation->reply = std::move(reply);
  SlotMap batch;  // what the earlier ones of this call take
  std::vector<SlotMap> slots;
  for (std::size_t i = 0; i < request.kernels.size(); ++i) {
    const KernelSpec& spec = request.kernels[i];
    auto admitted = admit(spec, batch);
    for (std::size_t j = 0; j < i && admitted; ++j)
      if (request.kernels[j].id == spec.id)
        admitted = std::unexpected(CallError{"ResourceError", "one kernel is named twice"});
    if (!admitted) {
      creation->error = admitted.error();
      creation->finish();
      return;
    }
    slots.push_back(*read_slots(spec));
    batch += slots.back();
  }
  creation->waiting = request.kernels.size() + 1;  // one for this loop
  for (std::size_t i = 0; i < request.kernels.size(); ++i)
    start_kernel(request.session, request.kernels[i], std::move(slots[i]), creation);
  if (--creation->waiting == 0) creation->finish();
}

void KernelHost::start_kernel(const SessionId& session, const KernelSpec& spec, SlotMap slots,
                              std::shared_ptr<Creation> creation) {
  auto kernel = std::make_shared<Kernel>();
  kernel->id = spec.id;
  kernel->session = session;
  kernel->config = config_for(session, spec);
  kernel->dir = options_.work_root + "/" + to_string(spec.id);
  kernel->slots = std::move(slots);
  kernel->creation = std::move(creation);
  kernels_[spec.id] = kernel;
  emit_(KernelPreparing{spec.id, session});
  std::error_code error;
  ended_.erase(spec.id);  // an earlier attempt
  std::filesystem::remove_all(kernel->dir, error);
  if (::mkdir(kernel->dir.c_str(), 0700) != 0 ||
      ::mkdir((kernel->dir + "/work").c_str(), 0700) != 0)
    kernel->failure = fmt::format("cannot create {}: {}", kernel->dir, std::strerror(errno));
  if (kernel->failure.empty()) {
    const auto written = write_file(kernel->dir + "/kernel.json", kernel->config.to_json().dump(),
                                    Durability::Process);
    if (!written) kernel->failure = written.error().message;
  }
  if (kernel->failure.empty()) {
    emit_(KernelCreating{spec.id, session});
    auto link = KernelLink::start(loop_, options_.executable, kernel->dir, handlers_for(kernel));
    if (link) {
      kernel->link = std::move(*link);
      kernel->timer = loop_.run_after(options_.start_timeout, [this, kernel] {
        kernel->failure = fmt::format("the supervisor did not start within {} ms",
                                      options_.start_timeout.count());
        kernel->link->kill();
      });
      return;
    }
    kernel->failure = link.error().message;
  }
  on_gone(kernel);
}

LinkHandlers KernelHost::handlers_for(const KernelPtr& kernel) {
  // The kernel owns the link, which owns these.
  const std::weak_ptr<Kernel> weak = kernel;
  LinkHandlers handlers;
  handlers.on_state = [this, weak](const KernelState& state) {
    if (const auto alive = weak.lock()) on_state(alive, state);
  };
  handlers.on_failed = [weak](const std::string& message) {
    if (const auto alive = weak.lock()) alive->failure = message;
  };
  handlers.on_gone = [this, weak] {
    if (const auto alive = weak.lock()) on_gone(alive);
  };
  return handlers;
}

Json KernelHost::creation_result(const Kernel& kernel) const {
  return Json::object({{"id", kernel.config.kernel_id},
                       {"kernel_host", options_.kernel_host},
                       {"repl_in_port", 0},
                       {"repl_out_port", 0},
                       {"stdin_port", 0},
                       {"stdout_port", 0},
                       {"service_ports", Json::array()},
                       {"container_id", kernel.config.kernel_id},
                       {"resource_spec", Json::object()},
                       {"attached_devices", Json::object()},
                       {"agent_addr", options_.agent_addr},
                       {"scaling_group", options_.resource_group}});
}

void KernelHost::creation_done(const KernelPtr& kernel, std::expected<Json, CallError> result) {
  loop_.cancel(kernel->timer);
  kernel->timer = 0;
  const auto creation = std::move(kernel->creation);
  kernel->creation = nullptr;
  if (!creation) return;
  if (result) {
    creation->results.push_back(std::move(*result));
  } else if (!creation->error) {
    creation->error = std::move(result.error());
  }
  if (--creation->waiting == 0) creation->finish();
}

void KernelHost::on_state(const KernelPtr& kernel, const KernelState& state) {
  const bool batch_finished = state.batch && state.batch->finished;
  kernel->state = state;
  if (!kernel->running && !state.ended) {
    kernel->running = true;
    if (kernel->destroyers.empty()) emit_started(kernel);
    creation_done(kernel, creation_result(*kernel));
  }
  if (batch_finished && !kernel->reported["batch"].as_bool()) emit_batch(kernel);
}

// The supervisor has exited: the kernel ended, was destroyed, was shot, or never started.
void KernelHost::on_gone(const KernelPtr& kernel) {
  loop_.cancel(kernel->timer);
  kernel->timer = 0;
  if (kernel->link) {
    kernel->link->reap();
    // Not from inside its own callback.
    loop_.post([link = std::shared_ptr<KernelLink>(std::move(kernel->link))] {});
  }
  if (const auto json = read_json(kernel->dir + "/state.json"))
    kernel->state = KernelState::from_json(*json);
  const bool orderly = kernel->state.ended;
  if (!orderly) {
    sweep_kernel_processes(kernel->dir);
    kernel->state.ended = true;
    kernel->state.exit_code = kKilledExitCode;
    kernel->state.reason = "anomaly-detected";
    // Unwritten, it is found dead once more by the next agent.
    (void)write_file(kernel->dir + "/state.json", kernel->state.to_json().dump(), Durability::Disk);
  }
  kernels_.erase(kernel->id);
  const bool started = kernel->running;
  kernel->running = false;
  if (started || !kernel->destroyers.empty()) {
    if (kernel->state.batch && kernel->state.batch->finished &&
        !kernel->reported["batch"].as_bool())
      emit_batch(kernel);
    if (kernel->suppress_events) kernel->reported.set("ended", true);
    if (kernel->suppress_events)
      (void)write_file(kernel->dir + "/reported.json", kernel->reported.dump(),
                       Durability::Process);
    else
      emit_terminated(kernel,
                      kernel->destroyers.empty() ? kernel->state.reason : kernel->destroy_reason);
    keep_ended(*kernel);
  } else {
    std::error_code error;
    std::filesystem::remove_all(kernel->dir, error);
  }
  const std::string why =
      kernel->failure.empty() ? "the kernel ended before it had started" : kernel->failure;
  creation_done(kernel, std::unexpected(CallError{kernel->destroyers.empty()
                                                      ? "ContainerCreationFailedError"
                                                      : "ContainerStartupCancelledError",
                                                  why}));
  for (auto& reply : kernel->destroyers) reply(Json());
  kernel->destroyers.clear();
  prune();
}

// ---- destruction --------------------------------------------------------------------------------

void KernelHost::already_terminated(const KernelId& id, const SessionId& session) {
  KernelTerminated event{id, session, "already-terminated", -1, {}};
  if (const auto it = ended_.find(id); it != ended_.end()) {
    event.exit_code = it->second.exit_code;
    event.log = clean_utf8(read_tail(it->second.dir + "/console.log", kTerminatedLogBytes));
  }
  emit_(std::move(event));
}

void KernelHost::destroy(const DestroyKernel& request, CallReply reply) {
  const std::string reason = request.reason.empty() ? "unknown" : request.reason;
  if (std::find(std::begin(kReasons), std::end(kReasons), reason) == std::end(kReasons)) {
    reply(std::unexpected(CallError{
        "ValueError", fmt::format("'{}' is not a valid KernelLifecycleEventReason", reason)}));
    return;
  }
  const auto it = kernels_.find(request.kernel);
  if (it == kernels_.end()) {
    if (!request.suppress_events) already_terminated(request.kernel, request.session);
    reply(Json());
    return;
  }
  const KernelPtr kernel = it->second;
  kernel->destroyers.push_back(std::move(reply));
  if (kernel->destroyers.size() > 1) return;
  kernel->suppress_events = request.suppress_events;
  begin_destroy(kernel, reason);
}

void KernelHost::begin_destroy(const KernelPtr& kernel, const std::string& reason) {
  kernel->destroy_reason = reason;
  loop_.cancel(kernel->timer);
  kernel->link->call(Json::object({{"op", "destroy"}, {"reason", reason}}), [](auto) {});
  kernel->timer = loop_.run_after(options_.term_grace + options_.hung_timeout,
                                  [kernel] { kernel->link->kill(); });
}

void KernelHost::sync(const SyncKernelRegistry& request, CallReply reply) {
  std::map<KernelId, SessionId> known(request.kernels.begin(), request.kernels.end());
  for (const auto& [id, session] : known)
    if (!kernels_.contains(id)) already_terminated(id, session);
  std::vector<DestroyKernel> surplus;
  for (const auto& [id, kernel] : kernels_)
    if (!known.contains(id)) surplus.push_back({id, kernel->session, "not-found-in-manager", true});
  for (const auto& one : surplus) destroy(one, [](auto) {});
  reply(Json());
}

// ---- calls --------------------------------------------------------------------------------------

bool KernelHost::is_creating(const KernelId& id) const { return kernels_.contains(id); }

bool KernelHost::is_running(const KernelId& id) const { return find_running(id) != nullptr; }

void KernelHost::trigger_batch(const TriggerBatch& request, CallReply reply) {
  const auto kernel = find_running(request.kernel);
  if (!kernel) return reply(std::unexpected(no_kernel(request.kernel, "KeyError")));
  kernel->link->call(
      Json::object({{"op", "batch"},
                    {"command", request.command},
                    {"timeoutMs", request.timeout ? Json(request.timeout->ms()) : Json()}}),
      std::move(reply));
}

std::function<void()> KernelHost::execute(const Execute& request, CallReply reply) {
  const auto kernel = find_running(request.kernel);
  if (!kernel) {
    reply(std::unexpected(no_kernel(request.kernel, "RuntimeError")));
    return nullptr;
  }
  const auto call = kernel->link->call(
      Json::object(
          {{"op", "execute"},
           {"runId", request.run_id},
           {"mode", request.mode},
           {"code", request.code},
           {"options", request.options},
           {"flushTimeoutMs", request.flush_timeout ? Json(request.flush_timeout->ms()) : Json()}}),
      std::move(reply));
  return [weak = std::weak_ptr<Kernel>(kernel), call] {
    const auto alive = weak.lock();
    if (alive && alive->link) alive->link->forget(call);
  };
}

void KernelHost::interrupt(const KernelId& id, CallReply reply) {
  const auto kernel = find_running(id);
  if (!kernel) return reply(std::unexpected(no_kernel(id, "KeyError")));
  kernel->link->call(Json::object({{"op", "interrupt"}}), std::move(reply));
}

void KernelHost::complete(const GetCompletions& request, CallReply reply) {
  const auto kernel = find_running(request.kernel);
  if (!kernel) return reply(std::unexpected(no_kernel(request.kernel, "KeyError")));
  kernel->link->call(
      Json::object({{"op", "complete"}, {"text", request.text}, {"options", request.options}}),
      [reply = std::move(reply)](std::expected<Json, CallError> result) mutable {
        if (result) result = Json::object({{"result", std::move(*result)}});
        reply(std::move(result));
      });
}

void KernelHost::logs(const KernelId& id, CallReply reply) const {
  std::string dir;
  if (const auto it = kernels_.find(id); it != kernels_.end()) dir = it->second->dir;
  if (const auto it = ended_.find(id); it != ended_.end()) dir = it->second.dir;
  if (dir.empty()) return reply(std::unexpected(no_kernel(id, "KeyError")));
  reply(Json::object({{"logs", clean_utf8(read_tail(dir + "/console.log", kMaxLogReplyBytes))}}));
}

std::expected<KernelFiles, CallError> KernelHost::files(const KernelId& id) const {
  const auto kernel = find_running(id);
  if (!kernel) return std::unexpected(no_kernel(id, "KeyError"));
  return KernelFiles(kernel->dir + "/work");
}

}  // namespace bai::server::local

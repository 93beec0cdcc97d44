// What a simulated agent does when it is asked.
#include <fmt/format.h>

#include <algorithm>

#include "core/lifecycle.hpp"
#include "runtime/sim_agents_impl.hpp"

namespace bai {
namespace {

constexpr std::int64_t kKilledExitCode = 137;
constexpr std::int64_t kFirstPort = 30000, kPorts = 20000;
constexpr std::size_t kLogMax = 256 * 1024;  // bytes kept of a kernel's console

Result<AgentReply> failure(std::string_view kind, std::string message) {
  return fail(ErrorCode::Internal, std::move(message), std::string(kind));
}
Result<AgentReply> ok(Json value = {}) { return AgentReply{std::move(value), {}}; }

Result<AgentReply> unknown_kernel(const KernelId& id) { return failure("KeyError", to_string(id)); }

std::string hex_id(runtime::Random& random) {
  return fmt::format("{:016x}{:016x}", random.next(), random.next());
}

void append_log(std::string& log, std::string_view text) {
  log.append(text);
  if (log.size() > kLogMax) log.erase(0, log.size() - kLogMax);
}

}  // namespace

void SimAgent::Impl::handle(AgentRequest request, AgentReplyHandler reply) {
  if (!is_up) return;
  act([this, req = std::move(request), r = std::move(reply)]() mutable {
    ++totals.requests;
    std::visit([&](auto& body) { on(body, std::move(r)); }, req);
  });
}

SimAgent::Impl::LiveKernel* SimAgent::Impl::running(const KernelId& id) {
  const auto found = kernels.find(id);
  if (found == kernels.end() || found->second.phase != Phase::Running) return nullptr;
  return &found->second;
}

// ---- images -------------------------------------------------------------------------------------

bool SimAgent::Impl::has_image(const std::string& canonical) const {
  return spec.images.empty() || std::ranges::find(spec.images, canonical) != spec.images.end();
}

void SimAgent::Impl::pull(const std::string& canonical) {
  if (!has_image(canonical)) {
    emit(ImagePullFailed{canonical, fmt::format("no such image: {}", canonical)});
  } else if (pulled.contains(canonical)) {
    emit(ImagePullFinished{canonical});
  } else if (pulling.insert(canonical).second) {
    emit(ImagePullStarted{canonical});
    after(sim::draw(random, behaviour.pull), [this, canonical] {
      pulling.erase(canonical);
      pulled.insert(canonical);
      emit(ImagePullFinished{canonical});
    });
  }
}

void SimAgent::Impl::on(CheckAndPull& request, AgentReplyHandler reply) {
  Json tasks = Json::object();
  for (const ImageSpec& image : request.images) {
    tasks.set(image.canonical, hex_id(random));
    pull(image.canonical);
  }
  respond(std::move(reply), ok(std::move(tasks)));
}

// ---- creation -----------------------------------------------------------------------------------

Result<SlotMap> SimAgent::Impl::admit(const KernelSpec& kernel) const {
  const auto refuse = [](std::string_view kind, std::string message) {
    return bai::fail(ErrorCode::Internal, std::move(message), std::string(kind));
  };
  if (kernels.contains(kernel.id)) {
    return refuse("ResourceError", fmt::format("kernel {} is there already", to_string(kernel.id)));
  }
  if (kernel.image.architecture != spec.architecture) {
    return refuse("ImageArchitectureMismatchError",
                  fmt::format("{} is for {}, this agent is {}", kernel.image.canonical,
                              kernel.image.architecture, spec.architecture));
  }
  if (!has_image(kernel.image.canonical)) {
    return refuse("ImageNotAvailable", kernel.image.canonical);
  }
  SlotMap wanted;
  for (const auto& [name, text] : kernel.slots) {
    const auto amount = parse_amount(spec.slot_types.type_of(name), text);
    if (!amount || amount->is_infinite()) {
      return refuse("InvalidResourceArgument", fmt::format("{}: {}", name, text));
    }
    if (amount->units == 0) continue;
    if (!spec.capacity.contains(name)) return refuse("UnsupportedResource", name);
    wanted.set(name, *amount);
  }
  for (const std::string_view name : {"cpu", "mem"}) {
    if (!wanted.contains(name)) {
      return refuse("InvalidResourceArgument", fmt::format("the slot {} is missing", name));
    }
  }
  const SlotMap together = held + wanted;
  for (const auto& [name, amount] : wanted) {
    if (together.get(name) <= spec.capacity.get(name)) continue;
    const SlotType type = spec.slot_types.type_of(name);
    return refuse("InsufficientResource",
                  fmt::format("{}: {} wanted, {} of {} held", name, format_amount(type, amount),
                              format_amount(type, held.get(name)),
                              format_amount(type, spec.capacity.get(name))));
  }
  return wanted;
}

std::optional<SimAgent::Impl::Failure> SimAgent::Impl::next_failure(bool& late) {
  if (fail_count > 0) {
    --fail_count;
    late = fail_late;
    return Failure{fail_kind, "told to fail"};
  }
  if (behaviour.create_failure > 0 && random.chance(behaviour.create_failure)) {
    late = random.chance(0.5);
    return late ? Failure{"ContainerStartupFailedError", "the container ended at once"}
                : Failure{"ContainerCreationFailedError", "the container could not be created"};
  }
  return std::nullopt;
}

void SimAgent::Impl::fail_job(CreateJob& job, Failure cause) {
  job.failures.push_back(std::move(cause));
  --job.open;
}

void SimAgent::Impl::close_job(const std::shared_ptr<CreateJob>& job) {
  if (job->open > 0 || !job->reply) return;
  auto reply = std::exchange(job->reply, {});
  if (job->failures.empty()) return respond(std::move(reply), ok(std::move(job->results)));
  if (job->failures.size() == 1) {
    return respond(std::move(reply), failure(job->failures[0].kind, job->failures[0].message));
  }
  respond(std::move(reply),
          failure("TaskGroupError", fmt::format("{} sub-exceptions", job->failures.size())));
}

void SimAgent::Impl::on(CreateKernels& request, AgentReplyHandler reply) {
  auto job = std::make_shared<CreateJob>();
  job->reply = std::move(reply);
  job->open = request.kernels.size();
  for (KernelSpec& kernel : request.kernels) begin_create(request.session, std::move(kernel), job);
  close_job(job);
}

void SimAgent::Impl::begin_create(const SessionId& session, KernelSpec kernel,
                                  const std::shared_ptr<CreateJob>& job) {
  const KernelId id = kernel.id;
  auto& record = records[id];
  record.id = id;
  record.session = session;
  ++record.creates;
  auto slots = admit(kernel);
  if (!slots) {
    record.repeats_refused += slots.error().kind == "ResourceError";
    totals.no_room += slots.error().kind == "InsufficientResource";
    fail_job(*job, {slots.error().kind, slots.error().message});
    return forget_record(id);
  }
  bool late = false;
  auto failing = next_failure(late);
  if (failing && !late) {
    fail_job(*job, std::move(*failing));
    return forget_record(id);
  }

  ++record.created;
  record.is_live = true;
  held += *slots;
  for (const auto& [name, amount] : held) {
    if (amount > max_held.get(name)) max_held.set(name, amount);
  }
  Duration wait;
  emit(KernelPreparing{id, session});
  if (!kernel.image.is_local && pulled.insert(kernel.image.canonical).second) {
    emit(KernelPulling{id, session});
    wait = sim::draw(random, behaviour.pull);
  }
  LiveKernel live;
  live.generation = next_generation++;
  live.spec = std::move(kernel);
  live.session = session;
  live.slots = std::move(*slots);
  live.job = job;
  live.fails_late = std::move(failing);
  const std::uint64_t generation = live.generation;
  kernels.insert_or_assign(id, std::move(live));
  emit(KernelCreating{id, session});
  after(wait + sim::draw(random, behaviour.create),
        [this, id, generation] { finish_create(id, generation); });
}

void SimAgent::Impl::finish_create(const KernelId& id, std::uint64_t generation) {
  const auto found = kernels.find(id);
  if (found == kernels.end() || found->second.generation != generation ||
      found->second.phase != Phase::Creating) {
    return;
  }
  LiveKernel& kernel = found->second;
  const auto job = std::exchange(kernel.job, {});
  if (kernel.fails_late) {
    fail_job(*job, std::move(*kernel.fails_late));
    const SessionId session = kernel.session;
    remove(found);
    emit(KernelTerminated{id, session, "failed-to-create", 1, {}});
    return close_job(job);
  }
  kernel.phase = Phase::Running;
  ++records[id].started;
  records[id].is_running = true;
  KernelStarted event;
  event.kernel = id;
  event.session = kernel.session;
  event.container_id = fmt::format("sim-{}-{}", to_string(id), generation);
  event.kernel_host = "127.0.0.1";
  event.repl_in_port = kFirstPort + static_cast<std::int64_t>(generation * 2) % kPorts;
  event.repl_out_port = event.repl_in_port + 1;
  event.used_slots.emplace();
  for (const auto& [name, amount] : kernel.slots) {
    event.used_slots->emplace_back(name, format_amount(spec.slot_types.type_of(name), amount));
  }
  job->results.push_back(Json::object({{"id", to_string(id)},
                                       {"container_id", event.container_id},
                                       {"kernel_host", event.kernel_host},
                                       {"repl_in_port", event.repl_in_port},
                                       {"repl_out_port", event.repl_out_port},
                                       {"service_ports", Json::array()}}));
  --job->open;
  emit(std::move(event));
  close_job(job);
}

// ---- destruction --------------------------------------------------------------------------------

void SimAgent::Impl::on(DestroyKernel& request, AgentReplyHandler reply) {
  const bool knows_reason =
      request.reason.empty() || core::agent_reason(request.reason) == request.reason;
  if (!knows_reason) ++totals.bad_reasons;
  const auto found = kernels.find(request.kernel);
  if (found == kernels.end()) {
    if (knows_reason && !request.suppress_events) {
      emit(KernelTerminated{request.kernel, request.session, "already-terminated", -1, {}});
    }
    return respond(std::move(reply), ok());
  }
  ++records[request.kernel].destroys;
  LiveKernel& kernel = found->second;
  if (kernel.phase != Phase::Destroying) {
    begin_destroy(kernel, request.reason.empty() ? "unknown" : request.reason,
                  knows_reason && !request.suppress_events);
  }
  if (knows_reason) {
    kernel.destroy_replies.push_back(std::move(reply));
  } else {  // as agents do: killed, but the announcement could not be made
    respond(std::move(reply),
            failure("ValueError",
                    fmt::format("'{}' is not a valid KernelLifecycleEventReason", request.reason)));
  }
}

void SimAgent::Impl::begin_destroy(LiveKernel& kernel, std::string reason, bool told) {
  kernel.phase = Phase::Destroying;
  kernel.end_reason = std::move(reason);
  kernel.is_told = told;
  records[kernel.spec.id].is_running = false;
  if (const auto job = std::exchange(kernel.job, {})) {
    fail_job(*job, {"ContainerStartupCancelledError", to_string(kernel.spec.id)});
    close_job(job);
  }
  after(sim::draw(random, behaviour.destroy),
        [this, id = kernel.spec.id, g = kernel.generation] { finish_destroy(id, g); });
}

void SimAgent::Impl::finish_destroy(const KernelId& id, std::uint64_t generation) {
  const auto found = kernels.find(id);
  if (found == kernels.end() || found->second.generation != generation) return;
  LiveKernel kernel = std::move(found->second);
  found->second.slots = kernel.slots;
  remove(found);
  if (kernel.is_told) {
    emit(KernelTerminated{id, kernel.session, kernel.end_reason, kKilledExitCode, kernel.log});
  }
  for (auto& reply : kernel.destroy_replies) respond(std::move(reply), ok());
}

// ---- questions ----------------------------------------------------------------------------------

void SimAgent::Impl::on(CheckCreating& request, AgentReplyHandler reply) {
  respond(std::move(reply), ok(kernels.contains(request.kernel)));
}

void SimAgent::Impl::on(CheckRunning& request, AgentReplyHandler reply) {
  respond(std::move(reply), ok(running(request.kernel) != nullptr));
}

void SimAgent::Impl::on(SyncKernelRegistry& request, AgentReplyHandler reply) {
  std::set<KernelId> wanted;
  for (const auto& [kernel, session] : request.kernels) {
    wanted.insert(kernel);
    if (!kernels.contains(kernel)) {
      emit(KernelTerminated{kernel, session, "already-terminated", -1, {}});
    }
  }
  for (auto& [id, kernel] : kernels) {
    if (kernel.phase == Phase::Running && !wanted.contains(id)) {
      begin_destroy(kernel, "not-found-in-manager", false);
    }
  }
  respond(std::move(reply), ok());
}

void SimAgent::Impl::on(PingAgent&, AgentReplyHandler reply) {
  respond(std::move(reply), ok("ping"));
}

// ---- batch --------------------------------------------------------------------------------------

void SimAgent::Impl::on(TriggerBatch& request, AgentReplyHandler reply) {
  LiveKernel* kernel = running(request.kernel);
  if (!kernel) return respond(std::move(reply), unknown_kernel(request.kernel));
  auto& record = records[request.kernel];
  if (kernel->batch) {
    ++record.batches_refused;
    return respond(std::move(reply), failure("RuntimeError", "the batch is under way already"));
  }
  ++record.batches;
  auto outcome = sim::predict_command(request.command);
  if (!outcome) {
    outcome.emplace();
    outcome->takes = sim::draw(random, behaviour.batch);
    outcome->exit_code = random.chance(behaviour.batch_failure) ? 1 : 0;
  }
  append_log(kernel->log, outcome->output);
  Batch batch{clock.now() + outcome->takes, outcome->exit_code,
              outcome->exit_code == 0 ? "task-finished" : "task-failed", false};
  if (request.timeout && request.timeout->ns > 0 && outcome->takes > *request.timeout) {
    batch = {clock.now() + *request.timeout, kKilledExitCode, "task-timeout", false};
  }
  kernel->batch = std::move(batch);
  watch_batch(request.kernel, *kernel);
  respond(std::move(reply), ok());
}

void SimAgent::Impl::watch_batch(const KernelId& id, const LiveKernel& kernel) {
  const Duration left = std::max(kernel.batch->ends_at - clock.now(), Duration{});
  after(left, [this, id, g = kernel.generation] { finish_batch(id, g); });
}

void SimAgent::Impl::finish_batch(const KernelId& id, std::uint64_t generation) {
  LiveKernel* kernel = running(id);
  if (!kernel || kernel->generation != generation || kernel->batch->is_told) return;
  kernel->batch->is_told = true;
  const Batch& batch = *kernel->batch;
  emit(BatchFinished{kernel->session, batch.exit_code == 0, batch.reason, batch.exit_code});
}

// ---- calls --------------------------------------------------------------------------------------

void SimAgent::Impl::on(Execute& request, AgentReplyHandler reply) {
  LiveKernel* kernel = running(request.kernel);
  if (!kernel) {
    return respond(std::move(reply), failure("RuntimeError",
                                             "The container for kernel is not found! (might be "
                                             "terminated)"));
  }
  append_log(kernel->log, request.code + "\n");
  Json console = Json::array();
  Json item = Json::array();
  item.push_back("stdout");
  item.push_back(request.code + "\n");
  console.push_back(std::move(item));
  respond(std::move(reply), ok(Json::object({{"runId", request.run_id},
                                             {"status", "finished"},
                                             {"exitCode", 0},
                                             {"options", nullptr},
                                             {"console", std::move(console)},
                                             {"files", Json::array()}})));
}

void SimAgent::Impl::on(InterruptKernel& request, AgentReplyHandler reply) {
  if (!running(request.kernel)) return respond(std::move(reply), unknown_kernel(request.kernel));
  respond(std::move(reply), ok(Json::object({{"status", "finished"}})));
}

void SimAgent::Impl::on(GetCompletions& request, AgentReplyHandler reply) {
  if (!running(request.kernel)) return respond(std::move(reply), unknown_kernel(request.kernel));
  Json result =
      Json::object({{"status", "finished"}, {"error", nullptr}, {"suggestions", Json::array()}});
  respond(std::move(reply), ok(Json::object({{"result", std::move(result)}})));
}

void SimAgent::Impl::on(GetLogs& request, AgentReplyHandler reply) {
  const LiveKernel* kernel = running(request.kernel);
  if (!kernel) return respond(std::move(reply), unknown_kernel(request.kernel));
  respond(std::move(reply), ok(Json::object({{"logs", kernel->log}})));
}

}  // namespace bai

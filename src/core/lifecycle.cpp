#include "core/lifecycle.hpp"

#include <fmt/format.h>

#include <map>

#include "core/accounting.hpp"
#include "core/fair_share.hpp"
#include "core/kernel_spec.hpp"
#include "core/preemption.hpp"

namespace bai::core {

namespace {

void stamp(StatusTimes& times, std::string_view status, Timestamp now) {
  for (auto& [name, at] : times) {
    if (name == status) {
      at = now;
      return;
    }
  }
  times.emplace_back(status, now);
}

Duration time_for(const Context& ctx, const Session& session) {
  const Options& options = ctx.options;
  switch (session.status) {
    case SessionStatus::Pending: {
      const auto* group = ctx.state().find<ResourceGroup>(session.resource_group);
      return group ? seconds(group->pending_timeout_s) : Duration{};
    }
    case SessionStatus::Creating:
      return options.create_timeout;
    case SessionStatus::Running:
      // The agent enforces a batch's time limit; here it is noticed when that report is lost.
      return session.batch_timeout ? *session.batch_timeout + options.command_timeout : Duration{};
    case SessionStatus::Reserved:
      return options.reserve_timeout;
    case SessionStatus::Rescheduling:
    case SessionStatus::Terminating:
      return options.terminate_timeout;
    case SessionStatus::Terminated:
    case SessionStatus::Cancelled:
    case SessionStatus::Error:
      return {};
    default:
      return options.prepare_timeout;
  }
}

constexpr auto kAgentReasons = std::to_array<std::string_view>({"agent-termination",
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
                                                                "container-not-found"});

void send_destroy(Context& ctx, const Kernel& kernel, std::string_view reason) {
  send(ctx, kernel.agent, DestroyKernel{kernel.id, kernel.session, agent_reason(reason), false},
       ctx.options.command_timeout,
       {Purpose::DestroyKernel, kernel.session, {kernel.id}, {}, false});
}

std::vector<KernelId> ids_of(const std::vector<std::shared_ptr<const Kernel>>& kernels) {
  std::vector<KernelId> ids;
  for (const auto& kernel : kernels) ids.push_back(kernel->id);
  return ids;
}

template <class Pred>
bool all(const std::vector<std::shared_ptr<const Kernel>>& kernels, Pred&& pred) {
  return std::all_of(kernels.begin(), kernels.end(),
                     [&](const auto& k) { return pred(k->status); });
}
template <class Pred>
bool any(const std::vector<std::shared_ptr<const Kernel>>& kernels, Pred&& pred) {
  return std::any_of(kernels.begin(), kernels.end(),
                     [&](const auto& k) { return pred(k->status); });
}

void start(Context& ctx, const SessionId& id) {
  set_session_status(ctx, id, SessionStatus::Creating, "");
  // Should the started events be lost, the kernels are asked about.
  const Session& session = update_session(
      ctx.changes, id, [&](Session& s) { s.retry_at = ctx.now + ctx.options.recheck_interval; });
  std::map<AgentId, std::vector<KernelId>> by_agent;
  for (const auto& kernel : ctx.state().kernels_of(id))
    by_agent[kernel->agent].push_back(kernel->id);
  for (const auto& [agent, kernels] : by_agent) {
    for (const KernelId& kernel : kernels) {
      update_kernel(ctx.changes, kernel, [](Kernel& k) { k.create_sent = true; });
    }
    send(ctx, agent, make_create_request(ctx.state(), session, kernels),
         ctx.options.create_call_timeout, {Purpose::CreateKernels, id, kernels, {}, false});
  }
}

void trigger_batch(Context& ctx, const Session& session, bool repeat) {
  const auto kernels = ctx.state().kernels_of(session.id);
  const Kernel& main = *kernels.front();
  send(ctx, main.agent,
       TriggerBatch{session.id, main.id, session.startup_command, session.batch_timeout},
       ctx.options.command_timeout, {Purpose::TriggerBatch, session.id, {main.id}, {}, repeat});
}

void become_running(Context& ctx, const SessionId& id) {
  set_session_status(ctx, id, SessionStatus::Running, "");
  const Session& session = update_session(ctx.changes, id, [&](Session& s) {
    s.attempts = 0;
    s.failed_agents.clear();
    s.status_data.erase("preempted_by");
    if (s.type != SessionType::Batch) return;
    s.batch_triggered = true;
    s.retry_at = ctx.now + ctx.options.recheck_interval;
  });
  record_history(ctx, session, "start-sessions", SessionStatus::Creating, SessionStatus::Running,
                 SchedulingResult::Success);
  if (session.type == SessionType::Batch) trigger_batch(ctx, session, false);
}

// Ends what is left of a session of which some kernel has ended by itself.
void end_abnormally(Context& ctx, const SessionId& id, std::string_view reason) {
  terminate(ctx, id, reason.empty() ? "ABNORMAL_TERMINATION" : reason, false);
}

}  // namespace

std::string agent_reason(std::string_view reason) {
  const bool known =
      std::find(kAgentReasons.begin(), kAgentReasons.end(), reason) != kAgentReasons.end();
  return std::string(known ? reason : "unknown");
}

bool send(Context& ctx, const AgentId& id, AgentRequest request, Duration timeout, Errand errand) {
  const Agent* agent = ctx.state().find<Agent>(id);
  if (agent == nullptr) return false;
  ctx.outbox.commands.push_back({{agent->id, agent->addr, agent->public_key},
                                 std::move(request),
                                 timeout,
                                 std::move(errand)});
  return true;
}

void set_session_status(Context& ctx, const SessionId& id, SessionStatus to,
                        std::string_view info) {
  update_session(ctx.changes, id, [&](Session& s) {
    BAI_ASSERT(can_become(s.status, to), "a session takes a transition that exists");
    s.status = to;
    s.status_info = info;
    s.retry_at = {};
    s.pending_reason.reset();
    stamp(s.status_times, to_string(to), ctx.now);
    if (to == SessionStatus::Running) s.starts_at = ctx.now;
    if (to == SessionStatus::Pending) s.starts_at = {};
    if (is_terminal(to)) s.terminated_at = ctx.now;
    const Duration time = time_for(ctx, s);
    s.deadline = time.ns > 0 ? ctx.now + time : Timestamp{};
  });
}

void set_kernel_status(Context& ctx, const KernelId& id, KernelStatus to, std::string_view info) {
  if (is_terminal(to)) record_usage(ctx.changes, *ctx.state().find<Kernel>(id), ctx.now);
  update_kernel(ctx.changes, id, [&](Kernel& k) {
    BAI_ASSERT(can_become(k.status, to), "a kernel takes a transition that exists");
    k.status = to;
    k.status_info = info;
    stamp(k.status_times, to_string(to), ctx.now);
    if (to == KernelStatus::Running) k.starts_at = ctx.now;
    if (!is_terminal(to)) return;
    k.terminated_at = ctx.now;
    k.occupied_slots = {};
    k.devices = Json::object();
  });
}

void record_history(Context& ctx, const Session& session, std::string_view phase,
                    SessionStatus from, SessionStatus to, SchedulingResult result,
                    std::string_view error_code, std::string_view message) {
  // Rows are read back in the order of their ids.
  ctx.last_recorded = std::max(ctx.now, ctx.last_recorded + nanoseconds(1));
  History row;
  row.id = mint<HistoryId>(ctx.last_recorded, ctx.entropy);
  row.subject = to_string(session.id);
  row.phase = phase;
  row.from_status = to_string(from);
  row.to_status = to_string(to);
  row.result = result;
  row.error_code = error_code;
  row.message = message;
  row.attempts = std::max<std::int64_t>(1, session.attempts);
  row.created_at = row.updated_at = ctx.last_recorded;
  ctx.changes.append(std::move(row));
}

void begin_prepare(Context& ctx, const SessionId& id) {
  set_session_status(ctx, id, SessionStatus::Preparing, "");
  drive(ctx, id);
}

namespace {

// Sessions come into this status in the reference system only: what its rows say is next is done.
void deprioritize(Context& ctx, const SessionId& id) {
  constexpr std::int64_t kStep = 10;
  set_session_status(ctx, id, SessionStatus::Pending, "");
  const Session& session = update_session(ctx.changes, id, [](Session& s) {
    s.priority = std::max<std::int64_t>(0, s.priority - kStep);
  });
  record_history(ctx, session, "deprioritize-sessions", SessionStatus::Deprioritizing,
                 SessionStatus::Pending, SchedulingResult::Success);
}

}  // namespace

void advance(Context& ctx, const SessionId& id) {
  const Session* session = ctx.state().find<Session>(id);
  if (session == nullptr || is_terminal(session->status)) return;
  if (session->status == SessionStatus::Deprioritizing) return deprioritize(ctx, id);
  const auto kernels = ctx.state().kernels_of(id);
  if (session->status == SessionStatus::Terminating) {
    if (!all(kernels, [](KernelStatus s) { return is_terminal(s); })) return;
    const std::string info = session->status_info;
    set_session_status(ctx, id, SessionStatus::Terminated, info);
    return;
  }
  if (session->status == SessionStatus::Rescheduling) {
    if (all(kernels, [](KernelStatus s) { return is_terminal(s); })) requeue(ctx, id);
    return;
  }
  if (session->status == SessionStatus::Pending) return;
  if (all(kernels, [](KernelStatus s) { return s == KernelStatus::Cancelled; })) {
    set_session_status(ctx, id, SessionStatus::Cancelled, "all kernels cancelled");
    return;
  }
  if (any(kernels, [](KernelStatus s) { return is_terminal(s); })) {
    end_abnormally(ctx, id, "");
    return;
  }
  const bool preparing = session->status == SessionStatus::Scheduled ||
                         session->status == SessionStatus::Preparing ||
                         session->status == SessionStatus::Pulling;
  if (preparing && !any(kernels, [](KernelStatus s) { return is_pre_prepared(s); })) {
    set_session_status(ctx, id, SessionStatus::Prepared, "");
    start(ctx, id);
  } else if (session->status == SessionStatus::Prepared) {
    start(ctx, id);
  } else if (session->status == SessionStatus::Creating &&
             !any(kernels, [](KernelStatus s) { return is_pre_running(s); })) {
    become_running(ctx, id);
  }
}

namespace {

// Asks the agents of a session in preparation for its images. Local images are there or the
// creation says so: they cost no round trip.
void drive_preparing(Context& ctx, const Session& session) {
  std::map<AgentId, std::map<std::string, ImageSpec>> wanted;
  for (const auto& kernel : ctx.state().kernels_of(session.id)) {
    if (!is_pre_prepared(kernel->status)) continue;
    ImageSpec image = make_image_spec(ctx.state(), kernel->image, kernel->architecture);
    if (image.is_local) {
      set_kernel_status(ctx, kernel->id, KernelStatus::Prepared, "");
      continue;
    }
    if (kernel->status == KernelStatus::Scheduled) {
      set_kernel_status(ctx, kernel->id, KernelStatus::Preparing, "");
    }
    std::string canonical = image.canonical;
    wanted[kernel->agent].emplace(std::move(canonical), std::move(image));
  }
  for (auto& [agent, images] : wanted) {
    CheckAndPull request;
    for (auto& [canonical, image] : images) request.images.push_back(std::move(image));
    send(ctx, agent, std::move(request), ctx.options.command_timeout,
         {Purpose::PrepareImages, session.id, {}, {}, false});
  }
  if (!wanted.empty()) {
    update_session(ctx.changes, session.id,
                   [&](Session& s) { s.retry_at = ctx.now + ctx.options.recheck_interval; });
  }
}

void ask(Context& ctx, const Kernel& kernel, Purpose purpose) {
  AgentRequest request = CheckRunning{kernel.id};
  if (purpose == Purpose::AskCreating) request = CheckCreating{kernel.id};
  send(ctx, kernel.agent, std::move(request), ctx.options.command_timeout,
       {purpose, kernel.session, {kernel.id}, {}, false});
}

}  // namespace

void drive(Context& ctx, const SessionId& id) {
  const Session* found = ctx.state().find<Session>(id);
  if (found == nullptr || is_terminal(found->status)) return;
  const Session session = *found;
  const auto recheck = [&] {
    update_session(ctx.changes, id,
                   [&](Session& s) { s.retry_at = ctx.now + ctx.options.recheck_interval; });
  };
  switch (session.status) {
    case SessionStatus::Scheduled:
      return begin_prepare(ctx, id);
    case SessionStatus::Preparing:
    case SessionStatus::Pulling:
      drive_preparing(ctx, session);
      break;
    case SessionStatus::Creating:
      for (const auto& kernel : ctx.state().kernels_of(id)) {
        if (is_pre_running(kernel->status)) ask(ctx, *kernel, Purpose::AskStarted);
      }
      recheck();
      break;
    case SessionStatus::Running:
      for (const auto& kernel : ctx.state().kernels_of(id)) {
        if (kernel->status == KernelStatus::Running) ask(ctx, *kernel, Purpose::AskRunning);
      }
      if (session.batch_triggered && session.retry_at.ns != 0) {
        // Not known to have arrived. Our own agents refuse a repeat; others may run it twice.
        const Agent* agent = ctx.state().find<Agent>(ctx.state().kernels_of(id).front()->agent);
        if (agent != nullptr && agent->version.starts_with("bai-"))
          trigger_batch(ctx, session, true);
        recheck();
      }
      break;
    case SessionStatus::Rescheduling:
    case SessionStatus::Terminating:
      for (const auto& kernel : ctx.state().kernels_of(id)) {
        if (kernel->status == KernelStatus::Terminating)
          send_destroy(ctx, *kernel, session.status_info);
      }
      recheck();
      break;
    default:
      break;
  }
  advance(ctx, id);
}

// Every agent has its own place in the period, so they are not asked together, and an agent that
// comes and goes has one timer all the same.
Timestamp next_census(const AgentId& agent, Timestamp after, Duration period) {
  std::uint64_t place = 14695981039346656037ULL;  // FNV-1a
  for (const char c : agent.view()) {
    place = (place ^ static_cast<std::uint8_t>(c)) * 1099511628211ULL;
  }
  const std::int64_t step = std::max(period, seconds(1)).ns;
  const auto offset = static_cast<std::int64_t>(place % static_cast<std::uint64_t>(step));
  return Timestamp{((after.ns - offset) / step + 1) * step + offset};
}

void take_census(Context& ctx, const AgentId& id) {
  const Agent* agent = ctx.state().find<Agent>(id);
  if (agent == nullptr || agent->status != AgentStatus::Alive) return;  // asked when it is back
  ctx.state().table<Kernel>().for_each_in(
      index::kKernelByAgent,
      IndexPrefix{}.add(id.view()).add(to_string(KernelStatus::Running)).str(),
      [&](const Kernel& kernel) {
        ask(ctx, kernel, Purpose::AskRunning);
        return true;
      });
  ctx.outbox.timers.push_back(
      {next_census(id, ctx.now, ctx.options.running_recheck), TimerKind::Census, id.str()});
}

void reset_kernels(Context& ctx, const SessionId& id) {
  for (const auto& kernel : ctx.state().kernels_of(id)) {
    // A kernel id that an agent may have seen is never used again: no answer or event about the
    // last attempt can be taken for one about the next.
    Kernel fresh = *kernel;
    record_usage(ctx.changes, *kernel, ctx.now);
    erase_kernel(ctx.changes, kernel->id);
    if (fresh.create_sent) fresh.id = mint<KernelId>(ctx.now, ctx.entropy);
    fresh.status = KernelStatus::Pending;
    fresh.status_info.clear();
    fresh.agent = AgentId{};
    fresh.agent_addr.clear();
    fresh.container_id.clear();
    fresh.kernel_host.clear();
    fresh.repl_in_port = fresh.repl_out_port = 0;
    fresh.service_ports = Json::array();
    fresh.occupied_slots = {};
    fresh.devices = Json::object();
    fresh.create_sent = false;
    fresh.exit_code.reset();
    fresh.starts_at = fresh.terminated_at = {};
    stamp(fresh.status_times, to_string(KernelStatus::Pending), ctx.now);
    insert_kernel(ctx.changes, std::move(fresh));
  }
}

void fail_attempt(Context& ctx, const SessionId& id, const AgentId& agent, std::string_view phase,
                  std::string_view reason) {
  const Session before = *ctx.state().find<Session>(id);
  const bool counted = !agent.empty();
  const std::int64_t attempts = before.attempts + (counted ? 1 : 0);
  const bool given_up = attempts >= static_cast<std::int64_t>(ctx.options.attempts_max);
  for (const auto& kernel : ctx.state().kernels_of(id)) {
    if (is_terminal(kernel->status)) continue;
    if (kernel->create_sent) {
      owe_destroy(ctx, kernel->agent, kernel->id, id, "failed-to-start");
    }
    if (!given_up) continue;
    const bool ran = !is_pre_running(kernel->status);  // before another one failed
    set_kernel_status(ctx, kernel->id, ran ? KernelStatus::Terminated : KernelStatus::Cancelled,
                      reason);
  }
  if (!given_up) reset_kernels(ctx, id);
  const std::string info =
      given_up ? fmt::format("{} attempts failed: {}", attempts, reason) : std::string(reason);
  set_session_status(ctx, id, given_up ? SessionStatus::Cancelled : SessionStatus::Pending, info);
  const Session& after = update_session(ctx.changes, id, [&](Session& s) {
    s.attempts = attempts;
    s.batch_triggered = false;
    s.status_data.set("error", Json::object({{"src", "agent"}, {"repr", reason}}));
    if (counted) {
      std::erase(s.failed_agents, agent.str());
      s.failed_agents.push_back(agent.str());
    }
    if (given_up) {
      if (s.type == SessionType::Batch) s.result = SessionResult::Failure;
      return;
    }
    const std::int64_t factor = std::int64_t{1} << std::clamp<std::int64_t>(attempts - 1, 0, 4);
    s.retry_at = counted ? ctx.now + ctx.options.retry_backoff * factor : Timestamp{};
  });
  record_history(ctx, after, phase, before.status, after.status,
                 given_up ? SchedulingResult::GiveUp : SchedulingResult::NeedRetry,
                 "failed-to-start", reason);
}

std::string_view terminate(Context& ctx, const SessionId& id, std::string_view reason, bool forced,
                           SchedulingResult result) {
  const Session* found = ctx.state().find<Session>(id);
  if (found == nullptr ||
      !(forced ? is_force_terminatable(found->status) : is_terminatable(found->status))) {
    return "";
  }
  const SessionStatus from = found->status;
  const auto kernels = ids_of(ctx.state().kernels_of(id));
  if (from == SessionStatus::Pending || from == SessionStatus::Deprioritizing) {
    for (const KernelId& kernel : kernels)
      set_kernel_status(ctx, kernel, KernelStatus::Cancelled, reason);
    set_session_status(ctx, id, SessionStatus::Cancelled, reason);
    record_history(ctx, *ctx.state().find<Session>(id), "cancel", from, SessionStatus::Cancelled,
                   result, {}, reason);
    return "cancelled";
  }
  for (const KernelId& kernel_id : kernels) {
    const Kernel kernel = *ctx.state().find<Kernel>(kernel_id);
    if (is_terminal(kernel.status)) continue;
    if (!kernel.create_sent) {
      set_kernel_status(ctx, kernel_id, KernelStatus::Terminated, reason);
    } else if (forced) {
      owe_destroy(ctx, kernel.agent, kernel_id, id, reason);
      set_kernel_status(ctx, kernel_id, KernelStatus::Terminated, reason);
    } else {
      if (kernel.status != KernelStatus::Terminating)
        set_kernel_status(ctx, kernel_id, KernelStatus::Terminating, reason);
      send_destroy(ctx, *ctx.state().find<Kernel>(kernel_id), reason);
    }
  }
  if (forced) {
    set_session_status(ctx, id, SessionStatus::Terminated, reason);
  } else {
    set_session_status(ctx, id, SessionStatus::Terminating, reason);
    update_session(ctx.changes, id,
                   [&](Session& s) { s.retry_at = ctx.now + ctx.options.recheck_interval; });
  }
  record_history(ctx, *ctx.state().find<Session>(id),
                 forced ? "force_terminate" : "mark_terminating", from,
                 ctx.state().find<Session>(id)->status, SchedulingResult::Success, {}, reason);
  advance(ctx, id);
  return is_terminal(ctx.state().find<Session>(id)->status) ? "terminated" : "";
}

void kernel_ended(Context& ctx, const KernelId& id, std::string_view reason,
                  std::optional<std::int64_t> exit_code) {
  const Kernel kernel = *ctx.state().find<Kernel>(id);
  if (is_terminal(kernel.status)) {
    if (exit_code && !kernel.exit_code) {
      update_kernel(ctx.changes, id, [&](Kernel& k) { k.exit_code = exit_code; });
    }
    return;
  }
  const Session session = *ctx.state().find<Session>(kernel.session);
  if (is_pre_running(kernel.status) && session.status != SessionStatus::Terminating) {
    fail_attempt(ctx, session.id, kernel.agent, "start-sessions",
                 fmt::format("kernel {} ended before it ran: {}", kernel.cluster_hostname, reason));
    return;
  }
  set_kernel_status(ctx, id, KernelStatus::Terminated, reason);
  if (exit_code) update_kernel(ctx.changes, id, [&](Kernel& k) { k.exit_code = exit_code; });
  if (session.status == SessionStatus::Running) {
    update_session(ctx.changes, session.id, [&](Session& s) {
      if (exit_code) s.status_data.set("kernel", Json::object({{"exit_code", *exit_code}}));
      const bool unreported = s.type == SessionType::Batch && s.result == SessionResult::Undefined;
      if (unreported) s.result = SessionResult::Failure;
    });
    end_abnormally(ctx, session.id, reason);
    return;
  }
  advance(ctx, session.id);
}

void owe_destroy(Context& ctx, const AgentId& agent, const KernelId& kernel,
                 const SessionId& session, std::string_view reason) {
  Operation row;
  row.id = mint<OperationId>(ctx.now, ctx.entropy);
  row.kind = "destroy-kernel";
  row.step = "destroy";
  row.subject = to_string(kernel);
  row.created_at = ctx.now;
  row.deadline = ctx.now + ctx.options.owed_destroy_timeout;
  row.arguments = Json::object(
      {{"agent", agent.str()}, {"session", to_string(session)}, {"reason", agent_reason(reason)}});
  const OperationId id = row.id;
  ctx.changes.insert(std::move(row));
  drive_operation(ctx, id);
}

void drive_operation(Context& ctx, const OperationId& id) {
  const Operation* found = ctx.state().find<Operation>(id);
  if (found == nullptr || found->status != OperationStatus::Running) return;
  const Operation operation = *found;
  if (ctx.now >= operation.deadline) {
    ctx.changes.erase<Operation>(id);
    return;
  }
  const AgentId agent{operation.arguments["agent"].as_string()};
  const auto kernel = parse_uuid<KernelId>(operation.subject);
  const auto session = parse_uuid<SessionId>(operation.arguments["session"].as_string());
  BAI_ASSERT(kernel && session, "an operation keeps its arguments");
  ctx.changes.update<Operation>(id, [&](Operation& row) {
    row.attempts += 1;
    row.retry_at = ctx.now + ctx.options.command_timeout + ctx.options.recheck_interval;
  });
  const Agent* target = ctx.state().find<Agent>(agent);
  if (target == nullptr || target->status != AgentStatus::Alive) return;  // tried when it is back
  send(ctx, agent,
       DestroyKernel{*kernel, *session, std::string(operation.arguments["reason"].as_string()),
                     true},
       ctx.options.command_timeout,
       {Purpose::DestroySuperseded, *session, {*kernel}, operation.id, false});
}

}  // namespace bai::core

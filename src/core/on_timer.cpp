#include <fmt/format.h>

#include "core/accounting.hpp"
#include "core/handlers.hpp"
#include "core/lifecycle.hpp"

namespace bai::core {

namespace {

// The time a status may take is over.
void on_deadline(Context& ctx, const Session& session) {
  const std::string phase_info = fmt::format("{} took too long", to_string(session.status));
  switch (session.status) {
    case SessionStatus::Pending:
      terminate(ctx, session.id, "pending-timeout", false, SchedulingResult::Expired);
      break;
    case SessionStatus::Running:
      if (session.type == SessionType::Batch && session.result == SessionResult::Undefined) {
        update_session(ctx.changes, session.id,
                       [](Session& s) { s.result = SessionResult::Failure; });
      }
      terminate(ctx, session.id, "task-timeout", false);
      break;
    case SessionStatus::Terminating:
      terminate(ctx, session.id, session.status_info, true);
      break;
    case SessionStatus::Creating: {
      const auto kernels = ctx.state().kernels_of(session.id);
      AgentId slow;
      for (const auto& kernel : kernels) {
        if (is_pre_running(kernel->status)) slow = kernel->agent;
      }
      fail_attempt(ctx, session.id, slow, "start-sessions", phase_info);
      break;
    }
    case SessionStatus::Reserved:
      fail_attempt(ctx, session.id, {}, "release-reserved-sessions", phase_info);
      break;
    case SessionStatus::Rescheduling:
      fail_attempt(ctx, session.id, {}, "reschedule-sessions", phase_info);
      break;
    case SessionStatus::Scheduled:
    case SessionStatus::Preparing:
    case SessionStatus::Pulling:
    case SessionStatus::Prepared: {
      AgentId slow;
      for (const auto& kernel : ctx.state().kernels_of(session.id)) {
        if (slow.empty() || is_pre_prepared(kernel->status)) slow = kernel->agent;
      }
      fail_attempt(ctx, session.id, slow, "check-precondition", phase_info);
      break;
    }
    default:
      terminate(ctx, session.id, phase_info, false);
      break;
  }
}

void on_session_timer(Context& ctx, const SessionId& id) {
  const Session* session = ctx.state().find<Session>(id);
  if (session == nullptr || is_terminal(session->status)) return;
  if (session->deadline.ns != 0 && session->deadline <= ctx.now) {
    on_deadline(ctx, *session);
  } else if (session->retry_at.ns != 0 && session->retry_at <= ctx.now) {
    if (session->status == SessionStatus::Pending) {
      // The planner skips it until then; the edit makes it look again.
      update_session(ctx.changes, id, [](Session& s) { s.retry_at = {}; });
    } else {
      drive(ctx, id);
    }
  }
}

// May a session that ran on a lost agent start again elsewhere?
bool restartable(const Session& session) {
  switch (session.status) {
    case SessionStatus::Terminating:
    case SessionStatus::Restarting:
    case SessionStatus::RunningDegraded:
      return false;
    case SessionStatus::Running:
    case SessionStatus::Preempted:
      return session.resource_opts["restartable"].as_bool();
    default:
      return true;
  }
}

void give_up_on_agent(Context& ctx, const AgentId& id) {
  std::vector<KernelId> stranded;
  ctx.state().table<Kernel>().for_each_in(index::kKernelByAgent, IndexPrefix{}.add(id.view()).str(),
                                          [&](const Kernel& kernel) {
                                            if (holds_resources(kernel.status))
                                              stranded.push_back(kernel.id);
                                            return true;
                                          });
  for (const KernelId& kernel_id : stranded) {
    const Kernel* kernel = ctx.state().find<Kernel>(kernel_id);
    // It may have gone with its session, or wait again for another agent.
    if (kernel == nullptr || kernel->agent != id || !holds_resources(kernel->status)) continue;
    const Session session = *ctx.state().find<Session>(kernel->session);
    if (restartable(session)) {
      fail_attempt(ctx, session.id, {}, "start-sessions", "agent-lost");
      continue;
    }
    if (kernel->create_sent) owe_destroy(ctx, id, kernel_id, session.id, "agent-termination");
    kernel_ended(ctx, kernel_id, "agent-lost", std::nullopt);
  }
}

void on_agent_timer(Context& ctx, const AgentId& id) {
  const Agent* agent = ctx.state().find<Agent>(id);
  if (agent == nullptr) return;
  if (agent->status == AgentStatus::Alive) {
    const Timestamp due = agent->last_seen + ctx.options.agent_timeout;
    if (ctx.now < due) {
      ctx.outbox.timers.push_back({due, TimerKind::Agent, id.str()});
      return;
    }
    ctx.changes.update<Agent>(id, [&](Agent& a) {
      a.status = AgentStatus::Lost;
      a.lost_at = ctx.now;
    });
    ctx.outbox.forget.push_back(id);
  } else if (agent->lost_at.ns != 0 && ctx.now >= agent->lost_at + ctx.options.lost_grace) {
    give_up_on_agent(ctx, id);
  }
}

}  // namespace

void on_timer(Context& ctx, const Timer& timer) {
  switch (timer.kind) {
    case TimerKind::Session:
      if (const auto id = parse_uuid<SessionId>(timer.id)) on_session_timer(ctx, *id);
      break;
    case TimerKind::Agent:
      on_agent_timer(ctx, AgentId(timer.id));
      break;
    case TimerKind::Operation:
      if (const auto id = parse_uuid<OperationId>(timer.id)) {
        const Operation* operation = ctx.state().find<Operation>(*id);
        if (operation != nullptr && operation->retry_at <= ctx.now) drive_operation(ctx, *id);
      }
      break;
    case TimerKind::Eviction:
      evict_ended(ctx);
      break;
    case TimerKind::Census:
      take_census(ctx, AgentId(timer.id));
      break;
  }
}

void collect_timers(const Change& change, const Options& options, std::vector<Timer>& timers) {
  if (!change.after) return;
  const auto add = [&](Timestamp before, Timestamp after, TimerKind kind, std::string id) {
    if (after.ns != 0 && after != before) timers.push_back({after, kind, std::move(id)});
  };
  switch (change.entity) {
    case EntityKind::Session: {
      const auto& now = *change.new_row<Session>();
      const auto* was = change.old_row<Session>();
      add(was ? was->deadline : Timestamp{}, now.deadline, TimerKind::Session, to_string(now.id));
      add(was ? was->retry_at : Timestamp{}, now.retry_at, TimerKind::Session, to_string(now.id));
      break;
    }
    case EntityKind::Agent: {
      const auto& now = *change.new_row<Agent>();
      const auto* was = change.old_row<Agent>();
      if (was != nullptr && was->status == now.status) break;
      const Timestamp due = now.status == AgentStatus::Alive ? now.last_seen + options.agent_timeout
                                                             : now.lost_at + options.lost_grace;
      add({}, due, TimerKind::Agent, now.id.str());
      // Just loaded ones were not seen yet: on_resume arms theirs.
      if (now.status == AgentStatus::Alive && now.last_seen.ns != 0) {
        add({}, next_census(now.id, now.last_seen, options.running_recheck), TimerKind::Census,
            now.id.str());
      }
      break;
    }
    case EntityKind::Operation: {
      const auto& now = *change.new_row<Operation>();
      const auto* was = change.old_row<Operation>();
      add(was ? was->retry_at : Timestamp{}, now.retry_at, TimerKind::Operation, to_string(now.id));
      break;
    }
    default:
      break;
  }
}

void on_resume(Context& ctx) {
  std::vector<AgentId> alive;
  ctx.state().table<Agent>().for_each([&](const Agent& agent) {
    if (agent.status == AgentStatus::Alive) alive.push_back(agent.id);
    return true;
  });
  // Heartbeats were not stored: every agent gets one full timeout to speak up.
  for (const AgentId& id : alive) {
    ctx.changes.update_volatile<Agent>(id, [&](Agent& agent) { agent.last_seen = ctx.now; });
    reconcile_agent(ctx, id);
    ctx.outbox.timers.push_back(
        {next_census(id, ctx.now, ctx.options.running_recheck), TimerKind::Census, id.str()});
  }
  // What waits on no agent, or on one that is not there, keeps its deadlines.
  std::vector<SessionId> waiting;
  ctx.state().table<Session>().for_each([&](const Session& session) {
    if (!is_terminal(session.status)) waiting.push_back(session.id);
    return true;
  });
  for (const SessionId& id : waiting) advance(ctx, id);
  evict_ended(ctx);
}

}  // namespace bai::core

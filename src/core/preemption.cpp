#include "core/preemption.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "core/accounting.hpp"
#include "core/cohorts.hpp"
#include "core/lifecycle.hpp"
#include "core/room.hpp"

namespace bai::core {

namespace {

constexpr std::string_view kPreempted = "PREEMPTED_BY_SCHEDULER";

void for_each_in(const State& state, SessionStatus status, auto&& visit) {
  state.table<Session>().for_each_in(index::kSessionByStatus,
                                     IndexPrefix{}.add(to_string(status)).str(),
                                     [&](const Session& session) {
                                       visit(session);
                                       return true;
                                     });
}

bool reschedules(const State& state, const Session& session) {
  const auto* group = state.find<ResourceGroup>(session.resource_group);
  return group != nullptr &&
         group->policy_options["preemption"]["mode"].as_string("terminate") == "reschedule";
}

void preempt(Context& ctx, const SessionId& id, const SessionId& preemptor) {
  const std::string info = fmt::format("preempted by session {}", to_string(preemptor));
  set_session_status(ctx, id, SessionStatus::Preempted, info);
  const Session victim = update_session(ctx.changes, id, [&](Session& s) {
    s.status_data.set("preempted_by", to_string(preemptor));
  });
  record_history(ctx, victim, "preempt-sessions", SessionStatus::Running, SessionStatus::Preempted,
                 SchedulingResult::Success, {}, info);
  if (!reschedules(ctx.state(), victim)) {
    terminate(ctx, id, kPreempted, false);
    return;
  }
  set_session_status(ctx, id, SessionStatus::Rescheduling, info);
  for (const auto& kernel : ctx.state().kernels_of(id)) {
    if (!is_terminal(kernel->status)) {
      set_kernel_status(ctx, kernel->id, KernelStatus::Terminating, kPreempted);
    }
  }
  drive(ctx, id);
}

struct Reserved {
  Timestamp since;
  KernelId kernel;
  AgentId agent;
  SessionId session;
  friend auto operator<=>(const Reserved& a, const Reserved& b) {
    return std::tie(a.since, a.kernel) <=> std::tie(b.since, b.kernel);
  }
  friend bool operator==(const Reserved&, const Reserved&) = default;
};

std::vector<Reserved> all_reserved(const State& state) {
  std::vector<Reserved> waiting;
  for_each_in(state, SessionStatus::Reserved, [&](const Session& session) {
    for (const auto& kernel : state.kernels_of(session.id)) {
      if (kernel->status != KernelStatus::Reserved) continue;
      Timestamp since;
      for (const auto& [status, at] : kernel->status_times) {
        if (status == to_string(KernelStatus::Reserved)) since = at;
      }
      waiting.push_back({since, kernel->id, kernel->agent, session.id});
    }
  });
  std::ranges::sort(waiting);
  return waiting;
}

bool admits(const State& state, const Reserved& reserved) {
  const Kernel& kernel = *state.find<Kernel>(reserved.kernel);
  const Agent* agent = state.find<Agent>(reserved.agent);
  if (agent == nullptr || agent->status != AgentStatus::Alive) return false;
  if (!has_room(*agent, agent->occupied_slots, kernel.occupied_slots)) return false;
  const auto is_granted = [](const Kernel& k) { return k.status != KernelStatus::Reserved; };
  return has_devices(state, *agent, devices_of(state, kernel), is_granted) &&
         cohort_admits(state, *state.find<Session>(reserved.session));
}

bool may_admit(const Change& change) {
  if (change.is_volatile) return false;
  return change.entity == EntityKind::Kernel || change.entity == EntityKind::Agent ||
         change.entity == EntityKind::Project;
}

}  // namespace

std::set<SessionId> leaving_for(const State& state, const Placement& placement) {
  std::set<SessionId> leaving(placement.victims.begin(), placement.victims.end());
  if (leaving.empty()) return leaving;
  for (const SessionStatus status :
       {SessionStatus::Preempted, SessionStatus::Rescheduling, SessionStatus::Terminating}) {
    for_each_in(state, status, [&](const Session& session) { leaving.insert(session.id); });
  }
  return leaving;
}

std::string wrong_victims(const State& state, const Placement& placement) {
  for (const SessionId& id : placement.victims) {
    const Session* victim = state.find<Session>(id);
    if (victim == nullptr || victim->status != SessionStatus::Running || !victim->is_preemptible ||
        victim->type == SessionType::System) {
      return fmt::format("session {} cannot be preempted any more", to_string(id));
    }
  }
  return {};
}

void reserve(Context& ctx, const Placement& placement) {
  for (const auto& [kernel, agent] : placement.kernels) {
    set_kernel_status(ctx, kernel, KernelStatus::Reserved, "");
  }
  const std::size_t count = placement.victims.size();
  set_session_status(ctx, placement.session, SessionStatus::Reserved,
                     fmt::format("waits for {} session{} to leave", count, count == 1 ? "" : "s"));
  record_history(ctx, *ctx.state().find<Session>(placement.session), "schedule-sessions",
                 SessionStatus::Pending, SessionStatus::Reserved, SchedulingResult::Success);
  for (const SessionId& victim : placement.victims) preempt(ctx, victim, placement.session);
}

void requeue(Context& ctx, const SessionId& id) {
  const std::string info = ctx.state().find<Session>(id)->status_info;
  reset_kernels(ctx, id);
  set_session_status(ctx, id, SessionStatus::Pending, "RESCHEDULED");
  const Session& session =
      update_session(ctx.changes, id, [](Session& s) { s.batch_triggered = false; });
  record_history(ctx, session, "reschedule-sessions", SessionStatus::Rescheduling,
                 SessionStatus::Pending, SchedulingResult::Success, {}, info);
}

void admit_reserved(Context& ctx, std::size_t since) {
  if (std::ranges::none_of(ctx.changes.changes().subspan(since), may_admit)) return;
  const auto waiting = all_reserved(ctx.state());
  std::set<AgentId> blocked;
  std::set<SessionId> admitted;
  for (const Reserved& reserved : waiting) {
    if (blocked.contains(reserved.agent)) continue;
    if (!admits(ctx.state(), reserved)) {
      blocked.insert(reserved.agent);
      continue;
    }
    set_kernel_status(ctx, reserved.kernel, KernelStatus::Scheduled, "");
    admitted.insert(reserved.session);
  }
  for (const SessionId& id : admitted) {
    const auto kernels = ctx.state().kernels_of(id);
    if (std::ranges::any_of(kernels,
                            [](const auto& k) { return k->status == KernelStatus::Reserved; })) {
      continue;
    }
    set_session_status(ctx, id, SessionStatus::Scheduled, "");
    record_history(ctx, *ctx.state().find<Session>(id), "release-reserved-sessions",
                   SessionStatus::Reserved, SessionStatus::Scheduled, SchedulingResult::Success);
    begin_prepare(ctx, id);
  }
}

}  // namespace bai::core

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "core/accounting.hpp"
#include "core/handlers.hpp"
#include "core/lifecycle.hpp"
#include "core/preemption.hpp"
#include "core/reservations.hpp"
#include "core/room.hpp"

namespace bai::core {

namespace {

DeviceUnits devices_on(const Placement& placement, const AgentId& agent) {
  DeviceUnits devices;
  for (const auto& [kernel_id, agent_id] : placement.kernels) {
    if (agent_id != agent) continue;
    for (const PlacedDevice& placed : placement.devices) {
      if (placed.kernel == kernel_id) devices[{placed.slot, placed.device}] += placed.amount.units;
    }
  }
  return devices;
}

// What is granted on the agent, or kept for sessions that wait for others to leave; without those
// who leave for this one.
SlotMap taken_on(const State& state, const Agent& agent, const std::set<SessionId>& leaving) {
  SlotMap taken = agent.occupied_slots;
  taken += agent.prereserved_slots;
  if (leaving.empty()) return taken;
  state.table<Kernel>().for_each_in(
      index::kKernelByAgent, IndexPrefix{}.add(agent.id.view()).str(), [&](const Kernel& kernel) {
        if (leaving.contains(kernel.session) && holds_resources(kernel.status)) {
          taken -= kernel.occupied_slots;
        }
        return true;
      });
  return taken;
}

// What stands against a placement now, but for limits, or empty. The plan was made from an older
// version.
std::string objection(const State& state, const Session& session, const Placement& placement,
                      const std::set<SessionId>& leaving) {
  const auto kernels = state.kernels_of(session.id);
  if (kernels.size() != placement.kernels.size()) return "its kernels have changed";
  std::map<AgentId, SlotMap> wanted;
  for (const auto& [kernel_id, agent_id] : placement.kernels) {
    const Kernel* kernel = state.find<Kernel>(kernel_id);
    const Agent* agent = state.find<Agent>(agent_id);
    if (kernel == nullptr || kernel->session != session.id) return "its kernels have changed";
    if (agent == nullptr || agent->status != AgentStatus::Alive || !agent->schedulable) {
      return fmt::format("agent {} is not there any more", agent_id.view());
    }
    if (agent->resource_group != session.resource_group ||
        agent->architecture != kernel->architecture) {
      return fmt::format("agent {} does not suit it any more", agent_id.view());
    }
    wanted[agent_id] += kernel->requested_slots;
  }
  if (auto wrong = wrong_victims(state, placement); !wrong.empty()) return wrong;
  for (const auto& [agent_id, slots] : wanted) {
    const Agent& agent = *state.find<Agent>(agent_id);
    if (!has_room(agent, taken_on(state, agent, leaving), slots)) {
      return fmt::format("agent {} has no room any more", agent_id.view());
    }
    const auto stays = [&](const Kernel& kernel) { return !leaving.contains(kernel.session); };
    if (!has_devices(state, agent, devices_on(placement, agent_id), stays)) {
      return fmt::format("devices of agent {} are not free any more", agent_id.view());
    }
  }
  return {};
}

Json device_grants(const Placement& placement, const KernelId& kernel) {
  std::map<std::string, Json> slots;
  for (const PlacedDevice& placed : placement.devices) {
    if (placed.kernel != kernel) continue;
    slots.try_emplace(placed.slot, Json::object())
        .first->second.set(std::to_string(placed.device),
                           format_amount(SlotType::Count, placed.amount));
  }
  Json devices = Json::object();
  for (auto& [slot, grants] : slots) devices.set(slot, std::move(grants));
  return devices;
}

void place(Context& ctx, const Placement& placement) {
  for (const auto& [kernel_id, agent_id] : placement.kernels) {
    const std::string addr = ctx.state().find<Agent>(agent_id)->addr;
    update_kernel(ctx.changes, kernel_id, [&](Kernel& k) {
      k.agent = agent_id;
      k.agent_addr = addr;
      k.occupied_slots = k.requested_slots;
      k.occupied_slots.prune_zeros();
      k.devices = device_grants(placement, kernel_id);
    });
  }
  if (!placement.victims.empty()) return reserve(ctx, placement);
  for (const auto& [kernel_id, agent_id] : placement.kernels) {
    set_kernel_status(ctx, kernel_id, KernelStatus::Scheduled, "");
  }
  set_session_status(ctx, placement.session, SessionStatus::Scheduled, "");
  record_history(ctx, *ctx.state().find<Session>(placement.session), "schedule-sessions",
                 SessionStatus::Pending, SessionStatus::Scheduled, SchedulingResult::Success);
  begin_prepare(ctx, placement.session);
}

// The text goes to whoever asks; a history row is written only when the kind of reason is new.
void explain(Context& ctx, const Explained& explained) {
  const Session* session = ctx.state().find<Session>(explained.session);
  if (session == nullptr || session->status != SessionStatus::Pending) return;
  const bool new_kind =
      session->pending_reason == nullptr || session->pending_reason->code != explained.reason->code;
  const Session& updated = ctx.changes.update_volatile<Session>(
      explained.session, [&](Session& s) { s.pending_reason = explained.reason; });
  if (new_kind) {
    record_history(ctx, updated, "schedule-sessions", SessionStatus::Pending,
                   SessionStatus::Pending, SchedulingResult::NeedRetry, explained.reason->code,
                   explained.reason->message);
  }
}

// Whether it was made. What has changed since the plan wakes the planner again; where the planner
// does not check limits the session is told.
bool try_place(Context& ctx, const Session& session, const Placement& placement) {
  const State& state = ctx.state();
  const std::set<SessionId> leaving = leaving_for(state, placement);
  if (!objection(state, session, placement, leaving).empty() ||
      !broken_reservation(state, session, placement.kernels, ctx.now).empty()) {
    return false;
  }
  const auto broken = broken_limit(state, session, std::vector(leaving.begin(), leaving.end()));
  if (!broken) {
    place(ctx, placement);
  } else {
    explain(ctx, {session.id, std::make_shared<const PendingReason>(reason_of_limit(*broken))});
  }
  return !broken;
}

}  // namespace

PlanOutcome on_plan(Context& ctx, const Plan& plan) {
  PlanOutcome outcome;
  for (const Placement& placement : plan.placements) {
    const Session* session = ctx.state().find<Session>(placement.session);
    if (session == nullptr || session->status != SessionStatus::Pending) continue;
    ++(try_place(ctx, *session, placement) ? outcome.placed : outcome.refused);
  }
  for (const Explained& explained : plan.explained) explain(ctx, explained);
  return outcome;
}

}  // namespace bai::core

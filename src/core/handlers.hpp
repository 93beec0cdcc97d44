// One function per kind of input that is not an action. Plain functions on the loop thread; what
// they change and send is in the context. Foreign nonsense (a stale event, an unknown kernel) is
// ignored and says so by its return value.
#pragma once

#include "bai_manager/agent.hpp"
#include "core/context.hpp"
#include "sched/planner.hpp"

namespace bai::core {

// False: nothing here to act on (unknown kernel, wrong agent, a guard of the status machine).
bool on_agent_event(Context& ctx, const AgentEvent& event);

// The answer to a command, which may be late, repeated by a fault, or about something that is over.
void on_answer(Context& ctx, const AgentId& agent, const Errand& errand,
               const Result<AgentReply>& answer);

struct PlanOutcome {
  std::size_t placed = 0, refused = 0;
};
// Applies one session at a time; a placement that no longer holds is refused alone.
PlanOutcome on_plan(Context& ctx, const Plan& plan);

void on_timer(Context& ctx, const Timer& timer);

// After loading: takes up whatever the statuses say must happen next.
void on_resume(Context& ctx);

// An agent is there (again): asks about everything that should be on it.
void reconcile_agent(Context& ctx, const AgentId& id);

// Takes sessions that ended `Options::keep_ended` ago out of the memory, with their kernels, unless
// a live session depends on them; and arms its own next time.
void evict_ended(Context& ctx);

// Timers that a changed row makes due.
void collect_timers(const Change& change, const Options& options, std::vector<Timer>& timers);

}  // namespace bai::core

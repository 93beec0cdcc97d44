// Sessions that start where others are to leave: RESERVED until these have left. What becomes of
// those is up to the resource group: they end, or wait again.
#pragma once

#include <set>

#include "core/context.hpp"
#include "sched/planner.hpp"

namespace bai::core {

// The victims of a placement, and sessions that leave anyway: what they hold is about to come free.
std::set<SessionId> leaving_for(const State& state, const Placement& placement);

// What stands against ending the placement's victims, or empty.
std::string wrong_victims(const State& state, const Placement& placement);

// The session becomes RESERVED, its victims PREEMPTED and what follows from that.
void reserve(Context& ctx, const Placement& placement);

// A RESCHEDULING session of which all kernels are gone waits again.
void requeue(Context& ctx, const SessionId& id);

// RESERVED kernels for which there is room by now become SCHEDULED: on each agent in the order in
// which they were reserved, never one before another that is earlier. After every input; `since`:
// the changeset's checkpoint before it.
void admit_reserved(Context& ctx, std::size_t since);

}  // namespace bai::core

// Advance reservations as the state has them: what must not be taken, and when they are over.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <utility>

#include "core/context.hpp"

namespace bai::core {

// Of a resource group, by name; stops when `visit` returns false.
void for_each_reservation(const State& state, const ResourceGroupName& group,
                          const std::function<bool(const Reservation&)>& visit);

// Which reservation a placement would take from, or which has not enough for it; empty: none.
// The plan was made from an older version.
std::string broken_reservation(const State& state, const Session& session,
                               std::span<const std::pair<KernelId, AgentId>> kernels,
                               Timestamp now);

// Erases those that are over. Sessions that still run in them go on.
void drop_over_reservations(Context& ctx);

}  // namespace bai::core

// Who may be ended for whom, and in which order.
#pragma once

#include <cstdint>

#include "sched/policy_set.hpp"
#include "sched/tenancy.hpp"
#include "sched/victim_tree.hpp"
#include "sched/view_source.hpp"

namespace bai::sched {

// Whether the rules let sessions of the owner look for victims where this one runs.
bool is_in_scope(const Session& row, const PreemptionRules& rules, const ResourceGroupName& group,
                 const Owner& owner);
// How much of the resource group the session holds: millionths of each slot, together.
std::int64_t weight_of(const Tenant& tenant, const Mirror& mirror, const SchedView& view);
VictimKey victim_key(const Session& row, const PreemptionRules& rules, std::int64_t weight);

}  // namespace bai::sched

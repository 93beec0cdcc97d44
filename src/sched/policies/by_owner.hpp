// Orders in which owners take turns by rank: within a priority band the owner with the smallest
// rank goes first, with its oldest session; equal ranks go by age.
#pragma once

#include <memory>

#include "bai_manager/policy.hpp"
#include "sched/owner_order.hpp"

namespace bai::sched {

std::unique_ptr<Ordering> order_by_owner(const SchedView& view, std::unique_ptr<OwnerRanks> ranks);

}  // namespace bai::sched

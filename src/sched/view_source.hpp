// What a SchedView looks at.
#pragma once

#include <unordered_map>
#include <vector>

#include "sched/ledger.hpp"
#include "sched/mirror.hpp"

namespace bai::sched {

// What one pass has found out and may be asked again.
struct ViewMemo {
  std::vector<std::int64_t> capacities;          // of the resource group, by slot
  std::vector<SlotType> types;                   // by slot
  std::unordered_map<PendingIndex, bool> rings;  // sessions that wait for a ring of dependencies
};

struct ViewSource {
  const Mirror& mirror;
  const Group& group;
  const Ledger& ledger;
  Timestamp now;
  std::uint64_t seed;
  mutable ViewMemo memo{};
};

// For policies that come with the planner.
const ViewSource& source_of(const SchedView& view) noexcept;
// The users' dominant shares, for the resource group's present capacity.
ShareCache& shares_of(const ViewSource& source);
// What the pass reckons fair shares with. Lives as long as the source.
FairShareMoment moment_of(const ViewSource& source);

}  // namespace bai::sched

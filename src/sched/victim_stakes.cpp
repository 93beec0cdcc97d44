// What can come free on each agent when those leave who may be ended.
#include <algorithm>

#include "sched/victim_index_tree.hpp"

namespace bai::sched {

VictimIndex::Stakes VictimIndex::stakes(const Question& question) {
  return Stakes(refreshed(question));
}

std::uint64_t VictimIndex::Stakes::kind() const noexcept { return tree_->id; }

std::uint64_t VictimIndex::Stakes::built() const noexcept { return tree_->built; }

const ChangeLog<AgentIndex>& VictimIndex::Stakes::changed() const noexcept { return tree_->read; }

VictimIndex::Stakes::On VictimIndex::Stakes::on(AgentIndex agent) const noexcept {
  return {*tree_, tree_->place_of(agent)};
}

std::int64_t VictimIndex::Stakes::On::units(SlotIndex slot) const noexcept {
  const auto& needed = tree_.kind.needed;
  const auto at = std::ranges::lower_bound(needed, slot);
  if (place_ == kNowhere || at == needed.end() || *at != slot) return 0;
  return tree_.gains[place_ * (tree_.slots + 1) + static_cast<std::size_t>(at - needed.begin())];
}

std::int64_t VictimIndex::Stakes::On::containers() const noexcept {
  return place_ == kNowhere ? 0 : tree_.gains[place_ * (tree_.slots + 1) + tree_.slots];
}

const VictimKey& VictimIndex::Stakes::On::first() const noexcept {
  return place_ == kNowhere ? kNobody : tree_.firsts[place_];
}

}  // namespace bai::sched

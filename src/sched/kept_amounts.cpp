#include "sched/kept_amounts.hpp"

#include <algorithm>

namespace bai::sched {

void KeptAmounts::add(AgentIndex agent, const Keep& keep) {
  on_[agent].push_back(keep);
  by_start_.emplace(keep.from, agent);
}

void KeptAmounts::remove(AgentIndex agent, const Keep& keep) {
  const auto on_agent = on_.find(agent);
  auto& keeps = on_agent->second;
  keeps.erase(std::ranges::find(keeps, keep.left, &Keep::left));
  if (keeps.empty()) on_.erase(on_agent);
  by_start_.erase(by_start_.find({keep.from, agent}));
}

std::span<const KeptAmounts::Keep> KeptAmounts::on(AgentIndex agent) const {
  const auto it = on_.find(agent);
  if (it == on_.end()) return {};
  return it->second;
}

}  // namespace bai::sched

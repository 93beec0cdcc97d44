#include "sched/kept_amounts.hpp"

#include <algorithm>

namespace bai::sched {

std::int64_t kept_places(const AgentTable& agents, const KeptOnAgent& on,
                         std::uint32_t container_limit) noexcept {
  if (container_limit == kNoContainerLimit) return 0;
  std::int64_t most = 1;
  for (const SlotRequest& r : *on.reserved) {
    const std::int64_t capacity = agents.capacity(on.agent, r.slot);
    if (capacity <= 0) continue;
    const Int128 part = Int128{container_limit} * std::min(r.units, capacity) / capacity;
    most = std::max(most, static_cast<std::int64_t>(part));
  }
  return most;
}

std::int64_t places_left(const AgentTable& agents, const KeptOnAgent& on,
                         std::uint32_t container_limit) noexcept {
  return std::max<std::int64_t>(0, kept_places(agents, on, container_limit) - on.containers);
}

void KeptAmounts::add(AgentIndex agent, const Keep& keep) {
  on_[agent].push_back(keep);
  by_start_.emplace(keep.from, agent);
}

void KeptAmounts::remove(AgentIndex agent, const Keep& keep) {
  const auto on_agent = on_.find(agent);
  auto& keeps = on_agent->second;
  keeps.erase(std::ranges::find(keeps, keep.what, &Keep::what));
  if (keeps.empty()) on_.erase(on_agent);
  by_start_.erase(by_start_.find({keep.from, agent}));
}

std::span<const KeptAmounts::Keep> KeptAmounts::on(AgentIndex agent) const {
  const auto it = on_.find(agent);
  if (it == on_.end()) return {};
  return it->second;
}

}  // namespace bai::sched

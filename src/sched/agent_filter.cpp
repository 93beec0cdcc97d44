#include "sched/agent_filter.hpp"

namespace bai::sched {

AgentClass AgentFilter::class_of(const AgentTable& agents, AgentIndex agent) const noexcept {
  return {!std::ranges::binary_search(designated, agent),
          neighbours != nullptr ? neighbours->rank(agent) : 0,
          preferred_labels != nullptr && !has_labels(agents.labels(agent), *preferred_labels),
          std::ranges::binary_search(failed, agent)};
}

std::vector<AgentIndex> AgentFilter::named() const {
  std::vector<AgentIndex> all = designated;
  all.insert(all.end(), failed.begin(), failed.end());
  if (neighbours != nullptr) {
    for (const auto& [agent, sessions] : neighbours->members) all.push_back(agent);
  }
  std::ranges::sort(all);
  all.erase(std::ranges::unique(all).begin(), all.end());
  return all;
}

}  // namespace bai::sched

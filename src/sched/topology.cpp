#include "sched/topology.hpp"

#include <map>
#include <utility>

namespace bai::sched {

void Topology::follow(const AgentTable& agents, const std::vector<std::string>& levels) {
  if (labels_version_ == agents.labels_version() && labels_ == levels) return;
  labels_version_ = agents.labels_version();
  labels_ = levels;
  ++version_;
  build(agents);
}

// From the largest level down; empty: in no domain.
std::string Topology::name_of(const AgentTable& agents, std::size_t level, AgentIndex agent) const {
  std::string name;
  if (agents.label(agent, labels_[level]).empty()) return name;
  for (std::size_t outer = labels_.size(); outer-- > level;) {
    if (!name.empty()) name += '/';
    name += agents.label(agent, labels_[outer]);
  }
  return name;
}

void Topology::build(const AgentTable& agents) {
  levels_.assign(labels_.size(), {});
  for (std::size_t at = 0; at < labels_.size(); ++at) {
    Level& level = levels_[at];
    std::map<std::string, std::vector<AgentIndex>> found;
    for (AgentIndex a = 0; a < agents.size(); ++a) {
      std::string name = name_of(agents, at, a);
      if (!name.empty()) found[std::move(name)].push_back(a);
    }
    level.of.assign(agents.size(), kNoDomain);
    for (auto& [name, members] : found) {
      for (const AgentIndex a : members)
        level.of[a] = static_cast<std::uint32_t>(level.domains.size());
      level.domains.push_back({name, std::move(members)});
    }
  }
}

}  // namespace bai::sched

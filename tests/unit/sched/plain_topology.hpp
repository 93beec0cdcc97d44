// Rooms in domains, counted over all agents: what those that are kept have to agree with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "sched/search.hpp"

namespace bai::test {

struct PlainDomain {
  std::string name;
  std::vector<AgentIndex> agents;
  std::uint64_t room = 0;
  bool enough = true;
  friend bool operator==(const PlainDomain&, const PlainDomain&) = default;
};

// Of the level, by name.
inline std::vector<PlainDomain> plain_domains(const sched::AgentTable& agents,
                                              const std::vector<std::string>& levels,
                                              std::size_t level) {
  std::map<std::string, std::vector<AgentIndex>> found;
  for (AgentIndex a = 0; a < agents.size(); ++a) {
    if (agents.label(a, levels[level]).empty()) continue;
    std::string name;
    for (std::size_t outer = levels.size(); outer-- > level;) {
      if (!name.empty()) name += '/';
      name += agents.label(a, levels[outer]);
    }
    found[name].push_back(a);
  }
  std::vector<PlainDomain> domains;
  for (auto& [name, members] : found) domains.push_back({name, std::move(members)});
  return domains;
}

inline std::uint64_t plain_copies(const sched::AgentTable& agents, AgentIndex agent,
                                  const Requirement& requirement, std::uint32_t container_limit) {
  std::int64_t most = 1 << 20;
  if (container_limit != 0xffff'ffff) {
    const std::int64_t places =
        std::int64_t{container_limit} - std::int64_t{agents.containers(agent)};
    most = std::min(most, places / std::max<std::int64_t>(1, requirement.containers));
  }
  for (const SlotRequest& r : requirement.slots) {
    if (r.units > 0) most = std::min(most, agents.free(agent, r.slot) / r.units);
  }
  if (most <= 0 || !agents.fits(agent, requirement)) return 0;
  return static_cast<std::uint64_t>(most);
}

// Adds the room for so many kernels of one kind. `filter.within` counts, and so does
// `filter.barred`.
inline void plain_count(std::vector<PlainDomain>& domains, const sched::AgentTable& agents,
                        const Requirement& requirement, std::uint64_t wanted,
                        const sched::AgentFilter& filter) {
  for (PlainDomain& domain : domains) {
    std::uint64_t sum = 0;
    for (const AgentIndex a : domain.agents) {
      if (agents.takes_sessions(a) && agents.architecture(a) == requirement.architecture &&
          agents.labels_match(a, requirement.labels) && !filter.excludes(a) &&
          !std::ranges::binary_search(filter.barred, a)) {
        sum += plain_copies(agents, a, requirement, filter.container_limit);
      }
    }
    domain.room += sum;
    domain.enough = domain.enough && sum >= wanted;
  }
}

// Those with enough, the least room first.
inline std::vector<std::string> plain_fitting(std::vector<PlainDomain> domains) {
  std::erase_if(domains, [](const PlainDomain& domain) { return !domain.enough; });
  std::ranges::stable_sort(domains, {}, &PlainDomain::room);
  std::vector<std::string> names;
  for (const PlainDomain& domain : domains) names.push_back(domain.name);
  return names;
}

inline std::string plain_roomiest(const std::vector<PlainDomain>& domains) {
  const PlainDomain* best = nullptr;
  for (const PlainDomain& domain : domains) {
    if (best == nullptr || domain.room > best->room) best = &domain;
  }
  return best == nullptr ? std::string() : best->name;
}

}  // namespace bai::test

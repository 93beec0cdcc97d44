// Where the other members of a session's group are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bai_manager/policy.hpp"

namespace bai::sched {

struct Neighbours {
  std::string session_group;
  PlacementDirection direction = PlacementDirection::None;
  bool strict = false;
  std::vector<std::pair<AgentIndex, std::uint32_t>> members;  // sessions by agent, ordered

  std::uint32_t on(AgentIndex agent) const noexcept {
    const auto it = std::ranges::lower_bound(members, agent, {}, [](auto& m) { return m.first; });
    return it != members.end() && it->first == agent ? it->second : 0;
  }
  // Strictly spread: no agent that has a member. Strictly packed: none but those, once there are.
  bool excludes(AgentIndex agent) const noexcept {
    if (!strict || members.empty()) return false;
    return (direction == PlacementDirection::Spread) == (on(agent) > 0);
  }
  // Whether only agents that have members are left.
  bool is_bound() const noexcept {
    return strict && direction == PlacementDirection::Pack && !members.empty();
  }
  // The smaller the better.
  std::int64_t rank(AgentIndex agent) const noexcept {
    const std::int64_t here = on(agent);
    return direction == PlacementDirection::Spread ? here : -here;
  }
  void count(AgentIndex agent, int sign) {
    const auto it = std::ranges::lower_bound(members, agent, {}, [](auto& m) { return m.first; });
    if (it == members.end() || it->first != agent) {
      members.insert(it, {agent, 1});
    } else if (sign > 0) {
      ++it->second;
    } else if (--it->second == 0) {
      members.erase(it);
    }
  }
};

}  // namespace bai::sched

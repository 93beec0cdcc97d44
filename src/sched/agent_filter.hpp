// Which agents a session may go to, and which of them it rather goes to.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <vector>

#include "sched/agent_table.hpp"
#include "sched/neighbours.hpp"

namespace bai::sched {

// What comes before the selector's key: the lowest class that has room is taken. What is compared
// first stands first.
struct AgentClass {
  bool is_other = false;  // than the designated ones
  std::int64_t rank = 0;  // Neighbours::rank
  bool lacks_labels = false;
  bool failed = false;
  friend auto operator<=>(const AgentClass&, const AgentClass&) = default;
};

// What a session's wishes and the resource group's limits say about agents.
struct AgentFilter {
  bool strict = false;                 // only `designated`
  std::vector<AgentIndex> designated;  // ordered; preferred unless strict
  std::vector<AgentIndex> failed;      // ordered; taken when nothing else is left
  std::vector<AgentIndex> barred;      // ordered; never taken: it would break a promise
  // Ordered; only these, where there is a list. `is_domain`: because of topology; otherwise because
  // its reservation has enough left there.
  const std::vector<AgentIndex>* within = nullptr;
  bool is_domain = false;
  const LabelRule* preferred_labels = nullptr;
  const Neighbours* neighbours = nullptr;  // of a session in a group
  std::uint32_t container_limit = kNoContainerLimit;

  // For reasons that other sessions with the same request may not have.
  bool excludes(AgentIndex agent) const noexcept {
    return (strict && !std::ranges::binary_search(designated, agent)) ||
           (within != nullptr && !std::ranges::binary_search(*within, agent)) ||
           (neighbours != nullptr && neighbours->excludes(agent));
  }
  bool may_exclude() const noexcept {
    return strict || within != nullptr || (neighbours != nullptr && neighbours->strict);
  }

  // Whether agents are of different classes.
  bool prefers() const noexcept {
    return !designated.empty() || !failed.empty() || preferred_labels != nullptr ||
           neighbours != nullptr;
  }
  AgentClass class_of(const AgentTable& agents, AgentIndex agent) const noexcept;
  // Agents that wishes name, ordered. No other agent is of the class of one of them: of those there
  // are two at most, as they differ in nothing but preferred labels.
  std::vector<AgentIndex> named() const;
  static constexpr AgentClass class_of_unnamed(bool lacks_labels) noexcept {
    return {true, 0, lacks_labels, false};
  }
};

}  // namespace bai::sched

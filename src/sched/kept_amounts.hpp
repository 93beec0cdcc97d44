// Amounts, and places for containers, that reservations keep on agents, from pass to pass.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/agent_table.hpp"

namespace bai::sched {

// What one reservation keeps on one agent.
struct KeptOnAgent {
  AgentIndex agent = 0;
  const std::vector<SlotRequest>* reserved = nullptr;
  // Of `reserved`, less what its sessions hold; less than nothing where they hold more.
  std::vector<SlotRequest> left;
  std::int64_t containers = 0;  // of its sessions
};

// As large a part of the agent's places as the reservation has of the slot of which it has most,
// and one at least: who reserves half of an agent can fill that half. None where there is no limit.
std::int64_t kept_places(const AgentTable& agents, const KeptOnAgent& on,
                         std::uint32_t container_limit) noexcept;
// Those of them that its sessions have not taken.
std::int64_t places_left(const AgentTable& agents, const KeptOnAgent& on,
                         std::uint32_t container_limit) noexcept;

class KeptAmounts {
 public:
  struct Keep {
    std::int64_t from = 0, to = 0;      // nanoseconds, like Timestamp; `from` may be over
    const KeptOnAgent* what = nullptr;  // outlives this
  };

  void add(AgentIndex agent, const Keep& keep);
  void remove(AgentIndex agent, const Keep& keep);  // one that was added

  bool empty() const noexcept { return on_.empty(); }
  bool has(AgentIndex agent) const { return on_.contains(agent); }
  std::span<const Keep> on(AgentIndex agent) const;
  // When something is kept on whom, the first first.
  const std::multiset<std::pair<std::int64_t, AgentIndex>>& by_start() const noexcept {
    return by_start_;
  }

 private:
  std::unordered_map<AgentIndex, std::vector<Keep>> on_;
  std::multiset<std::pair<std::int64_t, AgentIndex>> by_start_;
};

}  // namespace bai::sched

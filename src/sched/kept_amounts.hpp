// Amounts that reservations keep on agents, from pass to pass.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/agent_table.hpp"

namespace bai::sched {

class KeptAmounts {
 public:
  struct Keep {
    std::int64_t from = 0, to = 0;  // nanoseconds, like Timestamp; `from` may be over
    // What it has left; less than nothing where more is held than reserved. Outlives this.
    const std::vector<SlotRequest>* left = nullptr;
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

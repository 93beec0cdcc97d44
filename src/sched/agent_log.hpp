// Agents of which something has changed that is no amount.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bai_manager/policy.hpp"

namespace bai::sched {

// For who follows them, like AgentTable::changed: when `epoch` differs, everything may have
// changed.
class AgentLog {
 public:
  static constexpr AgentIndex kGone = 0xffff'ffff;

  std::uint64_t epoch() const noexcept { return epoch_; }
  const std::vector<AgentIndex>& agents() const noexcept { return agents_; }
  void note(AgentIndex agent) {
    if (agents_.size() >= kEntriesMax) begin_anew();
    agents_.push_back(agent);
  }
  void begin_anew() {
    agents_.clear();
    ++epoch_;
  }
  // Agents come and go: entries go on naming the same ones, or kGone.
  void came(AgentIndex at) {
    for (AgentIndex& agent : agents_) {
      if (agent >= at && agent != kGone) ++agent;
    }
  }
  void left(AgentIndex at) {
    for (AgentIndex& agent : agents_) {
      if (agent == at) {
        agent = kGone;
      } else if (agent > at && agent != kGone) {
        --agent;
      }
    }
  }

 private:
  static constexpr std::size_t kEntriesMax = 1 << 16;
  std::vector<AgentIndex> agents_;
  std::uint64_t epoch_ = 1;
};

}  // namespace bai::sched

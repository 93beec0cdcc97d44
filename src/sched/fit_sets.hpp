// Which agents fit a requirement, kept until an agent changes: how many they are, and which is the
// n-th.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "sched/agent_table.hpp"
#include "sched/fit_bitmaps.hpp"

namespace bai::sched {

class FitSet {
 public:
  std::size_t size() const noexcept { return size_; }
  bool has(AgentIndex agent) const noexcept {
    return (words_[agent / kBits] >> agent % kBits & 1) != 0;
  }
  std::size_t before(AgentIndex agent) const noexcept;  // how many come before it
  AgentIndex at(std::size_t place) const noexcept;      // below size()

 private:
  friend class FitSets;
  static constexpr std::size_t kBits = 64;
  void assign(std::size_t count);
  void set(AgentIndex agent, bool fits) noexcept;
  void count_all() noexcept;  // after the words were written

  Requirement requirement_;
  LabelRule labels_;  // numbers of rules are used again
  std::uint32_t container_limit_ = 0;
  std::uint64_t epoch_ = 0;   // of the agents
  std::size_t followed_ = 0;  // of their changes
  std::size_t size_ = 0;
  std::vector<std::uint64_t> words_;   // a bit for each agent
  std::vector<std::uint32_t> counts_;  // of the words, as a Fenwick tree; the first is not used
};

// Belongs to one resource group.
class FitSets {
 public:
  // Until the next call. `labels`: the requirement's rule, which is prepared.
  const FitSet& refreshed(const AgentTable& agents, const Requirement& requirement,
                          const LabelRule& labels, std::uint32_t container_limit);
  bool is_used() const noexcept { return !known_.empty(); }

 private:
  void look(FitSet& set, const AgentTable& agents) const;

  static constexpr std::size_t kBytesMax = 64U << 20U;  // kept before all are forgotten
  std::unordered_map<std::uint64_t, FitSet> known_;     // by content of the requirement
  std::vector<std::uint64_t> seen_;                     // by agent: the last call that looked at it
  std::uint64_t calls_ = 0;
  FitBitmaps bitmaps_;
};

}  // namespace bai::sched

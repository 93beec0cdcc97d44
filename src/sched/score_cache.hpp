// Scores of agents for requirements, kept until an agent changes.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "sched/agent_table.hpp"

namespace bai::sched {

// Scores of all agents for one requirement; those that do not fit have kUnfit.
class Scores {
 public:
  static constexpr std::int64_t kUnfit = std::numeric_limits<std::int64_t>::min();

  std::int64_t of(AgentIndex agent) const { return scores_[agent]; }
  std::optional<AgentIndex> highest() const noexcept;  // the first among equals

 private:
  friend class ScoreCache;
  static constexpr std::size_t kBlock = 64;  // agents that share one maximum
  void assign(std::size_t count);
  void set(AgentIndex agent, std::int64_t score);
  void settle();  // brings the maxima up to date after some calls of set()

  Requirement requirement_;
  LabelRule labels_;                         // numbers of rules are used again
  std::uint64_t epoch_ = 0;                  // of the agents
  std::size_t followed_ = 0;                 // of their changes
  std::vector<std::int64_t> scores_, best_;  // by agent, by block
  std::vector<std::uint8_t> stale_;          // by block
  std::vector<std::size_t> stale_blocks_;
};

// Belongs to one selector of one resource group.
class ScoreCache {
 public:
  const Scores& refreshed(const SchedView& view, const ScoreSelector& selector,
                          const AgentTable& agents, const Requirement& requirement,
                          std::uint32_t container_limit);
  // As of the last call of refreshed(); null before.
  const Rater* rater() const noexcept { return rater_.get(); }
  // For another selector, or one with other options: what the rater looks at goes with the old one.
  void clear() {
    known_.clear();
    rater_.reset();
  }

 private:
  static constexpr std::size_t kScoresMax = 8'000'000;  // kept before all are forgotten
  std::unordered_map<std::uint64_t, Scores> known_;     // by content of the requirement
  std::unique_ptr<const Rater> rater_;
  std::uint64_t epoch_ = 0;          // of the agents, when `rater_` was made
  std::vector<std::uint64_t> seen_;  // by agent: the last call that looked at it
  std::uint64_t pass_ = 0;
};

}  // namespace bai::sched

// Scores of agents for requirements: of those asked for often kept until an agent changes.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "sched/agent_table.hpp"
#include "sched/index/rating_tree.hpp"

namespace bai::sched {

// Scores of all agents for one requirement; those that do not fit have kUnfit.
class Scores {
 public:
  static constexpr std::int64_t kUnfit = kScoreMin - 1;

  std::int64_t of(AgentIndex agent) const { return scores_[agent]; }
  // Of those that `test` takes, the first among equals.
  std::optional<AgentIndex> highest(const AgentTest& test = {}) const;

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

struct ScoreCacheLimits {
  std::size_t tree_from = 512;         // agents: fewer are rated as fast
  std::uint32_t ratings_for_tree = 8;  // of all agents: as much work as to make a tree
  std::size_t scores_max = 8'000'000;  // kept before all are forgotten
  // Looks at agents in the tree for the same requirement, for each agent that there is, before the
  // scores of all are kept: about what these cost.
  std::uint64_t looks_for_scores = 1;
};

// Belongs to one selector of one resource group.
class ScoreCache {
 public:
  explicit ScoreCache(const ScoreCacheLimits& limits = {}) : limits_(limits) {}

  // The agent with the highest score, the first among equals, of those that fit and that `test`
  // takes. Whoever asks for the same again finds the scores of all agents, kept up to date; for
  // what is asked for once only those are rated that may have the highest.
  std::optional<AgentIndex> highest(const SchedView& view, const ScoreSelector& selector,
                                    const AgentTable& agents, const Requirement& requirement,
                                    std::uint32_t container_limit, const AgentTest& test = {});
  // The same of `candidates`, which fit.
  std::optional<AgentIndex> highest_of(std::span<const AgentIndex> candidates,
                                       const SchedView& view, const ScoreSelector& selector,
                                       const AgentTable& agents, const Requirement& requirement,
                                       std::uint32_t container_limit);

  const Scores& refreshed(const SchedView& view, const ScoreSelector& selector,
                          const AgentTable& agents, const Requirement& requirement,
                          std::uint32_t container_limit);
  // As of the last call of those above; null before.
  const Rater* rater() const noexcept { return rater_.get(); }
  // Agents that have been looked at one by one, so far.
  std::uint64_t looked_at() const noexcept { return looked_at_ + tree_.looked_at(); }
  // For another selector, or one with other options: what the rater looks at goes with the old one.
  void clear();

 private:
  static constexpr std::size_t kLately = 1024;

  void prepare(const SchedView& view, const ScoreSelector& selector, const AgentTable& agents);
  bool keeps(std::uint64_t key, const AgentTable& agents) const;
  bool has_tree(const Rated& rated);

  ScoreCacheLimits limits_;
  std::unordered_map<std::uint64_t, Scores> known_;  // by content of the requirement
  std::unique_ptr<const Rater> rater_;
  std::uint64_t epoch_ = 0;          // of the agents, when `rater_` was made
  std::vector<std::uint64_t> seen_;  // by agent: the last call that looked at it
  std::uint64_t pass_ = 0;
  std::uint64_t looked_at_ = 0;
  RatingTree tree_;
  std::uint32_t ratings_ = 0;  // of all agents, since there is no tree
  struct Asked {
    std::uint64_t key = 0;
    std::uint64_t looked_at = 0;  // by searches in the tree
  };
  std::array<Asked, kLately> lately_{};  // by what is left of the key
};

}  // namespace bai::sched

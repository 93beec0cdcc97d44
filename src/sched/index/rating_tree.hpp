// Agents by the traits that a rater looks at, as a k-d tree whose nodes know between which values
// the traits below them lie: the agent with the highest score is found without rating those that
// cannot have it.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "bai_manager/policy.hpp"
#include "sched/agent_table.hpp"
#include "sched/index/levels.hpp"
#include "sched/index/scan.hpp"

namespace bai::sched {

inline constexpr std::int64_t kScoreMin = std::numeric_limits<std::int64_t>::min() + 1;

// What a tree is made of and asked with; the same rater and agents until it is built anew.
struct Rated {
  const SchedView& view;
  const Rater& rater;
  const AgentTable& agents;
};

// Not thread-safe.
class RatingTree {
 public:
  // Whether there is one that follows the agents sooner than they are all rated.
  bool is_built(const Rated& rated) const noexcept {
    const std::size_t lag_max = 64 + rated.agents.size() / 16;
    return !nodes_.empty() && !is_deep_ && epoch_ == rated.agents.epoch() &&
           rated.agents.changed().size() - followed_ <= lag_max;
  }
  void build(const Rated& rated);
  void clear() noexcept;

  // The agent with the highest score, the first among equals, of those that AgentTable::match and
  // `test` take. Where is_built().
  std::optional<AgentIndex> highest(const Rated& rated, const Requirement& requirement,
                                    std::uint32_t container_limit, const AgentTest& test);
  // Agents and nodes that searches have looked at one by one, so far.
  std::uint64_t looked_at() const noexcept { return looked_at_; }
  // Whether everything that the tree promises is so; for tests. Follows the agents first.
  bool is_sound(const Rated& rated);

 private:
  static constexpr std::uint32_t kLeafMax = 32, kMergedMax = 16;
  static constexpr std::uint32_t kNone = 0xffff'ffff;
  static constexpr std::uint32_t kDepthMax = 64;  // time to build it anew

  struct Node {
    Levels top;            // no agent below has more
    std::int64_t cut = 0;  // what is less in `dimension` is on the left
    std::uint32_t dimension = 0;
    std::uint32_t parent = kNone, left = kNone, right = kNone;  // a leaf has no children
    AgentIndex first = 0;                                       // no agent below has a lower number
    std::uint32_t count = 0;                                    // of a leaf's agents
    bool is_loose = false;  // a leaf that promises more than it holds
    std::array<AgentIndex, kLeafMax> agents{};
  };
  struct Candidate {
    std::int64_t bound;
    AgentIndex first;
    std::uint32_t node;
    // As std::push_heap wants it: what is looked at later comes first.
    friend bool operator<(const Candidate& a, const Candidate& b) noexcept {
      return a.bound != b.bound ? a.bound < b.bound : a.first > b.first;
    }
  };

  // Dimensions: the architecture, the rater's traits, and the agent's number, by which agents that
  // are alike are set apart.
  std::int64_t value(AgentIndex agent, std::size_t dimension) const noexcept {
    return dimension < width_ ? rows_[agent * width_ + dimension] : std::int64_t{agent};
  }
  bool is_leaf(std::uint32_t node) const noexcept { return nodes_[node].left == kNone; }
  std::span<std::int64_t> row(AgentIndex agent) noexcept {
    return std::span(rows_).subspan(agent * width_, width_);
  }
  std::span<std::int64_t> least(std::uint32_t node) noexcept {
    return std::span(boxes_).subspan(node * 2 * width_, width_);
  }
  std::span<std::int64_t> most(std::uint32_t node) noexcept {
    return std::span(boxes_).subspan((node * 2 + 1) * width_, width_);
  }

  void follow(const Rated& rated);
  void update(const Rated& rated, AgentIndex agent);
  void describe(const Rated& rated, AgentIndex agent, std::span<std::int64_t> row) const;
  Levels levels_of(const AgentTable& agents, AgentIndex agent) const noexcept;
  Levels needs(const Requirement& requirement) const noexcept;
  std::uint32_t new_node(std::uint32_t parent);
  void fill(std::uint32_t node, std::span<AgentIndex> agents);
  std::uint32_t widest(std::uint32_t node);
  std::size_t divide(std::span<AgentIndex> agents, std::uint32_t at);
  std::uint32_t leaf_for(AgentIndex agent) const noexcept;
  void insert(AgentIndex agent);
  void remove(AgentIndex agent);
  void merge(std::uint32_t parent);
  void replace(std::uint32_t parent, std::uint32_t by);
  void reset_box(std::uint32_t node) noexcept;
  void include(std::uint32_t node, AgentIndex agent) noexcept;
  bool includes(std::uint32_t node, AgentIndex agent) const noexcept;
  void widen(std::uint32_t node, AgentIndex agent) noexcept;
  void tighten(std::uint32_t leaf) noexcept;
  bool unite(std::uint32_t node) noexcept;

  std::optional<std::int64_t> bound(const Rated& rated, const Requirement& requirement,
                                    const Levels& needs, std::uint32_t node);
  bool is_sound(std::uint32_t node, const AgentTable& agents, std::size_t& held);

  std::size_t width_ = 0;                // of rows: architecture and traits
  std::size_t splits_ = 0;               // of these, the first ones
  std::size_t lanes_ = 0;                // slots in the levels
  std::vector<SlotIndex> device_slots_;  // that have two further lanes each
  bool is_deep_ = false;
  std::uint64_t epoch_ = 0;          // of the agents
  std::size_t followed_ = 0;         // of their changes
  std::vector<Node> nodes_;          // the first is the root
  std::vector<std::int64_t> boxes_;  // by node: the least and the most of each dimension
  std::vector<std::uint32_t> unused_nodes_;
  std::vector<std::int64_t> rows_;     // by agent
  std::vector<Levels> levels_;         // by agent
  std::vector<std::uint32_t> leaves_;  // by agent: where it is, or kNone
  std::vector<Candidate> heap_;
  std::vector<std::int64_t> scratch_;
  std::uint64_t looked_at_ = 0;
};

}  // namespace bai::sched

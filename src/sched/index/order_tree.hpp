// Agents in the order of a placement key, as a B+ tree whose nodes know the highest level of every
// amount below them: the first agent in order that has enough is found without looking at the
// parts of the tree where nobody has.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/large_pages.hpp"
#include "sched/index/agent_key.hpp"

namespace bai::sched {

class OrderTree {
 public:
  // `keys` outlives the tree and is attached whenever the tree is used.
  explicit OrderTree(const AgentKey& keys) : keys_(keys) {}

  void clear(std::size_t agents);
  // Makes room at `at` in the numbering of agents; the new one is not in the tree.
  void make_room(AgentIndex at);
  void close_gap(AgentIndex at);  // which is not in the tree

  bool holds(AgentIndex agent) const noexcept { return places_[agent] != kNowhere; }
  void insert(AgentIndex agent, const AgentKey::Reading& reading);
  void erase(AgentIndex agent);
  void update(AgentIndex agent, const AgentKey::Reading& reading);  // one that is held
  // Soon one of the others will be called for it: `fetch_place` first, then, a while later,
  // `fetch_head`, which looks at what the first one has brought.
  void fetch_place(AgentIndex agent) const noexcept { __builtin_prefetch(&places_[agent]); }
  void fetch_head(AgentIndex agent) const noexcept {
    if (holds(agent)) __builtin_prefetch(&heads_[places_[agent] / kFanout]);
  }

  std::uint32_t bands() const noexcept { return static_cast<std::uint32_t>(roots_.size()); }
  // The first agent of the band that has the levels and that `accept` takes.
  template <class Accept>
  std::optional<AgentIndex> first(std::uint32_t band, const Levels& needs, Accept&& accept);
  std::size_t bytes() const noexcept;
  // Whether everything that the tree promises is so; for tests.
  bool is_sound() const;

 private:
  static constexpr std::uint32_t kFanout = 32;
  static constexpr std::uint32_t kMergeAt = 7, kMergedMax = 24;
  static constexpr std::uint32_t kNowhere = 0xffff'ffff;
  static constexpr std::size_t kDepthMax = 12;

  struct Entry {
    Levels levels;           // an agent's; of a node below: nobody there has more
    std::uint64_t code = 0;  // of a node below: nobody there stands before (code, lows_, tie)
    std::uint32_t ref = 0;   // AgentIndex, or the node below
    AgentIndex tie = 0;
  };
  struct alignas(64) Node {
    std::array<Entry, kFanout> entries;  // of agents: in no order, and with gaps
  };
  struct Head {
    std::uint32_t used = 0;  // lanes, a bit each
    std::uint32_t parent = kNowhere;
    std::uint32_t band = 0;
    std::uint8_t lane = 0;  // in the parent
    std::uint8_t height = 0;
    bool is_loose = false;  // its entries may have less than the parent's entry says

    // Up to the last one in use; above leaves that is all of them.
    std::uint32_t lanes() const noexcept {
      return static_cast<std::uint32_t>(std::bit_width(used));
    }
    std::uint32_t count() const noexcept { return static_cast<std::uint32_t>(std::popcount(used)); }
  };
  static constexpr std::uint32_t kFull = 0xffff'ffff;
  static_assert(kFanout == 32, "as many as a Head has bits for");
  static_assert(sizeof(Head) == 16, "as many as possible stay near");

  // All of a node that is about to be looked through: its lines come at once, not one by one.
  void prefetch_node(std::uint32_t node) const noexcept {
    constexpr std::size_t kLine = 64;
    const char* at = reinterpret_cast<const char*>(&nodes_[node]);
    for (std::size_t i = 0; i < sizeof(Node); i += kLine) __builtin_prefetch(at + i);
  }
  std::uint32_t new_node(std::uint8_t height, std::uint32_t band);
  std::uint32_t leaf_for(AgentIndex agent, std::uint64_t code, std::uint32_t band) const noexcept;
  bool starts_after(const Entry& bound, AgentIndex agent) const noexcept;
  void append(std::uint32_t node, const Entry& entry);
  void lift(std::uint32_t node, const Levels& by) noexcept;
  void tighten(std::uint32_t node) noexcept;
  Levels highest_in(std::uint32_t node) const noexcept;
  void take_out(std::uint32_t node, std::uint32_t lane);
  void remove_child(std::uint32_t node, std::uint32_t lane);
  void thin_out(std::uint32_t node);
  void split(std::uint32_t node);
  void copy_low(std::uint32_t from, std::uint32_t to) noexcept;
  void set_bound(Entry& bound, AgentIndex agent, std::uint64_t code);
  void place(std::uint32_t node, std::uint32_t lane) noexcept;  // what is there knows it
  bool is_sound(std::uint32_t node, const Entry* low, const Entry* high) const;

  template <class Accept>
  std::optional<AgentIndex> best_of(const Node& node, std::uint32_t used, const Levels& needs,
                                    Accept&& accept) const;
  // Leaves that may hold agents with the levels, in order. Fits what nodes promise to what they
  // hold when it has found nothing there: what goes away need not be followed up at once.
  class Walk;

  const AgentKey& keys_;
  std::vector<Node, base::LargePages<Node>> nodes_;
  std::vector<Head> heads_;
  std::vector<std::uint32_t> unused_nodes_;
  std::vector<std::int64_t> lows_;     // by node: the values of the key of its bound
  std::vector<std::uint32_t> roots_;   // by band; or kNowhere
  std::vector<std::uint32_t> places_;  // by agent: node * kFanout + lane
};

class OrderTree::Walk {
 public:
  Walk(OrderTree& tree, std::uint32_t root, const Levels& needs) : tree_(tree), needs_(needs) {
    nodes_[0] = root;
    lanes_[0] = 0;
  }
  // The next leaf; kNowhere at the end. The last one had nothing.
  std::uint32_t next() noexcept {
    if (leaf_ != kNowhere && tree_.heads_[leaf_].is_loose) tree_.tighten(leaf_);
    if (tree_.heads_[nodes_[0]].height == 0) {
      return std::exchange(lanes_[0], 1) == 0 ? nodes_[0] : kNowhere;
    }
    for (;;) {
      const std::uint32_t node = nodes_[depth_], count = tree_.heads_[node].lanes();
      const Entry* entries = tree_.nodes_[node].entries.data();
      std::uint32_t lane = lanes_[depth_];
      while (lane < count && !covers(entries[lane].levels, needs_)) ++lane;
      if (lane == count) {
        if (tree_.heads_[node].is_loose) tree_.tighten(node);
        if (depth_ == 0) return kNowhere;
        --depth_;
        continue;
      }
      lanes_[depth_] = lane + 1;
      const std::uint32_t below = entries[lane].ref;
      tree_.prefetch_node(below);
      if (tree_.heads_[node].height == 1) return leaf_ = below;
      nodes_[++depth_] = below;
      lanes_[depth_] = 0;
    }
  }

 private:
  OrderTree& tree_;
  const Levels needs_;
  std::array<std::uint32_t, kDepthMax> nodes_, lanes_;
  std::size_t depth_ = 0;
  std::uint32_t leaf_ = kNowhere;
};

template <class Accept>
std::optional<AgentIndex> OrderTree::first(std::uint32_t band, const Levels& needs,
                                           Accept&& accept) {
  const std::uint32_t root = roots_[band];
  if (root == kNowhere) return std::nullopt;
  Walk walk(*this, root, needs);
  for (std::uint32_t leaf = walk.next(); leaf != kNowhere; leaf = walk.next()) {
    if (const auto found = best_of(nodes_[leaf], heads_[leaf].used, needs, accept)) return found;
  }
  return std::nullopt;
}

template <class Accept>
std::optional<AgentIndex> OrderTree::best_of(const Node& node, std::uint32_t used,
                                             const Levels& needs, Accept&& accept) const {
  constexpr std::uint64_t kLast = ~std::uint64_t{0};
  const Entry* entries = node.entries.data();
  std::uint32_t open = 0;
  std::uint64_t least = kLast;
  const auto lanes = static_cast<std::uint32_t>(std::bit_width(used));
  for (std::uint32_t i = 0; i < lanes; ++i) {
    const auto has = static_cast<std::uint32_t>(covers(entries[i].levels, needs)) & (used >> i);
    open |= (has & 1) << i;
    least = std::min(least, entries[i].code | (std::uint64_t{has & 1} - 1));
  }
  while (open != 0) {
    std::uint32_t best = kFanout;
    for (std::uint32_t rest = open; rest != 0; rest &= rest - 1) {
      const auto i = static_cast<std::uint32_t>(std::countr_zero(rest));
      if (entries[i].code != least) continue;
      if (best == kFanout || keys_.before(entries[i].ref, entries[best].ref)) best = i;
    }
    if (accept(entries[best].ref)) return entries[best].ref;
    open &= ~(std::uint32_t{1} << best);
    least = kLast;
    for (std::uint32_t rest = open; rest != 0; rest &= rest - 1) {
      least = std::min(least, entries[std::countr_zero(rest)].code);
    }
  }
  return std::nullopt;
}

}  // namespace bai::sched

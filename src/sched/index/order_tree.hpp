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
  static constexpr std::size_t kBandsMax = 1 << 16;

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
    std::uint64_t code = 0;  // of a node below: nobody there stands before (code, its low)
    std::uint32_t ref = 0;   // AgentIndex, or the node below
    std::uint32_t used = 0;  // of a node below: its lanes, a bit each

    // Of a node below: up to the last one in use; above leaves that is all of them.
    std::uint32_t lanes() const noexcept {
      return static_cast<std::uint32_t>(std::bit_width(used));
    }
    std::uint32_t count() const noexcept { return static_cast<std::uint32_t>(std::popcount(used)); }
  };
  struct alignas(64) Node {
    // Of agents: in no order, and with gaps. Of nodes: those not in use have 0 as their code.
    std::array<Entry, kFanout> entries;
  };
  struct Head {
    std::uint32_t parent = kNowhere;
    std::uint16_t band = 0;
    std::uint8_t lane = 0;  // in the parent
    std::uint8_t height : 7 = 0;
    bool is_loose : 1 = false;  // its entries may have less than the parent's entry says
  };
  static constexpr std::uint32_t kFull = 0xffff'ffff;
  static_assert(kFanout == 32, "as many as `used` has bits for");
  static_assert(sizeof(Head) == 8, "as many as possible stay near");

  // All of a node that is about to be looked through: its lines come at once, not one by one.
  void prefetch_node(std::uint32_t node) const noexcept {
    constexpr std::size_t kLine = 64;
    const char* at = reinterpret_cast<const char*>(&nodes_[node]);
    for (std::size_t i = 0; i < sizeof(Node); i += kLine) __builtin_prefetch(at + i);
  }
  // What is known of a node above it: in its parent, or in `roots_`. Whoever comes from there need
  // not look at the head of the node, which is likely to be far away.
  Entry& above(std::uint32_t node) noexcept {
    const Head& head = heads_[node];
    return head.parent == kNowhere ? roots_[head.band] : nodes_[head.parent].entries[head.lane];
  }
  std::int64_t* low(std::uint32_t node) noexcept { return lows_.data() + node * low_width(); }
  const std::int64_t* low(std::uint32_t node) const noexcept {
    return lows_.data() + node * low_width();
  }
  std::size_t low_width() const noexcept { return keys_.parts() + 1; }
  std::uint32_t new_node(std::uint8_t height, std::uint32_t band);
  Entry& leaf_for(AgentIndex agent, std::uint64_t code, std::uint32_t band) noexcept;
  bool starts_after(const Entry& bound, AgentIndex agent) const noexcept;
  void append(Entry& above, const Entry& agent) noexcept;  // to the leaf below
  void lift(Entry& above, const Levels& by) noexcept;
  void tighten(std::uint32_t node) noexcept;
  void tighten_if_loose(std::uint32_t node) noexcept {
    if (heads_[node].is_loose) tighten(node);
  }
  Levels highest_in(std::uint32_t node, std::uint32_t used) const noexcept;
  void take_out(std::uint32_t leaf, std::uint32_t lane);
  void thin_out(std::uint32_t node);
  void split(std::uint32_t node);
  void set_bound(Entry& bound, AgentIndex agent, std::uint64_t code);
  void adopt(std::uint32_t node, std::uint32_t lane) noexcept;  // the node that is there knows it
  void drop(std::uint32_t node);
  void renumber(const Entry& above, AgentIndex from, int by) noexcept;
  // Whether what is below stands at or behind `from` and before `to`; counts agents into `held`.
  bool is_sound(const Entry& above, const Entry* from, const Entry* to, std::size_t& held) const;

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
  std::vector<std::int64_t> lows_;     // by node: the agent that it begins with: its values, itself
  std::vector<Entry> roots_;           // by band; its `ref` may be kNowhere
  std::vector<std::uint32_t> places_;  // by agent: node * kFanout + lane
};

class OrderTree::Walk {
 public:
  Walk(OrderTree& tree, std::uint32_t band, const Levels& needs) : tree_(tree), needs_(needs) {
    at_[0] = end_[0] = &tree.roots_[band];
    if (at_[0]->ref != kNowhere) ++end_[0];
  }
  // What is above the next leaf; null at the end. The last one had nothing.
  const Entry* next() noexcept {
    if (leaf_ != kNowhere) tree_.tighten_if_loose(leaf_);
    for (;;) {
      const Entry*& at = at_[depth_];
      while (at != end_[depth_] && !covers(at->levels, needs_)) ++at;
      if (at == end_[depth_]) {
        if (depth_ == 0) return nullptr;
        tree_.tighten_if_loose(at_[--depth_][-1].ref);
        continue;
      }
      const Entry& found = *at++;
      tree_.prefetch_node(found.ref);
      if (tree_.heads_[found.ref].height == 0) {
        leaf_ = found.ref;
        return &found;
      }
      at_[++depth_] = tree_.nodes_[found.ref].entries.data();
      end_[depth_] = at_[depth_] + found.lanes();
    }
  }

 private:
  OrderTree& tree_;
  const Levels needs_;
  std::array<const Entry*, kDepthMax> at_, end_;
  std::size_t depth_ = 0;
  std::uint32_t leaf_ = kNowhere;
};

template <class Accept>
std::optional<AgentIndex> OrderTree::first(std::uint32_t band, const Levels& needs,
                                           Accept&& accept) {
  Walk walk(*this, band, needs);
  while (const Entry* leaf = walk.next()) {
    if (const auto found = best_of(nodes_[leaf->ref], leaf->used, needs, accept)) return found;
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

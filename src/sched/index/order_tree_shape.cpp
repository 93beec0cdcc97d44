// How the tree grows and shrinks.
#include <algorithm>

#include "base/assert.hpp"
#include "sched/index/order_tree.hpp"

namespace bai::sched {

namespace {

std::uint32_t first_lanes(std::uint32_t count) noexcept {
  return static_cast<std::uint32_t>((std::uint64_t{1} << count) - 1);
}

}  // namespace

// `bound` leads to a node that begins with the agent.
void OrderTree::set_bound(Entry& bound, AgentIndex agent, std::uint64_t code) {
  bound.code = code;
  std::int64_t* low = this->low(bound.ref);
  for (std::size_t i = 0; i < keys_.parts(); ++i) low[i] = keys_.value(agent, i);
  low[keys_.parts()] = agent;
}

// Moves the later half of a full node to a new one behind it.
void OrderTree::split(std::uint32_t node) {
  const std::uint8_t height = heads_[node].height;
  const std::uint32_t band = heads_[node].band;
  if (heads_[node].parent == kNowhere) {
    const std::uint32_t root = new_node(static_cast<std::uint8_t>(height + 1), band);
    nodes_[root].entries[0] = roots_[band];  // begins before everything: no bound is looked at
    nodes_[root].entries[0].code = 0;
    adopt(root, 0);
    roots_[band].ref = root;
    roots_[band].used = first_lanes(1);
  } else if (above(heads_[node].parent).used == kFull) {
    split(heads_[node].parent);
  }
  const std::uint32_t right = new_node(height, band);
  Entry* entries = nodes_[node].entries.data();
  Entry bound;
  bound.ref = right;
  bound.used = first_lanes(kFanout / 2);
  if (height == 0) {
    std::sort(entries, entries + kFanout, [&](const Entry& a, const Entry& b) {
      return a.code != b.code ? a.code < b.code : keys_.before(a.ref, b.ref);
    });
    set_bound(bound, entries[kFanout / 2].ref, entries[kFanout / 2].code);
  } else {
    const Entry& middle = entries[kFanout / 2];
    bound.code = middle.code;
    std::copy_n(low(middle.ref), low_width(), low(right));
  }
  std::copy(entries + kFanout / 2, entries + kFanout, nodes_[right].entries.begin());
  if (height > 0) std::fill(entries + kFanout / 2, entries + kFanout, Entry{});
  for (std::uint32_t i = 0; i < kFanout / 2; ++i) {
    if (height > 0) {
      adopt(right, i);
    } else {
      places_[entries[i].ref] = node * kFanout + i;
      places_[nodes_[right].entries[i].ref] = right * kFanout + i;
    }
  }
  above(node).used = first_lanes(kFanout / 2);
  bound.levels = highest_in(right, bound.used);

  const std::uint32_t parent = heads_[node].parent, lane = heads_[node].lane + 1;
  Entry* siblings = nodes_[parent].entries.data();
  Entry& top = above(parent);
  const std::uint32_t count = top.count();
  std::copy_backward(siblings + lane, siblings + count, siblings + count + 1);
  siblings[lane] = bound;
  top.used = first_lanes(count + 1);
  for (std::uint32_t i = lane; i <= count; ++i) adopt(parent, i);
  tighten(node);
}

// Takes away a node that has nothing in use.
void OrderTree::drop(std::uint32_t node) {
  const auto [parent, band, lane, height, is_loose] = heads_[node];
  unused_nodes_.push_back(node);
  if (parent == kNowhere) {
    roots_[band].ref = kNowhere;
    return;
  }
  Entry* siblings = nodes_[parent].entries.data();
  Entry& top = above(parent);
  const std::uint32_t count = top.count() - 1;
  std::copy(siblings + lane + 1, siblings + count + 1, siblings + lane);
  siblings[count] = {};
  top.used = first_lanes(count);
  for (std::uint32_t i = lane; i < count; ++i) adopt(parent, i);
  if (count == 0) return drop(parent);
  if (heads_[parent].parent == kNowhere) {
    if (count > 1) return;
    roots_[band] = siblings[0];
    heads_[siblings[0].ref].parent = kNowhere;
    unused_nodes_.push_back(parent);
    return;
  }
  heads_[parent].is_loose = true;
  if (count <= kMergeAt) thin_out(parent);
}

// Joins a node that has become small with a small neighbour below the same parent.
void OrderTree::thin_out(std::uint32_t node) {
  const std::uint32_t parent = heads_[node].parent;
  if (parent == kNowhere) return;
  std::uint32_t lane = heads_[node].lane;
  Entry* siblings = nodes_[parent].entries.data();
  const auto joined = [&](std::uint32_t l) {
    return siblings[l].count() + siblings[l + 1].count();
  };
  const bool with_next = lane + 1 < above(parent).count() && joined(lane) <= kMergedMax;
  if (!with_next) {
    if (lane == 0 || joined(lane - 1) > kMergedMax) return;
    --lane;
  }
  Entry &left = siblings[lane], &right = siblings[lane + 1];
  const Entry* moving = nodes_[right.ref].entries.data();
  if (heads_[right.ref].height == 0) {
    for (std::uint32_t rest = right.used; rest != 0; rest &= rest - 1) {
      append(left, moving[std::countr_zero(rest)]);
    }
  } else {
    const std::uint32_t first = left.count(), count = right.count();
    Entry* to = nodes_[left.ref].entries.data() + first;
    std::copy_n(moving, count, to);
    // The first node below begins where the one that holds it does, whatever its own bound says.
    to->code = right.code;
    std::copy_n(low(right.ref), low_width(), low(to->ref));
    left.used = first_lanes(first + count);
    for (std::uint32_t i = first; i < first + count; ++i) adopt(left.ref, i);
  }
  right.used = 0;
  tighten(left.ref);
  drop(right.ref);
}

// Agents from `from` on get a number that differs by `by`.
void OrderTree::renumber(const Entry& above, AgentIndex from, int by) noexcept {
  const bool is_leaf = heads_[above.ref].height == 0;
  const bool by_agent = keys_.parts() == 0;  // then codes are agents
  for (std::uint32_t rest = above.used; rest != 0; rest &= rest - 1) {
    Entry& entry = nodes_[above.ref].entries[std::countr_zero(rest)];
    bool moves = false;
    if (is_leaf) {
      moves = entry.ref >= from;
      if (moves) entry.ref += static_cast<AgentIndex>(by);
    } else {
      std::int64_t& first = low(entry.ref)[keys_.parts()];
      moves = first >= from;
      if (moves) first += by;
      renumber(entry, from, by);
    }
    if (moves && by_agent) entry.code += static_cast<std::uint64_t>(std::int64_t{by});
  }
}

void OrderTree::make_room(AgentIndex at) {
  for (const Entry& root : roots_) {
    if (root.ref != kNowhere) renumber(root, at, 1);
  }
  places_.insert(places_.begin() + static_cast<std::ptrdiff_t>(at), kNowhere);
}

void OrderTree::close_gap(AgentIndex at) {
  BAI_ASSERT(!holds(at), "an agent leaves the order before its number goes");
  for (const Entry& root : roots_) {
    if (root.ref != kNowhere) renumber(root, at + 1, -1);
  }
  places_.erase(places_.begin() + static_cast<std::ptrdiff_t>(at));
}

bool OrderTree::is_sound() const {
  std::size_t held = 0;
  for (std::uint32_t band = 0; band < bands(); ++band) {
    const Entry& root = roots_[band];
    if (root.ref == kNowhere) continue;
    if (heads_[root.ref].parent != kNowhere || heads_[root.ref].band != band) return false;
    if (!is_sound(root, nullptr, nullptr, held)) return false;
  }
  return held == places_.size() - static_cast<std::size_t>(std::ranges::count(places_, kNowhere));
}

bool OrderTree::is_sound(const Entry& above, const Entry* from, const Entry* to,
                         std::size_t& held) const {
  const Head& head = heads_[above.ref];
  const Entry* entries = nodes_[above.ref].entries.data();
  if (above.used == 0) return false;
  if (head.height > 0 && above.used != first_lanes(above.count())) return false;
  const Levels highest = highest_in(above.ref, above.used);
  if (!covers(above.levels, highest)) return false;
  if (!head.is_loose && !(highest == above.levels)) return false;
  for (std::uint32_t i = 0; i < kFanout; ++i) {
    const Entry& entry = entries[i];
    if ((above.used >> i & 1) == 0) {
      if (head.height > 0 && entry.code != 0) return false;
      continue;
    }
    if (head.height == 0) {
      const auto after = [&](const Entry& bound) {
        return bound.code > entry.code ||
               (bound.code == entry.code && starts_after(bound, entry.ref));
      };
      if ((from != nullptr && after(*from)) || (to != nullptr && !after(*to))) return false;
      if (places_[entry.ref] != above.ref * kFanout + i) return false;
      AgentKey::Reading reading;
      if (!keys_.read(entry.ref, reading) || !(entry.levels == reading.levels) ||
          entry.code != reading.code || head.band != reading.band) {
        return false;
      }
      ++held;
      continue;
    }
    const Head& below = heads_[entry.ref];
    if (below.parent != above.ref || below.lane != i || below.height + 1 != head.height ||
        below.band != head.band) {
      return false;
    }
    const Entry* end = i + 1 < above.count() ? entries + i + 1 : to;
    if (!is_sound(entry, i == 0 ? from : entries + i, end, held)) return false;
  }
  return true;
}

}  // namespace bai::sched

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
  bound.tie = agent;
  std::int64_t* low = lows_.data() + std::size_t{bound.ref} * keys_.parts();
  for (std::size_t i = 0; i < keys_.parts(); ++i) low[i] = keys_.value(agent, i);
}

void OrderTree::copy_low(std::uint32_t from, std::uint32_t to) noexcept {
  const std::size_t parts = keys_.parts();
  std::copy_n(lows_.data() + from * parts, parts, lows_.data() + to * parts);
}

// Moves the later half of a full node to a new one behind it.
void OrderTree::split(std::uint32_t node) {
  const std::uint8_t height = heads_[node].height;
  const std::uint32_t band = heads_[node].band;
  if (heads_[node].parent == kNowhere) {
    const std::uint32_t root = new_node(static_cast<std::uint8_t>(height + 1), band);
    Entry entry;
    entry.levels = highest_in(node);
    entry.ref = node;  // begins before everything: its bound is never looked at
    append(root, entry);
    roots_[band] = root;
  } else if (heads_[heads_[node].parent].used == kFull) {
    split(heads_[node].parent);
  }
  const std::uint32_t right = new_node(height, band);
  Entry* entries = nodes_[node].entries.data();
  if (height == 0) {
    std::sort(entries, entries + kFanout, [&](const Entry& a, const Entry& b) {
      return a.code != b.code ? a.code < b.code : keys_.before(a.ref, b.ref);
    });
    for (std::uint32_t i = 0; i < kFanout / 2; ++i) place(node, i);
  }
  const Entry& middle = entries[kFanout / 2];
  Entry bound;
  bound.ref = right;
  if (height == 0) {
    set_bound(bound, middle.ref, middle.code);
  } else {
    bound.code = middle.code;
    bound.tie = middle.tie;
    copy_low(middle.ref, right);
  }
  for (std::uint32_t i = kFanout / 2; i < kFanout; ++i) append(right, entries[i]);
  heads_[node].used = kFull >> (kFanout / 2);

  const std::uint32_t parent = heads_[node].parent, lane = heads_[node].lane + 1;
  Entry* above = nodes_[parent].entries.data();
  bound.levels = highest_in(right);
  const std::uint32_t count = heads_[parent].count();
  std::copy_backward(above + lane, above + count, above + count + 1);
  above[lane] = bound;
  heads_[parent].used = first_lanes(count + 1);
  for (std::uint32_t i = lane; i <= count; ++i) place(parent, i);
  tighten(node);
}

void OrderTree::remove_child(std::uint32_t node, std::uint32_t lane) {
  Head& head = heads_[node];
  Entry* entries = nodes_[node].entries.data();
  unused_nodes_.push_back(entries[lane].ref);
  heads_[entries[lane].ref].used = 0;
  const std::uint32_t count = head.count() - 1;
  std::copy(entries + lane + 1, entries + count + 1, entries + lane);
  head.used = first_lanes(count);
  for (std::uint32_t i = lane; i < count; ++i) place(node, i);
  if (count == 0) {
    if (head.parent != kNowhere) return remove_child(head.parent, head.lane);
    roots_[head.band] = kNowhere;
    unused_nodes_.push_back(node);
    return;
  }
  if (head.parent == kNowhere) {
    if (count > 1) return;
    roots_[head.band] = entries[0].ref;
    heads_[entries[0].ref].parent = kNowhere;
    head.used = 0;
    unused_nodes_.push_back(node);
    return;
  }
  head.is_loose = true;
  if (count <= kMergeAt) thin_out(node);
}

// Joins a node that has become small with a small neighbour below the same parent.
void OrderTree::thin_out(std::uint32_t node) {
  const std::uint32_t parent = heads_[node].parent;
  std::uint32_t lane = heads_[node].lane;
  const Entry* siblings = nodes_[parent].entries.data();
  const auto joined = [&](std::uint32_t l) {
    return heads_[siblings[l].ref].count() + heads_[siblings[l + 1].ref].count();
  };
  const bool with_next = lane + 1 < heads_[parent].count() && joined(lane) <= kMergedMax;
  if (!with_next) {
    if (lane == 0 || joined(lane - 1) > kMergedMax) return;
    --lane;
  }
  const std::uint32_t left = siblings[lane].ref, right = siblings[lane + 1].ref;
  if (heads_[right].height > 0) {
    // The first node below begins where the one that holds it does, whatever its own bound says.
    Entry& first = nodes_[right].entries[0];
    first.code = siblings[lane + 1].code;
    first.tie = siblings[lane + 1].tie;
    copy_low(right, first.ref);
  }
  for (std::uint32_t rest = heads_[right].used; rest != 0; rest &= rest - 1) {
    append(left, nodes_[right].entries[std::countr_zero(rest)]);
  }
  tighten(left);
  remove_child(parent, lane + 1);
}

void OrderTree::make_room(AgentIndex at) {
  const bool by_agent = keys_.parts() == 0;  // then codes are agents
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    for (std::uint32_t rest = heads_[node].used; rest != 0; rest &= rest - 1) {
      Entry& entry = nodes_[node].entries[std::countr_zero(rest)];
      const AgentIndex shift = (heads_[node].height == 0 ? entry.ref : entry.tie) >= at ? 1 : 0;
      (heads_[node].height == 0 ? entry.ref : entry.tie) += shift;
      if (by_agent) entry.code += shift;
    }
  }
  places_.insert(places_.begin() + static_cast<std::ptrdiff_t>(at), kNowhere);
}

void OrderTree::close_gap(AgentIndex at) {
  BAI_ASSERT(!holds(at), "an agent leaves the order before its number goes");
  const bool by_agent = keys_.parts() == 0;
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    for (std::uint32_t rest = heads_[node].used; rest != 0; rest &= rest - 1) {
      Entry& entry = nodes_[node].entries[std::countr_zero(rest)];
      const AgentIndex shift = (heads_[node].height == 0 ? entry.ref : entry.tie) > at ? 1 : 0;
      (heads_[node].height == 0 ? entry.ref : entry.tie) -= shift;
      if (by_agent) entry.code -= shift;
    }
  }
  places_.erase(places_.begin() + static_cast<std::ptrdiff_t>(at));
}

bool OrderTree::is_sound() const {
  std::size_t held = 0;
  for (std::uint32_t band = 0; band < bands(); ++band) {
    const std::uint32_t root = roots_[band];
    if (root == kNowhere) continue;
    if (heads_[root].parent != kNowhere || heads_[root].band != band) return false;
    if (!is_sound(root, nullptr, nullptr)) return false;
  }
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    if (heads_[node].height == 0) held += heads_[node].count();
  }
  return held == places_.size() - static_cast<std::size_t>(std::ranges::count(places_, kNowhere));
}

bool OrderTree::is_sound(std::uint32_t node, const Entry* low, const Entry* high) const {
  const Head& head = heads_[node];
  const Entry* entries = nodes_[node].entries.data();
  if (head.height > 0 && head.used != first_lanes(head.count())) return false;
  for (std::uint32_t i = 0; i < kFanout; ++i) {
    if ((head.used >> i & 1) == 0) continue;
    const Entry& entry = entries[i];
    if (head.height == 0) {
      const auto after = [&](const Entry& bound) {
        return bound.code > entry.code ||
               (bound.code == entry.code && starts_after(bound, entry.ref));
      };
      if (low != nullptr && after(*low)) return false;
      if (high != nullptr && !after(*high)) return false;
      if (places_[entry.ref] != node * kFanout + i) return false;
      AgentKey::Reading reading;
      if (!keys_.read(entry.ref, reading) || !(entry.levels == reading.levels) ||
          entry.code != reading.code || head.band != reading.band) {
        return false;
      }
      continue;
    }
    const Head& below = heads_[entry.ref];
    if (below.parent != node || below.lane != i || below.height + 1 != head.height ||
        below.band != head.band || below.used == 0) {
      return false;
    }
    const Levels highest = highest_in(entry.ref);
    if (!covers(entry.levels, highest)) return false;
    if (!below.is_loose && !(highest == entry.levels)) return false;
    if (!is_sound(entry.ref, i == 0 ? low : entries + i,
                  i + 1 < head.count() ? entries + i + 1 : high)) {
      return false;
    }
  }
  return true;
}

}  // namespace bai::sched

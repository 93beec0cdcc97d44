#include "sched/index/order_tree.hpp"

namespace bai::sched {

void OrderTree::clear(std::size_t agents) {
  nodes_.clear();
  heads_.clear();
  unused_nodes_.clear();
  lows_.clear();
  roots_.clear();
  places_.assign(agents, kNowhere);
}

std::size_t OrderTree::bytes() const noexcept {
  return nodes_.capacity() * (sizeof(Node) + sizeof(Head)) + lows_.capacity() * sizeof(lows_[0]) +
         places_.capacity() * sizeof(places_[0]);
}

std::uint32_t OrderTree::new_node(std::uint8_t height, std::uint32_t band) {
  std::uint32_t node;
  if (!unused_nodes_.empty()) {
    node = unused_nodes_.back();
    unused_nodes_.pop_back();
  } else {
    node = static_cast<std::uint32_t>(nodes_.size());
    nodes_.emplace_back();
    heads_.emplace_back();
    lows_.resize(lows_.size() + keys_.parts());
  }
  heads_[node] = {0, kNowhere, band, 0, height, false};
  return node;
}

void OrderTree::place(std::uint32_t node, std::uint32_t lane) noexcept {
  const std::uint32_t ref = nodes_[node].entries[lane].ref;
  if (heads_[node].height == 0) {
    places_[ref] = node * kFanout + lane;
  } else {
    heads_[ref].parent = node;
    heads_[ref].lane = static_cast<std::uint8_t>(lane);
  }
}

// Whether the node that `bound` leads to begins behind the agent, given equal codes.
bool OrderTree::starts_after(const Entry& bound, AgentIndex agent) const noexcept {
  const std::int64_t* low = lows_.data() + std::size_t{bound.ref} * keys_.parts();
  for (std::size_t i = 0; i < keys_.parts(); ++i) {
    const std::int64_t value = keys_.value(agent, i);
    if (low[i] != value) return low[i] > value;
  }
  return bound.tie > agent;
}

std::uint32_t OrderTree::leaf_for(AgentIndex agent, std::uint64_t code,
                                  std::uint32_t band) const noexcept {
  std::uint32_t node = roots_[band];
  while (heads_[node].height > 0) {
    const Entry* entries = nodes_[node].entries.data();
    // The last one that does not begin behind the agent; the first one takes what is before it.
    // Without branches: where the agent goes is hard to foretell.
    const Entry* at = entries;
    for (std::uint32_t count = heads_[node].lanes(); count > 1;) {
      const std::uint32_t half = count / 2;
      at += half & (0U - static_cast<std::uint32_t>(at[half].code <= code));
      count -= half;
    }
    while (at > entries && at->code == code && starts_after(*at, agent)) --at;
    if (heads_[node].height == 1) return at->ref;
    node = at->ref;
    prefetch_node(node);
  }
  return node;
}

void OrderTree::append(std::uint32_t node, const Entry& entry) {
  const auto lane = static_cast<std::uint32_t>(std::countr_one(heads_[node].used));
  heads_[node].used |= std::uint32_t{1} << lane;
  nodes_[node].entries[lane] = entry;
  place(node, lane);
}

// Something with these levels came in below `node`.
void OrderTree::lift(std::uint32_t node, const Levels& by) noexcept {
  while (heads_[node].parent != kNowhere) {
    Levels& top = nodes_[heads_[node].parent].entries[heads_[node].lane].levels;
    if (covers(top, by)) return;
    raise(top, by);
    node = heads_[node].parent;
  }
}

Levels OrderTree::highest_in(std::uint32_t node) const noexcept {
  const Entry* entries = nodes_[node].entries.data();
  std::uint32_t rest = heads_[node].used;
  Levels highest = entries[std::countr_zero(rest)].levels;
  for (rest &= rest - 1; rest != 0; rest &= rest - 1) {
    raise(highest, entries[std::countr_zero(rest)].levels);
  }
  return highest;
}

void OrderTree::tighten(std::uint32_t node) noexcept {
  Head& head = heads_[node];
  head.is_loose = false;
  if (head.parent == kNowhere) return;
  Levels& top = nodes_[head.parent].entries[head.lane].levels;
  const Levels highest = highest_in(node);
  if (top == highest) return;
  top = highest;
  heads_[head.parent].is_loose = true;
}

void OrderTree::insert(AgentIndex agent, const AgentKey::Reading& reading) {
  const std::uint32_t band = reading.band;
  if (band >= roots_.size()) roots_.resize(band + 1, kNowhere);
  if (roots_[band] == kNowhere) roots_[band] = new_node(0, band);
  const Entry entry{reading.levels, reading.code, agent, 0};
  std::uint32_t leaf = leaf_for(agent, entry.code, band);
  if (heads_[leaf].used == kFull) {
    split(leaf);
    leaf = leaf_for(agent, entry.code, band);
  }
  append(leaf, entry);
  lift(leaf, entry.levels);
}

// What is above finds out when it is looked at.
void OrderTree::take_out(std::uint32_t leaf, std::uint32_t lane) {
  Head& head = heads_[leaf];
  head.used &= ~(std::uint32_t{1} << lane);
  if (head.parent == kNowhere) return;
  if (head.used == 0) return remove_child(head.parent, head.lane);
  head.is_loose = true;
  if (head.count() <= kMergeAt) thin_out(leaf);
}

void OrderTree::erase(AgentIndex agent) {
  const std::uint32_t at = places_[agent];
  places_[agent] = kNowhere;
  take_out(at / kFanout, at % kFanout);
}

void OrderTree::update(AgentIndex agent, const AgentKey::Reading& reading) {
  const std::uint32_t leaf = places_[agent] / kFanout;
  Entry& entry = nodes_[leaf].entries[places_[agent] % kFanout];
  const Head& head = heads_[leaf];
  bool stays = reading.band == head.band;
  if (stays && head.parent != kNowhere) {
    const Entry* bounds = nodes_[head.parent].entries.data();
    const bool is_last = head.lane + 1U == heads_[head.parent].lanes();
    const std::uint64_t low = bounds[head.lane].code,
                        high = is_last ? low : bounds[head.lane + 1].code;
    stays = low < reading.code && reading.code < high;
    // The entry itself is far away: it is looked at only where the bounds leave the question open.
    if (!stays && (is_last || reading.code == low || reading.code == high)) {
      stays = reading.code == entry.code && keys_.code_is_exact();
    }
  }
  if (!stays) {
    erase(agent);
    insert(agent, reading);
    return;
  }
  entry.levels = reading.levels;
  entry.code = reading.code;
  heads_[leaf].is_loose = true;
  lift(leaf, entry.levels);
}

}  // namespace bai::sched

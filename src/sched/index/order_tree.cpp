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
    if (height > 0) nodes_[node] = {};
  } else {
    node = static_cast<std::uint32_t>(nodes_.size());
    nodes_.emplace_back();
    heads_.emplace_back();
    lows_.resize(lows_.size() + low_width());
  }
  Head& head = heads_[node] = {};
  head.band = static_cast<std::uint16_t>(band);
  head.height = height & 0x7F;
  return node;
}

// Whether the node that `bound` leads to begins behind the agent, given equal codes.
bool OrderTree::starts_after(const Entry& bound, AgentIndex agent) const noexcept {
  const std::int64_t* low = this->low(bound.ref);
  for (std::size_t i = 0; i < keys_.parts(); ++i) {
    const std::int64_t value = keys_.value(agent, i);
    if (low[i] != value) return low[i] > value;
  }
  return low[keys_.parts()] > agent;
}

// What is above the leaf.
OrderTree::Entry& OrderTree::leaf_for(AgentIndex agent, std::uint64_t code,
                                      std::uint32_t band) noexcept {
  Entry* above = &roots_[band];
  for (std::uint32_t left = heads_[above->ref].height; left > 0; --left) {
    Entry* entries = nodes_[above->ref].entries.data();
    // The last one that does not begin behind the agent; the first one takes what is before it.
    // Without branches: where the agent goes is hard to foretell.
    Entry* at = entries;
    for (std::uint32_t count = above->lanes(); count > 1;) {
      const std::uint32_t half = count / 2;
      at += half & (0U - static_cast<std::uint32_t>(at[half].code <= code));
      count -= half;
    }
    while (at > entries && at->code == code && starts_after(*at, agent)) --at;
    above = at;
    if (left > 1) prefetch_node(above->ref);
  }
  return *above;
}

void OrderTree::append(Entry& above, const Entry& agent) noexcept {
  const auto lane = static_cast<std::uint32_t>(std::countr_one(above.used));
  above.used |= std::uint32_t{1} << lane;
  nodes_[above.ref].entries[lane] = agent;
  places_[agent.ref] = above.ref * kFanout + lane;
}

void OrderTree::adopt(std::uint32_t node, std::uint32_t lane) noexcept {
  Head& below = heads_[nodes_[node].entries[lane].ref];
  below.parent = node;
  below.lane = static_cast<std::uint8_t>(lane);
}

// Something with these levels came in below.
void OrderTree::lift(Entry& above, const Levels& by) noexcept {
  for (Entry* at = &above; !covers(at->levels, by);) {
    raise(at->levels, by);
    const std::uint32_t parent = heads_[at->ref].parent;
    if (parent == kNowhere) return;
    at = &this->above(parent);
  }
}

Levels OrderTree::highest_in(std::uint32_t node, std::uint32_t used) const noexcept {
  const Entry* entries = nodes_[node].entries.data();
  Levels highest = entries[std::countr_zero(used)].levels;
  for (used &= used - 1; used != 0; used &= used - 1) {
    raise(highest, entries[std::countr_zero(used)].levels);
  }
  return highest;
}

void OrderTree::tighten(std::uint32_t node) noexcept {
  Head& head = heads_[node];
  head.is_loose = false;
  Entry& top = above(node);
  const Levels highest = highest_in(node, top.used);
  if (top.levels == highest) return;
  top.levels = highest;
  if (head.parent != kNowhere) heads_[head.parent].is_loose = true;
}

void OrderTree::insert(AgentIndex agent, const AgentKey::Reading& reading) {
  const std::uint32_t band = reading.band;
  if (band >= roots_.size()) roots_.resize(band + 1, Entry{{}, 0, kNowhere, 0});
  if (roots_[band].ref == kNowhere) roots_[band] = {reading.levels, 0, new_node(0, band), 0};
  Entry* above = &leaf_for(agent, reading.code, band);
  if (above->used == kFull) {
    split(above->ref);
    above = &leaf_for(agent, reading.code, band);
  }
  append(*above, {reading.levels, reading.code, agent, 0});
  lift(*above, reading.levels);
}

// What is above finds out when it is looked at.
void OrderTree::take_out(std::uint32_t leaf, std::uint32_t lane) {
  Entry& above = this->above(leaf);
  above.used &= ~(std::uint32_t{1} << lane);
  if (above.used == 0) return drop(leaf);
  heads_[leaf].is_loose = true;
  if (above.count() <= kMergeAt) thin_out(leaf);
}

void OrderTree::erase(AgentIndex agent) {
  const std::uint32_t at = places_[agent];
  places_[agent] = kNowhere;
  take_out(at / kFanout, at % kFanout);
}

void OrderTree::update(AgentIndex agent, const AgentKey::Reading& reading) {
  const std::uint32_t leaf = places_[agent] / kFanout;
  Entry& entry = nodes_[leaf].entries[places_[agent] % kFanout];
  Head& head = heads_[leaf];
  bool stays = reading.band == head.band;
  if (stays && head.parent != kNowhere) {
    const Entry* bounds = nodes_[head.parent].entries.data() + head.lane;
    // Of the last one in the parent it is not known here where it ends.
    const std::uint64_t low = bounds[0].code, high = head.lane + 1U < kFanout ? bounds[1].code : 0;
    stays = low < reading.code && reading.code < high;
    // The entry itself is far away: it is looked at only where the bounds leave the question open.
    if (!stays && (high <= low || reading.code == low || reading.code == high)) {
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
  head.is_loose = true;
  lift(above(leaf), entry.levels);
}

}  // namespace bai::sched

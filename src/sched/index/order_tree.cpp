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
  heads_[node] = {0, kNowhere, 0, band, height, false};
  return node;
}

void OrderTree::place(std::uint32_t node, std::uint32_t lane) noexcept {
  const std::uint32_t ref = nodes_[node].entries[lane].ref;
  if (heads_[node].height == 0) {
    places_[ref] = node * kFanout + lane;
  } else {
    heads_[ref].parent = node;
    heads_[ref].lane = lane;
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
    for (std::uint32_t count = heads_[node].count; count > 1;) {
      const std::uint32_t half = count / 2;
      at += half & (0U - static_cast<std::uint32_t>(at[half].code <= code));
      count -= half;
    }
    while (at > entries && at->code == code && starts_after(*at, agent)) --at;
    node = at->ref;
    prefetch_node(node);
  }
  return node;
}

void OrderTree::append(std::uint32_t node, const Entry& entry) {
  const std::uint32_t lane = heads_[node].count++;
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

// Something with these levels went away from `node`. What is above finds out when it is looked at.
void OrderTree::loosen(std::uint32_t node, const Levels& gone) noexcept {
  Head& head = heads_[node];
  if (head.parent == kNowhere || head.is_loose) return;
  head.is_loose = reaches(gone, nodes_[head.parent].entries[head.lane].levels);
}

void OrderTree::tighten(std::uint32_t node) noexcept {
  Head& head = heads_[node];
  head.is_loose = false;
  if (head.parent == kNowhere) return;
  Levels& top = nodes_[head.parent].entries[head.lane].levels;
  const Levels before = top;
  top = highest_of(nodes_[node].entries.data(), head.count);
  if (!(top == before)) loosen(head.parent, before);
}

void OrderTree::insert(AgentIndex agent, const AgentKey::Reading& reading) {
  const std::uint32_t band = reading.band;
  if (band >= roots_.size()) roots_.resize(band + 1, kNowhere);
  if (roots_[band] == kNowhere) roots_[band] = new_node(0, band);
  const Entry entry{reading.levels, reading.code, agent, 0};
  std::uint32_t leaf = leaf_for(agent, entry.code, band);
  if (heads_[leaf].count == kFanout) {
    split(leaf);
    leaf = leaf_for(agent, entry.code, band);
  }
  append(leaf, entry);
  lift(leaf, entry.levels);
}

void OrderTree::take_out(std::uint32_t node, std::uint32_t lane) {
  Head& head = heads_[node];
  Entry* entries = nodes_[node].entries.data();
  const Levels gone = entries[lane].levels;
  --head.count;
  if (lane != head.count) {
    entries[lane] = entries[head.count];
    place(node, lane);
  }
  if (head.parent == kNowhere) return;
  if (head.count == 0) return remove_child(head.parent, head.lane);
  loosen(node, gone);
  if (head.count <= kMergeAt) thin_out(node);
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
  if (stays && head.parent != kNowhere && !(reading.code == entry.code && keys_.code_is_exact())) {
    const Entry* bounds = nodes_[head.parent].entries.data();
    stays = bounds[head.lane].code < reading.code && head.lane + 1 < heads_[head.parent].count &&
            bounds[head.lane + 1].code > reading.code;
  }
  if (!stays) {
    erase(agent);
    insert(agent, reading);
    return;
  }
  const Levels had = entry.levels;
  entry.levels = reading.levels;
  entry.code = reading.code;
  if (head.parent == kNowhere || entry.levels == had) return;
  loosen(leaf, had);
  lift(leaf, entry.levels);
}

}  // namespace bai::sched

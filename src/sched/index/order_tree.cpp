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

std::uint32_t OrderTree::new_node(std::uint32_t height, std::uint32_t band) {
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
  heads_[node] = {0, kNowhere, 0, height, band};
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
    // The last one that does not begin behind the agent. The first one takes what is before it.
    const Entry *low = entries + 1, *high = entries + heads_[node].count;
    while (low < high) {
      const Entry* middle = low + (high - low) / 2;
      const bool after =
          middle->code > code || (middle->code == code && starts_after(*middle, agent));
      if (after) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    node = (low - 1)->ref;
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

// Something below `node` went away or has less.
void OrderTree::refresh(std::uint32_t node) noexcept {
  while (heads_[node].parent != kNowhere) {
    const Entry* entries = nodes_[node].entries.data();
    Levels highest = entries[0].levels;
    for (std::uint32_t i = 1; i < heads_[node].count; ++i) raise(highest, entries[i].levels);
    Levels& top = nodes_[heads_[node].parent].entries[heads_[node].lane].levels;
    if (highest == top) return;
    top = highest;
    node = heads_[node].parent;
  }
}

void OrderTree::insert(AgentIndex agent, std::uint32_t band) {
  if (band >= roots_.size()) roots_.resize(band + 1, kNowhere);
  if (roots_[band] == kNowhere) roots_[band] = new_node(0, band);
  Entry entry;
  entry.levels = keys_.levels(agent);
  entry.code = keys_.code(agent);
  entry.ref = agent;
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
  if (head.count <= kMergeAt) thin_out(node);
  // If it was joined with a neighbour, what is above is up to date already.
  if (head.count > 0 && head.parent != kNowhere &&
      reaches(gone, nodes_[head.parent].entries[head.lane].levels)) {
    refresh(node);
  }
}

void OrderTree::erase(AgentIndex agent) {
  const std::uint32_t at = places_[agent];
  places_[agent] = kNowhere;
  take_out(at / kFanout, at % kFanout);
}

void OrderTree::update(AgentIndex agent, std::uint32_t band) {
  const std::uint32_t leaf = places_[agent] / kFanout;
  Entry& entry = nodes_[leaf].entries[places_[agent] % kFanout];
  const Head& head = heads_[leaf];
  const std::uint64_t code = keys_.code(agent);
  bool stays = band == head.band;
  if (stays && head.parent != kNowhere) {
    const Entry* bounds = nodes_[head.parent].entries.data();
    stays = bounds[head.lane].code < code && head.lane + 1 < heads_[head.parent].count &&
            bounds[head.lane + 1].code > code;
  }
  if (!stays && !(band == head.band && code == entry.code && keys_.code_is_exact())) {
    erase(agent);
    insert(agent, band);
    return;
  }
  const Levels had = entry.levels;
  entry.levels = keys_.levels(agent);
  entry.code = code;
  if (head.parent == kNowhere || entry.levels == had) return;
  const Levels top = nodes_[head.parent].entries[head.lane].levels;
  lift(leaf, entry.levels);
  if (reaches(had, top)) refresh(leaf);
}

}  // namespace bai::sched

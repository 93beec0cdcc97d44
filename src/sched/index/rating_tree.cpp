#include "sched/index/rating_tree.hpp"

#include <algorithm>
#include <limits>
#include <ranges>
#include <utility>

namespace bai::sched {

void RatingTree::describe(const Rated& rated, AgentIndex agent, std::span<std::int64_t> row) const {
  row[0] = rated.agents.architecture(agent);
  rated.rater.describe(rated.view, agent, row.subspan(1));
}

// What is free of the first slots; of those made of devices also what is the most that one of them
// has left, and whole ones.
Levels RatingTree::levels_of(const AgentTable& agents, AgentIndex agent) const noexcept {
  Levels levels;
  const std::int64_t* free = agents.free_row(agent);
  for (std::size_t slot = 0; slot < lanes_; ++slot) levels.lane[slot] = level_of(free[slot]);
  std::size_t lane = lanes_;
  for (const SlotIndex slot : device_slots_) {
    std::int64_t largest = 0, whole = 0;
    if (const DeviceSet* devices = agents.devices(agent, slot)) {
      for (const std::int64_t left : devices->free) {
        largest = std::max(largest, left);
        whole += left >= kUnitsPerDevice ? kUnitsPerDevice : 0;
      }
    } else {
      largest = whole = std::numeric_limits<std::int64_t>::max();  // not known
    }
    levels.lane[lane++] = level_of(largest);
    levels.lane[lane++] = level_of(whole);
  }
  return levels;
}

Levels RatingTree::needs(const Requirement& requirement) const noexcept {
  Levels needs;
  needs.lane.fill(kNoNeed);
  for (const SlotRequest& r : requirement.slots) {
    if (r.units == 0) continue;
    if (r.slot < lanes_) needs.lane[r.slot] = level_of(r.units);
    const auto at = std::ranges::find(device_slots_, r.slot);
    if (at == device_slots_.end() || !requirement.parts.empty()) continue;
    const auto lane = lanes_ + 2 * static_cast<std::size_t>(at - device_slots_.begin());
    const std::int64_t whole = r.units / kUnitsPerDevice * kUnitsPerDevice;
    needs.lane[lane] = level_of(std::min(r.units, kUnitsPerDevice));
    if (whole > 0) needs.lane[lane + 1] = level_of(whole);
  }
  return needs;
}

void RatingTree::clear() noexcept {
  const std::uint64_t looked_at = looked_at_;
  *this = {};
  looked_at_ = looked_at;
}

void RatingTree::build(const Rated& rated) {
  const AgentTable& agents = rated.agents;
  width_ = 1 + rated.rater.traits();
  splits_ = 1 + std::min(rated.rater.splits(), rated.rater.traits());
  lanes_ = std::min(kLanes, agents.column_count());
  device_slots_.clear();
  for (SlotIndex slot = 0; slot < agents.column_count(); ++slot) {
    const std::size_t used = lanes_ + 2 * device_slots_.size();
    if (used + 2 <= kLanes && agents.has_devices(slot)) device_slots_.push_back(slot);
  }
  epoch_ = agents.epoch();
  followed_ = agents.changed().size();
  is_deep_ = false;
  nodes_.clear();
  boxes_.clear();
  unused_nodes_.clear();
  rows_.assign(agents.size() * width_, 0);
  levels_.assign(agents.size(), {});
  leaves_.assign(agents.size(), kNone);
  std::vector<AgentIndex> all;
  for (AgentIndex a = 0; a < agents.size(); ++a) {
    if (!agents.takes_sessions(a)) continue;
    describe(rated, a, row(a));
    levels_[a] = levels_of(agents, a);
    all.push_back(a);
  }
  fill(new_node(kNone), all);
}

std::uint32_t RatingTree::new_node(std::uint32_t parent) {
  std::uint32_t node;
  if (unused_nodes_.empty()) {
    node = static_cast<std::uint32_t>(nodes_.size());
    nodes_.emplace_back();
    boxes_.resize(boxes_.size() + 2 * width_);
  } else {
    node = unused_nodes_.back();
    unused_nodes_.pop_back();
    nodes_[node] = {};
  }
  nodes_[node].parent = parent;
  return node;
}

void RatingTree::reset_box(std::uint32_t node) noexcept {
  std::ranges::fill(least(node), std::numeric_limits<std::int64_t>::max());
  std::ranges::fill(most(node), std::numeric_limits<std::int64_t>::min());
  nodes_[node].top.lane.fill(kNoNeed);
  nodes_[node].first = kNone;
}

void RatingTree::include(std::uint32_t node, AgentIndex agent) noexcept {
  const auto low = least(node), high = most(node), row = this->row(agent);
  for (std::size_t d = 0; d < width_; ++d) {
    low[d] = std::min(low[d], row[d]);
    high[d] = std::max(high[d], row[d]);
  }
  raise(nodes_[node].top, levels_[agent]);
  nodes_[node].first = std::min(nodes_[node].first, agent);
}

bool RatingTree::includes(std::uint32_t node, AgentIndex agent) const noexcept {
  if (!covers(nodes_[node].top, levels_[agent]) || nodes_[node].first > agent) return false;
  const std::int64_t *low = &boxes_[node * 2 * width_], *high = low + width_;
  for (std::size_t d = 0; d < width_; ++d) {
    if (value(agent, d) < low[d] || value(agent, d) > high[d]) return false;
  }
  return true;
}

// The dimension in which those below are farthest apart, compared to all agents.
std::uint32_t RatingTree::widest(std::uint32_t node) {
  const auto extent = [&](std::uint32_t of, std::size_t d) {
    return static_cast<double>(most(of)[d]) - static_cast<double>(least(of)[d]);
  };
  std::size_t widest = width_;  // the agent's number
  double share = 0;
  for (std::size_t d = 0; d < splits_; ++d) {
    const double all = extent(0, d), apart = extent(node, d);
    if (apart <= share * all) continue;
    share = apart / all;
    widest = d;
  }
  return static_cast<std::uint32_t>(widest);
}

// Makes the node, whose box is that of the agents, an inner one, and orders them by it; how many go
// to the left.
std::size_t RatingTree::divide(std::span<AgentIndex> agents, std::uint32_t at) {
  const std::uint32_t d = widest(at);
  Node& node = nodes_[at];
  node.dimension = d;
  const auto of = [&](AgentIndex a) { return value(a, d); };
  const auto middle = agents.begin() + static_cast<std::ptrdiff_t>(agents.size() / 2);
  std::ranges::nth_element(agents, middle, {}, of);
  node.cut = of(*middle);
  const auto is_left = [&](AgentIndex a) { return of(a) < node.cut; };
  auto right = std::ranges::partition(agents, is_left);
  if (right.begin() == agents.begin()) {  // the lowest value is in the middle, too
    std::int64_t next = std::numeric_limits<std::int64_t>::max();
    for (const AgentIndex a : agents) {
      if (of(a) > node.cut) next = std::min(next, of(a));
    }
    node.cut = next;
    right = std::ranges::partition(agents, is_left);
  }
  return static_cast<std::size_t>(right.begin() - agents.begin());
}

// A node that is new, or a leaf that has become too small.
void RatingTree::fill(std::uint32_t node, std::span<AgentIndex> agents) {
  reset_box(node);
  for (const AgentIndex a : agents) include(node, a);
  if (agents.size() <= kLeafMax) {
    std::ranges::copy(agents, nodes_[node].agents.begin());
    nodes_[node].count = static_cast<std::uint32_t>(agents.size());
    for (const AgentIndex a : agents) leaves_[a] = node;
    return;
  }
  const std::size_t left = divide(agents, node);
  const std::uint32_t l = new_node(node), r = new_node(node);
  nodes_[node].left = l;
  nodes_[node].right = r;
  fill(l, agents.first(left));
  fill(r, agents.subspan(left));
}

std::uint32_t RatingTree::leaf_for(AgentIndex agent) const noexcept {
  std::uint32_t from = 0;
  while (!is_leaf(from)) {
    const Node& node = nodes_[from];
    from = value(agent, node.dimension) < node.cut ? node.left : node.right;
  }
  return from;
}

// What is in a node is in all above.
void RatingTree::widen(std::uint32_t node, AgentIndex agent) noexcept {
  for (; node != kNone && !includes(node, agent); node = nodes_[node].parent) include(node, agent);
}

// Fits the promises of a leaf, and of what is above it, to what it holds.
void RatingTree::tighten(std::uint32_t leaf) noexcept {
  reset_box(leaf);
  Node& n = nodes_[leaf];
  for (const AgentIndex a : std::span(n.agents).first(n.count)) include(leaf, a);
  n.is_loose = false;
  for (std::uint32_t node = n.parent; node != kNone && unite(node); node = nodes_[node].parent) {
  }
}

// What is true of both children; false when that is what was known.
bool RatingTree::unite(std::uint32_t node) noexcept {
  const auto [left, right] = std::pair(nodes_[node].left, nodes_[node].right);
  Levels top = nodes_[left].top;
  raise(top, nodes_[right].top);
  const AgentIndex first = std::min(nodes_[left].first, nodes_[right].first);
  bool differs = top != nodes_[node].top || first != nodes_[node].first;
  nodes_[node].top = top;
  nodes_[node].first = first;
  const auto low = least(node), high = most(node);
  const auto low_left = least(left), low_right = least(right);
  const auto high_left = most(left), high_right = most(right);
  for (std::size_t d = 0; d < width_; ++d) {
    const std::int64_t l = std::min(low_left[d], low_right[d]);
    const std::int64_t h = std::max(high_left[d], high_right[d]);
    differs = differs || l != low[d] || h != high[d];
    low[d] = l;
    high[d] = h;
  }
  return differs;
}

void RatingTree::insert(AgentIndex agent) {
  const std::uint32_t leaf = leaf_for(agent);
  widen(leaf, agent);
  Node& n = nodes_[leaf];
  if (n.count < kLeafMax) {
    n.agents[n.count++] = agent;
    leaves_[agent] = leaf;
    return;
  }
  std::uint32_t depth = 0;
  for (std::uint32_t node = leaf; node != kNone; node = nodes_[node].parent) ++depth;
  is_deep_ = is_deep_ || depth > kDepthMax;
  std::array<AgentIndex, kLeafMax + 1> all{};
  std::ranges::copy(n.agents, all.begin());
  all.back() = agent;
  n.count = 0;
  n.is_loose = false;
  fill(leaf, all);
}

void RatingTree::remove(AgentIndex agent) {
  const std::uint32_t leaf = leaves_[agent];
  leaves_[agent] = kNone;
  Node& n = nodes_[leaf];
  *std::ranges::find(n.agents, agent) = n.agents[--n.count];
  n.is_loose = true;
  if (n.parent == kNone) return;
  const Node& parent = nodes_[n.parent];
  const std::uint32_t other = parent.left == leaf ? parent.right : parent.left;
  if (n.count == 0) {
    unused_nodes_.push_back(leaf);
    replace(n.parent, other);
  } else if (is_leaf(other) && n.count + nodes_[other].count <= kMergedMax) {
    merge(n.parent);
  }
}

// Of two leaves one.
void RatingTree::merge(std::uint32_t parent) {
  Node& p = nodes_[parent];
  for (const std::uint32_t leaf : {p.left, p.right}) {
    for (const AgentIndex a : std::span(nodes_[leaf].agents).first(nodes_[leaf].count)) {
      p.agents[p.count++] = a;
      leaves_[a] = parent;
    }
    unused_nodes_.push_back(leaf);
  }
  p.left = p.right = kNone;
  p.is_loose = true;
}

// The only child that is left takes its parent's place.
void RatingTree::replace(std::uint32_t parent, std::uint32_t by) {
  const std::uint32_t above = nodes_[parent].parent;
  nodes_[parent] = nodes_[by];
  nodes_[parent].parent = above;
  std::ranges::copy(least(by), least(parent).begin());
  std::ranges::copy(most(by), most(parent).begin());
  unused_nodes_.push_back(by);
  const Node& p = nodes_[parent];
  if (p.left != kNone) nodes_[p.left].parent = nodes_[p.right].parent = parent;
  for (const AgentIndex a : std::span(p.agents).first(p.count)) leaves_[a] = parent;
}

void RatingTree::update(const Rated& rated, AgentIndex agent) {
  const bool held = leaves_[agent] != kNone;
  if (!rated.agents.takes_sessions(agent)) {
    if (held) remove(agent);
    return;
  }
  scratch_.resize(width_);
  describe(rated, agent, scratch_);
  levels_[agent] = levels_of(rated.agents, agent);
  if (held) {
    const std::uint32_t leaf = leaves_[agent];
    if (!std::ranges::equal(row(agent), scratch_)) {
      std::ranges::copy(scratch_, row(agent).begin());
      if (leaf_for(agent) != leaf) {
        remove(agent);
        return insert(agent);
      }
    }
    nodes_[leaf].is_loose = true;
    return widen(leaf, agent);
  }
  std::ranges::copy(scratch_, row(agent).begin());
  insert(agent);
}

void RatingTree::follow(const Rated& rated) {
  const auto& changed = rated.agents.changed();
  for (; followed_ < changed.size(); ++followed_) {
    const AgentIndex agent = changed[followed_];
    if (followed_ + 1 < changed.size() && changed[followed_ + 1] == agent) continue;
    update(rated, agent);
  }
}

// Nothing: nobody below can take it.
std::optional<std::int64_t> RatingTree::bound(const Rated& rated, const Requirement& requirement,
                                              const Levels& needs, std::uint32_t node) {
  const auto low = least(node), high = most(node);
  const std::int64_t architecture = requirement.architecture;
  if (!covers(nodes_[node].top, needs) || architecture < low[0] || architecture > high[0]) {
    return std::nullopt;
  }
  return std::max(rated.rater.bound(requirement, low.subspan(1), high.subspan(1)), kScoreMin);
}

std::optional<AgentIndex> RatingTree::highest(const Rated& rated, const Requirement& requirement,
                                              std::uint32_t container_limit,
                                              const AgentTest& test) {
  follow(rated);
  const AgentTable& agents = rated.agents;
  if (requirement.containers > container_limit) return std::nullopt;
  const Levels needs = this->needs(requirement);
  std::optional<AgentIndex> best;
  std::int64_t highest = 0;
  const auto may_win = [&](std::int64_t score, AgentIndex first) {
    return !best || score > highest || (score == highest && first < *best);
  };
  heap_.clear();
  const auto consider = [&](std::uint32_t node) {
    const auto most = bound(rated, requirement, needs, node);
    if (!most || !may_win(*most, nodes_[node].first)) return;
    heap_.push_back({*most, nodes_[node].first, node});
    std::push_heap(heap_.begin(), heap_.end());
  };
  consider(0);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end());
    const Candidate at = heap_.back();
    heap_.pop_back();
    if (!may_win(at.bound, at.first)) break;
    ++looked_at_;
    if (!is_leaf(at.node)) {
      consider(nodes_[at.node].left);
      consider(nodes_[at.node].right);
      continue;
    }
    if (nodes_[at.node].is_loose) {
      tighten(at.node);
      consider(at.node);
      continue;
    }
    const Node& leaf = nodes_[at.node];
    looked_at_ += leaf.count;
    for (const AgentIndex a : std::span(leaf.agents).first(leaf.count)) {
      const auto traits = row(a).subspan(1);
      if (!covers(levels_[a], needs)) continue;
      if (!may_win(std::max(rated.rater.bound(requirement, traits, traits), kScoreMin), a))
        continue;
      if (agents.architecture(a) != requirement.architecture ||
          agents.containers(a) > container_limit - requirement.containers ||
          !agents.labels_match(a, requirement.labels) || !agents.fits(a, requirement) || !test(a)) {
        continue;
      }
      const std::int64_t score = std::max(rated.rater.score(rated.view, requirement, a), kScoreMin);
      if (!may_win(score, a)) continue;
      best = a;
      highest = score;
    }
  }
  return best;
}

bool RatingTree::is_sound(const Rated& rated) {
  follow(rated);
  std::size_t held = 0;
  return nodes_[0].parent == kNone && is_sound(0, rated.agents, held) &&
         held == rated.agents.taking();
}

bool RatingTree::is_sound(std::uint32_t node, const AgentTable& agents, std::size_t& held) {
  const Node& n = nodes_[node];
  if (!is_leaf(node)) {
    for (const std::uint32_t child : {n.left, n.right}) {
      const Node& c = nodes_[child];
      if (c.parent != node || !covers(n.top, c.top) || n.first > c.first) return false;
      for (std::size_t d = 0; d < width_; ++d) {
        if (least(node)[d] > least(child)[d] || most(node)[d] < most(child)[d]) return false;
      }
    }
    return is_sound(n.left, agents, held) && is_sound(n.right, agents, held);
  }
  held += n.count;
  return std::ranges::all_of(std::span(n.agents).first(n.count), [&](AgentIndex a) {
    return leaves_[a] == node && leaf_for(a) == node && includes(node, a) &&
           levels_[a] == levels_of(agents, a);
  });
}

}  // namespace bai::sched

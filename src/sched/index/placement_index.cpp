#include "sched/index/placement_index.hpp"

#include <algorithm>

#include "sched/index/order_tree.hpp"

namespace bai::sched {

struct PlacementIndex::Order {
  explicit Order(OrderShape shape) : keys(std::move(shape)), tree(keys) {}
  AgentKey keys;
  OrderTree tree;
  std::uint64_t seen = 0;  // of the log
  bool is_stale = true;    // to be built anew
};

PlacementIndex::Kind::Kind() = default;
PlacementIndex::Kind::Kind(Kind&&) noexcept = default;
PlacementIndex::Kind& PlacementIndex::Kind::operator=(Kind&&) noexcept = default;
PlacementIndex::Kind::~Kind() = default;

PlacementIndex::PlacementIndex(const PlacementIndexLimits& limits) : limits_(limits) {}
PlacementIndex::~PlacementIndex() = default;

namespace {

constexpr AgentIndex kGone = 0xffff'ffff;
const LabelRule kNoLabels;

// Questions whether anyone fits before they get an order: for each scan that best() is given.
constexpr std::uint32_t kMissesForOrder = 4;

// Candidates that may have enough by their levels but do not; past this many a scan is faster.
std::size_t misses_max(std::size_t agents) { return 64 + agents / 16; }

bool same_slots(std::span<const std::pair<SlotIndex, bool>> known,
                std::span<const SlotRequest> slots) {
  return std::ranges::equal(known, slots, [](const auto& k, const SlotRequest& r) {
    return k.first == r.slot && k.second == (r.units != 0);
  });
}

bool same_key(std::span<const KeyPart> a, std::span<const KeyPart> b) {
  return std::ranges::equal(a, b, [](const KeyPart& x, const KeyPart& y) {
    return x.what == y.what && x.slot == y.slot;
  });
}

// Nothing when the key counts unused capabilities anywhere but at its head, or too many of them.
std::optional<OrderShape> shape_of(std::uint32_t architecture,
                                   std::span<const std::pair<SlotIndex, bool>> slots,
                                   std::span<const KeyPart> key, const LabelRule& labels) {
  OrderShape shape;
  shape.architecture = architecture;
  shape.labels = labels;
  for (const auto& [slot, needed] : slots) {
    (needed ? shape.needed : shape.unwanted).push_back(slot);
  }
  for (const KeyPart& part : key) {
    if (part.what == KeyPart::What::UnusedCapabilities) {
      if (&part != key.data() && !shape.by_unused) return std::nullopt;
      shape.by_unused = true;
    } else if (std::ranges::find(shape.parts, part.slot, &KeyPart::slot) == shape.parts.end()) {
      shape.parts.push_back(part);
    }
  }
  if (shape.unwanted.size() >= OrderTree::kBandsMax) return std::nullopt;
  return shape;
}

}  // namespace

void PlacementIndex::reset() {
  for (Kind& kind : kinds_) {
    if (!kind.order) continue;
    kind.order->is_stale = true;
    kind.order->keys.detach();
  }
  log_begin_ += log_.size();
  log_.clear();
}

void PlacementIndex::follow(const AgentTable& agents) {
  const std::vector<AgentIndex>& log = agents.changed();
  const std::vector<AgentMove>& moves = agents.moves();
  if (agents.log_epoch() != epoch_) {
    reset();
    epoch_ = agents.log_epoch();
    followed_ = log.size();
    followed_moves_ = moves.size();
  }
  for (;;) {
    const bool last = followed_moves_ == moves.size();
    const std::size_t until = last ? log.size() : moves[followed_moves_].changes_before;
    for (; followed_ < until; ++followed_) changed(log[followed_]);
    if (last) return;
    const AgentMove& move = moves[followed_moves_++];
    if (move.what == AgentMove::What::Came) inserted(move.at);
    if (move.what == AgentMove::What::Left) erased(move.at);
  }
}

void PlacementIndex::changed(AgentIndex agent) {
  if (log_.size() >= limits_.log_max) trim_log();
  for (const Kind& kind : kinds_) {
    if (!kind.order || kind.order->is_stale) continue;
    kind.order->tree.fetch_place(agent);
    if (!log_.empty() && log_.back() != kGone) kind.order->tree.fetch_head(log_.back());
  }
  log_.push_back(agent);
}

// Orders that lag far behind are built anew when they are wanted again.
void PlacementIndex::trim_log() {
  const std::uint64_t end = log_begin_ + log_.size();
  std::uint64_t first = end;
  for (Kind& kind : kinds_) {
    if (!kind.order || kind.order->is_stale) continue;
    if (end - kind.order->seen > log_.size() / 2) {
      kind.order.reset();
      kind.scans = 0;
    } else {
      first = std::min(first, kind.order->seen);
    }
  }
  log_.erase(log_.begin(), log_.begin() + static_cast<std::ptrdiff_t>(first - log_begin_));
  log_begin_ = first;
}

// False when building anew is cheaper than to go on renumbering.
bool PlacementIndex::renumber() {
  if (++renumberings_ <= limits_.renumberings_max) return true;
  reset();
  return false;
}

void PlacementIndex::inserted(AgentIndex at) {
  if (!renumber()) return;
  for (AgentIndex& agent : log_) {
    if (agent >= at && agent != kGone) ++agent;
  }
  for (Kind& kind : kinds_) {
    if (!kind.order || kind.order->is_stale) continue;
    kind.order->keys.detach();
    kind.order->tree.make_room(at);
  }
  changed(at);
}

void PlacementIndex::erased(AgentIndex at) {
  if (!renumber()) return;
  for (AgentIndex& agent : log_) {
    if (agent == at) {
      agent = kGone;
    } else if (agent > at && agent != kGone) {
      --agent;
    }
  }
  for (Kind& kind : kinds_) {
    if (!kind.order || kind.order->is_stale) continue;
    kind.order->keys.detach();
    OrderTree& tree = kind.order->tree;
    if (tree.holds(at)) tree.erase(at);
    tree.close_gap(at);
  }
}

PlacementIndex::Kind& PlacementIndex::kind_of(const Requirement& requirement,
                                              std::span<const KeyPart> key,
                                              const LabelRule& labels) {
  const auto is = [&](const Kind& kind) {
    return kind.architecture == requirement.architecture &&
           same_slots(kind.slots, requirement.slots) && same_key(kind.key, key) &&
           kind.labels == labels;
  };
  if (last_kind_ < kinds_.size() && is(kinds_[last_kind_])) return kinds_[last_kind_];
  auto it = std::ranges::find_if(kinds_, is);
  if (it == kinds_.end()) {
    if (kinds_.size() < limits_.kinds_max) {
      it = kinds_.insert(kinds_.end(), Kind{});
    } else {
      it = std::ranges::min_element(kinds_, {}, &Kind::used);
      *it = Kind{};
    }
    it->architecture = requirement.architecture;
    for (const SlotRequest& r : requirement.slots) it->slots.emplace_back(r.slot, r.units != 0);
    it->key.assign(key.begin(), key.end());
    it->labels = labels;
  }
  last_kind_ = static_cast<std::size_t>(it - kinds_.begin());
  return *it;
}

// Null while a scan is the better bargain.
PlacementIndex::Order* PlacementIndex::order_of(Kind& kind) {
  kind.used = ++lookups_;
  if (kind.order) return kind.order.get();
  if (kind.scans < limits_.build_after) {
    ++kind.scans;
    return nullptr;
  }
  auto shape = shape_of(kind.architecture, kind.slots, kind.key, kind.labels);
  if (!shape) return nullptr;
  if (orders() >= limits_.orders_max) {
    Kind* oldest = nullptr;
    for (Kind& other : kinds_) {
      if (other.order && (oldest == nullptr || other.used < oldest->used)) oldest = &other;
    }
    oldest->order.reset();
    oldest->scans = 0;
  }
  kind.order = std::make_unique<Order>(std::move(*shape));
  return kind.order.get();
}

void PlacementIndex::build(Order& order, const AgentTable& agents) {
  ++builds_;
  order.keys.measure();
  order.tree.clear(agents.size());
  for (AgentIndex agent = 0; agent < agents.size(); ++agent) {
    AgentKey::Reading reading;
    if (order.keys.read(agent, reading)) order.tree.insert(agent, reading);
  }
  order.is_stale = false;
}

void PlacementIndex::apply(Order& order, std::span<const AgentIndex> changed) {
  for (std::size_t i = 0; i < changed.size(); ++i) {
    const AgentIndex agent = changed[i];
    if (agent == kGone || (i + 1 < changed.size() && changed[i + 1] == agent)) continue;
    AgentKey::Reading reading;
    const bool held = order.tree.holds(agent);
    if (!order.keys.read(agent, reading)) {
      if (held) order.tree.erase(agent);
    } else if (held) {
      order.tree.update(agent, reading);
    } else {
      order.tree.insert(agent, reading);
    }
  }
}

void PlacementIndex::catch_up(Order& order, const AgentTable& agents) {
  const std::uint64_t end = log_begin_ + log_.size();
  renumberings_ = 0;
  order.keys.attach(agents);
  if (order.is_stale || order.keys.is_outgrown() || end - order.seen > agents.size()) {
    build(order, agents);
  } else {
    apply(order, std::span(log_).subspan(order.seen - log_begin_));
  }
  order.seen = end;
}

std::optional<AgentIndex> PlacementIndex::best(const AgentTable& agents,
                                               const Requirement& requirement,
                                               std::span<const KeyPart> key,
                                               std::uint32_t container_limit, const AgentTest& test,
                                               const LabelRule* labels) {
  if (requirement.containers > container_limit) return std::nullopt;
  const auto scan = [&] {
    looked_at_ += agents.size();
    if (labels == nullptr) return scan_best(agents, requirement, key, container_limit, test);
    const auto may = [&](AgentIndex agent) {
      return test(agent) && has_labels(agents.labels(agent), *labels);
    };
    return scan_best(agents, requirement, key, container_limit, may);
  };
  if (agents.size() < limits_.scan_below) return scan();
  Order* order = order_of(kind_of(requirement, key, labels != nullptr ? *labels : kNoLabels));
  if (order == nullptr) return scan();
  catch_up(*order, agents);
  bool gave_up = false;
  const auto found = first(*order, agents, requirement, container_limit, test, gave_up);
  return gave_up ? scan() : found;
}

std::optional<bool> PlacementIndex::any(const AgentTable& agents, const Requirement& requirement,
                                        std::uint32_t container_limit, const AgentTest& test) {
  if (requirement.containers > container_limit) return false;
  if (agents.size() < limits_.scan_below) return std::nullopt;
  // Whichever order there is; one with a key, if possible: that one is kept up to date anyway.
  const Kind* keyless = nullptr;
  auto it = std::ranges::find_if(kinds_, [&](const Kind& kind) {
    if (!kind.order || !kind.labels.empty() || kind.architecture != requirement.architecture ||
        !same_slots(kind.slots, requirement.slots)) {
      return false;
    }
    if (kind.key.empty()) keyless = &kind;
    return !kind.key.empty();
  });
  if (it == kinds_.end() && keyless != nullptr) it = kinds_.begin() + (keyless - kinds_.data());
  if (it == kinds_.end()) {
    // When nothing is ever found nobody asks for the best: an order without a key then says so.
    Kind& kind = kind_of(requirement, {}, kNoLabels);
    if (kind.scans < limits_.build_after) {
      kind.used = ++lookups_;
      if (++kind.misses < kMissesForOrder * (limits_.build_after + 1)) return std::nullopt;
      kind.scans = limits_.build_after;
    }
    if (order_of(kind) == nullptr) return std::nullopt;
    it = kinds_.begin() + (&kind - kinds_.data());
  }
  it->used = ++lookups_;
  catch_up(*it->order, agents);
  bool gave_up = false;
  const auto found = first(*it->order, agents, requirement, container_limit, test, gave_up);
  if (gave_up) return std::nullopt;
  return found.has_value();
}

std::optional<AgentIndex> PlacementIndex::first(Order& order, const AgentTable& agents,
                                                const Requirement& requirement,
                                                std::uint32_t container_limit,
                                                const AgentTest& test, bool& gave_up) {
  std::size_t misses_left = misses_max(agents.size());
  const auto accept = [&](AgentIndex agent) {
    ++looked_at_;
    // Architecture and `takes_sessions` are what the order is made of.
    const bool fits = agents.containers(agent) <= container_limit - requirement.containers &&
                      agents.labels_match(agent, requirement.labels) &&
                      agents.fits(agent, requirement);
    if (fits && test(agent)) return true;
    gave_up = misses_left-- == 0;
    return gave_up;
  };
  const Levels needs = order.keys.needs(requirement, container_limit);
  for (std::uint32_t band = 0; band < order.tree.bands(); ++band) {
    if (const auto found = order.tree.first(band, needs, accept)) return found;
  }
  return std::nullopt;
}

std::size_t PlacementIndex::orders() const noexcept {
  return static_cast<std::size_t>(
      std::ranges::count_if(kinds_, [](const Kind& kind) { return kind.order != nullptr; }));
}

std::size_t PlacementIndex::bytes() const noexcept {
  std::size_t bytes = log_.capacity() * sizeof(log_[0]);
  for (const Kind& kind : kinds_) {
    if (kind.order) bytes += sizeof(Order) + kind.order->tree.bytes();
  }
  return bytes;
}

bool PlacementIndex::is_sound(const AgentTable& agents) {
  for (Kind& kind : kinds_) {
    if (!kind.order) continue;
    catch_up(*kind.order, agents);
    if (!kind.order->tree.is_sound()) return false;
  }
  return true;
}

}  // namespace bai::sched

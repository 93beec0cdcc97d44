#include "sched/index/agent_key.hpp"

#include <algorithm>
#include <bit>
#include <limits>

namespace bai::sched {

namespace {

constexpr std::int64_t kLast = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kSpanMax = std::int64_t{1} << 60;
constexpr unsigned kCodeBits = 64;
constexpr unsigned kUsefulBits = 8;  // fewer are not worth having in the code
constexpr std::uint32_t kContainerLevels = std::numeric_limits<Level>::max();

constexpr std::uint64_t ones(unsigned bits) {
  return bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
}

}  // namespace

AgentKey::AgentKey(OrderShape shape) : shape_(std::move(shape)) {
  lanes_ = std::min(kLanes, shape_.needed.size());
  for (const KeyPart& part : shape_.parts) {
    Part& p = parts_.emplace_back();
    p.slot = part.slot;
    p.most = part.what == KeyPart::What::MostFree;
  }
}

void AgentKey::find_columns(const AgentTable& agents) {
  agents_ = &agents;
  empty_ = false;
  is_attached_ = true;  // unless a column is missing: it may come with any change
  const auto column = [&](SlotIndex slot) {
    const SlotColumn* found = agents.column(slot);
    if (found == nullptr) is_attached_ = false;
    return found;
  };
  for (const SlotIndex slot : shape_.needed) empty_ |= column(slot) == nullptr;
  for (Part& part : parts_) part.exists = column(part.slot) != nullptr;
}

void AgentKey::measure() {
  unsigned left = kCodeBits;
  coded_ = 0;
  is_outgrown_ = false;
  for (Part& part : parts_) {
    std::int64_t most = 0;
    if (const SlotColumn* column = agents_->column(part.slot)) {
      for (const std::int64_t amount : column->capacity) most = std::max(most, amount);
      for (const std::int64_t amount : column->free) most = std::max(most, amount);
    }
    part.span = 2 * std::min(most, kSpanMax / 2) + 1;  // room for larger agents to come
    // Two values beyond the span stand for amounts above it and for agents without the slot.
    const auto width =
        static_cast<unsigned>(std::bit_width(static_cast<std::uint64_t>(part.span) + 2));
    if (left < std::min(width, kUsefulBits)) break;
    part.width = std::min(width, left);
    part.cut = width - part.width;
    left -= part.width;
    part.at = left;
    ++coded_;
    if (part.cut > 0) break;
  }
  code_is_exact_ = coded_ == parts_.size() && (parts_.empty() || parts_[coded_ - 1].cut == 0);
}

bool AgentKey::read(AgentIndex agent, Reading& reading) const noexcept {
  if (empty_ || !agents_->takes_sessions(agent) ||
      agents_->architecture(agent) != shape_.architecture) {
    return false;
  }
  const std::int64_t* row = agents_->free_row(agent);
  const SlotIndex* needed = shape_.needed.data();
  for (std::size_t i = 0; i < lanes_; ++i) {
    const std::int64_t free = row[needed[i]];
    if (free <= 0) return false;
    reading.levels.lane[i] = level_of(free);
  }
  if (lanes_ < kLanes) {
    const std::uint32_t containers = std::min(agents_->containers(agent), kContainerLevels);
    reading.levels.lane[lanes_] = static_cast<Level>(kContainerLevels - containers);
    for (std::size_t i = lanes_ + 1; i < kLanes; ++i) reading.levels.lane[i] = 0;
  }
  reading.band = 0;
  if (shape_.by_unused) {
    for (const SlotIndex slot : shape_.unwanted) {
      reading.band += static_cast<std::uint32_t>(agents_->has_some(agent, slot));
    }
  }
  reading.code = code(agent, row);
  return shape_.labels.empty() || has_labels(agents_->labels(agent), shape_.labels);
}

Levels AgentKey::needs(const Requirement& requirement,
                       std::uint32_t container_limit) const noexcept {
  Levels needs;
  needs.lane.fill(kNoNeed);
  std::size_t lane = 0;
  for (const SlotRequest& r : requirement.slots) {
    if (r.units == 0) continue;
    if (lane < lanes_) needs.lane[lane] = level_of(r.units);
    ++lane;
  }
  if (lanes_ < kLanes && requirement.containers <= container_limit) {
    const std::uint32_t room = container_limit - requirement.containers;
    if (room < kContainerLevels) needs.lane[lanes_] = static_cast<Level>(kContainerLevels - room);
  }
  return needs;
}

std::int64_t AgentKey::value(const std::int64_t* row, const Part& part) noexcept {
  const std::int64_t free = part.exists ? row[part.slot] : kAbsentFree;
  if (free == kAbsentFree) return kLast;
  return part.most ? -free : free;
}

std::int64_t AgentKey::value(AgentIndex agent, std::size_t part) const noexcept {
  return value(agents_->free_row(agent), parts_[part]);
}

std::uint64_t AgentKey::code(AgentIndex agent, const std::int64_t* row) const noexcept {
  if (parts_.empty()) return agent;
  std::uint64_t code = 0;
  for (std::size_t i = 0; i < coded_; ++i) {
    const Part& p = parts_[i];
    const std::int64_t value = AgentKey::value(row, p);
    if (value == kLast) {
      code |= ones(p.width) << p.at;
      continue;
    }
    // What is outside of the span keeps its side; the parts behind it no longer count.
    const std::int64_t offset = p.most ? value + p.span - 1 : value;
    if (offset < 0) return code;
    if (offset >= p.span) {
      is_outgrown_ = p.span <= kSpanMax;
      const std::uint64_t over = ones(p.width) - (p.cut > 0 ? 0 : 1);
      return code | (over << p.at) | ones(p.at);
    }
    code |= (static_cast<std::uint64_t>(offset) >> p.cut) << p.at;
  }
  return code;
}

bool AgentKey::before(AgentIndex a, AgentIndex b) const noexcept {
  const std::int64_t *row_a = agents_->free_row(a), *row_b = agents_->free_row(b);
  for (const Part& part : parts_) {
    const std::int64_t mine = value(row_a, part), its = value(row_b, part);
    if (mine != its) return mine < its;
  }
  return a < b;
}

}  // namespace bai::sched

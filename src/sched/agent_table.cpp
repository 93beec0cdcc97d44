#include "sched/agent_table.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace bai::sched {

namespace {

// Puts `value` where `at` says that new agents stand, in ascending order; `width` of them for each.
template <class Values>
void insert_at(Values& values, std::span<const AgentIndex> at,
               const typename Values::value_type& value, std::size_t width = 1) {
  auto end = static_cast<std::ptrdiff_t>(values.size());  // of those that have not moved yet
  values.resize(values.size() + at.size() * width);
  for (std::size_t left = at.size(); left-- > 0;) {
    const auto from = static_cast<std::ptrdiff_t>((at[left] - left) * width);
    const auto to = static_cast<std::ptrdiff_t>((left + 1) * width);  // how far
    std::move_backward(values.begin() + from, values.begin() + end, values.begin() + end + to);
    std::fill_n(values.begin() + from + to - static_cast<std::ptrdiff_t>(width), width, value);
    end = from;
  }
}
template <class T, class Allocator>
void erase_at(std::vector<T, Allocator>& values, AgentIndex at) {
  values.erase(values.begin() + static_cast<std::ptrdiff_t>(at));
}

}  // namespace

std::optional<AgentIndex> AgentTable::find(const AgentId& id) const noexcept {
  const auto it = std::lower_bound(ids_.begin(), ids_.end(), id);
  if (it == ids_.end() || *it != id) return std::nullopt;
  return static_cast<AgentIndex>(it - ids_.begin());
}

AgentIndex AgentTable::add(const AgentId& id) {
  const auto at =
      static_cast<AgentIndex>(std::lower_bound(ids_.begin(), ids_.end(), id) - ids_.begin());
  insert(at, id);
  return at;
}

void AgentTable::update_columns() const noexcept {
  const auto follow = [&](AgentIndex at) {
    const std::int64_t* row = free_row(at);
    for (SlotIndex slot = 0; slot < columns_.size(); ++slot) {
      if (columns_[slot].capacity.empty()) continue;
      columns_[slot].free[at] = row[slot] == kAbsentFree ? 0 : row[slot];
    }
  };
  if (columns_lag_ || changed_.size() - columns_seen_ > size()) {
    for (AgentIndex at = 0; at < size(); ++at) follow(at);
  } else {
    for (std::size_t i = columns_seen_; i < changed_.size(); ++i) follow(changed_[i]);
  }
  columns_seen_ = changed_.size();
  columns_lag_ = false;
}

void AgentTable::insert(AgentIndex at, const AgentId& id) {
  note_move(at, AgentMove::What::Came);
  make_room({&id, 1}, {&at, 1});
}

void AgentTable::add_all(std::vector<AgentId> ids) {
  std::ranges::sort(ids);
  std::vector<AgentIndex> at;
  for (const AgentId& id : ids) {
    const auto before = std::lower_bound(ids_.begin(), ids_.end(), id) - ids_.begin();
    at.push_back(static_cast<AgentIndex>(static_cast<std::size_t>(before) + at.size()));
  }
  update_columns();
  begin_logs();
  change_settings();
  make_room(ids, at);
}

void AgentTable::make_room(std::span<const AgentId> ids, std::span<const AgentIndex> at) {
  insert_at(ids_, at, AgentId{});
  for (std::size_t i = 0; i < at.size(); ++i) ids_[at[i]] = ids[i];
  insert_at(labels_, at, Labels{});
  for (auto& sets : devices_) {
    if (!sets.empty()) insert_at(sets, at, DeviceSet{});
  }
  insert_at(briefs_, at, Brief{});
  for (SlotColumn& column : columns_) {
    if (column.capacity.empty()) continue;
    insert_at(column.capacity, at, kAbsentSlot);
    insert_at(column.observed, at, 0);
    insert_at(column.free, at, 0);
  }
  insert_at(rows_, at, kAbsentFree, row_width_);
}

void AgentTable::clear(AgentIndex at) {
  if (briefs_[at].takes_sessions) {
    --taking_;
    for (SlotColumn& column : columns_) {
      if (!column.capacity.empty() && column.capacity[at] != kAbsentSlot) {
        column.total -= column.capacity[at];
      }
    }
  }
}

// Past this many entries, and this many for each agent, a new epoch is cheaper for whoever follows.
constexpr std::size_t kChangesMax = 1 << 16, kChangesPerAgent = 4;
constexpr std::size_t kMovesMax = 1024;

void AgentTable::note(AgentIndex at) {
  if (changed_.size() >= std::max(kChangesMax, kChangesPerAgent * size())) begin_logs();
  changed_.push_back(at);
}

void AgentTable::begin_logs() noexcept {
  columns_lag_ = columns_lag_ || columns_seen_ < changed_.size();
  columns_seen_ = 0;
  changed_.clear();
  moves_.clear();
  ++epoch_;
  ++log_epoch_;
}

// Agents are others than before, or have other labels.
void AgentTable::change_settings() noexcept {
  ++labels_version_;
  ++settings_epoch_;
  ++kinds_version_;
  ++facts_epoch_;
}

void AgentTable::note_move(AgentIndex at, AgentMove::What what) {
  change_settings();
  if (what != AgentMove::What::Relabelled) {
    update_columns();  // while numbers are what they were
    ++epoch_;
  }
  if (moves_.size() >= kMovesMax) begin_logs();
  moves_.push_back({changed_.size(), at, what});
}

void AgentTable::erase(AgentIndex at) {
  note_move(at, AgentMove::What::Left);
  clear(at);
  erase_at(labels_, at);
  for (auto& sets : devices_) {
    if (!sets.empty()) erase_at(sets, at);
  }
  erase_at(ids_, at);
  erase_at(briefs_, at);
  for (SlotColumn& column : columns_) {
    if (column.capacity.empty()) continue;
    erase_at(column.capacity, at);
    erase_at(column.observed, at);
    erase_at(column.free, at);
  }
  const auto row = rows_.begin() + static_cast<std::ptrdiff_t>(at * row_width_);
  rows_.erase(row, row + static_cast<std::ptrdiff_t>(row_width_));
}

SlotColumn& AgentTable::writable_column(SlotIndex slot) {
  if (slot >= columns_.size()) columns_.resize(slot + 1);
  if (columns_.size() > row_width_) widen_rows();
  SlotColumn& column = columns_[slot];
  if (column.capacity.empty()) {
    column.capacity.assign(size(), kAbsentSlot);
    column.observed.assign(size(), 0);
    column.free.assign(size(), 0);
  }
  return column;
}

void AgentTable::widen_rows() {
  constexpr std::size_t kLine = 8;  // amounts
  const std::size_t width = (columns_.size() + kLine - 1) / kLine * kLine;
  decltype(rows_) rows(size() * width, kAbsentFree);
  for (AgentIndex at = 0; at < size(); ++at) {
    std::copy_n(free_row(at), row_width_, rows.begin() + static_cast<std::ptrdiff_t>(at * width));
  }
  rows_ = std::move(rows);
  row_width_ = width;
}

bool AgentTable::same_capacity(AgentIndex at, const AgentFacts& facts) const noexcept {
  std::size_t has = 0;
  for (SlotIndex slot = 0; slot < columns_.size(); ++slot) has += has_slot(at, slot) ? 1 : 0;
  return has == facts.capacity.size() &&
         std::ranges::all_of(facts.capacity, [&](const auto& entry) {
           return has_slot(at, entry.first) && columns_[entry.first].capacity[at] == entry.second;
         });
}

void AgentTable::set(AgentIndex at, const AgentFacts& facts) {
  ++facts_epoch_;
  if (!same_capacity(at, facts)) ++settings_epoch_;
  clear(at);
  Brief& brief = briefs_[at];
  if (brief.architecture != facts.architecture || brief.takes_sessions != facts.takes_sessions) {
    ++kinds_version_;
  }
  brief = {facts.architecture, facts.containers, 0, facts.takes_sessions};
  if (labels_[at] != facts.labels) {
    labels_[at] = facts.labels;
    note_move(at, AgentMove::What::Relabelled);
  }
  set_devices(at, facts);
  note(at);
  if (facts.takes_sessions) ++taking_;
  for (SlotColumn& column : columns_) {
    if (column.capacity.empty()) continue;
    column.capacity[at] = kAbsentSlot;
    column.observed[at] = column.free[at] = 0;
  }
  std::fill_n(writable_row(at), row_width_, kAbsentFree);
  for (const auto& [slot, amount] : facts.capacity) {
    SlotColumn& column = writable_column(slot);
    const std::int64_t granted = slot < facts.granted.size() ? facts.granted[slot] : 0;
    column.capacity[at] = amount;
    column.observed[at] = column.free[at] = writable_row(at)[slot] = amount - granted;
    if (amount > granted && slot < kBriefSlots) brief.some |= std::uint32_t{1} << slot;
    if (facts.takes_sessions) column.total += amount;
  }
}

void AgentTable::set_devices(AgentIndex at, const AgentFacts& facts) {
  for (auto& sets : devices_) {
    if (!sets.empty()) sets[at] = {};
  }
  for (const auto& [slot, capacity] : facts.devices) {
    if (slot >= devices_.size()) devices_.resize(slot + 1);
    if (devices_[slot].empty()) devices_[slot].resize(size());
    DeviceSet& set = devices_[slot][at];
    set.capacity = set.free = capacity;
    if (const auto it = facts.device_granted.find(slot); it != facts.device_granted.end()) {
      const std::size_t count = std::min(set.free.size(), it->second.size());
      for (std::size_t i = 0; i < count; ++i) set.free[i] -= it->second[i];
    }
    if (const auto it = facts.hosted.find(slot); it != facts.hosted.end()) set.hosted = it->second;
  }
}

std::string_view AgentTable::label(AgentIndex at, std::string_view name) const noexcept {
  for (const auto& [known, value] : labels_[at]) {
    if (known == name) return value;
  }
  return {};
}

bool has_labels(const Labels& labels, const LabelRule& rule) noexcept {
  return std::ranges::all_of(rule, [&](const auto& wanted) {
    return std::ranges::any_of(labels, [&](const auto& label) {
      return label.first == wanted.first &&
             std::ranges::find(wanted.second, label.second) != wanted.second.end();
    });
  });
}

void AgentTable::prepare_rule(std::uint32_t labels, const LabelRule& rule) {
  if (labels == 0) return;
  if (labels >= rules_.size()) rules_.resize(labels + 1);
  Rule& known = rules_[labels];
  if (known.version == labels_version_ && known.rule == rule) return;
  known.version = labels_version_;
  known.rule = rule;
  known.match.resize(size());
  for (AgentIndex a = 0; a < size(); ++a) {
    known.match[a] = has_labels(labels_[a], rule) ? 1 : 0;
  }
}

bool AgentTable::labels_match(AgentIndex at, std::uint32_t labels) const noexcept {
  return labels == 0 || rules_[labels].match[at] != 0;
}

bool AgentTable::fits(AgentIndex at, const Requirement& requirement) const noexcept {
  const std::int64_t* row = free_row(at);
  return std::all_of(requirement.slots.begin(), requirement.slots.end(),
                     [&](const SlotRequest& r) {
                       return r.units == 0 || (r.slot < row_width_ && r.units <= row[r.slot]);
                     }) &&
         devices_fit(at, requirement);
}

void AgentTable::take(AgentIndex at, const Requirement& requirement, int sign) noexcept {
  std::int64_t* row = writable_row(at);
  for (const SlotRequest& r : requirement.slots) {
    if (r.units != 0) row[r.slot] -= sign * r.units;
  }
  if (sign > 0) {
    briefs_[at].containers += requirement.containers;
  } else {
    briefs_[at].containers -= requirement.containers;
  }
  note(at);
}

void AgentTable::match(AgentIndex first, std::size_t count, const Requirement& requirement,
                       std::uint32_t container_limit, std::uint8_t* out) const noexcept {
  const std::uint32_t room =
      requirement.containers <= container_limit ? container_limit - requirement.containers : 0;
  const bool never = requirement.containers > container_limit;
  const Brief* briefs = briefs_.data() + first;
  for (std::size_t i = 0; i < count; ++i) {
    const Brief& brief = briefs[i];
    out[i] = static_cast<std::uint8_t>(brief.takes_sessions &
                                       (brief.architecture == requirement.architecture) &
                                       (brief.containers <= room) & !never);
  }
  if (requirement.labels != 0) {
    const std::uint8_t* has = rules_[requirement.labels].match.data() + first;
    for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::uint8_t>(out[i] & has[i]);
  }
  for (const SlotRequest& r : requirement.slots) {
    if (r.units == 0) continue;
    const SlotColumn* c = column(r.slot);
    if (c == nullptr) {
      std::fill_n(out, count, std::uint8_t{0});
      return;
    }
    const std::int64_t* free = c->free.data() + first;
    for (std::size_t i = 0; i < count; ++i) {
      out[i] = static_cast<std::uint8_t>(out[i] & (free[i] >= r.units));
    }
  }
  if (!devices_.empty()) {
    for (std::size_t i = 0; i < count; ++i) {
      if (out[i] != 0 && !devices_fit(first + static_cast<AgentIndex>(i), requirement)) out[i] = 0;
    }
  }
}

}  // namespace bai::sched

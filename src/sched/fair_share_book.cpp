#include "sched/fair_share_book.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "model/state.hpp"

namespace bai::sched {

namespace {

constexpr std::uint32_t kNoScope = 0xffff'ffff;

template <class T>
T& slot_of(std::vector<T>& values, SlotIndex slot) {
  if (slot >= values.size()) values.resize(slot + 1);
  return values[slot];
}

// Usage as in a row's buckets, without rounding.
double usage_number(Int128 units_ns, SlotType type) {
  const double seconds = static_cast<double>(units_ns) / 1e9;
  return type == SlotType::Size ? seconds / static_cast<double>(std::int64_t{1} << 20) : seconds;
}

}  // namespace

std::uint32_t GroupShares::scope_of(ScopeKind kind, std::string_view scope) {
  const auto [it, is_new] =
      index_.try_emplace(usage_key(kind, scope), static_cast<std::uint32_t>(scopes_.size()));
  if (is_new) scopes_.emplace_back();
  return it->second;
}

GroupShares::Scopes GroupShares::scopes_of(const Owner& owner) {
  return {scope_of(ScopeKind::Domain, owner.domain.view()),
          scope_of(ScopeKind::Project, to_string(owner.project)),
          scope_of(ScopeKind::User, to_string(owner.user))};
}

// What is known of it is out of date.
void GroupShares::touch(std::uint32_t scope) {
  scopes_[scope].lines_revision = scopes_[scope].factor_revision = 0;
  if (!scopes_[scope].owners.empty()) changes_.note(scope);
  for (const std::uint64_t team : scopes_[scope].teams) team_changes_.note(team);
}

void GroupShares::set_row(const FairShare& row, Names& slots) {
  const std::uint32_t at = scope_of(row.scope_kind, row.scope);
  touch(at);
  Scope& scope = scopes_[at];
  scope.has_row = true;
  scope.weight_milli = row.weight_milli;
  scope.ended.clear();
  for (const auto& [text, amounts] : row.buckets.members()) {
    const auto day = parse_day(text);
    if (!day) continue;
    for (const auto& [name, usage] : amounts.members()) {
      slot_of(scope.ended[*day], slots.intern(name)) = std::max<std::int64_t>(0, usage.as_int());
    }
  }
}

void GroupShares::forget_row(const FairShare& row) {
  const std::uint32_t at = scope_of(row.scope_kind, row.scope);
  touch(at);
  Scope& scope = scopes_[at];
  scope.has_row = false;
  scope.weight_milli.reset();
  scope.ended.clear();
}

void GroupShares::count_running(const Scopes& scopes, Timestamp start, const SlotMap& amounts,
                                Names& slots, int sign) {
  const std::int64_t day = day_of(start);
  for (const std::uint32_t at : scopes) {
    touch(at);
    Scope& scope = scopes_[at];
    Started& started = scope.started[day];
    for (const auto& [name, amount] : amounts) {
      const SlotIndex slot = slots.intern(name);
      slot_of(started.units, slot) += sign * amount.units;
      slot_of(started.units_ns, slot) += Int128{sign * amount.units} * start.ns;
    }
    const auto is_zero = [](std::int64_t units) { return units == 0; };
    if (std::ranges::all_of(started.units, is_zero)) scope.started.erase(day);
  }
}

void GroupShares::use(const FairShareSettings& settings) {
  if (revision_ != 0 && settings == settings_) return;
  settings_ = settings;
  weights_.clear();
  ++revision_;
}

void GroupShares::add_started(Scope& scope, std::int64_t today) {
  std::vector<Int128> slope;
  auto next = scope.started.begin();
  const std::int64_t first = today - settings_.lookback_days + 1;
  for (; next != scope.started.end() && next->first < first; ++next) {
    for (SlotIndex slot = 0; slot < next->second.units.size(); ++slot) {
      slot_of(slope, slot) += next->second.units[slot];
    }
  }
  for (std::int64_t day = std::max(first, next != scope.started.end() && slope.empty()
                                              ? std::min(next->first, today)
                                              : first);
       day < today; ++day) {
    const double decay = decay_of(settings_, today, day);
    for (SlotIndex slot = 0; slot < slope.size(); ++slot) {
      slot_of(scope.lines, slot).past += decay * usage_number(slope[slot] * kDayNs, types_[slot]);
    }
    if (next == scope.started.end() || next->first != day) continue;
    for (SlotIndex slot = 0; slot < next->second.units.size(); ++slot) {
      const Int128 units = next->second.units[slot];
      const Int128 used = units * (Int128{day + 1} * kDayNs) - next->second.units_ns[slot];
      slot_of(scope.lines, slot).past += decay * usage_number(used, types_[slot]);
      slot_of(slope, slot) += units;
    }
    ++next;
  }
  for (SlotIndex slot = 0; slot < slope.size(); ++slot) {
    Line& line = slot_of(scope.lines, slot);
    line.slope += slope[slot];
    line.offset += slope[slot] * (Int128{today} * kDayNs);
  }
  if (next == scope.started.end() || next->first != today) return;
  for (SlotIndex slot = 0; slot < next->second.units.size(); ++slot) {
    Line& line = slot_of(scope.lines, slot);
    line.slope += next->second.units[slot];
    line.offset += next->second.units_ns[slot];
  }
}

void GroupShares::refresh_lines(Scope& scope, std::int64_t today) {
  if (scope.lines_revision == revision_ && scope.lines_day == today) return;
  scope.lines_revision = revision_;
  scope.lines_day = today;
  scope.lines.clear();
  for (const auto& [day, usage] : scope.ended) {
    const double decay = decay_of(settings_, today, day);
    if (decay == 0) continue;
    for (SlotIndex slot = 0; slot < usage.size(); ++slot) {
      slot_of(scope.lines, slot).past += decay * static_cast<double>(usage[slot]);
    }
  }
  add_started(scope, today);
  scope.is_still =
      std::ranges::all_of(scope.lines, [](const Line& line) { return line.slope == 0; });
}

std::int32_t GroupShares::factor(Scope& scope, const FairShareMoment& moment) {
  if (!scope.has_row) return 0;
  const std::int64_t today = day_of(moment.now);
  if (scope.factor_revision == revision_ && scope.factor_capacities == capacities_revision_ &&
      (scope.factor_now == moment.now || (scope.is_still && scope.lines_day == today))) {
    return scope.factor;
  }
  refresh_lines(scope, today);
  std::vector<SlotUsage>& usage = usage_;
  usage.resize(moment.capacities.size());
  for (SlotIndex slot = 0; slot < usage.size(); ++slot) {
    usage[slot] = {0, moment.capacities[slot], moment.types[slot], weights_[slot]};
    if (slot >= scope.lines.size() || usage[slot].capacity <= 0) continue;
    const Line& line = scope.lines[slot];
    const Int128 used = std::max(Int128{0}, line.slope * moment.now.ns - line.offset);
    usage[slot].decayed = line.past + usage_number(used, moment.types[slot]);
  }
  scope.factor =
      fixed_factor(fair_share_factor(normalized_usage(usage, settings_.lookback_days),
                                     scope.weight_milli.value_or(settings_.default_weight_milli)));
  scope.factor_revision = revision_;
  scope.factor_capacities = capacities_revision_;
  scope.factor_now = moment.now;
  return scope.factor;
}

void GroupShares::prepare(const FairShareSettings& settings, const FairShareMoment& moment,
                          const Names& slots) {
  use(settings);
  if (!std::ranges::equal(types_, moment.types)) {
    types_.assign(moment.types.begin(), moment.types.end());
    ++revision_;
  }
  if (std::exchange(version_, moment.version) != moment.version &&
      !std::ranges::equal(capacities_, moment.capacities)) {
    capacities_.assign(moment.capacities.begin(), moment.capacities.end());
    ++capacities_revision_;
  }
  for (auto slot = static_cast<SlotIndex>(weights_.size()); slot < moment.types.size(); ++slot) {
    weights_.push_back(resource_weight_milli(settings_, slots[slot]));
  }
}

FairShareFactors GroupShares::factors(std::uint32_t owner, const Owner& names,
                                      const FairShareSettings& settings,
                                      const FairShareMoment& moment, const Names& slots) {
  prepare(settings, moment, slots);
  const Scopes& at = scopes(owner, names);
  return {factor(at[0], moment), factor(at[1], moment), factor(at[2], moment)};
}

const GroupShares::Scopes& GroupShares::scopes(std::uint32_t owner, const Owner& names) {
  if (owner >= by_owner_.size()) by_owner_.resize(owner + 1, {kNoScope, kNoScope, kNoScope});
  Scopes& scopes = by_owner_[owner];
  if (scopes[0] == kNoScope) {
    scopes = scopes_of(names);
    scopes_[scopes[2]].owners.push_back(owner);
    auto& teams = scopes_[scopes[1]].teams;
    const std::uint64_t team = team_of(scopes);
    if (std::ranges::find(teams, team) == teams.end()) teams.push_back(team);
  }
  return scopes;
}

std::map<std::string, std::string> GroupShares::dump(const Names& slots) const {
  std::map<std::string, std::string> lines;
  for (const auto& [name, at] : index_) {
    const Scope& scope = scopes_[at];
    if (!scope.has_row && scope.started.empty()) continue;
    std::map<std::string, std::string> parts;
    for (const auto& [day, usage] : scope.ended) {
      for (SlotIndex slot = 0; slot < usage.size(); ++slot) {
        if (usage[slot] == 0) continue;
        parts[fmt::format("{} {}", day_text(day), slots[slot])] = std::to_string(usage[slot]);
      }
    }
    for (const auto& [day, started] : scope.started) {
      for (SlotIndex slot = 0; slot < started.units.size(); ++slot) {
        if (started.units[slot] == 0) continue;
        const double since =
            static_cast<double>(started.units_ns[slot]) / static_cast<double>(started.units[slot]);
        parts[fmt::format("{} runs {}", day_text(day), slots[slot])] =
            fmt::format("{} since {}", started.units[slot], since);
      }
    }
    std::string& line = lines[name];
    line = fmt::format("row={} weight={}", scope.has_row, scope.weight_milli.value_or(-1));
    for (const auto& [what, amount] : parts) line += fmt::format(" [{} {}]", what, amount);
  }
  return lines;
}

}  // namespace bai::sched

#include "core/fair_share.hpp"

#include <algorithm>
#include <array>

#include "sched/fair_share.hpp"

namespace bai::core {

namespace {

// A bound on damaged settings; the sequencer's own is lower.
constexpr std::int64_t kDaysKeptMax = 3660;

struct ScopeName {
  ScopeKind kind;
  std::string scope;
};

std::array<ScopeName, 3> scopes_of(const Session& session) {
  return {{{ScopeKind::Domain, session.domain.str()},
           {ScopeKind::Project, to_string(session.project)},
           {ScopeKind::User, to_string(session.user)}}};
}

std::string row_id(const ResourceGroupName& group, const ScopeName& scope) {
  return group.str() + "/" + usage_key(scope.kind, scope.scope);
}

FairShare new_row(const ResourceGroupName& group, const ScopeName& scope) {
  FairShare row;
  row.id = row_id(group, scope);
  row.resource_group = group;
  row.scope_kind = scope.kind;
  row.scope = scope.scope;
  return row;
}

// As long as the resource group's settings may ask for.
std::int64_t days_kept(const State& state, const ResourceGroupName& name) {
  std::int64_t days = FairShareSettings{}.lookback_days;
  if (const ResourceGroup* group = state.find<ResourceGroup>(name)) {
    days = std::max(days, group->policy_options["sequencer"]["lookback_days"].as_int());
  }
  return std::min(days, kDaysKeptMax);
}

struct DayUsage {
  std::string day;
  std::vector<std::pair<std::string, std::int64_t>> slots;
};

std::vector<DayUsage> usage_by_day(const State& state, const Kernel& kernel, Timestamp end,
                                   std::int64_t days) {
  std::vector<DayUsage> usage;
  const std::int64_t last = sched::day_of(end);
  for (std::int64_t day = std::max(sched::day_of(kernel.starts_at), last - days + 1); day <= last;
       ++day) {
    const std::int64_t from = std::max(kernel.starts_at.ns, day * sched::kDayNs);
    const std::int64_t until = std::min(end.ns, (day + 1) * sched::kDayNs);
    DayUsage one{sched::day_text(day), {}};
    for (const auto& [slot, amount] : kernel.occupied_slots) {
      const std::int64_t used =
          sched::usage_of(state.slot_types().type_of(slot), amount.units, until - from);
      if (used > 0) one.slots.emplace_back(slot, used);
    }
    if (!one.slots.empty()) usage.push_back(std::move(one));
  }
  return usage;
}

void add_usage(Json& buckets, const std::vector<DayUsage>& usage, const std::string& oldest) {
  Json::Object kept;
  for (const auto& bucket : buckets.members()) {
    if (bucket.first >= oldest) kept.push_back(bucket);
  }
  buckets = Json::from_members(std::move(kept));
  for (const DayUsage& one : usage) {
    const Json* known = buckets.find(one.day);
    Json bucket = known != nullptr ? *known : Json::object();
    for (const auto& [slot, used] : one.slots) {
      bucket.set(slot, (Amount{bucket[slot].as_int()} + Amount{used}).units);
    }
    buckets.set(one.day, std::move(bucket));
  }
}

}  // namespace

void ensure_fair_shares(Changeset& changes, const Session& session) {
  for (const ScopeName& scope : scopes_of(session)) {
    if (changes.state().find<FairShare>(row_id(session.resource_group, scope)) == nullptr) {
      changes.insert(new_row(session.resource_group, scope));
    }
  }
}

void record_usage(Changeset& changes, const Kernel& kernel, Timestamp end) {
  const State& state = changes.state();
  if (kernel.starts_at == Timestamp{} || !holds_resources(kernel.status)) return;
  const Session* session = state.find<Session>(kernel.session);
  if (session == nullptr) return;
  const std::int64_t days = days_kept(state, session->resource_group);
  const auto usage = usage_by_day(state, kernel, end, days);
  if (usage.empty()) return;
  const std::string oldest = sched::day_text(sched::day_of(end) - days + 1);
  const ResourceGroupName group = session->resource_group;
  for (const ScopeName& scope : scopes_of(*session)) {
    const std::string id = row_id(group, scope);
    const FairShare* present = state.find<FairShare>(id);
    if (present == nullptr) changes.insert(new_row(group, scope));
    changes.update<FairShare>(id, [&](FairShare& row) { add_usage(row.buckets, usage, oldest); });
  }
}

}  // namespace bai::core

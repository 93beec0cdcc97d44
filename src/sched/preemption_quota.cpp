// Quota that others have borrowed and that is taken back: who gives it.
#include <algorithm>
#include <utility>

#include "sched/preemption.hpp"

namespace bai::sched {

namespace {

std::int64_t at(const std::vector<std::int64_t>& amounts, SlotIndex slot) {
  return slot < amounts.size() ? amounts[slot] : 0;
}

void add(std::vector<std::int64_t>& amounts, const std::vector<std::int64_t>& more, int sign) {
  if (amounts.size() < more.size()) amounts.resize(more.size(), 0);
  for (std::size_t slot = 0; slot < more.size(); ++slot) amounts[slot] += sign * more[slot];
}

}  // namespace

// Whoever borrows may be anywhere.
void Preemption::collect_all(bool other_groups) {
  const auto collect = [&](const Group& group) {
    for (const auto& [key, held] : group.held) candidate(held->session);
  };
  const bool is_new = !has_all_ || (other_groups && !has_others_);
  if (!std::exchange(has_all_, true)) collect(group_);
  if (other_groups && !std::exchange(has_others_, true)) {
    for (const auto& [name, number] : source_.mirror.groups()) {
      if (name != group_.name) collect(source_.mirror.group(number));
    }
  }
  if (!is_new) return;
  order_.clear();
  agents_.clear();
  for (Victim v = 0; v < candidates_.size(); ++v) {
    if (candidates_[v].leaving) continue;
    order_.push_back(v);
    agents_.insert(agents_.end(), candidates_[v].where.begin(), candidates_[v].where.end());
  }
  sort(order_);
  std::ranges::sort(agents_);
  agents_.erase(std::ranges::unique(agents_).begin(), agents_.end());
}

bool Preemption::is_borrower(const Candidate& candidate) const {
  const auto it = borrowers_.find(candidate.row->project);
  if (it == borrowers_.end()) return false;
  const auto& [used, member] = it->second;
  return std::ranges::any_of(member->nominal, [&](const auto& own) {
    return at(candidate.units, own.first) > 0 && at(used, own.first) > own.second;
  });
}

bool Preemption::consider_all(const CohortShare& reclaims, Timestamp& due) {
  collect_all(true);
  for (const auto& [id, member] : *source_.mirror.cohorts().members(reclaims.name)) {
    if (id == view_.owner(*session_).project) continue;
    auto& [used, row] = borrowers_[id];
    used = source_.mirror.scope(member.scope).units;
    if (const Scope* granted = ledger_.granted(member.scope)) add(used, granted->units, 1);
    row = &member;
  }
  for (const Candidate& candidate : candidates_) {
    const auto it = borrowers_.find(candidate.row->project);
    if (it == borrowers_.end() || !(candidate.leaving || candidate.claimed) ||
        candidate.row->type == SessionType::System) {
      continue;
    }
    add(it->second.first, candidate.units, -1);
  }
  bool any = false;
  for (Candidate& candidate : candidates_) {
    candidate.borrows = is_borrower(candidate);
    if (candidate.leaving || candidate.claimed) continue;
    any = any || candidate.borrows;
    if (by_priority_ && yields(*candidate.row, due)) any = true;
  }
  steps_ += candidates_.size();
  return any;
}

Preemption::Amounts Preemption::missing_quota(const PendingSession& session,
                                              const CohortShare& cohort) const {
  Amounts missing(cohort.held.size(), 0);
  const auto& members = *source_.mirror.cohorts().members(cohort.name);
  Amounts leaving;
  for (const Candidate& candidate : candidates_) {
    if ((candidate.leaving || candidate.claimed) && candidate.row->type != SessionType::System &&
        members.contains(candidate.row->project)) {
      add(leaving, candidate.units, 1);
    }
  }
  for (const SlotRequest& r : view_.request(session).total) {
    if (cohort.nominal[r.slot] == CohortShare::kUnlimited) continue;
    missing[r.slot] = cohort.held[r.slot] - at(leaving, r.slot) + r.units - cohort.nominal[r.slot];
  }
  return missing;
}

std::optional<std::vector<Preemption::Victim>> Preemption::cover_quota(
    const PendingSession& session, const CohortShare& cohort) {
  Amounts missing = missing_quota(session, cohort);
  const auto lacks = [&] {
    return std::ranges::any_of(missing, [](std::int64_t units) { return units > 0; });
  };
  std::vector<Victim> victims;
  for (const Victim v : order_) {
    if (!lacks()) break;
    const Candidate& candidate = candidates_[v];
    const auto it = borrowers_.find(candidate.row->project);
    if (!may_be_taken(candidate) || it == borrowers_.end()) continue;
    auto& [used, member] = it->second;
    const bool helps = std::ranges::any_of(member->nominal, [&](const auto& own) {
      return at(missing, own.first) > 0 && at(candidate.units, own.first) > 0 &&
             at(used, own.first) > own.second;
    });
    if (!helps) continue;
    add(missing, candidate.units, -1);
    add(used, candidate.units, -1);
    victims.push_back(v);
  }
  if (lacks()) return std::nullopt;
  return victims;
}

bool Preemption::quota_allows(const PendingSession& session, const CohortShare& cohort,
                              std::span<const Victim> victims, Victim without) {
  Amounts missing = missing_quota(session, cohort);
  const auto& members = *source_.mirror.cohorts().members(cohort.name);
  for (const Victim v : victims) {
    if (v != without && members.contains(candidates_[v].row->project)) {
      add(missing, candidates_[v].units, -1);
    }
  }
  return std::ranges::all_of(missing, [](std::int64_t units) { return units <= 0; });
}

}  // namespace bai::sched

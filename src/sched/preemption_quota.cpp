// Quota that others have borrowed and that is taken back: who gives it.
#include <algorithm>
#include <utility>

#include "sched/preemption.hpp"

namespace bai::sched {

namespace {

using Amounts = std::vector<std::int64_t>;  // by slot

std::int64_t at(const Amounts& amounts, SlotIndex slot) {
  return slot < amounts.size() ? amounts[slot] : 0;
}

void add(Amounts& amounts, const Amounts& more, int sign) {
  if (amounts.size() < more.size()) amounts.resize(more.size(), 0);
  for (std::size_t slot = 0; slot < more.size(); ++slot) amounts[slot] += sign * more[slot];
}

}  // namespace

bool Preemption::gives_back(const Candidate& candidate) const {
  const auto it = std::ranges::lower_bound(borrowers_, candidate.row->project, {},
                                           [](const Lent& lent) { return lent.who.project; });
  return it != borrowers_.end() && it->who.project == candidate.row->project &&
         std::ranges::any_of(it->who.slots,
                             [&](SlotIndex slot) { return at(candidate.units, slot) > 0; });
}

// What comes free of the quota of each project without anybody being ended for it: sessions leave,
// or have been claimed.
const std::map<ProjectId, Preemption::Amounts>& Preemption::going() {
  if (going_) return *going_;
  going_.emplace();
  for (const SessionId& session : source_.mirror.tenancy().leaving()) {
    if (const auto victim = candidate(session)) count_going(candidates_[*victim]);
  }
  for (const Victim victim : claimed_) count_going(candidates_[victim]);
  return *going_;
}

void Preemption::count_going(const Candidate& candidate) {
  if (!going_ || candidate.row->type == SessionType::System) return;
  add((*going_)[candidate.row->project], candidate.units, 1);
}

// The projects of the cohort that hold more than their own, and whether anybody may be ended.
bool Preemption::consider_borrowers(const CohortShare& reclaims,
                                    std::span<const Requirement> requirements,
                                    std::uint32_t container_limit, Timestamp& due) {
  for (const auto& [id, member] : *source_.mirror.cohorts().members(reclaims.name)) {
    ++steps_;
    if (id == view_.owner(*session_).project) continue;
    Lent lent;
    lent.used = source_.mirror.scope(member.scope).units;
    if (const Scope* granted = ledger_.granted(member.scope)) add(lent.used, granted->units, 1);
    if (const auto it = going().find(id); it != going().end()) add(lent.used, it->second, -1);
    for (const auto& [slot, own] : member.nominal) {
      if (at(lent.used, slot) > own) lent.who.slots.push_back(slot);
    }
    if (lent.who.slots.empty()) continue;
    std::ranges::sort(lent.who.slots);
    lent.who.project = id;
    lent.own = &member.nominal;
    borrowers_.push_back(std::move(lent));
  }
  group_.borrowers.follow(source_.mirror, rules_, magnitudes_);
  for (const Lent& lent : borrowers_) asked_.push_back(lent.who);
  bool any = false;
  for (const Requirement& requirement : requirements) {
    const auto outlook = group_.victims.outlook(question(requirement, container_limit));
    if (outlook.due) due = *outlook.due;  // whatever the requirement
    any = any || outlook.anybody;
  }
  for (const Borrower& borrower : asked_) {
    for (const SlotIndex slot : borrower.slots) any = any || next_of(borrower.project, slot, {});
  }
  return any;
}

// The first of the project's sessions from that one on who has some of the slot and is nobody's.
std::optional<Preemption::Victim> Preemption::next_of(const ProjectId& project, SlotIndex slot,
                                                      const std::optional<VictimKey>& after) {
  const auto& sessions = group_.borrowers.sessions(source_.mirror, project, slot);
  for (auto it = after ? sessions.upper_bound(*after) : sessions.begin(); it != sessions.end();
       ++it) {
    ++steps_;
    const auto victim = candidate(it->id);
    if (victim && !candidates_[*victim].claimed) return victim;
  }
  return std::nullopt;
}

Preemption::Amounts Preemption::missing_quota(const PendingSession& session,
                                              const CohortShare& cohort) {
  Amounts missing(cohort.held.size(), 0);
  const auto& members = *source_.mirror.cohorts().members(cohort.name);
  Amounts leaving;
  for (const auto& [project, units] : going()) {
    if (members.contains(project)) add(leaving, units, 1);
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
  // Of each project and slot of which it has too much, who comes next.
  struct Next {
    Lent* lent = nullptr;
    SlotIndex slot = 0;
    std::int64_t own = 0;
    std::optional<Victim> victim;
  };
  std::vector<Next> heads;
  for (Lent& lent : borrowers_) {
    for (const auto& [slot, own] : *lent.own) {
      if (at(missing, slot) <= 0 || at(lent.used, slot) <= own) continue;
      heads.push_back({&lent, slot, own, next_of(lent.who.project, slot, {})});
    }
  }
  std::vector<Victim> victims;
  for (;;) {
    Next* first = nullptr;
    for (Next& next : heads) {
      if (at(missing, next.slot) <= 0 || at(next.lent->used, next.slot) <= next.own) continue;
      while (next.victim && std::ranges::find(victims, *next.victim) != victims.end()) {
        const VictimKey key = candidates_[*next.victim].key;
        next.victim = next_of(next.lent->who.project, next.slot, key);
      }
      if (!next.victim) continue;
      const VictimKey& key = candidates_[*next.victim].key;
      if (first == nullptr || key < candidates_[*first->victim].key) first = &next;
    }
    if (first == nullptr) break;
    const Victim victim = *first->victim;
    add(missing, candidates_[victim].units, -1);
    add(first->lent->used, candidates_[victim].units, -1);
    victims.push_back(victim);
  }
  if (std::ranges::any_of(missing, [](std::int64_t units) { return units > 0; })) {
    return std::nullopt;
  }
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

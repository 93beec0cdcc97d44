#include "sched/borrower_book.hpp"

#include "sched/mirror.hpp"

namespace bai::sched {

void BorrowerBook::clear() {
  projects_.clear();
  entries_.clear();
}

void BorrowerBook::follow(const Mirror& mirror, const PreemptionRules& rules,
                          const Magnitudes& magnitudes) {
  if (rules.order != rules_.order) clear();
  rules_ = rules;
  const auto changed = mirror.victim_changes().since(seen_);
  if (!changed) {
    clear();
  } else {
    for (const SessionId& session : *changed) refresh(mirror, session);
  }
  const std::uint64_t reweighed = magnitudes.differing(magnitudes_);
  magnitudes_ = magnitudes;
  if (reweighed == 0) return;
  std::vector<SessionId> sessions;
  for (const auto& [session, entry] : entries_) {
    if ((entry.holds & reweighed) != 0) sessions.push_back(session);
  }
  for (const SessionId& session : sessions) refresh(mirror, session);
}

const BorrowerBook::Sessions& BorrowerBook::sessions(const Mirror& mirror, const ProjectId& project,
                                                     SlotIndex slot) {
  const auto [it, is_new] = projects_.try_emplace(project);
  if (is_new) {
    mirror.tenancy().for_each_victim_of(project, [&](const SessionId& session) {
      if (const Tenant* tenant = mirror.tenancy().tenant(session)) enter(mirror, *tenant);
      return true;
    });
  }
  static const Sessions kEmpty;
  const auto known = it->second.find(slot);
  return known == it->second.end() ? kEmpty : known->second;
}

void BorrowerBook::refresh(const Mirror& mirror, const SessionId& session) {
  remove(session);
  const Tenant* tenant = mirror.tenancy().tenant(session);
  if (tenant != nullptr && tenant->row != nullptr && may_be_ended(*tenant->row) &&
      projects_.contains(tenant->row->project)) {
    enter(mirror, *tenant);
  }
}

void BorrowerBook::enter(const Mirror& mirror, const Tenant& tenant) {
  ++looked_at_;
  const Session& row = *tenant.row;
  Entry& entry = entries_[row.id];
  entry.project = row.project;
  entry.key = victim_key(row, rules_, weight_of(tenant, mirror, magnitudes_));
  auto& slots = projects_.find(row.project)->second;
  for (const auto& kernel : tenant.kernels) {
    for (const SlotRequest& r : mirror.held(kernel->id).first->slots) {
      if (r.units <= 0) continue;
      entry.holds |= bit_of(r.slot);
      slots[r.slot].insert(entry.key);
    }
  }
}

void BorrowerBook::remove(const SessionId& session) {
  const auto it = entries_.find(session);
  if (it == entries_.end()) return;
  for (auto& [slot, sessions] : projects_.find(it->second.project)->second) {
    if ((it->second.holds & bit_of(slot)) != 0) sessions.erase(it->second.key);
  }
  entries_.erase(it);
}

}  // namespace bai::sched

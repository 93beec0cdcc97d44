#include "sched/cohorts.hpp"

#include "sched/view_source.hpp"

namespace bai::sched {

void Cohorts::on_project(const Project* before, const Project* after, std::uint32_t scope,
                         Names& slots) {
  if (before != nullptr && !before->cohort.empty()) {
    const auto it = cohorts_.find(before->cohort);
    it->second.erase(before->id);
    if (it->second.empty()) cohorts_.erase(it);
  }
  if (after == nullptr || after->cohort.empty()) return;
  Member& member = cohorts_[after->cohort][after->id];
  member.scope = scope;
  for (const auto& [name, amount] : after->total_resource_slots) {
    if (!amount.is_infinite()) member.nominal.emplace_back(slots.intern(name), amount.units);
  }
}

}  // namespace bai::sched

namespace bai {

std::optional<CohortShare> SchedView::cohort(const PendingSession& session) const {
  const sched::Mirror& mirror = source_->mirror;
  const Project* project = mirror.project(owner(session).project);
  if (project == nullptr || project->cohort.empty()) return std::nullopt;
  CohortShare share;
  share.name = project->cohort;
  share.borrowing_limit = &project->borrowing_limit;
  const std::size_t slots = slot_count();
  share.held.assign(slots, 0);
  share.nominal.assign(slots, 0);
  std::vector<std::size_t> limited(slots, 0);
  const sched::Cohorts::Members& members = *mirror.cohorts().members(project->cohort);
  const auto add = [&](const std::vector<std::int64_t>& units) {
    for (std::size_t slot = 0; slot < units.size(); ++slot) share.held[slot] += units[slot];
  };
  for (const auto& [id, member] : members) {
    add(mirror.scope(member.scope).units);
    if (const auto* granted = source_->ledger.granted(member.scope)) add(granted->units);
    for (const auto& [slot, units] : member.nominal) {
      if (__builtin_add_overflow(share.nominal[slot], units, &share.nominal[slot])) continue;
      ++limited[slot];
    }
  }
  for (std::size_t slot = 0; slot < slots; ++slot) {
    if (limited[slot] < members.size()) share.nominal[slot] = CohortShare::kUnlimited;
  }
  return share;
}

}  // namespace bai

#include "core/cohorts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace bai::core {

namespace {

struct Together {
  SlotMap held, nominal;
  std::vector<const Project*> members;

  Together(const State& state, const std::string& cohort) {
    state.table<Project>().for_each_in(index::kProjectByCohort, IndexPrefix{}.add(cohort).str(),
                                       [&](const Project& project) {
                                         members.push_back(&project);
                                         held += usage_of(state, project.id);
                                         return true;
                                       });
  }
  static const SlotMap& usage_of(const State& state, const ProjectId& project) {
    return state.usage(ScopeKind::Project, to_string(project)).slots;
  }
  bool has(const ProjectId& project) const {
    return std::ranges::any_of(members, [&](const Project* m) { return m->id == project; });
  }
  // The sum of what its projects have; infinite where one of them has no limit.
  Amount all(const std::string& slot) const {
    Amount sum{0};
    for (const Project* project : members) {
      const SlotMap& own = project->total_resource_slots;
      if (!own.contains(slot) || own.get(slot).is_infinite()) return kInfiniteAmount;
      sum = sum + own.get(slot);
    }
    return sum;
  }
};

// What the session's kernels hold or, where they are RESERVED, wait for.
SlotMap slots_of(const State& state, const SessionId& session, bool reserved_only) {
  SlotMap slots;
  for (const auto& kernel : state.kernels_of(session)) {
    if (holds_resources(kernel->status) &&
        (!reserved_only || kernel->status == KernelStatus::Reserved)) {
      slots += kernel->occupied_slots;
    }
  }
  return slots;
}

}  // namespace

std::optional<BrokenLimit> broken_cohort(const State& state, const Session& session,
                                         const Project& project,
                                         std::span<const SessionId> leaving) {
  Together together(state, project.cohort);
  for (const SessionId& id : leaving) {
    const Session* victim = state.find<Session>(id);
    if (victim != nullptr && together.has(victim->project)) {
      together.held -= slots_of(state, id, false);
    }
  }
  const SlotMap& used = Together::usage_of(state, project.id);
  const auto limit_of = [](std::string whose) {
    return BrokenLimit{"group_check-limit_forbidden", std::move(whose)};
  };
  // As the planner tells them: what the project itself exceeds comes first, and what others will
  // give back comes last.
  BrokenLimit own = limit_of("project"), borrowed = limit_of("project with what it may borrow"),
              exhausted = limit_of(fmt::format("cohort {}", project.cohort)), lent = exhausted;
  lent.code = "reclaim";
  for (const auto& [name, amount] : session.requested_slots) {
    if (amount.units == 0) continue;
    const SlotType type = state.slot_types().type_of(name);
    const SlotMap &limits = project.total_resource_slots, &more = project.borrowing_limit;
    const Amount limit = limits.contains(name) ? limits.get(name) : kInfiniteAmount;
    const Amount now = used.get(name), held = together.held.get(name), all = together.all(name);
    const bool is_borrowed = !limit.is_infinite() && now + amount > limit;
    if (is_borrowed) {
      if (!session.is_preemptible) own.add(type, name, now, amount, limit);
      if (more.contains(name) && !more.get(name).is_infinite() &&
          now + amount > limit + more.get(name)) {
        borrowed.add(type, name, now, amount, limit + more.get(name));
      }
    }
    if (all.is_infinite() || held + amount <= all) continue;
    (is_borrowed ? exhausted : lent).add(type, name, held, amount, all);
  }
  for (BrokenLimit* broken : {&own, &borrowed, &exhausted, &lent}) {
    if (!broken->over.empty()) return std::move(*broken);
  }
  return std::nullopt;
}

bool cohort_admits(const State& state, const Session& session) {
  const Project* project = state.find<Project>(session.project);
  if (project == nullptr || project->cohort.empty() || session.type == SessionType::System) {
    return true;
  }
  Together together(state, project->cohort);
  state.table<Session>().for_each_in(
      index::kSessionByStatus, IndexPrefix{}.add(to_string(SessionStatus::Reserved)).str(),
      [&](const Session& other) {
        if (together.has(other.project) && other.type != SessionType::System) {
          together.held -= slots_of(state, other.id, true);
        }
        return true;
      });
  const SlotMap wanted = slots_of(state, session.id, true);
  return std::ranges::all_of(wanted, [&](const auto& one) {
    const Amount all = together.all(one.first);
    return all.is_infinite() || together.held.get(one.first) + one.second <= all;
  });
}

}  // namespace bai::core

#include "core/cohorts.hpp"

#include <fmt/format.h>

#include <algorithm>
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
  for (const auto& [name, amount] : session.requested_slots) {
    if (amount.units == 0) continue;
    const SlotType type = state.slot_types().type_of(name);
    const auto text = [&](Amount a) { return format_amount_humanized(type, a); };
    const auto broken = [&](std::string_view what, Amount now, Amount limit) {
      BrokenLimit found{
          "group_check-limit_forbidden",
          fmt::format("{}: {}: used {} + requested {} > limit {} (over by {})", what, name,
                      text(now), text(amount), text(limit), text(now + amount - limit))};
      found.over.set(name, now + amount - limit);
      return found;
    };
    const SlotMap& own = project.total_resource_slots;
    const Amount limit = own.contains(name) ? own.get(name) : kInfiniteAmount;
    const Amount now = used.get(name);
    if (!limit.is_infinite() && now + amount > limit) {
      if (!session.is_preemptible) return broken("project", now, limit);
      const SlotMap& more = project.borrowing_limit;
      if (more.contains(name) && !more.get(name).is_infinite() &&
          now + amount > limit + more.get(name)) {
        return broken("project with what it may borrow", now, limit + more.get(name));
      }
    }
    const Amount all = together.all(name);
    if (!all.is_infinite() && together.held.get(name) + amount > all) {
      return broken(fmt::format("cohort {}", project.cohort), together.held.get(name), all);
    }
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

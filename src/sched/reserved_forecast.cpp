// When a session that finds its reservation used up has room in it.
#include <algorithm>
#include <map>

#include "sched/profile.hpp"
#include "sched/reserved.hpp"

namespace bai::sched {

namespace {

constexpr std::uint64_t kStepsMax = 100'000;  // agents that are looked at, for each end again

struct Room {
  AgentIndex agent = 0;
  std::vector<std::int64_t> kept, free;  // FreeRows: of the reservation, and of the agent
};

// Each requirement on the first agent that has room beside those before it.
bool all_fit(std::vector<Room> agents, const Request& request) {
  return std::ranges::all_of(request.requirements, [&](const Requirement& requirement) {
    for (Room& on : agents) {
      if (copies(on.kept, requirement, 1) == 0 || copies(on.free, requirement, 1) == 0) continue;
      give(on.kept, requirement.slots, 0, -1);
      give(on.free, requirement.slots, requirement.containers, -1);
      return true;
    }
    return false;
  });
}

}  // namespace

std::optional<Timestamp> Reserved::earliest(const std::string& id, const Request& request,
                                            Duration estimate, const Group& group,
                                            std::uint32_t container_limit,
                                            std::span<const Ending> placed) const {
  const auto it = memory_.entries.find(id);
  if (it == memory_.entries.end()) return std::nullopt;
  const ReservationRecord& record = *it->second.record;
  std::vector<Room> agents;
  std::multimap<std::int64_t, std::pair<std::size_t, Ending>> ends;
  for (const auto& on : it->second.agents) {
    Room& made = agents.emplace_back();
    made.agent = on.agent;
    made.kept.resize(group.agents.column_count() + 1);
    give(made.kept, on.left, kManyPlaces, 1);
    for (SlotIndex slot = 0; slot < group.agents.column_count(); ++slot) {
      made.free.push_back(group.agents.free(on.agent, slot));
    }
    made.free.push_back(std::int64_t{container_limit} - group.agents.containers(on.agent));
    const auto add = [&](std::int64_t end, const Ending& ending) {
      if (end != kNeverEnds) {
        ends.emplace(std::max(end, now_.ns + 1), std::pair{agents.size() - 1, ending});
      }
    };
    for (const auto& [key, held] : mirror_.held_on(group.agents.id(on.agent))) {
      add(key.first, {key.first, on.agent, &held->slots, 1, record.held.contains(key.second)});
    }
    for (const Ending& ending : placed) {
      if (ending.agent == on.agent) add(ending.at, ending);
    }
  }
  std::uint64_t steps = 0;
  for (auto next = ends.begin(); next != ends.end();) {
    const std::int64_t at = next->first;
    if (end_after(at, estimate) > record.row->ends_at.ns || steps > kStepsMax) return std::nullopt;
    for (; next != ends.end() && next->first == at; ++next) {
      const auto& [on, ending] = next->second;
      give(agents[on].free, *ending.slots, ending.containers, 1);
      if (ending.in_reservation) give(agents[on].kept, *ending.slots, 0, 1);
    }
    steps += agents.size() * request.requirements.size();
    if (all_fit(agents, request)) return Timestamp{at};
  }
  return std::nullopt;
}

}  // namespace bai::sched

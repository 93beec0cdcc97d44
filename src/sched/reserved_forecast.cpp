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
  std::int64_t own = 0;                  // containers of the reservation's sessions
  std::int64_t places = 0, others = 0;   // that are kept: for the reservation, and for others

  void take(const std::vector<SlotRequest>& slots, std::int64_t containers, int sign) {
    give(kept, slots, 0, -sign);
    own += sign * containers;
  }
  // Those that it keeps, or any that are nobody's.
  bool has_places(std::int64_t containers) const {
    return containers <= std::max(places - own, free.back() - others);
  }
};

// Each requirement on the first agent that has room beside those before it.
bool all_fit(std::vector<Room> agents, const Request& request) {
  return std::ranges::all_of(request.requirements, [&](const Requirement& requirement) {
    for (Room& on : agents) {
      if (copies(on.kept, requirement, 1) == 0 || copies(on.free, requirement, 1) == 0 ||
          !on.has_places(requirement.containers)) {
        continue;
      }
      on.take(requirement.slots, requirement.containers, 1);
      give(on.free, requirement.slots, requirement.containers, -1);
      return true;
    }
    return false;
  });
}

}  // namespace

std::optional<Timestamp> Reserved::earliest(const std::string& id, const Request& request,
                                            Duration estimate,
                                            std::span<const Ending> placed) const {
  const auto it = memory_.entries.find(id);
  if (it == memory_.entries.end()) return std::nullopt;
  const ReservationRecord& record = *it->second.record;
  const AgentTable& table = group_.agents;
  std::vector<Room> agents;
  std::multimap<std::int64_t, std::pair<std::size_t, Ending>> ends;
  for (const auto& on : it->second.agents) {
    Room& made = agents.emplace_back();
    made.agent = on.agent;
    made.own = on.containers;
    made.kept.resize(table.column_count() + 1);
    give(made.kept, on.left, kManyPlaces, 1);
    for (SlotIndex slot = 0; slot < table.column_count(); ++slot) {
      made.free.push_back(table.free(on.agent, slot));
    }
    made.free.push_back(std::int64_t{container_limit_} - table.containers(on.agent));
    made.places = kept_places(table, on, container_limit_);
    for (const KeptAmounts::Keep& keep : kept().on(on.agent)) {
      if (keep.what != &on && keep.from < it->second.to) {
        made.others += places_left(table, *keep.what, container_limit_);
      }
    }
    const auto add = [&](std::int64_t end, const Ending& ending) {
      if (end != kNeverEnds) {
        ends.emplace(std::max(end, now_.ns + 1), std::pair{agents.size() - 1, ending});
      }
    };
    for (const auto& [key, held] : group_.held_on(on.agent)) {
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
      if (ending.in_reservation) agents[on].take(*ending.slots, ending.containers, -1);
    }
    steps += agents.size() * request.requirements.size();
    if (all_fit(agents, request)) return Timestamp{at};
  }
  return std::nullopt;
}

}  // namespace bai::sched

#include "sched/topology.hpp"

#include <algorithm>
#include <map>
#include <tuple>

namespace bai::sched {

namespace {

struct Room {
  bool enough = true;
  std::uint64_t total = 0;  // kernels of all kinds
};

Room room_in(const Topology::Domain& domain, const Topology::Rooms& rooms) {
  Room room;
  for (std::size_t kind = 0; kind < rooms.wanted.size(); ++kind) {
    std::uint64_t sum = 0;
    for (const AgentIndex agent : domain.agents) sum += rooms.have[kind][agent];
    room.enough = room.enough && sum >= rooms.wanted[kind];
    room.total += sum;
  }
  return room;
}

// How many of the requirement the agent has room for now.
std::uint32_t copies_on(const AgentTable& agents, AgentIndex agent, const Requirement& requirement,
                        std::uint32_t container_limit) {
  constexpr std::int64_t kMost = 1 << 20;
  std::int64_t most = kMost;
  if (container_limit != 0xffff'ffff) {
    const std::int64_t places =
        std::int64_t{container_limit} - std::int64_t{agents.containers(agent)};
    most = std::min(most, places / std::max<std::int64_t>(1, requirement.containers));
  }
  for (const SlotRequest& r : requirement.slots) {
    if (r.units > 0) most = std::min(most, agents.free(agent, r.slot) / r.units);
  }
  if (most <= 0 || !agents.fits(agent, requirement)) return 0;
  return static_cast<std::uint32_t>(most);
}

}  // namespace

void Topology::follow(const AgentTable& agents, const std::vector<std::string>& levels) {
  if (settings_epoch_ == agents.settings_epoch() && labels_ == levels) return;
  settings_epoch_ = agents.settings_epoch();
  labels_ = levels;
  domains_.assign(levels.size(), {});
  for (std::size_t level = 0; level < levels.size(); ++level) {
    std::map<std::string, std::vector<AgentIndex>> found;
    for (AgentIndex a = 0; a < agents.size(); ++a) {
      if (agents.label(a, levels[level]).empty()) continue;
      std::string name;
      for (std::size_t outer = levels.size(); outer-- > level;) {
        if (!name.empty()) name += '/';
        name += agents.label(a, levels[outer]);
      }
      found[name].push_back(a);
    }
    for (auto& [name, members] : found) domains_[level].push_back({name, std::move(members)});
  }
}

std::vector<const Topology::Domain*> Topology::fitting(std::size_t level,
                                                       const Rooms& rooms) const {
  std::vector<std::pair<std::uint64_t, const Domain*>> found;
  for (const Domain& domain : domains_[level]) {
    const Room room = room_in(domain, rooms);
    if (room.enough) found.emplace_back(room.total, &domain);
  }
  std::ranges::stable_sort(found, {}, [](const auto& one) { return one.first; });
  std::vector<const Domain*> domains;
  for (const auto& [room, domain] : found) domains.push_back(domain);
  return domains;
}

const Topology::Domain* Topology::roomiest(std::size_t level, const Rooms& rooms) const {
  const Domain* best = nullptr;
  std::uint64_t most = 0;
  for (const Domain& domain : domains_[level]) {
    const std::uint64_t total = room_in(domain, rooms).total;
    if (best == nullptr || total > most) {
      best = &domain;
      most = total;
    }
  }
  return best;
}

Topology::Rooms Topology::count(const AgentTable& agents, const Request& request,
                                const AgentFilter& filter) {
  Rooms rooms;
  auto& kinds = rooms.kinds;
  for (const Requirement& requirement : request.requirements) {
    const auto known = std::ranges::find(kinds, requirement.id, &Requirement::id);
    if (known != kinds.end()) {
      ++rooms.wanted[static_cast<std::size_t>(known - kinds.begin())];
    } else {
      kinds.push_back(&requirement);
      rooms.wanted.push_back(1);
      rooms.have.emplace_back(agents.size(), 0);
    }
  }
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
    const Requirement& requirement = *kinds[kind];
    for (AgentIndex a = 0; a < agents.size(); ++a) {
      if (agents.takes_sessions(a) && agents.architecture(a) == requirement.architecture &&
          agents.labels_match(a, requirement.labels) && !filter.excludes(a)) {
        rooms.have[kind][a] = copies_on(agents, a, requirement, filter.container_limit);
      }
    }
  }
  return rooms;
}

}  // namespace bai::sched

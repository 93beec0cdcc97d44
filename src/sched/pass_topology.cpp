// Multi-node sessions: within the smallest domain that has room, then over all agents.
#include <fmt/format.h>

#include <algorithm>

#include "sched/pass.hpp"

namespace bai::sched {

std::optional<std::size_t> GroupPass::demanded_level(const Waiting& waiting) const {
  if (waiting.topology == 0) return std::nullopt;
  const std::string& wanted = source_.mirror.topology_name(waiting.topology);
  const auto level = std::ranges::find(policies_.topology, wanted);
  if (level == policies_.topology.end()) return std::nullopt;
  return static_cast<std::size_t>(level - policies_.topology.begin());
}

namespace {

// The requirements of a gang, equal ones once, and how many there are of each.
std::vector<std::pair<const Requirement*, std::uint64_t>> kinds_of(const Request& request) {
  std::vector<std::pair<const Requirement*, std::uint64_t>> kinds;
  for (const Requirement& requirement : request.requirements) {
    const auto known =
        std::ranges::find(kinds, requirement.id, [](const auto& kind) { return kind.first->id; });
    if (known != kinds.end()) {
      ++known->second;
    } else {
      kinds.emplace_back(&requirement, 1);
    }
  }
  return kinds;
}

}  // namespace

// Where alone the session may be; nothing: anywhere but on agents that are named one by one.
std::optional<std::vector<AgentIndex>> GroupPass::only_on(const Waiting& waiting,
                                                          const Requirement& requirement,
                                                          const AgentFilter& filter) const {
  std::vector<AgentIndex> agents;
  if (const std::string* own = own_reservation(waiting.session)) {
    reserved_.candidates(*own, requirement, agents);
  } else if (filter.strict) {
    agents = filter.designated;
  } else if (filter.neighbours != nullptr && filter.neighbours->is_bound()) {
    for (const auto& [agent, sessions] : filter.neighbours->members) agents.push_back(agent);
  } else {
    return std::nullopt;
  }
  std::erase_if(agents, [&](AgentIndex agent) { return filter.excludes(agent); });
  return agents;
}

// What fits now on the smallest `levels` levels, domain by domain; what is promised or kept is not
// there. `at_most`: where not only some agents come into question, what can be had when all are
// ended who may be; on some agents that is `known`.
GangRooms GroupPass::rooms_for(const Waiting& waiting, const AgentFilter& filter,
                               std::size_t levels, bool at_most, const KnownRooms& known) {
  const Topology& topology = memory_.topology;
  const AgentTable& agents = group_.agents;
  GangRooms rooms(topology, levels);
  for (std::size_t level = 0; level < levels; ++level) steps_ += topology.domains(level).size();
  for (const auto& [requirement, wanted] : kinds_of(view_.request(waiting.session))) {
    prepare(*requirement);
    std::vector<AgentIndex> barred;
    if (own_reservation(waiting.session) == nullptr && future_.has_promises()) {
      future_.barred(*requirement, waiting.session.estimate, barred);
    }
    if (const auto only = only_on(waiting, *requirement, filter)) {
      std::vector<std::pair<AgentIndex, std::uint32_t>> copies;
      for (const AgentIndex agent : *only) {
        if (std::ranges::binary_search(barred, agent)) continue;
        copies.emplace_back(agent, copies_on(agents, agent, *requirement, filter.container_limit));
      }
      steps_ += only->size();
      rooms.add(copies, wanted);
      continue;
    }
    if (filter.neighbours != nullptr && filter.neighbours->strict) {
      for (const auto& [agent, sessions] : filter.neighbours->members) {
        if (filter.excludes(agent)) barred.push_back(agent);
      }
      std::ranges::sort(barred);
      barred.erase(std::ranges::unique(barred).begin(), barred.end());
    }
    const std::uint64_t looked_at = memory_.rooms.looked_at();
    std::optional<VictimIndex::Stakes> stakes;
    if (at_most) stakes = preemption_->stakes(*requirement, filter.container_limit);
    const DomainRooms& all = memory_.rooms.refreshed(
        topology, agents, *requirement, source_.mirror.label_rule(requirement->labels),
        filter.container_limit, stakes && stakes->any() ? &*stakes : nullptr);
    steps_ += memory_.rooms.looked_at() - looked_at;
    const auto some = known.find(requirement->id);
    rooms.add(all, barred, wanted, some != known.end() ? some->second : GangRooms::Copies());
  }
  return rooms;
}

bool GroupPass::place_close(const Waiting& waiting, AgentFilter& filter, Neighbours* neighbours,
                            Miss& miss) {
  const Request& request = view_.request(waiting.session);
  if (policies_.topology.empty() || request.requirements.size() < 2) return false;
  memory_.topology.follow(group_.agents, policies_.topology);
  const auto demanded = demanded_level(waiting);
  const std::size_t largest = demanded ? *demanded : policies_.topology.size() - 1;
  const GangRooms rooms = rooms_for(waiting, filter, largest + 1);
  bool placed = false;
  for (std::size_t level = 0; level <= largest && !placed; ++level) {
    FittingDomains fitting(memory_.topology, level, rooms);
    while (const Topology::Domain* domain = fitting.next()) {
      filter.within = domain_ = &domain->agents;
      filter.is_domain = true;
      placed = place_kernels(waiting, filter, neighbours, nullptr);
      if (placed) break;
    }
  }
  filter.within = domain_ = nullptr;
  filter.is_domain = false;
  if (!placed && demanded) {
    miss.failure = std::make_shared<Failure>(
        explain_topology(source_, request, policies_.topology[largest], rooms.roomiest(largest),
                         infeasible_within(largest, request, filter), filter, may_survey()));
  }
  return placed;
}

// What stands against it in every domain of that level, however empty.
std::optional<Infeasible> GroupPass::infeasible_within(std::size_t level, const Request& request,
                                                       AgentFilter filter) const {
  std::optional<Infeasible> hopeless;
  if (!limits_.explain) return hopeless;
  for (const Topology::Domain& domain : memory_.topology.domains(level)) {
    filter.within = &domain.agents;
    auto here = infeasible(source_, request, filter);
    if (!here) return std::nullopt;
    const bool never = here->never && (!hopeless || hopeless->never);
    hopeless = std::move(here);
    hopeless->never = never;
  }
  if (hopeless) {
    hopeless->why = fmt::format("no single {} of resource group {} has room for it, even when {}",
                                policies_.topology[level], group_.name.str(),
                                hopeless->never ? "empty" : "empty, of those that take sessions");
  }
  return hopeless;
}

// The earliest start within one domain of that level.
std::optional<Future::Start> GroupPass::expect_within(std::size_t level, const Waiting& waiting,
                                                      const AgentFilter& filter,
                                                      const Future::Bounds& bounds,
                                                      std::uint64_t& steps) {
  const Request& request = view_.request(waiting.session);
  for (const Requirement& requirement : request.requirements) prepare(requirement);
  memory_.topology.follow(group_.agents, policies_.topology);
  const std::uint64_t looked_at = memory_.domain_starts.looked_at();
  auto start = future_.earliest_within(memory_.topology, level, memory_.domain_starts, request,
                                       waiting.session.estimate, filter, bounds, steps);
  steps_ += memory_.domain_starts.looked_at() - looked_at;
  return start;
}

}  // namespace bai::sched

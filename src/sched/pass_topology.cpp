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

// What fits now, domain by domain; what is promised or kept is not there.
Topology::Rooms GroupPass::rooms_for(const Waiting& waiting, const AgentFilter& filter) {
  const Request& request = view_.request(waiting.session);
  for (const Requirement& requirement : request.requirements) {
    group_.agents.prepare_rule(requirement.labels, source_.mirror.label_rule(requirement.labels));
  }
  steps_ += group_.agents.size();
  auto rooms = Topology::count(group_.agents, request, filter);
  for (std::size_t kind = 0; kind < rooms.kinds.size(); ++kind) {
    const Requirement& requirement = *rooms.kinds[kind];
    std::vector<AgentIndex> agents;
    if (const std::string* own = own_reservation(waiting.session)) {
      reserved_.candidates(*own, requirement, agents);
      for (AgentIndex a = 0; a < group_.agents.size(); ++a) {
        if (!std::ranges::binary_search(agents, a)) rooms.have[kind][a] = 0;
      }
    } else if (future_.has_promises()) {
      future_.barred(requirement, waiting.session.estimate, agents);
      for (const AgentIndex agent : agents) rooms.have[kind][agent] = 0;
    }
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
  const Topology::Rooms rooms = rooms_for(waiting, filter);
  bool placed = false;
  for (std::size_t level = 0; level <= largest && !placed; ++level) {
    for (const Topology::Domain* domain : memory_.topology.fitting(level, rooms)) {
      filter.within = domain_ = &domain->agents;
      filter.is_domain = true;
      placed = place_kernels(waiting, filter, neighbours, nullptr);
      if (placed) break;
    }
  }
  filter.within = domain_ = nullptr;
  filter.is_domain = false;
  if (!placed && demanded) {
    const Topology::Domain* roomiest = memory_.topology.roomiest(largest, rooms);
    miss.failure = std::make_shared<Failure>(
        explain_topology(source_, request, policies_.topology[largest], roomiest,
                         infeasible_within(largest, request, filter), filter));
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
                                                      AgentFilter filter, Future::Bounds bounds,
                                                      std::uint64_t& steps) {
  const Request& request = view_.request(waiting.session);
  memory_.topology.follow(group_.agents, policies_.topology);
  std::optional<Future::Start> best;
  for (const Topology::Domain& domain : memory_.topology.domains(level)) {
    filter.within = &domain.agents;
    filter.is_domain = true;
    auto start = future_.earliest(request, waiting.session.estimate, filter, bounds, steps);
    if (!start) continue;
    bounds.limit = start->at;
    best = std::move(start);
  }
  return best;
}

}  // namespace bai::sched

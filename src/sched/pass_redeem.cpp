// Gangs of different kernels for which the selector, one kernel after the other, finds no agents
// although there are some.
#include <algorithm>
#include <numeric>

#include "sched/pass.hpp"

namespace bai::sched {

namespace {

// What is left of it from that requirement on.
Request rest_of(const Request& request, std::size_t first) {
  Request rest;
  rest.mode = request.mode;
  rest.requirements.assign(request.requirements.begin() + static_cast<std::ptrdiff_t>(first),
                           request.requirements.end());
  return rest;
}

}  // namespace

// Where it was promised a start that is due, or would be promised one for now.
bool GroupPass::redeem(PendingIndex at, const Waiting& waiting, const AgentFilter& filter,
                       Neighbours* neighbours) {
  const auto& requirements = view_.request(waiting.session).requirements;
  const bool alike = std::ranges::all_of(
      requirements, [&](const Requirement& r) { return r.id == requirements.front().id; });
  if (!looks_ahead_ || alike || own_reservation(waiting.session) != nullptr) return false;
  for (const Requirement& requirement : requirements) prepare(requirement);
  std::optional<KeptPromise> kept = promised_ ? lifted_ : memory_.head;
  if (kept && kept->session == at && kept->start.at <= source_.now.ns &&
      is_wanted(source_.mirror, group_, *kept) && renumber(group_, *kept) &&
      start_by(kept->start.agents, waiting, filter, neighbours)) {
    return true;
  }
  const auto start = expect(waiting, filter, source_.now.ns + 1);
  return start && start_by(start->agents, waiting, filter, neighbours);
}

// `known`: agents, one for each requirement, that show that there is room. Which it will be is up
// to the session's wishes and the selector, as for all others, as long as the rest finds room.
bool GroupPass::start_by(const std::vector<AgentIndex>& known, const Waiting& waiting,
                         const AgentFilter& filter, Neighbours* neighbours) {
  const Request& request = view_.request(waiting.session);
  AgentFilter ahead = filter;
  if (const auto level = demanded_level(waiting)) {
    ahead.within = domain_of(*level, known);
    if (ahead.within == nullptr) return false;
    ahead.is_domain = true;
  }
  if (!future_.holds({source_.now.ns, known}, request, waiting.session.estimate, ahead)) {
    return false;
  }
  const std::size_t before = ledger_.checkpoint();
  const Choices choices = choices_;
  std::vector<AgentIndex> taken, rest = known;
  while (taken.size() < request.requirements.size() &&
         take_beside(waiting, ahead, neighbours, taken, rest)) {
  }
  if (taken.size() == request.requirements.size()) {
    ledger_.hold(waiting.session);
    accept(waiting, request, taken, before);
    return true;
  }
  ledger_.rollback(before);
  gave_back(waiting, taken, neighbours);
  choices_ = choices;
  return start_on(known, waiting, ahead, neighbours);
}

// Null: they are not in one domain of that level.
const std::vector<AgentIndex>* GroupPass::domain_of(std::size_t level,
                                                    const std::vector<AgentIndex>& agents) {
  memory_.topology.follow(group_.agents, policies_.topology);
  for (const Topology::Domain& domain : memory_.topology.domains(level)) {
    const auto is_inside = [&](AgentIndex agent) {
      return std::ranges::binary_search(domain.agents, agent);
    };
    if (is_inside(agents.front())) {
      return std::ranges::all_of(agents, is_inside) ? &domain.agents : nullptr;
    }
  }
  return nullptr;
}

// The next requirement on the agent that is chosen among those that leave room for the ones after
// it: where `rest` says, which begins with this one, or elsewhere; then `rest` follows. Only agents
// that `rest` names may leave none, unless a strict group is to stay together.
bool GroupPass::take_beside(const Waiting& waiting, const AgentFilter& ahead,
                            Neighbours* neighbours, std::vector<AgentIndex>& taken,
                            std::vector<AgentIndex>& rest) {
  const Request& request = view_.request(waiting.session);
  const Requirement& requirement = request.requirements[taken.size()];
  const Request others = rest_of(request, taken.size() + 1);
  const std::size_t before = ledger_.checkpoint();
  const Choices choices = choices_;
  AgentFilter filter = ahead;
  std::vector<AgentIndex> allowed;
  domain_ = ahead.within;
  bool is_taken = false;
  for (std::size_t tries = 0; tries <= request.requirements.size(); ++tries) {
    std::size_t candidates = 0;
    const auto agent = place_one(waiting.session, requirement, filter, candidates);
    if (!agent) break;
    took(waiting, requirement, *agent);
    const bool is_new = std::ranges::find(taken, *agent) == taken.end();
    if (is_new) count_members({*agent}, neighbours, 1);
    if (find_rest(waiting, others, ahead, rest)) {
      taken.push_back(*agent);
      is_taken = true;
      break;
    }
    if (is_new) count_members({*agent}, neighbours, -1);
    gave_back(waiting, requirement, *agent);
    ledger_.rollback(before);
    choices_ = choices;
    if (allowed.empty()) {
      allowed.resize(group_.agents.size());
      std::iota(allowed.begin(), allowed.end(), AgentIndex{0});
      if (ahead.within != nullptr) allowed = *ahead.within;
    }
    std::erase(allowed, *agent);
    domain_ = &allowed;
  }
  domain_ = nullptr;
  return is_taken;
}

bool GroupPass::find_rest(const Waiting& waiting, const Request& others, const AgentFilter& ahead,
                          std::vector<AgentIndex>& rest) {
  const std::int64_t now = source_.now.ns;
  const Duration estimate = waiting.session.estimate;
  std::vector<AgentIndex> there(rest.begin() + 1, rest.end());
  if (!future_.holds({now, there}, others, estimate, ahead)) {
    auto start = future_.earliest(others, estimate, ahead, now + 1, steps_);
    if (!start) return false;
    there = std::move(start->agents);
  }
  rest = std::move(there);
  return true;
}

// One for each requirement.
bool GroupPass::start_on(const std::vector<AgentIndex>& agents, const Waiting& waiting,
                         const AgentFilter& filter, Neighbours* neighbours) {
  const Request& request = view_.request(waiting.session);
  const std::size_t before = ledger_.checkpoint();
  const Choices choices = choices_;
  std::vector<AgentIndex> taken;
  for (const AgentIndex agent : agents) {
    const Requirement& requirement = request.requirements[taken.size()];
    if (filter.excludes(agent) ||
        !take_on(waiting.session, requirement, agent, filter.container_limit)) {
      ledger_.rollback(before);
      gave_back(waiting, taken, neighbours);
      choices_ = choices;
      return false;
    }
    taken.push_back(agent);
    count_choice(ledger_.last_devices());
    took(waiting, requirement, agent);
    if (std::ranges::count(taken, agent) == 1) count_members({agent}, neighbours, 1);
  }
  ledger_.hold(waiting.session);
  accept(waiting, request, agents, before);
  return true;
}

}  // namespace bai::sched

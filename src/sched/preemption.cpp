#include "sched/preemption.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "model/devices.hpp"

namespace bai::sched {

Preemption::Preemption(const ViewSource& source, Group& group, Ledger& ledger,
                       const PreemptionRules& rules)
    : source_(source), view_(source), group_(group), ledger_(ledger), rules_(rules) {
  taken_steps_ = group_.victims.looked_at() + group_.borrowers.looked_at();
  if (rules_.order == PreemptionRules::Order::SmallestResources) magnitudes_ = Magnitudes(view_);
}

Preemption::~Preemption() {
  group_.victims.forget_claims();
  for (const Candidate& candidate : candidates_) {
    if (candidate.claimed) note(candidate);
  }
}

void Preemption::note(const Candidate& candidate) {
  for (const AgentIndex agent : candidate.where) group_.tenants.note(agent);
}

std::optional<Preemption::Victim> Preemption::candidate(const SessionId& session) {
  const auto [it, is_new] = known_.try_emplace(session);
  if (!is_new) return it->second;
  const Tenant* tenant = source_.mirror.tenancy().tenant(session);
  if (tenant == nullptr || tenant->row == nullptr) return std::nullopt;
  const Session& row = *tenant->row;
  const bool leaves = is_leaving(row);
  if (!leaves && !may_be_ended(row)) return std::nullopt;
  it->second = candidates_.size();
  Candidate& candidate = candidates_.emplace_back();
  candidate.row = &row;
  candidate.leaving = leaves;
  candidate.weight = weight_of(*tenant, source_.mirror, magnitudes_);
  candidate.key = victim_key(row, rules_, candidate.weight);
  add_parts(candidate, *tenant);
  ++steps_;
  return it->second;
}

void Preemption::add_parts(Candidate& candidate, const Tenant& tenant) {
  for (const auto& kernel : tenant.kernels) {
    const Held& held = *source_.mirror.held(kernel->id).first;
    for (const SlotRequest& r : held.slots) {
      if (r.slot >= candidate.units.size()) candidate.units.resize(r.slot + 1, 0);
      candidate.units[r.slot] += r.units;
    }
    const auto agent = group_.agents.find(kernel->agent);
    if (!agent) continue;
    Part& part = candidate.parts.emplace_back();
    part.agent = *agent;
    part.amounts.slots = held.slots;
    // What its agent does not have any more comes free for nobody.
    std::erase_if(part.amounts.slots,
                  [&](const SlotRequest& r) { return !group_.agents.has_slot(*agent, r.slot); });
    for_each_device(*kernel, source_.mirror.slot_types(),
                    [&](const std::string& name, std::uint32_t device, std::int64_t units) {
                      const auto slot = view_.find_slot(name);
                      const DeviceSet* set = slot ? group_.agents.devices(*agent, *slot) : nullptr;
                      if (set == nullptr || device >= set->free.size()) return;
                      part.devices.push_back({0, *slot, device, units});
                    });
    candidate.where.push_back(*agent);
  }
  std::ranges::sort(candidate.where);
  candidate.where.erase(std::ranges::unique(candidate.where).begin(), candidate.where.end());
}

const std::vector<Preemption::Victim>& Preemption::victims_on(AgentIndex agent) {
  const auto [it, is_new] = on_agent_.try_emplace(agent);
  if (!is_new) return it->second;
  std::vector<Victim>& victims = it->second;
  for (const HeldOn& one : group_.held_on(agent)) {
    const auto victim = candidate(one.held->session);
    if (victim && !candidates_[*victim].leaving) victims.push_back(*victim);
  }
  sort(victims);
  victims.erase(std::ranges::unique(victims).begin(), victims.end());
  return victims;
}

const std::vector<Preemption::Victim>& Preemption::leaving() {
  if (leaving_) return *leaving_;
  leaving_.emplace();
  for (const SessionId& session : source_.mirror.tenancy().leaving()) {
    const Tenant* tenant = source_.mirror.tenancy().tenant(session);
    const bool is_here =
        tenant != nullptr && std::ranges::any_of(tenant->kernels, [&](const auto& kernel) {
          return group_.agents.find(kernel->agent).has_value();
        });
    if (const auto victim = is_here ? candidate(session) : std::nullopt) {
      leaving_->push_back(*victim);
    }
  }
  return *leaving_;
}

bool Preemption::yields(const Session& row, Timestamp& due) const {
  if (!rules_.enabled || row.job_priority >= session_->job_priority ||
      !is_in_scope(row, rules_, group_.name, view_.owner(*session_))) {
    return false;
  }
  const Timestamp ripe = row.starts_at + rules_.min_runtime;
  if (ripe <= source_.now) return true;
  if (due == Timestamp{} || ripe < due) due = ripe;
  return false;
}

bool Preemption::may_be_taken(const Candidate& candidate) const {
  if (candidate.leaving || candidate.claimed) return false;
  Timestamp due;
  return (by_priority_ && yields(*candidate.row, due)) || gives_back(candidate);
}

bool Preemption::consider(const PendingSession& session, const AgentFilter& filter,
                          const CohortShare* reclaims, bool by_priority, Timestamp& due) {
  session_ = &session;
  by_priority_ = by_priority;
  borrowers_.clear();
  asked_.clear();
  const auto& requirements = view_.request(session).requirements;
  if (reclaims != nullptr) {
    return consider_borrowers(*reclaims, requirements, filter.container_limit, due);
  }
  if (filter.strict) return consider_on(filter.designated, due);
  for (const Requirement& requirement : requirements) {
    const auto outlook = group_.victims.outlook(question(requirement, filter.container_limit));
    if (outlook.due) due = *outlook.due;  // whatever the requirement
    if (outlook.anybody) return true;
  }
  return false;
}

bool Preemption::consider_on(std::span<const AgentIndex> agents, Timestamp& due) {
  bool any = false;
  for (const AgentIndex agent : agents) {
    for (const Victim v : victims_on(agent)) {
      if (!candidates_[v].claimed && yields(*candidates_[v].row, due)) any = true;
    }
  }
  return any;
}

VictimIndex::Question Preemption::question(const Requirement& requirement,
                                           std::uint32_t container_limit) const {
  return {source_,     rules_,          view_.owner(*session_), session_->job_priority,
          requirement, container_limit, by_priority_,           asked_};
}

void Preemption::shift(Victim victim, int sign) {
  for (const Part& part : candidates_[victim].parts) {
    ledger_.shift(group_.agents, part.agent, part.amounts, part.devices, sign);
  }
}

void Preemption::release_leaving() {
  for (const Victim v : leaving()) shift(v, -1);
  for (const Victim v : claimed_) shift(v, -1);
}

void Preemption::release_eligible_on(std::span<const AgentIndex> agents,
                                     std::span<const Victim> except) {
  std::vector<Victim> victims;
  for (const AgentIndex agent : agents) {
    for (const Victim v : victims_on(agent)) {
      if (may_be_taken(candidates_[v]) && std::ranges::find(except, v) == except.end()) {
        victims.push_back(v);
      }
    }
  }
  std::ranges::sort(victims);
  victims.erase(std::ranges::unique(victims).begin(), victims.end());
  for (const Victim v : victims) shift(v, -1);
}

// How much of the deficit goes when the session leaves the agent, in millionths of each slot.
std::int64_t Preemption::relief(const Candidate& candidate, AgentIndex agent,
                                const Amounts& deficit, std::int64_t containers) const {
  Amounts gives(deficit.size(), 0);
  std::int64_t places = 0;
  for (const Part& part : candidate.parts) {
    if (part.agent != agent) continue;
    ++places;
    for (const SlotRequest& r : part.amounts.slots) {
      if (r.slot < gives.size()) gives[r.slot] += r.units;
    }
  }
  Int128 sum = 0;
  for (SlotIndex slot = 0; slot < deficit.size(); ++slot) {
    if (deficit[slot] <= 0) continue;
    sum += Int128{std::min(gives[slot], deficit[slot])} * 1'000'000 / deficit[slot];
  }
  if (containers > 0) sum += Int128{std::min(places, containers)} * 1'000'000 / containers;
  return static_cast<std::int64_t>(sum);
}

std::optional<std::vector<Preemption::Victim>> Preemption::make_room(
    AgentIndex agent, const Requirement& requirement, std::uint32_t container_limit,
    std::span<const Victim> claimed) {
  const std::size_t before = ledger_.checkpoint();
  std::vector<Victim> left, victims;
  for (const Victim v : victims_on(agent)) {
    ++steps_;
    if (may_be_taken(candidates_[v]) && std::ranges::find(claimed, v) == claimed.end()) {
      left.push_back(v);
    }
  }
  const auto fits = [&] {
    return group_.agents.fits(agent, requirement) &&
           group_.agents.containers(agent) + std::uint64_t{requirement.containers} <=
               container_limit;
  };
  while (!fits() && !left.empty()) {
    Amounts deficit(view_.slot_count(), 0);
    for (const SlotRequest& r : requirement.slots) {
      deficit[r.slot] = r.units == 0 ? 0 : r.units - group_.agents.free(agent, r.slot);
    }
    const std::int64_t containers = std::int64_t{group_.agents.containers(agent)} +
                                    requirement.containers - std::int64_t{container_limit};
    const bool amounts_fit =
        containers <= 0 && std::ranges::all_of(deficit, [](auto units) { return units <= 0; });
    if (amounts_fit) {  // but no device has it: whoever has some of one may help
      for (const SlotRequest& r : requirement.slots) {
        deficit[r.slot] = group_.agents.devices(agent, r.slot) != nullptr ? r.units : 0;
      }
    }
    auto chosen = left.end();
    std::int64_t most = 0;
    for (auto it = left.begin(); it != left.end(); ++it) {
      const auto priority = [&](auto which) { return candidates_[*which].row->job_priority; };
      if (chosen != left.end() && priority(it) > priority(chosen)) break;
      const std::int64_t gain = relief(candidates_[*it], agent, deficit, containers);
      if (gain <= most) continue;
      chosen = it;
      most = gain;
      // Whoever gives most comes first only where there should be few.
      if (rules_.order != PreemptionRules::Order::FewestSessions) break;
    }
    if (chosen == left.end()) break;
    shift(*chosen, -1);
    victims.push_back(*chosen);
    left.erase(chosen);
  }
  const bool made = fits();
  // Who came to be unnecessary by whom was taken later.
  for (std::size_t i = victims.size(); made && i-- > 0;) {
    shift(victims[i], 1);
    if (fits()) {
      victims.erase(victims.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      shift(victims[i], -1);
    }
  }
  ledger_.rollback(before);
  if (!made) return std::nullopt;
  sort(victims);
  return victims;
}

void Preemption::sort(std::vector<Victim>& victims) const {
  std::ranges::sort(victims, {}, [&](Victim v) { return candidates_[v].key; });
}

std::int64_t Preemption::cost_of(std::span<const Victim> victims) const {
  if (rules_.order == PreemptionRules::Order::FewestSessions) {
    return static_cast<std::int64_t>(victims.size());
  }
  std::int64_t cost = 0;
  if (rules_.order == PreemptionRules::Order::SmallestResources) {
    for (const Victim v : victims) cost = capped_sum(cost, candidates_[v].weight);
  }
  return cost;
}

bool Preemption::is_less(std::span<const Victim> a, std::span<const Victim> b) const {
  const std::int64_t first = cost_of(a), second = cost_of(b);
  if (first != second) return first < second;
  return std::ranges::lexicographical_compare(
      a, b, [&](Victim x, Victim y) { return candidates_[x].key < candidates_[y].key; });
}

// Of equal choices the one on the first agent.
void Preemption::try_agent(AgentIndex agent, const Requirement& requirement,
                           const AgentFilter& filter, std::span<const Victim> claimed,
                           std::optional<Choice>& best) {
  const AgentTable& agents = group_.agents;
  ++steps_;
  if (!agents.takes_sessions(agent) || agents.architecture(agent) != requirement.architecture ||
      !agents.labels_match(agent, requirement.labels) || filter.excludes(agent) ||
      requirement.containers > filter.container_limit ||
      std::ranges::binary_search(filter.barred, agent)) {
    return;
  }
  auto made = make_room(agent, requirement, filter.container_limit, claimed);
  if (!made || made->empty()) return;
  if (!best || is_less(*made, best->victims) ||
      (agent < best->agent && !is_less(best->victims, *made))) {
    best = {agent, std::move(*made)};
  }
}

std::optional<Preemption::Choice> Preemption::choose(const Requirement& requirement,
                                                     const AgentFilter& filter,
                                                     std::span<const Victim> claimed) {
  std::optional<Choice> best;
  const auto try_all = [&](std::span<const AgentIndex> agents) {
    for (const AgentIndex agent : agents) try_agent(agent, requirement, filter, claimed, best);
  };
  if (filter.strict) {
    try_all(filter.designated);
  } else if (filter.within != nullptr) {
    try_all(*filter.within);
  } else {
    auto search = group_.victims.search(question(requirement, filter.container_limit));
    while (const auto bound = search.next()) {
      if (best) {
        const std::int64_t cost = cost_of(best->victims);
        const VictimKey& first = candidates_[best->victims.front()].key;
        if (std::tie(bound->cost, bound->first) > std::tie(cost, first)) break;
      }
      try_agent(bound->agent, requirement, filter, claimed, best);
    }
  }
  return best;
}

void Preemption::claim(std::span<const Victim> victims) {
  for (const Victim v : victims) {
    if (std::exchange(candidates_[v].claimed, true)) continue;
    claimed_.push_back(v);
    count_going(candidates_[v]);
    group_.victims.claim(id(v));
    note(candidates_[v]);
  }
}

std::uint64_t Preemption::take_steps() {
  const std::uint64_t steps = steps_ + group_.victims.looked_at() + group_.borrowers.looked_at();
  return steps - std::exchange(taken_steps_, steps);
}

}  // namespace bai::sched

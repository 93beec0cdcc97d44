#include "plain_preemption.hpp"

#include <algorithm>
#include <limits>
#include <tuple>

#include "model/devices.hpp"

namespace bai::sched {

namespace {

constexpr std::int64_t kMostWeight = std::numeric_limits<std::int64_t>::max();

// Of 2^60 the part that the units are of the power of two nearest to `all`.
Int128 weight(std::int64_t units, std::int64_t all) {
  if (all <= 0) return 0;
  int power = 0;
  while (Int128{all} * all >= Int128{2} << (2 * power)) ++power;
  return (Int128{units} << 60) / (Int128{1} << power);
}

}  // namespace

PlainPreemption::PlainPreemption(const ViewSource& source, Group& group, Ledger& ledger,
                                 const PreemptionRules& rules,
                                 const std::vector<SessionId>& sessions)
    : source_(source), view_(source), group_(group), ledger_(ledger), rules_(rules) {
  for (const SessionId& session : sessions) {
    const Tenant* tenant = source_.mirror.tenancy().tenant(session);
    if (tenant == nullptr || tenant->row == nullptr) continue;
    const Session& row = *tenant->row;
    const bool leaving = row.status == SessionStatus::Preempted ||
                         row.status == SessionStatus::Rescheduling ||
                         row.status == SessionStatus::Terminating;
    if (!leaving && !may_be_ended(row)) continue;
    Candidate& candidate = candidates_.emplace_back();
    candidate.row = &row;
    candidate.leaving = leaving;
    add_parts(candidate, *tenant);
  }
  rank();
}

void PlainPreemption::add_parts(Candidate& candidate, const Tenant& tenant) {
  Int128 weighs = 0;
  for (const auto& kernel : tenant.kernels) {
    const Held& held = *source_.mirror.held(kernel->id).first;
    for (const SlotRequest& r : held.slots) {
      weighs += weight(r.units, view_.group_capacity(r.slot));
      if (candidate.units.size() <= r.slot) candidate.units.resize(r.slot + 1, 0);
      candidate.units[r.slot] += r.units;
    }
    const auto agent = group_.agents.find(kernel->agent);
    if (!agent) continue;
    Part& part = candidate.parts.emplace_back();
    part.agent = *agent;
    part.amounts.slots = held.slots;
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
  candidate.weight = static_cast<std::int64_t>(std::min<Int128>(weighs, kMostWeight));
  std::ranges::sort(candidate.where);
  candidate.where.erase(std::ranges::unique(candidate.where).begin(), candidate.where.end());
}

void PlainPreemption::rank() {
  const auto key = [&](const Candidate& c) {
    std::int64_t first = 0, began = c.row->starts_at.ns;
    if (rules_.order == PreemptionRules::Order::Newest) {
      first = began == 0 ? std::numeric_limits<std::int64_t>::min() : -began;
      began = 0;
    } else if (rules_.order == PreemptionRules::Order::SmallestResources) {
      first = c.weight;
    }
    return std::tuple(c.leaving, c.row->job_priority, first, began, c.row->id);
  };
  std::ranges::sort(candidates_, {}, key);
  on_agent_.clear();
  for (Victim v = 0; v < candidates_.size(); ++v) {
    if (candidates_[v].leaving) continue;
    for (const AgentIndex agent : candidates_[v].where) on_agent_[agent].push_back(v);
  }
}

bool PlainPreemption::yields_to(const Candidate& candidate, const PendingSession& session,
                                Timestamp& due) const {
  if (!rules_.enabled || candidate.row->job_priority >= session.job_priority ||
      candidate.where.empty()) {
    return false;
  }
  const Owner& owner = view_.owner(session);
  using Of = PreemptionRules::Scope;
  const Session& row = *candidate.row;
  const bool in_scope = row.resource_group == group_.name &&
                        (rules_.victim_scope == Of::ResourceGroup ||
                         (rules_.victim_scope == Of::User && row.user == owner.user) ||
                         (rules_.victim_scope == Of::Project && row.project == owner.project) ||
                         (rules_.victim_scope == Of::Domain && row.domain == owner.domain));
  if (!in_scope) return false;
  const Timestamp ripe = row.starts_at + rules_.min_runtime;
  if (ripe <= source_.now) return true;
  if (due == Timestamp{} || ripe < due) due = ripe;
  return false;
}

bool PlainPreemption::consider(const PendingSession& session, Timestamp& due) {
  bool any = false;
  for (Candidate& candidate : candidates_) {
    candidate.eligible =
        !candidate.leaving && !candidate.claimed && yields_to(candidate, session, due);
    any = any || candidate.eligible;
  }
  return any;
}

namespace {

std::int64_t of(const std::vector<std::int64_t>& amounts, SlotIndex slot) {
  return slot < amounts.size() ? amounts[slot] : 0;
}

void add(std::vector<std::int64_t>& amounts, const std::vector<std::int64_t>& more, int sign) {
  if (amounts.size() < more.size()) amounts.resize(more.size(), 0);
  for (std::size_t slot = 0; slot < more.size(); ++slot) amounts[slot] += sign * more[slot];
}

}  // namespace

bool PlainPreemption::gives_back(const Candidate& candidate) const {
  const auto used = used_.find(candidate.row->project);
  return used != used_.end() &&
         std::ranges::any_of(members_->at(candidate.row->project).nominal, [&](const auto& own) {
           return of(candidate.units, own.first) > 0 && of(used->second, own.first) > own.second;
         });
}

bool PlainPreemption::consider_lender(const PendingSession& session, const CohortShare& cohort,
                                      bool by_priority, Timestamp& due) {
  members_ = source_.mirror.cohorts().members(cohort.name);
  used_.clear();
  for (const auto& [id, member] : *members_) {
    if (id != view_.owner(session).project) used_[id] = source_.mirror.scope(member.scope).units;
  }
  for (const Candidate& candidate : candidates_) {
    const auto used = used_.find(candidate.row->project);
    if (used != used_.end() && (candidate.leaving || candidate.claimed)) {
      add(used->second, candidate.units, -1);
    }
  }
  bool any = false;
  for (Candidate& candidate : candidates_) {
    candidate.eligible =
        !candidate.leaving && !candidate.claimed &&
        ((by_priority && yields_to(candidate, session, due)) || gives_back(candidate));
    any = any || candidate.eligible;
  }
  return any;
}

std::optional<std::vector<PlainPreemption::Victim>> PlainPreemption::cover_quota(
    const PendingSession& session, const CohortShare& cohort) {
  Amounts missing(cohort.held.size(), 0);
  for (const SlotRequest& r : view_.request(session).total) {
    if (cohort.nominal[r.slot] == CohortShare::kUnlimited) continue;
    missing[r.slot] = cohort.held[r.slot] + r.units - cohort.nominal[r.slot];
    for (const Candidate& candidate : candidates_) {
      if ((candidate.leaving || candidate.claimed) && members_->contains(candidate.row->project)) {
        missing[r.slot] -= of(candidate.units, r.slot);
      }
    }
  }
  const auto is_missing = [](std::int64_t units) { return units > 0; };
  std::vector<Victim> victims;
  for (Victim v = 0; v < candidates_.size(); ++v) {
    if (std::ranges::none_of(missing, is_missing)) break;
    const Candidate& candidate = candidates_[v];
    const auto used = used_.find(candidate.row->project);
    if (!candidate.eligible || used == used_.end()) continue;
    const auto& nominal = members_->at(candidate.row->project).nominal;
    const bool helps = std::ranges::any_of(nominal, [&](const auto& own) {
      return of(missing, own.first) > 0 && of(candidate.units, own.first) > 0 &&
             of(used->second, own.first) > own.second;
    });
    if (!helps) continue;
    add(missing, candidate.units, -1);
    add(used->second, candidate.units, -1);
    victims.push_back(v);
  }
  if (std::ranges::any_of(missing, is_missing)) return std::nullopt;
  return victims;
}

void PlainPreemption::shift(Victim victim, int sign) {
  for (const Part& part : candidates_[victim].parts) {
    ledger_.shift(group_.agents, part.agent, part.amounts, part.devices, sign);
  }
}

void PlainPreemption::release_leaving() {
  for (Victim v = 0; v < candidates_.size(); ++v) {
    if (candidates_[v].leaving || candidates_[v].claimed) shift(v, -1);
  }
}

// How much of the deficit goes when the session leaves the agent, in millionths of each slot.
std::int64_t PlainPreemption::relief(const Candidate& candidate, AgentIndex agent,
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

std::optional<std::vector<PlainPreemption::Victim>> PlainPreemption::make_room(
    AgentIndex agent, const Requirement& requirement, std::uint32_t container_limit,
    std::span<const Victim> claimed) {
  const std::size_t before = ledger_.checkpoint();
  std::vector<Victim> left, victims;
  for (const Victim v : on_agent_[agent]) {
    if (candidates_[v].eligible && std::ranges::find(claimed, v) == claimed.end()) {
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
  std::ranges::sort(victims);
  return victims;
}

bool PlainPreemption::is_less(std::span<const Victim> a, std::span<const Victim> b) const {
  Int128 first = 0, second = 0;
  if (rules_.order == PreemptionRules::Order::FewestSessions) {
    first = a.size();
    second = b.size();
  } else if (rules_.order == PreemptionRules::Order::SmallestResources) {
    for (const Victim v : a) first += candidates_[v].weight;
    for (const Victim v : b) second += candidates_[v].weight;
  }
  first = std::min<Int128>(first, kMostWeight);
  second = std::min<Int128>(second, kMostWeight);
  if (first != second) return first < second;
  return std::ranges::lexicographical_compare(a, b);
}

std::optional<PlainPreemption::Choice> PlainPreemption::choose(const Requirement& requirement,
                                                               const AgentFilter& filter,
                                                               std::span<const Victim> claimed) {
  std::optional<Choice> best;
  for (const auto& [agent, victims] : on_agent_) {
    const AgentTable& agents = group_.agents;
    if (!agents.takes_sessions(agent) || agents.architecture(agent) != requirement.architecture ||
        !agents.labels_match(agent, requirement.labels) || filter.excludes(agent) ||
        requirement.containers > filter.container_limit ||
        std::ranges::binary_search(filter.barred, agent)) {
      continue;
    }
    auto made = make_room(agent, requirement, filter.container_limit, claimed);
    if (!made || made->empty()) continue;
    Choice choice{agent, std::move(*made)};
    if (!best || is_less(choice.victims, best->victims)) best = std::move(choice);
  }
  return best;
}

}  // namespace bai::sched

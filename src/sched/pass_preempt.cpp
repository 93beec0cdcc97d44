// Sessions that start where others are to leave.
#include <algorithm>
#include <functional>
#include <tuple>

#include "sched/pass.hpp"
#include "sched/victim_index_tree.hpp"

namespace bai::sched {

namespace {

// Back to where it was, however the scope is left: what victims hold belongs to the pass, and the
// ledger outlives it.
class Attempt {
 public:
  explicit Attempt(Ledger& ledger) : ledger_(ledger), before_(ledger.checkpoint()) {}
  ~Attempt() { ledger_.rollback(before_); }
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

 private:
  Ledger& ledger_;
  std::size_t before_;
};

// Where the rules look at how many or how much go, or quota is taken back: domains that are tried
// before the best of them is taken.
constexpr std::size_t kDomainsTried = 16;

// What a domain promises, the best first: no victims, then few kernels without room (where it
// matters what ends costs), then a first victim that is early in the order. Who goes there comes
// not before `first`. Among equals the domain with the least room, by name.
struct Chance {
  bool ends_some = false;
  std::uint64_t missing = 0;
  VictimKey first;
  std::uint64_t room = 0;
  std::size_t domain = 0;
  friend auto operator<=>(const Chance&, const Chance&) = default;
};

// Of one level, the best on top. `now`: nothing, where it is not known who would go first.
std::vector<Chance> chances(std::size_t domains, std::size_t level,
                            const std::optional<GangRooms>& now, const GangRooms& most,
                            bool by_cost) {
  std::vector<Chance> heap;
  for (std::size_t domain = 0; domain < domains; ++domain) {
    const GangRooms::Room& room = most.room(level, domain);
    if (room.missing > 0) continue;
    Chance& one = heap.emplace_back();
    one.room = room.total;
    one.domain = domain;
    const std::uint64_t missing = now ? now->room(level, domain).missing : 0;
    if (missing == 0) continue;
    one.ends_some = true;
    if (by_cost) one.missing = missing;
    one.first = most.first(level, domain);
  }
  std::ranges::make_heap(heap, std::greater<>());
  return heap;
}

}  // namespace

bool GroupPass::preempt(const Waiting& waiting, const CohortShare* reclaims) {
  const PendingSession& session = waiting.session;
  const Request& request = view_.request(session);
  if (reclaims == nullptr && !policies_.preemption.enabled) return false;
  if (session.type == SessionType::System || request.mixed_architectures) return false;
  if (waiting.topology != 0 && request.requirements.size() > 1 && !demanded_level(waiting)) {
    return false;
  }
  const bool was_preempted = session.details != nullptr && session.details->was_preempted;
  const bool in_reservation = own_reservation(session) != nullptr;
  // These end nobody by priority, but take back what is theirs.
  const bool by_priority = !was_preempted && !in_reservation;
  if (!by_priority && reclaims == nullptr) return false;
  const Unhelped asked{session.request,
                       session.owner,
                       session.job_priority,
                       waiting.topology,
                       reclaims != nullptr,
                       by_priority,
                       future_.has_promises() ? session.estimate.ns : 0};
  if (unhelped_.contains(asked)) return false;
  auto evicting = make_room(waiting, reclaims, by_priority);
  if (!evicting) {
    // Where each has a promise of its own, what is barred differs.
    const bool is_alike = !promised_ && !in_reservation && !filter_of(waiting).may_exclude();
    if (is_alike) unhelped_.insert(asked);
    return false;
  }
  // What the victims hold stays theirs until they have left: the agents hold more than they have,
  // and nobody else finds room there.
  const std::size_t first = ledger_.checkpoint();
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    ledger_.shift(group_.agents, evicting->agents[i], request.requirements[i], evicting->devices[i],
                  1);
    took(waiting, request.requirements[i], evicting->agents[i]);
    count_choice(evicting->devices[i]);
  }
  preemption_->claim(evicting->victims);
  count_members(evicting->agents, neighbours_of(waiting), 1);
  ledger_.hold(session);
  accept(waiting, request, evicting->agents, first);
  for (const Preemption::Victim victim : evicting->victims) {
    result_.placements.back().victims.push_back(preemption_->id(victim));
  }
  return true;
}

std::optional<GroupPass::Evicting> GroupPass::make_room(const Waiting& waiting,
                                                        const CohortShare* reclaims,
                                                        bool by_priority) {
  const PendingSession& session = waiting.session;
  if (reclaims == nullptr) {
    const Victims* victims = source_.mirror.tenancy().victims(group_.name);
    if (victims == nullptr || victims->by_priority.begin()->first >= session.job_priority) {
      return std::nullopt;
    }
  }
  if (!preemption_) preemption_.emplace(source_, group_, ledger_, policies_.preemption);
  AgentFilter filter = filter_of(waiting);
  Timestamp due;
  const bool anybody = preemption_->consider(session, filter, reclaims, by_priority, due);
  steps_ += preemption_->take_steps();
  if (due != Timestamp{}) wake(due);
  if (!anybody) return std::nullopt;
  future_.foresee(session.estimate);
  const Attempt attempt(ledger_);
  preemption_->release_leaving();
  std::vector<Preemption::Victim> returned;
  if (reclaims != nullptr) {
    auto victims = preemption_->cover_quota(session, *reclaims);
    if (!victims) return std::nullopt;
    returned = std::move(*victims);
    for (const Preemption::Victim victim : returned) preemption_->shift(victim, -1);
  }
  const bool is_gang = view_.request(session).requirements.size() > 1;
  std::optional<Evicting> anywhere;
  if (!demanded_level(waiting) || !is_gang) {
    anywhere = make_room_within(waiting, reclaims, filter, returned);
    // Whoever leaves already makes the room: it is waited for.
    if (anywhere && anywhere->victims.empty()) return std::nullopt;
  }
  if (policies_.topology.empty() || !is_gang) return anywhere;
  auto close = make_room_close(waiting, reclaims, filter, returned);
  if (close && close->victims.empty()) return std::nullopt;
  return close ? std::move(close) : std::move(anywhere);
}

// What there is in domains when all are ended who may be, as far as amounts go. `is_bounded`: it is
// known who would go first in each.
GangRooms GroupPass::rooms_at_most(const Waiting& waiting, const AgentFilter& filter,
                                   const std::vector<Preemption::Victim>& claimed,
                                   std::size_t levels, bool& is_bounded) {
  std::vector<AgentIndex> named;
  is_bounded = true;
  for (const Requirement& requirement : view_.request(waiting.session).requirements) {
    const auto only = only_on(waiting, requirement, filter);
    if (!only) break;
    is_bounded = false;
    named.insert(named.end(), only->begin(), only->end());
  }
  if (is_bounded) {
    const KnownRooms known = rooms_where_they_leave(waiting, filter, claimed);
    return rooms_for(waiting, filter, levels, true, known);
  }
  const Attempt attempt(ledger_);
  preemption_->release_eligible_on(named, claimed);
  return rooms_for(waiting, filter, levels);
}

// The same on the agents of those who leave for the quota, whom the bounds would count twice: what
// they hold is free already.
GroupPass::KnownRooms GroupPass::rooms_where_they_leave(
    const Waiting& waiting, const AgentFilter& filter,
    const std::vector<Preemption::Victim>& claimed) {
  std::vector<AgentIndex> where;
  for (const Preemption::Victim victim : claimed) {
    const auto agents = preemption_->agents(victim);
    where.insert(where.end(), agents.begin(), agents.end());
  }
  std::ranges::sort(where);
  where.erase(std::ranges::unique(where).begin(), where.end());
  KnownRooms rooms;
  if (where.empty()) return rooms;
  const Attempt attempt(ledger_);
  preemption_->release_eligible_on(where, claimed);
  for (const Requirement& requirement : view_.request(waiting.session).requirements) {
    const auto [it, is_new] = rooms.try_emplace(requirement.id);
    if (!is_new) continue;
    prepare(requirement);
    for (const AgentIndex agent : where) {
      it->second.emplace_back(agent,
                              copies_on(group_.agents, agent, requirement, filter.container_limit));
    }
    steps_ += where.size();
  }
  return rooms;
}

// In the smallest domains that do; of those, where the least has to go.
std::optional<GroupPass::Evicting> GroupPass::make_room_close(
    const Waiting& waiting, const CohortShare* reclaims, AgentFilter& filter,
    const std::vector<Preemption::Victim>& claimed) {
  memory_.topology.follow(group_.agents, policies_.topology);
  const std::size_t levels = demanded_level(waiting).value_or(policies_.topology.size() - 1) + 1;
  bool is_bounded = false;
  const GangRooms most = rooms_at_most(waiting, filter, claimed, levels, is_bounded);
  std::optional<GangRooms> now;
  if (is_bounded) now.emplace(rooms_for(waiting, filter, levels));
  const bool by_cost = counts_cost(policies_.preemption);
  // Where quota is taken back somebody elsewhere who comes before all in the domain may have to go,
  // or need not: who goes first in it is no bound.
  const bool is_certain = !by_cost && reclaims == nullptr;
  std::optional<Evicting> best;
  for (std::size_t level = 0; level < levels && !best; ++level) {
    const auto domains = memory_.topology.domains(level);
    auto heap = chances(domains.size(), level, now, most, by_cost);
    Chance best_of;
    for (std::size_t found = 0; !heap.empty() && !(best && best->victims.empty());) {
      std::ranges::pop_heap(heap, std::greater<>());
      const Chance one = heap.back();
      heap.pop_back();
      const bool may_be_free = !one.ends_some && claimed.empty();
      if (best && now && !may_be_free &&
          (is_certain ? preemption_->key(best->victims.front()) < one.first
                      : found >= kDomainsTried)) {
        break;
      }
      domain_ = &domains[one.domain].agents;
      filter.is_domain = true;
      auto made = make_room_within(waiting, reclaims, filter, claimed);
      if (!made) continue;
      ++found;
      const bool is_less = !best || preemption_->is_less(made->victims, best->victims);
      if (is_less || (!preemption_->is_less(best->victims, made->victims) &&
                      std::tie(one.room, one.domain) < std::tie(best_of.room, best_of.domain))) {
        best = std::move(made);
        best_of = one;
      }
    }
  }
  domain_ = nullptr;
  filter.is_domain = false;
  return best;
}

// All kernels, within the domain that is being tried. `claimed`: who leaves anyway.
std::optional<GroupPass::Evicting> GroupPass::make_room_within(
    const Waiting& waiting, const CohortShare* reclaims, AgentFilter& filter,
    const std::vector<Preemption::Victim>& claimed) {
  const Attempt attempt(ledger_);
  const Choices choices = choices_;
  const auto& requirements = view_.request(waiting.session).requirements;
  Neighbours* neighbours = neighbours_of(waiting);
  Evicting evicting;
  evicting.victims = claimed;
  for (const Requirement& requirement : requirements) {
    const auto agent = find_room(waiting.session, requirement, filter, evicting.victims);
    if (!agent) break;
    evicting.agents.push_back(*agent);
    evicting.devices.push_back(ledger_.last_devices());
    // As in place_kernels: the next kernel sees what this one took.
    took(waiting, requirement, *agent);
    if (std::ranges::count(evicting.agents, *agent) == 1) count_members({*agent}, neighbours, 1);
  }
  gave_back(waiting, evicting.agents, neighbours);
  choices_ = choices;  // they are made when it is clear that they stand
  if (evicting.agents.size() < requirements.size()) return std::nullopt;
  drop_unneeded(waiting, reclaims, filter, evicting);
  return evicting;
}

// Takes the amounts on an agent that has them, or has them when more are gone.
std::optional<AgentIndex> GroupPass::find_room(const PendingSession& session,
                                               const Requirement& requirement, AgentFilter& filter,
                                               std::vector<Preemption::Victim>& victims) {
  std::size_t candidates = 0;
  if (const auto agent = place_one(session, requirement, filter, candidates)) return agent;
  if (candidates > 0) return std::nullopt;  // the selector has left it waiting
  const auto choice = preemption_->choose(requirement, filter, victims);
  steps_ += preemption_->take_steps();
  if (!choice) return std::nullopt;
  for (const Preemption::Victim victim : choice->victims) {
    preemption_->shift(victim, -1);
    victims.push_back(victim);
  }
  if (!take_on(session, requirement, choice->agent, filter.container_limit)) return std::nullopt;
  count_choice(ledger_.last_devices());
  return choice->agent;
}

bool GroupPass::take_on(const PendingSession& session, const Requirement& requirement,
                        AgentIndex agent, std::uint32_t container_limit) {
  Demand demand{session, requirement, choices_.picks, choices_.fractions};
  demand.rater = memory_.scores.rater();
  return ledger_.take(group_.agents, agent, requirement, container_limit,
                      [&](SlotIndex slot, std::int64_t units, std::span<const std::int64_t> free) {
                        return policies_.selector->device(view_, demand, agent, slot, units, free);
                      });
}

// Who was taken for one kernel may not be needed any more for what another one's victims left.
void GroupPass::drop_unneeded(const Waiting& waiting, const CohortShare* reclaims,
                              const AgentFilter& filter, Evicting& evicting) {
  const Request& request = view_.request(waiting.session);
  const auto has_room = [&] {
    for (std::size_t i = 0; i < request.requirements.size(); ++i) {
      const AgentIndex agent = evicting.agents[i];
      if (group_.agents.containers(agent) > filter.container_limit) return false;
      for (const SlotRequest& r : request.requirements[i].slots) {
        if (r.units == 0) continue;
        if (group_.agents.free(agent, r.slot) < 0) return false;
        const DeviceSet* set = group_.agents.devices(agent, r.slot);
        if (set != nullptr && std::ranges::any_of(set->free, [](auto f) { return f < 0; })) {
          return false;
        }
      }
    }
    return true;
  };
  auto& victims = evicting.victims;
  preemption_->sort(victims);
  for (std::size_t i = victims.size(); i-- > 0;) {
    if (reclaims != nullptr &&
        !preemption_->quota_allows(waiting.session, *reclaims, victims, victims[i])) {
      continue;
    }
    preemption_->shift(victims[i], 1);
    if (has_room()) {
      victims.erase(victims.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      preemption_->shift(victims[i], -1);
    }
  }
}

}  // namespace bai::sched

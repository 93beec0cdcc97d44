// Sessions that start where others are to leave.
#include <algorithm>

#include "sched/pass.hpp"

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

}  // namespace

bool GroupPass::preempt(const Waiting& waiting, const CohortShare* reclaims) {
  const PendingSession& session = waiting.session;
  if (reclaims == nullptr && !policies_.preemption.enabled) return false;
  if (session.type == SessionType::System || view_.request(session).mixed_architectures) {
    return false;
  }
  const bool was_preempted = session.details != nullptr && session.details->was_preempted;
  const bool in_reservation = session.details != nullptr && !session.details->reservation.empty();
  if ((was_preempted && reclaims == nullptr) || in_reservation) return false;
  const std::tuple asked(session.request, session.owner, session.job_priority, reclaims != nullptr);
  if (unhelped_.contains(asked)) return false;
  auto evicting = make_room(waiting, reclaims);
  if (!evicting) {
    if (!filter_of(waiting).may_exclude()) unhelped_.insert(asked);
    return false;
  }
  // What the victims hold stays theirs until they have left: the agents hold more than they have,
  // and nobody else finds room there.
  const Request& request = view_.request(session);
  const std::size_t first = ledger_.checkpoint();
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    ledger_.shift(group_.agents, evicting->agents[i], request.requirements[i], evicting->devices[i],
                  1);
    took(waiting, request.requirements[i], evicting->agents[i]);
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
                                                        const CohortShare* reclaims) {
  const PendingSession& session = waiting.session;
  if (!preemption_) preemption_.emplace(source_, group_, ledger_, policies_.preemption);
  steps_ += preemption_->size();
  Timestamp due;
  const bool anybody = preemption_->consider(session, reclaims, due);
  if (due != Timestamp{}) wake(due);
  if (!anybody) return std::nullopt;
  const Attempt attempt(ledger_);
  preemption_->release_leaving();
  Evicting evicting;
  if (reclaims != nullptr) {
    auto victims = preemption_->cover_quota(session, *reclaims);
    if (!victims) return std::nullopt;
    evicting.victims = std::move(*victims);
    for (const Preemption::Victim victim : evicting.victims) preemption_->shift(victim, -1);
  }
  AgentFilter filter = filter_of(waiting);
  for (const Requirement& requirement : view_.request(session).requirements) {
    std::size_t candidates = 0;
    auto agent = place_one(session, requirement, filter, candidates);
    if (!agent) {
      if (candidates > 0) return std::nullopt;  // the selector has left it waiting
      auto choice = preemption_->choose(requirement, filter, evicting.victims);
      steps_ += preemption_->size();
      if (!choice) return std::nullopt;
      for (const Preemption::Victim victim : choice->victims) {
        preemption_->shift(victim, -1);
        evicting.victims.push_back(victim);
      }
      if (!take_on(session, requirement, choice->agent, filter.container_limit)) {
        return std::nullopt;
      }
      agent = choice->agent;
    }
    evicting.agents.push_back(*agent);
    evicting.devices.push_back(ledger_.last_devices());
  }
  drop_unneeded(waiting, reclaims, filter, evicting);
  // Whoever leaves already makes the room: it is waited for.
  if (evicting.victims.empty()) return std::nullopt;
  return evicting;
}

bool GroupPass::take_on(const PendingSession& session, const Requirement& requirement,
                        AgentIndex agent, std::uint32_t container_limit) {
  Demand demand{session, requirement, group_.agents.containers_total() + picks_,
                group_.agents.fractions_total() + fractions_};
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
  std::ranges::sort(victims);
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

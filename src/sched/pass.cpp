#include "sched/pass.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "sched/policies/policies.hpp"

namespace bai::sched {

GroupPass::GroupPass(const ViewSource& source, Group& group, Ledger& ledger,
                     const PolicySet& policies, GroupMemory& memory, const PlanLimits& limits,
                     std::uint32_t placements_left, std::vector<std::uint64_t>& stamps,
                     std::uint64_t stamp)
    : source_(source),
      view_(source),
      group_(group),
      ledger_(ledger),
      policies_(policies),
      memory_(memory),
      limits_(limits),
      placements_left_(placements_left),
      stamps_(stamps),
      stamp_(stamp),
      reserved_(source.mirror, group, source.now, memory.reserved, policies.container_limit),
      future_(source.mirror, group, source.now, memory.start_times, reserved_.kept(),
              policies.container_limit),
      looks_ahead_(group.row->queue_discipline == QueueDiscipline::Easy ||
                   group.row->queue_discipline == QueueDiscipline::Conservative),
      has_future_(looks_ahead_ || reserved_.any()),
      choices_(memory.choices) {
  memory_.domain_starts.begin_pass();
  memory_.surveys.begin_pass();
  memory_.coarse.begin_pass(group.agents);
  if (const auto edge = reserved_.next_edge()) wake(*edge);
}

PassResult GroupPass::run() {
  lay_promises();
  resume();
  try {
    walk();
    if (end_ == End::Blocked) walk_beside();
  } catch (...) {  // a policy has failed: what was promised before stands
    if (lifted_) promised_->started(std::move(*lifted_));
    if (promised_) promised_->remember(false);
    throw;
  }
  if (promised_) promised_->remember(is_whole());
  forecast();
  keep_timetable();
  remember_where();
  tell_rest();
  memory_.choices = choices_;
  return std::move(result_);
}

void GroupPass::walk() {
  ordering_ = policies_.sequencer->start(view_);
  if (ordering_ == nullptr) throw PolicyFault("its sequencer made no order");
  while (const auto at = ordering_->next()) {
    if (reordered_ && stamps_[*at] == stamp_) continue;
    if (resumed_ && stamps_[*at] == stamp_) {
      skip_seen(*at);
      continue;
    }
    draw(*at);
    if (end_ == End::Blocked) {
      if (!limits_.explain || position_ >= limits_.positions_max) {
        undraw(*at);
        break;
      }
      if (group_.in_reservations.contains(*at) || (promised_ && promised_->has(*at))) {
        undraw(*at);  // its turn comes
        continue;
      }
      ++position_;
      tell_behind(*at);
      continue;
    }
    if (placements_left_ == 0) end_ = End::PlacementsFull;
    if (is_tired()) end_ = End::StepsFull;
    if (end_ != End::Drawn) {
      undraw(*at);
      break;
    }
    ++steps_;
    if (attempt(*at)) {
      ordering_->placed(*at);
    } else {
      reorder_behind_promise();
    }
  }
}

void GroupPass::reorder_behind_promise() {
  if (promises_ == 1 && !reordered_ && policies_.shortest_backfill &&
      group_.row->queue_discipline == QueueDiscipline::Easy) {
    reordered_ = true;
    ordering_ = view_.queue(QueueOrder::ShortestFirst);
  }
}

std::vector<PendingIndex> GroupPass::beside() const {
  std::vector<PendingIndex> beside(group_.in_reservations.begin(), group_.in_reservations.end());
  std::erase_if(beside, [&](PendingIndex at) { return stamps_[at] == stamp_; });
  std::ranges::sort(beside, {}, [&](PendingIndex at) {
    const PendingSession& session = view_.session(at);
    return std::tuple(-std::int64_t{session.priority}, session.created_at, session.id);
  });
  if (promised_) {
    for (const PendingIndex at : promised_->undrawn()) {
      if (stamps_[at] != stamp_) beside.push_back(at);
    }
  }
  return beside;
}

void GroupPass::walk_beside() {
  for (const PendingIndex at : beside()) {
    left_beside_ = is_tired();
    if (placements_left_ == 0 || left_beside_) return;
    draw(at);
    ++steps_;
    attempt(at);
  }
}

void GroupPass::draw(PendingIndex at) {
  const bool known = at < source_.mirror.waiting_places();
  if (!known || !source_.mirror.waiting(at).queued ||
      &source_.mirror.group(source_.mirror.waiting(at).group) != &group_) {
    throw PolicyFault(fmt::format("its sequencer drew {}, which is no session of the queue", at));
  }
  if (stamps_[at] == stamp_) {
    throw PolicyFault(
        fmt::format("its sequencer drew session {} twice", to_string(view_.session(at).id)));
  }
  stamps_[at] = stamp_;
  walked_.push_back({at, source_.mirror.waiting(at).generation});
}

void GroupPass::undraw(PendingIndex at) {
  stamps_[at] = 0;
  walked_.pop_back();
}

bool GroupPass::attempt(PendingIndex at) {
  const Waiting& waiting = source_.mirror.waiting(at);
  ++position_;
  ++attempts_;
  bool made_room = false;
  if (refused(at, waiting, made_room)) {
    drop_promise(at);
    return false;
  }
  if (!made_room && !place_or_promise(at, waiting)) return false;
  --position_;
  --placements_left_;
  walked_.pop_back();
  result_.placed.push_back(at);
  return true;
}

void GroupPass::wake(Timestamp at) {
  if (at <= source_.now) return;
  if (!result_.wake_at || at < *result_.wake_at) result_.wake_at = at;
}

bool GroupPass::refused(PendingIndex at, const Waiting& waiting, bool& made_room) {
  std::vector<Refusal> refusals;
  if (waiting.details) {
    const PendingDetails& details = *waiting.details;
    const std::string& policy = details.agent_selection_policy;
    if (!policy.empty() && policy != "strict" && policy != "preferred") {
      tell(at, "never",
           fmt::format("Can never start: its resource option agent_selection_policy is {}; right "
                       "would be \"strict\" or \"preferred\".",
                       policy),
           "agent_selection_policy");
      return true;
    }
    if (details.retry_at > source_.now) {
      wake(details.retry_at);
      refusals.push_back(
          {"start-time", "",
           fmt::format("The last attempt to start it failed; the next one is not before {}.",
                       to_iso8601(details.retry_at)),
           false, details.retry_at});
      tell_refused(at, waiting, refusals);
      return true;
    }
  }
  for (const auto& validator : policies_.validators) {
    validator->check(view_, waiting.session, refusals);
  }
  if (own_reservation(waiting.session) != nullptr) {
    if (auto refusal = reserved_.check(waiting.session, view_.request(waiting.session))) {
      refusals.push_back(std::move(*refusal));
    }
  }
  if (refusals.empty()) return false;
  if (std::ranges::all_of(refusals, [](const Refusal& r) { return r.code == kReclaim; })) {
    const auto cohort = view_.cohort(waiting.session);
    made_room = cohort && preempt(waiting, &*cohort);
    if (made_room) return false;
  }
  for (const Refusal& refusal : refusals) {
    if (refusal.due > source_.now) wake(refusal.due);
  }
  tell_refused(at, waiting, refusals);
  return true;
}

Neighbours* GroupPass::neighbours_of(const Waiting& waiting) {
  if (!waiting.details || waiting.details->session_group.empty()) return nullptr;
  const std::string& id = waiting.details->session_group;
  const auto [it, is_new] = neighbours_.try_emplace(id);
  if (!is_new) return it->second.get();
  const Tenancy& tenancy = source_.mirror.tenancy();
  const SessionGroup* row = tenancy.session_group(id);
  if (row == nullptr || row->direction == PlacementDirection::None) return nullptr;
  it->second = std::make_unique<Neighbours>(
      Neighbours{id, row->direction, row->enforcement == PlacementEnforcement::Strict, {}});
  if (const Members* members = tenancy.members(id)) {
    for (const auto& [agent, sessions] : *members) {
      if (const auto at = group_.agents.find(agent)) {
        it->second->members.emplace_back(*at, sessions);
      }
    }
    std::ranges::sort(it->second->members);
  }
  return it->second.get();
}

// A session counts once on each of its agents.
void GroupPass::count_members(const std::vector<AgentIndex>& agents, Neighbours* neighbours,
                              int sign) {
  if (neighbours == nullptr) return;
  for (std::size_t i = 0; i < agents.size(); ++i) {
    const auto before = agents.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::find(agents.begin(), before, agents[i]) == before) {
      neighbours->count(agents[i], sign);
    }
  }
}

AgentFilter GroupPass::filter_of(const Waiting& waiting) {
  AgentFilter filter;
  filter.container_limit = policies_.container_limit;
  if (!waiting.details) return filter;
  filter.neighbours = neighbours_of(waiting);
  const PendingDetails& details = *waiting.details;
  const auto resolve = [&](const std::vector<AgentId>& ids, std::vector<AgentIndex>& out) {
    for (const AgentId& id : ids) {
      if (const auto agent = group_.agents.find(id)) out.push_back(*agent);
    }
    std::ranges::sort(out);
    out.erase(std::ranges::unique(out).begin(), out.end());
  };
  resolve(details.designated_agents, filter.designated);
  resolve(details.failed_agents, filter.failed);
  const bool strict = details.agent_selection_policy.empty()
                          ? policies_.strict_designation
                          : details.agent_selection_policy == "strict";
  filter.strict = strict && !details.designated_agents.empty();
  if (!details.preferred_labels.empty()) filter.preferred_labels = &details.preferred_labels;
  return filter;
}

std::optional<AgentIndex> GroupPass::place_one(const PendingSession& session,
                                               const Requirement& requirement, AgentFilter& filter,
                                               std::size_t& candidates) {
  group_.agents.prepare_rule(requirement.labels, source_.mirror.label_rule(requirement.labels));
  filter.barred.clear();
  filter.within = domain_;
  if (const std::string* own = own_reservation(session)) {
    find_reserved(*own, session, requirement);
    if (domain_ != nullptr) {
      std::erase_if(within_,
                    [&](AgentIndex a) { return !std::ranges::binary_search(*domain_, a); });
    }
    filter.within = &within_;
  } else if (future_.has_promises()) {
    future_.barred(requirement, session.estimate, filter.barred);
  }
  AgentSearch search(group_.agents, requirement, filter, buffer_, memory_.scores, &group_.index,
                     &memory_.fits, &source_.mirror.label_rule(requirement.labels));
  Demand demand{session, requirement, choices_.picks, choices_.fractions};
  const std::uint64_t looked_at = group_.index.looked_at() + memory_.scores.looked_at();
  // Who rates agents finds out by itself that there are none.
  const bool is_empty = !policies_.rates_agents && search.empty();
  const auto chosen =
      is_empty ? std::nullopt : policies_.selector->select(view_, demand, Candidates(search));
  steps_ += search.looked_at() + group_.index.looked_at() + memory_.scores.looked_at() - looked_at;
  if (!chosen) {
    if (!is_empty && !policies_.rates_agents) candidates = search.list().size();
    return std::nullopt;
  }
  demand.rater = memory_.scores.rater();
  const auto pick = [&](SlotIndex slot, std::int64_t units, std::span<const std::int64_t> free) {
    return policies_.selector->device(view_, demand, *chosen, slot, units, free);
  };
  if (!search.contains(*chosen) ||
      !ledger_.take(group_.agents, *chosen, requirement, filter.container_limit, pick)) {
    throw PolicyFault(
        fmt::format("its selector chose agent {} for session {}, which is no candidate", *chosen,
                    to_string(session.id)));
  }
  count_choice(ledger_.last_devices());
  return chosen;
}

// Into `within_`: where the session's reservation has enough left. Beyond the places for containers
// that it keeps there are only those that nobody else is promised.
void GroupPass::find_reserved(const std::string& own, const PendingSession& session,
                              const Requirement& requirement) {
  reserved_.candidates(own, requirement, within_);
  if (policies_.container_limit == kNoContainerLimit) return;
  std::erase_if(within_, [&](AgentIndex agent) {
    const std::int64_t beyond = reserved_.places_beyond(own, agent, requirement);
    return beyond > 0 &&
           group_.agents.containers(agent) + requirement.containers <= policies_.container_limit &&
           !future_.has_places(agent, beyond, session.estimate);
  });
}

void GroupPass::count_choice(const std::vector<DeviceGrant>& devices) {
  ++choices_.picks;
  const auto is_part = [](const DeviceGrant& g) { return g.units % kUnitsPerDevice != 0; };
  if (std::ranges::any_of(devices, is_part)) ++choices_.fractions;
}

bool GroupPass::place(PendingIndex at, const Waiting& waiting) {
  const Request& request = view_.request(waiting.session);
  if (request.mixed_architectures) {
    tell(at, "never",
         "Can never start: the kernels of a single-node session must be of one architecture.",
         "architecture");
    return false;
  }
  AgentFilter filter = filter_of(waiting);
  Neighbours* neighbours = neighbours_of(waiting);
  if (waiting.topology != 0 && request.requirements.size() > 1 && !demanded_level(waiting)) {
    tell(at, "never",
         fmt::format("Can never start: its resource option topology is {}, which is no level of "
                     "resource group {}.",
                     source_.mirror.topology_name(waiting.topology), group_.name.str()),
         "topology");
    return false;
  }
  const bool is_alike = !filter.may_exclude() && own_reservation(waiting.session) == nullptr;
  const std::uint64_t key = std::uint64_t{waiting.topology} << 32 | waiting.session.request;
  if (is_alike) {
    if (const auto known = failures_.find(key); known != failures_.end()) {
      if (redeem(at, waiting, filter, neighbours)) return true;
      const std::shared_ptr<Failure>& failure = known->second;
      // Before it is promised anything: its own promise would stand in its way.
      if (failure->blocks && preempt(waiting, nullptr)) return true;
      if (may_narrow() && waiting.topology == 0) {
        ordering_->narrow(waiting.session.request, Duration{-1});
      }
      if (const auto start = promised_ ? promise(at, waiting, filter) : std::nullopt) {
        auto own = std::make_shared<Failure>(*failure);
        own->expected_start = Timestamp{start->at};
        give_up(at, own);
      } else {
        give_up(at, failure);
      }
      return false;
    }
  }
  Miss miss;
  if (place_close(waiting, filter, neighbours, miss)) return true;
  if (miss.failure == nullptr && place_kernels(waiting, filter, neighbours, &miss)) return true;
  // Where agents were found the selector wants the session to wait.
  if (miss.candidates == 0 && redeem(at, waiting, filter, neighbours)) return true;
  // Nothing is given back during a pass: who asks for the same fails the same way.
  if (is_alike && miss.candidates == 0 && !miss.barred &&
      (waiting.topology == 0 || !future_.has_promises())) {
    failures_.emplace(key, miss.failure);
  }
  if ((miss.failure->blocks || miss.barred) && preempt(waiting, nullptr)) return true;
  after_failure(at, waiting, filter, std::move(miss));
  return false;
}

// All of them or none. `miss`: what stands against it, where somebody wants to know.
bool GroupPass::place_kernels(const Waiting& waiting, AgentFilter& filter, Neighbours* neighbours,
                              Miss* miss) {
  const Request& request = view_.request(waiting.session);
  const std::size_t before = ledger_.checkpoint();
  const Choices choices = choices_;
  std::vector<AgentIndex> agents;
  for (const Requirement& requirement : request.requirements) {
    std::size_t candidates = 0;
    const auto agent = place_one(waiting.session, requirement, filter, candidates);
    if (!agent) {
      if (miss != nullptr) {
        miss->candidates = candidates;
        miss->barred = is_barred(requirement, filter);
        miss->failure =
            failure_of(waiting.session, agents.size(), filter, candidates, miss->barred);
      }
      ledger_.rollback(before);
      gave_back(waiting, agents, neighbours);
      choices_ = choices;
      return false;
    }
    agents.push_back(*agent);
    // At once: the session's other kernels must not use up what this one leaves for promises.
    took(waiting, requirement, *agent);
    if (std::ranges::count(agents, *agent) == 1) count_members({*agent}, neighbours, 1);
  }
  ledger_.hold(waiting.session);
  accept(waiting, request, agents, before);
  return true;
}

// Whether there is room that is promised to somebody else.
bool GroupPass::is_barred(const Requirement& requirement, AgentFilter& filter) {
  if (filter.barred.empty()) return false;
  auto barred = std::exchange(filter.barred, {});
  AgentSearch search(group_.agents, requirement, filter, buffer_, memory_.scores, &group_.index,
                     &memory_.fits, &source_.mirror.label_rule(requirement.labels));
  const bool has_room = !search.empty();
  filter.barred = std::move(barred);
  return has_room;
}

void GroupPass::took(const Waiting& waiting, const Requirement& requirement, AgentIndex agent) {
  if (const std::string* own = own_reservation(waiting.session)) {
    const std::int64_t beyond = reserved_.take(*own, agent, requirement, 1);
    future_.placed_in_kept(agent, requirement, beyond, reserved_.end_of(*own), 1);
  } else if (has_future_) {
    future_.placed(agent, requirement, waiting.session.estimate);
  }
}

void GroupPass::gave_back(const Waiting& waiting, const Requirement& requirement,
                          AgentIndex agent) {
  if (const std::string* own = own_reservation(waiting.session)) {
    const std::int64_t beyond = reserved_.take(*own, agent, requirement, -1);
    future_.placed_in_kept(agent, requirement, beyond, reserved_.end_of(*own), -1);
  } else if (has_future_) {
    future_.withdrawn(agent, requirement, waiting.session.estimate);
  }
}

void GroupPass::gave_back(const Waiting& waiting, const std::vector<AgentIndex>& agents,
                          Neighbours* neighbours) {
  const auto& requirements = view_.request(waiting.session).requirements;
  for (std::size_t i = 0; i < agents.size(); ++i) gave_back(waiting, requirements[i], agents[i]);
  count_members(agents, neighbours, -1);
}

// Whether a reason may look at all agents for the amounts that are missing.
bool GroupPass::may_survey() {
  if (!limits_.explain || position_ > limits_.positions_max) return false;
  if (asked_ == kNone && surveyed_ >= limits_.surveyed_max) return false;
  surveyed_ += group_.agents.size();
  return true;
}

std::shared_ptr<Failure> GroupPass::failure_of(const PendingSession& session, std::size_t which,
                                               const AgentFilter& filter, std::size_t candidates,
                                               bool barred) {
  const Request& request = view_.request(session);
  for (const Requirement& requirement : request.requirements) prepare(requirement);
  const bool in_full = may_survey();
  steps_ += in_full || filter.may_exclude() ? group_.agents.size() : group_.agents.size() / 16;
  if (candidates > 0) {
    return std::make_shared<Failure>(
        explain_selector_refusal(source_, request, which, filter, candidates, memory_.surveys));
  }
  if (const std::string* own = own_reservation(session)) {
    return std::make_shared<Failure>(explain_used_up(source_, request, which, filter, *own));
  }
  if (barred) {
    return std::make_shared<Failure>(
        promises_ == 0 && !(promised_ && promised_->size() > 0)
            ? explain_reserved(source_, request, which, filter, memory_.surveys)
            : explain_backfill(source_, request, which, filter, in_full, memory_.surveys));
  }
  if (limits_.explain && !in_full) {
    return std::make_shared<Failure>(
        explain_coarsely(source_, request, which, filter, memory_.coarse, memory_.surveys));
  }
  return std::make_shared<Failure>(
      limits_.explain ? explain_failure(source_, request, which, filter, memory_.surveys)
                      : classify_failure(source_, request, which, filter));
}

void GroupPass::accept(const Waiting& waiting, const Request& request,
                       const std::vector<AgentIndex>& agents, std::size_t first_entry) {
  placed_.push_back({&waiting, agents});
  Placement& placement = result_.placements.emplace_back();
  placement.session = waiting.session.id;
  for (std::size_t i = 0; i < waiting.kernels.size(); ++i) {
    const AgentIndex agent = agents[agents.size() == 1 ? 0 : i];
    placement.kernels.emplace_back(waiting.kernels[i].id, group_.agents.id(agent));
  }
  if (!group_.agents.has_devices()) return;
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    for (const DeviceGrant& grant : ledger_.devices(first_entry + i)) {
      const std::size_t kernel = request.requirements.size() == 1 ? grant.part : i;
      placement.devices.push_back({waiting.kernels[kernel].id, view_.slot_name(grant.slot),
                                   grant.device, Amount{grant.units}});
    }
  }
}

}  // namespace bai::sched

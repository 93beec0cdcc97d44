#include "sched/pass.hpp"

#include <fmt/format.h>

#include <algorithm>

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
      stamp_(stamp) {}

PassResult GroupPass::run() {
  walk();
  tell_rest();
  return std::move(result_);
}

void GroupPass::walk() {
  const auto ordering = policies_.sequencer->start(view_);
  if (ordering == nullptr) throw PolicyFault("its sequencer made no order");
  while (const auto at = ordering->next()) {
    draw(*at);
    if (end_ == End::Blocked) {
      if (position_ >= limits_.positions_max) {
        undraw(*at);
        break;
      }
      ++position_;
      tell(*at, "behind-head",
           fmt::format("Not attempted: the queue of resource group {} is held up by a session "
                       "before it that waits for room.",
                       group_.name.str()),
           {});
      continue;
    }
    if (placements_left_ == 0) end_ = End::PlacementsFull;
    if (steps_ >= limits_.steps_max) end_ = End::StepsFull;
    if (end_ != End::Drawn) {
      undraw(*at);
      break;
    }
    ++steps_;
    if (attempt(*at)) {
      ordering->placed(*at);
    }
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
  if (refused(at, waiting)) return false;
  if (!place(at, waiting)) return false;
  --position_;
  --placements_left_;
  walked_.pop_back();
  return true;
}

void GroupPass::wake(Timestamp at) {
  if (at <= source_.now) return;
  if (!result_.wake_at || at < *result_.wake_at) result_.wake_at = at;
}

bool GroupPass::refused(PendingIndex at, const Waiting& waiting) {
  if (waiting.details) {
    const PendingDetails& details = *waiting.details;
    const std::string& policy = details.agent_selection_policy;
    if (!policy.empty() && policy != "strict" && policy != "preferred") {
      tell(at, "never",
           fmt::format("Can never start: its resource option agent_selection_policy is {}; right "
                       "would be \"strict\" or \"preferred\".",
                       policy),
           {});
      return true;
    }
    if (details.retry_at > source_.now) {
      wake(details.retry_at);
      tell(at, "start-time",
           fmt::format("The last attempt to start it failed; the next one is not before {}.",
                       to_iso8601(details.retry_at)),
           {});
      return true;
    }
  }
  std::vector<Refusal> refusals;
  for (const auto& validator : policies_.validators) {
    validator->check(view_, waiting.session, refusals);
  }
  if (refusals.empty()) return false;
  std::string code = refusals.front().code, message;
  for (const Refusal& refusal : refusals) {
    if (refusal.due > source_.now) wake(refusal.due);
    if (refusal.never) code = "never";
    if (!message.empty()) message += '\n';
    message += refusal.message;
  }
  tell(at, std::move(code), std::move(message), {});
  return true;
}

AgentFilter GroupPass::filter_of(const Waiting& waiting) const {
  AgentFilter filter;
  filter.container_limit = policies_.container_limit;
  if (!waiting.details) return filter;
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
  return filter;
}

std::optional<AgentIndex> GroupPass::place_one(const PendingSession& session,
                                               const Requirement& requirement,
                                               const AgentFilter& filter, std::size_t& candidates) {
  steps_ += group_.agents.size();
  AgentSearch search(group_.agents, requirement, filter, buffer_);
  if (search.empty()) return std::nullopt;
  candidates = search.list().size();
  const Demand demand{session, requirement, group_.agents.containers_total() + picks_};
  const auto chosen = policies_.selector->select(view_, demand, Candidates(search));
  if (!chosen) return std::nullopt;
  if (!search.contains(*chosen) ||
      !ledger_.take(group_.agents, *chosen, requirement, filter.container_limit)) {
    throw PolicyFault(
        fmt::format("its selector chose agent {} for session {}, which is no candidate", *chosen,
                    to_string(session.id)));
  }
  ++picks_;
  return chosen;
}

bool GroupPass::place(PendingIndex at, const Waiting& waiting) {
  const Request& request = view_.request(waiting.session);
  if (request.mixed_architectures) {
    tell(at, "never",
         "Can never start: the kernels of a single-node session must be of one architecture.", {});
    return false;
  }
  const AgentFilter filter = filter_of(waiting);
  if (!filter.strict) {
    if (const auto known = failures_.find(waiting.session.request); known != failures_.end()) {
      give_up(at, known->second);
      return false;
    }
  }
  const std::size_t before = ledger_.checkpoint();
  std::vector<AgentIndex> agents;
  for (const Requirement& requirement : request.requirements) {
    std::size_t candidates = 0;
    const auto agent = place_one(waiting.session, requirement, filter, candidates);
    if (agent) {
      agents.push_back(*agent);
      continue;
    }
    auto failure = std::make_shared<Failure>(
        candidates > 0 ? explain_selector_refusal(source_, candidates)
                       : explain_failure(source_, request, agents.size(), filter));
    steps_ += group_.agents.size();
    ledger_.rollback(before);
    // Nothing is given back during a pass: who asks for the same fails the same way.
    if (!filter.strict && candidates == 0) failures_.emplace(waiting.session.request, failure);
    give_up(at, std::move(failure));
    return false;
  }
  ledger_.hold(waiting.session);
  accept(waiting, agents);
  return true;
}

void GroupPass::accept(const Waiting& waiting, const std::vector<AgentIndex>& agents) {
  Placement& placement = result_.placements.emplace_back();
  placement.session = waiting.session.id;
  for (std::size_t i = 0; i < waiting.kernels.size(); ++i) {
    const AgentIndex agent = agents[agents.size() == 1 ? 0 : i];
    placement.kernels.emplace_back(waiting.kernels[i].id, group_.agents.id(agent));
  }
}

void GroupPass::give_up(PendingIndex at, std::shared_ptr<Failure> failure) {
  if (failure->blocks && group_.row->queue_discipline == QueueDiscipline::HeadOfLine) {
    end_ = End::Blocked;
  }
  if (position_ <= limits_.positions_max) {
    tell(at, failure->code, failure->detailed, failure->missing);
    return;
  }
  if (!failure->shared) {
    failure->shared =
        make_reason(failure->code, failure->coarse, {}, position_, limits_.positions_max);
  }
  result_.tellings.push_back({at, failure->shared});
}

void GroupPass::tell(PendingIndex at, std::string code, std::string message, SlotMap missing) {
  result_.tellings.push_back(
      {at, make_reason(std::move(code), std::move(message), std::move(missing), position_,
                       limits_.positions_max)});
}

// Sessions that were not drawn keep the reason that they have, except those who have none yet and
// those whose last reason was about a place that they no longer have.
void GroupPass::tell_rest() {
  if (end_ == End::PlacementsFull) {  // the next pass follows at once and goes on from here
    memory_.walked.insert(memory_.walked.end(), walked_.begin(), walked_.end());
    return;
  }
  const bool everyone = !memory_.told_to_all.empty();
  memory_.told_to_all.clear();
  std::vector<Arrival> due = std::exchange(memory_.walked, std::move(walked_));
  due.insert(due.end(), memory_.arrivals.begin(), memory_.arrivals.end());
  memory_.arrivals.clear();
  if (end_ == End::Drawn) return;
  const auto reason = make_reason(
      "behind-head",
      end_ == End::Blocked
          ? fmt::format("Not attempted: the queue of resource group {} is held up by a session "
                        "before it that waits for room.",
                        group_.name.str())
          : fmt::format("Not attempted: the pass over resource group {} ended before it after {} "
                        "steps.",
                        group_.name.str(), limits_.steps_max),
      {}, std::uint64_t{limits_.positions_max} + 1, limits_.positions_max);
  const auto tell_undrawn = [&](PendingIndex at) {
    if (stamps_[at] != stamp_) result_.tellings.push_back({at, reason});
  };
  if (everyone) {
    for (const auto& [priority, band] : group_.bands) {
      for (const PendingIndex at : band) tell_undrawn(at);
    }
    return;
  }
  for (const Arrival& arrival : due) {
    const Waiting& waiting = source_.mirror.waiting(arrival.session);
    if (waiting.queued && waiting.generation == arrival.generation) tell_undrawn(arrival.session);
  }
}

std::vector<Telling> tell_everyone(const Mirror& mirror, const Group& group, GroupMemory& memory,
                                   std::string code, std::string message) {
  std::vector<Telling> tellings;
  auto reason = std::make_shared<PendingReason>();
  reason->code = std::move(code);
  reason->message = std::move(message);
  if (memory.told_to_all == reason->message) {
    for (const Arrival& arrival : memory.arrivals) {
      const Waiting& waiting = mirror.waiting(arrival.session);
      if (waiting.queued && waiting.generation == arrival.generation) {
        tellings.push_back({arrival.session, reason});
      }
    }
  } else {
    for (const auto& [priority, band] : group.bands) {
      for (const PendingIndex at : band) tellings.push_back({at, reason});
    }
  }
  memory.told_to_all = reason->message;
  memory.arrivals.clear();
  memory.walked.clear();
  return tellings;
}

}  // namespace bai::sched

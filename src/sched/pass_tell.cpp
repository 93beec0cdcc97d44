// What those who go on waiting are told.
#include <fmt/format.h>

#include <algorithm>

#include "sched/pass.hpp"

namespace bai::sched {

namespace {

constexpr const char* kForeseenInFront =
    "a pass foresees the starts of those in front; whoever asks about this one is told";

}  // namespace

void GroupPass::give_up(PendingIndex at, const std::shared_ptr<Failure>& failure) {
  if (failure->blocks && group_.row->queue_discipline == QueueDiscipline::HeadOfLine) {
    end_ = End::Blocked;
  }
  if (awaits_forecast(at, failure) || !limits_.explain) return;
  if (position_ <= limits_.positions_max) {
    tell(at, *failure);
    return;
  }
  if (!failure->shared) {
    PendingReason reason = reason_of(*failure, failure->coarse);
    if (failure->blocks || failure->promised) {
      reason.expected_basis = fmt::format("unknown: {}", kForeseenInFront);
    }
    failure->shared = make_reason(std::move(reason), position_, limits_.positions_max);
    // Where it says what it said last it is the same object: nobody compares texts for each
    // session.
    const std::uint32_t request = view_.session(at).request;
    if (request >= memory_.shared.size()) memory_.shared.resize(request + 1);
    auto& last = memory_.shared[request];
    if (last != nullptr && *last == *failure->shared) {
      failure->shared = last;
    } else {
      last = failure->shared;
    }
  }
  result_.tellings.push_back({at, failure->shared});
}

// Of one that waits for room and has not been told a start.
std::string GroupPass::why_unforeseen() const {
  if (!promised_) return kForeseenInFront;
  if (end_ != End::Blocked) return kEndless;
  const std::size_t promised = promised_->size();
  return fmt::format("it waits behind the {} session{} that {} promised a start", promised,
                     promised == 1 ? "" : "s", promised == 1 ? "is" : "are");
}

void GroupPass::tell(PendingIndex at, const Failure& failure) {
  PendingReason reason = reason_of(failure, failure.detailed);
  reason.missing = failure.missing;
  reason.expected_start = failure.expected_start;
  reason.expected_basis = failure.expected_basis;
  if (!failure.hopeless.empty()) reason.expected_basis = "unknown: " + failure.hopeless;
  if (reason.expected_basis.empty() && failure.expected_start == Timestamp{} &&
      (failure.blocks || failure.promised)) {
    reason.expected_basis = "unknown: " + why_unforeseen();
  }
  if (failure.expected_start != Timestamp{}) {
    if (reason.expected_basis.empty()) {
      reason.expected_basis =
          "what runs and what is promised to sessions before it ends as estimated";
    }
    reason.message += fmt::format(" Expected to start at {} if {}.",
                                  to_iso8601(failure.expected_start), reason.expected_basis);
  }
  result_.tellings.push_back(
      {at, make_reason(std::move(reason), position_, limits_.positions_max)});
}

void GroupPass::tell(PendingIndex at, std::string code, std::string message, std::string rule) {
  if (!limits_.explain) return;
  PendingReason reason;
  reason.code = std::move(code);
  reason.message = std::move(message);
  if (!rule.empty()) reason.violations.emplace_back(std::move(rule), "");
  result_.tellings.push_back(
      {at, make_reason(std::move(reason), position_, limits_.positions_max)});
}

namespace {

// When time has lifted them all; 0: it does not.
Timestamp due_of(const std::vector<Refusal>& refusals, Timestamp now) {
  Timestamp due;
  for (const Refusal& refusal : refusals) {
    if (refusal.never || refusal.due <= now) return {};
    due = std::max(due, refusal.due);
  }
  return due;
}

}  // namespace

void GroupPass::tell_refused(PendingIndex at, const Waiting& waiting,
                             const std::vector<Refusal>& refusals) {
  if (!limits_.explain) return;
  PendingReason reason;
  reason.code = refusals.front().code;
  reason.kind = refusals.size() == 1 ? refusals.front().kind : kManyRules;
  for (const Refusal& refusal : refusals) {
    if (refusal.never) reason.code = "never";
    if (!reason.message.empty()) reason.message += '\n';
    reason.message += refusal.message;
    reason.violations.emplace_back(refusal.code, refusal.kind);
    for (const auto& [slot, over] : refusal.over) {
      reason.missing.set(slot, std::max(over, reason.missing.get(slot)));
    }
  }
  reason.expected_start = due_of(refusals, source_.now);
  if (reason.expected_start != Timestamp{}) {
    reason.expected_basis = "it was put off until then; whether there is room is seen then";
    if (reason.code == "reservation") reason.expected_basis = "its reservation begins then";
  }
  if (!reason.missing.empty() && position_ <= limits_.positions_max) {
    reason.rejected = count_behind_quota(waiting);
  }
  result_.tellings.push_back(
      {at, make_reason(std::move(reason), position_, limits_.positions_max)});
}

// Where there would be room, and what stands against it elsewhere.
std::vector<std::pair<std::string, std::int64_t>> GroupPass::count_behind_quota(
    const Waiting& waiting) {
  const Requirement& requirement = view_.request(waiting.session).requirements.front();
  const AgentFilter filter = filter_of(waiting);
  const bool is_alike = !filter.may_exclude();
  if (is_alike) {
    const auto known = behind_quota_.find(waiting.session.request);
    if (known != behind_quota_.end()) return known->second;
  }
  prepare(requirement);
  steps_ += group_.agents.size();
  auto counts = rejected_of(memory_.surveys.survey(source_, requirement, filter, Rejection::Quota));
  if (is_alike) behind_quota_.emplace(waiting.session.request, counts);
  return counts;
}

// What those are told who were not drawn.
std::shared_ptr<const PendingReason> GroupPass::why_undrawn() const {
  const std::string& group = group_.name.str();
  if (end_ == End::Drawn) {
    PendingReason reason{
        "left-out",
        fmt::format("Not attempted: the sequencer of resource group {} leaves it out.", group),
        {}};
    say_unforeseen(reason);
    return std::make_shared<const PendingReason>(std::move(reason));
  }
  const std::string why =
      end_ == End::Blocked
          ? fmt::format(
                "Not attempted: the queue of resource group {} is held up by a session "
                "before it that waits for room.",
                group)
          : fmt::format(
                "Not attempted: the pass over resource group {} ended before it after {} "
                "steps.",
                group, limits_.steps_max);
  return make_reason(PendingReason{kBehindHead, why, {}}, std::uint64_t{limits_.positions_max} + 1,
                     limits_.positions_max);
}

// Sessions that were not drawn keep the reason that they have, except those who have none yet and
// those whose last reason was about a place that they no longer have.
void GroupPass::tell_rest() {
  if (end_ == End::PlacementsFull) {  // the next pass follows at once and goes on from here
    memory_.walked.insert(memory_.walked.end(), walked_.begin(), walked_.end());
    return;
  }
  const std::size_t drawn = walked_.size() + result_.placed.size();
  const bool left_out = end_ == End::Drawn && !resumed_ && drawn < group_.pending;
  const bool everyone = !memory_.told_to_all.empty();
  memory_.told_to_all.clear();
  std::vector<Arrival> due = std::exchange(memory_.walked, std::move(walked_));
  due.insert(due.end(), memory_.arrivals.begin(), memory_.arrivals.end());
  memory_.arrivals.clear();
  if ((end_ == End::Drawn && !left_out) || !limits_.explain) return;
  const auto reason = why_undrawn();
  const auto tell_undrawn = [&](PendingIndex at) {
    if (stamps_[at] != stamp_) result_.tellings.push_back({at, reason});
  };
  if (everyone) {
    for (const auto& [priority, band] : group_.bands) {
      for (const PendingIndex at : list_band(band)) tell_undrawn(at);
    }
    return;
  }
  for (const Arrival& arrival : due) {
    const Waiting& waiting = source_.mirror.waiting(arrival.session);
    if (waiting.queued && waiting.generation == arrival.generation) tell_undrawn(arrival.session);
  }
}

std::vector<Telling> tell_everyone(const Mirror& mirror, const Group& group, GroupMemory& memory,
                                   std::string message) {
  std::vector<Telling> tellings;
  auto reason = std::make_shared<PendingReason>();
  reason->code = kPolicyError;
  reason->message = std::move(message);
  say_unforeseen(*reason);
  if (memory.told_to_all == reason->message) {
    for (const Arrival& arrival : memory.arrivals) {
      const Waiting& waiting = mirror.waiting(arrival.session);
      if (waiting.queued && waiting.generation == arrival.generation) {
        tellings.push_back({arrival.session, reason});
      }
    }
  } else {
    for (const auto& [priority, band] : group.bands) {
      for (const PendingIndex at : list_band(band)) tellings.push_back({at, reason});
    }
  }
  memory.told_to_all = reason->message;
  memory.arrivals.clear();
  memory.walked.clear();
  return tellings;
}

}  // namespace bai::sched

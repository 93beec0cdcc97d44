// Expected starts where the queue discipline promises none: they bind nobody.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "sched/pass.hpp"
#include "sched/survey.hpp"

namespace bai::sched {

namespace {

// Told the start that is expected of them, per pass.
constexpr std::size_t kForecastsMax = 8;
// Agents and ends of sessions that the forecasts of a pass look at.
constexpr std::uint64_t kForecastSteps = 150'000;
constexpr std::uint64_t kForecastLooks = 2;  // and so many looks at every agent besides

std::string estimates_text(const std::set<EstimateFrom>& used) {
  std::vector<std::string> names;
  for (const EstimateFrom from : used) {
    if (from == EstimateFrom::Declared) names.emplace_back("limits that sessions declare");
    if (from == EstimateFrom::Lifetime) names.emplace_back("lifetimes of sessions by policy");
    if (from == EstimateFrom::Default) names.emplace_back("the resource group's default_runtime_s");
  }
  return names.empty() ? std::string() : " by " + join_words(names);
}

}  // namespace

bool GroupPass::awaits_forecast(PendingIndex at, const std::shared_ptr<Failure>& failure) {
  const bool is_asked = at == asked_;
  if ((!failure->blocks && !failure->promised) || failure->expected_start != Timestamp{}) {
    return false;
  }
  // Where starts are promised to all, what is told is a promise.
  if (asked_ == kNone && (!limits_.explain || promised_)) return false;
  const bool in_order = group_.row->queue_discipline == QueueDiscipline::HeadOfLine;
  if (!failure->hopeless.empty() && !in_order) return false;  // there is nothing to find out
  if (position_ > limits_.positions_max && !is_asked) return false;
  if (forecasts_.size() >= kForecastsMax && !is_asked) return false;
  const PendingSession& session = view_.session(at);
  if (session.details != nullptr && !session.details->reservation.empty()) return false;
  forecasts_.push_back({at, position_, failure});
  return true;
}

// One behind a blocked head: what would stand against it by itself is not known yet.
void GroupPass::tell_behind(PendingIndex at) {
  auto failure = std::make_shared<Failure>();
  failure->code = kBehindHead;
  failure->detailed = failure->coarse = fmt::format(
      "Not attempted: the queue of resource group {} is held up by a session before it "
      "that waits for room.",
      group_.name.str());
  failure->blocks = may_run(at);
  if (!awaits_forecast(at, failure)) tell(at, *failure);
}

// Whether nothing but room stands against it.
bool GroupPass::may_run(PendingIndex at) const {
  const PendingSession& session = view_.session(at);
  if (view_.request(session).mixed_architectures) return false;
  if (session.details != nullptr && session.details->retry_at > source_.now) return false;
  std::vector<Refusal> refusals;
  for (const auto& validator : policies_.validators) validator->check(view_, session, refusals);
  return refusals.empty();
}

// What this pass has started ends, too.
void GroupPass::follow_placements() {
  for (const Placed& placed : placed_) {
    const PendingSession& session = placed.waiting->session;
    const auto& requirements = view_.request(session).requirements;
    for (std::size_t i = 0; i < requirements.size(); ++i) {
      future_.placed(placed.agents[i], requirements[i], session.estimate);
    }
  }
}

std::string GroupPass::basis_of(const Future::Start& start, std::size_t known_before) const {
  std::set<EstimateFrom> used;
  for (const AgentIndex agent : start.agents) {
    for (const auto& [key, held] : group_.held_on(agent)) {
      if (key.first <= start.at) used.insert(source_.mirror.estimate_from(held->session, group_));
    }
  }
  std::string what = "what waits before it";
  if (known_before + 1 < position_) {
    what = fmt::format("the first {} of the {} sessions that wait before it", known_before,
                       position_ - 1);
    if (known_before == 0) what = "nothing of what waits before it";
  }
  return fmt::format("what runs and {} ends as estimated{}", what, estimates_text(used));
}

// Why no end of anything makes room for it; empty: it may.
std::string GroupPass::hopeless_of(const Forecast& one, const Waiting& waiting) {
  if (!one.failure->hopeless.empty()) return one.failure->hopeless;
  const Request& request = view_.request(waiting.session);
  for (const Requirement& requirement : request.requirements) prepare(requirement);
  auto found = infeasible(source_, request, filter_of(waiting));
  return found ? std::move(found->why) : std::string();
}

std::optional<Future::Start> GroupPass::expected(const Waiting& waiting,
                                                 const Future::Bounds& bounds,
                                                 std::uint64_t& steps) {
  if (steps >= bounds.steps) return std::nullopt;
  const AgentFilter filter = filter_of(waiting);
  const Request& request = view_.request(waiting.session);
  if (const auto level = demanded_level(waiting); level && request.requirements.size() > 1) {
    return expect_within(*level, waiting, filter, bounds, steps);
  }
  return future_.earliest(request, waiting.session.estimate, filter, bounds, steps);
}

// Whether something that has its room, or is expected to get it before others, says no end.
bool GroupPass::is_endless() const {
  if (promised_) return true;
  if (easy_head_ != kNone && view_.session(easy_head_).estimate == kUnknownEstimate) return true;
  if (!group_.held.empty() && group_.held.rbegin()->first.first == kNeverEnds) return true;
  return std::ranges::any_of(placed_, [](const Placed& placed) {
    return placed.waiting->session.estimate == kUnknownEstimate;
  });
}

void GroupPass::forecast() {
  if (forecasts_.empty()) return;
  if (!has_future_) follow_placements();
  if (head_) {  // who starts behind it may do so when it has ended
    const PendingSession& head = view_.session(head_->first);
    future_.end_promise(head_->second, view_.request(head), head.estimate);
  }
  const bool in_order = group_.row->queue_discipline == QueueDiscipline::HeadOfLine;
  const std::uint64_t position = position_;
  const std::uint64_t steps_max = kForecastSteps + kForecastLooks * group_.agents.size();
  std::uint64_t steps = 0;
  Future::Bounds bounds;
  bounds.steps = steps_max;
  if (end_ == End::Blocked && promised_ && future_.has_promises()) {
    // They are promised nothing before one of those who are has started.
    bounds.from = future_.end_of(future_.before_first_promise());
  }
  std::size_t known = promises_;
  bool endless = is_endless();
  std::string blocked;  // why nobody who comes later can be said anything
  for (const Forecast& one : forecasts_) {
    const Waiting& waiting = source_.mirror.waiting(one.session);
    position_ = one.position;
    const bool is_told = asked_ == kNone || one.session == asked_;
    if (one.session == asked_) bounds.steps = steps + steps_max;
    std::string unknown = blocked;
    if (blocked.empty()) {
      unknown = hopeless_of(one, waiting);
      const bool may_start = unknown.empty();
      if (const auto start = may_start ? expected(waiting, bounds, steps) : std::nullopt) {
        if (is_told) tell_forecast(one, Timestamp{start->at}, basis_of(*start, known));
        future_.promise(*start, view_.request(waiting.session), waiting.session.estimate);
        if (in_order) bounds.from = start->at;
        endless = endless || waiting.session.estimate == kUnknownEstimate;
        ++known;
        continue;
      }
      if (may_start && steps >= bounds.steps) {
        unknown = fmt::format("more than {} agents and ends of sessions would have to be looked at",
                              steps_max);
      } else if (may_start) {
        unknown =
            endless ? kEndless : "no agent that it may use has room when all that runs has ended";
      }
      if (in_order) blocked = "a session before it has no expected start: " + unknown;
    }
    if (is_told) tell_forecast(one, {}, "unknown: " + unknown);
  }
  forecasts_.clear();
  position_ = position;
}

// For one whose reservation is used up.
void GroupPass::expect_in_reservation(const Waiting& waiting, Failure& failure) {
  if (!limits_.explain || position_ > limits_.positions_max) return;
  if (expected_in_reservations_++ >= kForecastsMax && asked_ == kNone) return;
  const std::string& own = *own_reservation(waiting.session);
  std::vector<Reserved::Ending> endings;
  for (const Placed& placed : placed_) {
    const PendingSession& session = placed.waiting->session;
    const std::string* its = own_reservation(session);
    const auto& requirements = view_.request(session).requirements;
    for (std::size_t i = 0; i < requirements.size(); ++i) {
      endings.push_back({future_.end_of(session.estimate), placed.agents[i], &requirements[i].slots,
                         requirements[i].containers, its != nullptr && *its == own});
    }
  }
  const auto start =
      reserved_.earliest(own, view_.request(waiting.session), waiting.session.estimate, endings);
  failure.expected_start = start.value_or(Timestamp{});
  failure.expected_basis =
      start ? fmt::format(
                  "what runs in {} ends as estimated and nothing that waits takes its place", own)
            : fmt::format("unknown: not enough of {} is known to come free before it is over", own);
}

void GroupPass::tell_forecast(const Forecast& forecast, Timestamp start, std::string basis) {
  const Failure& failure = *forecast.failure;
  PendingReason reason = reason_of(failure, failure.detailed);
  reason.missing = failure.missing;
  reason.expected_start = start;
  reason.expected_basis = std::move(basis);
  if (start != Timestamp{}) {
    reason.message +=
        fmt::format(" Expected to start at {} if {}.", to_iso8601(start), reason.expected_basis);
  }
  result_.tellings.push_back(
      {forecast.session, make_reason(std::move(reason), position_, limits_.positions_max)});
}

}  // namespace bai::sched

// Expected starts where the queue discipline promises none: they bind nobody.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "sched/pass.hpp"

namespace bai::sched {

namespace {

// Told the start that is expected of them, per pass.
constexpr std::size_t kForecastsMax = 8;
// Agents and ends of sessions that the forecasts of a pass look at.
constexpr std::uint64_t kForecastSteps = 150'000;

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

bool GroupPass::awaits_forecast(PendingIndex at, std::shared_ptr<Failure> failure) {
  const bool is_asked = at == asked_;
  if (!failure->blocks || failure->expected_start != Timestamp{}) return false;
  if (asked_ != kNone ? looks_ahead_ && !is_asked : looks_ahead_ || !limits_.explain) return false;
  if (position_ > limits_.positions_max && !is_asked) return false;
  if (forecasts_.size() >= kForecastsMax && !is_asked) return false;
  const PendingSession& session = view_.session(at);
  if (session.details != nullptr && !session.details->reservation.empty()) return false;
  forecasts_.push_back({at, position_, std::move(failure)});
  return true;
}

// One behind a blocked head: what would stand against it by itself is not known yet.
void GroupPass::tell_behind(PendingIndex at) {
  auto failure = std::make_shared<Failure>();
  failure->code = "behind-head";
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
  for (const Placement& placement : result_.placements) {
    const Waiting& waiting =
        source_.mirror.waiting(*source_.mirror.find_waiting(placement.session));
    const auto& requirements = view_.request(waiting.session).requirements;
    for (std::size_t i = 0; i < requirements.size(); ++i) {
      const auto agent = group_.agents.find(placement.kernels[i].second);
      future_.placed(*agent, requirements[i], waiting.session.estimate);
    }
  }
}

std::string GroupPass::basis_of(const Future::Start& start, std::size_t known_before) const {
  std::set<EstimateFrom> used;
  for (const AgentIndex agent : start.agents) {
    for (const auto& [key, held] : source_.mirror.held_on(group_.agents.id(agent))) {
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

void GroupPass::forecast() {
  if (forecasts_.empty()) return;
  if (!has_future_) follow_placements();
  const bool in_order = group_.row->queue_discipline == QueueDiscipline::HeadOfLine;
  const std::uint64_t position = position_;
  std::uint64_t steps = 0;
  Future::Bounds bounds;
  bounds.steps = kForecastSteps;
  std::size_t known = 0;
  std::string blocked;  // why nobody who comes later can be said anything
  for (const Forecast& one : forecasts_) {
    const Waiting& waiting = source_.mirror.waiting(one.session);
    position_ = one.position;
    const bool is_told = asked_ == kNone || one.session == asked_;
    if (one.session == asked_) bounds.steps = steps + kForecastSteps;
    std::string unknown = blocked;
    if (blocked.empty()) {
      const Request& request = view_.request(waiting.session);
      const auto start =
          future_.earliest(request, waiting.session.estimate, filter_of(waiting), bounds, steps);
      if (start) {
        if (is_told) tell_forecast(one, Timestamp{start->at}, basis_of(*start, known));
        future_.promise(*start, request, waiting.session.estimate);
        if (in_order) bounds.from = start->at;
        ++known;
        continue;
      }
      unknown = steps >= bounds.steps
                    ? fmt::format(
                          "more than {} agents and ends of sessions would have to be "
                          "looked at",
                          kForecastSteps)
                    : "what holds the room says no end: no limit declared, no lifetime by policy, "
                      "no default_runtime_s of the resource group";
      if (in_order) blocked = "a session before it has no expected start: " + unknown;
    }
    if (is_told) tell_forecast(one, {}, "unknown: " + unknown);
  }
  forecasts_.clear();
  position_ = position;
}

void GroupPass::tell_forecast(const Forecast& forecast, Timestamp start, std::string basis) {
  const Failure& failure = *forecast.failure;
  PendingReason reason{failure.code, failure.detailed, failure.missing, 0, failure.rejected,
                       start,        std::move(basis)};
  if (start != Timestamp{}) {
    reason.message +=
        fmt::format(" Expected to start at {} if {}.", to_iso8601(start), reason.expected_basis);
  }
  result_.tellings.push_back(
      {forecast.session, make_reason(std::move(reason), position_, limits_.positions_max)});
}

}  // namespace bai::sched

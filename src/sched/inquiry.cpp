// What would become of one session: the pass that a question leads to.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "sched/pass.hpp"

namespace bai::sched {

namespace {

// Sessions that are drawn to find out how many wait before one.
constexpr std::uint64_t kPlacesMax = 10'000;
// Sessions before it that are looked at to find those that wait for room.
constexpr std::uint64_t kLookedAtMax = 100;

}  // namespace

// From 1; kPlacesMax where only walking the order that far would tell.
std::uint64_t GroupPass::queue_place(PendingIndex asked) const {
  if (group_.row->scheduler == "fifo") return source_.mirror.waiting_before(asked) + 1;
  const auto ordering = policies_.sequencer->start(view_);
  if (ordering == nullptr) throw PolicyFault("its sequencer made no order");
  std::uint64_t place = 1;
  while (place < kPlacesMax) {
    const auto at = ordering->next();
    if (!at || *at == asked) break;
    ++place;
  }
  return place;
}

// Of those before it that wait for nothing but room, as many as a pass tells.
void GroupPass::forecast_before(PendingIndex asked) {
  const auto ordering = policies_.sequencer->start(view_);
  for (position_ = 1; position_ <= kLookedAtMax; ++position_) {
    const auto at = ordering->next();
    if (!at || *at == asked) return;
    auto failure = std::make_shared<Failure>();
    failure->blocks = may_run(*at);
    if (failure->blocks && !awaits_forecast(*at, failure)) return;
  }
}

PassResult GroupPass::ask_alone(PendingIndex asked) {
  asked_ = asked;
  limits_.explain = true;
  limits_.positions_max = std::numeric_limits<std::uint32_t>::max();
  looks_ahead_ = false;
  const std::uint64_t place = queue_place(asked);
  position_ = place - 1;
  draw(asked);
  if (attempt(asked)) return std::move(result_);
  if (auto own = std::exchange(forecasts_, {}); !own.empty()) {
    forecast_before(asked);
    forecasts_.push_back(std::move(own.front()));
    forecast();
  }
  return std::move(result_);
}

PassResult GroupPass::ask(PendingIndex asked) {
  asked_ = asked;
  limits_.explain = false;
  limits_.positions_max = std::numeric_limits<std::uint32_t>::max();
  lay_promises();
  walk_to(asked);
  const bool is_beside =
      group_.in_reservations.contains(asked) || (promised_ && promised_->has(asked));
  if (end_ == End::Blocked && is_beside) walk_beside_to(asked);
  limits_.explain = true;
  const std::uint64_t place = queue_place(asked);
  if (end_ == End::Blocked && !is_beside) {
    position_ = place;
    tell_behind(asked);
  } else if (end_ == End::StepsFull) {
    tell(asked, "behind-head",
         fmt::format("Not attempted: more than {} steps are needed for those before it.",
                     limits_.steps_max));
  } else {
    position_ = place - 1;
    draw(asked);
    attempt(asked);
    position_ = place;
  }
  forecast();
  const SessionId& id = view_.session(asked).id;
  std::erase_if(result_.placements, [&](const Placement& p) { return p.session != id; });
  std::erase_if(result_.tellings, [&](const Telling& t) { return t.session != asked; });
  return std::move(result_);
}

void GroupPass::walk_beside_to(PendingIndex asked) {
  for (const PendingIndex at : beside()) {
    if (at == asked) return;
    if (steps_ >= limits_.steps_max) {
      end_ = End::StepsFull;
      return;
    }
    draw(at);
    ++steps_;
    attempt(at);
  }
}

void GroupPass::walk_to(PendingIndex asked) {
  ordering_ = policies_.sequencer->start(view_);
  if (ordering_ == nullptr) throw PolicyFault("its sequencer made no order");
  while (const auto at = ordering_->next()) {
    if (*at == asked || end_ == End::Blocked) return;
    if (reordered_ && stamps_[*at] == stamp_) continue;
    if (steps_ >= limits_.steps_max) {
      end_ = End::StepsFull;
      return;
    }
    draw(*at);
    ++steps_;
    if (attempt(*at)) {
      ordering_->placed(*at);
    } else {
      reorder_behind_promise();
    }
  }
}

}  // namespace bai::sched

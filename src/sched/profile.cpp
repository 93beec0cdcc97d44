#include "sched/profile.hpp"

#include <algorithm>
#include <utility>

namespace bai::sched {

std::int64_t end_after(std::int64_t at, Duration estimate) noexcept {
  std::int64_t end = 0;
  return __builtin_add_overflow(at, estimate.ns, &end) ? kNeverEnds : end;
}

void give(std::span<std::int64_t> free, std::span<const SlotRequest> slots, std::int64_t containers,
          int sign) {
  for (const SlotRequest& r : slots) {
    if (r.slot + 1 < free.size()) free[r.slot] += sign * r.units;
  }
  free.back() += sign * containers;
}

std::size_t copies(FreeRow free, const Requirement& requirement, std::size_t most) {
  const auto limit_to = [&](std::int64_t has, std::int64_t each) {
    most = has < each ? 0 : std::min(most, static_cast<std::size_t>(has / each));
  };
  if (requirement.containers > 0) limit_to(free.back(), requirement.containers);
  for (const SlotRequest& r : requirement.slots) {
    if (r.units == 0 || most == 0) continue;
    limit_to(r.slot + 1 < free.size() ? free[r.slot] : 0, r.units);
  }
  return most;
}

Profile::Profile(std::int64_t now, std::vector<std::int64_t> free)
    : width_(free.size()), at_{now}, free_(std::move(free)) {}

std::size_t Profile::step_at(std::int64_t at) const {
  const auto after = std::ranges::upper_bound(at_, at);
  return after == at_.begin() ? 0 : static_cast<std::size_t>(after - at_.begin()) - 1;
}

std::size_t Profile::split(std::int64_t at) {
  const std::size_t step = step_at(at);
  if (at_[step] >= at) return step;
  at_.insert(at_.begin() + static_cast<std::ptrdiff_t>(step) + 1, at);
  const auto next = static_cast<std::ptrdiff_t>((step + 1) * width_);
  free_.insert(free_.begin() + next, width_, 0);
  std::copy_n(free_.begin() + next - static_cast<std::ptrdiff_t>(width_), width_,
              free_.begin() + next);
  return step + 1;
}

void Profile::add(std::int64_t from, std::int64_t to, std::span<const SlotRequest> slots,
                  std::int64_t containers, int sign) {
  if (from >= to || from == kNeverEnds || to <= at_.front()) return;
  const std::size_t first = split(from);
  const std::size_t last = to == kNeverEnds ? at_.size() : split(to);
  for (std::size_t step = first; step < last; ++step) give(row(step), slots, containers, sign);
}

void Profile::append(std::int64_t at, std::span<const SlotRequest> slots, std::int64_t containers) {
  if (at > at_.back()) {
    at_.push_back(at);
    free_.resize(free_.size() + width_);
    std::copy_n(free_.end() - static_cast<std::ptrdiff_t>(2 * width_), width_,
                free_.end() - static_cast<std::ptrdiff_t>(width_));
  }
  give(row(at_.size() - 1), slots, containers, 1);
}

bool Profile::add_all(std::span<const Take> takes) {
  struct Edge {
    std::int64_t at = 0;
    const Requirement* requirement = nullptr;
    int sign = 0;
  };
  std::vector<Edge> edges;
  for (const Take& take : takes) {
    if (take.from >= take.to || take.to <= at_.front()) continue;
    edges.push_back({take.from, take.requirement, -1});
    if (take.to != kNeverEnds) edges.push_back({take.to, take.requirement, 1});
  }
  std::ranges::sort(edges, {}, &Edge::at);
  const std::vector<std::int64_t> before = std::exchange(free_, {}), steps = std::exchange(at_, {});
  std::vector<std::int64_t> change(width_, 0);
  auto edge = edges.begin();
  for (std::size_t step = 0; step < steps.size(); ++step) {
    const std::int64_t end = step + 1 < steps.size() ? steps[step + 1] : kNeverEnds;
    for (std::int64_t at = steps[step]; at < end; at = edge == edges.end() ? end : edge->at) {
      for (; edge != edges.end() && edge->at <= at; ++edge) {
        give(change, edge->requirement->slots, edge->requirement->containers, edge->sign);
      }
      at_.push_back(at);
      for (std::size_t i = 0; i < width_; ++i) {
        free_.push_back(before[step * width_ + i] + change[i]);
      }
    }
  }
  return std::ranges::none_of(free_, [](std::int64_t free) { return free < 0; });
}

bool Profile::move_on(std::int64_t now) {
  if (first_change() <= now) return false;
  at_.front() = now;
  return true;
}

std::size_t Profile::room(std::int64_t from, std::int64_t to, const Requirement& requirement,
                          std::size_t most) const {
  std::size_t step = step_at(from);
  do {
    most = copies(row(step), requirement, most);
    ++step;
  } while (most > 0 && step < at_.size() && at_[step] < to);
  return most;
}

std::optional<std::int64_t> Profile::earliest(const Requirement& requirement, Duration estimate,
                                              std::int64_t from, std::int64_t limit) const {
  std::int64_t start = std::max(from, at_.front());
  for (std::size_t step = step_at(start); start < limit; ++step) {
    const bool is_last = step + 1 == at_.size();
    if (copies(row(step), requirement, 1) == 0) {
      if (is_last) return std::nullopt;
      start = at_[step + 1];
    } else if (is_last || at_[step + 1] >= end_after(start, estimate)) {
      return start;
    }
  }
  return std::nullopt;
}

std::int64_t Profile::next_change(std::int64_t at, Duration estimate) const {
  const std::size_t step = step_at(at);
  std::int64_t next = step + 1 < at_.size() ? at_[step + 1] : kNeverEnds;
  const std::int64_t end = end_after(at, estimate);
  const auto beyond =
      std::lower_bound(at_.begin() + static_cast<std::ptrdiff_t>(step), at_.end(), end);
  // It comes into view one nanosecond after what starts then would end with it.
  if (end != kNeverEnds && beyond != at_.end()) next = std::min(next, *beyond - estimate.ns + 1);
  return next;
}

}  // namespace bai::sched

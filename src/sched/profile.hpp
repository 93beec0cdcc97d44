// What one agent has free from now on, as far as it is foreseen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "bai_manager/policy.hpp"
#include "sched/mirror.hpp"

namespace bai::sched {

// `at` + `estimate`, or kNeverEnds.
std::int64_t end_after(std::int64_t at, Duration estimate) noexcept;

// What is free on an agent: amounts by slot, then places for containers. Slots that the agent's
// resource group does not have are left out.
using FreeRow = std::span<const std::int64_t>;
inline constexpr std::int64_t kManyPlaces = std::int64_t{1} << 62;  // there is no limit
// So much more (`sign` 1) or less (-1) of it.
void give(std::span<std::int64_t> free, std::span<const SlotRequest> slots, std::int64_t containers,
          int sign);

// Steps: what is free is constant from one to the next, and from the last one on for ever. Times
// are nanoseconds, like Timestamp.
class Profile {
 public:
  // `free`: a FreeRow.
  Profile(std::int64_t now, std::vector<std::int64_t> free);

  // From `from` until `to` there is so much more (sign 1) or less (-1).
  void add(std::int64_t from, std::int64_t to, std::span<const SlotRequest> slots,
           std::int64_t containers, int sign);

  // More from `at`, after which nothing is known yet, for ever.
  void append(std::int64_t at, std::span<const SlotRequest> slots, std::int64_t containers);

  // Less of several things: what add() for each comes to. False: somewhere there is less than
  // nothing left then; otherwise each of them has room beside all others.
  struct Take {
    std::int64_t from = 0, to = 0;
    const Requirement* requirement = nullptr;
  };
  bool add_all(std::span<const Take> takes);

  // From then on it begins at `now`. False, and nothing is done: it changes by then.
  bool move_on(std::int64_t now);

  // How many of `requirement` go onto it from `from` until `to`, `most` at most.
  std::size_t room(std::int64_t from, std::int64_t to, const Requirement& requirement,
                   std::size_t most) const;
  // When one can start that runs for `estimate`: not before `from`, and before `limit` or not at
  // all.
  std::optional<std::int64_t> earliest(const Requirement& requirement, Duration estimate,
                                       std::int64_t from, std::int64_t limit) const;
  // The first time after `at` at which room() for that `estimate` may differ from the one at `at`.
  std::int64_t next_change(std::int64_t at, Duration estimate) const;
  // The first time after now at which anything differs.
  std::int64_t first_change() const noexcept { return at_.size() > 1 ? at_[1] : kNeverEnds; }

 private:
  std::size_t step_at(std::int64_t at) const;  // the one that holds then
  std::size_t split(std::int64_t at);          // a step that begins then
  FreeRow row(std::size_t step) const { return std::span(free_).subspan(step * width_, width_); }
  std::span<std::int64_t> row(std::size_t step) {
    return std::span(free_).subspan(step * width_, width_);
  }

  std::size_t width_;
  std::vector<std::int64_t> at_;    // ascending; the first is now
  std::vector<std::int64_t> free_;  // a row of `width_` for each step
};

// How many of `requirement` there is room for, `most` at most.
std::size_t copies(FreeRow free, const Requirement& requirement, std::size_t most);

}  // namespace bai::sched

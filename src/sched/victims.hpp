// Who may be ended for whom, and in which order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "bai_manager/policy.hpp"
#include "sched/policy_set.hpp"
#include "sched/tenancy.hpp"
#include "sched/victim_tree.hpp"

namespace bai::sched {

class Mirror;

// Whether the rules let sessions of the owner look for victims where this one runs.
bool is_in_scope(const Session& row, const PreemptionRules& rules, const ResourceGroupName& group,
                 const Owner& owner);
// Slots as a set; some share a place in it.
inline std::uint64_t bit_of(SlotIndex slot) noexcept { return std::uint64_t{1} << (slot % 64); }

// By slot: the power of two that is nearest to what the resource group has of it; kNone where it
// has nothing. Sessions are weighed by these, so that they weigh the same as long as the resource
// group does not grow or shrink by much.
class Magnitudes {
 public:
  static constexpr std::uint8_t kNone = 0xff;
  Magnitudes() = default;
  explicit Magnitudes(const SchedView& view);
  std::uint8_t operator[](SlotIndex slot) const noexcept {
    return slot < of_.size() ? of_[slot] : kNone;
  }
  // The slots that are of another one there.
  std::uint64_t differing(const Magnitudes& other) const noexcept {
    std::uint64_t slots = 0;
    for (auto slot = static_cast<SlotIndex>(std::max(of_.size(), other.of_.size())); slot-- > 0;) {
      if ((*this)[slot] != other[slot]) slots |= bit_of(slot);
    }
    return slots;
  }

 private:
  std::vector<std::uint8_t> of_;
};
std::uint8_t magnitude_of(std::int64_t units) noexcept;

// How much of the resource group the session holds: parts of 2^60 of each slot, together, or the
// most that there is a number for.
std::int64_t weight_of(const Tenant& tenant, const Mirror& mirror, const Magnitudes& magnitudes);
// For amounts that are not negative.
inline std::int64_t capped_sum(std::int64_t a, std::int64_t b) noexcept {
  std::int64_t total = 0;
  return __builtin_add_overflow(a, b, &total) ? std::numeric_limits<std::int64_t>::max() : total;
}

VictimKey victim_key(const Session& row, const PreemptionRules& rules, std::int64_t weight);

}  // namespace bai::sched

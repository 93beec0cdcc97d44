// What a fair share over time is reckoned with, and what comes out.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "bai_manager/resources.hpp"

namespace bai {

struct FairShareSettings {
  std::int64_t half_life_days = 7;           // after which usage counts half
  std::int64_t lookback_days = 28;           // after which it does not count at all
  std::int64_t decay_unit_days = 1;          // usage fades in steps of so many days
  std::int64_t default_weight_milli = 1000;  // of scopes whose FairShare row has none
  // What slots count for, in thousandths; those not listed: mem 0.001, cuda.* 10, others 1.
  std::vector<SlotMap::Entry> resource_weights = {};
  friend bool operator==(const FairShareSettings&, const FairShareSettings&) = default;
};

// Of a session's owner, from 0 (used most, or no FairShare row) to kFairShareOne (nothing used).
// Compared domain first, then project, then user.
inline constexpr std::int32_t kFairShareOne = 1 << 30;
struct FairShareFactors {
  std::int32_t domain = 0, project = 0, user = 0;
  friend auto operator<=>(const FairShareFactors&, const FairShareFactors&) = default;
};

}  // namespace bai

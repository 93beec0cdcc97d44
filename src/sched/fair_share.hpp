// The arithmetic of fair shares: usage by day, its decay, and the factor that follows from it.
//
// Usage is counted in units of the slot times seconds: 1/1000 for counted slots, MiB for sizes, so
// that sums over a cluster and a year fit 64 bits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bai_manager/fair_share.hpp"
#include "bai_manager/time.hpp"

namespace bai::sched {

inline constexpr std::int64_t kDayNs = 86'400'000'000'000;

// Days are those of UTC, counted from 1970-01-01.
std::int64_t day_of(Timestamp at) noexcept;
std::string day_text(std::int64_t day);                        // "2026-11-23"
std::optional<std::int64_t> parse_day(std::string_view text);  // nothing unless a date

// What `units` of a slot held for `ns` add to a day.
std::int64_t usage_of(SlotType type, std::int64_t units, std::int64_t ns) noexcept;

// The weight of a day's usage: 2^(-age / half life), where the age is counted in whole decay units
// and nothing older than the lookback counts. Days to come count like today.
double decay_of(const FairShareSettings& settings, std::int64_t today, std::int64_t day) noexcept;

// One slot of a scope.
struct SlotUsage {
  double decayed = 0;         // usage, decayed and summed
  std::int64_t capacity = 0;  // of the resource group, in the slot's units
  SlotType type = SlotType::Count;
  std::int64_t weight_milli = 1000;
};
// The weighted mean of what was used of what there was; slots without capacity do not count.
double normalized_usage(std::span<const SlotUsage> slots, std::int64_t lookback_days) noexcept;

// 2^(-normalized / weight), the exponent clamped to +-10, the result to [0, 1].
inline constexpr double kFactorExponentMax = 10;
double fair_share_factor(double normalized, std::int64_t weight_milli) noexcept;
// As an integer: factors are compared by these.
std::int32_t fixed_factor(double factor) noexcept;

std::int64_t resource_weight_milli(const FairShareSettings& settings, std::string_view slot);

}  // namespace bai::sched

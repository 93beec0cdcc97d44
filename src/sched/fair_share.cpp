#include "sched/fair_share.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>

#include "sched/agent_table.hpp"

namespace bai::sched {

namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::int64_t kSizeUnit = std::int64_t{1} << 20;  // of usage, in bytes

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::int64_t day_of(Timestamp at) noexcept {
  return at.ns >= 0 ? at.ns / kDayNs : -((-at.ns + kDayNs - 1) / kDayNs);
}

std::string day_text(std::int64_t day) {
  const std::chrono::year_month_day date{std::chrono::sys_days{std::chrono::days{day}}};
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
}

std::optional<std::int64_t> parse_day(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return std::nullopt;
  const auto year = number(text.substr(0, 4)), month = number(text.substr(5, 2)),
             day = number(text.substr(8, 2));
  if (!year || !month || !day || *year < 0 || *month < 0 || *day < 0) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year{*year},
                                         std::chrono::month{static_cast<unsigned>(*month)},
                                         std::chrono::day{static_cast<unsigned>(*day)}};
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days{date}.time_since_epoch().count();
}

std::int64_t usage_of(SlotType type, std::int64_t units, std::int64_t ns) noexcept {
  if (units <= 0 || ns <= 0) return 0;
  const Int128 divisor = Int128{kNsPerSecond} * (type == SlotType::Size ? kSizeUnit : 1);
  const Int128 usage = (Int128{units} * ns + divisor / 2) / divisor;
  return static_cast<std::int64_t>(std::min(usage, Int128{kInfiniteAmount.units}));
}

double decay_of(const FairShareSettings& settings, std::int64_t today, std::int64_t day) noexcept {
  const std::int64_t age = today - day;
  if (age >= settings.lookback_days) return 0;
  if (age <= 0) return 1;
  const std::int64_t counted = age / settings.decay_unit_days * settings.decay_unit_days;
  return std::exp2(-static_cast<double>(counted) / static_cast<double>(settings.half_life_days));
}

double normalized_usage(std::span<const SlotUsage> slots, std::int64_t lookback_days) noexcept {
  double sum = 0, weights = 0;
  for (const SlotUsage& slot : slots) {
    if (slot.capacity <= 0 || slot.weight_milli <= 0) continue;
    const double weight = static_cast<double>(slot.weight_milli) / 1000;
    const double unit = slot.type == SlotType::Size ? static_cast<double>(kSizeUnit) : 1.0;
    const double available = static_cast<double>(slot.capacity) / unit *
                             static_cast<double>(lookback_days) *
                             static_cast<double>(kDayNs / kNsPerSecond);
    sum += weight * slot.decayed / available;
    weights += weight;
  }
  return weights > 0 ? sum / weights : 0;
}

double fair_share_factor(double normalized, std::int64_t weight_milli) noexcept {
  if (weight_milli <= 0) return 0;
  const double exponent = normalized / (static_cast<double>(weight_milli) / 1000);
  return std::clamp(std::exp2(-std::clamp(exponent, -kFactorExponentMax, kFactorExponentMax)), 0.0,
                    1.0);
}

std::int32_t fixed_factor(double factor) noexcept {
  return static_cast<std::int32_t>(std::lround(factor * kFairShareOne));
}

std::int64_t resource_weight_milli(const FairShareSettings& settings, std::string_view slot) {
  for (const auto& [name, weight] : settings.resource_weights) {
    if (name == slot) return weight.units;
  }
  if (slot == "mem") return 1;
  return slot.starts_with("cuda.") ? 10'000 : 1000;
}

}  // namespace bai::sched

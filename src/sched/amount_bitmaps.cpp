#include "sched/amount_bitmaps.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace bai::sched {

namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

// Agents all over the table, whatever period it has: a part of them tells how all are spread.
std::vector<std::int64_t> sample(std::span<const std::int64_t> amounts, std::size_t size) {
  constexpr std::size_t kStep = 2'654'435'761;  // a prime
  std::vector<std::int64_t> some(amounts.begin(),
                                 amounts.size() <= size ? amounts.end() : amounts.begin());
  for (std::size_t i = some.size(); i < std::min(size, amounts.size()); ++i) {
    some.push_back(amounts[i * kStep % amounts.size()]);
  }
  std::ranges::sort(some);
  return some;
}

}  // namespace

// At the quantiles. An amount that many have stands at several: the second threshold goes right
// above it, so that these agents are between two that leave no doubt.
void AmountBitmaps::choose_thresholds(std::span<const std::int64_t> amounts) {
  constexpr std::size_t kSample = 1024;
  const auto some = sample(amounts, kSample);
  thresholds_.fill(kMost);
  count_ = 0;
  for (std::size_t i = 0; i < kThresholdsMax && !some.empty(); ++i) {
    const std::int64_t amount = some[i * some.size() / kThresholdsMax];
    if (count_ == 0 || amount > thresholds_[count_ - 1]) {
      thresholds_[count_++] = amount;
    } else if (amount == thresholds_[count_ - 1] && amount < kMost) {
      thresholds_[count_++] = amount + 1;
    }
  }
}

std::size_t AmountBitmaps::level_of(std::int64_t amount) const noexcept {
  // Without branches: amounts come in no order.
  std::size_t level = 0;
  for (std::size_t step = (kThresholdsMax + 1) / 2; step > 0; step /= 2) {
    level += step & -static_cast<std::size_t>(thresholds_[level + step - 1] <= amount);
  }
  return std::min(level, count_);
}

void AmountBitmaps::build(std::span<const std::int64_t> amounts) {
  choose_thresholds(amounts);
  words_ = words_for(amounts.size());
  rows_.assign((count_ + 2) * words_, 0);
  levels_.resize(amounts.size());
  on_level_.fill(0);
  excess_ = 0;
  for (std::size_t agent = 0; agent < amounts.size(); ++agent) {
    const std::size_t level = level_of(amounts[agent]);
    levels_[agent] = static_cast<std::uint8_t>(level);
    ++on_level_[level];
    rows_[level * words_ + agent / kBits] |= std::uint64_t{1} << agent % kBits;
  }
  for (std::size_t at = count_ * words_; at-- > 0;) rows_[at] |= rows_[at + words_];
}

void AmountBitmaps::set(AgentIndex agent, std::int64_t amount) noexcept {
  const std::size_t before = levels_[agent], after = level_of(amount);
  if (before == after) return;
  levels_[agent] = static_cast<std::uint8_t>(after);
  --on_level_[before];
  ++on_level_[after];
  const auto [low, high] = std::minmax(before, after);
  for (std::size_t level = low + 1; level <= high; ++level) {
    rows_[level * words_ + agent / kBits] ^= std::uint64_t{1} << agent % kBits;
  }
}

AmountBitmaps::Bounds AmountBitmaps::at_least(std::int64_t amount) noexcept {
  const std::size_t level = level_of(amount);
  if (level > 0 && thresholds_[level - 1] == amount) return {row(level), row(level)};
  if (on_level_[level] > share()) excess_ += on_level_[level] - share();
  return {row(level + 1), row(level)};
}

}  // namespace bai::sched

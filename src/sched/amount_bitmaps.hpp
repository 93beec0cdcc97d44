// Agents by an amount that each of them has: for each of some thresholds a bit for every agent that
// has at least so much (a range-encoded bitmap index). 17 bytes for each agent.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "bai_manager/policy.hpp"
#include "base/large_pages.hpp"

namespace bai::sched {

class AmountBitmaps {
 public:
  static constexpr std::size_t kBits = 64;  // of a word
  static std::size_t words_for(std::size_t agents) noexcept { return (agents + kBits - 1) / kBits; }

  // By agent. Thresholds go where they part these amounts evenly.
  void build(std::span<const std::int64_t> amounts);
  void set(AgentIndex agent, std::int64_t amount) noexcept;

  // Who has at least so much: all of `sure`, and nobody who is not of `maybe`. Both are the same
  // when the amount is a threshold.
  struct Bounds {
    const std::uint64_t* sure = nullptr;
    const std::uint64_t* maybe = nullptr;
  };
  Bounds at_least(std::int64_t amount) noexcept;

  // So many agents have stood between the bounds, since amounts are no longer those that the
  // thresholds were made for, that building anew pays.
  bool is_uneven() const noexcept { return excess_ > kExcessMax * levels_.size(); }

 private:
  // An agent's level is the number of thresholds that it reaches.
  static constexpr std::size_t kThresholdsMax = 127;
  // An even share of the agents, and then some.
  std::size_t share() const noexcept { return 4 * levels_.size() / kThresholdsMax; }
  static constexpr std::uint64_t kExcessMax = 8;  // for each agent: what building costs

  void choose_thresholds(std::span<const std::int64_t> amounts);
  std::size_t level_of(std::int64_t amount) const noexcept;
  const std::uint64_t* row(std::size_t level) const noexcept {
    return rows_.data() + level * words_;
  }

  // Ascending; what is not used is more than any amount but the greatest.
  std::array<std::int64_t, kThresholdsMax> thresholds_{};
  std::size_t count_ = 0;                                     // of thresholds
  std::vector<std::uint8_t> levels_;                          // by agent
  std::array<std::uint32_t, kThresholdsMax + 1> on_level_{};  // agents
  // For each level who has reached it; the first row is everybody, the one behind the last nobody.
  std::vector<std::uint64_t, base::LargePages<std::uint64_t>> rows_;
  std::size_t words_ = 0;  // of a row
  std::uint64_t excess_ = 0;
};

}  // namespace bai::sched

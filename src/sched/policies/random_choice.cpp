#include <vector>

#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

// The n-th number of the SplitMix64 sequence that starts at `seed`.
std::uint64_t split_mix(std::uint64_t seed, std::uint64_t n) {
  std::uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

// Any agent that has room, and any of its devices that has: one number for the agent, and one more
// for the device of a container that gets a part of one.
class RandomChoice final : public Selector {
 public:
  std::optional<AgentIndex> select(const SchedView& view, const Demand& demand,
                                   const Candidates& candidates) const override {
    const std::size_t count = candidates.count();
    if (count == 0) return std::nullopt;
    return candidates.at(split_mix(view.seed(), demand.pick + demand.fractions) % count);
  }

  std::uint32_t device(const SchedView& view, const Demand& demand, AgentIndex, SlotIndex,
                       std::int64_t units, std::span<const std::int64_t> free) const override {
    std::vector<std::uint32_t> able;
    for (std::uint32_t i = 0; i < free.size(); ++i) {
      if (free[i] >= units) able.push_back(i);
    }
    const std::uint64_t drawn = demand.pick + demand.fractions + 1;
    return able[split_mix(view.seed(), drawn) % able.size()];
  }
};

}  // namespace

std::unique_ptr<const Selector> make_random(PolicyOptions&) {
  return std::make_unique<RandomChoice>();
}

}  // namespace bai::sched

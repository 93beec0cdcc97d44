#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

// The candidates in turn, in the view's order (by id), whatever they have free.
class RoundRobin final : public Selector {
 public:
  std::optional<AgentIndex> select(const SchedView&, const Demand& demand,
                                   const Candidates& candidates) const override {
    const std::size_t count = candidates.count();
    if (count == 0) return std::nullopt;
    return candidates.at(demand.pick % count);
  }
};

}  // namespace

std::unique_ptr<const Selector> make_round_robin(PolicyOptions&) {
  return std::make_unique<RoundRobin>();
}

}  // namespace bai::sched

#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

// The candidates in turn, in the view's order (by id), whatever they have free.
class RoundRobin final : public Selector {
 public:
  std::optional<AgentIndex> select(const SchedView&, const Demand& demand,
                                   const Candidates& candidates) const override {
    const auto agents = candidates.list();
    if (agents.empty()) return std::nullopt;
    return agents[demand.pick % agents.size()];
  }
};

}  // namespace

std::unique_ptr<const Selector> make_round_robin(PolicyOptions&) {
  return std::make_unique<RoundRobin>();
}

}  // namespace bai::sched

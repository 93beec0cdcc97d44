#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

// The first agent in the view's order that has room.
class FirstFit final : public Selector {
 public:
  std::optional<AgentIndex> select(const SchedView&, const Demand&,
                                   const Candidates& candidates) const override {
    return candidates.best({});
  }
};

}  // namespace

std::unique_ptr<const Selector> make_first_fit(PolicyOptions&) {
  return std::make_unique<FirstFit>();
}

}  // namespace bai::sched

#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

// In order of estimates within each priority band; equal ones by age, those without one last.
class ByEstimate final : public Sequencer {
 public:
  std::unique_ptr<Ordering> start(const SchedView& view) const override {
    return view.queue(QueueOrder::ShortestFirst);
  }
};

}  // namespace

std::unique_ptr<const Sequencer> make_sjf(PolicyOptions&) { return std::make_unique<ByEstimate>(); }

}  // namespace bai::sched

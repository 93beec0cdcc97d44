#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

// In order of creation within each priority band, or in the reverse of it.
class ByArrival final : public Sequencer {
 public:
  explicit ByArrival(QueueOrder order) : order_(order) {}
  std::unique_ptr<Ordering> start(const SchedView& view) const override {
    return view.queue(order_);
  }

 private:
  QueueOrder order_;
};

}  // namespace

std::unique_ptr<const Sequencer> make_fifo(PolicyOptions&) {
  return std::make_unique<ByArrival>(QueueOrder::OldestFirst);
}

std::unique_ptr<const Sequencer> make_lifo(PolicyOptions&) {
  return std::make_unique<ByArrival>(QueueOrder::NewestFirst);
}

}  // namespace bai::sched

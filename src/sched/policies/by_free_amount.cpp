#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

// Agents whose capabilities would stay idle come last; then the one with the least (concentrated)
// or the most (dispersed) free amounts, slot after slot in the selection order.
class ByFreeAmount final : public Selector {
 public:
  explicit ByFreeAmount(KeyPart::What what) : what_(what) {}

  std::optional<AgentIndex> select(const SchedView& view, const Demand& demand,
                                   const Candidates& candidates) const override {
    std::vector<KeyPart> key{{KeyPart::What::UnusedCapabilities, 0}};
    for (const SlotIndex slot : view.selection_order(demand.requirement)) {
      key.push_back({what_, slot});
    }
    return candidates.best(key);
  }

 private:
  KeyPart::What what_;
};

}  // namespace

std::unique_ptr<const Selector> make_concentrated(PolicyOptions&) {
  return std::make_unique<ByFreeAmount>(KeyPart::What::LeastFree);
}

std::unique_ptr<const Selector> make_dispersed(PolicyOptions&) {
  return std::make_unique<ByFreeAmount>(KeyPart::What::MostFree);
}

}  // namespace bai::sched

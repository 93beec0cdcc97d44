// Dominant resource fairness: within a priority band the user goes first whose largest share of any
// slot of the resource group is smallest.
#include "sched/agent_table.hpp"
#include "sched/policies/by_owner.hpp"
#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

struct Share {  // held / capacity
  std::int64_t held = 0, capacity = 1;
  friend bool operator<(const Share& a, const Share& b) {
    return Int128{a.held} * b.capacity < Int128{b.held} * a.capacity;
  }
};

class DominantShares {
 public:
  DominantShares(const SchedView& view, bool live) : view_(&view), live_(live) {
    for (SlotIndex slot = 0; slot < view.slot_count(); ++slot) {
      const std::int64_t capacity = view.group_capacity(slot);
      if (capacity > 0) capacities_.push_back({slot, capacity});
    }
  }

  bool moves() const { return live_; }

  Share rank(const PendingSession& session) const {
    const HeldAmounts held = view_->held(ScopeKind::User, session);
    Share largest;
    for (const auto& [slot, capacity] : capacities_) {
      const Share share{live_ ? held.of(slot) : held.before_of(slot), capacity};
      if (largest < share) largest = share;
    }
    return largest;
  }

 private:
  const SchedView* view_;
  bool live_;
  std::vector<std::pair<SlotIndex, std::int64_t>> capacities_;
};

class Drf final : public Sequencer {
 public:
  explicit Drf(bool live) : live_(live) {}
  std::unique_ptr<Ordering> start(const SchedView& view) const override {
    return std::make_unique<ByOwner<DominantShares>>(view, DominantShares(view, live_));
  }

 private:
  bool live_;
};

}  // namespace

// "shares": "live" counts what this pass has placed, "per-pass" fixes them at its start (as the
// reference system does).
std::unique_ptr<const Sequencer> make_drf(PolicyOptions& options) {
  return std::make_unique<Drf>(options.choice("shares", {"live", "per-pass"}, "live") == "live");
}

}  // namespace bai::sched

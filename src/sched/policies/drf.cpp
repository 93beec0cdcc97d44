// Dominant resource fairness: within a priority band the user goes first whose largest share of any
// slot of the resource group is smallest.
#include "sched/agent_table.hpp"
#include "sched/policies/by_owner.hpp"
#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

class DominantShares {
 public:
  DominantShares(const SchedView& view, bool live) : view_(&view), live_(live) {}

  bool moves() const { return live_; }

  struct Rank {
    DominantShare share;
    friend bool operator<(const Rank& a, const Rank& b) {
      return Int128{a.share.held} * b.share.capacity < Int128{b.share.held} * a.share.capacity;
    }
  };
  Rank rank(std::uint32_t owner) const { return {view_->dominant_share(owner, live_)}; }

 private:
  const SchedView* view_;
  bool live_;
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

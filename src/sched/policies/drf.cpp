// Dominant resource fairness: within a priority band the user goes first whose largest share of any
// slot of the resource group is smallest.
#include "sched/policies/by_owner.hpp"
#include "sched/policies/policies.hpp"
#include "sched/view_source.hpp"

namespace bai::sched {

namespace {

class DominantShares final : public OwnerRanks {
 public:
  DominantShares(const SchedView& view, bool live)
      : view_(view), mirror_(source_of(view).mirror), live_(live) {}

  std::uint64_t kind() const override { return 1; }
  std::array<std::uint64_t, 3> basis() const override {
    return {shares_of(source_of(view_)).revision, 0, 0};
  }
  Timestamp moment() const override { return {}; }
  bool changed_since(ChangeLog<std::uint32_t>::Place& since,
                     std::vector<std::uint32_t>& owners) const override {
    const auto scopes = mirror_.user_changes().since(since);
    if (!scopes) return false;
    for (const std::uint32_t scope : *scopes) {
      const auto of_scope = mirror_.owners_of(scope);
      owners.insert(owners.end(), of_scope.begin(), of_scope.end());
    }
    return true;
  }
  std::uint64_t team(std::uint32_t) override { return 0; }
  TeamRank team_rank(std::uint64_t) override { return {}; }
  OwnerRank rank(std::uint32_t owner) override { return rank(owner, live_); }
  OwnerRank floor(std::uint32_t owner) override { return rank(owner, false); }
  bool rises() const override { return false; }  // what is placed comes back as usage

 private:
  OwnerRank rank(std::uint32_t owner, bool with_granted) const {
    const DominantShare share = view_.dominant_share(owner, with_granted);
    return {share.held, share.capacity};
  }

  const SchedView& view_;
  const Mirror& mirror_;
  bool live_;
};

class Drf final : public Sequencer {
 public:
  explicit Drf(bool live) : live_(live) {}
  std::unique_ptr<Ordering> start(const SchedView& view) const override {
    return order_by_owner(view, std::make_unique<DominantShares>(view, live_));
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

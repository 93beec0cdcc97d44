// Fair share over time: within a priority band the domain goes first that has used least of what it
// may, within it the project, then the user. Usage fades with its age; what runs counts up to now.
#include <fmt/format.h>

#include "base/text.hpp"
#include "sched/policies/by_owner.hpp"
#include "sched/policies/policies.hpp"
#include "sched/view_source.hpp"

namespace bai::sched {

namespace {

constexpr std::int64_t kDaysMax = 366;
constexpr std::int64_t kWeightMilliMax = 1'000'000;

// The owners of one project in one domain are a team: what the domain and the project have used
// moves all of them. Ranks are what is missing of the highest factor.
class UsageRanks final : public OwnerRanks {
 public:
  UsageRanks(const SchedView& view, const FairShareSettings& settings)
      : mirror_(source_of(view).mirror),
        shares_(mirror_.tenancy().shares(view.resource_group())),
        settings_(settings),
        moment_(moment_of(source_of(view))) {
    prepare();
  }

  std::uint64_t kind() const override { return shares_ == nullptr ? 2 : 3; }
  // A new day fades by day and not all by the same, and factors are rounded: all are rated again.
  std::array<std::uint64_t, 3> basis() const override {
    if (shares_ == nullptr) return {};
    const auto [settings, capacities] = shares_->revision();
    return {settings, capacities, static_cast<std::uint64_t>(day_of(moment_.now))};
  }
  Timestamp moment() const override { return moment_.now; }
  bool changed_since(ChangeLog<std::uint32_t>::Place& since,
                     std::vector<std::uint32_t>& owners) const override {
    if (shares_ == nullptr) return true;
    const auto scopes = shares_->changes().since(since);
    if (!scopes) return false;
    for (const std::uint32_t scope : *scopes) {
      const auto& of_scope = shares_->owners_of(scope);
      owners.insert(owners.end(), of_scope.begin(), of_scope.end());
    }
    return true;
  }
  std::uint64_t team(std::uint32_t owner) override {
    if (shares_ == nullptr) return 0;
    return GroupShares::team_of(scopes_of(owner));
  }
  TeamRank team_rank(std::uint64_t team) override {
    if (shares_ == nullptr) return {};
    return {-factor(static_cast<std::uint32_t>(team >> 32)),
            -factor(static_cast<std::uint32_t>(team))};
  }
  std::int32_t upper_rank(std::uint64_t team) override {
    return shares_ == nullptr ? 0 : -factor(static_cast<std::uint32_t>(team >> 32));
  }
  std::int32_t team_floor(std::uint64_t team) override {
    if (shares_ == nullptr) return 0;
    const auto project = static_cast<std::uint32_t>(team);
    const std::int32_t rank = -factor(project);
    return shares_->falls(project) ? rank - 1 : rank;
  }
  bool teams_changed_since(ChangeLog<std::uint64_t>::Place& since,
                           std::vector<std::uint64_t>& teams) const override {
    if (shares_ == nullptr) return true;
    const auto changed = shares_->team_changes().since(since);
    if (!changed) return false;
    teams.insert(teams.end(), changed->begin(), changed->end());
    return true;
  }
  OwnerRank rank(std::uint32_t owner) override {
    if (shares_ == nullptr) return {};
    return {kFairShareOne - factor(scopes_of(owner)[2]), 1};
  }
  // What runs is used more and more, so a factor of today only falls: but for the last digit,
  // since nobody promises that of powers of two of real numbers.
  OwnerRank floor(std::uint32_t owner) override {
    OwnerRank floor = rank(owner);
    if (shares_ != nullptr && shares_->falls(scopes_of(owner)[2])) --floor.part;
    return floor;
  }
  bool rises() const override { return true; }

 private:
  void prepare() {
    if (shares_ == nullptr) return;
    shares_->prepare(settings_, moment_, mirror_.slots());
    revision_ = shares_->revision();
  }
  // Another policy may have asked by settings of its own meanwhile.
  std::int32_t factor(std::uint32_t scope) {
    if (shares_->revision() != revision_) prepare();
    return shares_->factor(scope, moment_);
  }
  const GroupShares::Scopes& scopes_of(std::uint32_t owner) {
    return shares_->scopes(owner, mirror_.owner(owner).owner);
  }

  const Mirror& mirror_;
  GroupShares* shares_;  // null: nobody has used anything
  const FairShareSettings& settings_;
  FairShareMoment moment_;
  std::pair<std::uint64_t, std::uint64_t> revision_;
};

class ByFairShare final : public Sequencer {
 public:
  explicit ByFairShare(FairShareSettings settings) : settings_(std::move(settings)) {}
  std::unique_ptr<Ordering> start(const SchedView& view) const override {
    return order_by_owner(view, std::make_unique<UsageRanks>(view, settings_));
  }

 private:
  FairShareSettings settings_;
};

// An object of numbers with at most three decimals.
std::vector<SlotMap::Entry> read_weights(PolicyOptions& options) {
  const Json& weights = options.raw("resource_weights");
  std::vector<SlotMap::Entry> read;
  if (!weights.is_null() && !weights.is_object()) {
    options.refuse(
        fmt::format("option \"resource_weights\" must be an object, not {}", weights.dump()));
  }
  for (const auto& [slot, value] : weights.members()) {
    const auto amount = parse_amount(
        SlotType::Count, value.is_string() ? std::string(value.as_string()) : value.dump());
    if (amount && amount->units <= kWeightMilliMax) {
      read.emplace_back(slot, *amount);
    } else {
      options.refuse(fmt::format(
          "option \"resource_weights\": the weight of {} must be a number from 0 to {} with at "
          "most three decimals, not {}",
          base::quoted(slot), kWeightMilliMax / 1000, value.dump()));
    }
  }
  return read;
}

}  // namespace

std::unique_ptr<const Sequencer> make_fair_share(PolicyOptions& options) {
  FairShareSettings settings;
  settings.half_life_days = options.integer("half_life_days", settings.half_life_days, 1, kDaysMax);
  settings.lookback_days = options.integer("lookback_days", settings.lookback_days, 1, kDaysMax);
  settings.decay_unit_days =
      options.integer("decay_unit_days", settings.decay_unit_days, 1, kDaysMax);
  settings.default_weight_milli =
      options.integer("default_weight_milli", settings.default_weight_milli, 1, kWeightMilliMax);
  settings.resource_weights = read_weights(options);
  return std::make_unique<ByFairShare>(std::move(settings));
}

}  // namespace bai::sched

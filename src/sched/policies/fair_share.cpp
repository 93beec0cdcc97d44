// Fair share over time: within a priority band the domain goes first that has used least of what it
// may, within it the project, then the user. Usage fades with its age; what runs counts up to now.
#include <fmt/format.h>

#include "base/text.hpp"
#include "sched/policies/by_owner.hpp"
#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

constexpr std::int64_t kDaysMax = 366;
constexpr std::int64_t kWeightMilliMax = 1'000'000;

class UsageRanks {
 public:
  UsageRanks(const SchedView& view, const FairShareSettings& settings)
      : view_(&view), settings_(&settings) {}

  static bool moves() { return false; }  // placing a session uses nothing yet

  struct Rank {  // the highest factors first
    FairShareFactors factors;
    friend bool operator<(const Rank& a, const Rank& b) { return b.factors < a.factors; }
  };
  Rank rank(std::uint32_t owner) const { return {view_->fair_share(owner, *settings_)}; }

 private:
  const SchedView* view_;
  const FairShareSettings* settings_;
};

class ByFairShare final : public Sequencer {
 public:
  explicit ByFairShare(FairShareSettings settings) : settings_(std::move(settings)) {}
  std::unique_ptr<Ordering> start(const SchedView& view) const override {
    return std::make_unique<ByOwner<UsageRanks>>(view, UsageRanks(view, settings_));
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

// Best fit and worst fit over processors and devices together.
#include <cmath>

#include "sched/policies/amounts.hpp"
#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

enum class Fit : std::uint8_t { Best, BestExact, Worst, WorstExact };

// A published definition rounds to whole percents; the exact forms weigh a device like 16
// processors and do not round.
class WeightedFit final : public ScoreSelector {
 public:
  WeightedFit(Fit fit, AmountOptions options) : fit_(fit), options_(std::move(options)) {}

  std::unique_ptr<const Rater> rater(const SchedView& view) const override {
    return std::make_unique<FitRater>(fit_, options_, view);
  }

  std::uint32_t device(const SchedView& view, const Demand& demand, AgentIndex agent,
                       SlotIndex slot, std::int64_t units,
                       std::span<const std::int64_t> free) const override {
    if (fit_ == Fit::Best || fit_ == Fit::BestExact) {
      return Selector::device(view, demand, agent, slot, units, free);
    }
    return static_cast<std::uint32_t>(std::ranges::max_element(free) - free.begin());
  }

 private:
  class FitRater final : public AmountRater {
   public:
    FitRater(Fit fit, const AmountOptions& options, const SchedView& view)
        : AmountRater(options, view, fit == Fit::Best || fit == Fit::BestExact), fit_(fit) {}

   private:
    std::int64_t rate(const Requirement& requirement, std::int64_t free_cpu,
                      std::int64_t free_device) const override {
      const std::int64_t cpu = free_cpu - amounts_.cpu(requirement);
      const std::int64_t device = free_device - amounts_.device(requirement);
      if (fit_ == Fit::BestExact) return -(cpu + kExactWeight * device);
      if (fit_ == Fit::WorstExact) return cpu + kExactWeight * device;
      const double left = 0.5 * static_cast<double>(cpu) / options_.cpu_scale +
                          0.5 * static_cast<double>(device) / options_.device_scale;
      return percent(fit_ == Fit::Best ? 1 - left : left);
    }

    static constexpr std::int64_t kExactWeight = 16;
    Fit fit_;
  };

  Fit fit_;
  AmountOptions options_;
};

}  // namespace

std::unique_ptr<const Selector> make_best_fit(PolicyOptions& options) {
  return std::make_unique<WeightedFit>(Fit::Best, read_amount_options(options));
}
std::unique_ptr<const Selector> make_best_fit_exact(PolicyOptions& options) {
  return std::make_unique<WeightedFit>(Fit::BestExact, read_amount_options(options));
}
std::unique_ptr<const Selector> make_worst_fit(PolicyOptions& options) {
  return std::make_unique<WeightedFit>(Fit::Worst, read_amount_options(options));
}
std::unique_ptr<const Selector> make_worst_fit_exact(PolicyOptions& options) {
  return std::make_unique<WeightedFit>(Fit::WorstExact, read_amount_options(options));
}

}  // namespace bai::sched

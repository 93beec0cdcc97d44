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
  class FitRater final : public Rater {
   public:
    FitRater(Fit fit, const AmountOptions& options, const SchedView& view)
        : fit_(fit), options_(options), amounts_(view, options) {}

    std::int64_t score(const SchedView& view, const Requirement& requirement,
                       AgentIndex agent) const override {
      return rate(requirement, amounts_.free_cpu(view, agent), amounts_.free_device(view, agent));
    }

    std::size_t traits() const override { return 2; }
    void describe(const SchedView& view, AgentIndex agent,
                  std::span<std::int64_t> traits) const override {
      traits[0] = amounts_.free_cpu(view, agent);
      traits[1] = amounts_.free_device(view, agent);
    }
    std::int64_t bound(const Requirement& requirement, std::span<const std::int64_t> least,
                       std::span<const std::int64_t> most) const override {
      const bool best = fit_ == Fit::Best || fit_ == Fit::BestExact;
      return best ? rate(requirement, least[0], least[1]) : rate(requirement, most[0], most[1]);
    }

   private:
    // Falls (best fit) or grows (worst fit) with what is free, also when it is rounded.
    std::int64_t rate(const Requirement& requirement, std::int64_t free_cpu,
                      std::int64_t free_device) const {
      const std::int64_t cpu = free_cpu - amounts_.cpu(requirement);
      const std::int64_t device = free_device - amounts_.device(requirement);
      if (fit_ == Fit::BestExact) return -(cpu + kExactWeight * device);
      if (fit_ == Fit::WorstExact) return cpu + kExactWeight * device;
      const double left = 0.5 * static_cast<double>(cpu) / options_.cpu_scale +
                          0.5 * static_cast<double>(device) / options_.device_scale;
      return static_cast<std::int64_t>(100 * (fit_ == Fit::Best ? 1 - left : left));
    }

    static constexpr std::int64_t kExactWeight = 16;
    Fit fit_;
    const AmountOptions& options_;
    Amounts amounts_;
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

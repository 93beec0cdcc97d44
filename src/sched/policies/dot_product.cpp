#include "sched/policies/amounts.hpp"
#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

// The agent whose free amounts point least in the direction of what is asked for.
class DotProduct final : public ScoreSelector {
 public:
  explicit DotProduct(AmountOptions options) : options_(std::move(options)) {}

  std::unique_ptr<const Rater> rater(const SchedView& view) const override {
    return std::make_unique<DotRater>(options_, view);
  }

 private:
  class DotRater final : public AmountRater {
   public:
    DotRater(const AmountOptions& options, const SchedView& view)
        : AmountRater(options, view, true) {}

   private:
    std::int64_t rate(const Requirement& requirement, std::int64_t free_cpu,
                      std::int64_t free_device) const override {
      const auto cpu = static_cast<double>(free_cpu);
      const auto device = static_cast<double>(free_device);
      const double product =
          cpu / options_.cpu_scale * static_cast<double>(amounts_.cpu(requirement)) /
              options_.cpu_scale +
          device / options_.device_scale * static_cast<double>(amounts_.device(requirement)) /
              options_.device_scale;
      return percent(1 - product / 2);
    }
  };

  AmountOptions options_;
};

}  // namespace

std::unique_ptr<const Selector> make_dot_product(PolicyOptions& options) {
  return std::make_unique<DotProduct>(read_amount_options(options));
}

}  // namespace bai::sched

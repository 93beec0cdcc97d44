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
  class DotRater final : public Rater {
   public:
    DotRater(const AmountOptions& options, const SchedView& view)
        : options_(options), amounts_(view, options) {}

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
                       std::span<const std::int64_t>) const override {
      return rate(requirement, least[0], least[1]);
    }

   private:
    // Falls with what is free, also when it is rounded.
    std::int64_t rate(const Requirement& requirement, std::int64_t free_cpu,
                      std::int64_t free_device) const {
      const auto cpu = static_cast<double>(free_cpu);
      const auto device = static_cast<double>(free_device);
      const double product =
          cpu / options_.cpu_scale * static_cast<double>(amounts_.cpu(requirement)) /
              options_.cpu_scale +
          device / options_.device_scale * static_cast<double>(amounts_.device(requirement)) /
              options_.device_scale;
      return static_cast<std::int64_t>(100 * (1 - product / 2));
    }

    const AmountOptions& options_;
    Amounts amounts_;
  };

  AmountOptions options_;
};

}  // namespace

std::unique_ptr<const Selector> make_dot_product(PolicyOptions& options) {
  return std::make_unique<DotProduct>(read_amount_options(options));
}

}  // namespace bai::sched

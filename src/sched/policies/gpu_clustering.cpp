#include <algorithm>
#include <numeric>

#include "sched/agent_table.hpp"
#include "sched/policies/amounts.hpp"
#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

// Keeps containers of one size class (a part of a device, 1, 2, 4, 8 devices) together.
class GpuClustering final : public ScoreSelector {
 public:
  explicit GpuClustering(AmountOptions options) : options_(std::move(options)) {}

  std::unique_ptr<const Rater> rater(const SchedView& view) const override {
    return std::make_unique<ClusterRater>(options_, view);
  }

 private:
  class ClusterRater final : public Rater {
   public:
    ClusterRater(const AmountOptions& options, const SchedView& view)
        : scale_(static_cast<std::int64_t>(options.device_scale)), amounts_(view, options) {}

    std::int64_t score(const SchedView& view, const Requirement& requirement,
                       AgentIndex agent) const override {
      const std::int64_t wanted = amounts_.device(requirement);
      if (wanted == 0) return 0;
      return used(amounts_.free_device(view, agent)) +
             likeness(amounts_.hosted(view, agent), hosted_class(wanted));
    }

    // Free devices and processors; how well a container of each size class would go with those that
    // are there.
    std::size_t traits() const override { return kFirstClass + kHostedClasses; }
    std::size_t splits() const override { return kFirstClass; }
    void describe(const SchedView& view, AgentIndex agent,
                  std::span<std::int64_t> traits) const override {
      const auto hosted = amounts_.hosted(view, agent);
      traits[0] = amounts_.free_device(view, agent);
      traits[1] = amounts_.free_cpu(view, agent);
      for (std::size_t c = 0; c < kHostedClasses; ++c)
        traits[kFirstClass + c] = likeness(hosted, c);
    }
    std::int64_t bound(const Requirement& requirement, std::span<const std::int64_t> least,
                       std::span<const std::int64_t> most) const override {
      const std::int64_t wanted = amounts_.device(requirement);
      return wanted == 0 ? 0 : used(least[0]) + most[kFirstClass + hosted_class(wanted)];
    }

   private:
    static constexpr std::size_t kFirstClass = 2;
    std::int64_t used(std::int64_t free) const { return 25 * (scale_ - free) / scale_; }
    static std::int64_t likeness(std::span<const std::uint32_t> hosted, std::size_t size_class) {
      const std::uint32_t all = std::accumulate(hosted.begin(), hosted.end(), 0U);
      if (all == 0) return 25;
      if (hosted[size_class] == 0) return 0;
      return hosted[size_class] == all ? 75 : 50;
    }

    std::int64_t scale_;
    Amounts amounts_;
  };

  AmountOptions options_;
};

}  // namespace

std::unique_ptr<const Selector> make_gpu_clustering(PolicyOptions& options) {
  return std::make_unique<GpuClustering>(read_amount_options(options));
}

}  // namespace bai::sched

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
      const std::int64_t used = 25 * (scale_ - amounts_.free_device(view, agent)) / scale_;
      const auto hosted = amounts_.hosted(view, agent);
      const std::uint32_t all = std::accumulate(hosted.begin(), hosted.end(), 0U);
      if (all == 0) return used + 25;
      const std::uint32_t alike = hosted[hosted_class(wanted)];
      if (alike == 0) return used;
      return used + (alike == all ? 75 : 50);
    }

   private:
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

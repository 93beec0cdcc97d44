#include "sched/policies/policies.hpp"

namespace bai {

Status add_builtin_policies(PolicyRegistry& registry) {
  // Validators check in this order.
  const Status added[] = {
      registry.add_sequencer("fifo", sched::make_fifo),
      registry.add_sequencer("lifo", sched::make_lifo),
      registry.add_sequencer("drf", sched::make_drf),
      registry.add_sequencer("fair-share", sched::make_fair_share),
      registry.add_sequencer("sjf", sched::make_sjf),
      registry.add_validator("dependencies", sched::make_dependencies),
      registry.add_validator("reserved-start", sched::make_reserved_start),
      registry.add_validator("resource-policy", sched::make_resource_policy),
      registry.add_validator("cohort", sched::make_cohort),
      registry.add_validator("session-types", sched::make_session_types),
      registry.add_validator("images", sched::make_images),
      registry.add_validator("container-count", sched::make_container_count),
      registry.add_selector("concentrated", sched::make_concentrated),
      registry.add_selector("dispersed", sched::make_dispersed),
      registry.add_selector("legacy", sched::make_dispersed),  // the same key
      registry.add_selector("roundrobin", sched::make_round_robin),
      registry.add_selector("bestfit", sched::make_best_fit),
      registry.add_selector("bestfitx", sched::make_best_fit_exact),
      registry.add_selector("worstfit", sched::make_worst_fit),
      registry.add_selector("worstfitx", sched::make_worst_fit_exact),
      registry.add_selector("dotprod", sched::make_dot_product),
      registry.add_selector("gpuclustering", sched::make_gpu_clustering),
      registry.add_selector("gpupacking", sched::make_gpu_packing),
      registry.add_selector("fgd", sched::make_fgd),
      registry.add_selector("fgdx", sched::make_fgd_exact),
      registry.add_selector("firstfit", sched::make_first_fit),
      registry.add_selector("random", sched::make_random),
  };
  for (const Status& status : added) {
    if (!status) return status;
  }
  return {};
}

}  // namespace bai

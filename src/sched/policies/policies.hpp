// The built-in policies, one per file.
#pragma once

#include <memory>

#include "bai_manager/policy.hpp"

namespace bai::sched {

// Code of a refusal that ends when borrowers give back what the project has lent them.
inline constexpr std::string_view kReclaim = "reclaim";

std::unique_ptr<const Sequencer> make_fifo(PolicyOptions& options);
std::unique_ptr<const Sequencer> make_lifo(PolicyOptions& options);
std::unique_ptr<const Sequencer> make_drf(PolicyOptions& options);
std::unique_ptr<const Sequencer> make_fair_share(PolicyOptions& options);
std::unique_ptr<const Sequencer> make_sjf(PolicyOptions& options);
std::unique_ptr<const Validator> make_dependencies(PolicyOptions& options);
std::unique_ptr<const Validator> make_reserved_start(PolicyOptions& options);
std::unique_ptr<const Validator> make_resource_policy(PolicyOptions& options);
std::unique_ptr<const Validator> make_cohort(PolicyOptions& options);
std::unique_ptr<const Validator> make_session_types(PolicyOptions& options);
std::unique_ptr<const Validator> make_images(PolicyOptions& options);
std::unique_ptr<const Validator> make_container_count(PolicyOptions& options);
std::unique_ptr<const Selector> make_concentrated(PolicyOptions& options);
std::unique_ptr<const Selector> make_dispersed(PolicyOptions& options);
std::unique_ptr<const Selector> make_round_robin(PolicyOptions& options);
std::unique_ptr<const Selector> make_best_fit(PolicyOptions& options);
std::unique_ptr<const Selector> make_best_fit_exact(PolicyOptions& options);
std::unique_ptr<const Selector> make_worst_fit(PolicyOptions& options);
std::unique_ptr<const Selector> make_worst_fit_exact(PolicyOptions& options);
std::unique_ptr<const Selector> make_dot_product(PolicyOptions& options);
std::unique_ptr<const Selector> make_gpu_clustering(PolicyOptions& options);
std::unique_ptr<const Selector> make_gpu_packing(PolicyOptions& options);
std::unique_ptr<const Selector> make_fgd(PolicyOptions& options);
std::unique_ptr<const Selector> make_fgd_exact(PolicyOptions& options);
std::unique_ptr<const Selector> make_first_fit(PolicyOptions& options);
std::unique_ptr<const Selector> make_random(PolicyOptions& options);

}  // namespace bai::sched

// The built-in policies, one per file.
#pragma once

#include <memory>

#include "bai_manager/policy.hpp"

namespace bai::sched {

std::unique_ptr<const Sequencer> make_fifo(PolicyOptions& options);
std::unique_ptr<const Sequencer> make_lifo(PolicyOptions& options);
std::unique_ptr<const Sequencer> make_drf(PolicyOptions& options);
std::unique_ptr<const Validator> make_dependencies(PolicyOptions& options);
std::unique_ptr<const Validator> make_reserved_start(PolicyOptions& options);
std::unique_ptr<const Validator> make_resource_policy(PolicyOptions& options);
std::unique_ptr<const Selector> make_concentrated(PolicyOptions& options);
std::unique_ptr<const Selector> make_dispersed(PolicyOptions& options);
std::unique_ptr<const Selector> make_round_robin(PolicyOptions& options);

}  // namespace bai::sched

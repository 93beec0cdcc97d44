// The policies of one resource group, made from its settings.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bai_manager/policy.hpp"

namespace bai::sched {

inline constexpr std::uint32_t kBackfillDepth = 100;

// Who may be ended for whom. ResourceGroup::policy_options, "preemption".
struct PreemptionRules {
  enum class Order : std::uint8_t { Oldest, Newest, FewestSessions, SmallestResources };
  enum class Scope : std::uint8_t { User, Project, Domain, ResourceGroup };
  bool enabled = false;
  Order order = Order::Oldest;
  Scope victim_scope = Scope::User;
  Duration min_runtime;
  friend bool operator==(const PreemptionRules&, const PreemptionRules&) = default;
};

struct PolicySet {
  std::unique_ptr<const Sequencer> sequencer;
  std::vector<std::unique_ptr<const Validator>> validators;
  std::unique_ptr<const Selector> selector;
  bool rates_agents = false;  // the selector is a ScoreSelector
  bool strict_designation = false;
  std::uint32_t container_limit = 0xffff'ffff;  // per agent
  std::uint32_t backfill_depth = kBackfillDepth;
  bool shortest_backfill = false;
  std::vector<std::string> topology;  // labels, smallest domains first
  PreemptionRules preemption;
  std::string notice;  // for the log, once; usually empty
};

// Members of ResourceGroup::policy_options:
//   agent_selection_policy  "preferred" (default) or "strict": what designated agents mean
//   max_container_count     containers per agent; absent: unlimited
//   default_runtime_s       how long a session runs that declares nothing; absent: nobody knows
//   backfill_depth          conservative: sessions that are promised a start; those behind wait
//   backfill_order          easy: "queue" (default) or "shortest" first among those behind the head
//   topology                names of labels, smallest domains first: where gangs stay together
//   scheduler_fallback      the sequencer for a row from elsewhere whose own is not known here
//   sequencer, selector     objects: options of the policy
//   preemption              object: enabled (false); order "oldest", "newest", "fewest-sessions" or
//                           "smallest-resources"; mode "terminate" or "reschedule"; min_runtime_s
//                           (0); victim_scope "user", "project", "domain" or "resource-group"
//   validators              names; absent: all that are registered
//   validator_options       object: name -> options
Result<PolicySet> make_policy_set(const PolicyRegistry& registry, const ResourceGroup& group);

}  // namespace bai::sched

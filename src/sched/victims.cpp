#include "sched/victims.hpp"

#include <algorithm>
#include <limits>

namespace bai::sched {

bool is_in_scope(const Session& row, const PreemptionRules& rules, const ResourceGroupName& group,
                 const Owner& owner) {
  using Of = PreemptionRules::Scope;
  return row.resource_group == group &&
         (rules.victim_scope == Of::ResourceGroup ||
          (rules.victim_scope == Of::User && row.user == owner.user) ||
          (rules.victim_scope == Of::Project && row.project == owner.project) ||
          (rules.victim_scope == Of::Domain && row.domain == owner.domain));
}

std::int64_t weight_of(const Tenant& tenant, const Mirror& mirror, const SchedView& view) {
  std::int64_t weight = 0;
  for (const auto& kernel : tenant.kernels) {
    for (const SlotRequest& r : mirror.held(kernel->id).first->slots) {
      const std::int64_t all = std::max<std::int64_t>(1, view.group_capacity(r.slot));
      weight += static_cast<std::int64_t>(Int128{r.units} * 1'000'000 / all);
    }
  }
  return weight;
}

VictimKey victim_key(const Session& row, const PreemptionRules& rules, std::int64_t weight) {
  VictimKey key{row.job_priority, 0, row.starts_at.ns, row.id};
  if (rules.order == PreemptionRules::Order::Newest) {
    key.first = key.began == 0 ? std::numeric_limits<std::int64_t>::min() : -key.began;
    key.began = 0;
  } else if (rules.order == PreemptionRules::Order::SmallestResources) {
    key.first = weight;
  }
  return key;
}

}  // namespace bai::sched

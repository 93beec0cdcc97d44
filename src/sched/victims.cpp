#include "sched/victims.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "sched/mirror.hpp"

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

std::uint8_t magnitude_of(std::int64_t units) noexcept {
  if (units <= 0) return Magnitudes::kNone;
  // Half of the bits of the square: rounded to the nearest one.
  const Int128 square = Int128{units} * units;
  const auto high = static_cast<std::uint64_t>(square >> 64);
  const auto width =
      high != 0 ? 64U + static_cast<unsigned>(std::bit_width(high))
                : static_cast<unsigned>(std::bit_width(static_cast<std::uint64_t>(square)));
  return static_cast<std::uint8_t>(width / 2);
}

Magnitudes::Magnitudes(const SchedView& view) : of_(view.slot_count(), kNone) {
  for (SlotIndex slot = 0; slot < of_.size(); ++slot) {
    of_[slot] = magnitude_of(view.group_capacity(slot));
  }
}

std::int64_t weight_of(const Tenant& tenant, const Mirror& mirror, const Magnitudes& magnitudes) {
  constexpr int kWhole = 60;
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  std::int64_t weight = 0;
  for (const auto& kernel : tenant.kernels) {
    for (const SlotRequest& r : mirror.held(kernel->id).first->slots) {
      const int magnitude = magnitudes[r.slot];
      if (magnitude == Magnitudes::kNone || r.units <= 0) continue;
      const Int128 part = Int128{r.units} << kWhole >> magnitude;
      weight = capped_sum(weight, part > kMost ? kMost : static_cast<std::int64_t>(part));
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

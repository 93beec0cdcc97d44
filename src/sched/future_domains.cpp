// When a gang that is kept together can start: domains in the order of the earliest times at which
// they may have room, until no other one can be better.
#include <algorithm>
#include <functional>
#include <utility>

#include "sched/domain_starts.hpp"
#include "sched/future.hpp"

namespace bai::sched {

// A promise only takes from what is free, so that no domain has room before the time that is kept
// of it; but where devices alone are missing it may come to say that they are not known any more.
std::vector<std::int64_t> Future::domain_bounds(const Topology& topology, std::size_t level,
                                                DomainStartsCache& starts, const Request& request,
                                                std::int64_t from) const {
  std::vector<std::int64_t> first(topology.domains(level).size(), std::max(now_, from));
  const auto& all = request.requirements;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto is_alike = [&](const Requirement& other) { return other.id == all[i].id; };
    if (std::any_of(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(i), is_alike)) continue;
    const auto wanted = static_cast<std::size_t>(std::ranges::count_if(all, is_alike));
    const auto kept = starts.refreshed(mirror_, group_, topology, started_,
                                       {all[i], wanted, level, container_limit_});
    std::vector<bool> is_unknown(first.size(), false);
    for (const AgentIndex agent : special_devices(all[i])) {
      const std::uint32_t domain = topology.domain_of(level, agent);
      if (domain != Topology::kNoDomain) is_unknown[domain] = true;
    }
    for (std::size_t d = 0; d < first.size(); ++d) {
      if (is_unknown[d] || kept[d] == StartTimes::kAtOnce) continue;
      first[d] = std::max(first[d], std::max(kept[d], now_ + 1));
    }
  }
  return first;
}

std::optional<Future::Start> Future::earliest_within(const Topology& topology, std::size_t level,
                                                     DomainStartsCache& starts,
                                                     const Request& request, Duration estimate,
                                                     AgentFilter filter, Bounds bounds,
                                                     std::uint64_t& steps) {
  const auto first = domain_bounds(topology, level, starts, request, bounds.from);
  std::vector<std::pair<std::int64_t, std::size_t>> heap;
  for (std::size_t d = 0; d < first.size(); ++d) {
    if (first[d] < bounds.limit) heap.emplace_back(first[d], d);
  }
  std::ranges::make_heap(heap, std::greater<>());
  std::optional<Start> best;
  std::size_t best_in = 0;
  while (!heap.empty() && steps < bounds.steps) {
    std::ranges::pop_heap(heap, std::greater<>());
    const auto [at, domain] = heap.back();
    heap.pop_back();
    if (best && std::pair(best->at, best_in) < std::pair(at, domain)) break;
    filter.within = &topology.domains(level)[domain].agents;
    filter.is_domain = true;
    Bounds earlier = bounds;
    if (best) earlier.limit = domain < best_in ? best->at + 1 : best->at;
    auto start = earliest(request, estimate, filter, earlier, steps);
    if (!start) continue;
    best = std::move(start);
    best_in = domain;
  }
  return best;
}

}  // namespace bai::sched

#include "sched/feasibility.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "sched/explain.hpp"

namespace bai::sched {

namespace {

struct Kind {
  const Requirement* requirement;
  std::size_t wanted;
};

std::vector<Kind> kinds_of(const Request& request) {
  std::vector<Kind> kinds;
  for (const Requirement& requirement : request.requirements) {
    const auto known = std::ranges::find_if(
        kinds, [&](const Kind& kind) { return kind.requirement->id == requirement.id; });
    if (known != kinds.end()) {
      ++known->wanted;
    } else {
      kinds.push_back({&requirement, 1});
    }
  }
  return kinds;
}

// Not less than the devices of an empty agent are enough for.
std::size_t copies_of_devices(const DeviceSet& set, std::int64_t units) {
  const std::int64_t whole = units / kUnitsPerDevice, rest = units % kUnitsPerDevice;
  std::int64_t full = 0, parts = 0, sum = 0;
  for (const std::int64_t device : set.capacity) {
    if (device >= kUnitsPerDevice) ++full;
    if (rest > 0) parts += device / rest;
    sum += device;
  }
  std::int64_t copies = std::numeric_limits<std::int64_t>::max();
  if (whole > 0) copies = std::min(full / whole, sum / units);
  if (whole == 0) copies = parts;
  return static_cast<std::size_t>(copies);
}

// On an agent on which nothing runs, `most` at most.
std::size_t copies_when_empty(const AgentTable& agents, AgentIndex agent,
                              const Requirement& requirement, std::uint32_t container_limit,
                              std::size_t most) {
  if (!agents.fits_when_empty(agent, requirement)) return 0;
  if (most > 1 && requirement.containers > 0) {
    most = std::min<std::size_t>(most, container_limit / requirement.containers);
  }
  for (const SlotRequest& r : requirement.slots) {
    if (r.units == 0 || most <= 1) continue;
    const std::int64_t capacity = agents.column(r.slot)->capacity[agent];
    most = std::min(most, static_cast<std::size_t>(capacity / r.units));
    if (const DeviceSet* set = agents.devices(agent, r.slot)) {
      most = std::min(most, std::max<std::size_t>(1, copies_of_devices(*set, r.units)));
    }
  }
  return most;
}

class Check {
 public:
  Check(const ViewSource& source, const Request& request, const AgentFilter& filter, bool with_away)
      : source_(source),
        agents_(source.group.agents),
        request_(request),
        filter_(filter),
        with_away_(with_away) {}

  // Why it has no room; empty: nothing is known against it.
  std::string why() const {
    const std::vector<Kind> kinds = kinds_of(request_);
    for (const Kind& kind : kinds) {
      if (kind.requirement->containers > filter_.container_limit)
        return too_large(source_, *kind.requirement).why;
      std::size_t room = 0;
      for_each([&](AgentIndex a) {
        if (suits(a, *kind.requirement)) {
          room += copies_when_empty(agents_, a, *kind.requirement, filter_.container_limit,
                                    kind.wanted - room);
        }
        return room < kind.wanted;
      });
      if (room == 0) return too_large(source_, *kind.requirement).why;
      if (room < kind.wanted) {
        return fmt::format("those of resource group {} have room for {} of its {} kernels of {}",
                           source_.group.name.str(), room, kind.wanted,
                           slots_text(source_.mirror, kind.requirement->slots));
      }
    }
    return kinds.size() > 1 ? too_much(kinds) : std::string();
  }

 private:
  template <class Each>
  void for_each(Each&& each) const {
    if (filter_.within != nullptr) {
      for (const AgentIndex a : *filter_.within) {
        if (!each(a)) return;
      }
      return;
    }
    for (AgentIndex a = 0; a < agents_.size(); ++a) {
      if (!each(a)) return;
    }
  }

  bool suits(AgentIndex a, const Requirement& requirement) const {
    return (with_away_ || agents_.takes_sessions(a)) &&
           agents_.architecture(a) == requirement.architecture &&
           agents_.labels_match(a, requirement.labels) &&
           (!filter_.strict || std::ranges::binary_search(filter_.designated, a));
  }

  // Unlike kernels together.
  std::string too_much(const std::vector<Kind>& kinds) const {
    for (const SlotRequest& r : request_.total) {
      if (r.units == 0) continue;
      std::int64_t sum = 0;
      for_each([&](AgentIndex a) {
        const bool may = std::ranges::any_of(
            kinds, [&](const Kind& kind) { return suits(a, *kind.requirement); });
        if (may && agents_.has_slot(a, r.slot)) sum += agents_.column(r.slot)->capacity[a];
        return sum < r.units;
      });
      if (sum >= r.units) continue;
      const SlotRequest has{r.slot, sum};
      return fmt::format("those of resource group {} have {} together, and it asks for {}",
                         source_.group.name.str(), slots_text(source_.mirror, {{has}}),
                         slots_text(source_.mirror, {{r}}));
    }
    return {};
  }

  const ViewSource& source_;
  const AgentTable& agents_;
  const Request& request_;
  const AgentFilter& filter_;
  bool with_away_;
};

}  // namespace

Infeasible too_large(const ViewSource& source, const Requirement& requirement) {
  return {true, fmt::format("none of resource group {} is large enough for {}, even when empty",
                            source.group.name.str(), slots_text(source.mirror, requirement.slots))};
}

std::optional<Infeasible> infeasible(const ViewSource& source, const Request& request,
                                     const AgentFilter& filter) {
  if (Check(source, request, filter, false).why().empty()) return std::nullopt;
  std::string why = Check(source, request, filter, true).why();
  if (!why.empty()) return Infeasible{true, std::move(why)};
  return Infeasible{false, "the agents that are large enough for it take no sessions now"};
}

}  // namespace bai::sched

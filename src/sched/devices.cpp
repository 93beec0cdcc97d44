// Devices: slots of which every kernel gets whole pieces and at most one part of a piece.
#include <algorithm>

#include "sched/agent_table.hpp"

namespace bai::sched {

namespace {

// Takes `units` from `free`; the parts of a device where `pick` says. False when they are not
// there.
template <class Pick, class Give>
bool hand_out(std::span<std::int64_t> free, std::int64_t units, Pick&& pick, Give&& give) {
  std::int64_t whole = units / kUnitsPerDevice;
  const std::int64_t rest = units % kUnitsPerDevice;
  for (std::uint32_t i = 0; i < free.size() && whole > 0; ++i) {
    if (free[i] < kUnitsPerDevice) continue;
    free[i] -= kUnitsPerDevice;
    give(i, kUnitsPerDevice);
    --whole;
  }
  if (whole > 0) return false;
  if (rest == 0) return true;
  if (std::ranges::none_of(free, [&](std::int64_t f) { return f >= rest; })) return false;
  const std::uint32_t device = pick(rest, free);
  if (device >= free.size() || free[device] < rest) return false;
  free[device] -= rest;
  give(device, rest);
  return true;
}

// Calls `each(part, slot request)` for what every kernel of the requirement asks for.
template <class Each>
bool for_each_part(const Requirement& requirement, Each&& each) {
  if (requirement.parts.empty()) {
    for (const SlotRequest& r : requirement.slots) {
      if (!each(0U, r)) return false;
    }
    return true;
  }
  for (std::uint32_t part = 0; part < requirement.parts.size(); ++part) {
    for (const SlotRequest& r : requirement.parts[part]) {
      if (!each(part, r)) return false;
    }
  }
  return true;
}

bool one_kernel_fits(std::span<const std::int64_t> devices, std::int64_t units) noexcept {
  std::int64_t whole = units / kUnitsPerDevice;
  const std::int64_t rest = units % kUnitsPerDevice;
  bool has_rest = rest == 0;
  std::int64_t whole_free = 0;
  for (const std::int64_t free : devices) {
    if (free >= kUnitsPerDevice) {
      ++whole_free;
    } else if (free >= rest) {
      has_rest = true;
    }
  }
  if (!has_rest) ++whole;
  return whole_free >= whole;
}

using Amounts = std::vector<std::int64_t> DeviceSet::*;  // of each device: free, or capacity

template <class Pick, class Give>
bool hand_out_all(const AgentTable& agents, AgentIndex agent, const Requirement& requirement,
                  Amounts amounts, Pick&& pick, Give&& give) {
  std::map<SlotIndex, std::vector<std::int64_t>> left;
  return for_each_part(requirement, [&](std::uint32_t part, const SlotRequest& r) {
    const DeviceSet* set = r.units != 0 ? agents.devices(agent, r.slot) : nullptr;
    if (set == nullptr) return true;
    const auto has = left.try_emplace(r.slot, set->*amounts).first;
    return hand_out(
        std::span(has->second), r.units,
        [&](std::int64_t units, std::span<const std::int64_t> now) {
          return pick(r.slot, units, now);
        },
        [&](std::uint32_t device, std::int64_t units) {
          give(DeviceGrant{part, r.slot, device, units});
        });
  });
}

bool fit_on(const AgentTable& agents, AgentIndex agent, const Requirement& requirement,
            Amounts amounts) {
  if (requirement.parts.empty()) {
    return std::ranges::all_of(requirement.slots, [&](const SlotRequest& r) {
      const DeviceSet* set = r.units != 0 ? agents.devices(agent, r.slot) : nullptr;
      return set == nullptr || one_kernel_fits(set->*amounts, r.units);
    });
  }
  const auto pick = [](SlotIndex, std::int64_t units, std::span<const std::int64_t> has) {
    return tightest_device(units, has);
  };
  return hand_out_all(agents, agent, requirement, amounts, pick, [](const DeviceGrant&) {});
}

}  // namespace

std::size_t hosted_class(std::int64_t units) noexcept {
  const std::int64_t devices = units / kUnitsPerDevice;
  if (devices == 0) return 0;
  if (devices <= 2) return static_cast<std::size_t>(devices);
  return devices <= 4 ? 3 : 4;
}

std::uint32_t tightest_device(std::int64_t units, std::span<const std::int64_t> free) noexcept {
  std::uint32_t best = 0;
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (std::uint32_t i = 0; i < free.size(); ++i) {
    if (free[i] < units || free[i] >= least) continue;
    best = i;
    least = free[i];
  }
  return best;
}

bool AgentTable::devices_fit(AgentIndex at, const Requirement& requirement) const noexcept {
  if (devices_.empty()) return true;
  return fit_on(*this, at, requirement, &DeviceSet::free);
}

bool AgentTable::fits_when_empty(AgentIndex at, const Requirement& requirement) const noexcept {
  const bool has_amounts = std::ranges::all_of(requirement.slots, [&](const SlotRequest& r) {
    const SlotColumn* c = r.units != 0 ? column(r.slot) : nullptr;
    return r.units == 0 || (c != nullptr && c->capacity[at] >= r.units);
  });
  return has_amounts && (devices_.empty() || fit_on(*this, at, requirement, &DeviceSet::capacity));
}

void AgentTable::take_devices(AgentIndex at, std::span<const DeviceGrant> grants,
                              int sign) noexcept {
  for (std::size_t i = 0; i < grants.size();) {
    const std::uint32_t part = grants[i].part;
    const SlotIndex slot = grants[i].slot;
    DeviceSet& set = devices_[slot][at];
    std::int64_t units = 0;
    for (; i < grants.size() && grants[i].part == part && grants[i].slot == slot; ++i) {
      set.free[grants[i].device] -= sign * grants[i].units;
      units += grants[i].units;
    }
    std::uint32_t& hosted = set.hosted[hosted_class(units)];
    hosted = sign > 0 ? hosted + 1 : hosted - 1;
  }
}

std::optional<std::vector<DeviceGrant>> choose_devices(const AgentTable& agents, AgentIndex agent,
                                                       const Requirement& requirement,
                                                       const DevicePick& pick) {
  std::vector<DeviceGrant> grants;
  if (!hand_out_all(agents, agent, requirement, &DeviceSet::free, pick,
                    [&](const DeviceGrant& grant) { grants.push_back(grant); })) {
    return std::nullopt;
  }
  return grants;
}

}  // namespace bai::sched

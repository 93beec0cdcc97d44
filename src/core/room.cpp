#include "core/room.hpp"

#include <algorithm>

#include "model/devices.hpp"

namespace bai::core {

bool has_room(const Agent& agent, const SlotMap& taken, const SlotMap& wanted) {
  return std::ranges::all_of(wanted, [&](const auto& one) {
    const auto& [name, amount] = one;
    return amount.units <= 0 || taken.get(name) + amount <= agent.available_slots.get(name);
  });
}

bool has_devices(const State& state, const Agent& agent, DeviceUnits wanted,
                 const std::function<bool(const Kernel&)>& count) {
  if (wanted.empty()) return true;
  state.table<Kernel>().for_each_in(
      index::kKernelByAgent, IndexPrefix{}.add(agent.id.view()).str(), [&](const Kernel& kernel) {
        if (!holds_resources(kernel.status) || !count(kernel)) return true;
        for (const auto& [device, units] : devices_of(state, kernel)) {
          if (const auto it = wanted.find(device); it != wanted.end()) it->second += units;
        }
        return true;
      });
  return std::ranges::all_of(wanted, [&](const auto& one) {
    const auto& [slot, device] = one.first;
    const auto devices = bai::devices_of(agent, slot, state.slot_types().type_of(slot),
                                         agent.available_slots.get(slot));
    return device < devices.size() && one.second <= devices[device];
  });
}

DeviceUnits devices_of(const State& state, const Kernel& kernel) {
  DeviceUnits devices;
  for_each_device(kernel, state.slot_types(),
                  [&](const std::string& slot, std::uint32_t device, std::int64_t units) {
                    devices[{slot, device}] += units;
                  });
  return devices;
}

}  // namespace bai::core

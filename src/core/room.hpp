// What agents still have, looked at again before anything is granted.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "core/context.hpp"

namespace bai::core {

// By slot and number of the device, in units.
using DeviceUnits = std::map<std::pair<std::string, std::uint32_t>, std::int64_t>;

// Whether the agent has `wanted` beside `taken`.
bool has_room(const Agent& agent, const SlotMap& taken, const SlotMap& wanted);

// Whether the devices are there and have that much beside the kernels on the agent that hold
// resources and `count`.
bool has_devices(const State& state, const Agent& agent, DeviceUnits wanted,
                 const std::function<bool(const Kernel&)>& count);

// What the kernel has of devices, or is to get.
DeviceUnits devices_of(const State& state, const Kernel& kernel);

}  // namespace bai::core

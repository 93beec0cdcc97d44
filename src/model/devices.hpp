// The devices that slots are made of on an agent.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/entities.hpp"

namespace bai {

// What each device of the slot can give, in units; empty when the slot is not made of devices. An
// agent's row may list them; otherwise a slot "...shares" is split by whole ones. A list that is
// wrong counts as none.
std::vector<std::int64_t> devices_of(const Agent& agent, std::string_view slot, SlotType type,
                                     Amount capacity);

// Calls `each(slot, device, units)` for what the kernel has of each device.
template <class Each>
void for_each_device(const Kernel& kernel, const SlotTypes& types, Each&& each) {
  for (const auto& [slot, grants] : kernel.devices.members()) {
    for (const auto& [index, amount] : grants.members()) {
      std::uint32_t device = 0;
      const auto parsed = std::from_chars(index.data(), index.data() + index.size(), device);
      const auto units = parse_amount(types.type_of(slot), amount.as_string("0"));
      if (parsed.ec == std::errc() && units) each(slot, device, units->units);
    }
  }
}

// What is wrong with the devices and labels that the agent's row lists: a sentence, or empty.
std::string wrong_details(const Agent& agent, const SlotTypes& types);

}  // namespace bai

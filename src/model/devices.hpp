// The devices that slots are made of on an agent.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/entities.hpp"

namespace bai {

class SlotTypes;

// What each device of the slot can give, in units; empty when the slot is not made of devices. An
// agent's row may list them; otherwise a slot "...shares" is split by whole ones. A list that is
// wrong counts as none.
std::vector<std::int64_t> devices_of(const Agent& agent, std::string_view slot, SlotType type,
                                     Amount capacity);

// What is wrong with the devices and labels that the agent's row lists: a sentence, or empty.
std::string wrong_details(const Agent& agent, const SlotTypes& types);

}  // namespace bai

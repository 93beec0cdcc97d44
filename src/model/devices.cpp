#include "model/devices.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "bai_manager/policy.hpp"

namespace bai {

namespace {

std::optional<Amount> device_amount(const Json& value, SlotType type) {
  const auto amount = parse_amount(type, value.is_string() ? value.as_string() : value.dump());
  if (!amount || amount->units <= 0 || amount->units > kUnitsPerDevice) return std::nullopt;
  return *amount;
}

}  // namespace

std::vector<std::int64_t> devices_of(const Agent& agent, std::string_view slot, SlotType type,
                                     Amount capacity) {
  std::vector<std::int64_t> devices;
  if (const Json* listed = agent.devices.find(slot); listed != nullptr) {
    for (const Json& one : listed->items()) {
      const auto amount = device_amount(one, type);
      if (!amount || devices.size() == kDevicesMax) return {};
      devices.push_back(amount->units);
    }
    return devices;
  }
  std::int64_t left = capacity.units;
  if (split_slot_name(slot).major != "shares" || left > kDevicesMax * kUnitsPerDevice) return {};
  for (; left > 0; left -= kUnitsPerDevice) devices.push_back(std::min(left, kUnitsPerDevice));
  return devices;
}

std::string wrong_details(const Agent& agent, const SlotTypes& types) {
  for (const auto& [name, value] : agent.labels.members()) {
    if (!value.is_string()) {
      return fmt::format("its label \"{}\" must be a text, not {}", name, value.dump());
    }
  }
  for (const auto& [slot, listed] : agent.devices.members()) {
    if (!agent.available_slots.contains(slot)) {
      return fmt::format("it lists devices of slot \"{}\", which it does not have", slot);
    }
    if (!listed.is_array() || listed.items().size() > kDevicesMax) {
      return fmt::format("devices of slot \"{}\": must be an array of at most {} amounts", slot,
                         kDevicesMax);
    }
    for (const Json& one : listed.items()) {
      if (!device_amount(one, types.type_of(slot))) {
        return fmt::format("devices of slot \"{}\": {} must be an amount above 0, at most 1", slot,
                           one.dump());
      }
    }
  }
  return {};
}

}  // namespace bai

// Slot amounts as JSON objects: {"cpu": "2", "mem": "4g"}.
#include <optional>

#include "bai_manager/json.hpp"
#include "bai_manager/resources.hpp"
#include "base/text.hpp"

namespace bai {

namespace {

std::unexpected<Error> unknown_slot(std::string_view name) {
  std::string message = "Unknown slot type " + base::quoted(name);
  if (name == "shmem") message += "; shared memory is not a slot, put it into resource_opts.shmem";
  return fail(ErrorCode::InvalidArgument, std::move(message), "unknown-slot-type");
}

// Numbers are taken by their text, so that 0.1 is one tenth and not the nearest double.
std::string amount_text(const Json& value) {
  return value.is_string() ? std::string(value.as_string()) : value.dump();
}

// `type_of(name)`: nothing when the slot is unknown.
template <class TypeOf>
Result<SlotMap> parse_with(const TypeOf& type_of, const Json& object) {
  if (!object.is_object() && !object.is_null()) {
    return fail(ErrorCode::InvalidArgument,
                "Resource slots must be an object such as {\"cpu\": \"2\", \"mem\": \"4g\"}",
                "invalid-amount");
  }
  SlotMap out;
  for (const auto& [name, value] : object.members()) {
    const std::optional<SlotType> type = type_of(name);
    if (!type) return unknown_slot(name);
    if (value.is_null()) continue;
    if (!value.is_string() && !value.is_number()) {
      return fail(ErrorCode::InvalidArgument,
                  "The amount of slot " + base::quoted(name) + " must be text or a number",
                  "invalid-amount");
    }
    auto amount = parse_amount(*type, amount_text(value));
    if (!amount) {
      amount.error().message = "Slot " + base::quoted(name) + ": " + amount.error().message;
      return std::unexpected(std::move(amount.error()));
    }
    out.set(name, *amount);
  }
  return out;
}

}  // namespace

Result<SlotMap> parse_slots(const SlotTypes& types, const Json& object) {
  const auto known = [&](std::string_view name) {
    return types.knows(name) ? std::optional(types.type_of(name)) : std::nullopt;
  };
  return parse_with(known, object);
}

Result<SlotMap> parse_untyped_slots(const Json& object) {
  const auto guessed = [](std::string_view name) -> std::optional<SlotType> {
    return name.contains("mem") ? SlotType::Size : SlotType::Count;
  };
  return parse_with(guessed, object);
}

Json slots_to_json(const SlotTypes& types, const SlotMap& slots) {
  Json out = Json::object();
  for (const auto& [name, amount] : slots) {
    out.set(name, format_amount(types.type_of(name), amount));
  }
  return out;
}

Json slots_to_json_humanized(const SlotTypes& types, const SlotMap& slots) {
  Json out = Json::object();
  for (const auto& [name, amount] : slots) {
    out.set(name, format_amount_humanized(types.type_of(name), amount));
  }
  return out;
}

}  // namespace bai

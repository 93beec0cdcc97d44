#include "random.hpp"

#include <doctest/doctest.h>

#include <array>

#include "bai_manager/entities.hpp"

namespace bai::test {

namespace {

std::string random_uuid(Dice& dice) {
  std::array<std::uint8_t, 16> bytes{};
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(dice.below(256));
  return uuid_to_string(bytes);
}

Json random_json(Dice& dice, int depth) {
  switch (dice.below(depth > 0 ? 7 : 5)) {
    case 0:
      return {};
    case 1:
      return dice.chance(50);
    case 2:
      return static_cast<std::int64_t>(dice.next());
    case 3:
      return static_cast<double>(dice.between(-1000, 1000)) / 8;
    case 4:
      return dice.text();
    case 5: {
      Json list = Json::array();
      for (std::uint64_t n = dice.below(4); n > 0; --n)
        list.push_back(random_json(dice, depth - 1));
      return list;
    }
    default: {
      Json object = Json::object();
      for (std::uint64_t n = dice.below(4); n > 0; --n) {
        object.set(dice.text(), random_json(dice, depth - 1));
      }
      return object;
    }
  }
}

std::string random_slots(Dice& dice) {
  Json slots = Json::object();
  for (const char* name : {"cpu", "cuda.device", "cuda.shares", "mem"}) {
    if (dice.chance(40)) continue;
    slots.set(name, dice.chance(10) ? kInfiniteAmount.units : dice.between(0, 1LL << 50));
  }
  return slots.dump();
}

std::string random_times(Dice& dice) {
  Json times = Json::object();
  for (const char* status : {"PENDING", "SCHEDULED", "RUNNING"}) {
    if (dice.chance(50)) times.set(status, dice.between(1, 1LL << 50) * 1000);
  }
  return times.dump();
}

// Lists are of text or of integers: the field itself says which.
std::string random_list(Dice& dice, const FieldInfo& field) {
  const bool numbers = field.name == "preopen_ports";
  Json list = Json::array();
  for (std::uint64_t n = dice.below(4); n > 0; --n) {
    list.push_back(numbers ? Json(dice.between(1, 65535)) : Json(dice.text()));
  }
  return list.dump();
}

}  // namespace

std::string Dice::text(std::size_t longest) {
  static constexpr char kLetters[] = "aZ09_-. \"\\/\n\t\0\x01\x7f{}[]%";
  std::string out;
  for (std::uint64_t n = below(longest + 1); n > 0; --n) {
    if (chance(8)) {
      out += chance(50) ? "\u00e9" : "\u6f22";
    } else {
      out += kLetters[below(sizeof kLetters - 1)];
    }
  }
  return out;
}

Value random_value(Dice& dice, const FieldInfo& field) {
  if (field.is(kOptional) && dice.chance(30)) return {};
  switch (field.type) {
    case FieldType::Bool:
      return std::int64_t{dice.chance(50)};
    case FieldType::Int:
      return static_cast<std::int64_t>(dice.next());
    case FieldType::Uuid:
      return random_uuid(dice);
    case FieldType::Time:
      return dice.between(0, 1LL << 50) * 1000;
    case FieldType::Span:
      return dice.between(0, 1LL << 30) * 1'000'000;
    case FieldType::Enum:
      return std::string(field.enum_names[dice.below(field.enum_names.size())]);
    case FieldType::Slots:
      return random_slots(dice);
    case FieldType::Json:
      return random_json(dice, 3).dump();
    case FieldType::List:
      return random_list(dice, field);
    case FieldType::Times:
      return random_times(dice);
    case FieldType::Text:
      break;
  }
  // The one text field whose values are a closed set without an enumeration of names.
  if (field.name == "slot_type")
    return std::string(to_string(static_cast<SlotType>(dice.below(4))));
  return dice.text();
}

std::shared_ptr<void> random_row(Dice& dice, const EntityInfo& info) {
  auto row = info.make();
  for (const FieldInfo& field : info.fields) {
    const Status set = field.set(row.get(), random_value(dice, field));
    REQUIRE_MESSAGE(set.has_value(), info.name << "." << field.name);
  }
  return row;
}

}  // namespace bai::test

// Every entity's description, checked over all of its fields with random rows.
#include "bai_manager/schema.hpp"

#include <doctest/doctest.h>

#include <set>

#include "random.hpp"

namespace bai::test {

namespace {

// A JSON value that cannot be right for a field of this type.
Json wrong_json(FieldType type) {
  switch (type) {
    case FieldType::Bool:
      return "true";
    case FieldType::Int:
      return 1.5;
    case FieldType::Text:
      return 7;
    case FieldType::Uuid:
      return "not-a-uuid";
    case FieldType::Time:
      return "yesterday";
    case FieldType::Span:
      return "3 s";
    case FieldType::Enum:
      return "no-such-name";
    case FieldType::Slots:
      return Json::object({{"cpu", "-1"}});
    case FieldType::Json:
      return {};  // anything is right
    case FieldType::List:
      return Json::object();
    case FieldType::Times:
      return Json::object({{"PENDING", 3}});
  }
  return {};
}

// The same for stored values.
Value wrong_value(FieldType type) {
  switch (type) {
    case FieldType::Bool:
    case FieldType::Int:
    case FieldType::Time:
    case FieldType::Span:
      return std::string("7");
    case FieldType::Text:
      return std::int64_t{7};
    case FieldType::Uuid:
      return std::string("0190");
    case FieldType::Enum:
      return std::string("no-such-name");
    case FieldType::Slots:
      return std::string(R"({"cpu": "1"})");
    case FieldType::Json:
      return std::string("{");
    case FieldType::List:
      return std::string("{}");
    case FieldType::Times:
      return std::string(R"({"PENDING": "x"})");
  }
  return {};
}

}  // namespace

TEST_CASE("descriptions are complete: keys, names, indexes, enumerations") {
  std::set<std::string_view> tables, names;
  for (const EntityInfo* info : all_entities()) {
    CAPTURE(info->name);
    CHECK(names.insert(info->name).second);
    CHECK(tables.insert(info->table).second);
    CHECK(find_entity(info->name) == info);
    CHECK(find_entity(info->table) == info);
    CHECK(&entity_info(info->kind) == info);
    REQUIRE_FALSE(info->fields.empty());
    CHECK(info->fields[0].is(kKey));
    std::set<std::string_view> fields;
    for (const FieldInfo& field : info->fields) {
      CAPTURE(field.name);
      CHECK(fields.insert(field.name).second);
      CHECK(info->find(field.name) == &field);
      CHECK(field.is(kKey) == (&field == &info->fields[0]));
      CHECK((field.type == FieldType::Enum) == !field.enum_names.empty());
      CHECK_FALSE((field.is(kVolatile) && field.is(kImmutable)));
    }
    CHECK(info->find("no such field") == nullptr);
    for (const IndexInfo& index : info->indexes) {
      CHECK_FALSE(index.fields.empty());
      for (const std::uint16_t at : index.fields) {
        REQUIRE(at < info->fields.size());
        CHECK_FALSE(info->fields[at].is(kVolatile));
      }
    }
    for (const FieldInfo& field : info->fields) {
      if (!field.is(kUnique)) continue;
      const bool indexed =
          std::any_of(info->indexes.begin(), info->indexes.end(), [&](auto& index) {
            return index.unique && index.fields.size() == 1 &&
                   &info->fields[index.fields[0]] == &field;
          });
      CHECK_MESSAGE(indexed, field.name << " is unique, but no index says so");
    }
  }
  CHECK(find_entity("no such entity") == nullptr);
}

TEST_CASE("every field keeps its value through its stored form") {
  Dice dice(1);
  for (const EntityInfo* info : all_entities()) {
    for (int round = 0; round < 60; ++round) {
      const auto row = random_row(dice, *info);
      const auto copy = info->make();
      for (const FieldInfo& field : info->fields) {
        CAPTURE(field.name);
        const Value value = field.get(row.get());
        REQUIRE(field.set(copy.get(), value).has_value());
        REQUIRE(field.get(copy.get()) == value);
        REQUIRE(field.get_json(copy.get(), {}) == field.get_json(row.get(), {}));
      }
    }
  }
}

TEST_CASE("every field keeps its value through its JSON form, one by one and as a row") {
  Dice dice(2);
  const SlotTypes slots;
  for (const EntityInfo* info : all_entities()) {
    for (int round = 0; round < 60; ++round) {
      const auto row = random_row(dice, *info);
      const auto copy = info->make();
      Json object = Json::object();
      for (const FieldInfo& field : info->fields) {
        CAPTURE(info->name);
        CAPTURE(field.name);
        const Json json = field.get_json(row.get(), slots);
        const auto parsed = Json::parse(json.dump());  // through text, as on the wire
        REQUIRE(parsed.has_value());
        const Status set = field.set_json(copy.get(), *parsed, slots);
        REQUIRE_MESSAGE(set.has_value(), json.dump() << ": " << set.error().message);
        REQUIRE(field.get(copy.get()) == field.get(row.get()));
        if (!field.is(kVolatile)) object.set(std::string(field.name), json);
      }
      const auto whole = info->make();
      const Status set = row_from_json(*info, whole.get(), object, slots);
      REQUIRE_MESSAGE(set.has_value(), set.error().message);
      for (const FieldInfo& field : info->fields) {
        if (!field.is(kVolatile)) REQUIRE(field.get(whole.get()) == field.get(row.get()));
      }
    }
  }
}

TEST_CASE("secrets are in the JSON of a row only when asked for") {
  Dice dice(3);
  for (const EntityInfo* info : all_entities()) {
    const auto row = random_row(dice, *info);
    const Json plain = row_to_json(*info, row.get(), {});
    const Json whole = row_to_json(*info, row.get(), {}, true);
    CHECK(whole.size() == info->fields.size());
    for (const FieldInfo& field : info->fields) {
      CHECK((plain.find(field.name) != nullptr) == !field.is(kSecret));
    }
  }
  CHECK(entity_info<Keypair>().find("secret_key")->is(kSecret));
  CHECK(entity_info<User>().find("password")->is(kSecret));
}

TEST_CASE("a wrong value is refused with the entity, the field and what would be right") {
  for (const EntityInfo* info : all_entities()) {
    for (const FieldInfo& field : info->fields) {
      if (field.type == FieldType::Json) continue;
      CAPTURE(info->name);
      CAPTURE(field.name);
      const auto row = info->make();
      const Value before = field.get(row.get());
      CHECK_FALSE(field.set(row.get(), wrong_value(field.type)).has_value());
      const Json wrong = wrong_json(field.type);
      CHECK_FALSE(field.set_json(row.get(), wrong, {}).has_value());
      if (!field.is(kOptional) && field.type != FieldType::Time && field.type != FieldType::Slots) {
        CHECK_FALSE(field.set_json(row.get(), Json(), {}).has_value());
      }
      if (!field.is(kOptional)) CHECK(field.get(row.get()) == before);
      if (field.is(kVolatile)) continue;
      const Status status =
          row_from_json(*info, row.get(), Json::object({{std::string(field.name), wrong}}), {});
      REQUIRE_FALSE(status.has_value());
      CHECK(status.error().code == ErrorCode::InvalidArgument);
      CHECK(status.error().message.starts_with(std::string(info->name) + ": field \""));
      CHECK(status.error().message.find("\"" + std::string(field.name) + "\"") !=
            std::string::npos);
    }
  }
}

TEST_CASE("an enumeration's error lists its names, and a long wrong value is cut short") {
  Agent agent;
  const EntityInfo& info = entity_info<Agent>();
  const auto status = row_from_json(info, &agent, Json::object({{"status", "ASLEEP"}}), {});
  REQUIRE_FALSE(status.has_value());
  CHECK(
      status.error().message ==
      R"(agent: field "status" is "ASLEEP", but must be one of ALIVE LOST RESTARTING TERMINATED)");
  const auto cut =
      row_from_json(info, &agent, Json::object({{"schedulable", std::string(500, 'x')}}), {});
  REQUIRE_FALSE(cut.has_value());
  CHECK(cut.error().message.size() < 200);
}

TEST_CASE("unknown members, volatile ones and what is no object are refused") {
  Agent agent;
  const EntityInfo& info = entity_info<Agent>();
  for (const char* name : {"addres", "kernel_count", ""}) {
    const auto status = row_from_json(info, &agent, Json::object({{name, 1}}), {});
    REQUIRE_FALSE(status.has_value());
    CHECK(status.error().code == ErrorCode::InvalidArgument);
    CHECK(status.error().message.find("there is no field \"" + std::string(name) + "\"") !=
          std::string::npos);
    CHECK(status.error().message.find("addr, public_key") != std::string::npos);
  }
  for (const Json& json : {Json(), Json(3), Json::array(), Json("x")}) {
    CHECK_FALSE(row_from_json(info, &agent, json, {}).has_value());
  }
  const auto slot = row_from_json(
      info, &agent, Json::object({{"available_slots", Json::object({{"warp.drive", "1"}})}}), {});
  REQUIRE_FALSE(slot.has_value());
  CHECK(slot.error().kind == "unknown-slot-type");
}

TEST_CASE("lengths of time keep every nanosecond that a JSON number can tell") {
  Session session;
  const FieldInfo& field = *entity_info<Session>().find("batch_timeout");
  for (std::int64_t ms = 1; ms < 5000; ++ms) {
    session.batch_timeout = milliseconds(ms);
    const Json json = field.get_json(&session, {});
    session.batch_timeout.reset();
    REQUIRE(field.set_json(&session, json, {}).has_value());
    REQUIRE(session.batch_timeout->ns == ms * 1'000'000);
  }
  for (const double wrong : {1e300, -1e300, 1e10}) {
    const auto status = field.set_json(&session, Json(wrong), {});
    CHECK_MESSAGE(!status.has_value(), wrong);
  }
}

}  // namespace bai::test

// The descriptions of all entities, type-erased: what tables, codecs, queries and bindings need.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/entities.hpp"
#include "bai_manager/json.hpp"
#include "bai_manager/storage.hpp"

namespace bai {

enum class FieldType : std::uint8_t {
  Bool,  // stored as 0 or 1
  Int,
  Text,   // also names
  Uuid,   // stored hyphenated
  Time,   // stored as nanoseconds since the epoch
  Span,   // a Duration, stored as nanoseconds
  Enum,   // stored as its text
  Slots,  // stored as a JSON object of units
  Json,   // stored as JSON text
  List,   // of text or integers; stored as a JSON array
  Times,  // status -> time; stored as a JSON object
};

enum FieldFlags : std::uint32_t {
  kKey = 1U << 0,  // the primary key
  kUnique = 1U << 1,
  kImmutable = 1U << 2,
  kSecret = 1U << 3,    // never printed, never sent without being asked for by name
  kVolatile = 1U << 4,  // in snapshots, never in storage
  kOptional = 1U << 5,  // may be null
};

struct FieldInfo {
  std::string_view name;  // column, JSON member, filter and order name
  FieldType type = FieldType::Text;
  std::uint32_t flags = 0;
  std::span<const std::string_view> enum_names;
  Value (*get)(const void* row) = nullptr;
  Status (*set)(void* row, const Value& value) = nullptr;
  Json (*get_json)(const void* row, const SlotTypes& slots) = nullptr;
  Status (*set_json)(void* row, const Json& value, const SlotTypes& slots) = nullptr;
  bool (*equal)(const void* row, const void* other) = nullptr;

  bool is(FieldFlags flag) const noexcept { return (flags & flag) != 0; }
};

struct IndexInfo {
  std::string_view name;
  std::vector<std::uint16_t> fields;  // positions in EntityInfo::fields
  bool unique = false;
  bool sparse = false;  // in memory only, without the rows whose first field is an empty text
};

enum class Residence : std::uint8_t {
  Memory,   // in the state and in storage
  Derived,  // in the state only, rebuilt at start
  Cold,     // in storage only
};

struct EntityInfo {
  EntityKind kind{};
  std::string_view name;   // "session"
  std::string_view table;  // "sessions"
  Residence residence = Residence::Memory;
  std::vector<FieldInfo> fields;  // fields[0] is the key
  std::vector<IndexInfo> indexes;
  std::shared_ptr<void> (*make)() = nullptr;  // a default row

  const FieldInfo* find(std::string_view field) const noexcept;
};

const EntityInfo& entity_info(EntityKind kind);
const EntityInfo* find_entity(std::string_view name_or_table);
std::span<const EntityInfo* const> all_entities();

template <Entity E>
const EntityInfo& entity_info() {
  return entity_info(EntityTraits<E>::kind);
}

// A row as a JSON object; secrets are left out unless asked for.
Json row_to_json(const EntityInfo& entity, const void* row, const SlotTypes& slots,
                 bool with_secrets = false);
// Sets the named members on `row`; InvalidArgument names the entity, the field and what would be
// right. Unknown members are refused.
Status row_from_json(const EntityInfo& entity, void* row, const Json& object,
                     const SlotTypes& slots);

}  // namespace bai

// How an entity is described: one `void describe(Describe<E>&)` per entity, listing its fields.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "bai_manager/schema.hpp"
#include "model/field_codec.hpp"

namespace bai {

template <auto Member>
struct MemberOf;
template <class E, class T, T E::* Member>
struct MemberOf<Member> {
  using Owner = E;
  using Type = T;
};

template <Entity E>
class Describe {
 public:
  explicit Describe(EntityInfo& info) : info_(info) {
    info_.kind = EntityTraits<E>::kind;
    info_.make = [] { return std::static_pointer_cast<void>(std::make_shared<E>()); };
  }

  void entity(std::string_view name, std::string_view table,
              Residence residence = Residence::Memory) {
    info_.name = name;
    info_.table = table;
    info_.residence = residence;
  }

  // Fields in column order; the key first.
  template <auto Member>
  void field(std::string_view name, std::uint32_t flags = 0) {
    using T = typename MemberOf<Member>::Type;
    using Codec = FieldCodec<T>;
    FieldInfo field;
    field.name = name;
    field.type = Codec::type;
    field.flags = flags | (Codec::optional ? kOptional : 0U);
    if constexpr (requires { Codec::enum_names(); }) field.enum_names = Codec::enum_names();
    field.get = [](const void* row) {
      return Codec::to_value(static_cast<const E*>(row)->*Member);
    };
    field.set = [](void* row, const Value& value) {
      return Codec::from_value(static_cast<E*>(row)->*Member, value);
    };
    field.get_json = [](const void* row, const SlotTypes& slots) {
      return Codec::to_json(static_cast<const E*>(row)->*Member, slots);
    };
    field.set_json = [](void* row, const Json& value, const SlotTypes& slots) {
      return Codec::from_json(static_cast<E*>(row)->*Member, value, slots);
    };
    field.equal = [](const void* row, const void* other) {
      return static_cast<const E*>(row)->*Member == static_cast<const E*>(other)->*Member;
    };
    info_.fields.push_back(field);
  }

  // An index over fields described before, by name. The key is appended, so order is total.
  void index(std::string_view name, std::initializer_list<std::string_view> fields,
             bool unique = false) {
    IndexInfo index{name, {}, unique};
    for (const std::string_view field : fields) index.fields.push_back(position(field));
    info_.indexes.push_back(std::move(index));
  }
  // For what few rows have and only memory is asked for: the others cost nothing.
  void sparse_index(std::string_view name, std::initializer_list<std::string_view> fields) {
    index(name, fields);
    info_.indexes.back().sparse = true;
  }

 private:
  std::uint16_t position(std::string_view field) const {
    for (std::size_t i = 0; i < info_.fields.size(); ++i) {
      if (info_.fields[i].name == field) return static_cast<std::uint16_t>(i);
    }
    BAI_ASSERT(false, "an index names a field that is not described");
    return 0;
  }

  EntityInfo& info_;
};

#define BAI_DECLARE_DESCRIBE(E) void describe(Describe<E>& d);
BAI_ENTITIES(BAI_DECLARE_DESCRIBE)
#undef BAI_DECLARE_DESCRIBE

}  // namespace bai

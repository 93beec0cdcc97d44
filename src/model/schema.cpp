#include "bai_manager/schema.hpp"

#include <fmt/format.h>

#include <array>

#include "model/describe.hpp"

namespace bai {

namespace {

constexpr std::size_t kEntityCount = 0
#define BAI_COUNT(E) +1  // NOLINT(bugprone-macro-parentheses): a term of a sum
    BAI_ENTITIES(BAI_COUNT)
#undef BAI_COUNT
    ;

struct Catalogue {
  std::array<EntityInfo, kEntityCount> infos;
  std::array<const EntityInfo*, kEntityCount> list{};

  Catalogue() {
#define BAI_DESCRIBE(E) add<E>();
    BAI_ENTITIES(BAI_DESCRIBE)
#undef BAI_DESCRIBE
  }
  template <Entity E>
  void add() {
    const auto at = static_cast<std::size_t>(EntityTraits<E>::kind);
    Describe<E> d(infos[at]);
    describe(d);
    list[at] = &infos[at];
  }
};

const Catalogue& catalogue() {
  static const Catalogue instance;
  return instance;
}

}  // namespace

const FieldInfo* EntityInfo::find(std::string_view field) const noexcept {
  for (const FieldInfo& f : fields) {
    if (f.name == field) return &f;
  }
  return nullptr;
}

const EntityInfo& entity_info(EntityKind kind) {
  return catalogue().infos[static_cast<std::size_t>(kind)];
}

const EntityInfo* find_entity(std::string_view name_or_table) {
  for (const EntityInfo* info : all_entities()) {
    if (info->name == name_or_table || info->table == name_or_table) return info;
  }
  return nullptr;
}

std::span<const EntityInfo* const> all_entities() { return catalogue().list; }

Json row_to_json(const EntityInfo& entity, const void* row, const SlotTypes& slots,
                 bool with_secrets) {
  Json out = Json::object();
  for (const FieldInfo& field : entity.fields) {
    if (field.is(kSecret) && !with_secrets) continue;
    out.set(std::string(field.name), field.get_json(row, slots));
  }
  return out;
}

Status row_from_json(const EntityInfo& entity, void* row, const Json& object,
                     const SlotTypes& slots) {
  if (!object.is_object()) {
    return fail(ErrorCode::InvalidArgument, fmt::format("{}: must be a JSON object", entity.name));
  }
  for (const auto& [name, value] : object.members()) {
    const FieldInfo* field = entity.find(name);
    if (field == nullptr || field->is(kVolatile)) {
      std::string known;
      for (const FieldInfo& f : entity.fields) {
        if (!f.is(kVolatile)) known.append(known.empty() ? "" : ", ").append(f.name);
      }
      return fail(
          ErrorCode::InvalidArgument,
          fmt::format("{}: there is no field \"{}\"; fields are {}", entity.name, name, known));
    }
    if (auto ok = field->set_json(row, value, slots); !ok) {
      return fail(ok.error().code,
                  fmt::format("{}: field \"{}\" {}", entity.name, name, ok.error().message),
                  ok.error().kind);
    }
  }
  return {};
}

}  // namespace bai

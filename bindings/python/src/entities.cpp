// The typed reads of a Snapshot, chosen by entity at run time.
#include "convert.hpp"
#include "rows.hpp"

namespace bai::python {

namespace {

template <class Key>
std::optional<Key> parse_key(const std::string& text) {
  if constexpr (requires(Key key) { key.bytes; }) {
    return parse_uuid<Key>(text);
  } else {
    return Key(text);
  }
}

template <Entity E>
const void* find_typed(const Snapshot& snapshot, const std::string& text) {
  const auto key = parse_key<KeyOf<E>>(text);
  return key ? snapshot.find<E>(*key) : nullptr;
}

template <Entity E>
void visit_typed(const Snapshot& snapshot, const std::function<void(const void*)>& visit) {
  snapshot.for_each<E>([&](const E& row) {
    visit(&row);
    return true;
  });
}

}  // namespace

const void* find_row(const Snapshot& snapshot, EntityKind kind, const std::string& key) {
  switch (kind) {
#define BAI_FIND(E)   \
  case EntityKind::E: \
    return find_typed<E>(snapshot, key);
    BAI_ENTITIES(BAI_FIND)
#undef BAI_FIND
  }
  return nullptr;
}

void for_each_row(const Snapshot& snapshot, EntityKind kind,
                  const std::function<void(const void*)>& visit) {
  switch (kind) {
#define BAI_VISIT(E)  \
  case EntityKind::E: \
    return visit_typed<E>(snapshot, visit);
    BAI_ENTITIES(BAI_VISIT)
#undef BAI_VISIT
  }
}

std::size_t count_rows(const Snapshot& snapshot, EntityKind kind) {
  switch (kind) {
#define BAI_COUNT(E)  \
  case EntityKind::E: \
    return snapshot.count<E>();
    BAI_ENTITIES(BAI_COUNT)
#undef BAI_COUNT
  }
  return 0;
}

const EntityInfo& entity_named(const std::string& name) {
  if (const EntityInfo* info = find_entity(name)) return *info;
  std::string known;
  for (const EntityInfo* info : all_entities()) {
    known.append(known.empty() ? "" : ", ").append(info->name);
  }
  invalid("There is no entity \"" + name + "\"; there are: " + known);
}

}  // namespace bai::python

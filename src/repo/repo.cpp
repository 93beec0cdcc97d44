#include "repo/repo.hpp"

#include <fmt/format.h>

#include <array>

#include "base/assert.hpp"
#include "repo/rows.hpp"

namespace bai::repo {

namespace {

constexpr std::uint32_t kSchemaVersion = 3;
constexpr std::string_view kVersionKey = "version";

ColumnType column_type(FieldType type) {
  switch (type) {
    case FieldType::Bool:
    case FieldType::Int:
    case FieldType::Time:
    case FieldType::Span:
      return ColumnType::Int;
    default:
      return ColumnType::Text;
  }
}

// What a field of a default row holds: old rows read so where a column is new.
Value fallback_of(const EntityInfo& info, const FieldInfo& field) {
  const auto blank = info.make();
  return field.get(blank.get());
}

Row encode(const EntityInfo& info, const void* row) {
  const auto& fields = columns_of(info);
  Row out;
  out.reserve(fields.size());
  for (const FieldInfo* field : fields) out.push_back(field->get(row));
  return out;
}

// What is asked of storage is not what is asked of memory: starting takes the sessions that ended
// last out of an archive of any size.
std::vector<const FieldInfo*> stored_order(const EntityInfo& info, const IndexInfo& index) {
  if (info.kind == EntityKind::Session && index.name == "by_status") {
    return {info.find("status"), info.find("terminated_at")};
  }
  std::vector<const FieldInfo*> fields;
  for (const std::uint16_t at : index.fields) fields.push_back(&info.fields[at]);
  return fields;
}

}  // namespace

Schema make_schema() {
  Schema schema;
  schema.version = kSchemaVersion;
  for (const EntityInfo* info : all_entities()) {
    if (info->residence == Residence::Derived) continue;
    const auto& fields = columns_of(*info);
    TableSpec table;
    table.name = info->table;
    for (const FieldInfo* field : fields) {
      table.columns.push_back({std::string(field->name), column_type(field->type),
                               field->is(kOptional), fallback_of(*info, *field)});
    }
    for (const IndexInfo& index : info->indexes) {
      if (index.sparse) continue;
      IndexSpec spec{fmt::format("{}_{}", info->table, index.name), {}, index.unique};
      for (const FieldInfo* field : stored_order(*info, index)) {
        spec.columns.push_back(column_of(*info, field->name));
      }
      table.indexes.push_back(std::move(spec));
    }
    schema.tables.push_back(std::move(table));
  }
  schema.tables.push_back(
      {"manager_meta",
       {{"key", ColumnType::Text, false, {}}, {"value", ColumnType::Int, false, {}}},
       {}});
  return schema;
}

Result<StoredVersion> stored_version(Storage& storage) {
  auto record = storage.get(meta_table(), Value(std::string(kVersionKey)));
  if (!record) return std::unexpected(record.error());
  if (!*record) return StoredVersion{};
  const auto* version = std::get_if<std::int64_t>(&(*record)->row.at(1));
  if (version == nullptr)
    return fail(ErrorCode::Corruption, "manager_meta: the version is no integer");
  return StoredVersion{{static_cast<std::uint64_t>(*version)}, (*record)->revision};
}

bool is_stored(const Change& change) {
  return !change.is_volatile && entity_info(change.entity).residence != Residence::Derived;
}

WriteBatch make_batch(std::span<const Change> changes, const StoredVersion& from, StateVersion to) {
  WriteBatch batch;
  for (const Change& change : changes) {
    if (!is_stored(change)) continue;
    const EntityInfo& info = entity_info(change.entity);
    if (change.after) {
      batch.writes.emplace_back(Put{table_of(info.kind), encode(info, change.after.get())});
    } else {
      batch.writes.emplace_back(
          Erase{table_of(info.kind), info.fields[0].get(change.before.get())});
    }
  }
  if (batch.writes.empty()) return batch;
  batch.expects.push_back({meta_table(), Value(std::string(kVersionKey)), from.revision});
  batch.writes.emplace_back(Put{meta_table(), Row{Value(std::string(kVersionKey)),
                                                  Value(static_cast<std::int64_t>(to.value))}});
  return batch;
}

}  // namespace bai::repo

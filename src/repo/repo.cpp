#include "repo/repo.hpp"

#include <fmt/format.h>

#include <array>

#include "base/assert.hpp"

namespace bai::repo {

namespace {

constexpr std::uint32_t kSchemaVersion = 2;
constexpr std::string_view kVersionKey = "version";
constexpr std::uint16_t kNoTable = 0xffff;

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

// Which schema table each entity has, and which of its fields are columns.
struct Layout {
  std::array<std::uint16_t, 64> table{};
  std::uint16_t meta = 0;
  std::vector<std::vector<const FieldInfo*>> columns;  // by table

  Layout() {
    table.fill(kNoTable);
    for (const EntityInfo* info : all_entities()) {
      if (info->residence == Residence::Derived) continue;
      table[static_cast<std::size_t>(info->kind)] = meta++;
      auto& fields = columns.emplace_back();
      for (const FieldInfo& field : info->fields) {
        if (!field.is(kVolatile)) fields.push_back(&field);
      }
    }
  }
};

const Layout& layout() {
  static const Layout instance;
  return instance;
}

// What a field of a default row holds: old rows read so where a column is new.
Value fallback_of(const EntityInfo& info, const FieldInfo& field) {
  const auto blank = info.make();
  return field.get(blank.get());
}

Row encode(const EntityInfo& info, const void* row) {
  const auto& fields = layout().columns[table_of(info.kind)];
  Row out;
  out.reserve(fields.size());
  for (const FieldInfo* field : fields) out.push_back(field->get(row));
  return out;
}

Result<std::shared_ptr<void>> decode(const EntityInfo& info, const Row& row) {
  const auto& fields = layout().columns[table_of(info.kind)];
  if (row.size() != fields.size()) {
    return fail(ErrorCode::Corruption, fmt::format("table {}: a row has {} columns instead of {}",
                                                   info.table, row.size(), fields.size()));
  }
  auto entity = info.make();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (auto ok = fields[i]->set(entity.get(), row[i]); !ok) {
      const auto* key = std::get_if<std::string>(&row[0]);
      return fail(ErrorCode::Corruption,
                  fmt::format("table {}, row {}, column {}: {}", info.table, key ? *key : "?",
                              fields[i]->name, ok.error().message));
    }
  }
  return entity;
}

// All rows of a table that meet the conditions, in key order, page by page.
Status scan_all(Storage& storage, const EntityInfo& info,
                const std::function<Status(std::shared_ptr<void>)>& take,
                std::vector<Condition> conditions = {}) {
  Scan scan;
  scan.table = table_of(info.kind);
  scan.conditions = std::move(conditions);
  constexpr std::uint32_t kPage = 2000;
  scan.limit = kPage;
  for (;;) {
    auto page = storage.scan(scan);
    if (!page) return std::unexpected(page.error());
    for (const Record& record : *page) {
      auto entity = decode(info, record.row);
      if (!entity) return std::unexpected(entity.error());
      if (auto ok = take(std::move(*entity)); !ok) return ok;
    }
    if (page->size() < kPage) return {};
    scan.after = Row{page->back().row[0]};
  }
}

}  // namespace

std::uint16_t table_of(EntityKind kind) { return layout().table[static_cast<std::size_t>(kind)]; }

Schema make_schema() {
  Schema schema;
  schema.version = kSchemaVersion;
  for (const EntityInfo* info : all_entities()) {
    if (info->residence == Residence::Derived) continue;
    const auto& fields = layout().columns[table_of(info->kind)];
    TableSpec table;
    table.name = info->table;
    for (const FieldInfo* field : fields) {
      table.columns.push_back({std::string(field->name), column_type(field->type),
                               field->is(kOptional), fallback_of(*info, *field)});
    }
    for (const IndexInfo& index : info->indexes) {
      IndexSpec spec{fmt::format("{}_{}", info->table, index.name), {}, index.unique};
      for (const std::uint16_t at : index.fields) {
        const auto* field = &info->fields[at];
        const auto column = std::find(fields.begin(), fields.end(), field);
        BAI_ASSERT(column != fields.end(), "an index is over stored fields");
        spec.columns.push_back(static_cast<std::uint16_t>(column - fields.begin()));
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

namespace {

Condition where(const EntityInfo& info, std::string_view field, Compare op, Value value) {
  const auto& fields = layout().columns[table_of(info.kind)];
  const auto column = std::find(fields.begin(), fields.end(), info.find(field));
  BAI_ASSERT(column != fields.end(), "a condition is over a stored field");
  return {static_cast<std::uint16_t>(column - fields.begin()), op, std::move(value)};
}

// Rows of sessions or kernels that live, or have ended since `ended_before`.
template <class E, class EntityStatus>
Status load_recent(Storage& storage, Timestamp ended_before,
                   const std::function<Status(std::shared_ptr<void>)>& take) {
  const EntityInfo& info = entity_info<E>();
  for (std::size_t i = 0; i < EnumText<EntityStatus>::names.size(); ++i) {
    const auto status = static_cast<EntityStatus>(i);
    std::vector<Condition> conditions{
        where(info, "status", Compare::Eq, std::string(to_string(status)))};
    if (is_terminal(status)) {
      conditions.push_back(where(info, "terminated_at", Compare::Ge, ended_before.ns));
    }
    if (auto ok = scan_all(storage, info, take, std::move(conditions)); !ok) return ok;
  }
  return {};
}

// What live sessions wait for the success of, however long ago that was.
Status load_dependencies(Storage& storage, State& into) {
  std::vector<std::string> missing;
  into.table<Session>().for_each([&](const Session& session) {
    if (is_terminal(session.status)) return true;
    for (const std::string& on : session.dependencies) {
      const auto id = parse_uuid<SessionId>(on);
      if (id && into.find<Session>(*id) == nullptr) missing.push_back(on);
    }
    return true;
  });
  for (const std::string& id : missing) {
    const EntityInfo& info = entity_info<Session>();
    auto record = storage.get(table_of(info.kind), Value(id));
    if (!record) return std::unexpected(record.error());
    if (!*record) continue;
    auto row = decode(info, (*record)->row);
    if (!row) return std::unexpected(row.error());
    into.put_row(info.kind, std::move(*row));
  }
  return {};
}

Status load_sessions(Storage& storage, State& into, Timestamp ended_before) {
  auto ok = load_recent<Session, SessionStatus>(storage, ended_before, [&](auto row) -> Status {
    into.put_row(EntityKind::Session, std::move(row));
    return {};
  });
  if (!ok) return ok;
  if (ok = load_dependencies(storage, into); !ok) return ok;
  const auto take = [&](std::shared_ptr<void> row) -> Status {
    const auto& kernel = *static_cast<const Kernel*>(row.get());
    const bool is_left = into.find<Session>(kernel.session) == nullptr;
    if (!is_left || !is_terminal(kernel.status)) into.put_row(EntityKind::Kernel, std::move(row));
    return {};
  };
  if (ok = load_recent<Kernel, KernelStatus>(storage, ended_before, take); !ok) return ok;
  // A kernel may have ended long before its session.
  std::vector<SessionId> incomplete;
  into.table<Session>().for_each([&](const Session& session) {
    const std::size_t loaded = into.kernels_of(session.id).size();
    if (static_cast<std::int64_t>(loaded) != session.cluster_size) incomplete.push_back(session.id);
    return true;
  });
  for (const SessionId& id : incomplete) {
    const EntityInfo& info = entity_info<Kernel>();
    ok = scan_all(storage, info, take, {where(info, "session_id", Compare::Eq, to_string(id))});
    if (!ok) return ok;
  }
  return {};
}

}  // namespace

Status load(Storage& storage, State& into, Timestamp ended_before) {
  for (const EntityInfo* info : all_entities()) {
    if (info->residence != Residence::Memory) continue;
    if (info->kind == EntityKind::Session || info->kind == EntityKind::Kernel) continue;
    auto ok = scan_all(storage, *info, [&](std::shared_ptr<void> row) -> Status {
      into.put_row(info->kind, std::move(row));
      return {};
    });
    if (!ok) return ok;
  }
  return load_sessions(storage, into, ended_before);
}

Result<StoredVersion> stored_version(Storage& storage) {
  auto record = storage.get(layout().meta, Value(std::string(kVersionKey)));
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
  batch.expects.push_back({layout().meta, Value(std::string(kVersionKey)), from.revision});
  batch.writes.emplace_back(Put{layout().meta, Row{Value(std::string(kVersionKey)),
                                                   Value(static_cast<std::int64_t>(to.value))}});
  return batch;
}

Result<std::vector<std::shared_ptr<const History>>> load_history(Storage& storage,
                                                                 const SessionId& session) {
  const EntityInfo& info = entity_info<History>();
  Scan scan;
  scan.table = table_of(info.kind);
  scan.conditions.push_back(where(info, "session_id", Compare::Eq, to_string(session)));
  std::vector<std::shared_ptr<const History>> rows;
  for (;;) {
    auto page = storage.scan(scan);
    if (!page) return std::unexpected(page.error());
    for (const Record& record : *page) {
      auto row = decode(info, record.row);
      if (!row) return std::unexpected(row.error());
      rows.push_back(std::static_pointer_cast<const History>(*row));
    }
    if (page->size() < scan.limit) return rows;
    scan.after = Row{page->back().row[0]};
  }
}

Result<std::string> load_kernel_log(Storage& storage, const KernelId& kernel) {
  auto record = storage.get(table_of(EntityKind::KernelLog), Value(to_string(kernel)));
  if (!record) return std::unexpected(record.error());
  if (!*record) return std::string();
  auto row = decode(entity_info<KernelLog>(), (*record)->row);
  if (!row) return std::unexpected(row.error());
  return std::static_pointer_cast<const KernelLog>(*row)->text;
}

}  // namespace bai::repo

#include "storage/sqlite/migrate.hpp"

#include <fmt/core.h>

#include "base/text.hpp"
#include "storage/catalog.hpp"
#include "storage/migration.hpp"
#include "storage/sqlite/sql_text.hpp"

namespace bai::storage {

namespace {

struct Found {
  std::uint32_t version = 0;
  std::vector<TableSpec> tables;
};

Result<std::vector<std::string>> read_names(Connection& db, const std::string& sql) {
  auto cursor = db.prepare(sql);
  if (!cursor) return std::unexpected(cursor.error());
  std::vector<std::string> names;
  while (true) {
    auto row = cursor->step();
    if (!row) return std::unexpected(row.error());
    if (!*row) return names;
    names.push_back(cursor->read_text(0));
  }
}

std::optional<ColumnType> parse_type(std::string_view text) {
  if (text == "INTEGER") return ColumnType::Int;
  if (text == "REAL") return ColumnType::Real;
  if (text == "TEXT") return ColumnType::Text;
  if (text == "BLOB") return ColumnType::Blob;
  return std::nullopt;
}

Status read_columns(Connection& db, TableSpec& table) {
  auto cursor = db.prepare(fmt::format("PRAGMA table_info({})", quote_name(table.name)));
  if (!cursor) return std::unexpected(cursor.error());
  while (true) {
    auto row = cursor->step();
    if (!row) return std::unexpected(row.error());
    if (!*row) break;
    const std::string name = cursor->read_text(1);
    const auto type = parse_type(cursor->read_text(2));
    if (name == kRevisionColumn) continue;
    if (!type) {
      return fail(ErrorCode::Corruption,
                  fmt::format("The stored column {}.{} has the unknown type {}", table.name, name,
                              cursor->read_text(2)));
    }
    table.columns.push_back({name, *type, cursor->read_int(3) == 0, {}});
  }
  if (!table.columns.empty()) return {};
  return fail(ErrorCode::Corruption, fmt::format("The stored table {} has no columns", table.name));
}

// Only indexes whose name says that a schema made them: others belong to the operator.
Status read_indexes(Connection& db, TableSpec& table) {
  const std::string prefix = index_name(table, "");
  const auto names = read_names(
      db, fmt::format("SELECT name FROM pragma_index_list('{}') ORDER BY name", table.name));
  if (!names) return std::unexpected(names.error());
  for (const std::string& name : *names) {
    if (!name.starts_with(prefix)) continue;
    const auto unique = read_names(
        db, fmt::format("SELECT name FROM pragma_index_list('{}') WHERE name = '{}' AND \"unique\"",
                        table.name, name));
    if (!unique) return std::unexpected(unique.error());
    const auto columns = read_names(
        db, fmt::format("SELECT name FROM pragma_index_info('{}') ORDER BY seqno", name));
    if (!columns) return std::unexpected(columns.error());
    IndexSpec index{name.substr(prefix.size()), {}, !unique->empty()};
    for (const std::string& column : *columns) {
      for (std::size_t i = 0; i < table.columns.size(); ++i) {
        if (table.columns[i].name == column) index.columns.push_back(static_cast<std::uint16_t>(i));
      }
    }
    table.indexes.push_back(std::move(index));
  }
  return {};
}

Result<Found> read_found(Connection& db) {
  const auto names = read_names(db,
                                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT "
                                "LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name");
  if (!names) return std::unexpected(names.error());
  Found found;
  bool ours = false;
  for (const std::string& name : *names) {
    if (name == kVersionTable) {
      ours = true;
      continue;
    }
    found.tables.push_back({name, {}, {}});
  }
  if (names->empty()) return found;
  if (!ours) {
    return fail(
        ErrorCode::Unsupported,
        fmt::format("The file is a database of another program: it has a table {}, but none "
                    "named {}",
                    base::quoted(names->front()), kVersionTable));
  }
  for (TableSpec& table : found.tables) {
    if (auto ok = read_columns(db, table); !ok) return std::unexpected(ok.error());
    if (auto ok = read_indexes(db, table); !ok) return std::unexpected(ok.error());
  }
  auto cursor = db.prepare("SELECT coalesce(max(version), 0) FROM \"_schema\"");
  if (!cursor) return std::unexpected(cursor.error());
  if (auto row = cursor->step(); !row) return std::unexpected(row.error());
  found.version = static_cast<std::uint32_t>(cursor->read_int(0));
  return found;
}

std::string step_sql(const MigrationStep& step, const Schema& schema) {
  const TableSpec& table = schema.tables[step.table];
  switch (step.kind) {
    case MigrationStep::Kind::AddTable:
      return create_table_sql(table);
    case MigrationStep::Kind::AddColumn:
      return add_column_sql(table, table.columns[step.item]);
    case MigrationStep::Kind::AddIndex:
      return create_index_sql(table, table.indexes[step.item]);
    case MigrationStep::Kind::DropIndex:
      return "DROP INDEX " + quote_name(index_name(table, step.drop_name));
  }
  return {};
}

Status record(Connection& db, std::uint32_t version, const std::string& change) {
  auto cursor = db.prepare("INSERT INTO \"_schema\" (version, change) VALUES (?1, ?2)");
  if (!cursor) return std::unexpected(cursor.error());
  const Value text = change;
  cursor->bind(1, std::int64_t{version});
  cursor->bind(2, text);
  return cursor->run();
}

Status apply(Connection& db, const Schema& schema) {
  const auto found = read_found(db);
  if (!found) return std::unexpected(found.error());
  const auto steps = plan_migration(found->version, found->tables, schema);
  if (!steps) return std::unexpected(steps.error());
  if (found->version == schema.version) return {};
  auto ok = db.exec(
      "CREATE TABLE IF NOT EXISTS \"_schema\" (step INTEGER PRIMARY KEY, version INTEGER NOT NULL, "
      "change TEXT NOT NULL)");
  if (!ok) return ok;
  for (const MigrationStep& step : *steps) {
    ok = db.exec(step_sql(step, schema));
    if (!ok && ok.error().code == ErrorCode::AlreadyExists) {
      const TableSpec& table = schema.tables[step.table];
      return unique_violation(table, table.indexes[step.item].name);
    }
    if (!ok) return ok;
    ok = record(db, schema.version, describe(step, schema));
    if (!ok) return ok;
  }
  return record(db, schema.version, fmt::format("reach version {}", schema.version));
}

}  // namespace

Status migrate(Connection& writer, const Schema& schema) {
  if (auto ok = writer.begin(); !ok) return ok;
  Status done = apply(writer, schema);
  if (done) return writer.commit();
  writer.rollback();
  return done;
}

}  // namespace bai::storage

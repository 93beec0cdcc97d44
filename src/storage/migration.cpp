#include "storage/migration.hpp"

#include <fmt/core.h>

#include "storage/catalog.hpp"

namespace bai::storage {

namespace {

using Kind = MigrationStep::Kind;

template <class Item>
const Item* by_name(const std::vector<Item>& items, std::string_view name) {
  for (const Item& item : items) {
    if (item.name == name) return &item;
  }
  return nullptr;
}

std::vector<std::string_view> column_names(const TableSpec& table, const IndexSpec& index) {
  std::vector<std::string_view> names;
  for (const std::uint16_t column : index.columns) names.push_back(table.columns[column].name);
  return names;
}

bool same_index(const TableSpec& a_table, const IndexSpec& a, const TableSpec& b_table,
                const IndexSpec& b) {
  return a.unique == b.unique && column_names(a_table, a) == column_names(b_table, b);
}

Status check_kept_columns(const TableSpec& found, const TableSpec& wanted) {
  const auto unsupported = [&](std::string_view column, std::string_view why) {
    return fail(ErrorCode::Unsupported, fmt::format("{}.{} {}; such a change needs a new column",
                                                    wanted.name, column, why));
  };
  if (found.columns.front().name != wanted.columns.front().name) {
    return unsupported(wanted.columns.front().name, "is not the key of the stored table");
  }
  for (const ColumnSpec& column : wanted.columns) {
    const ColumnSpec* stored = by_name(found.columns, column.name);
    if (!stored) continue;
    if (stored->type != column.type) {
      return unsupported(column.name, fmt::format("is stored as {}, not {}",
                                                  type_name(stored->type), type_name(column.type)));
    }
    if (stored->nullable != column.nullable) {
      return unsupported(column.name,
                         stored->nullable ? "is stored as nullable" : "is stored as not nullable");
    }
  }
  return {};
}

void add_table(std::vector<MigrationStep>& steps, const TableSpec& table, std::uint16_t at) {
  steps.push_back({Kind::AddTable, at, 0, {}});
  for (std::size_t i = 0; i < table.indexes.size(); ++i) {
    steps.push_back({Kind::AddIndex, at, static_cast<std::uint16_t>(i), {}});
  }
}

void change_table(std::vector<MigrationStep>& steps, const TableSpec& found,
                  const TableSpec& wanted, std::uint16_t at) {
  for (const IndexSpec& index : found.indexes) {
    const IndexSpec* kept = by_name(wanted.indexes, index.name);
    if (kept && same_index(found, index, wanted, *kept)) continue;
    steps.push_back({Kind::DropIndex, at, 0, index.name});
  }
  for (std::size_t i = 0; i < wanted.columns.size(); ++i) {
    if (by_name(found.columns, wanted.columns[i].name)) continue;
    steps.push_back({Kind::AddColumn, at, static_cast<std::uint16_t>(i), {}});
  }
  for (std::size_t i = 0; i < wanted.indexes.size(); ++i) {
    const IndexSpec* stored = by_name(found.indexes, wanted.indexes[i].name);
    if (stored && same_index(found, *stored, wanted, wanted.indexes[i])) continue;
    steps.push_back({Kind::AddIndex, at, static_cast<std::uint16_t>(i), {}});
  }
}

}  // namespace

Result<std::vector<MigrationStep>> plan_migration(std::uint32_t found_version,
                                                  const std::vector<TableSpec>& found,
                                                  const Schema& wanted) {
  if (found_version > wanted.version) {
    return fail(ErrorCode::Unsupported,
                fmt::format("The stored data has schema version {}, this program knows {} at most: "
                            "use a newer program",
                            found_version, wanted.version),
                "schema-too-new");
  }
  std::vector<MigrationStep> steps;
  for (std::size_t i = 0; i < wanted.tables.size(); ++i) {
    const TableSpec& table = wanted.tables[i];
    const auto at = static_cast<std::uint16_t>(i);
    const TableSpec* stored = by_name(found, table.name);
    if (!stored) {
      add_table(steps, table, at);
      continue;
    }
    if (auto ok = check_kept_columns(*stored, table); !ok) return std::unexpected(ok.error());
    change_table(steps, *stored, table, at);
  }
  if (found_version == wanted.version && !steps.empty()) {
    return fail(ErrorCode::Unsupported,
                fmt::format("The stored data has the same schema version {} but differs ({}): a "
                            "changed schema needs a higher version",
                            found_version, describe(steps.front(), wanted)),
                "schema-differs");
  }
  return steps;
}

std::string describe(const MigrationStep& step, const Schema& wanted) {
  const TableSpec& table = wanted.tables[step.table];
  switch (step.kind) {
    case Kind::AddTable:
      return fmt::format("add table {}", table.name);
    case Kind::AddColumn:
      return fmt::format("add column {}.{}", table.name, table.columns[step.item].name);
    case Kind::DropIndex:
      return fmt::format("drop index {}.{}", table.name, step.drop_name);
    case Kind::AddIndex:
      return fmt::format("add index {}.{}", table.name, table.indexes[step.item].name);
  }
  return {};
}

}  // namespace bai::storage

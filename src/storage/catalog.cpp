#include "storage/catalog.hpp"

#include <fmt/core.h>

#include <array>
#include <cmath>
#include <set>

#include "base/text.hpp"

namespace bai::storage {

namespace {

constexpr std::array<std::string_view, 4> kTypeNames = {"int", "real", "text", "blob"};

// Position of a value's type: 0 null, then in the order of ColumnType.
constexpr std::size_t value_index(ColumnType type) noexcept {
  return static_cast<std::size_t>(type) + 1;
}

std::string_view value_type_name(const Value& value) noexcept {
  return value.index() == 0 ? "null" : kTypeNames[value.index() - 1];
}

std::size_t value_bytes(const Value& value) noexcept {
  if (const auto* text = std::get_if<std::string>(&value)) return text->size();
  if (const auto* blob = std::get_if<Bytes>(&value)) return blob->size();
  return 0;
}

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorCode::InvalidArgument, std::move(message));
}

bool is_identifier(std::string_view name) noexcept {
  if (name.empty() || name.size() > 128 || base::is_digit(name.front()) || name.front() == '_') {
    return false;
  }
  for (char c : name) {
    const char l = base::to_lower(c);
    if (!base::is_digit(c) && c != '_' && (l < 'a' || l > 'z')) return false;
  }
  return !base::lower(name).starts_with("sqlite_");
}

Status check_name(std::set<std::string>& seen, std::string_view what, std::string_view name) {
  if (!is_identifier(name)) {
    return invalid(
        fmt::format("The schema's {} name {} is not a plain identifier", what, base::quoted(name)));
  }
  if (!seen.insert(base::lower(name)).second) {
    return invalid(fmt::format("The schema names the {} {} twice", what, base::quoted(name)));
  }
  return {};
}

Status check_table(const TableSpec& table) {
  if (table.columns.empty() || table.columns.size() > kMaxColumns) {
    return invalid(fmt::format("Table {} has {} columns; right would be 1 to {}", table.name,
                               table.columns.size(), kMaxColumns));
  }
  const ColumnSpec& key = table.columns.front();
  if (key.nullable || (key.type != ColumnType::Int && key.type != ColumnType::Text)) {
    return invalid(
        fmt::format("The key {}.{} must be int or text and not nullable", table.name, key.name));
  }
  std::set<std::string> columns;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    if (auto ok = check_name(columns, "column", table.columns[i].name); !ok) return ok;
    const Value& fallback = table.columns[i].fallback;
    if (fallback.index() == 0) continue;
    if (auto ok = check_value(table, i, fallback); !ok) return ok;
    const auto* text = std::get_if<std::string>(&fallback);
    if (text && text->find('\0') != std::string::npos) {
      return invalid(fmt::format("The fallback of {}.{} contains a NUL byte", table.name,
                                 table.columns[i].name));
    }
  }
  std::set<std::string> indexes;
  for (const IndexSpec& index : table.indexes) {
    if (auto ok = check_name(indexes, "index", index.name); !ok) return ok;
    std::set<std::uint16_t> used(index.columns.begin(), index.columns.end());
    if (used.empty() || used.size() != index.columns.size() ||
        *used.rbegin() >= table.columns.size()) {
      return invalid(
          fmt::format("Index {}.{} must name existing columns, each once", table.name, index.name));
    }
  }
  return {};
}

Status check_row(const TableSpec& table, const Row& row) {
  if (row.size() != table.columns.size()) {
    return invalid(fmt::format("A row for table {} has {} values; right would be {}", table.name,
                               row.size(), table.columns.size()));
  }
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (auto ok = check_value(table, i, row[i]); !ok) return ok;
  }
  return {};
}

Status check_keyed(const Schema& schema, std::uint16_t table, const Value& key) {
  const auto spec = find_table(schema, table);
  if (!spec) return std::unexpected(spec.error());
  return check_key(**spec, key);
}

}  // namespace

std::string_view type_name(ColumnType type) noexcept {
  return kTypeNames[static_cast<std::size_t>(type)];
}

Status check_value(const TableSpec& table, std::size_t column, const Value& value) {
  const ColumnSpec& spec = table.columns[column];
  if (value.index() == 0) {
    if (spec.nullable) return {};
    return invalid(fmt::format("{}.{} cannot be null", table.name, spec.name));
  }
  if (value.index() != value_index(spec.type)) {
    return invalid(fmt::format("{}.{} holds {}, not {}", table.name, spec.name,
                               type_name(spec.type), value_type_name(value)));
  }
  if (const auto* number = std::get_if<double>(&value); number && std::isnan(*number)) {
    return invalid(
        fmt::format("{}.{} cannot hold a value that is not a number", table.name, spec.name));
  }
  if (const std::size_t size = value_bytes(value); size > kMaxValueBytes) {
    return invalid(fmt::format("{}.{} cannot hold {} bytes; at most {} are allowed", table.name,
                               spec.name, size, kMaxValueBytes));
  }
  return {};
}

Status check_schema(const Schema& schema) {
  if (schema.version == 0) return invalid("Schema versions start at 1");
  std::set<std::string> tables;
  for (const TableSpec& table : schema.tables) {
    if (auto ok = check_name(tables, "table", table.name); !ok) return ok;
    if (auto ok = check_table(table); !ok) return ok;
  }
  return {};
}

Result<const TableSpec*> find_table(const Schema& schema, std::uint16_t table) {
  if (table < schema.tables.size()) return &schema.tables[table];
  return invalid(fmt::format("There is no table {}; the schema that was opened has {}", table,
                             schema.tables.size()));
}

Status check_key(const TableSpec& table, const Value& key) { return check_value(table, 0, key); }

Status check_batch(const Schema& schema, const WriteBatch& batch) {
  for (const Expect& expect : batch.expects) {
    if (auto ok = check_keyed(schema, expect.table, expect.key); !ok) return ok;
  }
  for (const Write& write : batch.writes) {
    if (const auto* erase = std::get_if<Erase>(&write)) {
      if (auto ok = check_keyed(schema, erase->table, erase->key); !ok) return ok;
      continue;
    }
    const Put& put = std::get<Put>(write);
    const auto spec = find_table(schema, put.table);
    if (!spec) return std::unexpected(spec.error());
    if (auto ok = check_row(**spec, put.row); !ok) return ok;
  }
  return {};
}

Status check_order(const TableSpec& table, const Scan& scan) {
  if (scan.order.size() > kMaxOrder) {
    return invalid(fmt::format("A scan of {} orders by {} columns; at most {} are allowed",
                               table.name, scan.order.size(), kMaxOrder));
  }
  for (const OrderBy& order : scan.order) {
    if (order.column >= table.columns.size()) {
      return invalid(fmt::format("Table {} has no column {}", table.name, order.column));
    }
  }
  if (!scan.after) return {};
  if (scan.after->size() != scan.order.size() + 1) {
    return invalid(fmt::format(
        "The position behind which a scan of {} continues has {} values; right would be {}: the "
        "order columns and the key",
        table.name, scan.after->size(), scan.order.size() + 1));
  }
  for (std::size_t i = 0; i < scan.order.size(); ++i) {
    if (auto ok = check_value(table, scan.order[i].column, (*scan.after)[i]); !ok) return ok;
  }
  return check_key(table, scan.after->back());
}

Value migration_value(const ColumnSpec& column) {
  if (column.nullable || column.fallback.index() != 0) return column.fallback;
  switch (column.type) {
    case ColumnType::Int:
      return std::int64_t{0};
    case ColumnType::Real:
      return 0.0;
    case ColumnType::Text:
      return std::string();
    case ColumnType::Blob:
      return Bytes();
  }
  return {};
}

std::unexpected<Error> revision_conflict(const TableSpec& table, const Value& key,
                                         Revision expected, Revision found) {
  return fail(ErrorCode::Conflict,
              fmt::format("Row {} of {} has revision {}, not {}: somebody else changed it",
                          key_text(key), table.name, found, expected),
              "revision-conflict");
}

std::unexpected<Error> unique_violation(const TableSpec& table, std::string_view index) {
  return fail(
      ErrorCode::AlreadyExists,
      fmt::format("Another row of {} has the same value in the unique index {}", table.name, index),
      "unique-violation");
}

std::string key_text(const Value& key) {
  if (const auto* number = std::get_if<std::int64_t>(&key)) return std::to_string(*number);
  const auto* text = std::get_if<std::string>(&key);
  return text ? base::quoted(*text) : std::string(value_type_name(key));
}

}  // namespace bai::storage

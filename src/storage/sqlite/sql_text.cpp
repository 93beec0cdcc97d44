#include "storage/sqlite/sql_text.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "storage/catalog.hpp"

namespace bai::storage {

namespace {

constexpr std::string_view kSqlTypes[] = {"INTEGER", "REAL", "TEXT", "BLOB"};

std::string literal_text(const std::string& text) {
  std::string out = "'";
  for (char c : text) {
    out += c;
    if (c == '\'') out += c;
  }
  return out + "'";
}

std::string literal(const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  if (const auto* text = std::get_if<std::string>(&value)) return literal_text(*text);
  if (const auto* real = std::get_if<double>(&value)) {
    if (std::isinf(*real)) return *real > 0 ? "9e999" : "-9e999";
    return fmt::format("{:.17e}", *real);
  }
  if (const auto* blob = std::get_if<Bytes>(&value)) {
    std::string out = "x'";
    for (const std::uint8_t byte : *blob) out += fmt::format("{:02x}", byte);
    return out + "'";
  }
  return "NULL";
}

std::string column_sql(const ColumnSpec& column) {
  std::string out = fmt::format("{} {}", quote_name(column.name),
                                kSqlTypes[static_cast<std::size_t>(column.type)]);
  if (!column.nullable) out += " NOT NULL";
  // Also lets a table take rows from a schema that no longer knows the column.
  const Value fallback = migration_value(column);
  if (fallback.index() != 0) out += " DEFAULT " + literal(fallback);
  return out;
}

std::string column_list(const TableSpec& table) {
  std::string out;
  for (const ColumnSpec& column : table.columns) out += quote_name(column.name) + ", ";
  return out + quote_name(kRevisionColumn);
}

std::string parameters(std::size_t count) {
  std::string out;
  for (std::size_t i = 1; i <= count; ++i) out += fmt::format("{}?{}", i > 1 ? ", " : "", i);
  return out;
}

// The least text that is greater than every text with this prefix; nothing when there is none.
std::optional<std::string> behind_prefix(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xFF) prefix.pop_back();
  if (prefix.empty()) return std::nullopt;
  prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

class WhereBuilder {
 public:
  explicit WhereBuilder(const TableSpec& table) : table_(table) {}

  void add(const Predicate& predicate) { add_term(predicate_sql(predicate)); }
  void add_after(const std::vector<OrderBy>& order, const Row& after);
  void finish(SqlText& out) {
    out.sql += sql_;
    out.values = std::move(values_);
  }

 private:
  void add_term(std::string_view term) {
    sql_ += fmt::format("{}{}", sql_.empty() ? " WHERE " : " AND ", term);
  }
  std::string column(std::uint16_t at) const { return quote_name(table_.columns[at].name); }
  std::string compare(std::uint16_t at, std::string_view op, const Value& value) {
    values_.push_back(value);
    return fmt::format("{} {} ?{}", column(at), op, values_.size());
  }
  std::string predicate_sql(const Predicate& predicate);
  std::string prefix_sql(const Predicate& predicate);
  std::string behind_sql(const OrderBy& order, const Value& value);

  const TableSpec& table_;
  std::string sql_;
  std::vector<Value> values_;
};

std::string WhereBuilder::predicate_sql(const Predicate& predicate) {
  switch (predicate.kind) {
    case Predicate::Kind::Never:
      return "0";
    case Predicate::Kind::NotNull:
      return column(predicate.column) + " IS NOT NULL";
    case Predicate::Kind::IsNull:
      return column(predicate.column) + " IS NULL";
    case Predicate::Kind::Compare:
      break;
  }
  switch (predicate.op) {
    case Compare::Eq:
      return compare(predicate.column, "=", predicate.value);
    case Compare::Ne:
      return compare(predicate.column, "<>", predicate.value);
    case Compare::Lt:
      return compare(predicate.column, "<", predicate.value);
    case Compare::Le:
      return compare(predicate.column, "<=", predicate.value);
    case Compare::Gt:
      return compare(predicate.column, ">", predicate.value);
    case Compare::Ge:
      return compare(predicate.column, ">=", predicate.value);
    case Compare::Prefix:
      break;
  }
  return prefix_sql(predicate);
}

// As a range, so that an index serves it.
std::string WhereBuilder::prefix_sql(const Predicate& predicate) {
  const auto& prefix = std::get<std::string>(predicate.value);
  std::string out = compare(predicate.column, ">=", predicate.value);
  if (auto behind = behind_prefix(prefix)) {
    out += " AND " + compare(predicate.column, "<", Value{std::move(*behind)});
  }
  return out;
}

// What lies strictly behind `value` in this column's direction; nulls are the smallest.
std::string WhereBuilder::behind_sql(const OrderBy& order, const Value& value) {
  if (value.index() == 0) return order.descending ? "0" : column(order.column) + " IS NOT NULL";
  std::string out = compare(order.column, order.descending ? "<" : ">", value);
  if (order.descending && table_.columns[order.column].nullable) {
    out = fmt::format("({} OR {} IS NULL)", out, column(order.column));
  }
  return out;
}

void WhereBuilder::add_after(const std::vector<OrderBy>& order, const Row& after) {
  // A bound on the first column alone, though implied, is what lets an index start there.
  if (!order.empty() && after.front().index() != 0) {
    const OrderBy& first = order.front();
    const bool seekable = !first.descending || !table_.columns[first.column].nullable;
    if (seekable) add_term(compare(first.column, first.descending ? "<=" : ">=", after.front()));
  }
  std::string any, equal;
  for (std::size_t i = 0; i < order.size(); ++i) {
    any += fmt::format("({}{}) OR ", equal, behind_sql(order[i], after[i]));
    equal += compare(order[i].column, "IS", after[i]) + " AND ";
  }
  any += fmt::format("({}{})", equal, behind_sql(OrderBy{}, after.back()));
  add_term("(" + any + ")");
}

}  // namespace

std::string quote_name(std::string_view name) { return fmt::format("\"{}\"", name); }

std::string index_name(const TableSpec& table, std::string_view index) {
  return fmt::format("{}.{}", table.name, index);
}

std::string create_table_sql(const TableSpec& table) {
  const ColumnSpec& key = table.columns.front();
  const bool text_key = key.type == ColumnType::Text;
  std::string out =
      fmt::format("CREATE TABLE {} ({} {} PRIMARY KEY NOT NULL", quote_name(table.name),
                  quote_name(key.name), text_key ? "TEXT" : "INTEGER");
  for (std::size_t i = 1; i < table.columns.size(); ++i) {
    out += ", " + column_sql(table.columns[i]);
  }
  out += fmt::format(", {} INTEGER NOT NULL)", quote_name(kRevisionColumn));
  return text_key ? out + " WITHOUT ROWID" : out;
}

std::string add_column_sql(const TableSpec& table, const ColumnSpec& column) {
  return fmt::format("ALTER TABLE {} ADD COLUMN {}", quote_name(table.name), column_sql(column));
}

std::string create_index_sql(const TableSpec& table, const IndexSpec& index) {
  std::string columns;
  for (const std::uint16_t column : index.columns) {
    columns += (columns.empty() ? "" : ", ") + quote_name(table.columns[column].name);
  }
  return fmt::format("CREATE {}INDEX {} ON {} ({})", index.unique ? "UNIQUE " : "",
                     quote_name(index_name(table, index.name)), quote_name(table.name), columns);
}

TableSql make_table_sql(const TableSpec& table) {
  const std::string name = quote_name(table.name);
  const std::string key = quote_name(table.columns.front().name);
  const std::string revision = quote_name(kRevisionColumn);
  const std::string columns = column_list(table);
  const std::size_t count = table.columns.size();
  TableSql out;
  out.get = fmt::format("SELECT {} FROM {} WHERE {} = ?1", columns, name, key);
  out.revision = fmt::format("SELECT {} FROM {} WHERE {} = ?1", revision, name, key);
  out.insert = fmt::format("INSERT INTO {} ({}) VALUES ({})", name, columns, parameters(count + 1));
  out.erase = fmt::format("DELETE FROM {} WHERE {} = ?1", name, key);
  out.upsert = fmt::format("INSERT INTO {} ({}) VALUES ({}, 1) ON CONFLICT({}) DO UPDATE SET ",
                           name, columns, parameters(count), key);
  for (std::size_t i = 1; i < count; ++i) {
    const std::string column = quote_name(table.columns[i].name);
    out.upsert += fmt::format("{0} = excluded.{0}, ", column);
  }
  out.upsert += fmt::format("{0} = {0} + 1", revision);
  return out;
}

SqlText scan_sql(const TableSpec& table, const Scan& scan,
                 const std::vector<Predicate>& predicates) {
  SqlText out;
  out.sql = fmt::format("SELECT {} FROM {}", column_list(table), quote_name(table.name));
  WhereBuilder where(table);
  for (const Predicate& predicate : predicates) where.add(predicate);
  if (scan.after) where.add_after(scan.order, *scan.after);
  where.finish(out);
  // The key decides last. Naming it twice would have the rows sorted in spite of an index.
  std::vector<OrderBy> by = scan.order;
  if (std::ranges::none_of(by, [](const OrderBy& order) { return order.column == 0; })) {
    by.push_back({});
  }
  std::string columns;
  for (const OrderBy& order : by) {
    columns += columns.empty() ? "" : ", ";
    columns += quote_name(table.columns[order.column].name);
    columns += order.descending ? " DESC" : "";
  }
  out.values.emplace_back(std::int64_t{scan.limit});
  out.sql += fmt::format(" ORDER BY {} LIMIT ?{}", columns, out.values.size());
  return out;
}

SqlText count_sql(const TableSpec& table, const std::vector<Predicate>& predicates) {
  SqlText out;
  out.sql = fmt::format("SELECT count(*) FROM {}", quote_name(table.name));
  WhereBuilder where(table);
  for (const Predicate& predicate : predicates) where.add(predicate);
  where.finish(out);
  return out;
}

}  // namespace bai::storage

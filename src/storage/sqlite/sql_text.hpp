// The SQL of one table, and of scans over it. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "bai_manager/storage.hpp"
#include "storage/predicate.hpp"

namespace bai::storage {

inline constexpr std::string_view kRevisionColumn = "_revision";
inline constexpr std::string_view kVersionTable = "_schema";

std::string quote_name(std::string_view name);
std::string index_name(const TableSpec& table, std::string_view index);  // "sessions.by_status"

std::string create_table_sql(const TableSpec& table);
std::string add_column_sql(const TableSpec& table, const ColumnSpec& column);
std::string create_index_sql(const TableSpec& table, const IndexSpec& index);

// Texts that do not change while the schema stays.
struct TableSql {
  std::string get;       // ?1 key -> columns, revision
  std::string revision;  // ?1 key -> revision
  std::string upsert;    // ?1.. columns; raises the revision
  std::string insert;    // ?1.. columns, revision
  std::string erase;     // ?1 key
};
TableSql make_table_sql(const TableSpec& table);

struct SqlText {
  std::string sql;
  std::vector<Value> values;  // of the parameters, from ?1
};
SqlText scan_sql(const TableSpec& table, const Scan& scan,
                 const std::vector<Predicate>& predicates);
SqlText count_sql(const TableSpec& table, const std::vector<Predicate>& predicates);

}  // namespace bai::storage

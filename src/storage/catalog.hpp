// What every backend checks in the same way before it touches its data. Pure functions.
#pragma once

#include <cstddef>
#include <string>

#include "bai_manager/storage.hpp"

namespace bai::storage {

// Chosen so that every backend can keep them; a request beyond is InvalidArgument.
inline constexpr std::size_t kMaxColumns = 500;
inline constexpr std::size_t kMaxConditions = 256;
inline constexpr std::size_t kMaxOrder = 16;
inline constexpr std::size_t kMaxValueBytes = std::size_t{64} << 20;

std::string_view type_name(ColumnType type) noexcept;

// The value is of the column's type, or null where null is allowed, and is neither NaN nor larger
// than `kMaxValueBytes`.
Status check_value(const TableSpec& table, std::size_t column, const Value& value);

// Names are identifiers ([A-Za-z][A-Za-z0-9_]*) that differ in more than case; names that begin
// with an underscore or "sqlite_" belong to the backends.
Status check_schema(const Schema& schema);
Result<const TableSpec*> find_table(const Schema& schema, std::uint16_t table);
Status check_key(const TableSpec& table, const Value& key);
Status check_batch(const Schema& schema, const WriteBatch& batch);
// Order and `after`; conditions are checked by make_predicates().
Status check_order(const TableSpec& table, const Scan& scan);

// What the rows of a table read as in a column that they were stored without.
Value migration_value(const ColumnSpec& column);

// The errors whose wording must not depend on the backend.
std::unexpected<Error> revision_conflict(const TableSpec& table, const Value& key,
                                         Revision expected, Revision found);
std::unexpected<Error> unique_violation(const TableSpec& table, std::string_view index);

// A key as people would write it, for messages.
std::string key_text(const Value& key);

}  // namespace bai::storage

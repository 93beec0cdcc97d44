// From the tables that a backend has to those that a schema wants, as numbered steps.
#pragma once

#include <string>
#include <vector>

#include "bai_manager/storage.hpp"

namespace bai::storage {

struct MigrationStep {
  enum class Kind : std::uint8_t { AddTable, AddColumn, DropIndex, AddIndex };
  Kind kind = Kind::AddTable;
  std::uint16_t table = 0;  // in the wanted schema
  std::uint16_t item = 0;   // AddColumn, AddIndex: position in the wanted table
  std::string drop_name;    // DropIndex
};

// A new table's step brings its columns, its indexes follow as steps of their own. Steps are in the
// order in which they must be applied.
// Unsupported: the stored version is newer, or equal but the tables differ, or a column that both
// know changed its type, its nullability or became the key. What only the backend has stays.
// `found_version` 0 means that there is nothing yet.
Result<std::vector<MigrationStep>> plan_migration(std::uint32_t found_version,
                                                  const std::vector<TableSpec>& found,
                                                  const Schema& wanted);

// "add column sessions.name"
std::string describe(const MigrationStep& step, const Schema& wanted);

}  // namespace bai::storage

// Rows of one table: where their columns are, reading them back as entities.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "bai_manager/schema.hpp"
#include "bai_manager/storage.hpp"

namespace bai::repo {

// The fields of a stored entity that are columns, in the order of the columns.
const std::vector<const FieldInfo*>& columns_of(const EntityInfo& info);
std::uint16_t column_of(const EntityInfo& info, std::string_view field);  // that is stored
std::uint16_t meta_table();

// Corruption names the table, the key and the column.
Result<std::shared_ptr<void>> decode(const EntityInfo& info, const Row& row);

Condition where(const EntityInfo& info, std::string_view field, Compare op, Value value);

// All rows of a table that meet the conditions, in this order, page by page.
using TakeRow = std::function<Status(std::shared_ptr<void>)>;
Status scan_all(Storage& storage, const EntityInfo& info, const TakeRow& take,
                std::vector<Condition> conditions = {}, std::vector<OrderBy> order = {});

}  // namespace bai::repo

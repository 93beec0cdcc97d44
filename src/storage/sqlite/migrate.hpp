// Brings the tables of a SQLite file to a schema.
#pragma once

#include "bai_manager/storage.hpp"
#include "storage/sqlite/connection.hpp"

namespace bai::storage {

// In one transaction: all steps or none. Each step is recorded as a row of the table `_schema`.
// Errors as plan_migration(); AlreadyExists when rows violate a new unique index.
Status migrate(Connection& writer, const Schema& schema);

}  // namespace bai::storage

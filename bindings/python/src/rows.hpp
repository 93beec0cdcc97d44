// Rows of snapshots as Python objects: one type per entity, its attributes made from schema.hpp.
#pragma once

#include "bai_manager/schema.hpp"
#include "bai_manager/snapshot.hpp"
#include "common.hpp"

namespace bai::python {

// A row of `snapshot`. Keeps the snapshot alive. Needs the GIL.
py::object make_row(const SnapshotPtr& snapshot, EntityKind kind, const void* row);
// A row that was read from storage.
py::object make_stored_row(const SnapshotPtr& snapshot, EntityKind kind,
                           std::shared_ptr<const void> row);

// A mapping of the reason's parts; None for null.
py::object reason_to(const PendingReason* reason, const SlotTypes& types);

// The id in `value`: the text itself, or the key of a row of that kind.
std::string key_of(py::handle value, EntityKind kind, const std::string& what);

// Finds a row by the text of its key; null when there is none.
const void* find_row(const Snapshot& snapshot, EntityKind kind, const std::string& key);
void for_each_row(const Snapshot& snapshot, EntityKind kind,
                  const std::function<void(const void*)>& visit);
std::size_t count_rows(const Snapshot& snapshot, EntityKind kind);
// The entity of that name or table; InvalidArgument with the names there are.
const EntityInfo& entity_named(const std::string& name);

}  // namespace bai::python

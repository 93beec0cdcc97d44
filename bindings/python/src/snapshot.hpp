#pragma once

#include "bai_manager/schema.hpp"
#include "bai_manager/snapshot.hpp"
#include "common.hpp"

namespace bai::python {

struct SnapshotHandle {  // what Python holds
  SnapshotPtr snapshot;
};

// A NumPy structured array of rows; see Snapshot.array in the stubs.
py::object make_array(const SnapshotPtr& snapshot, const EntityInfo& entity,
                      const std::vector<std::string>& fields, const std::vector<const void*>& rows);

}  // namespace bai::python

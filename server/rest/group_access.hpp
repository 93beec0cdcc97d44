// Which resource groups callers may run sessions in.
#pragma once

#include <set>

#include "bai_manager/actions.hpp"
#include "bai_manager/snapshot.hpp"

namespace bai::server {

// Over all projects of the caller; a superadmin may look into others, too.
std::set<ResourceGroupName> groups_of(const Snapshot& snapshot, const Caller& caller);

}  // namespace bai::server

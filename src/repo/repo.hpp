// Between rows of storage and rows of the state: schema, loading, write batches, cold queries.
#pragma once

#include <span>
#include <vector>

#include "bai_manager/storage.hpp"
#include "model/changeset.hpp"

namespace bai::repo {

// The tables of all entities that are stored, then `manager_meta`.
Schema make_schema();
std::uint16_t table_of(EntityKind kind);  // position in the schema; derived entities have none

// Reads every entity that lives in memory into an empty state, but no sessions (and their kernels)
// that ended before `ended_before`, unless a live session depends on them.
// Corruption names the table, the key and the column.
Status load(Storage& storage, State& into, Timestamp ended_before = {});

// The version that storage holds and the revision of the row that says so.
struct StoredVersion {
  StateVersion version;
  Revision revision = 0;
};
Result<StoredVersion> stored_version(Storage& storage);

// Coalesced changes as one batch that moves the stored version from `from` to `to`. Empty writes
// when nothing in them is stored.
WriteBatch make_batch(std::span<const Change> changes, const StoredVersion& from, StateVersion to);
bool is_stored(const Change& change);

// In the order in which the rows were written.
Result<std::vector<std::shared_ptr<const History>>> load_history(Storage& storage,
                                                                 const SessionId& session);
Result<Timestamp> last_recorded(Storage& storage);  // when the newest row of history was written
Result<std::string> load_kernel_log(Storage& storage, const KernelId& kernel);

}  // namespace bai::repo

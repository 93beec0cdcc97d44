// The record of who has used how much of which resource group: FairShare rows, with one bucket a
// day. What still runs is not in them; whoever reads them adds it.
#pragma once

#include "core/context.hpp"

namespace bai::core {

// Makes the rows of the session's domain, project and user in its resource group where they are
// missing: who has no row is ranked last.
void ensure_fair_shares(Changeset& changes, const Session& session);

// `kernel`, as it was until `end`, holds nothing any more. Adds what it has used since it started
// to the buckets of the days on which it did, and drops those that no longer count.
void record_usage(Changeset& changes, const Kernel& kernel, Timestamp end);

}  // namespace bai::core

// Projects that lend each other what they do not use of their slots.
#pragma once

#include <optional>
#include <span>

#include "core/broken_limit.hpp"
#include "core/context.hpp"

namespace bai::core {

// What stands against a session of a project in a cohort. `leaving` are sessions that end for it:
// what they hold counts as free.
std::optional<BrokenLimit> broken_cohort(const State& state, const Session& session,
                                         const Project& project,
                                         std::span<const SessionId> leaving);

// Whether the cohort of a RESERVED session's project has room for it beside all that is granted;
// other RESERVED sessions are granted nothing yet.
bool cohort_admits(const State& state, const Session& session);

}  // namespace bai::core

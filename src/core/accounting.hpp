// Who holds what: the only place where amounts are granted and given back. Sessions and kernels are
// written through these functions, which keep the sums on agents and in scopes in step.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "core/broken_limit.hpp"
#include "core/context.hpp"

namespace bai::core {

// What an agent may report of one slot, and a session may ask for in total (8 PiB, 9e12 devices):
// sums over any cluster stay exact. Pending sums are kept below kPendingMax.
inline constexpr Amount kReportedMax{std::int64_t{1} << 53};
inline constexpr Amount kPendingMax{std::int64_t{1} << 62};

void insert_session(Changeset& changes, Session session);
void insert_kernel(Changeset& changes, Kernel kernel);
void erase_kernel(Changeset& changes, const KernelId& id);
const Session& update_session(Changeset& changes, const SessionId& id,
                              const std::function<void(Session&)>& edit);
const Kernel& update_kernel(Changeset& changes, const KernelId& id,
                            const std::function<void(Kernel&)>& edit);

// Adds the derived sums of everything that is already in the state (after loading).
void rebuild_sums(Changeset& changes);

// The keypair whose policy limits a user's sessions: its main one, or the session's own.
const KeypairPolicy* limiting_policy(const State& state, const UserId& user, const AccessKey& key);

// The first limit that the session would break now. Looks at the slots of user, project and domain
// and at concurrency. `leaving`: sessions that end for it, which matter to its project's cohort.
std::optional<BrokenLimit> broken_limit(const State& state, const Session& session,
                                        std::span<const SessionId> leaving = {});

// For a session that only such a limit keeps waiting, where the planner does not check limits.
PendingReason reason_of_limit(const BrokenLimit& broken);

// Empty when every sum equals what it is a sum of and no invariant is broken.
std::string check_invariants(const State& state);

}  // namespace bai::core

// How sessions and kernels move: the status changes themselves, and what each makes due.
#pragma once

#include <string>
#include <string_view>

#include "core/context.hpp"

namespace bai::core {

// Changes the status, stamps times, sets the deadline of the new status. The transition must exist.
void set_session_status(Context& ctx, const SessionId& id, SessionStatus to, std::string_view info);
void set_kernel_status(Context& ctx, const KernelId& id, KernelStatus to, std::string_view info);

// One row of scheduling history.
void record_history(Context& ctx, const Session& session, std::string_view phase,
                    SessionStatus from, SessionStatus to, SchedulingResult result,
                    std::string_view error_code = {}, std::string_view message = {});

// Looks at a session's kernels and takes every step that is due now: PREPARED, CREATING, RUNNING,
// TERMINATED. Safe to call at any time.
void advance(Context& ctx, const SessionId& id);

// Sends again what the present status waits for: the way on after a restart, a lost event, or an
// agent's return. Asks rather than repeats where a repeat does harm.
void drive(Context& ctx, const SessionId& id);

// Sends image checks for a session that has just been placed, or starts it at once when nothing is
// to be prepared.
void begin_prepare(Context& ctx, const SessionId& id);

// The present attempt to start has failed, for `agent`'s reason (empty: nobody's fault, not
// counted). Kernels that may exist are destroyed, and the session waits to be placed again, or is
// given up after `Options::attempts_max`.
void fail_attempt(Context& ctx, const SessionId& id, const AgentId& agent, std::string_view phase,
                  std::string_view reason);

// All its kernels wait to be placed, under new ids where an agent may have seen the old ones.
void reset_kernels(Context& ctx, const SessionId& id);

// PENDING: CANCELLED. Otherwise TERMINATING, or TERMINATED at once when `forced`. Answers
// "cancelled", "terminated" or "" (under way, or nothing to do). `result` is what the history says
// of a session that was PENDING.
std::string_view terminate(Context& ctx, const SessionId& id, std::string_view reason, bool forced,
                           SchedulingResult result = SchedulingResult::Success);

// A kernel has ended on its agent (or with it).
void kernel_ended(Context& ctx, const KernelId& id, std::string_view reason,
                  std::optional<std::int64_t> exit_code);

// A kernel runs where none should: destroys it, however long that takes.
void owe_destroy(Context& ctx, const AgentId& agent, const KernelId& kernel,
                 const SessionId& session, std::string_view reason);
void drive_operation(Context& ctx, const OperationId& id);

// Asks an agent about every kernel that runs on it, and arms its own next time: the end of one may
// have been reported to nobody. Agents take turns over `Options::running_recheck`.
void take_census(Context& ctx, const AgentId& agent);
Timestamp next_census(const AgentId& agent, Timestamp after, Duration period);

// Sends a command to an agent; false when there is no such agent.
bool send(Context& ctx, const AgentId& agent, AgentRequest request, Duration timeout,
          Errand errand);

// A reason that agents accept in destroy_kernel: `reason` itself or "unknown".
std::string agent_reason(std::string_view reason);

}  // namespace bai::core

// Closed sets of names: statuses, types, roles. `to_string` gives the text on the wire and on disk.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace bai {

// Specialised below for every enumeration: `names[i]` is the text of the enumerator with value i.
template <class E>
struct EnumText;

template <class E>
concept NamedEnum = requires { EnumText<E>::names; };

template <NamedEnum E>
constexpr std::string_view to_string(E value) noexcept {
  return EnumText<E>::names[static_cast<std::size_t>(value)];
}

// Position of `text` in `names`, ignoring ASCII case and taking '_' for '-'.
std::optional<std::size_t> find_enum_name(std::span<const std::string_view> names,
                                          std::string_view text) noexcept;

template <NamedEnum E>
std::optional<E> parse_enum(std::string_view text) noexcept {
  const auto at = find_enum_name(EnumText<E>::names, text);
  if (!at) return std::nullopt;
  return static_cast<E>(*at);
}

#define BAI_ENUM_TEXT(E, ...)                                                     \
  template <>                                                                     \
  struct EnumText<E> {                                                            \
    static constexpr auto names = std::to_array<std::string_view>({__VA_ARGS__}); \
  }

enum class SessionStatus : std::uint8_t {
  Pending,
  Deprioritizing,
  Reserved,
  Scheduled,
  Preparing,
  Pulling,
  Prepared,
  Creating,
  Running,
  Restarting,
  RunningDegraded,
  Preempted,
  Rescheduling,
  Terminating,
  Terminated,
  Error,
  Cancelled,
};
BAI_ENUM_TEXT(SessionStatus, "PENDING", "DEPRIORITIZING", "RESERVED", "SCHEDULED", "PREPARING",
              "PULLING", "PREPARED", "CREATING", "RUNNING", "RESTARTING", "RUNNING_DEGRADED",
              "PREEMPTED", "RESCHEDULING", "TERMINATING", "TERMINATED", "ERROR", "CANCELLED");

enum class KernelStatus : std::uint8_t {
  Pending,
  Reserved,
  Scheduled,
  Preparing,
  Building,
  Pulling,
  Prepared,
  Creating,
  Running,
  Restarting,
  Resizing,
  Suspended,
  Terminating,
  Terminated,
  Error,
  Cancelled,
};
BAI_ENUM_TEXT(KernelStatus, "PENDING", "RESERVED", "SCHEDULED", "PREPARING", "BUILDING", "PULLING",
              "PREPARED", "CREATING", "RUNNING", "RESTARTING", "RESIZING", "SUSPENDED",
              "TERMINATING", "TERMINATED", "ERROR", "CANCELLED");

enum class AgentStatus : std::uint8_t { Alive, Lost, Restarting, Terminated };
BAI_ENUM_TEXT(AgentStatus, "ALIVE", "LOST", "RESTARTING", "TERMINATED");

enum class SessionType : std::uint8_t { Interactive, Batch, Inference, System };
BAI_ENUM_TEXT(SessionType, "interactive", "batch", "inference", "system");

enum class SessionResult : std::uint8_t { Undefined, Success, Failure };
BAI_ENUM_TEXT(SessionResult, "undefined", "success", "failure");

enum class ClusterMode : std::uint8_t { SingleNode, MultiNode };
BAI_ENUM_TEXT(ClusterMode, "single-node", "multi-node");

enum class UserRole : std::uint8_t { User, Admin, Superadmin, Monitor };
BAI_ENUM_TEXT(UserRole, "user", "admin", "superadmin", "monitor");

enum class UserStatus : std::uint8_t { Active, Inactive, BeforeVerification, Deleted };
BAI_ENUM_TEXT(UserStatus, "active", "inactive", "before-verification", "deleted");

enum class UnspecifiedLimit : std::uint8_t { Limited, Unlimited };
BAI_ENUM_TEXT(UnspecifiedLimit, "LIMITED", "UNLIMITED");

enum class ScopeKind : std::uint8_t { Domain, Project, Keypair, User };
BAI_ENUM_TEXT(ScopeKind, "domain", "project", "keypair", "user");

// What a session that waits for room means for those behind it: all wait, none waits, or they may
// start when that does not delay the first of them (easy) or any of them (conservative).
enum class QueueDiscipline : std::uint8_t { HeadOfLine, SkipAhead, Easy, Conservative };
BAI_ENUM_TEXT(QueueDiscipline, "head-of-line", "skip-ahead", "easy", "conservative");

enum class PlacementDirection : std::uint8_t { None, Spread, Pack };
BAI_ENUM_TEXT(PlacementDirection, "none", "spread", "pack");

enum class PlacementEnforcement : std::uint8_t { Preferred, Strict };
BAI_ENUM_TEXT(PlacementEnforcement, "preferred", "strict");

enum class OperationStatus : std::uint8_t { Running, Done, Failed, Cancelled };
BAI_ENUM_TEXT(OperationStatus, "running", "done", "failed", "cancelled");

enum class SchedulingResult : std::uint8_t { Success, NeedRetry, Expired, GiveUp, Skipped };
BAI_ENUM_TEXT(SchedulingResult, "SUCCESS", "NEED_RETRY", "EXPIRED", "GIVE_UP", "SKIPPED");

// Named sets of statuses (the reference system's, see src/model/status.cpp).
bool is_terminal(SessionStatus s) noexcept;         // ERROR, TERMINATED, CANCELLED
bool occupies_resources(SessionStatus s) noexcept;  // counts into concurrency
bool is_terminatable(SessionStatus s) noexcept;
bool is_force_terminatable(SessionStatus s) noexcept;
bool is_terminal(KernelStatus s) noexcept;
bool holds_resources(KernelStatus s) noexcept;  // from SCHEDULED (or RESERVED) to TERMINATING
bool is_pre_prepared(KernelStatus s) noexcept;
bool is_pre_running(KernelStatus s) noexcept;
bool is_terminatable(KernelStatus s) noexcept;
bool is_force_terminatable(KernelStatus s) noexcept;

// The transitions that exist. Everything else is refused by the state itself.
bool can_become(SessionStatus from, SessionStatus to) noexcept;
bool can_become(KernelStatus from, KernelStatus to) noexcept;

}  // namespace bai

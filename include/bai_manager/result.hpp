// Success-or-error return type of every fallible call in the library.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bai {

// Closed set: callers branch on it and every edge (REST, command line, bindings) maps all of it.
enum class ErrorCode : std::uint8_t {
  InvalidArgument,
  Unauthenticated,
  PermissionDenied,
  NotFound,
  AlreadyExists,
  Conflict,       // lost an optimistic-concurrency race; retry is safe
  QuotaExceeded,  // a limit of a policy or of this server; `kind` says which
  Unschedulable,  // no agent could ever satisfy the request
  Unavailable,    // backend or agent unreachable, or queue full; retry may help
  DeadlineExceeded,
  Cancelled,
  InDoubt,     // a commit was sent, its outcome is unknown
  Corruption,  // stored or received bytes do not decode
  Unsupported,
  Internal,
};

// "invalid-argument", "not-found", ...
std::string_view to_string(ErrorCode code) noexcept;

struct Error {
  ErrorCode code = ErrorCode::Internal;
  std::string message;  // one sentence for humans: what, where, what would be right; never parsed
  std::string kind;     // machine-readable refinement, e.g. "session-already-exists"; may be empty
  std::vector<std::pair<std::string, std::string>> data;  // e.g. {"existingSessionId", "..."}

  friend bool operator==(const Error&, const Error&) = default;
};

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> fail(ErrorCode code, std::string message, std::string kind = {}) {
  return std::unexpected(Error{code, std::move(message), std::move(kind), {}});
}

}  // namespace bai

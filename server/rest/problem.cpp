#include "rest/problem.hpp"

#include <algorithm>
#include <array>

namespace bai::server {
namespace {

constexpr std::string_view kBadParams = "Invalid or Missing API Parameters.";
// The service's own parameter checks; the misspelt title of the 503 is the wire's.
constexpr Problem kServiceParams{400, "invalid-api-params", "Missing or invalid API parameters.",
                                 "api_generic_invalid-parameters"};
constexpr Problem kUnavailable{503, "service-unavailable", "Serivce unavailable.",
                               "backendai_generic_unavailable"};
constexpr Problem kAgentUnavailable{503, "agent-connection-unavailable",
                                    "Agent connection unavailable.", "agent_access_unavailable"};
constexpr Problem kInternal{500, "internal-server-error", "Internal server error.",
                            "backendai_generic_internal-error"};

constexpr Problem no_such(std::string_view title, std::string_view code) {
  return {404, "object-not-found", title, code};
}

// Ordered by kind: problem_of searches it.
constexpr auto kKinds = std::to_array<KindProblem>({
    {"agent-address", kAgentUnavailable},
    {"agent-auth", kAgentUnavailable},
    {"agent-disconnected", kAgentUnavailable},
    {"agent-not-found", no_such("No such agent.", "agent_read_not-found")},
    {"agent-queue-full", kAgentUnavailable},
    {"agent-unavailable", kAgentUnavailable},
    {"agent-unreachable", kAgentUnavailable},
    {"auth-failed",
     {401, "auth-failed", "Credential/signature mismatch.", "user_auth_unauthorized"}},
    {"body-invalid", {400, "generic-bad-request", kBadParams, "api_parsing_invalid-parameters"}},
    {"body-malformed",
     {400, "generic-bad-request", "Malformed request body.", "api_parsing_bad-request"}},
    {"dependency-not-found", no_such("No such session.", "session_read_not-found")},
    {"domain-not-found", no_such("No such domain.", "domain_read_not-found")},
    {"gateway-stopped", kUnavailable},
    {"generic-bad-request",
     {400, "generic-bad-request", "Bad request.", "backendai_generic_bad-request"}},
    {"generic-forbidden",
     {403, "generic-forbidden", "Forbidden operation.", "backendai_generic_forbidden"}},
    {"group-membership-not-found",
     {404, "group-membership-not-found", "User is not a member of the specified group.",
      "group_read_not-found"}},
    {"group-not-found", {404, "project-not-found", "Project not found.", "group_read_not-found"}},
    {"image-not-found", no_such("No such environment image.", "image_read_not-found")},
    {"insufficient-privilege",
     {403, "insufficient-privilege", "Insufficient privilege.", "user_auth_forbidden"}},
    {"invalid-api-parameters", kServiceParams},
    {"invalid-auth-params",
     {400, "invalid-auth-params", "Missing or invalid authorization parameters.",
      "user_auth_invalid-parameters"}},
    {"kernel-execution-failed",
     {500, "kernel-execution-failed", "Executing user code in the kernel has failed.",
      "kernel_execute_internal-error"}},
    {"kernel-not-found", no_such("No such kernel.", "kernel_read_not-found")},
    {"keypair-not-found",
     {404, "keypair-not-found", "The key pair does not exist.", "keypair_read_not-found"}},
    {"main-kernel-not-found", no_such("No such main kernel.", "kernel_read_not-found")},
    {"malformed-multipart",
     {400, "generic-bad-request", "Malformed request body.", "api_parsing_bad-request"}},
    {"method-not-allowed",
     {405, "method-not-allowed", "HTTP Method Not Allowed.", "api_access_forbidden"}},
    {"multipart-limit",
     {400, "generic-bad-request", "Malformed request body.", "api_parsing_bad-request"}},
    {"no-available-resource-group",
     {400, "no-available-scaling-group", "No scaling groups available for this session.",
      "scaling-group_access_not-found"}},
    {"not-implemented",
     {501, "not-implemented", "This API is not implemented.", "api_generic_not-implemented"}},
    {"project-not-found", {404, "project-not-found", "Project not found.", "group_read_not-found"}},
    {"quota-exceeded",
     {400, "quota-exceeded", "You have reached your resource limit.",
      "session_create_unavailable"}},
    {"rate-limit-exceeded",
     {429, "rate-limit-exceeded", "You have reached your API query rate limit.",
      "api_access_unavailable"}},
    {"resource-group-not-found", no_such("No such scaling group.", "scaling-group_read_not-found")},
    {"session-already-exists",
     {400, "session-already-exists",
      "The session already exists but you requested not to reuse existing one.",
      "session_create_already-exists"}},
    {"session-group-in-use",
     {409, "session-group-in-use", "The session group has live sessions.",
      "session-group_delete_conflict"}},
    {"session-group-not-found", no_such("No such session group.", "session-group_read_not-found")},
    {"session-name-taken",
     {400, "session-already-exists",
      "The session already exists but you requested not to reuse existing one.",
      "session_create_already-exists"}},
    {"session-not-found", no_such("No such session.", "session_read_not-found")},
    {"session-not-running",
     {400, "kernel-not-ready", "Kernel not ready.", "kernel_read_not-ready"}},
    {"session-type-not-allowed",
     {422, "scaling-group-session-type-not-allowed",
      "Scaling group does not allow this session type.", "scaling-group_read_invalid-parameters"}},
    {"too-many-sessions-matched",
     {404, "too-many-sessions-matched", "Too many sessions matched.", "session_read_conflict"}},
    {"unknown-slot-type", kServiceParams},
    {"url-not-found", {404, "url-not-found", "Unknown URL path.", "api_read_not-found"}},
    {"user-not-found", {404, "user-not-found", "The user does not exist.", "user_read_not-found"}},
});
static_assert(std::ranges::is_sorted(kKinds, {}, &KindProblem::kind));

constexpr Problem kUnauthenticated{401, "auth-failed", "Credential/signature mismatch.",
                                   "user_auth_unauthorized"};
constexpr Problem kForbidden{403, "generic-forbidden", "Forbidden operation.",
                             "backendai_generic_forbidden"};
constexpr Problem kNotFound = no_such("No such object.", "backendai_read_not-found");
constexpr Problem kAlreadyExists{409, "object-already-exists", "The object already exists.",
                                 "backendai_create_already-exists"};
constexpr Problem kConflict{409, "invalid-kernel-status",
                            "Invalid kernel status for this operation.", "kernel_update_conflict"};
constexpr Problem kQuota{400, "quota-exceeded", "You have reached your resource limit.",
                         "session_create_unavailable"};
constexpr Problem kUnschedulable{400, "unschedulable", "No agent can ever satisfy the request.",
                                 "session_schedule_invalid-parameters"};
constexpr Problem kDeadline{504, "backend-timeout", "The agent did not answer in time.",
                            "agent_access_timeout"};
constexpr Problem kCancelled{503, "operation-cancelled", "The operation was cancelled.",
                             "backendai_generic_canceled"};
constexpr Problem kInDoubt{503, "storage-in-doubt",
                           "The storage did not confirm the change; it may or may not be there.",
                           "database_generic_unavailable"};
constexpr Problem kUnsupported{501, "not-implemented", "This API is not implemented.",
                               "api_generic_not-implemented"};
constexpr Problem kCorruption{500, "internal-server-error", "Internal server error.",
                              "backendai_generic_invalid-data-format"};

}  // namespace

std::span<const KindProblem> known_problems() noexcept { return kKinds; }

const Problem& problem_of(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::InvalidArgument:
      return kServiceParams;
    case ErrorCode::Unauthenticated:
      return kUnauthenticated;
    case ErrorCode::PermissionDenied:
      return kForbidden;
    case ErrorCode::NotFound:
      return kNotFound;
    case ErrorCode::AlreadyExists:
      return kAlreadyExists;
    case ErrorCode::Conflict:
      return kConflict;
    case ErrorCode::QuotaExceeded:
      return kQuota;
    case ErrorCode::Unschedulable:
      return kUnschedulable;
    case ErrorCode::Unavailable:
      return kUnavailable;
    case ErrorCode::DeadlineExceeded:
      return kDeadline;
    case ErrorCode::Cancelled:
      return kCancelled;
    case ErrorCode::InDoubt:
      return kInDoubt;
    case ErrorCode::Corruption:
      return kCorruption;
    case ErrorCode::Unsupported:
      return kUnsupported;
    case ErrorCode::Internal:
      break;
  }
  return kInternal;
}

const Problem& problem_of(const Error& error) noexcept {
  if (!error.kind.empty()) {
    const auto at =
        std::ranges::lower_bound(kKinds, std::string_view(error.kind), {}, &KindProblem::kind);
    if (at != kKinds.end() && at->kind == error.kind) return at->problem;
  }
  return problem_of(error.code);
}

http::Response to_response(const Error& error) {
  const Problem& problem = problem_of(error);
  Json data;
  for (const auto& [key, value] : error.data) data.set(key, value);
  return http::problem(problem.status, problem.slug, problem.title, problem.error_code,
                       error.message, std::move(data));
}

}  // namespace bai::server

#include "rest/problem.hpp"

#include <doctest/doctest.h>

#include <regex>

using namespace bai;
using namespace bai::server;

TEST_CASE("every error code has a status, a type, a title and an error code") {
  struct Row {
    ErrorCode code;
    int status;
    std::string_view slug, error_code;
  };
  const Row rows[] = {
      {ErrorCode::InvalidArgument, 400, "invalid-api-params", "api_generic_invalid-parameters"},
      {ErrorCode::Unauthenticated, 401, "auth-failed", "user_auth_unauthorized"},
      {ErrorCode::PermissionDenied, 403, "generic-forbidden", "backendai_generic_forbidden"},
      {ErrorCode::NotFound, 404, "object-not-found", "backendai_read_not-found"},
      {ErrorCode::AlreadyExists, 409, "object-already-exists", "backendai_create_already-exists"},
      {ErrorCode::Conflict, 409, "invalid-kernel-status", "kernel_update_conflict"},
      {ErrorCode::QuotaExceeded, 400, "quota-exceeded", "session_create_unavailable"},
      {ErrorCode::Unschedulable, 400, "unschedulable", "session_schedule_invalid-parameters"},
      {ErrorCode::Unavailable, 503, "service-unavailable", "backendai_generic_unavailable"},
      {ErrorCode::DeadlineExceeded, 504, "backend-timeout", "agent_access_timeout"},
      {ErrorCode::Cancelled, 503, "operation-cancelled", "backendai_generic_canceled"},
      {ErrorCode::InDoubt, 503, "storage-in-doubt", "database_generic_unavailable"},
      {ErrorCode::Corruption, 500, "internal-server-error",
       "backendai_generic_invalid-data-format"},
      {ErrorCode::Unsupported, 501, "not-implemented", "api_generic_not-implemented"},
      {ErrorCode::Internal, 500, "internal-server-error", "backendai_generic_internal-error"},
  };
  CHECK(std::size(rows) == static_cast<std::size_t>(ErrorCode::Internal) + 1);
  for (const auto& row : rows) {
    CAPTURE(to_string(row.code));
    const Problem& problem = problem_of(row.code);
    CHECK(problem.status == row.status);
    CHECK(problem.slug == row.slug);
    CHECK(problem.error_code == row.error_code);
    CHECK_FALSE(problem.title.empty());
  }
}

TEST_CASE("kinds of the wire contract") {
  struct Row {
    std::string_view kind;
    int status;
    std::string_view slug, title, error_code;
  };
  const Row rows[] = {
      {"session-already-exists", 400, "session-already-exists",
       "The session already exists but you requested not to reuse existing one.",
       "session_create_already-exists"},
      {"session-not-found", 404, "object-not-found", "No such session.", "session_read_not-found"},
      {"image-not-found", 404, "object-not-found", "No such environment image.",
       "image_read_not-found"},
      {"group-not-found", 404, "project-not-found", "Project not found.", "group_read_not-found"},
      {"too-many-sessions-matched", 404, "too-many-sessions-matched", "Too many sessions matched.",
       "session_read_conflict"},
      {"invalid-auth-params", 400, "invalid-auth-params",
       "Missing or invalid authorization parameters.", "user_auth_invalid-parameters"},
      {"auth-failed", 401, "auth-failed", "Credential/signature mismatch.",
       "user_auth_unauthorized"},
      {"insufficient-privilege", 403, "insufficient-privilege", "Insufficient privilege.",
       "user_auth_forbidden"},
      {"quota-exceeded", 400, "quota-exceeded", "You have reached your resource limit.",
       "session_create_unavailable"},
      {"rate-limit-exceeded", 429, "rate-limit-exceeded",
       "You have reached your API query rate limit.", "api_access_unavailable"},
      {"body-malformed", 400, "generic-bad-request", "Malformed request body.",
       "api_parsing_bad-request"},
      {"body-invalid", 400, "generic-bad-request", "Invalid or Missing API Parameters.",
       "api_parsing_invalid-parameters"},
      {"invalid-api-parameters", 400, "invalid-api-params", "Missing or invalid API parameters.",
       "api_generic_invalid-parameters"},
      {"session-not-running", 400, "kernel-not-ready", "Kernel not ready.",
       "kernel_read_not-ready"},
      {"agent-unavailable", 503, "agent-connection-unavailable", "Agent connection unavailable.",
       "agent_access_unavailable"},
      {"kernel-execution-failed", 500, "kernel-execution-failed",
       "Executing user code in the kernel has failed.", "kernel_execute_internal-error"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.kind);
    const Problem& problem = problem_of(Error{ErrorCode::Internal, "", std::string(row.kind), {}});
    CHECK(problem.status == row.status);
    CHECK(problem.slug == row.slug);
    CHECK(problem.title == row.title);
    CHECK(problem.error_code == row.error_code);
  }
}

TEST_CASE("the whole table keeps to the grammar of the wire") {
  const std::regex slug("[a-z][a-z-]*[a-z]"), code("[a-z-]+_[a-z-]+_[a-z-]+");
  for (const auto& [kind, problem] : known_problems()) {
    CAPTURE(kind);
    CHECK(std::regex_match(std::string(kind), slug));
    CHECK(std::regex_match(std::string(problem.slug), slug));
    CHECK(std::regex_match(std::string(problem.error_code), code));
    CHECK(problem.status >= 400);
    CHECK(problem.status < 600);
    CHECK_FALSE(problem.title.empty());
    CHECK(&problem_of(Error{ErrorCode::Internal, "", std::string(kind), {}}) == &problem);
  }
}

TEST_CASE("an unknown kind falls back to its code") {
  CHECK(problem_of(Error{ErrorCode::NotFound, "", "no-such-kind", {}}).status == 404);
  CHECK(problem_of(Error{ErrorCode::Internal, "", "ResourceError", {}}).status == 500);
}

TEST_CASE("the error body") {
  const auto response = to_response({ErrorCode::AlreadyExists,
                                     "It is there",
                                     "session-already-exists",
                                     {{"existingSessionId", "abc"}}});
  CHECK(response.status == 400);
  CHECK(response.headers.get("Content-Type") == "application/problem+json");
  const auto body = Json::parse(response.body);
  REQUIRE(body.has_value());
  CHECK((*body)["type"].as_string() == "https://api.backend.ai/probs/session-already-exists");
  CHECK((*body)["error_code"].as_string() == "session_create_already-exists");
  CHECK((*body)["msg"].as_string() == "It is there");
  CHECK((*body)["data"]["existingSessionId"].as_string() == "abc");
  const auto bare = Json::parse(to_response({ErrorCode::NotFound, "", "", {}}).body);
  REQUIRE(bare.has_value());
  CHECK(bare->find("msg") == nullptr);
  CHECK(bare->find("data") == nullptr);
}

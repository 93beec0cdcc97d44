#include "metrics/metrics.hpp"

#include <doctest/doctest.h>

using namespace bai;
using namespace bai::server;

namespace {

bool has_line(const std::string& text, std::string_view line) {
  return ("\n" + text).find("\n" + std::string(line) + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("error codes split into three words") {
  const auto labels = split_error_code("scaling-group_access_not-found");
  CHECK(labels.domain == "scaling-group");
  CHECK(labels.operation == "access");
  CHECK(labels.detail == "not-found");
  CHECK(split_error_code("").domain.empty());
  CHECK(split_error_code("a_b").domain.empty());
}

TEST_CASE("API requests are counted under the reference's name and labels") {
  Metrics metrics;
  metrics.api_done("GET", "/session/{session}", 200, "", milliseconds(5));
  metrics.api_done("GET", "/session/{session}", 200, "", milliseconds(5));
  metrics.api_done("BREW", "/session/{session}", 404, "session_read_not-found", {});
  const auto text = metrics.expose();
  CHECK(has_line(text,
                 R"(backendai_api_request_count_total{domain="",endpoint="/session/{session}",)"
                 R"(error_detail="",method="GET",operation="",status_code="200"} 2)"));
  CHECK(has_line(text, R"(backendai_api_request_count_total{domain="session",)"
                       R"(endpoint="/session/{session}",error_detail="not-found",method="OTHER",)"
                       R"(operation="read",status_code="404"} 1)"));
  CHECK(has_line(text, "# TYPE backendai_api_request_duration_sec histogram"));
  CHECK(text.find(R"(status_code="200",le="0.001"} 0)") != std::string::npos);
  CHECK(text.find(R"(status_code="200",le="0.01"} 2)") != std::string::npos);
}

TEST_CASE("actions, events, layers and passes") {
  Metrics metrics;
  const Error error{ErrorCode::QuotaExceeded, "", "", {}};
  metrics.action_done("create_session", "session", "create", nullptr, {});
  metrics.action_done("create_session", "session", "create", &error, {});
  metrics.agent_event_done("kernel_started", true, milliseconds(50));
  metrics.agent_event_done("kernel_started", false, {});
  metrics.agent_request_done("create_kernels", false, {});
  metrics.pass_done(milliseconds(1), 3, 7);
  metrics.commit_done(12, true, {});
  const auto text = metrics.expose();
  CHECK(has_line(text, R"(backendai_action_count_total{domain="",entity_type="session",)"
                       R"(error_detail="",operation="",operation_type="create",)"
                       R"(status="success"} 1)"));
  CHECK(has_line(text, R"(backendai_action_count_total{domain="session",entity_type="session",)"
                       R"(error_detail="unavailable",operation="create",)"
                       R"(operation_type="create",status="failure"} 1)"));
  CHECK(has_line(text, R"(backendai_event_count_total{event_type="kernel_started"} 2)"));
  CHECK(text.find(R"(backendai_event_failure_count_total{domain="event",)") != std::string::npos);
  CHECK(text.find(R"(backendai_event_processing_time_sec_bucket{domain="",error_detail="",)"
                  R"(event_type="kernel_started",operation="",status="success",le="0.01"} 0)") !=
        std::string::npos);
  CHECK(text.find(R"(event_type="kernel_started",operation="",status="success",le="0.1"} 1)") !=
        std::string::npos);
  CHECK(text.find(R"(event_type="kernel_started",operation="request",status="failure"} 1)") !=
        std::string::npos);
  CHECK(has_line(text, R"(backendai_layer_operation_count_total{domain="client",)"
                       R"(layer="agent_client",operation="create_kernels",success="False"} 1)"));
  CHECK(has_line(text, R"(backendai_layer_operation_error_count_total{domain="client",)"
                       R"(error_code="internal_error",layer="agent_client",)"
                       R"(operation="create_kernels"} 1)"));
  CHECK(has_line(text, R"(backendai_layer_operation_count_total{domain="repository",)"
                       R"(layer="storage",operation="commit",success="True"} 1)"));
  CHECK(has_line(text, R"(backendai_scheduler_operation_count_total{operation="schedule",)"
                       R"(status="success"} 1)"));
  CHECK(has_line(text, "bai_scheduler_placed_total 3"));
  CHECK(has_line(text, "bai_scheduler_waiting 7"));
  CHECK(has_line(text, "bai_storage_rows_written_total 12"));
  CHECK(text.find("\nbackendai_memory_used_rss 0") == std::string::npos);
  CHECK(text.find("\nbackendai_memory_used_rss ") != std::string::npos);
}

TEST_CASE("collectors are read while their guard lives") {
  Metrics metrics;
  auto guard = metrics.add_collector([](std::vector<Sample>& out) {
    out.push_back({"bai_sessions", "help", {{"status", "RUNNING"}}, 4, false});
    out.push_back({"bai_sessions", "help", {{"status", "PENDING"}}, 5, false});
    out.push_back({"bai_turns_total", "help", {}, 6, true});
  });
  const auto text = metrics.expose();
  CHECK(has_line(text, R"(bai_sessions{status="RUNNING"} 4)"));
  CHECK(has_line(text, R"(bai_sessions{status="PENDING"} 5)"));
  CHECK(has_line(text, "# TYPE bai_turns_total counter"));
  guard.reset();
  CHECK(metrics.expose().find("bai_sessions") == std::string::npos);
}

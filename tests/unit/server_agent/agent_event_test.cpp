#include "support.hpp"

namespace bai::server {

using namespace test;

namespace {

std::vector<AgentEventBody> all_events() {
  AgentInfo info;
  info.addr = "tcp://10.0.0.1:6001";
  info.public_host = "10.0.0.1";
  info.resource_group = "default";
  info.architecture = "aarch64";
  info.version = "26.8.0";
  info.slots = {{"cpu", "8"}, {"mem", "33285996544"}, {"cuda.shares", "2.5"}};
  info.slot_types = {{"cpu", "count"}, {"mem", "bytes"}};
  info.compute_plugins = Json::object({{"cpu", Json::object({{"version", "1"}})}});
  KernelStarted started{kKernel, kSession, "c0ffee", "10.0.0.1", 30000, 30001, Json::array(), {}};
  started.service_ports.push_back(Json::object({{"name", "sshd"}, {"protocol", "tcp"}}));
  KernelStarted measured = started;
  measured.used_slots = {{"cpu", "2"}, {"cuda.shares", "0.25"}, {"mem", "1073741824"}};
  return {AgentStarted{"self-started"},
          AgentTerminated{"shutdown"},
          AgentHeartbeat{info},
          ImagePullStarted{"cr.backend.ai/stable/python:1"},
          ImagePullFinished{"cr.backend.ai/stable/python:1"},
          ImagePullFailed{"cr.backend.ai/stable/python:1", "no such image"},
          KernelPreparing{kKernel, kSession},
          KernelPulling{kKernel, kSession},
          KernelCreating{kKernel, kSession},
          started,
          measured,
          KernelTerminated{kKernel, kSession, "user-requested", 137, "last words\n"},
          KernelTerminated{kKernel, kSession, "task-finished", 0, ""},
          KernelCancelled{kKernel, kSession, "no more room"},
          BatchFinished{kSession, true, "task-finished", 0},
          BatchFinished{kSession, false, "task-failed", 2}};
}

Error error_of(std::string_view name, std::string_view payload, std::string_view source = "i-1") {
  const auto event = parse_agent_event(name, source, payload);
  REQUIRE_FALSE(event);
  return event.error();
}

}  // namespace

TEST_CASE("every event survives its JSON") {
  for (const AgentEventBody& body : all_events()) {
    const auto [name, payload] = format_agent_event(body);
    CAPTURE(payload);
    const auto event = parse_agent_event(name, "i-1", payload);
    REQUIRE_MESSAGE(event, (event ? "" : event.error().message));
    CHECK(event->agent == AgentId("i-1"));
    CHECK(event->body.index() == body.index());
    CHECK(format_agent_event(event->body) == std::pair(name, payload));
  }
}

TEST_CASE("a heartbeat as an official agent sends it") {
  const auto event = parse_agent_event("agent_heartbeat", "i-ag1", R"({"agent_info": {
    "ip": "10.0.0.7", "region": null, "scaling_group": null, "addr": "tcp://10.0.0.7:6001",
    "public_key": null, "public_host": "gpu7",
    "available_resource_slots": [{"resource_type": "cpu", "quantity": "8"},
                                 {"resource_type": "mem", "quantity": 33285996544}],
    "slot_key_and_units": {"cpu": "count", "mem": "bytes"}, "version": "26.8.0rc1",
    "compute_plugins": {"cpu": {"version": "26.8.0rc1"}}, "architecture": "x86_64",
    "auto_terminate_abusing_kernel": false, "something_new": [1, 2]}})");
  REQUIRE(event);
  const AgentInfo& info = std::get<AgentHeartbeat>(event->body).info;
  CHECK(info.addr == "tcp://10.0.0.7:6001");
  CHECK(info.public_key.empty());
  CHECK(info.resource_group.empty());
  CHECK(info.slots ==
        std::vector<std::pair<std::string, std::string>>{{"cpu", "8"}, {"mem", "33285996544"}});
  CHECK(info.slot_types[1] == std::pair<std::string, std::string>("mem", "bytes"));
}

TEST_CASE("measured use is summed per slot over devices and units") {
  const auto event = parse_agent_event("kernel_started", "i-1", R"({
    "kernel_id": "11111111-2222-3333-4444-555555555555",
    "session_id": "aaaaaaaabbbbccccddddeeeeeeeeeeee", "reason": "",
    "creation_info": {"container_id": "c", "kernel_host": "h", "repl_in_port": 1, "repl_out_port": 2,
      "service_ports": [], "used_devices": {"units": {
        "cpu": {"0": {"model_name": null, "used": {"cpu": "1"}}, "1": {"used": {"cpu": "1.50"}}},
        "cuda": {"a": {"used": {"cuda.shares": "0.1"}}, "b": {"used": {"cuda.shares": "0.2"}}},
        "mem": {"root": {"used": {"mem": "1E+3"}}}}}}})");
  REQUIRE(event);
  const auto& started = std::get<KernelStarted>(event->body);
  CHECK(started.session == kSession);
  CHECK(*started.used_slots == std::vector<std::pair<std::string, std::string>>{
                                   {"cpu", "2.5"}, {"cuda.shares", "0.3"}, {"mem", "1000"}});
}

TEST_CASE("absent fields take the wire's defaults") {
  const auto event = parse_agent_event(
      "kernel_terminated", "i-1",
      R"({"kernel_id":"11111111-2222-3333-4444-555555555555","session_id":"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"})");
  REQUIRE(event);
  const auto& ended = std::get<KernelTerminated>(event->body);
  CHECK(ended.reason == "unknown");
  CHECK(ended.exit_code == -1);
  CHECK_FALSE(
      std::get<KernelStarted>(
          parse_agent_event(
              "kernel_started", "i-1",
              R"({"kernel_id":"11111111-2222-3333-4444-555555555555","session_id":"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee","creation_info":{}})")
              ->body)
          .used_slots);
}

TEST_CASE("what does not fit is refused with the reason") {
  CHECK(error_of("do_idle_check", "{}").code == ErrorCode::Unsupported);
  CHECK(error_of("", "{}").code == ErrorCode::Unsupported);
  CHECK(error_of("agent_started", "{}", "").code == ErrorCode::InvalidArgument);
  CHECK(error_of("agent_started", "[]").code == ErrorCode::InvalidArgument);
  CHECK(error_of("agent_started", "{").code == ErrorCode::InvalidArgument);
  CHECK(error_of("agent_started", R"({"reason":5})").message ==
        "Event `agent_started`: `reason` must be text.");
  CHECK(error_of("kernel_preparing", R"({"kernel_id":"x"})").message ==
        "Event `kernel_preparing`: `kernel_id` must be a UUID.");
  CHECK(error_of("image_pull_finished", "{}").code == ErrorCode::InvalidArgument);
  CHECK(error_of("agent_heartbeat", "{}").code == ErrorCode::InvalidArgument);
  CHECK(error_of("agent_heartbeat", R"({"agent_info":{"addr":""}})").message.find("addr") !=
        std::string::npos);
  CHECK(error_of("agent_heartbeat", R"({"agent_info":{"addr":"tcp://a:1"}})")
            .message.find("available_resource_slots") != std::string::npos);
  for (const char* amount : {"\"\"", "\"-1\"", "\"1e99\"", "\"1.2.3\"", "null",
                             "\"99999999999999999999999999999999999999999999\""}) {
    CAPTURE(amount);
    CHECK(error_of(
              "kernel_started",
              std::string(R"({"kernel_id":"11111111-2222-3333-4444-555555555555",)"
                          R"("session_id":"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",)"
                          R"("creation_info":{"used_devices":{"units":{"d":{"u":{"used":{"s":)") +
                  amount + "}}}}}}}")
              .message.find("decimal") != std::string::npos);
  }
}

}  // namespace bai::server

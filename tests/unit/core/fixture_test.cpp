// Loading fixtures: all or nothing, with errors that say where and what would be right.
#include "harness.hpp"

namespace bai::test {

namespace {

std::string error_of(World& w, std::string_view text) {
  const auto document = Json::parse(text);
  REQUIRE_MESSAGE(document.has_value(), text);
  const State before = w.freeze();
  const auto result = w.ask(LoadFixture{*document}, "system");
  if (result) return {};
  CHECK(result.error().code == ErrorCode::InvalidArgument);
  CHECK(first_difference(w.state(), before) == "");
  return result.error().message;
}

}  // namespace

TEST_CASE("rows are inserted, or replaced member by member, and counted") {
  World w;
  auto result = w.ask(LoadFixture{Json::parse(R"({"domains": [{"name": "d1", "description": "one"},
                                                             {"name": "d2"}]})")
                                      .value()},
                      "system");
  REQUIRE(result.has_value());
  CHECK(result->inserted == 2);
  CHECK(result->replaced == 0);
  const Timestamp created = w.now;
  w.now = w.now + seconds(10);
  result = w.ask(LoadFixture{Json::parse(R"({"domains": [{"name": "d1", "is_active": false},
                                                        {"name": "d3"}]})")
                                 .value()},
                 "system");
  REQUIRE(result.has_value());
  CHECK(result->inserted == 1);
  CHECK(result->replaced == 1);
  const Domain& d1 = *w.state().find<Domain>(DomainName("d1"));
  CHECK(d1.description == "one");
  CHECK_FALSE(d1.is_active);
  CHECK(d1.created_at == created);
}

TEST_CASE("an empty fixture is right, anything else that is no object of tables is not") {
  World w;
  CHECK(error_of(w, "{}") == "");
  for (const char* wrong : {"[]", "3", "null", "\"x\""}) {
    CHECK(error_of(w, wrong).starts_with("A fixture is an object of tables"));
  }
  CHECK(error_of(w, R"({"domains": {"name": "x"}})") == "domains: must be an array of rows");
}

TEST_CASE("tables that are not there, or have a life of their own") {
  World w;
  for (const char* table : {"nothing", "sessions", "kernels", "operations", "usages", "kernel_logs",
                            "session_scheduling_history"}) {
    const std::string error = error_of(w, std::string(R"({")") + table + R"(": []})");
    CHECK(error.starts_with(std::string("There is no table \"") + table +
                            "\" to load; tables are domains, "));
  }
}

TEST_CASE("an error names table, row, field and what would be right") {
  World w;
  CHECK(error_of(w, R"({"domains": [{"name": "ok"}, {"name": "x", "is_active": 1}]})") ==
        R"(domains[1]: domain: field "is_active" is 1, but must be true or false)");
  CHECK(error_of(w, R"({"domains": [{"nam": "x"}]})")
            .starts_with(R"(domains[0]: domain: there is no field "nam"; fields are name, )"));
  CHECK(error_of(w, R"({"domains": [{"description": "x"}]})") ==
        R"(domains[0]: domains: a row needs its key "name")");
  CHECK(error_of(w, R"({"users": [{"email": "e"}]})") ==
        R"(users[0]: users: a row needs its key "uuid")");
  CHECK(error_of(w, R"({"domains": ["x"]})") == "domains[0]: domain: must be a JSON object");
  CHECK(error_of(w, R"({"agents": [{"id": "a", "kernel_count": 3}]})")
            .find("no field \"kernel_count\"") != std::string::npos);
  CHECK(error_of(w, R"({"domains": [{"name": "x", "total_resource_slots": {"warp": "1"}}]})")
            .find("Unknown slot type") != std::string::npos);
}

TEST_CASE("references that lead nowhere") {
  World w;
  const std::string user = World::id_of("user");
  CHECK(error_of(w, R"({"users": [{"uuid": ")" + user + R"(", "domain_name": "none"}]})") ==
        "user user@x: there is no domain \"none\"");
  CHECK(error_of(w, R"({"projects": [{"id": "00000000-0000-0000-0000-0000000000a9", "name": "p",
                                      "domain_name": "none"}]})") ==
        "project p: there is no domain \"none\"");
  CHECK(error_of(w, R"({"keypairs": [{"access_key": "K", "resource_policy": "default"}]})") ==
        "keypair K: there is no such user");
  CHECK(error_of(w, R"({"keypairs": [{"access_key": "K", "user": ")" + user +
                        R"(", "resource_policy": "none"}]})") ==
        "keypair K: there is no keypair resource policy \"none\"");
  CHECK(error_of(w, R"({"project_members": [{"user": ")" + user + R"("}]})")
            .find("there is no such project or user") != std::string::npos);
  CHECK(error_of(
            w, R"({"resource_group_grants": [{"resource_group": "none", "scope": "default"}]})") ==
        "grant none/domain/default: there is no such resource group");
  CHECK(error_of(w, R"({"agents": [{"id": "a1", "resource_group": "none"}]})") ==
        "agent a1: there is no resource group \"none\"");
}

TEST_CASE("devices and labels of agents that cannot be") {
  World w;
  const auto agent = [&](const std::string& members) {
    return error_of(w, R"({"agents": [{"id": "a1", "resource_group": "default",
                                       "available_slots": {"cuda.shares": "2"}, )" +
                           members + "}]}");
  };
  const std::string devices = "agent a1: devices of slot \"cuda.shares\": ";
  CHECK(agent(R"("devices": {"cuda.shares": ["0.5", 1]})") == "");
  CHECK(agent(R"("devices": {"cuda.shares": ["1", "1.5"]})") ==
        devices + "\"1.5\" must be an amount above 0, at most 1");
  CHECK(agent(R"("devices": {"cuda.shares": ["0"]})").starts_with(devices + "\"0\" must be"));
  CHECK(agent(R"("devices": {"cuda.shares": [{}]})").starts_with(devices + "{} must be"));
  CHECK(agent(R"("devices": {"cuda.shares": "1"})") ==
        devices + "must be an array of at most 64 amounts");
  std::string many = "\"1\"";
  for (int i = 0; i < 64; ++i) many += ", \"1\"";
  CHECK(agent(R"("devices": {"cuda.shares": [)" + many + "]}") ==
        devices + "must be an array of at most 64 amounts");
  CHECK(agent(R"("devices": {"rocm.shares": ["1"]})") ==
        "agent a1: it lists devices of slot \"rocm.shares\", which it does not have");
  CHECK(agent(R"("labels": {"rack": 3})") == "agent a1: its label \"rack\" must be a text, not 3");
}

TEST_CASE("names that must be unique") {
  World w;
  CHECK(
      error_of(w, R"({"users": [{"uuid": "00000000-0000-0000-0000-00000000c001", "email": "user@x",
                                   "username": "new", "domain_name": "default"}]})") ==
      "two users have the email user@x");
  CHECK(error_of(w, R"({"users": [{"uuid": "00000000-0000-0000-0000-00000000c001", "email": "new@x",
                                   "username": "user", "domain_name": "default"}]})") ==
        "two users are named user");
  CHECK(
      error_of(w, R"({"projects": [{"id": "00000000-0000-0000-0000-0000000000a9", "name": "default",
                                      "domain_name": "default"}]})") ==
      "domain default has two projects named default");
  CHECK(error_of(w, R"({"images": [{"id": "00000000-0000-0000-0000-0000000000b9",
                                    "canonical": "cr.test/stable/python:3"}]})") ==
        "two images are cr.test/stable/python:3 for x86_64");
  CHECK(
      error_of(
          w, R"({"images": [{"id": "00000000-0000-0000-0000-0000000000b9", "architecture": "arm64",
                                    "canonical": "cr.test/stable/python:3"}]})") == "");
  CHECK(error_of(w, R"({"resource_groups": [{"name": "other", "is_default": true}]})") ==
        "two resource groups are the default");
}

TEST_CASE("slot types: new ones count for the tables behind them, built-in ones stand") {
  World w;
  CHECK(error_of(w, R"({"resource_slot_types": [{"slot_name": "npu.device", "slot_type": "count"}],
                        "domains": [{"name": "x", "total_resource_slots": {"npu.device": "4"}}]})") ==
        "");
  CHECK(w.state().find<Domain>(DomainName("x"))->total_resource_slots.get("npu.device").units ==
        4000);
  CHECK(error_of(w, R"({"resource_slot_types": [{"slot_name": "cpu", "slot_type": "bytes"}]})") ==
        "resource slot type cpu: it is built in as count, not bytes");
  CHECK(error_of(w, R"({"resource_slot_types": [{"slot_name": "y", "slot_type": "weight"}]})") !=
        "");
}

TEST_CASE("a fixture that fails at its end leaves nothing of its beginning") {
  World w;
  CHECK(error_of(w, R"({"domains": [{"name": "fresh"}],
                        "resource_slot_types": [{"slot_name": "npu.device", "slot_type": "count"}],
                        "agents": [{"id": "a1", "resource_group": "none"}]})") != "");
  CHECK(w.state().find<Domain>(DomainName("fresh")) == nullptr);
  CHECK_FALSE(w.state().slot_types().knows("npu.device"));
}

TEST_CASE("a resource group that could not be planned is refused, with the reason") {
  World w;
  const auto error = [&](const std::string& fields) {
    return error_of(
        w, R"({"resource_groups": [{"name": "other"}, {"name": "gpus", )" + fields + "}]}");
  };
  const std::string unknown = error(R"("scheduler": "unknown-x")");
  CHECK(unknown.starts_with("resource_groups[1]: "));
  CHECK(unknown.find("gpus") != std::string::npos);
  CHECK(unknown.find("unknown-x") != std::string::npos);
  CHECK(unknown.find("drf") != std::string::npos);  // one that there is
  CHECK(error(R"("agent_selection_strategy": "unknown-y")").find("unknown-y") != std::string::npos);
  const std::string option = error(R"("policy_options": {"preemptoin": {}})");
  CHECK(option.find("gpus") != std::string::npos);
  CHECK(option.find("preemptoin") != std::string::npos);
  CHECK(error(R"("policy_options": {"sequencer": {"half_life": "x"}})").find("half_life") !=
        std::string::npos);
}

TEST_CASE("A5: a row from elsewhere may name the scheduler to fall back to") {
  World w;
  CHECK(error_of(w, R"({"resource_groups": [{"name": "imported", "scheduler": "unknown-x",
                        "policy_options": {"scheduler_fallback": "drf"}}]})") == "");
}

TEST_CASE("a pending timeout is one that can be waited for") {
  World w;
  const auto error = [&](const std::string& seconds) {
    return error_of(
        w, R"({"resource_groups": [{"name": "default", "pending_timeout": )" + seconds + "}]}");
  };
  CHECK(error("315360000") == "");
  w.add_agent("a1");
  CHECK(w.session(w.create(World::request("sess"))).deadline == w.now + seconds(315'360'000));
  for (const char* wrong : {"315360001", "-1", "9223372037"}) {
    CHECK(error(wrong).find("pending_timeout must be 0 to 315360000") != std::string::npos);
  }
}

}  // namespace bai::test

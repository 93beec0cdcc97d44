// Filters, preferences and atomicity of placement.
#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

using Agents = std::vector<std::string>;

Texts cpu(const char* amount) { return {{"cpu", amount}}; }

SessionId multi_node(World& world, const std::vector<KernelSpec>& kernels) {
  Session row = world.draft();
  row.cluster_mode = ClusterMode::MultiNode;
  return world.add(std::move(row), kernels);
}

SessionId designated(World& world, const Texts& amounts, std::vector<std::string> agents,
                     bool strict) {
  Session row = world.draft();
  row.designated_agents = std::move(agents);
  if (strict) row.resource_opts = Json::object({{"agent_selection_policy", "strict"}});
  return world.add(std::move(row), {{amounts}});
}

SessionId after_failures(World& world, std::vector<std::string> agents) {
  Session row = world.draft();
  row.failed_agents = std::move(agents);
  return world.add(std::move(row), {{cpu("1")}});
}

std::int64_t missing(const PendingReason& reason, std::string_view slot) {
  return reason.missing.get(slot).units;
}

}  // namespace

TEST_CASE("C1 a single-node session is one requirement") {
  World world;
  world.agent("low", {{"cpu", "8"}, {"mem", "16384"}}, {{"cpu", "7"}, {"mem", "14336"}});
  world.agent("medium", {{"cpu", "8"}, {"mem", "16384"}}, {{"cpu", "4"}, {"mem", "8192"}});
  world.agent("high", {{"cpu", "16"}, {"mem", "32768"}}, {{"cpu", "2"}, {"mem", "4096"}});
  world.add(world.draft(), {{{{"cpu", "4"}, {"mem", "8192"}}}, {{{"cpu", "2"}, {"mem", "4096"}}}});
  world.group().policy_options = Json::object({{"max_container_count", 3}});
  const Plan plan = world.plan();
  REQUIRE(plan.placements.size() == 1);
  CHECK(agents_of(plan.placements[0]) == Agents{"high", "high"});
  // Two containers: with one there already, a limit of two leaves no room.
  world.group().policy_options = Json::object({{"max_container_count", 2}});
  CHECK(world.plan().placements.empty());
}

TEST_CASE("C2 a multi-node session is one requirement per kernel") {
  World world;
  world.agent("a", cpu("2"));
  world.agent("b", cpu("2"));
  multi_node(world, {{cpu("2")}, {cpu("2")}});
  const Plan plan = world.plan();
  REQUIRE(plan.placements.size() == 1);
  CHECK(agents_of(plan.placements[0]) == Agents{"a", "b"});
}

TEST_CASE("C3 a strictly designated agent without room") {
  World world;
  world.agent("d", cpu("2"));
  world.agent("other", cpu("8"));
  const auto id = designated(world, cpu("4"), {"d"}, true);
  CHECK(world.plan().placements.empty());
  CHECK(world.reason(id).code == "never");
  CHECK(missing(world.reason(id), "cpu") == 2000);
  CHECK(contains(world.reason(id).message, "1 is not designated"));
  CHECK(contains(world.reason(id).message, "the closest, d, lacks cpu 2"));
}

TEST_CASE("C4 a preferred agent without room gives way") {
  World world;
  world.agent("d", cpu("2"));
  world.agent("other", cpu("8"));
  designated(world, cpu("4"), {"d"}, false);
  CHECK(only_agent(world.plan()) == "other");
}

TEST_CASE("C5 a designated agent is taken though another has more room") {
  for (const bool strict : {true, false}) {
    World world;
    world.agent("d", {{"cpu", "2"}, {"mem", "2048"}});
    world.agent("other", {{"cpu", "64"}, {"mem", "65536"}});
    designated(world, {{"cpu", "1"}, {"mem", "1024"}}, {"d"}, strict);
    CHECK(only_agent(world.plan()) == "d");
  }
}

TEST_CASE("designated agents are strict by the resource group's option, the session's wins") {
  World world;
  world.agent("d", cpu("2"));
  world.agent("other", cpu("8"));
  world.group().policy_options = Json::object({{"agent_selection_policy", "strict"}});
  designated(world, cpu("4"), {"d"}, false);
  CHECK(world.plan().placements.empty());
  Session row = world.draft();
  row.designated_agents = {"d"};
  row.resource_opts = Json::object({{"agent_selection_policy", "PREFERRED"}});
  row.priority = 20;
  world.add(row, {{cpu("4")}});
  CHECK(only_agent(world.plan()) == "other");
}

TEST_CASE("a designated agent that does not exist") {
  World world;
  world.agent("other", cpu("8"));
  const auto strict = designated(world, cpu("4"), {"gone"}, true);
  const auto preferred = designated(world, cpu("4"), {"gone"}, false);
  CHECK(placed(world.plan()) == std::vector{preferred});
  CHECK(world.reason(strict).code == "no-compatible-agent");
}

TEST_CASE("an unknown agent selection policy of a session is told, never guessed") {
  World world;
  world.agent("a", cpu("8"));
  Session row = world.draft();
  row.resource_opts = Json::object({{"agent_selection_policy", "nearest"}});
  const auto id = world.add(row, {{cpu("1")}});
  CHECK(world.plan().placements.empty());
  CHECK(world.reason(id).code == "never");
  CHECK(contains(world.reason(id).message, "nearest"));
  CHECK(world.reason(id).violations.front().first == "agent_selection_policy");
}

TEST_CASE("C7 architecture") {
  World world;
  world.agent("x86", cpu("8"));
  world.agent("arm", cpu("8"), {}, "default", "aarch64");
  world.add(world.draft(), {{cpu("1"), "aarch64"}});
  CHECK(only_agent(world.plan()) == "arm");
}

TEST_CASE("C8 nothing required, nothing placed") {
  World world;
  world.agent("a", cpu("8"));
  world.add(world.draft(), {});
  const Plan plan = world.plan();
  CHECK(plan.placements.empty());
  CHECK(plan.errors.empty());
}

TEST_CASE("C10 a failed multi-node session leaves nothing behind") {
  World world;
  world.agent("a", cpu("8"));
  world.agent("b", cpu("8"));
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  const auto gang = multi_node(world, {{cpu("4")}, {cpu("99")}});
  const auto first = world.session(cpu("8")), second = world.session(cpu("8"));
  const Plan plan = world.plan();
  CHECK(placed(plan) == std::vector{first, second});
  CHECK(contains(world.reason(gang).message, "for kernel 2 of 2"));
  CHECK(contains(world.reason(gang).message, "is large enough, even when empty"));
}

TEST_CASE("C11 single-node kernels of two architectures are never placed") {
  World world;
  world.agent("a", cpu("8"));
  world.agent("arm", cpu("8"), {}, "default", "aarch64");
  const auto id = world.add(world.draft(), {{cpu("1")}, {cpu("1"), "aarch64"}});
  const auto behind = world.session(cpu("1"));
  CHECK(placed(world.plan()) == std::vector{behind});
  CHECK(world.reason(id).code == "never");
  CHECK(contains(world.reason(id).message, "one architecture"));
  CHECK(world.reason(id).violations.front().first == "architecture");
}

TEST_CASE("multi-node kernels of two architectures each find their agent") {
  World world;
  world.agent("a", cpu("8"));
  world.agent("arm", cpu("8"), {}, "default", "aarch64");
  multi_node(world, {{cpu("1"), "aarch64"}, {cpu("1")}});
  const Plan plan = world.plan();
  REQUIRE(plan.placements.size() == 1);
  CHECK(agents_of(plan.placements[0]) == Agents{"arm", "a"});
}

TEST_CASE("C13 missing amounts are those of the closest agent") {
  World world;
  world.agent("one", cpu("8"), cpu("7"));
  world.agent("three", cpu("8"), cpu("5"));
  const auto id = world.session(cpu("4"));
  world.plan();
  const PendingReason& reason = world.reason(id);
  CHECK(reason.code == "capacity");
  CHECK(missing(reason, "cpu") == 1000);
  CHECK(reason.message ==
        "No agent of resource group default has room: the closest, three, lacks cpu 1 (2 agents: "
        "2 lack cpu). Position 1 in the queue.");
}

TEST_CASE("C14 only what is missing is listed") {
  World world;
  world.agent("a", {{"cpu", "1"}, {"mem", "64g"}});
  const auto id = world.session({{"cpu", "4"}, {"mem", "4g"}});
  world.plan();
  CHECK(world.reason(id).missing == slots({{"cpu", "3"}}));
}

TEST_CASE("the reason counts agents by what they lack") {
  World world;
  for (int i = 0; i < 9; ++i) {
    world.agent("i-node" + std::to_string(i), {{"cpu", "8"}, {"mem", "64g"}},
                i == 3 ? Texts{{"cpu", "6"}, {"mem", "60g"}} : Texts{{"cpu", "8"}});
  }
  for (int i = 0; i < 3; ++i) {
    world.agent("arm" + std::to_string(i), {{"cpu", "8"}, {"mem", "64g"}}, {}, "default",
                "aarch64");
  }
  const auto id = world.session({{"cpu", "4"}, {"mem", "8g"}});
  world.plan();
  CHECK(world.reason(id).message ==
        "No agent of resource group default has room: the closest, i-node0, lacks cpu 4 (12 "
        "agents: 8 lack cpu, 3 are of another architecture than x86_64, 1 lacks cpu and mem). "
        "Position 1 in the queue.");
}

TEST_CASE("C16 what is free: capacity less all that is granted") {
  World world;
  world.agent("a", cpu("8"), cpu("1"));
  world.hold("a", cpu("2"));
  const auto id = world.session(cpu("6"));
  world.plan();
  CHECK(missing(world.reason(id), "cpu") == 1000);
}

TEST_CASE("C17 what a pass has taken is no longer free") {
  World world;
  world.agent("a", cpu("4"));
  const auto first = world.session(cpu("3")), second = world.session(cpu("3"));
  CHECK(placed(world.plan()) == std::vector{first});
  CHECK(missing(world.reason(second), "cpu") == 2000);
}

TEST_CASE("C18 an agent where the session failed before comes last") {
  World world;
  world.agent("a", cpu("8"));
  world.agent("b", cpu("8"));
  after_failures(world, {"a"});
  CHECK(only_agent(world.plan()) == "b");
}

TEST_CASE("C19 another session's failure does not count") {
  World world;
  world.agent("a", cpu("8"));
  world.agent("b", cpu("8"));
  after_failures(world, {"a", "b"});
  world.session(cpu("1"));
  const Plan plan = world.plan();
  REQUIRE(plan.placements.size() == 2);
  CHECK(agents_of(plan.placements[0]) == Agents{"a"});
  CHECK(agents_of(plan.placements[1]) == Agents{"b"});  // the emptier one
}

TEST_CASE("C20 when it failed everywhere it is still placed") {
  World world;
  world.agent("a", cpu("8"));
  after_failures(world, {"a"});
  CHECK(only_agent(world.plan()) == "a");
}

TEST_CASE("C28 without a rule about neighbours dispersed takes the emptiest") {
  World world;
  world.agent("A", cpu("8"));
  world.agent("B", cpu("16"));
  world.session(cpu("1"));
  CHECK(only_agent(world.plan()) == "B");
}

TEST_CASE("the container limit") {
  World world;
  world.group().policy_options = Json::object({{"max_container_count", 2}});
  world.agent("a", cpu("8"));
  const auto first = world.session(cpu("1")), second = world.session(cpu("1"));
  const auto third = world.session(cpu("1"));
  CHECK(placed(world.plan()) == std::vector{first, second});
  CHECK(world.reason(third).code == "container-limit");
  CHECK(contains(world.reason(third).message, "lacks 1 place for containers"));
  CHECK(world.reason(third).missing.empty());
  world.group().policy_options = Json::object();
  CHECK(world.plan().placements.size() == 3);
}

TEST_CASE("agents that are lost or not schedulable take nothing") {
  World world;
  world.agent("a", cpu("8"));
  world.agent("b", cpu("8"));
  world.changes.update<Agent>(AgentId("a"), [](Agent& row) { row.status = AgentStatus::Lost; });
  const auto id = world.session(cpu("1"));
  CHECK(only_agent(world.plan()) == "b");
  world.changes.update<Agent>(AgentId("b"), [](Agent& row) { row.schedulable = false; });
  CHECK(world.plan().placements.empty());
  CHECK(world.reason(id).code == "no-agents");
  CHECK(world.reason(id).position == 1);
  CHECK(contains(world.reason(id).expected_basis, "unknown: what it waits for is not foreseen"));
  world.changes.update<Agent>(AgentId("a"), [](Agent& row) { row.status = AgentStatus::Alive; });
  CHECK(only_agent(world.plan()) == "a");
}

TEST_CASE("capacity that shrank below use admits nothing, a request of none is still met") {
  World world;
  world.agent("a", {{"cpu", "8"}, {"cuda.device", "2"}}, {{"cuda.device", "2"}});
  world.changes.update<Agent>(AgentId("a"), [](Agent& row) {
    row.available_slots = slots({{"cpu", "8"}, {"cuda.device", "1"}});
  });
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  const auto wants = world.session({{"cpu", "1"}, {"cuda.device", "1"}});
  const auto not_wants = world.session({{"cpu", "1"}, {"cuda.device", "0"}});
  CHECK(placed(world.plan()) == std::vector{not_wants});
  CHECK(missing(world.reason(wants), "cuda.device") == 1000);
}

TEST_CASE("a slot that no agent has") {
  World world;
  world.agent("a", cpu("8"));
  const auto id = world.session({{"cpu", "1"}, {"tpu.device", "1"}});
  world.plan();
  CHECK(world.reason(id).code == "never");
  CHECK(world.reason(id).missing == slots({{"tpu.device", "1"}}));
  CHECK(contains(world.reason(id).message, "is large enough, even when empty"));
}

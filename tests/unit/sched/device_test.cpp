// Devices that are handed out one by one, and labels of agents.
#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

Texts shares(const std::string& amount) { return {{"cuda.shares", amount}}; }

std::vector<std::pair<std::uint32_t, std::int64_t>> devices(const Plan& plan, std::size_t which) {
  std::vector<std::pair<std::uint32_t, std::int64_t>> given;
  for (const PlacedDevice& d : plan.placements.at(which).devices) {
    given.emplace_back(d.device, d.amount.units);
  }
  return given;
}

using Given = std::vector<std::pair<std::uint32_t, std::int64_t>>;

void agent_row(World& world, const std::string& id, const Texts& capacity, Json labels,
               Json device_list = Json::object()) {
  Agent row;
  row.id = AgentId(id);
  row.resource_group = ResourceGroupName("default");
  row.architecture = "x86_64";
  row.available_slots = slots(capacity);
  row.labels = std::move(labels);
  row.devices = std::move(device_list);
  world.changes.insert(std::move(row));
}

Json list(std::initializer_list<const char*> texts) {
  Json array = Json::array();
  for (const char* text : texts) array.push_back(text);
  return array;
}

SessionId wants(World& world, const char* option, const Json& rule) {
  Session row = world.draft();
  row.resource_opts.set(option, rule);
  return world.add(std::move(row), {{{{"cpu", "1"}}}});
}

}  // namespace

TEST_CASE("a part of a device never straddles two") {
  World world;
  world.agent("a", shares("2"));
  world.session(shares("0.6"));
  world.session(shares("0.6"));
  const auto third = world.session(shares("0.5"));
  const Plan plan = world.plan();
  REQUIRE(plan.placements.size() == 2);
  CHECK(devices(plan, 0) == Given{{0, 600}});
  CHECK(devices(plan, 1) == Given{{1, 600}});
  CHECK(world.reason(third).code == "capacity");
  CHECK(world.reason(third).rejected ==
        std::vector<std::pair<std::string, std::int64_t>>{{"devices", 1}});
  CHECK(contains(world.reason(third).message, "pieces of several devices"));
}

TEST_CASE("the device with the least left that is enough") {
  World world;
  world.agent("a", shares("3"));
  world.session(shares("0.5"));
  world.session(shares("0.7"));
  world.session(shares("0.3"));
  world.session(shares("1.5"));
  const Plan plan = world.plan();
  REQUIRE(plan.placements.size() == 4);
  CHECK(devices(plan, 1) == Given{{1, 700}});
  CHECK(devices(plan, 2) == Given{{1, 300}});
  CHECK(devices(plan, 3) == Given{{2, 1000}, {0, 500}});
}

TEST_CASE("devices that were given stay given, and come back") {
  World world;
  world.agent("a", shares("2"));
  world.session(shares("0.6"));
  const Plan first = world.plan();
  world.apply(first);
  world.session(shares("0.6"));
  const Plan second = world.plan();
  REQUIRE(second.placements.size() == 1);
  CHECK(devices(second, 0) == Given{{1, 600}});
  world.apply(second);
  world.changes.update<Kernel>(first.placements[0].kernels[0].first, [](Kernel& row) {
    row.status = KernelStatus::Terminated;
    row.occupied_slots = {};
    row.devices = Json::object();
  });
  world.session(shares("1"));
  const Plan third = world.plan();
  REQUIRE(third.placements.size() == 1);
  CHECK(devices(third, 0) == Given{{0, 1000}});
}

TEST_CASE("kernels of one session on one agent share a device, but none of them gets two parts") {
  World world;
  world.agent("a", shares("1"));
  const auto fits = world.add(world.draft(), {{shares("0.5")}, {shares("0.5")}});
  const Plan plan = world.plan();
  CHECK(placed(plan) == std::vector{fits});
  CHECK(devices(plan, 0) == Given{{0, 500}, {0, 500}});
  World other;
  other.agent("a", shares("2"));
  other.session(shares("0.5"));
  const auto whole = other.add(other.draft(), {{shares("0.75")}, {shares("0.75")}});
  CHECK(placed(other.plan()).size() == 1);
  CHECK(other.reason(whole).code == "capacity");
}

TEST_CASE("an agent says what its devices are") {
  World world;
  agent_row(world, "a", {{"tpu.device", "2"}}, Json::object(),
            Json::object({{"tpu.device", list({"1", "1"})}}));
  world.session({{"tpu.device", "1"}});
  const Plan plan = world.plan();
  REQUIRE(plan.placements.size() == 1);
  CHECK(devices(plan, 0) == Given{{0, 1000}});
}

TEST_CASE("only agents with the labels that a session asks for") {
  World world;
  agent_row(world, "a", {{"cpu", "8"}}, Json::object({{"rack", "r1"}}));
  agent_row(world, "b", {{"cpu", "4"}}, Json::object({{"rack", "r2"}}));
  wants(world, "agent_labels", Json::object({{"rack", "r2"}}));
  CHECK(only_agent(world.plan()) == "b");
  const auto nowhere = wants(world, "agent_labels", Json::object({{"rack", list({"r3", "r4"})}}));
  world.plan();
  CHECK(world.reason(nowhere).code == "no-compatible-agent");
  CHECK(contains(world.reason(nowhere).message, "without the labels"));
  world.changes.update<Agent>(AgentId("a"),
                              [](Agent& row) { row.labels = Json::object({{"rack", "r3"}}); });
  const Plan moved = world.plan();
  CHECK(placed(moved).size() == 2);
}

TEST_CASE("agents with preferred labels before others, which are better than none") {
  World world;
  agent_row(world, "a", {{"cpu", "8"}}, Json::object());
  agent_row(world, "b", {{"cpu", "1"}}, Json::object({{"rack", "r2"}}));
  wants(world, "preferred_agent_labels", Json::object({{"rack", "r2"}}));
  wants(world, "preferred_agent_labels", Json::object({{"rack", "r2"}}));
  const Plan plan = world.plan();
  REQUIRE(plan.placements.size() == 2);
  CHECK(agents_of(plan.placements[0]) == std::vector<std::string>{"b"});
  CHECK(agents_of(plan.placements[1]) == std::vector<std::string>{"a"});
}

TEST_CASE("scores follow the labels of sessions that come one by one") {
  World world;
  world.group().selector = "bestfit";
  agent_row(world, "a", {{"cpu", "8"}}, Json::object({{"rack", "r1"}}));
  agent_row(world, "b", {{"cpu", "8"}}, Json::object({{"rack", "r2"}}));
  for (const char* rack : {"r2", "r1", "r2"}) {
    wants(world, "agent_labels", Json::object({{"rack", rack}}));
    const Plan plan = world.plan();
    CHECK(only_agent(plan) == (rack[1] == '1' ? "a" : "b"));
    world.apply(plan);
  }
}

// Gangs stay within the smallest domain that has room for all of them.
#include "timeline.hpp"

using namespace bai;
using namespace bai::test;

namespace {

Texts cpu(const std::string& amount) { return {{"cpu", amount}}; }

// agent, nvlink-domain, rack
using Place = std::array<std::string, 3>;

struct Racks {
  explicit Racks(const std::vector<Place>& places, const std::string& cores = "4",
                 PlanLimits limits = {})
      : world(builtin_policies(), limits) {
    world.group().policy_options.set("topology",
                                     Json(Json::Array{Json("nvlink-domain"), Json("rack")}));
    world.group().selector = "concentrated";
    for (const auto& [id, domain, rack] : places) {
      world.agent(id, cpu(cores));
      Json labels = Json::object();
      if (!domain.empty()) labels.set("nvlink-domain", domain);
      if (!rack.empty()) labels.set("rack", rack);
      world.changes.update<Agent>(AgentId(id), [&](Agent& a) { a.labels = labels; });
    }
  }
  World world;
};

std::vector<KernelSpec> kernels(std::size_t count, const std::string& cores) {
  return std::vector<KernelSpec>(count, KernelSpec{cpu(cores)});
}

SessionId demand(World& world, const std::string& level, const std::vector<KernelSpec>& specs,
                 std::int64_t for_seconds = 100) {
  Session row = world.draft();
  row.type = SessionType::Batch;
  row.cluster_mode = ClusterMode::MultiNode;
  row.batch_timeout = seconds(for_seconds);
  row.resource_opts.set("topology", level);
  return world.add(std::move(row), specs);
}

std::set<std::string> used(const Plan& plan) {
  REQUIRE(plan.placements.size() == 1);
  const auto agents = agents_of(plan.placements.front());
  return {agents.begin(), agents.end()};
}

using Agents = std::set<std::string>;

const std::vector<Place> kTwoRacks = {{"a", "n1", "r1"}, {"b", "n1", "r1"}, {"c", "n2", "r1"},
                                      {"d", "n2", "r1"}, {"e", "n3", "r2"}, {"f", "n3", "r2"}};

}  // namespace

TEST_CASE("a gang goes into the smallest domain that has room for all of it") {
  Racks racks(kTwoRacks);
  World& world = racks.world;
  SUBCASE("an NVLink domain") {
    world.batch(kernels(2, "4"), 10);
    CHECK(used(world.plan()) == Agents{"a", "b"});
  }
  SUBCASE("a rack when no NVLink domain has room") {
    world.batch(kernels(3, "4"), 10);
    const auto agents = used(world.plan());
    for (const auto& agent : agents) CHECK(Agents{"a", "b", "c", "d"}.contains(agent));
    CHECK(agents.size() == 3);
  }
  SUBCASE("all agents when no rack has room") {
    world.batch(kernels(5, "4"), 10);
    CHECK(used(world.plan()).size() == 5);
  }
}

TEST_CASE("among domains of a level the one with the least room that is enough") {
  Racks racks(kTwoRacks);
  World& world = racks.world;
  world.hold("a", cpu("1"));  // n1 has room for 7 cores, n2 and n3 for 8
  world.batch(kernels(2, "3"), 10);
  SUBCASE("by room") { CHECK(used(world.plan()) == Agents{"a", "b"}); }
  SUBCASE("by name when it is the same") {
    world.hold("b", cpu("2"));  // now n1 has not enough
    CHECK(used(world.plan()) == Agents{"c", "d"});
  }
}

TEST_CASE("domains of one name in two racks are two") {
  Racks racks({{"a", "n1", "r1"}, {"b", "n1", "r2"}, {"c", "n2", "r2"}, {"d", "n2", "r2"}});
  racks.world.batch(kernels(2, "4"), 10);
  CHECK(used(racks.world.plan()) == Agents{"c", "d"});
}

TEST_CASE("agents without the label are in no domain, but a gang may span them") {
  Racks racks({{"a", "", ""}, {"b", "", "r1"}, {"c", "n1", "r1"}});
  World& world = racks.world;
  SUBCASE("the rack is enough") {
    world.batch(kernels(2, "4"), 10);
    CHECK(used(world.plan()) == Agents{"b", "c"});
  }
  SUBCASE("it is not") {
    world.batch(kernels(3, "4"), 10);
    CHECK(used(world.plan()) == Agents{"a", "b", "c"});
  }
}

TEST_CASE("a gang of unlike kernels needs room for each kind") {
  Racks racks({{"a", "n1", "r1"}, {"b", "n1", "r1"}, {"c", "n2", "r1"}, {"d", "n2", "r1"}}, "8");
  World& world = racks.world;
  world.hold("a", cpu("4"));
  world.hold("b", cpu("4"));  // n1: eight cores, but no eight on one agent
  world.batch({{cpu("8")}, {cpu("2")}}, 10);
  CHECK(used(world.plan()) == Agents{"c", "d"});
}

TEST_CASE("a demanded level is never spanned") {
  Racks racks(kTwoRacks);
  World& world = racks.world;
  SUBCASE("a smaller one is as good") {
    demand(world, "rack", kernels(2, "4"));
    CHECK(used(world.plan()) == Agents{"a", "b"});
  }
  SUBCASE("a larger one is not") {
    const auto id = demand(world, "nvlink-domain", kernels(3, "4"));
    CHECK(world.plan().placements.empty());
    CHECK(world.reason(id).code == "never");
    CHECK(world.reason(id).violations.front().first == "topology");
    CHECK(contains(world.reason(id).message, "r1/n1"));
    CHECK(world.reason(id).rejected ==
          std::vector<std::pair<std::string, std::int64_t>>{{"topology", 6}});
    CHECK(world.reason(id).expected_start == Timestamp{});
  }
  SUBCASE("one that has no room now is expected when a single domain has") {
    for (const char* agent : {"a", "c", "e"}) world.running(agent, cpu("4"), kNow - 10, 60);
    world.running("f", cpu("4"), kNow - 10, 30);
    world.hold("d", cpu("1"));
    const auto id = demand(world, "nvlink-domain", kernels(2, "4"));
    CHECK(world.plan().placements.empty());
    CHECK(world.reason(id).code == "topology");
    CHECK(world.reason(id).expected_start == at_second(kNow + 50));
  }
  SUBCASE("one that is none of the resource group") {
    const auto id = demand(world, "row", kernels(2, "4"));
    CHECK(world.plan().placements.empty());
    CHECK(world.reason(id).code == "never");
    CHECK(world.reason(id).violations.front().first == "topology");
  }
  SUBCASE("others that ask for the same without it are told something else") {
    const auto strict = demand(world, "nvlink-domain", kernels(3, "4"));
    const auto loose = world.batch(kernels(3, "4"), 10);
    world.group().queue_discipline = QueueDiscipline::SkipAhead;
    CHECK(placed(world.plan()) == std::vector{loose});
    CHECK(world.reason(strict).code == "never");
  }
}

TEST_CASE("a demanding head is promised the first time at which one domain has room") {
  for (const auto discipline : {QueueDiscipline::Easy, QueueDiscipline::Conservative}) {
    CAPTURE(to_string(discipline));
    Racks racks({{"a", "n1", "r1"}, {"b", "n1", "r1"}, {"c", "n2", "r1"}, {"d", "n2", "r1"}});
    World& world = racks.world;
    world.group().queue_discipline = discipline;
    world.running("a", cpu("4"), kNow, 50);
    world.running("c", cpu("4"), kNow, 80);
    world.running("d", cpu("4"), kNow, 30);
    const auto head = demand(world, "nvlink-domain", kernels(2, "4"));
    const auto fits = world.batch({{cpu("4")}}, 50);
    CHECK(placed(world.plan()) == std::vector{fits});
    CHECK(world.reason(head).expected_start == at_second(kNow + 50));
  }
}

TEST_CASE("what is promised or reserved in a domain is no room there") {
  Racks racks(kTwoRacks);
  World& world = racks.world;
  world.reserve("course", {{"a", "4"}}, kNow, kNow + 1000);
  world.batch(kernels(2, "4"), 10);
  CHECK(used(world.plan()) == Agents{"c", "d"});
}

TEST_CASE("only agents that a gang may be on are room in a domain") {
  Racks racks(kTwoRacks);
  World& world = racks.world;
  Session row = world.draft();
  row.type = SessionType::Batch;
  row.cluster_mode = ClusterMode::MultiNode;
  row.batch_timeout = seconds(10);
  SUBCASE("designated ones") {
    row.resource_opts.set("agent_selection_policy", "strict");
    row.designated_agents = {"b", "c", "d"};
    world.add(std::move(row), kernels(2, "4"));
    CHECK(used(world.plan()) == Agents{"c", "d"});
  }
  SUBCASE("those of its reservation") {
    world.reserve("course", {{"b", "4"}, {"c", "4"}, {"d", "4"}}, kNow, kNow + 1000);
    row.resource_opts.set("reservation", "course");
    world.add(std::move(row), kernels(2, "4"));
    CHECK(used(world.plan()) == Agents{"c", "d"});
  }
  SUBCASE("those that its group is on, or is not on") {
    SessionGroup group;
    group.id = "g1";
    group.enforcement = PlacementEnforcement::Strict;
    SUBCASE("packed") { group.direction = PlacementDirection::Pack; }
    SUBCASE("spread") { group.direction = PlacementDirection::Spread; }
    world.changes.insert(group);
    const bool spreads = group.direction == PlacementDirection::Spread;
    const std::vector<std::string> members =
        spreads ? std::vector<std::string>{"a"} : std::vector<std::string>{"b", "c", "d"};
    for (std::uint64_t i = 0; i < members.size(); ++i) {
      Session member = world.draft();
      member.status = SessionStatus::Running;
      member.session_group = "g1";
      Kernel kernel;
      kernel.id = numbered<KernelId>(9000 + i);
      kernel.session = member.id;
      kernel.agent = AgentId(members[i]);
      kernel.status = KernelStatus::Running;
      kernel.occupied_slots = slots(cpu("1"));
      world.changes.insert(kernel);
      world.changes.insert(std::move(member));
    }
    row.session_group = "g1";
    world.add(std::move(row), kernels(2, "3"));
    CHECK(used(world.plan()) == Agents{"c", "d"});
  }
}

TEST_CASE("far behind in the queue a gang that no domain has room for is told without numbers") {
  PlanLimits limits;
  limits.surveyed_max = 6;  // agents: one look at all of them
  Racks racks(kTwoRacks, "4", limits);
  World& world = racks.world;
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  world.hold("a", cpu("4"));
  world.hold("c", cpu("4"));
  world.hold("e", cpu("4"));
  const auto first = demand(world, "nvlink-domain", kernels(2, "4"));
  const auto second = demand(world, "nvlink-domain", kernels(2, "3"));
  CHECK(world.plan().placements.empty());
  CHECK(contains(world.reason(first).message, "The one with the most room is r1/n1"));
  CHECK(world.reason(second).code == "topology");
  CHECK_FALSE(contains(world.reason(second).message, "The one with the most room"));
}

TEST_CASE("single-node sessions and groups without the option know nothing of topology") {
  Racks racks(kTwoRacks);
  World& world = racks.world;
  SUBCASE("single node") {
    world.session(cpu("4"));
    CHECK(world.plan().placements.size() == 1);
  }
  SUBCASE("no option") {
    world.group().policy_options = Json::object();
    world.group().selector = "dispersed";
    world.hold("b", cpu("1"));
    world.batch(kernels(2, "4"), 10);
    CHECK(used(world.plan()) == Agents{"a", "c"});
  }
}

TEST_CASE("option topology is checked") {
  const auto registry = builtin_policies();
  const auto message = [&](const Json& levels) {
    ResourceGroup group;
    group.name = ResourceGroupName("g");
    group.policy_options.set("topology", levels);
    const auto checked = registry->check(group);
    return checked ? std::string() : checked.error().message;
  };
  CHECK(message(Json(Json::Array{Json("rack")})).empty());
  CHECK(contains(message(Json("rack")), "must be a list of texts"));
  CHECK(contains(message(Json(Json::Array{Json("rack"), Json("rack")})), "twice"));
  CHECK(contains(message(Json(Json::Array{Json("")})), "empty"));
  Json many = Json::array();
  for (int i = 0; i < 9; ++i) many.push_back("l" + std::to_string(i));
  CHECK(contains(message(many), "8 levels at most"));
}

TEST_CASE("under random load no gang spans what a domain has room for") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    std::vector<Place> places;
    for (int i = 0; i < 8; ++i) {
      const std::string rack = "r" + std::to_string(i / 4);
      places.push_back({"a" + std::to_string(i), rack + "n" + std::to_string(i / 2), rack});
    }
    Racks racks(places);
    std::map<std::string, std::int64_t> left;
    for (const auto& place : places) {
      const auto held = draw(0, 4);
      left[place[0]] = 4 - held;
      if (held > 0) racks.world.hold(place[0], cpu(std::to_string(held)));
    }
    const auto count = draw(2, 5);
    const auto cores = draw(1, 3);
    racks.world.batch(kernels(static_cast<std::size_t>(count), std::to_string(cores)), 10);
    const Plan plan = racks.world.plan();
    const auto span = [&](std::size_t label) {  // the domains that the gang is in
      std::set<std::string> names;
      for (const auto& agent : used(plan)) {
        for (const auto& place : places) {
          if (place[0] == agent) names.insert(place[label]);
        }
      }
      return names.size();
    };
    const auto fits = [&](std::size_t label) {
      std::map<std::string, std::int64_t> rooms;
      for (const auto& place : places) rooms[place[label]] += left[place[0]] / cores;
      return std::ranges::any_of(rooms, [&](const auto& r) { return r.second >= count; });
    };
    std::int64_t total = 0;
    for (const auto& [agent, free] : left) total += free / cores;
    CHECK((plan.placements.size() == 1) == (total >= count));
    if (plan.placements.empty()) continue;
    if (fits(1)) CHECK(span(1) == 1);
    if (fits(2)) CHECK(span(2) == 1);
  }
}

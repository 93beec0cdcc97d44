// What a session that waits is told: the rule, the amounts, the agents by what stands against them.
#include "sched/pass.hpp"
#include "timeline.hpp"

using namespace bai;
using namespace bai::test;

namespace {

Texts cpu(const std::string& amount) { return {{"cpu", amount}}; }

using Counts = std::vector<std::pair<std::string, std::int64_t>>;

void set_container_limit(World& world, std::int64_t limit) {
  world.group().policy_options.set("max_container_count", limit);
}

Prospect ask(World& w, const SessionId& id) {
  w.group();
  w.feed();
  return w.planner.what_if({}, id, at_second(kNow), 7);
}

}  // namespace

TEST_CASE("a request larger than any agent can never start, and holds up the queue all the same") {
  World world;
  for (const char* id : {"a", "b"}) world.agent(id, cpu("8"));
  const auto large = world.session(cpu("64")), behind = world.session(cpu("1"));
  CHECK(world.plan().placements.empty());
  const PendingReason& reason = world.reason(large);
  CHECK(reason.code == "never");
  CHECK(reason.violations.front().first == "capacity");
  CHECK(reason.missing == slots(cpu("56")));
  CHECK(reason.rejected == Counts{{"slots", 2}});
  CHECK(contains(reason.message, "Can never start on the agents that there are: no agent of"));
  CHECK(reason.expected_start == Timestamp{});
  CHECK(contains(reason.expected_basis,
                 "none of resource group default is large enough for cpu 64, even when empty"));
  CHECK(world.reason(behind).code == "behind-head");
  CHECK(contains(world.reason(behind).expected_basis, "a session before it has no expected start"));
  CHECK(contains(world.reason(behind).expected_basis, "large enough for cpu 64"));
}

TEST_CASE("a gang larger than the cluster can never start") {
  World world;
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  for (const char* id : {"a", "b"}) world.agent(id, cpu("4"));
  const auto gang = [&](std::size_t count, const std::string& cores) {
    return world.batch(std::vector<KernelSpec>(count, KernelSpec{cpu(cores)}), 100);
  };
  SUBCASE("too many kernels") {
    const auto ten = gang(10, "1"), eight = gang(8, "1");
    CHECK(placed(world.plan()) == std::vector{eight});
    CHECK(world.reason(ten).code == "never");
    CHECK(contains(world.reason(ten).message, "have room for 8 of its 10 kernels of cpu 1"));
    CHECK(world.reason(ten).expected_start == Timestamp{});
  }
  SUBCASE("kernels that leave too much over on each agent") {
    const auto three = gang(3, "3");
    world.plan();
    CHECK(world.reason(three).code == "never");
  }
  SUBCASE("unlike kernels that are too much together") {
    const auto both = world.batch({{cpu("4")}, {cpu("3")}, {cpu("2")}}, 100);
    world.plan();
    CHECK(world.reason(both).code == "never");
    CHECK(contains(world.reason(both).message, "have cpu 8 together, and it asks for cpu 9"));
  }
  SUBCASE("what only has to wait is told so") {
    world.running("a", cpu("4"), kNow - 10, 60);
    const auto waits = gang(8, "1");
    world.plan();
    CHECK(world.reason(waits).code == "capacity");
    CHECK(world.reason(waits).expected_start == at_second(kNow + 50));
  }
  SUBCASE("more containers than the agents take") {
    set_container_limit(world, 2);
    const auto five = gang(5, "1");
    world.plan();
    CHECK(world.reason(five).code == "never");
  }
}

TEST_CASE("far behind in the queue never is said, too") {
  PlanLimits limits;
  limits.positions_max = 1;
  World world(builtin_policies(), limits);
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  world.agent("a", cpu("8"), cpu("8"));
  world.session(cpu("1"));
  const auto large = world.session(cpu("9"));
  const auto gang = world.batch(std::vector<KernelSpec>(9, KernelSpec{cpu("1")}), 100);
  const auto waits = world.session(cpu("8"));
  world.plan();
  CHECK(world.reason(large).code == "never");
  CHECK(world.reason(gang).code == "never");
  CHECK(world.reason(waits).code == "capacity");
}

TEST_CASE("agents that take no sessions now could take it some day") {
  World world;
  world.agent("large", cpu("64"));
  world.agent("small", cpu("8"));
  world.changes.update<Agent>(AgentId("large"), [](Agent& row) { row.schedulable = false; });
  const auto id = world.session(cpu("32"));
  world.plan();
  CHECK(world.reason(id).code == "capacity");
  CHECK(contains(world.reason(id).expected_basis,
                 "the agents that are large enough for it take no sessions now"));
}

TEST_CASE("a part of a device that no device has is never there") {
  World world;
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  Agent row;
  row.id = AgentId("a");
  row.resource_group = ResourceGroupName("default");
  row.architecture = "x86_64";
  row.available_slots = slots({{"cuda.shares", "1"}});
  row.devices = Json::object({{"cuda.shares", Json(Json::Array{Json("0.5"), Json("0.5")})}});
  world.changes.insert(std::move(row));
  const auto half = world.session({{"cuda.shares", "0.5"}});
  const auto more = world.session({{"cuda.shares", "0.6"}});
  CHECK(placed(world.plan()) == std::vector{half});
  CHECK(world.reason(more).code == "never");
}

TEST_CASE("agents with room that a limit forbids are counted, and by how much it is exceeded") {
  World world;
  world.agent("a", cpu("8"));
  world.agent("b", cpu("8"), cpu("8"));
  world.agent("c", cpu("8"));
  world.agent("d", cpu("8"), {}, "default", "aarch64");
  KeypairPolicy policy;
  policy.name = PolicyName("p");
  policy.total_resource_slots = slots({{"cpu", "10"}, {"mem", "1g"}});
  world.user_policy(policy);
  world.usage(ScopeKind::User, to_string(numbered<UserId>(1)), {{"cpu", "7"}, {"mem", "1g"}});
  Domain domain;
  domain.name = DomainName("default");
  domain.total_resource_slots = slots(cpu("8"));
  world.changes.insert(domain);
  world.usage(ScopeKind::Domain, "default", cpu("7"));
  const auto id = world.session(cpu("4"));
  world.plan();
  const PendingReason& reason = world.reason(id);
  CHECK(reason.code == "quota");
  CHECK(reason.missing == slots(cpu("3")));  // the domain is exceeded by more than the user
  CHECK(reason.rejected == Counts{{"architecture", 1}, {"quota", 2}, {"slots", 1}});
}

TEST_CASE("what is lent to others says how much is to come back") {
  World world;
  world.agent("a", cpu("64"));
  for (std::uint64_t number : {1, 2}) {
    Project row;
    row.id = numbered<ProjectId>(number);
    row.total_resource_slots = slots(cpu("4"));
    row.cohort = "c";
    world.changes.insert(std::move(row));
  }
  world.usage(ScopeKind::Project, to_string(numbered<ProjectId>(2)), cpu("6"));
  const auto id = world.session(cpu("4"));
  world.plan();
  CHECK(world.reason(id).code == "reclaim");
  CHECK(world.reason(id).missing == slots(cpu("2")));
  CHECK(world.reason(id).rejected == Counts{{"quota", 1}});
}

TEST_CASE("what waits for a time only is expected to start then") {
  World world;
  world.agent("a", cpu("8"));
  Session later = world.draft();
  later.type = SessionType::Batch;
  later.requested_starts_at = at_second(kNow + 100);
  const auto requested = world.add(later, {{cpu("1")}});
  Session failed = world.draft();
  failed.retry_at = at_second(kNow + 10);
  const auto retries = world.add(failed, {{cpu("1")}});
  Session both = world.draft();
  both.type = SessionType::Batch;
  both.requested_starts_at = at_second(kNow + 100);
  both.dependencies = {to_string(requested)};
  const auto depends = world.add(both, {{cpu("1")}});
  world.plan();
  CHECK(world.reason(requested).code == "start-time");
  CHECK(world.reason(requested).expected_start == at_second(kNow + 100));
  CHECK(!world.reason(requested).expected_basis.empty());
  CHECK(world.reason(retries).code == "start-time");
  CHECK(world.reason(retries).expected_start == at_second(kNow + 10));
  CHECK(world.reason(depends).expected_start == Timestamp{});
}

TEST_CASE("far behind in the queue the counts are the same as in full") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    PlanLimits limits;
    limits.positions_max = 1;
    World world(builtin_policies(), limits);
    world.group().queue_discipline = QueueDiscipline::SkipAhead;
    const bool has_devices = draw(0, 1) == 1;
    if (draw(0, 1) == 1) set_container_limit(world, 2);
    for (int a = 0; a < 40; ++a) {
      const std::string id = "a" + std::to_string(a);
      world.agent(id, has_devices ? Texts{{"cpu", "8"}, {"cuda.shares", "2"}} : cpu("8"), {},
                  "default", draw(0, 4) == 0 ? "aarch64" : "x86_64");
      for (auto held = draw(1, 3); held > 0; --held) {
        world.hold(id, cpu(std::to_string(draw(1, 3))));
      }
    }
    for (int i = 0; i < 60; ++i) {
      Texts wants = cpu(std::to_string(draw(1, 9)));
      if (has_devices) wants.emplace_back("cuda.shares", draw(0, 1) == 0 ? "0.7" : "1.5");
      world.session(wants);
    }
    for (Plan plan = world.plan(); !plan.placements.empty(); plan = world.plan()) {
      world.apply(plan);
    }
    std::size_t compared = 0;
    for (const auto& [id, reason] : world.reasons) {
      if (world.state.find<Session>(id)->status != SessionStatus::Pending) continue;
      const auto full = ask(world, id);
      REQUIRE(full.reason != nullptr);
      CHECK(reason->code == full.reason->code);
      CHECK(reason->rejected == full.reason->rejected);
      ++compared;
    }
    CHECK(compared > 1);
  }
}

TEST_CASE(
    "a pass looks at so many agents for missing amounts; who comes later gets them when asked") {
  PlanLimits limits;
  limits.surveyed_max = 1;
  World world(builtin_policies(), limits);
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  for (const char* id : {"a", "b"}) {
    world.agent(id, cpu("8"));
    world.hold(id, cpu("6"));
  }
  const auto first = world.session(cpu("4")), second = world.session(cpu("5"));
  CHECK(world.plan().placements.empty());
  CHECK(world.reason(first).missing == slots(cpu("2")));
  const PendingReason later = world.reason(second);
  CHECK(later.code == "capacity");
  CHECK(later.missing.empty());
  CHECK(later.rejected == Counts{{"slots", 2}});
  CHECK(later.position == 2);
  CHECK(contains(later.message, "No agent of resource group default has room for cpu 5."));
  CHECK(ask(world, second).reason->missing == slots(cpu("3")));
}

TEST_CASE("a place for a container comes free when another one leaves") {
  for (const auto discipline : {QueueDiscipline::HeadOfLine, QueueDiscipline::SkipAhead,
                                QueueDiscipline::Easy, QueueDiscipline::Conservative}) {
    CAPTURE(to_string(discipline));
    World world;
    world.group().queue_discipline = discipline;
    set_container_limit(world, 2);
    world.agent("a", cpu("8"));
    world.running("a", cpu("1"), kNow - 10, 60);
    world.running("a", cpu("1"), kNow - 10, 110);
    SUBCASE("one") {
      const auto id = world.batch({{cpu("1")}}, 10);
      CHECK(world.plan().placements.empty());
      CHECK(world.reason(id).code == "container-limit");
      CHECK(world.reason(id).rejected == Counts{{"containers", 1}});
      CHECK(world.reason(id).expected_start == at_second(kNow + 50));
    }
    SUBCASE("two") {
      const auto id = world.batch({{cpu("1")}, {cpu("2")}}, 10);
      CHECK(world.plan().placements.empty());
      CHECK(world.reason(id).expected_start == at_second(kNow + 100));
    }
  }
}

TEST_CASE("a look into the future that would take too many steps is not begun") {
  World world;
  for (int a = 0; a < 20; ++a) world.agent("a" + std::to_string(10 + a), cpu("4"));
  world.batch({{cpu("3")}, {cpu("4")}}, 10);  // kernels that differ: every agent is looked at
  world.group();
  world.feed();
  auto& mirror = const_cast<sched::Mirror&>(world.planner.mirror());
  sched::Group& group = mirror.group(mirror.groups().at(ResourceGroupName("default")));
  const Request& request = mirror.request(mirror.waiting(0).session.request);
  sched::StartTimesCache times;
  const sched::KeptAmounts kept;
  sched::Future future(mirror, group, at_second(kNow), times, kept);
  std::vector<AgentIndex> all;
  for (AgentIndex a = 0; a < group.agents.size(); ++a) all.push_back(a);
  sched::AgentFilter within;
  within.within = &all;
  sched::Future::Bounds bounds;
  bounds.steps = 19;
  std::uint64_t steps = 0;
  CHECK_FALSE(future.earliest(request, seconds(1), within, bounds, steps).has_value());
  CHECK(steps == 19);
  steps = 0;
  bounds.steps = 100;
  CHECK(future.earliest(request, seconds(1), within, bounds, steps).has_value());
  CHECK(steps <= 41);
}

// Queue disciplines that look ahead.
#include "timeline.hpp"

using namespace bai;
using namespace bai::test;

namespace {

Texts cpu(const std::string& amount) { return {{"cpu", amount}}; }

// Ten cores, six of them taken for another hundred seconds, and a session that needs eight.
struct Blocked {
  explicit Blocked(QueueDiscipline discipline) {
    world.group().queue_discipline = discipline;
    world.agent("a", cpu("10"));
    world.running("a", cpu("6"), kNow - 50, 150);
    head = world.batch({{cpu("8")}}, 1000);
  }
  World world;
  SessionId head;
};

}  // namespace

TEST_CASE("easy: who ends in time starts, who would delay the head does not") {
  Blocked blocked(QueueDiscipline::Easy);
  World& world = blocked.world;
  const auto too_long = world.batch({{cpu("3")}}, 101);
  const auto in_time = world.batch({{cpu("3")}}, 100);
  const auto no_room = world.batch({{cpu("3")}}, 10);
  const Plan plan = world.plan();
  CHECK(placed(plan) == std::vector{in_time});
  CHECK(world.reason(too_long).code == "backfill");
  CHECK(world.reason(too_long).rejected ==
        std::vector<std::pair<std::string, std::int64_t>>{{"reserved", 1}});
  CHECK(world.reason(no_room).code == "capacity");
  CHECK(world.reason(blocked.head).expected_start == at_second(kNow + 100));
  CHECK(contains(world.reason(blocked.head).message, "Expected to start at"));
}

TEST_CASE("easy: who is held back for the head is told when it is over") {
  Blocked blocked(QueueDiscipline::Easy);
  World& world = blocked.world;
  const auto held_back = world.batch({{cpu("3")}}, 101);
  const auto beside_it = world.batch({{cpu("2")}}, 50);
  CHECK(placed(world.plan()) == std::vector{beside_it});
  CHECK(world.reason(held_back).code == "backfill");
  // The head runs from 100 to 1100 and leaves two cores.
  CHECK(world.reason(held_back).expected_start == at_second(kNow + 1'100));
  CHECK(contains(world.reason(held_back).expected_basis, "what waits before it"));
  const Prospect asked = world.planner.what_if({}, held_back, at_second(kNow), 7);
  REQUIRE(asked.reason != nullptr);
  CHECK(asked.reason->code == "backfill");
  CHECK(asked.reason->expected_start == at_second(kNow + 1'100));
}

TEST_CASE("behind a head that says no end nothing is expected, and the reason says why") {
  for (const auto discipline : {QueueDiscipline::Easy, QueueDiscipline::Conservative}) {
    CAPTURE(to_string(discipline));
    World world;
    world.group().queue_discipline = discipline;
    world.agent("a", cpu("4"));
    world.running("a", cpu("2"), kNow, 100);
    const auto head = world.session(cpu("4")), behind = world.session(cpu("3"));
    world.plan();
    CHECK(world.reason(head).expected_start == at_second(kNow + 100));
    CHECK(world.reason(behind).expected_start == Timestamp{});
    CHECK(
        contains(world.reason(behind).expected_basis, "unknown: what holds the room says no end"));
  }
}

TEST_CASE("conservative: who is promised nothing is told behind how many") {
  World world;
  world.group().queue_discipline = QueueDiscipline::Conservative;
  world.group().policy_options = Json::object({{"backfill_depth", 1}});
  world.agent("a", cpu("4"));
  world.running("a", cpu("2"), kNow, 100);
  const auto head = world.batch({{cpu("4")}}, 100), behind = world.batch({{cpu("3")}}, 100);
  world.plan();
  CHECK(world.reason(head).expected_start == at_second(kNow + 100));
  CHECK(contains(world.reason(behind).expected_basis,
                 "unknown: it waits behind the 1 session that is promised a start"));
}

TEST_CASE("easy: what starts beside the head is counted once when it is over") {
  Blocked blocked(QueueDiscipline::Easy);
  World& world = blocked.world;
  const auto beside = world.batch({{cpu("2")}}, 5'000);
  const auto whole = world.batch({{cpu("10")}}, 10);
  const auto last = world.batch({{cpu("2")}}, 10'000);
  CHECK(placed(world.plan()) == std::vector{beside});
  CHECK(world.reason(whole).expected_start == at_second(kNow + 5'000));
  CHECK(world.reason(last).code == "backfill");
  CHECK(world.reason(last).expected_start == at_second(kNow + 5'010));
}

TEST_CASE("easy: what the head leaves over is there for long sessions") {
  Blocked blocked(QueueDiscipline::Easy);
  const auto fits_beside = blocked.world.batch({{cpu("2")}}, 100'000);
  const auto does_not = blocked.world.batch({{cpu("1")}}, 100'000);
  CHECK(placed(blocked.world.plan()) == std::vector{fits_beside});
  CHECK(blocked.world.reason(does_not).code == "backfill");
}

TEST_CASE("conservative: a pass that a policy makes fail breaks no promise") {
  bool fails = false;
  World world(policies_and([&](const SchedView&, const PendingSession&) {
    if (fails) throw std::runtime_error("not today");
  }));
  world.group().queue_discipline = QueueDiscipline::Conservative;
  world.agent("a", cpu("10"));
  world.running("a", cpu("10"), kNow - 50, 150);
  const auto promised = world.batch({{cpu("8")}}, 1000);
  CHECK(placed(world.plan()).empty());
  CHECK(world.reason(promised).expected_start == at_second(kNow + 100));

  Session row = world.draft();
  row.type = SessionType::Batch;
  row.batch_timeout = seconds(1000);
  row.priority = 20;
  const auto more_urgent = world.add(std::move(row), {{cpu("8")}});
  fails = true;
  CHECK(world.plan(kNow + 1).errors.size() == 1);
  CHECK(world.reason(promised).code == "policy-error");
  fails = false;
  CHECK(placed(world.plan(kNow + 11)).empty());
  CHECK(world.reason(promised).expected_start == at_second(kNow + 100));
  CHECK(world.reason(more_urgent).expected_start == at_second(kNow + 1100));
}

TEST_CASE("places for containers are promised like amounts") {
  for (const auto discipline : {QueueDiscipline::Easy, QueueDiscipline::Conservative}) {
    CAPTURE(to_string(discipline));
    World world;
    world.group().queue_discipline = discipline;
    world.group().policy_options.set("max_container_count", 2);
    world.agent("a", cpu("10"));
    world.running("a", cpu("8"), kNow - 50, 150);
    // There will be cores for everybody, but only two places.
    const auto head = world.batch({{cpu("3")}, {cpu("3")}}, 1000);
    const auto too_long = world.batch({{cpu("1")}}, 101);
    const auto in_time = world.batch({{cpu("1")}}, 100);
    CHECK(placed(world.plan()) == std::vector{in_time});
    CHECK(world.reason(head).expected_start == at_second(kNow + 100));
    CHECK(world.reason(too_long).code == "backfill");
  }
}

TEST_CASE("easy: a session without a limit never ends") {
  Blocked blocked(QueueDiscipline::Easy);
  const auto unlimited = blocked.world.session(cpu("3"));
  CHECK(blocked.world.plan().placements.empty());
  CHECK(blocked.world.reason(unlimited).code == "backfill");
  SUBCASE("unless the resource group says how long such ones take") {
    blocked.world.group().policy_options.set("default_runtime_s", 100);
    CHECK(placed(blocked.world.plan()) == std::vector{unlimited});
  }
}

TEST_CASE("easy: behind what never ends no start is promised and nobody is held up") {
  World world;
  world.group().queue_discipline = QueueDiscipline::Easy;
  world.agent("a", cpu("10"));
  world.hold("a", cpu("6"));
  const auto head = world.batch({{cpu("8")}}, 10);
  const auto behind = world.batch({{cpu("4")}}, 100'000);
  CHECK(placed(world.plan()) == std::vector{behind});
  CHECK(world.reason(head).expected_start == Timestamp{});
}

TEST_CASE("easy: the shortest first among those behind the head") {
  Blocked blocked(QueueDiscipline::Easy);
  blocked.world.group().policy_options.set("backfill_order", "shortest");
  blocked.world.batch({{cpu("4")}}, 90);
  const auto shorter = blocked.world.batch({{cpu("4")}}, 80);
  CHECK(placed(blocked.world.plan()) == std::vector{shorter});
}

TEST_CASE("conservative: nobody is delayed, not only the head") {
  Blocked blocked(QueueDiscipline::Conservative);
  World& world = blocked.world;
  // After the head's thousand seconds: the second one needs all ten.
  const auto second = world.batch({{cpu("10")}}, 10);
  const auto beside_head_only = world.batch({{cpu("2")}}, 1'101);
  const auto in_time = world.batch({{cpu("2")}}, 1'100);
  CHECK(placed(world.plan()) == std::vector{in_time});
  CHECK(world.reason(second).expected_start == at_second(kNow + 1'100));
  CHECK(world.reason(beside_head_only).code == "backfill");
}

TEST_CASE("conservative: behind those who are promised a start everybody waits") {
  Blocked blocked(QueueDiscipline::Conservative);
  blocked.world.group().policy_options.set("backfill_depth", 1);
  const auto second = blocked.world.batch({{cpu("9")}}, 10);
  const auto third = blocked.world.batch({{cpu("1")}}, 10);
  CHECK(blocked.world.plan().placements.empty());
  CHECK(blocked.world.reason(second).expected_start == Timestamp{});
  CHECK(blocked.world.reason(third).code == "behind-head");
}

TEST_CASE("a gang is promised the first time at which all of it has room") {
  World world;
  world.group().queue_discipline = QueueDiscipline::Easy;
  for (const char* id : {"a", "b", "c"}) world.agent(id, cpu("4"));
  world.running("a", cpu("4"), kNow - 10, 60);
  world.running("b", cpu("4"), kNow - 10, 40);
  world.running("c", cpu("2"), kNow - 10, 1000);
  const auto gang = world.batch({{cpu("4")}, {cpu("4")}}, 100);
  world.plan();
  CHECK(world.reason(gang).expected_start == at_second(kNow + 50));
}

TEST_CASE("a gang of different kernels that was promised a start goes where it wishes") {
  for (const auto discipline : {QueueDiscipline::Easy, QueueDiscipline::Conservative}) {
    CAPTURE(to_string(discipline));
    Timeline line;
    World& world = line.world;
    world.group().queue_discipline = discipline;
    // The selector takes z for the small kernel, and then there is no room for the large one.
    for (const char* id : {"a", "b", "c"}) world.agent(id, cpu("4"));
    world.agent("z", cpu("8"));
    line.runtime[world.batch({{cpu("8")}}, 100)] = 100;
    line.pass();
    Session row = world.draft();
    row.type = SessionType::Batch;
    row.cluster_mode = ClusterMode::MultiNode;
    row.batch_timeout = seconds(50);
    std::string wanted = "b";
    SUBCASE("not where it has failed") { row.failed_agents = {"a", "c"}; }
    SUBCASE("to agents with the labels that it prefers") {
      row.resource_opts.set("preferred_agent_labels", *Json::parse(R"({"disk": "ssd"})"));
      world.changes.update<Agent>(
          AgentId("b"), [](Agent& agent) { agent.labels = *Json::parse(R"({"disk": "ssd"})"); });
    }
    SUBCASE("to the agents that it names") {
      row.designated_agents = {"b"};
      world.group().policy_options.set("agent_selection_policy", "preferred");
    }
    SUBCASE("by the selector's rule") {
      world.hold("a", cpu("1"));
      world.hold("b", cpu("1"));
      wanted = "c";
    }
    SUBCASE("where others leave no room") {
      world.hold("b", cpu("2"));
      row.failed_agents = {"a"};
      world.changes.update<Agent>(AgentId("c"), [](Agent& agent) { agent.schedulable = false; });
      wanted = "a";
    }
    const auto gang = world.add(std::move(row), {{cpu("3")}, {cpu("8")}});
    CHECK(placed(line.pass()).empty());
    CHECK(world.reason(gang).expected_start == at_second(kNow + 100));
    line.move_to(kNow + 100);
    const Plan plan = line.pass();
    REQUIRE(placed(plan) == std::vector{gang});
    CHECK(agents_of(plan.placements.front()) == std::vector<std::string>{wanted, "z"});
  }
}

TEST_CASE("a gang that was promised a start gives way to its wishes with other kernels") {
  World world;
  world.group().queue_discipline = QueueDiscipline::Easy;
  world.agent("f", cpu("8"));
  world.agent("p", cpu("15"));
  world.agent("q", cpu("12"));
  world.agent("r", cpu("14"));
  Session row = world.draft();
  row.type = SessionType::Batch;
  row.cluster_mode = ClusterMode::MultiNode;
  row.batch_timeout = seconds(50);
  row.failed_agents = {"f"};
  // The first agents with room are f, p and r; without f the second kernel has to leave p.
  world.add(std::move(row), {{cpu("6")}, {cpu("10")}, {cpu("14")}});
  const Plan plan = world.plan();
  REQUIRE(plan.placements.size() == 1);
  CHECK(agents_of(plan.placements.front()) == std::vector<std::string>{"p", "q", "r"});
}

namespace {

void fill(World& world, Draw& draw, std::int64_t agents_max = 4) {
  const auto agents = draw(1, agents_max);
  for (std::int64_t a = 0; a < agents; ++a) {
    const std::string id = "a" + std::to_string(a);
    world.agent(id, cpu("8"));
    std::int64_t left = 8;
    while (left > 0 && draw(0, 3) > 0) {
      const auto amount = draw(1, left);
      world.running(id, cpu(std::to_string(amount)), kNow - draw(0, 100), draw(101, 400));
      left -= amount;
    }
  }
  const auto sessions = draw(1, 30);
  for (std::int64_t i = 0; i < sessions; ++i) {
    std::vector<KernelSpec> kernels(static_cast<std::size_t>(draw(0, 4) == 0 ? draw(2, 4) : 1),
                                    KernelSpec{cpu(std::to_string(draw(1, 8)))});
    world.batch(kernels, draw(1, 500));
  }
}

}  // namespace

TEST_CASE("what is promised is kept when the plan becomes real") {
  for (const auto discipline : {QueueDiscipline::Easy, QueueDiscipline::Conservative}) {
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
      CAPTURE(seed);
      CAPTURE(to_string(discipline));
      Draw draw(seed);
      World world;
      world.group().queue_discipline = discipline;
      fill(world, draw);
      world.apply(world.plan());
      const auto promised = world.reasons;
      const Plan again = world.plan();
      CHECK(again.placements.empty());
      for (const auto& [id, before] : promised) {
        if (before->expected_start == Timestamp{}) continue;
        if (world.state.find<Session>(id)->status != SessionStatus::Pending) continue;
        const Timestamp now = world.reason(id).expected_start;
        CHECK(now != Timestamp{});
        CAPTURE(before->message);
        CAPTURE(world.reason(id).message);
        CHECK(now <= before->expected_start);
      }
    }
  }
}

TEST_CASE("leaving out sessions that cannot start changes no plan") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    const auto plan = [&](bool explain) {
      Draw draw(seed);
      PlanLimits limits;
      limits.explain = explain;
      World world(builtin_policies(), limits);
      world.group().queue_discipline = static_cast<QueueDiscipline>(draw(0, 3));
      world.group().scheduler = std::vector{"fifo", "lifo", "sjf"}[draw.random() % 3];
      if (draw(0, 1) == 0) world.group().policy_options.set("backfill_order", "shortest");
      fill(world, draw);
      return placed(world.plan());
    };
    CHECK(plan(true) == plan(false));
  }
}

namespace {

// What agents have little of.
enum class Scarce { Cores, Places };

// Some end earlier than they said: that may move promises forward, never back.
struct RandomLoad {
  RandomLoad(std::uint64_t seed, bool explain, Scarce scarce = Scarce::Cores)
      : draw(seed), line(limits(explain)) {
    World& world = line.world;
    world.group().queue_discipline = QueueDiscipline::Conservative;
    world.group().scheduler = std::vector{"fifo", "lifo", "sjf"}[draw.random() % 3];
    world.group().policy_options.set("backfill_depth", draw(1, 12));
    join(scarce);
  }
  // First come, first served, and nobody is more important.
  RandomLoad(std::uint64_t seed, Scarce scarce) : draw(seed), line(limits(true)) {
    line.world.group().queue_discipline = QueueDiscipline::Easy;
    line.world.group().scheduler = "fifo";
    has_priorities = false;
    join(scarce);
  }
  void join(Scarce scarce) {
    World& world = line.world;
    if (scarce == Scarce::Places) {
      world.group().policy_options.set("max_container_count", draw(1, 3));
      cores_max = 3;
    }
    agents = draw(1, 6);
    for (std::int64_t a = 0; a < agents; ++a) world.agent("a" + std::to_string(a), cpu("8"));
  }
  static PlanLimits limits(bool explain) {
    PlanLimits limits;
    limits.explain = explain;
    return limits;
  }

  static constexpr int kSteps = 120, kArrivals = 80;

  Plan step(int number) {
    World& world = line.world;
    for (std::int64_t i = number < kArrivals ? draw(0, 2) : 0; i > 0; --i) {
      std::vector<KernelSpec> kernels(
          static_cast<std::size_t>(draw(0, 5) == 0 ? draw(2, agents + 1) : 1),
          KernelSpec{cpu(std::to_string(draw(1, cores_max)))});
      if (kernels.size() > 1 && draw(0, 1) == 0) {
        kernels.back() = {cpu(std::to_string(draw(1, cores_max)))};
      }
      const auto id = world.batch(kernels, draw(1, 60));
      if (draw(0, 3) == 0) line.runtime[id] = 1;
      if (has_priorities && draw(0, 9) == 0) {
        const auto priority = draw(1, 20);
        world.changes.update<Session>(id, [&](Session& s) { s.priority = priority; });
      }
    }
    return line.pass();
  }
  void go_on(int number) {
    const std::int64_t next = line.next_end();
    const bool jump = number >= kArrivals || draw(0, 1) == 0;
    line.move_to(next >= 0 && jump ? next : line.now + 1);
  }

  Draw draw;
  Timeline line;
  std::int64_t agents = 0, cores_max = 8;
  bool has_priorities = true;
};

}  // namespace

TEST_CASE("conservative never delays any") {
  Scarce scarce = Scarce::Cores;
  SUBCASE("cores are scarce") {}
  SUBCASE("places for containers are") { scarce = Scarce::Places; }
  std::size_t kept = 0;
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    CAPTURE(seed);
    RandomLoad load(seed, true, scarce);
    std::map<SessionId, Timestamp> promised;
    for (int step = 0; step < RandomLoad::kSteps; ++step) {
      CAPTURE(step);
      load.step(step);
      World& world = load.line.world;
      for (const auto& [id, reason] : world.reasons) {
        if (!load.line.is_pending(id) || reason->expected_start == Timestamp{}) continue;
        const auto [known, is_new] = promised.try_emplace(id, reason->expected_start);
        CHECK(reason->expected_start <= known->second);
        known->second = reason->expected_start;
        kept += is_new ? 0 : 1;
      }
      for (const auto& [id, at] : promised) {
        if (load.line.is_pending(id)) {
          CHECK(at > at_second(load.line.now));  // otherwise it would run
        } else {
          CHECK(world.state.find<Session>(id)->starts_at <= at);
        }
      }
      load.go_on(step);
    }
  }
  CHECK(kept > 1000);
}

TEST_CASE("easy never delays the head: it starts no later than it was first promised") {
  Scarce scarce = Scarce::Cores;
  SUBCASE("cores are scarce") {}
  SUBCASE("places for containers are") { scarce = Scarce::Places; }
  std::size_t kept = 0, started = 0, backfilled = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    RandomLoad load(seed, scarce);
    std::map<SessionId, Timestamp> promised;
    for (int step = 0; step < RandomLoad::kSteps; ++step) {
      CAPTURE(step);
      const Plan plan = load.step(step);
      World& world = load.line.world;
      for (const auto& [id, reason] : world.reasons) {
        if (!load.line.is_pending(id) || reason->expected_start == Timestamp{}) continue;
        // What those behind the head are told binds nobody.
        if (!contains(reason->expected_basis, "what is promised to sessions before it")) continue;
        const auto [known, is_new] = promised.try_emplace(id, reason->expected_start);
        CHECK(reason->expected_start <= known->second);
        kept += is_new ? 0 : 1;
      }
      bool has_head = false;
      for (auto it = promised.begin(); it != promised.end();) {
        if (load.line.is_pending(it->first)) {
          CHECK(it->second > at_second(load.line.now));  // otherwise it would run
          has_head = true;
          ++it;
        } else {
          CHECK(world.state.find<Session>(it->first)->starts_at <= it->second);
          ++started;
          it = promised.erase(it);
        }
      }
      if (has_head) backfilled += plan.placements.size();
      load.go_on(step);
    }
  }
  CHECK(kept > 1000);
  CHECK(started > 300);
  CHECK(backfilled > 300);
}

TEST_CASE("conservative: what is not looked at again because nothing changed starts all the same") {
  Scarce scarce = Scarce::Cores;
  SUBCASE("cores are scarce") {}
  SUBCASE("places for containers are") { scarce = Scarce::Places; }
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    CAPTURE(seed);
    RandomLoad told(seed, true, scarce), untold(seed, false, scarce);
    for (int step = 0; step < RandomLoad::kSteps; ++step) {
      CAPTURE(step);
      const auto as_told = placed(told.step(step)), as_untold = placed(untold.step(step));
      REQUIRE(as_told == as_untold);
      told.go_on(step);
      untold.go_on(step);
    }
  }
}

TEST_CASE("conservative: who comes later with a higher priority waits behind what is promised") {
  Blocked blocked(QueueDiscipline::Conservative);
  World& world = blocked.world;
  world.plan();
  REQUIRE(world.reason(blocked.head).expected_start == at_second(kNow + 100));
  Session row = world.draft();
  row.type = SessionType::Batch;
  row.priority = 90;
  row.batch_timeout = seconds(50);
  const auto urgent = world.add(std::move(row), {{cpu("8")}});
  world.plan(kNow + 1);
  CHECK(world.reason(blocked.head).expected_start == at_second(kNow + 100));
  CHECK(world.reason(urgent).expected_start == at_second(kNow + 1'100));
}

TEST_CASE("conservative: a promise moves back only with what it rests on") {
  Timeline line;
  World& world = line.world;
  world.group().queue_discipline = QueueDiscipline::Conservative;
  world.agent("a", cpu("10"));
  const auto first = world.batch({{cpu("10")}}, 100);
  const auto second = world.batch({{cpu("10")}}, 100);
  const auto third = world.batch({{cpu("10")}}, 100);
  line.runtime[first] = 130;  // it said 100
  line.pass();
  CHECK(world.reason(third).expected_start == at_second(kNow + 200));
  SUBCASE("what runs longer than it said moves all behind it, in order") {
    line.move_to(kNow + 110);
    line.pass();
    CHECK(world.reason(second).expected_start == at_second(kNow + 110) + nanoseconds(1));
    CHECK(world.reason(third).expected_start == at_second(kNow + 210) + nanoseconds(1));
    line.move_to(kNow + 130);
    CHECK(placed(line.pass()) == std::vector{second});
    CHECK(world.reason(third).expected_start == at_second(kNow + 230));
  }
  SUBCASE("a session that is withdrawn makes room") {
    world.changes.update<Session>(second, [](Session& s) { s.status = SessionStatus::Cancelled; });
    for (const auto& kernel : world.state.kernels_of(second)) {
      world.changes.update<Kernel>(kernel->id,
                                   [](Kernel& k) { k.status = KernelStatus::Cancelled; });
    }
    line.pass();
    CHECK(world.reason(third).expected_start == at_second(kNow + 100));
  }
  SUBCASE("an agent that joins makes room, and one that is lost takes its promises with it") {
    world.agent("b", cpu("10"));
    CHECK(placed(line.pass()) == std::vector{second});
    CHECK(world.reason(third).expected_start == at_second(kNow + 100));
    world.changes.update<Agent>(AgentId("a"), [](Agent& a) { a.status = AgentStatus::Lost; });
    line.move_to(kNow + 10);
    line.pass();
    CHECK(world.reason(third).expected_start == at_second(kNow + 100));  // of b
  }
}

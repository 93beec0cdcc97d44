// Advance reservations: what they keep, for whom, and when.
#include "timeline.hpp"

using namespace bai;
using namespace bai::test;

namespace {

Texts cpu(const std::string& amount) { return {{"cpu", amount}}; }

SessionId inside(World& world, const std::string& name, const std::vector<KernelSpec>& kernels,
                 std::int64_t for_seconds) {
  Session row = world.draft();
  row.type = SessionType::Batch;
  row.cluster_mode = kernels.size() > 1 ? ClusterMode::MultiNode : ClusterMode::SingleNode;
  row.batch_timeout = seconds(for_seconds);
  row.resource_opts.set("reservation", name);
  return world.add(std::move(row), kernels);
}

// Ten cores of which six are kept for a hundred seconds.
struct Kept {
  explicit Kept(std::int64_t from = kNow - 10,
                QueueDiscipline discipline = QueueDiscipline::SkipAhead) {
    world.group().queue_discipline = discipline;
    world.agent("a", cpu("10"));
    world.reserve("course", {{"a", "6"}}, from, from + 110);
  }
  World world;
};

std::int64_t count(const PendingReason& reason, const std::string& what) {
  for (const auto& [name, agents] : reason.rejected) {
    if (name == what) return agents;
  }
  return 0;
}

constexpr QueueDiscipline kAll[] = {QueueDiscipline::HeadOfLine, QueueDiscipline::SkipAhead,
                                    QueueDiscipline::Easy, QueueDiscipline::Conservative};

}  // namespace

TEST_CASE("a reservation keeps its amounts from everybody else while it lasts") {
  for (const auto discipline : kAll) {
    CAPTURE(to_string(discipline));
    Kept kept(kNow - 10, discipline);
    World& world = kept.world;
    const auto fits = world.batch({{cpu("4")}}, 10);
    const auto over = world.batch({{cpu("1")}}, 10);
    const Plan plan = world.plan();
    CHECK(placed(plan) == std::vector{fits});
    CHECK(world.reason(over).code == "reserved");
    CHECK(count(world.reason(over), "reserved") == 1);
    // The four cores come free before the reservation ends.
    CHECK(world.reason(over).expected_start == at_second(kNow + 10));
    REQUIRE(plan.wake_at);
    CHECK(*plan.wake_at == at_second(kNow + 100));
  }
}

TEST_CASE("before it begins only those who would still run then must leave its amounts free") {
  for (const auto discipline : kAll) {
    CAPTURE(to_string(discipline));
    Kept kept(kNow + 100, discipline);
    World& world = kept.world;
    SUBCASE("who ends in time") {
      const auto in_time = world.batch({{cpu("10")}}, 100);
      CHECK(placed(world.plan()) == std::vector{in_time});
    }
    SUBCASE("who does not") {
      const auto late = world.batch({{cpu("5")}}, 101);
      const Plan plan = world.plan();
      CHECK(plan.placements.empty());
      CHECK(world.reason(late).code == "reserved");
      CHECK(world.reason(late).expected_start == at_second(kNow + 210));
      CHECK(*plan.wake_at == at_second(kNow + 100));
    }
    SUBCASE("who never says") {
      const auto unlimited = world.session(cpu("5"));
      CHECK(world.plan().placements.empty());
      CHECK(world.reason(unlimited).code == "reserved");
    }
    SUBCASE("who leaves enough") {
      const auto beside = world.session(cpu("4"));
      const auto over = world.session(cpu("1"));
      CHECK(placed(world.plan()) == std::vector{beside});
      CHECK(world.reason(over).code == "reserved");
    }
  }
}

TEST_CASE("a session of a reservation gets what it keeps, and nothing else") {
  Kept kept;
  World& world = kept.world;
  const auto first = inside(world, "course", {{cpu("4")}}, 50);
  const auto second = inside(world, "default/course", {{cpu("4")}}, 50);
  const auto third = inside(world, "course", {{cpu("2")}}, 100);
  CHECK(placed(world.plan()) == std::vector{first, third});
  CHECK(world.reason(second).code == "reservation");
  CHECK(contains(world.reason(second).message, "default/course"));
  CHECK(world.reason(second).expected_start == at_second(kNow + 50));  // when the first has ended
  CHECK(contains(world.reason(second).expected_basis, "default/course"));
}

TEST_CASE("who finds its reservation used up until it is over is told that nothing is expected") {
  Kept kept;
  World& world = kept.world;
  const auto first = inside(world, "course", {{cpu("4")}}, 50);
  const auto late = inside(world, "course", {{cpu("4")}}, 51);
  const auto gang = inside(world, "course", {{cpu("2")}, {cpu("4")}}, 50);
  CHECK(placed(world.plan()) == std::vector{first});
  CHECK(world.reason(late).expected_start == Timestamp{});
  CHECK(contains(world.reason(late).expected_basis, "unknown: not enough of default/course"));
  CHECK(world.reason(gang).expected_start == at_second(kNow + 50));
}

TEST_CASE("what a session in a reservation can never be") {
  Kept kept;
  World& world = kept.world;
  const auto too_long = inside(world, "course", {{cpu("1")}}, 101);
  const auto too_large = inside(world, "course", {{cpu("7")}}, 10);
  const auto forgotten = inside(world, "course", {{Texts{{"cpu", "1"}, {"mem", "1g"}}}}, 10);
  const auto unknown = inside(world, "lecture", {{cpu("1")}}, 10);
  Session row = world.draft();
  row.resource_opts.set("reservation", "course");
  const auto unlimited = world.add(std::move(row), {{cpu("1")}});
  CHECK(world.plan().placements.empty());
  for (const auto& id : {too_long, too_large, forgotten, unknown, unlimited}) {
    CHECK(world.reason(id).code == "never");
    REQUIRE(world.reason(id).violations.size() == 1);
    CHECK(world.reason(id).violations[0] == std::pair<std::string, std::string>("reservation", ""));
    CHECK(world.reason(id).kind == "");
  }
  CHECK(contains(world.reason(too_long).message, "runs longer"));
  CHECK(contains(world.reason(too_large).message,
                 "keeps on no agent as much as it asks for: cpu 7, of which it keeps 6 at most."));
  CHECK(contains(world.reason(forgotten).message, ": mem 1g, of which it keeps 0 at most."));
  CHECK(contains(world.reason(unknown).message, "no reservation default/lecture"));
  CHECK(contains(world.reason(unlimited).message, "no limit"));
  SUBCASE("once it is over") {
    world.plan(kNow + 100);
    CHECK(world.reason(too_large).code == "never");
    CHECK(contains(world.reason(too_large).message, "ended at"));
  }
}

TEST_CASE("a session waits for its reservation to begin, and the planner wakes up then") {
  for (const auto discipline : kAll) {
    CAPTURE(to_string(discipline));
    Kept kept(kNow + 100, discipline);
    World& world = kept.world;
    const auto early = inside(world, "course", {{cpu("6")}}, 110);
    const Plan plan = world.plan();
    CHECK(plan.placements.empty());
    CHECK(world.reason(early).code == "reservation");
    CHECK(world.reason(early).expected_start == at_second(kNow + 100));
    CHECK(*plan.wake_at == at_second(kNow + 100));
    CHECK(placed(world.plan(kNow + 100)) == std::vector{early});
  }
}

TEST_CASE("what sessions of a reservation hold is not kept a second time") {
  Timeline line;
  World& world = line.world;
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  world.agent("a", cpu("10"));
  world.reserve("course", {{"a", "6"}}, kNow, kNow + 100);
  inside(world, "course", {{cpu("5")}}, 20);
  CHECK(line.pass().placements.size() == 1);
  const auto rest = world.batch({{cpu("4")}}, 1000);
  const auto over = world.batch({{cpu("1")}}, 1000);
  CHECK(placed(line.pass()) == std::vector{rest});
  // What is given back stays with the reservation until it ends.
  line.move_to(kNow + 20);
  CHECK(line.pass().placements.empty());
  CHECK(world.reason(over).code == "reserved");
  CHECK(world.reason(over).expected_start == at_second(kNow + 100));
  const auto again = inside(world, "course", {{cpu("6")}}, 80);
  CHECK(placed(line.pass()) == std::vector{again});
  line.move_to(kNow + 100);
  CHECK(placed(line.pass()) == std::vector{over});
}

TEST_CASE("a blocked head does not hold up the sessions of a reservation") {
  for (const bool explain : {true, false}) {
    for (const auto discipline : kAll) {
      CAPTURE(to_string(discipline));
      PlanLimits limits;
      limits.explain = explain;
      World world(builtin_policies(), limits);
      world.group().queue_discipline = discipline;
      world.group().policy_options.set("backfill_depth", 1);
      world.agent("a", cpu("10"));
      world.reserve("course", {{"a", "6"}}, kNow, kNow + 100);
      world.batch({{cpu("5")}}, 10);
      world.batch({{cpu("5")}}, 10);
      const auto own = inside(world, "course", {{cpu("6")}}, 100);
      CHECK(placed(world.plan()) == std::vector{own});
    }
  }
}

TEST_CASE("easy: the head is promised a time that leaves reservations alone") {
  World world;
  world.group().queue_discipline = QueueDiscipline::Easy;
  world.agent("a", cpu("10"));
  world.running("a", cpu("6"), kNow - 50, 150);
  world.reserve("course", {{"a", "5"}}, kNow + 120, kNow + 200);
  const auto head = world.batch({{cpu("8")}}, 50);
  const auto short_enough = world.batch({{cpu("4")}}, 120);
  CHECK(placed(world.plan()) == std::vector{short_enough});
  CHECK(world.reason(head).expected_start == at_second(kNow + 200));
}

namespace {

// Of ten cores and four places for containers half are kept.
struct Places {
  explicit Places(QueueDiscipline discipline, std::int64_t from = kNow, const char* cores = "5") {
    world.group().queue_discipline = discipline;
    world.group().policy_options.set("max_container_count", 4);
    world.agent("a", cpu("10"));
    world.reserve("course", {{"a", cores}}, from, from + 100);
  }
  World world;
};

}  // namespace

TEST_CASE("a reservation keeps as large a part of the places for containers as of an agent") {
  for (const auto discipline : kAll) {
    CAPTURE(to_string(discipline));
    const char* cores = "5";
    std::size_t for_others = 2;
    SUBCASE("half of it") {}
    SUBCASE("a little: one place") {
      cores = "1";
      for_others = 3;
    }
    SUBCASE("all of it") {
      cores = "10";
      for_others = 0;
    }
    Places kept(discipline, kNow, cores);
    World& world = kept.world;
    std::vector<SessionId> others, own;
    for (int i = 0; i < 4; ++i) others.push_back(world.batch({{cpu("0.5")}}, 50));
    for (int i = 0; i < 5; ++i) own.push_back(inside(world, "course", {{cpu("0.1")}}, 40 + i));
    const Plan plan = world.plan();
    std::vector<SessionId> started(others.begin(),
                                   others.begin() + static_cast<std::ptrdiff_t>(for_others));
    started.insert(started.end(), own.begin(),
                   own.begin() + static_cast<std::ptrdiff_t>(4 - for_others));
    CHECK(placed(plan) == started);
    CHECK(world.reason(others[for_others]).code == "reserved");
    CHECK(world.reason(others[for_others]).expected_start ==
          at_second(kNow + (for_others > 0 ? 50 : 100)));
    CHECK(world.reason(own.back()).code == "reservation");
    CHECK(world.reason(own.back()).expected_start == at_second(kNow + 40));
    const Prospect asked = world.planner.what_if({}, own.back(), at_second(kNow), 7);
    REQUIRE(asked.reason != nullptr);
    CHECK(asked.reason->expected_start == at_second(kNow + 40));
  }
}

TEST_CASE("before a reservation begins only who would still run then leaves its places free") {
  for (const auto discipline : kAll) {
    CAPTURE(to_string(discipline));
    Places kept(discipline, kNow + 100);
    World& world = kept.world;
    std::vector<SessionId> ids;
    SUBCASE("who ends in time") {
      for (int i = 0; i < 4; ++i) ids.push_back(world.batch({{cpu("1")}}, 100));
      CHECK(placed(world.plan()) == ids);
    }
    SUBCASE("who does not") {
      for (int i = 0; i < 3; ++i) ids.push_back(world.batch({{cpu("1")}}, 101));
      CHECK(placed(world.plan()) == std::vector{ids[0], ids[1]});
      CHECK(world.reason(ids[2]).code == "reserved");
      CHECK(world.reason(ids[2]).expected_start == at_second(kNow + 101));
    }
  }
}

TEST_CASE("sessions of a reservation use more places where nobody else is promised them") {
  Timeline line;
  World& world = line.world;
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  world.group().policy_options.set("max_container_count", 4);
  world.agent("a", cpu("10"));
  world.reserve("course", {{"a", "5"}}, kNow, kNow + 100);  // two places
  std::vector<SessionId> own;
  for (int i = 0; i < 4; ++i) own.push_back(inside(world, "course", {{cpu("1")}}, 40));
  SUBCASE("all that there are") { CHECK(placed(line.pass()) == own); }
  SUBCASE("but none that another reservation keeps") {
    world.reserve("exam", {{"a", "1"}}, kNow, kNow + 100);
    CHECK(placed(line.pass()) == std::vector{own[0], own[1], own[2]});
    CHECK(world.reason(own[3]).code == "reservation");
    CHECK(count(world.reason(own[3]), "reserved") == 1);
    CHECK(world.reason(own[3]).expected_start == at_second(kNow + 40));
    line.move_to(kNow + 40);
    CHECK(placed(line.pass()) == std::vector{own[3]});
  }
  SUBCASE("nor one that it will keep by then") {
    world.reserve("exam", {{"a", "1"}}, kNow + 39, kNow + 100);
    CHECK(placed(line.pass()) == std::vector{own[0], own[1], own[2]});
  }
  SUBCASE("those that they give back are kept again, the others are free") {
    REQUIRE(placed(line.pass()) == own);
    const auto other = world.batch({{cpu("1")}}, 1000);
    CHECK(placed(line.pass()).empty());
    line.move_to(kNow + 40);
    std::vector<SessionId> more{other};
    for (int i = 0; i < 2; ++i) more.push_back(world.batch({{cpu("1")}}, 1000));
    CHECK(placed(line.pass()) == std::vector{more[0], more[1]});
    CHECK(world.reason(more[2]).code == "reserved");
    CHECK(world.reason(more[2]).expected_start == at_second(kNow + 100));
  }
}

TEST_CASE("a gang in a reservation is whole or waits") {
  World world;
  world.agent("a", cpu("4"));
  world.agent("b", cpu("4"));
  world.reserve("course", {{"a", "4"}, {"b", "2"}}, kNow, kNow + 100);
  const auto gang = inside(world, "course", {{cpu("2")}, {cpu("2")}, {cpu("2")}}, 50);
  const auto larger = inside(world, "course", {{cpu("2")}, {cpu("2")}, {cpu("2")}, {cpu("2")}}, 50);
  const Plan plan = world.plan();
  CHECK(placed(plan) == std::vector{gang});
  CHECK(world.reason(larger).code == "reservation");
}

TEST_CASE("two reservations on one agent both keep what is theirs") {
  World world;
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  world.agent("a", cpu("10"));
  world.reserve("one", {{"a", "4"}}, kNow, kNow + 100);
  world.reserve("two", {{"a", "4"}}, kNow + 50, kNow + 150);
  const auto long_one = world.batch({{cpu("3")}}, 60);
  const auto short_one = world.batch({{cpu("3")}}, 50);
  const auto small = world.batch({{cpu("2")}}, 1000);
  CHECK(placed(world.plan()) == std::vector{short_one, small});
  CHECK(world.reason(long_one).code == "reserved");
}

TEST_CASE("a deleted reservation is nobody's any more") {
  Kept kept;
  World& world = kept.world;
  const auto own = inside(world, "course", {{cpu("6")}}, 50);
  const auto other = world.batch({{cpu("10")}}, 50);
  world.changes.erase<Reservation>("default/course");
  CHECK(placed(world.plan()) == std::vector{other});
  CHECK(world.reason(own).code == "never");
}

TEST_CASE("a mirror fed change by change knows the same of reservations as one fed at once") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    Timeline line;
    World& world = line.world;
    for (const char* id : {"a", "b"}) world.agent(id, cpu("8"));
    for (std::int64_t i = 0; i < 20; ++i) {
      const std::string name = "r" + std::to_string(draw(0, 3));
      const Reservation* row = world.state.find<Reservation>("default/" + name);
      if (row == nullptr && draw(0, 1) == 0) {
        world.reserve(name, {{draw(0, 1) == 0 ? "a" : "b", "2"}}, line.now, line.now + 50);
      } else if (row != nullptr && draw(0, 3) == 0) {
        world.changes.erase<Reservation>("default/" + name);
      }
      inside(world, name, {{cpu(std::to_string(draw(1, 2)))}}, draw(1, 30));
      line.pass();
      line.move_to(line.now + draw(0, 20));
    }
    world.feed();
    sched::Mirror at_once;
    State copy;
    std::vector<Change> rows;
    for (const EntityInfo* entity : all_entities()) {
      if (entity->residence == Residence::Cold) continue;
      world.state.any_table(entity->kind).for_each_row([&](const RowPtr& row) {
        rows.push_back({entity->kind, nullptr, row, false});
        return true;
      });
    }
    std::ranges::shuffle(rows, draw.random);
    at_once.feed({world.version}, rows);
    CHECK(at_once.dump() == world.planner.mirror().dump());
  }
}

TEST_CASE("under random load nobody else gets what is kept, and nothing runs past the end") {
  // Each reservation keeps one place where there is a limit.
  std::int64_t places = 0;
  SUBCASE("cores are scarce") {}
  SUBCASE("places for containers are") { places = 4; }
  for (const auto discipline : kAll) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
      CAPTURE(seed);
      CAPTURE(to_string(discipline));
      Draw draw(seed);
      Timeline line;
      World& world = line.world;
      world.group().queue_discipline = discipline;
      if (places > 0) world.group().policy_options.set("max_container_count", places);
      for (const char* id : {"a", "b", "c"}) world.agent(id, cpu("8"));
      struct Window {
        std::string name, agent;
        std::int64_t cores, from, to;
      };
      std::vector<Window> windows;
      for (std::int64_t i = 0; i < 4; ++i) {
        const Window w{"r" + std::to_string(i), std::vector{"a", "b", "c"}[draw.random() % 3],
                       draw(1, 2), kNow + draw(0, 200), kNow + draw(201, 400)};
        windows.push_back(w);
        world.reserve(w.name, {{w.agent, std::to_string(w.cores)}}, w.from, w.to);
      }
      std::map<SessionId, const Window*> own;
      std::map<SessionId, std::int64_t> cores;
      for (int step = 0; step < 60; ++step) {
        for (std::int64_t i = draw(0, 3); i > 0; --i) {
          const Window* window = draw(0, 2) == 0 ? &windows[draw.random() % 4] : nullptr;
          const std::int64_t amount = draw(1, window != nullptr || places > 0 ? 2 : 8);
          const std::vector<KernelSpec> kernels{{cpu(std::to_string(amount))}};
          const auto id = window != nullptr ? inside(world, window->name, kernels, draw(1, 100))
                                            : world.batch(kernels, draw(1, 150));
          own[id] = window;
          cores[id] = amount;
        }
        line.pass();
        for (const char* agent : {"a", "b", "c"}) {
          std::int64_t others = 0, kept = 0, containers = 0;
          for (const auto& [id, kernels] : line.running) {
            if (kernels.front().second.str() != agent) continue;
            ++containers;
            if (own[id] == nullptr) others += cores[id];
          }
          for (const Window& w : windows) {
            if (w.agent != agent || line.now < w.from || line.now >= w.to) continue;
            kept += w.cores;
            std::int64_t used = 0;
            for (const auto& [id, kernels] : line.running) {
              if (own[id] != &w) continue;
              used += cores[id];
              CHECK(kernels.front().second.str() == w.agent);
            }
            CHECK(used <= w.cores);
            containers += used == 0 ? 1 : 0;
          }
          CHECK(others + kept <= 8);
          if (places > 0) CHECK(containers <= places);
        }
        for (const auto& [end, id] : line.ends) {
          if (own[id] != nullptr) CHECK(end <= own[id]->to);
        }
        const std::int64_t next = line.next_end();
        line.move_to(next >= 0 && draw(0, 1) == 0 ? std::max(line.now, next)
                                                  : line.now + draw(1, 15));
      }
    }
  }
}

TEST_CASE("what leaves an agent is not taken for more than it is when others are to leave") {
  World world;
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  world.group().policy_options =
      Json::object({{"preemption", Json::object({{"enabled", true}, {"order", "oldest"}})}});
  const auto run = [&](const char* agent, SessionStatus status, std::int64_t for_seconds) {
    Session session = world.draft();
    session.status = status;
    session.starts_at = at_second(kNow - 10);
    session.batch_timeout = seconds(for_seconds);
    Kernel kernel;
    kernel.id = numbered<KernelId>(status == SessionStatus::Running ? 1 : 2);
    kernel.session = session.id;
    kernel.agent = AgentId(agent);
    kernel.status = KernelStatus::Running;
    kernel.occupied_slots = slots(cpu("10"));
    const SessionId id = session.id;
    world.changes.insert(std::move(kernel));
    world.changes.insert(std::move(session));
    return id;
  };
  world.agent("a", cpu("10"));
  world.agent("b", cpu("10"));
  const SessionId victim = run("a", SessionStatus::Running, 1000);
  run("b", SessionStatus::Terminating, 60);
  world.reserve("course", {{"b", "6"}}, kNow + 100, kNow + 1000);
  world.batch({{cpu("8")}}, 50);  // over before the reservation begins, and nobody yields to it
  const SessionId long_one = world.batch({{cpu("8")}}, 500);
  world.changes.update<Session>(long_one, [](Session& s) { s.job_priority = 5; });
  const Plan plan = world.plan();
  REQUIRE(placed(plan) == std::vector{long_one});
  CHECK(only_agent(plan) == "a");
  CHECK(plan.placements[0].victims == std::vector{victim});
}

// Questions to the planner, and the starts that passes expect of those who wait.
#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

Texts cpu(const std::string& amount) { return {{"cpu", amount}}; }

// The rows of a session that is not there.
struct Hypothesis {
  std::vector<Change> changes;
  SessionId session;
};
Hypothesis suppose(World& w, Session row, const std::vector<KernelSpec>& kernels,
                   const std::vector<Agent>& agents = {}) {
  w.group();
  w.feed();
  Hypothesis made;
  made.session = w.add(std::move(row), kernels);
  for (const Agent& agent : agents) w.changes.insert(agent);
  made.changes.assign(w.changes.changes().begin(), w.changes.changes().end());
  w.changes.rollback(0);
  return made;
}
Prospect ask(World& w, const Hypothesis& what) {
  return w.planner.what_if(what.changes, what.session, at_second(kNow), 7);
}
Prospect ask(World& w, const SessionId& id, std::int64_t now = kNow) {
  w.group();
  w.feed();
  return w.planner.what_if({}, id, at_second(now), 7);
}

}  // namespace

TEST_CASE("what-if says where a session would start, and creates nothing") {
  World w;
  w.agent("a1", cpu("4"), cpu("3"));
  w.agent("a2", cpu("8"));
  const auto what = suppose(w, w.draft(), {{cpu("5")}});
  const std::string before = w.planner.mirror().dump();
  const Prospect prospect = ask(w, what);
  REQUIRE(prospect.placement.has_value());
  CHECK(prospect.placement->session == what.session);
  CHECK(agents_of(*prospect.placement) == std::vector<std::string>{"a2"});
  CHECK(prospect.reason == nullptr);
  CHECK(prospect.based_on == w.planner.mirror().version());
  CHECK(w.planner.mirror().dump() == before);
  CHECK(w.plan().placements.empty());
}

TEST_CASE("what-if counts what waits before the session") {
  World w;
  w.agent("a1", cpu("4"));
  w.session(cpu("3"));
  const auto what = suppose(w, w.draft(), {{cpu("2")}});
  const Prospect second = ask(w, what);
  CHECK(!second.placement.has_value());
  REQUIRE(second.reason != nullptr);
  CHECK(second.reason->code == "capacity");
  CHECK(second.reason->position == 2);
  Session urgent = w.draft();
  urgent.priority = 20;
  CHECK(ask(w, suppose(w, std::move(urgent), {{cpu("2")}})).placement.has_value());
}

TEST_CASE("what-if: a head that waits holds up those behind it, as in a pass") {
  World w;
  w.group().queue_discipline = QueueDiscipline::HeadOfLine;
  w.agent("a1", cpu("4"));
  w.running("a1", cpu("2"), kNow - 100, 400);
  w.session(cpu("4"));
  const auto what = suppose(w, w.draft(), {{cpu("1")}});
  const Prospect held = ask(w, what);
  REQUIRE(held.reason != nullptr);
  CHECK(held.reason->code == "behind-head");
  CHECK(held.reason->position == 2);
  w.group().queue_discipline = QueueDiscipline::SkipAhead;
  CHECK(ask(w, suppose(w, w.draft(), {{cpu("1")}})).placement.has_value());
}

TEST_CASE("what-if knows agents that would be there") {
  World w;
  w.agent("a1", cpu("4"), cpu("4"));
  const Prospect full = ask(w, suppose(w, w.draft(), {{cpu("2")}}));
  REQUIRE(full.reason != nullptr);
  CHECK(full.reason->code == "capacity");
  Agent more;
  more.id = AgentId("a2");
  more.resource_group = ResourceGroupName("default");
  more.architecture = "x86_64";
  more.available_slots = slots(cpu("2"));
  const auto what = suppose(w, w.draft(), {{cpu("2")}}, {more});
  const std::string before = w.planner.mirror().dump();
  const Prospect prospect = ask(w, what);
  REQUIRE(prospect.placement.has_value());
  CHECK(agents_of(*prospect.placement) == std::vector<std::string>{"a2"});
  CHECK(w.planner.mirror().dump() == before);
}

TEST_CASE("a planner that was asked plans as one that never was") {
  for (const char* scheduler : {"fifo", "lifo", "drf", "fair-share", "sjf"}) {
    for (int discipline = 0; discipline < 4; ++discipline) {
      CAPTURE(scheduler);
      CAPTURE(discipline);
      World asked, plain;
      for (World* w : {&asked, &plain}) {
        w->group().scheduler = scheduler;
        w->group().queue_discipline = static_cast<QueueDiscipline>(discipline);
        for (int a = 0; a < 3; ++a) w->agent("a" + std::to_string(a), cpu("8"));
        w->running("a0", cpu("6"), kNow - 50, 100);
        for (int i = 0; i < 12; ++i) {
          Session row = w->draft();
          row.user = numbered<UserId>(1 + static_cast<std::uint64_t>(i) % 3);
          row.batch_timeout = seconds(100 + 10 * i);
          w->add(std::move(row), {{cpu(std::to_string(1 + i % 5))}});
        }
        w->group();
        w->feed();
      }
      for (int i = 0; i < 3; ++i) {
        Session row = asked.draft();
        row.user = numbered<UserId>(1 + static_cast<std::uint64_t>(i));
        row.priority = 10 + i;
        Agent more;
        more.id = AgentId("a01");
        more.resource_group = ResourceGroupName("default");
        more.available_slots = slots(cpu("4"));
        const auto what = suppose(asked, std::move(row), {{cpu("3")}},
                                  i == 1 ? std::vector<Agent>{more} : std::vector<Agent>{});
        plain.feed();
        const Prospect prospect = ask(asked, what);
        CHECK((prospect.placement.has_value() || prospect.reason != nullptr));
      }
      CHECK(asked.planner.mirror().dump() == plain.planner.mirror().dump());
      const Plan one = asked.planner.plan(at_second(kNow), 7);
      CHECK(dump(one) == dump(plain.planner.plan(at_second(kNow), 7)));
    }
  }
}

TEST_CASE("what-if says why a session waits and when it starts, wherever it is in the queue") {
  World w;
  w.group().queue_discipline = QueueDiscipline::SkipAhead;
  w.agent("a1", cpu("4"));
  w.running("a1", cpu("4"), kNow - 100, 400);
  std::vector<SessionId> ids;
  for (int i = 0; i < 200; ++i) ids.push_back(w.batch({{cpu("4")}}, 60));
  const Prospect last = ask(w, ids.back());
  REQUIRE(last.reason != nullptr);
  CHECK(last.reason->code == "capacity");
  CHECK(last.reason->position == 200);
  CHECK(last.reason->missing.get("cpu") == slots(cpu("4")).get("cpu"));
  // The first eight are counted, each for a minute.
  CHECK(last.reason->expected_start == at_second(kNow + 300 + 8 * 60));
  CHECK(contains(last.reason->expected_basis, "the first 8 of the 199 sessions"));
  const Prospect third = ask(w, ids[2]);
  CHECK(third.reason->expected_start == at_second(kNow + 300 + 2 * 60));
  CHECK(contains(third.reason->expected_basis, "limits that sessions declare"));
}

TEST_CASE("what-if knows what conservative backfill has promised to others") {
  World w;
  w.group().queue_discipline = QueueDiscipline::Conservative;
  w.agent("a1", cpu("4"));
  w.agent("a2", cpu("4"));
  w.running("a1", cpu("4"), kNow, 100);
  w.running("a2", cpu("4"), kNow, 200);
  const auto first = w.batch({{cpu("4")}}, 50), second = w.batch({{cpu("4")}}, 50);
  w.plan();
  CHECK(w.reason(first).expected_start == at_second(kNow + 100));
  CHECK(w.reason(second).expected_start == at_second(kNow + 150));
  Session row = w.draft();
  row.type = SessionType::Batch;
  row.batch_timeout = seconds(50);
  row.priority = 20;
  const auto urgent = w.add(std::move(row), {{cpu("4")}});
  const Prospect prospect = ask(w, urgent);
  REQUIRE(prospect.reason != nullptr);
  CHECK(prospect.reason->expected_start == at_second(kNow + 200));
  CHECK(ask(w, second).reason->expected_start == at_second(kNow + 150));
  w.plan();
  CHECK(w.reason(urgent).expected_start == at_second(kNow + 200));
}

TEST_CASE("what-if about who does not wait answers neither") {
  World w;
  w.agent("a1", cpu("4"));
  const Prospect nobody = ask(w, numbered<SessionId>(77));
  CHECK(!nobody.placement.has_value());
  CHECK(nobody.reason == nullptr);
}

TEST_CASE("skip-ahead and head-of-line expect starts without binding anybody") {
  for (const auto discipline : {QueueDiscipline::SkipAhead, QueueDiscipline::HeadOfLine}) {
    CAPTURE(static_cast<int>(discipline));
    World w;
    w.group().queue_discipline = discipline;
    w.agent("a1", cpu("4"));
    w.agent("a2", cpu("2"));
    w.running("a1", cpu("4"), kNow - 100, 400);
    w.running("a2", cpu("1"), kNow - 100, 200);
    const SessionId head = w.batch({{cpu("4")}}, 1000);
    const SessionId small = w.batch({{cpu("2")}}, 50);
    const Plan plan = w.plan();
    CHECK(plan.placements.empty());
    CHECK(w.reason(head).expected_start == at_second(kNow + 300));
    CHECK(contains(w.reason(head).message, "Expected to start at"));
    const bool in_order = discipline == QueueDiscipline::HeadOfLine;
    CHECK(w.reason(small).expected_start == at_second(kNow + (in_order ? 300 : 100)));
    // It starts as soon as there is room, whatever was expected.
    const SessionId tiny = w.batch({{cpu("1")}}, 10'000);
    CHECK(placed(w.plan()) == (in_order ? std::vector<SessionId>{} : std::vector{tiny}));
  }
}

TEST_CASE("what this pass starts is part of what is expected") {
  World w;
  w.group().queue_discipline = QueueDiscipline::SkipAhead;
  w.agent("a1", cpu("4"));
  const SessionId first = w.batch({{cpu("3")}}, 120);
  const SessionId second = w.batch({{cpu("2")}}, 60);
  CHECK(placed(w.plan()) == std::vector{first});
  CHECK(w.reason(second).expected_start == at_second(kNow + 120));
}

TEST_CASE("without an estimate nothing is expected, and the reason says why") {
  World w;
  w.group().queue_discipline = QueueDiscipline::SkipAhead;
  w.agent("a1", cpu("4"), cpu("4"));
  const SessionId id = w.session(cpu("2"));
  w.plan();
  CHECK(w.reason(id).expected_start == Timestamp{});
  CHECK(contains(w.reason(id).expected_basis, "unknown: what holds the room says no end"));
}

TEST_CASE("lifetimes and defaults are named where an expectation rests on them") {
  World w;
  w.group().queue_discipline = QueueDiscipline::SkipAhead;
  w.group().policy_options = Json::object({{"default_runtime_s", 600}});
  w.agent("a1", cpu("4"));
  Session row = w.draft();
  row.status = SessionStatus::Running;
  row.starts_at = at_second(kNow - 100);
  Kernel kernel;
  kernel.id = numbered<KernelId>(5);
  kernel.session = row.id;
  kernel.agent = AgentId("a1");
  kernel.status = KernelStatus::Running;
  kernel.occupied_slots = slots(cpu("4"));
  w.changes.insert(kernel);
  w.changes.insert(row);
  const SessionId id = w.session(cpu("2"));
  w.plan();
  CHECK(w.reason(id).expected_start == at_second(kNow + 500));
  CHECK(contains(w.reason(id).expected_basis, "default_runtime_s"));
  KeypairPolicy policy;
  policy.name = PolicyName("limited");
  policy.max_session_lifetime_s = 300;
  w.user_policy(policy);
  w.plan();
  CHECK(w.reason(id).expected_start == at_second(kNow + 200));
  CHECK(contains(w.reason(id).expected_basis, "lifetimes of sessions by policy"));
}

TEST_CASE("a pass tells the first of those who wait, and no more") {
  World w;
  w.group().queue_discipline = QueueDiscipline::SkipAhead;
  w.agent("a1", cpu("4"));
  w.running("a1", cpu("4"), kNow - 100, 400);
  std::vector<SessionId> ids;
  for (int i = 0; i < 10; ++i) ids.push_back(w.batch({{cpu("4")}}, 60));
  w.plan();
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(w.reason(ids[i]).expected_start ==
          at_second(kNow + 300 + 60 * static_cast<std::int64_t>(i)));
  }
  CHECK(w.reason(ids[8]).expected_start == Timestamp{});
  CHECK(contains(w.reason(ids[8]).expected_basis,
                 "unknown: a pass foresees the starts of those in front"));
}

// Passes that use up their steps go on where they ended.
#include "timeline.hpp"

using namespace bai;
using namespace bai::test;

namespace {

Texts cpu(const std::string& amount) { return {{"cpu", amount}}; }

PlanLimits steps(std::uint64_t most) {
  PlanLimits limits;
  limits.steps_max = most;
  return limits;
}

SessionId in_reservation(World& world, const std::string& cores, std::int64_t for_seconds) {
  Session row = world.draft();
  row.type = SessionType::Batch;
  row.batch_timeout = seconds(for_seconds);
  row.resource_opts.set("reservation", "course");
  return world.add(std::move(row), {{cpu(cores)}});
}

// Nothing has come in since the last pass.
Plan next_pass(World& world, std::int64_t now = kNow) {
  Plan plan = world.planner.plan(at_second(now), 7);
  for (const Explained& e : plan.explained) world.reasons[e.session] = e.reason;
  return plan;
}

bool goes_on(const Plan& plan, std::int64_t now = kNow) {
  return plan.wake_at && *plan.wake_at <= at_second(now) + milliseconds(1);
}

// Passes until one places something, or all sessions have been looked at.
Plan pass_on(World& world, std::size_t& passes) {
  Plan plan = world.plan();
  for (passes = 1; plan.placements.empty() && goes_on(plan); ++passes) {
    REQUIRE(passes < 200);
    plan = next_pass(world);
  }
  return plan;
}

constexpr QueueDiscipline kLookAhead[] = {QueueDiscipline::Easy, QueueDiscipline::Conservative};

}  // namespace

TEST_CASE("easy and conservative: who may start behind very many that may not is reached") {
  for (const auto discipline : kLookAhead) {
    CAPTURE(to_string(discipline));
    World world(builtin_policies(), steps(50));
    world.group().queue_discipline = discipline;
    for (int a = 0; a < 10; ++a) {
      const std::string id = "a" + std::to_string(a);
      world.agent(id, cpu("8"));
      world.running(id, cpu("4"), kNow - 50, 150);
    }
    const auto head = world.batch(std::vector<KernelSpec>(10, {cpu("8")}), 1000);
    for (int i = 0; i < 60; ++i) world.batch({{cpu("2." + std::to_string(100 + i))}}, 200 + i);
    const auto in_time = world.batch({{cpu("3")}}, 100);
    std::size_t passes = 0;
    CHECK(placed(pass_on(world, passes)) == std::vector{in_time});
    CHECK(passes > 3);
    CHECK(world.reason(head).expected_start == at_second(kNow + 100));
  }
}

TEST_CASE("beside reservations who may start behind very many that may not is reached") {
  World world(builtin_policies(), steps(50));
  for (int a = 0; a < 10; ++a) world.agent("a" + std::to_string(a), cpu("8"), cpu("4"));
  world.reserve("course", {{"a0", "4"}}, kNow + 100, kNow + 200);
  SUBCASE("in the queue") {
    world.group().queue_discipline = QueueDiscipline::SkipAhead;
    for (int i = 0; i < 60; ++i) world.batch({{cpu("5." + std::to_string(100 + i))}}, 10);
    const auto fits = world.batch({{cpu("4")}}, 10);
    std::size_t passes = 0;
    CHECK(placed(pass_on(world, passes)) == std::vector{fits});
    CHECK(passes > 3);
  }
  SUBCASE("beside a queue that is held up") {
    world.group().queue_discipline = QueueDiscipline::HeadOfLine;
    world.changes.update<Reservation>("default/course",
                                      [](Reservation& r) { r.starts_at = at_second(kNow - 1); });
    const auto head = world.batch({{cpu("6")}}, 10);
    for (int i = 0; i < 60; ++i) in_reservation(world, "4." + std::to_string(100 + i), 10);
    const auto fits = in_reservation(world, "4", 10);
    std::size_t passes = 0;
    CHECK(placed(pass_on(world, passes)) == std::vector{fits});
    CHECK(passes > 1);
    CHECK(world.reason(head).code == "capacity");
  }
}

TEST_CASE("passes with few steps come to what one with enough of them comes to") {
  std::size_t later = 0, started = 0;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    CAPTURE(seed);
    const auto fill = [&](World& world) {
      Draw draw(seed);
      ResourceGroup& group = world.group();
      group.queue_discipline = static_cast<QueueDiscipline>(draw(0, 3));
      group.scheduler = std::vector{"fifo", "lifo", "sjf"}[draw.random() % 3];
      if (draw(0, 1) == 0) group.policy_options.set("backfill_order", "shortest");
      if (draw(0, 2) == 0) group.policy_options.set("max_container_count", 3);
      const bool is_full = draw(0, 3) > 0;
      const auto agents = draw(1, 4);
      for (std::int64_t a = 0; a < agents; ++a) {
        const std::string id = "a" + std::to_string(a);
        world.agent(id, cpu("8"));
        std::int64_t left = draw(0, 2) == 0 ? 8 : 7;
        while (left > 0 && (is_full || draw(0, 2) > 0)) {
          const auto amount = draw(1, left);
          world.running(id, cpu(std::to_string(amount)), kNow - draw(0, 100), draw(101, 400));
          left -= amount;
        }
      }
      const bool has_reservation = draw(0, 2) == 0;
      if (has_reservation) {
        const auto from = kNow + draw(-1, 1) * 50;
        world.reserve("course", {{"a0", std::to_string(draw(1, 3))}}, from, from + draw(60, 300));
      }
      for (std::int64_t i = draw(10, 40); i > 0; --i) {
        if (has_reservation && draw(0, 3) == 0) {
          in_reservation(world, std::to_string(draw(1, 3)), draw(1, 60));
          continue;
        }
        const auto kernels = static_cast<std::size_t>(draw(0, 4) == 0 ? draw(2, 4) : 1);
        world.batch(std::vector<KernelSpec>(kernels, {cpu(std::to_string(draw(1, 8)))}),
                    draw(1, 500));
      }
      return draw(1, 60);
    };
    for (const bool explain : {false, true}) {
      CAPTURE(explain);
      PlanLimits plenty, few;
      plenty.explain = few.explain = explain;
      World whole(builtin_policies(), plenty);
      few.steps_max = static_cast<std::uint64_t>(fill(whole));
      World parts(builtin_policies(), few);
      fill(parts);
      const Plan expected = whole.plan();
      std::size_t passes = 0;
      const Plan got = pass_on(parts, passes);
      later += passes > 1 ? 1 : 0;
      REQUIRE(got.placements.empty() == expected.placements.empty());
      if (got.placements.empty()) continue;
      ++started;
      // They are fewer where steps ended behind the first.
      REQUIRE(got.placements.size() <= expected.placements.size());
      for (std::size_t i = 0; i < got.placements.size(); ++i) {
        REQUIRE(got.placements[i] == expected.placements[i]);
      }
    }
  }
  CHECK(later > 200);
  CHECK(started > 200);
}

TEST_CASE("a question about agents that might join does not turn passes back") {
  std::size_t later = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    const auto story = [&](bool asks) {
      Draw draw(seed);
      World world(builtin_policies(), steps(static_cast<std::uint64_t>(draw(10, 60))));
      world.group().queue_discipline = static_cast<QueueDiscipline>(draw(0, 3));
      for (std::int64_t a = draw(1, 5); a > 0; --a) {
        const std::string id = "a" + std::to_string(a);
        world.agent(id, cpu("8"));
        world.running(id, cpu(std::to_string(draw(4, 7))), kNow - 50, draw(100, 400));
      }
      if (draw(0, 2) == 0) world.reserve("course", {{"a1", "1"}}, kNow + 50, kNow + 200);
      for (std::int64_t i = draw(10, 40); i > 0; --i) {
        world.batch({{cpu(std::to_string(draw(4, 8)))}}, draw(1, 500));
      }
      std::string text;
      Plan plan = world.plan();
      for (int pass = 0; pass < 30; ++pass) {
        text += dump(plan);
        if (!plan.placements.empty() || !goes_on(plan)) break;
        later += pass > 0 ? 1 : 0;
        if (asks) {
          const SessionId asked = world.batch({{cpu("8")}}, 10);
          for (const char* id : {"a0", "a9"}) world.agent(id, cpu("16"));
          world.changes.update<Agent>(AgentId("a1"), [](Agent& a) { a.schedulable = false; });
          const auto changes =
              coalesce({world.changes.changes().begin(), world.changes.changes().end()});
          world.planner.what_if(changes, asked, at_second(kNow), 7);
          world.changes.rollback(0);
        }
        plan = next_pass(world);
      }
      return text;
    };
    REQUIRE(story(true) == story(false));
  }
  CHECK(later > 200);
}

TEST_CASE("what has changed meanwhile for those that were seen first is not missed") {
  World world(builtin_policies(), steps(30));
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  for (int a = 0; a < 10; ++a) world.agent("a" + std::to_string(a), cpu("8"), cpu("4"));
  KeypairPolicy policy;
  policy.name = PolicyName("p");
  policy.max_concurrent_sessions = 0;
  policy.total_resource_slots = slots(cpu("3"));
  world.user_policy(policy, 2);
  Session row = world.draft();
  std::int64_t when = kNow;
  SUBCASE("a limit that is raised") { row.user = numbered<UserId>(2); }
  SUBCASE("a time that is due") {
    row.retry_at = at_second(kNow + 5);
    when = kNow + 5;
  }
  const auto first = world.add(std::move(row), {{cpu("4")}});
  for (int i = 0; i < 30; ++i) world.session(cpu("5." + std::to_string(100 + i)));
  REQUIRE(goes_on(world.plan()));
  REQUIRE(world.reasons.contains(first));
  policy.total_resource_slots = slots(cpu("8"));
  world.changes.update<KeypairPolicy>(policy.name, [&](KeypairPolicy& p) { p = policy; });
  Plan plan = world.plan(when);
  std::size_t passes = 0;
  for (; plan.placements.empty(); plan = next_pass(world, when)) {
    REQUIRE(goes_on(plan, when));
    REQUIRE(++passes < 100);
  }
  CHECK(placed(plan) == std::vector{first});
}

TEST_CASE("a time that is due later is remembered by the passes that go on") {
  World world(builtin_policies(), steps(30));
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  for (int a = 0; a < 10; ++a) world.agent("a" + std::to_string(a), cpu("8"), cpu("4"));
  Session row = world.draft();
  row.retry_at = at_second(kNow + 5);
  world.add(std::move(row), {{cpu("4")}});
  for (int i = 0; i < 30; ++i) world.session(cpu("5." + std::to_string(100 + i)));
  std::size_t passes = 0;
  const Plan last = pass_on(world, passes);
  CHECK(passes > 2);
  CHECK(last.wake_at == at_second(kNow + 5));
}

TEST_CASE("easy: when the head leaves, those who waited behind it are looked at at once") {
  World world(builtin_policies(), steps(30));
  world.group().queue_discipline = QueueDiscipline::Easy;
  world.agent("a", cpu("8"));
  world.running("a", cpu("4"), kNow - 50, 150);
  const auto head = world.batch({{cpu("8")}}, 1000);
  const auto second = world.batch({{cpu("4")}}, 101);
  for (int i = 0; i < 40; ++i) world.batch({{cpu("4.5")}}, 200 + i);
  REQUIRE(goes_on(world.plan()));
  REQUIRE(world.reason(second).code == "backfill");
  world.changes.update<Session>(head, [](Session& s) { s.status = SessionStatus::Cancelled; });
  for (const auto& kernel : world.state.kernels_of(head)) {
    world.changes.update<Kernel>(kernel->id, [](Kernel& k) { k.status = KernelStatus::Cancelled; });
  }
  CHECK(placed(world.plan()) == std::vector{second});
}

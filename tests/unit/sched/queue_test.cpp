// What one pass does with a queue.
#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

using Violations = std::vector<std::pair<std::string, std::string>>;

Texts cpu(const char* amount) { return {{"cpu", amount}}; }

}  // namespace

TEST_CASE("D1 a shortage stops the queue") {
  World world;
  world.agent("a", cpu("4"));
  const auto big = world.session(cpu("8"), 10), small = world.session(cpu("1"), 1);
  const Plan plan = world.plan();
  CHECK(plan.placements.empty());
  CHECK(world.reason(big).code == "never");  // no agent has eight cores
  CHECK(world.reason(big).violations == Violations{{"capacity", ""}});
  CHECK(world.reason(big).position == 1);
  CHECK(world.reason(small).code == "behind-head");
  CHECK(world.reason(small).violations.empty());
  CHECK(world.reason(small).position == 2);
  CHECK(world.reason(small).message.starts_with("Not attempted"));
}

TEST_CASE("D2 a session without any compatible agent does not") {
  World world;
  world.agent("a", cpu("4"));
  const auto arm = world.add(world.draft(), {{cpu("1"), "aarch64"}});
  const auto fits = world.session(cpu("1"));
  CHECK(placed(world.plan()) == std::vector{fits});
  CHECK(world.reason(arm).code == "no-compatible-agent");
  CHECK(contains(world.reason(arm).expected_basis, "unknown: what it waits for is not foreseen"));
  CHECK(contains(world.reason(arm).message, "1 is of another architecture than aarch64"));
}

TEST_CASE("D4 an unmet dependency does not") {
  World world;
  world.agent("a", cpu("4"));
  const auto running = world.draft();
  Session first = running;
  first.status = SessionStatus::Running;
  world.changes.insert(first);
  Session waits = world.draft();
  waits.dependencies = {to_string(first.id)};
  const auto id = world.add(waits, {{cpu("1")}});
  const auto fits = world.session(cpu("1"));
  CHECK(placed(world.plan()) == std::vector{fits});
  CHECK(world.reason(id).code == "dependency");
}

TEST_CASE("D5 an exceeded quota does not") {
  World world;
  world.agent("a", cpu("64"));
  KeypairPolicy policy;
  policy.name = PolicyName("p");
  policy.total_resource_slots = slots(cpu("2"));
  world.user_policy(policy);
  const auto over = world.session(cpu("4")), fits = world.session(cpu("1"));
  CHECK(placed(world.plan()) == std::vector{fits});
  CHECK(world.reason(over).code == "quota");
}

TEST_CASE("skip-ahead goes on after a shortage, equal requests share the verdict") {
  World world;
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  world.agent("a", cpu("4"));
  const auto big = world.session(cpu("8")), again = world.session(cpu("8"));
  const auto small = world.session(cpu("1"));
  CHECK(placed(world.plan()) == std::vector{small});
  CHECK(world.reason(big).position == 1);
  CHECK(world.reason(again).position == 2);
  CHECK(world.reason(again).code == "never");
}

TEST_CASE("beyond the positions that are told, one reason is shared and stays") {
  PlanLimits limits;
  limits.positions_max = 3;
  World world(builtin_policies(), limits);
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  world.agent("a", cpu("4"));
  std::vector<SessionId> ids;
  for (int i = 0; i < 6; ++i) ids.push_back(world.session(cpu("8")));
  CHECK(world.plan().explained.size() == 6);
  CHECK(world.reason(ids[2]).position == 3);
  CHECK(world.reason(ids[3]).position == 0);
  CHECK(contains(world.reason(ids[3]).message, "More than 3 sessions are before it"));
  CHECK(world.reasons[ids[3]] == world.reasons[ids[5]]);
  CHECK(world.plan().explained.empty());  // nothing differs

  world.changes.update<Session>(ids[0],
                                [](Session& row) { row.status = SessionStatus::Cancelled; });
  CHECK(world.plan().explained.size() == 3);  // three have moved up into sight
  CHECK(world.reason(ids[1]).position == 1);
  CHECK(world.reason(ids[3]).position == 3);
}

TEST_CASE("those behind a blocked head are told once, also when they come later") {
  PlanLimits limits;
  limits.positions_max = 2;
  World world(builtin_policies(), limits);
  world.agent("a", cpu("4"));
  std::vector<SessionId> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(world.session(cpu("8")));
  CHECK(world.plan().explained.size() == 5);
  for (std::size_t i = 1; i < 5; ++i) CHECK(world.reason(ids[i]).code == "behind-head");
  ids.push_back(world.session(cpu("1")));
  const Plan plan = world.plan();
  REQUIRE(plan.explained.size() == 1);
  CHECK(plan.explained[0].session == ids[5]);

  // A more important session pushes the second out of sight.
  const auto first = world.session(cpu("9"), 99);
  world.plan();
  CHECK(world.reason(first).position == 1);
  CHECK(world.reason(ids[0]).code == "behind-head");
  CHECK(world.reason(ids[0]).position == 2);
  CHECK(world.reason(ids[1]).position == 0);
}

TEST_CASE("reasons follow when the whole group loses and regains its agents") {
  PlanLimits limits;
  limits.positions_max = 1;
  World world(builtin_policies(), limits);
  world.agent("a", cpu("4"));
  const auto first = world.session(cpu("8")), second = world.session(cpu("8"));
  const auto third = world.session(cpu("8"));
  world.plan();
  const auto lose = [](Agent& row) { row.status = AgentStatus::Lost; };
  world.changes.update<Agent>(AgentId("a"), lose);
  CHECK(world.plan().explained.size() == 3);
  CHECK(world.plan().explained.empty());
  const auto fourth = world.session(cpu("8"));
  CHECK(world.plan().explained.size() == 1);
  CHECK(world.reason(fourth).code == "no-agents");
  world.changes.update<Agent>(AgentId("a"), [](Agent& row) { row.status = AgentStatus::Alive; });
  CHECK(world.plan().explained.size() == 4);
  CHECK(world.reason(first).code == "never");
  for (const auto& id : {second, third, fourth}) CHECK(world.reason(id).code == "behind-head");
}

TEST_CASE("a retry that is not due is not attempted, and wakes the planner") {
  World world;
  world.agent("a", cpu("4"));
  Session row = world.draft();
  row.retry_at = at_second(kNow + 5);
  const auto later = world.add(row, {{cpu("1")}});
  const auto fits = world.session(cpu("1"));
  const Plan plan = world.plan();
  CHECK(placed(plan) == std::vector{fits});
  CHECK(plan.wake_at == at_second(kNow + 5));
  CHECK(contains(world.reason(later).message, "The last attempt to start it failed"));
  world.apply(plan);
  CHECK(placed(world.plan(kNow + 5)) == std::vector{later});
}

TEST_CASE("placements per pass are limited, and the next pass goes on") {
  PlanLimits limits;
  limits.sessions_max = 2;
  World world(builtin_policies(), limits);
  world.agent("a", cpu("8"));
  std::vector<SessionId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(world.session(cpu("1")));
  std::vector<SessionId> seen;
  for (int pass = 0; pass < 2; ++pass) {
    const Plan plan = world.plan();
    CHECK(plan.placements.size() == 2);
    CHECK(plan.explained.empty());  // the next pass follows at once
    for (const auto& id : placed(plan)) seen.push_back(id);
    world.apply(plan);
  }
  CHECK(seen == ids);
}

TEST_CASE("steps per pass are limited, and said so") {
  PlanLimits limits;
  limits.steps_max = 2;
  World world(builtin_policies(), limits);
  world.agent("a", cpu("8"));
  const auto first = world.session(cpu("1")), second = world.session(cpu("1"));
  const Plan plan = world.plan();
  CHECK(placed(plan) == std::vector{first});
  CHECK(contains(world.reason(second).message, "ended before it after 2 steps"));
  world.apply(plan);
  CHECK(placed(world.plan()) == std::vector{second});
}

TEST_CASE("a session of a resource group that does not exist") {
  World world;
  Session row = world.draft();
  row.resource_group = ResourceGroupName("nowhere");
  const auto id = world.add(row, {{cpu("1")}});
  const Plan plan = world.plan();
  REQUIRE(plan.errors.size() == 1);
  CHECK(contains(plan.errors[0], "nowhere does not exist"));
  CHECK(world.reason(id).code == "policy-error");
}

TEST_CASE("quota and concurrency count what the pass has placed") {
  World world;
  world.agent("a", cpu("64"));
  KeypairPolicy policy;
  policy.name = PolicyName("p");
  policy.total_resource_slots = slots(cpu("10"));
  policy.max_concurrent_sessions = 2;
  world.user_policy(policy);
  const auto first = world.session(cpu("6")), over = world.session(cpu("6"));
  const auto second = world.session(cpu("4")), third = world.session(cpu("0"));
  CHECK(placed(world.plan()) == std::vector{first, second});
  CHECK(contains(world.reason(over).message, "cpu: used 6 + requested 6 > limit 10 (over by 2)"));
  CHECK(world.reason(third).code == "concurrency");
}

TEST_CASE("behind very many that have no room a session is reached, pass by pass") {
  PlanLimits limits;
  limits.steps_max = 100;
  limits.positions_max = 5;
  World world(builtin_policies(), limits);
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  for (int a = 0; a < 10; ++a) {
    world.agent("a" + std::to_string(a), {{"cpu", "8"}}, {{"cpu", "7"}});
  }
  std::vector<SessionId> blocked;
  for (int i = 0; i < 60; ++i) {
    blocked.push_back(world.session({{"cpu", "2." + std::to_string(100 + i)}}));
  }
  const auto fits = world.session(cpu("1"));
  CHECK(world.plan().placements.empty());
  // A new one is not behind those that were seen before.
  const auto urgent = world.session(cpu("1"), 20);
  const Plan second = world.plan();
  CHECK(placed(second) == std::vector{urgent});
  world.apply(second);
  std::size_t passes = 0;
  Plan plan = world.plan();
  const auto next = [&] {  // nothing has come in since
    Plan made = world.planner.plan(at_second(kNow), 7);
    for (const Explained& e : made.explained) world.reasons[e.session] = e.reason;
    return made;
  };
  for (; placed(plan).empty(); plan = next()) {
    REQUIRE(++passes < 30);
    REQUIRE(plan.wake_at.has_value());
    CHECK(*plan.wake_at > at_second(kNow));
    CHECK(*plan.wake_at <= at_second(kNow + 1));
  }
  CHECK(placed(plan) == std::vector{fits});
  CHECK(passes > 3);
  for (const auto& id : blocked) CHECK(world.reason(id).code == "capacity");
  CHECK(world.reason(blocked[3]).position == 4);
}

TEST_CASE("who was passed over is looked at again when an agent has changed") {
  PlanLimits limits;
  limits.steps_max = 10;
  World world(builtin_policies(), limits);
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  for (int a = 0; a < 10; ++a) {
    world.agent("a" + std::to_string(a), {{"cpu", "8"}}, {{"cpu", "8"}});
  }
  const auto head = world.session(cpu("2")), behind = world.session(cpu("3"));
  CHECK(world.plan().placements.empty());
  CHECK(world.reasons.at(head)->code == "capacity");
  CHECK(world.reason(behind).code == "behind-head");
  world.agent("b", {{"cpu", "2"}});
  CHECK(placed(world.plan()) == std::vector{head});
}

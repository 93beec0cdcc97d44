// Applying a plan that was made from an older version: one refusal never undoes another placement.
#include "harness.hpp"

namespace bai::test {

namespace {

// Three sessions, of which the plan wants the middle one on a2, where something has changed.
struct Stale {
  World w;
  std::vector<SessionId> ids;
  Plan plan;

  Stale() {
    for (const char* agent : {"a1", "a2", "a3"}) w.add_agent(agent, "4");
    for (const char* name : {"sess-1", "sess-2", "sess-3"})
      ids.push_back(w.create(World::request(name)));
    plan.placements = {w.placement(ids[0], {"a1"}), w.placement(ids[1], {"a2"}),
                       w.placement(ids[2], {"a3"})};
  }

  void check_middle_refused() {
    const auto outcome = w.plan(plan);
    CHECK(outcome.placed == 2);
    CHECK(outcome.refused == 1);
    CHECK(w.status(ids[0]) == SessionStatus::Creating);
    CHECK(w.status(ids[1]) == SessionStatus::Pending);
    CHECK(w.status(ids[2]) == SessionStatus::Creating);
    CHECK(w.agent("a2").occupied_slots.empty());
    CHECK(w.kernel(ids[1]).agent.empty());
    CHECK(w.take<CreateKernels>().size() == 2);
  }
};

}  // namespace

TEST_CASE("the agent has less than before") {
  Stale s;
  s.w.event("a2", World::beat("a2", "0.5"));
  s.check_middle_refused();
}
TEST_CASE("the agent is lost") {
  Stale s;
  s.w.event("a2", AgentTerminated{"agent-lost"});
  s.check_middle_refused();
}
TEST_CASE("the agent was never there") {
  Stale s;
  s.plan.placements[1].kernels[0].second = AgentId("nobody");
  s.check_middle_refused();
}
TEST_CASE("the agent takes no sessions any more") {
  Stale s;
  REQUIRE(s.w.ask(ModifyAgent{AgentId("a2"), false}, "system").has_value());
  s.check_middle_refused();
}
TEST_CASE("the agent belongs to another resource group now") {
  Stale s;
  s.w.load(R"({"resource_groups": [{"name": "other"}],
               "agents": [{"id": "a2", "resource_group": "other"}]})");
  s.check_middle_refused();
}
TEST_CASE("the agent is of another architecture now") {
  Stale s;
  AgentHeartbeat beat = World::beat("a2", "4");
  beat.info.architecture = "aarch64";
  s.w.event("a2", beat);
  s.check_middle_refused();
}
TEST_CASE("a device is not there, or gives less than the placement takes from it") {
  for (const std::uint32_t device : {0U, 2U}) {
    Stale s;
    s.w.load(R"({"agents": [{"id": "a2", "available_slots": {"cpu": "4", "mem": "16g",
                                                            "cuda.shares": "1.5"},
                             "devices": {"cuda.shares": ["0.5", "1"]}}]})");
    s.plan.placements[1].devices = {
        {s.plan.placements[1].kernels[0].first, "cuda.shares", device, Amount{750}}};
    s.check_middle_refused();
  }
}
TEST_CASE("a kernel of the placement is gone") {
  Stale s;
  s.plan.placements[1].kernels[0].first = KernelId{};
  s.check_middle_refused();
}
TEST_CASE("a kernel is missing in the placement") {
  Stale s;
  s.plan.placements[1].kernels.clear();
  s.check_middle_refused();
}
TEST_CASE("a kernel of another session is in the placement") {
  Stale s;
  s.plan.placements[1].kernels[0].first = s.plan.placements[0].kernels[0].first;
  s.check_middle_refused();
}
TEST_CASE("somebody else has taken the room, in the same plan or before it") {
  Stale s;
  CreateSession large = World::request("large");
  large.slots.set("cpu", Amount{4000});
  s.plan.placements.insert(s.plan.placements.begin(), s.w.placement(s.w.create(large), {"a2"}));
  const auto outcome = s.w.plan(s.plan);
  CHECK(outcome.placed == 3);
  CHECK(outcome.refused == 1);
  CHECK(s.w.status(s.ids[1]) == SessionStatus::Pending);
}
TEST_CASE("the quota shrank to what the first placement takes") {
  Stale s;
  s.w.set_policy(R"("max_concurrent_sessions": 1)");
  const auto outcome = s.w.plan(s.plan);
  CHECK(outcome.placed == 1);
  CHECK(outcome.refused == 2);
  CHECK(s.w.status(s.ids[0]) == SessionStatus::Creating);
}
TEST_CASE("a session that has ended or is gone is neither placed nor refused") {
  Stale s;
  s.w.terminate(s.ids[1]);
  s.plan.placements.push_back({SessionId{}, {}});
  const auto outcome = s.w.plan(s.plan);
  CHECK(outcome.placed == 2);
  CHECK(outcome.refused == 0);
}

TEST_CASE("two kernels on one agent need room for both") {
  World w;
  w.add_agent("a1", "3");
  CreateSession request = World::request("sess", kLocalImage, 2);
  request.slots.set("cpu", Amount{2000});
  const SessionId id = w.create(request);
  CHECK(w.place(id, {"a1"}).refused == 1);
  w.event("a1", World::beat("a1", "4"));
  CHECK(w.place(id, {"a1"}).placed == 1);
}

TEST_CASE("capacity that shrinks below use is legal, and admits nothing new") {
  World w;
  w.add_agent("a1", "4", "4g");
  const SessionId held = w.run(World::request("held"), {"a1"});
  const SessionId id = w.create(World::request("more"));
  w.event("a1", World::beat("a1", "4", "512m"));
  CHECK(w.place(id, {"a1"}).refused == 1);
  CHECK(w.status(held) == SessionStatus::Running);
  w.event("a1", World::beat("a1", "4", "2g"));
  CHECK(w.place(id, {"a1"}).placed == 1);
}

TEST_CASE("an explanation is for reading: history has one row for each new kind of reason") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.create(World::request("sess"));
  w.history.clear();
  const auto tell = [&](const char* code, std::int64_t position) {
    Plan plan;
    plan.explained.push_back({id, std::make_shared<PendingReason>(PendingReason{
                                      code, std::string("why: ") + code, {}, position})});
    w.plan(plan);
  };
  tell("capacity", 1);
  CHECK(w.session(id).pending_reason->code == "capacity");
  tell("capacity", 2);
  CHECK(w.session(id).pending_reason->position == 2);
  CHECK(w.history.size() == 1);
  w.now = w.now + seconds(1);
  tell("quota", 1);
  REQUIRE(w.history.size() == 2);
  CHECK(w.history[1].error_code == "quota");
  CHECK(w.history[1].message == "why: quota");
  CHECK(w.history[1].result == SchedulingResult::NeedRetry);
  w.restart();
  REQUIRE(w.session(id).pending_reason != nullptr);
  CHECK(w.session(id).pending_reason->message == "why: quota");
  tell("quota", 1);
  CHECK(w.history.size() == 2);  // the same reason is not written down again
  w.place(id, {"a1"});
  CHECK(w.session(id).pending_reason == nullptr);
  tell("capacity", 1);  // it waits no more
  CHECK(w.session(id).pending_reason == nullptr);
}

}  // namespace bai::test

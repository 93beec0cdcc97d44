// RESERVED sessions and those that leave for them: conformance G6-G8, and every way that it ends.
#include "harness.hpp"

namespace bai::test {

namespace {

struct Contested {
  World w;

  // Agent a1 with 8 cpu; victims of 4 cpu each; the next session is to take their place.
  explicit Contested(const char* mode = "terminate") {
    w.add_agent("a1", "8");
    w.load(std::string(R"({"resource_groups": [{"name": "default", "policy_options":
              {"preemption": {"enabled": true, "mode": ")") +
           mode + R"("}}}]})");
  }
  static CreateSession request(const std::string& name, std::int64_t cpu) {
    CreateSession request = World::request(name);
    request.slots.set("cpu", Amount{cpu * 1000});
    return request;
  }
  SessionId victim(const std::string& name) { return w.run(request(name, 4), {"a1"}); }
  core::PlanOutcome evict(const SessionId& session, const std::vector<SessionId>& victims) {
    Placement placement = w.placement(session, {"a1"});
    placement.victims = victims;
    Plan plan;
    plan.placements = {placement};
    return w.plan(plan);
  }
  void gone(const SessionId& session) {
    for (const auto& kernel : w.kernels(session)) {
      w.event("a1", KernelTerminated{kernel->id, session, "user-requested", 0, ""});
    }
  }
  std::string cpu(const SlotMap& slots) const {
    return format_amount(SlotType::Count, slots.get("cpu"));
  }
  std::string reserved() const { return cpu(w.agent("a1").prereserved_slots); }
  std::string held() const { return cpu(w.agent("a1").occupied_slots); }
  std::vector<std::string> phases(const SessionId& id) const {
    std::vector<std::string> found;
    for (const History& row : w.history) {
      if (row.subject == to_string(id)) found.push_back(row.from_status + ">" + row.to_status);
    }
    return found;
  }
};

}  // namespace

TEST_CASE("G6 what is pre-reserved overlaps with what victims still hold") {
  Contested c;
  const auto v1 = c.victim("victim-1"), v2 = c.victim("victim-2");
  const auto id = c.w.create(Contested::request("winner", 4));
  CHECK(c.evict(id, {v1}).placed == 1);
  CHECK(c.reserved() == "4");
  CHECK(c.held() == "8");
  CHECK(c.w.status(id) == SessionStatus::Reserved);
  CHECK(c.w.kernel_status(id) == KernelStatus::Reserved);
  CHECK(c.w.session(id).status_info == "waits for 1 session to leave");
  CHECK(c.w.status(v1) == SessionStatus::Terminating);
  CHECK(c.w.session(v1).status_info == "PREEMPTED_BY_SCHEDULER");
  CHECK(c.w.status(v2) == SessionStatus::Running);
  CHECK(c.w.take<CreateKernels>().size() == 2);  // of the victims
  CHECK(c.w.take<DestroyKernel>().size() == 1);
}

TEST_CASE("G7 what victims free is admitted") {
  Contested c;
  const auto v1 = c.victim("victim-1");
  c.victim("victim-2");
  const auto id = c.w.create(Contested::request("winner", 4));
  REQUIRE(c.evict(id, {v1}).placed == 1);
  c.w.take<CreateKernels>();
  c.gone(v1);
  CHECK(c.reserved() == "0");
  CHECK(c.held() == "8");
  CHECK(c.w.status(v1) == SessionStatus::Terminated);
  CHECK(c.w.status(id) == SessionStatus::Creating);  // a local image: nothing to prepare
  CHECK(c.w.take<CreateKernels>().size() == 1);
  c.w.started(id);
  CHECK(c.w.status(id) == SessionStatus::Running);
  const std::vector<std::string> expected = {"PENDING>RESERVED", "RESERVED>SCHEDULED"};
  const auto phases = c.phases(id);
  CHECK(std::ranges::search(phases, expected).begin() != phases.end());
}

TEST_CASE("G8 the first that was reserved is admitted first") {
  Contested c;
  const auto v1 = c.victim("victim-1"), v2 = c.victim("victim-2");
  const auto first = c.w.create(Contested::request("first", 4));
  const auto second = c.w.create(Contested::request("second", 4));
  REQUIRE(c.evict(first, {v1}).placed == 1);
  c.w.now = c.w.now + seconds(1);
  REQUIRE(c.evict(second, {v2}).placed == 1);
  CHECK(c.reserved() == "8");
  c.gone(v2);
  CHECK(c.w.status(first) == SessionStatus::Creating);
  CHECK(c.w.status(second) == SessionStatus::Reserved);
  CHECK(c.reserved() == "4");
  c.gone(v1);
  CHECK(c.w.status(second) == SessionStatus::Creating);
  CHECK(c.held() == "8");
}

TEST_CASE("nobody passes one that was reserved earlier, however small") {
  Contested c;
  const auto v1 = c.victim("victim-1"), v2 = c.victim("victim-2");
  const auto large = c.w.create(Contested::request("large", 8));
  const auto small = c.w.create(Contested::request("small", 1));
  REQUIRE(c.evict(large, {v1, v2}).placed == 1);
  c.gone(v1);
  CHECK(c.w.place(small, {"a1"}).refused == 1);
  CHECK(c.w.status(large) == SessionStatus::Reserved);
  c.gone(v2);
  CHECK(c.w.status(large) == SessionStatus::Creating);
}

TEST_CASE("a rescheduled victim waits again, under a new kernel id, once it is gone") {
  Contested c("reschedule");
  const auto v1 = c.victim("victim-1");
  c.victim("victim-2");
  const KernelId old = c.w.kernel(v1).id;
  const auto id = c.w.create(Contested::request("winner", 4));
  REQUIRE(c.evict(id, {v1}).placed == 1);
  CHECK(c.w.status(v1) == SessionStatus::Rescheduling);
  CHECK(c.w.take<DestroyKernel>().size() == 1);
  c.gone(v1);
  CHECK(c.w.status(v1) == SessionStatus::Pending);
  CHECK(c.w.session(v1).status_info == "RESCHEDULED");
  CHECK(c.w.session(v1).status_data["preempted_by"].as_string() == to_string(id));
  CHECK(c.w.kernel(v1).id != old);
  CHECK(c.w.status(id) == SessionStatus::Creating);
  const std::vector<std::string> expected = {"RUNNING>PREEMPTED", "RESCHEDULING>PENDING"};
  const auto phases = c.phases(v1);
  CHECK(std::ranges::search(phases, expected).begin() != phases.end());
  // Its next run is like any other.
  c.w.terminate(id, true);
  REQUIRE(c.w.place(v1, {"a1"}).placed == 1);
  c.w.started(v1);
  CHECK(c.w.status(v1) == SessionStatus::Running);
  CHECK(c.w.session(v1).status_data.find("preempted_by") == nullptr);
}

TEST_CASE("a batch that ends while it is to be rescheduled has ended") {
  Contested c("reschedule");
  CreateSession request = World::batch("job-1");
  request.slots.set("cpu", Amount{8000});
  const auto job = c.w.run(request, {"a1"});
  const auto id = c.w.create(Contested::request("winner", 4));
  REQUIRE(c.evict(id, {job}).placed == 1);
  c.w.event("a1", BatchFinished{job, true, "task-finished", 0});
  c.gone(job);
  CHECK(c.w.status(job) == SessionStatus::Terminated);
  CHECK(c.w.session(job).result == SessionResult::Success);
  CHECK(c.w.status(id) == SessionStatus::Creating);
}

TEST_CASE("victims that do not leave in time") {
  for (const char* mode : {"terminate", "reschedule"}) {
    Contested c(mode);
    const auto v1 = c.victim("victim-1");
    c.victim("victim-2");
    const auto id = c.w.create(Contested::request("winner", 4));
    REQUIRE(c.evict(id, {v1}).placed == 1);
    // Its agent says nothing: after the time for it the victim is gone here, its destruction owed.
    for (int i = 0; i < 40 && c.w.status(id) == SessionStatus::Reserved; ++i) {
      c.w.event("a1", World::beat("a1", "8"));
      c.w.advance(seconds(10));
    }
    CHECK(c.w.status(id) == SessionStatus::Creating);
    CHECK(c.w.operations().size() == 1);
  }
}

TEST_CASE("a reservation that leads to nothing is given back in time") {
  Contested c;
  c.w.options.terminate_timeout = seconds(3000);
  const auto v1 = c.victim("victim-1"), v2 = c.victim("victim-2");
  const auto id = c.w.create(Contested::request("winner", 4));
  REQUIRE(c.evict(id, {v1}).placed == 1);
  for (int i = 0; i < 62; ++i) {
    c.w.event("a1", World::beat("a1", "8"));
    c.w.advance(seconds(10));
  }
  CHECK(c.w.status(id) == SessionStatus::Pending);
  CHECK(c.reserved() == "0");
  CHECK(c.w.status(v1) == SessionStatus::Terminating);
  CHECK(c.w.status(v2) == SessionStatus::Running);
}

TEST_CASE("a reserved session that its owner ends gives everything back") {
  Contested c;
  const auto v1 = c.victim("victim-1");
  const auto id = c.w.create(Contested::request("winner", 8));
  const auto v2 = c.victim("victim-2");
  REQUIRE(c.evict(id, {v1, v2}).placed == 1);
  c.w.terminate(id);
  CHECK(is_terminal(c.w.status(id)));
  CHECK(c.reserved() == "0");
  c.gone(v1);
  c.gone(v2);
  CHECK(c.held() == "0");
}

TEST_CASE("a plan whose victims have changed is refused") {
  Contested c;
  const auto v1 = c.victim("victim-1"), v2 = c.victim("victim-2");
  const auto id = c.w.create(Contested::request("winner", 4));
  SUBCASE("ended") {
    c.gone(v1);
    CHECK(c.evict(id, {v1}).refused == 1);
    CHECK(c.w.place(id, {"a1"}).placed == 1);
  }
  SUBCASE("of another plan already") {
    const auto other = c.w.create(Contested::request("other", 4));
    REQUIRE(c.evict(other, {v1}).placed == 1);
    CHECK(c.evict(id, {v1}).refused == 1);
  }
  SUBCASE("not enough") {
    const auto large = c.w.create(Contested::request("large", 8));
    CHECK(c.evict(large, {v1}).refused == 1);
    CHECK(c.w.status(v1) == SessionStatus::Running);
  }
  SUBCASE("unknown") { CHECK(c.evict(id, {SessionId{}}).refused == 1); }
  CHECK(c.w.status(v2) == SessionStatus::Running);
}

TEST_CASE("room that is kept for a reserved session is nobody else's") {
  Contested c;
  const auto v1 = c.victim("victim-1");
  const auto id = c.w.create(Contested::request("winner", 8));
  const auto v2 = c.victim("victim-2");
  REQUIRE(c.evict(id, {v1, v2}).placed == 1);
  c.gone(v1);
  CHECK(c.held() == "4");
  const auto other = c.w.create(Contested::request("other", 4));
  CHECK(c.w.place(other, {"a1"}).refused == 1);
}

TEST_CASE("after a restart the reserved go on waiting") {
  for (const char* mode : {"terminate", "reschedule"}) {
    Contested c(mode);
    const auto v1 = c.victim("victim-1");
    c.victim("victim-2");
    const auto id = c.w.create(Contested::request("winner", 4));
    REQUIRE(c.evict(id, {v1}).placed == 1);
    c.w.restart();
    CHECK(c.reserved() == "4");
    CHECK(c.w.status(id) == SessionStatus::Reserved);
    c.gone(v1);
    CHECK(c.w.status(id) == SessionStatus::Creating);
  }
}

TEST_CASE("an agent that is lost for good gives up its reserved sessions") {
  Contested c;
  const auto v1 = c.victim("victim-1");
  c.victim("victim-2");
  const auto id = c.w.create(Contested::request("winner", 4));
  REQUIRE(c.evict(id, {v1}).placed == 1);
  c.w.advance(c.w.options.agent_timeout + c.w.options.lost_grace + seconds(1));
  CHECK(c.w.status(id) == SessionStatus::Pending);
  CHECK(c.reserved() == "0");
  CHECK(is_terminal(c.w.status(v1)));
}

TEST_CASE("quota that was lent is granted again when borrowers have left") {
  Contested c;
  c.w.load(R"({"projects": [
    {"id": "00000000-0000-0000-0000-0000000000a1", "cohort": "c",
     "total_resource_slots": {"cpu": "4"}}]})");
  const auto own = c.victim("own-1");
  CHECK(c.w.place(c.w.create(Contested::request("more-1", 1)), {"a1"}).refused == 1);
  // Its own session leaves for it: within the quota again only when that has left.
  const auto id = c.w.create(Contested::request("next-1", 4));
  REQUIRE(c.evict(id, {own}).placed == 1);
  CHECK(c.w.status(id) == SessionStatus::Reserved);  // although the agent has room
  c.gone(own);
  CHECK(c.w.status(id) == SessionStatus::Creating);
}

}  // namespace bai::test

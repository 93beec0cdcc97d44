// How failures are classified: conformance cases H13 to H23 and H28. An attempt is an action that
// failed, not a pass of the scheduler.
#include <limits>

#include "harness.hpp"

namespace bai::test {

namespace {

struct Failing {
  World w;
  SessionId id;

  explicit Failing(CreateSession request = World::request("sess")) {
    w.options.attempts_max = 5;
    w.add_agent("a1");
    id = w.create(request);
    w.history.clear();
  }
  void fail_once() {
    REQUIRE(w.place(id, {"a1"}).placed == 1);
    w.refuse(w.take_one<CreateKernels>(), "RuntimeError");
  }
  void skip_once(std::int64_t position = 1) {
    Plan plan;
    plan.explained.push_back(
        {id, std::make_shared<PendingReason>(PendingReason{"capacity", "no room", {}, position})});
    w.plan(plan);
  }
  // Rows of failures, without the successes of placing.
  std::vector<History> failures() const {
    std::vector<History> rows;
    for (const History& row : w.history) {
      if (row.result != SchedulingResult::Success) rows.push_back(row);
    }
    return rows;
  }
};

}  // namespace

TEST_CASE("H13: the last attempt there is gives the session up") {
  Failing f;
  for (int i = 0; i < 4; ++i) f.fail_once();
  CHECK(f.w.status(f.id) == SessionStatus::Pending);
  CHECK(f.failures().back().result == SchedulingResult::NeedRetry);
  f.fail_once();
  CHECK(f.failures().back().result == SchedulingResult::GiveUp);
  CHECK(f.w.status(f.id) == SessionStatus::Cancelled);
}

TEST_CASE("H14: time that is over ends the session although attempts are left") {
  Failing f;
  f.w.load(R"({"resource_groups": [{"name": "default", "pending_timeout": 900}]})");
  for (int i = 0; i < 4; ++i) f.fail_once();
  CHECK(f.w.session(f.id).deadline == f.w.now + seconds(900));
  f.w.event("a1", World::beat("a1"));
  f.w.advance(seconds(1200));
  CHECK(f.w.status(f.id) == SessionStatus::Cancelled);
  CHECK(f.w.session(f.id).status_info == "pending-timeout");
  CHECK(f.failures().back().result == SchedulingResult::Expired);
}

TEST_CASE("H16: giving up comes before expiring") {
  Failing f;
  for (int i = 0; i < 4; ++i) f.fail_once();
  REQUIRE(f.w.place(f.id, {"a1"}).placed == 1);
  f.w.options.agent_timeout = seconds(100'000);
  f.w.event("a1", World::beat("a1"));
  f.w.advance(f.w.options.create_timeout);
  CHECK(f.failures().back().result == SchedulingResult::GiveUp);
  CHECK(f.w.status(f.id) == SessionStatus::Cancelled);
  CHECK(f.w.session(f.id).status_info.starts_with("5 attempts failed"));
}

TEST_CASE("H17: what was skipped is no attempt") {
  Failing f;
  for (int i = 1; i <= 99; ++i) f.skip_once(i);
  CHECK(f.w.session(f.id).attempts == 0);
  f.fail_once();
  CHECK(f.w.status(f.id) == SessionStatus::Pending);
  CHECK(f.w.session(f.id).attempts == 1);
  CHECK(f.failures().back().result == SchedulingResult::NeedRetry);
}

TEST_CASE("H19: without a limit in sight it is tried again, after any number of attempts") {
  Failing f;
  f.w.options.attempts_max = std::numeric_limits<std::uint32_t>::max();
  f.w.is_stored = false;
  f.w.put_session(f.id, [](Session& s) { s.attempts = 999; });
  f.fail_once();
  CHECK(f.w.status(f.id) == SessionStatus::Pending);
  CHECK(f.w.session(f.id).attempts == 1000);
  CHECK(f.failures().back().result == SchedulingResult::NeedRetry);
}

TEST_CASE("H20: of three that move on together one may be kept") {
  World w;  // no hooks here; what can fail for one alone is its placement
  w.add_agent("a1", "2");
  std::vector<SessionId> ids;
  Plan plan;
  for (const char* name : {"sess-1", "sess-2", "sess-3"}) {
    ids.push_back(w.create(World::request(name)));
    plan.placements.push_back(w.placement(ids.back(), {"a1"}));
  }
  const auto outcome = w.plan(plan);
  CHECK(outcome.placed == 2);
  CHECK(outcome.refused == 1);
  CHECK(w.status(ids[0]) == SessionStatus::Creating);
  CHECK(w.status(ids[1]) == SessionStatus::Creating);
  CHECK(w.status(ids[2]) == SessionStatus::Pending);
}

TEST_CASE("H22: rows next to each other of one phase, code and status are one row") {
  Failing f;
  for (int i = 0; i < 5; ++i) f.fail_once();
  for (std::size_t i = 1; i < f.w.history.size(); ++i) {
    const History &last = f.w.history[i - 1], &row = f.w.history[i];
    const bool is_same = last.phase == row.phase && last.error_code == row.error_code &&
                         last.to_status == row.to_status;
    CHECK_FALSE(is_same);  // an attempt is preceded by the placement that led to it
  }
  const auto rows = f.failures();
  REQUIRE(rows.size() == 5);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CHECK(rows[i].phase == "start-sessions");
    CHECK(rows[i].attempts == static_cast<std::int64_t>(i) + 1);
    CHECK(rows[i].result == (i < 4 ? SchedulingResult::NeedRetry : SchedulingResult::GiveUp));
  }
  // Skips do follow each other.
  Failing waiting;
  for (int i = 1; i <= 9; ++i) waiting.skip_once(i);
  CHECK(waiting.failures().size() == 1);
}

TEST_CASE("H23: attempts and skips are rows apart") {
  Failing f;
  f.fail_once();
  f.skip_once();
  f.skip_once();  // of the same kind: no row
  f.fail_once();
  const auto rows = f.failures();
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].phase == "start-sessions");
  CHECK(rows[1].phase == "schedule-sessions");
  CHECK(rows[1].error_code == "capacity");
  CHECK(rows[2].phase == "start-sessions");
}

TEST_CASE("H28: what is DEPRIORITIZING loses 10 of its priority, down to 0, and is PENDING again") {
  for (const auto& [before, after] : {std::pair{25, 15}, std::pair{8, 0}, std::pair{0, 0}}) {
    CreateSession request = World::request("sess");
    request.priority = before;
    Failing f(request);
    f.w.is_stored = false;  // a row of the reference system: nothing here leads to this status
    f.w.put_session(f.id, [&](Session& s) {
      s.status = SessionStatus::Deprioritizing;
      s.deadline = f.w.now + seconds(60);
    });
    f.w.input([](core::Context& ctx) { core::on_resume(ctx); });  // a start
    CHECK(f.w.session(f.id).priority == after);
    CHECK(f.w.status(f.id) == SessionStatus::Pending);
    CHECK(f.w.session(f.id).deadline == Timestamp{});
    CHECK(f.w.history.back().phase == "deprioritize-sessions");
  }
}

TEST_CASE("a session that finds no room, or fails to start, keeps its priority") {
  CreateSession request = World::request("sess");
  request.priority = 25;
  Failing f(request);
  f.skip_once();
  f.fail_once();
  CHECK(f.w.session(f.id).priority == 25);
  CHECK(f.w.status(f.id) == SessionStatus::Pending);
}

TEST_CASE("history of one instant is read back as it was written, also when a start lies between") {
  Failing f;
  f.fail_once();
  f.fail_once();
  f.w.restart();
  f.w.now = f.w.now - milliseconds(5);  // the clock was put back meanwhile
  f.fail_once();
  f.fail_once();
  std::vector<HistoryId> written, stored;
  for (const History& row : f.w.history) written.push_back(row.id);
  const auto rows = f.w.stored_history(f.id);
  for (const auto& row : rows) stored.push_back(row->id);
  CHECK(stored == written);
  for (std::size_t i = 1; i < rows.size(); ++i) {
    CHECK(rows[i]->created_at > rows[i - 1]->created_at);
  }
}

}  // namespace bai::test

// Batch sessions: the trigger that must not be sent twice, and what becomes of the result.
#include "harness.hpp"

namespace bai::test {

namespace {

// An agent of our own kind, which refuses a repeated trigger instead of running the command again.
void add_own_agent(World& w, const char* id) {
  AgentHeartbeat beat = World::beat(id);
  beat.info.version = "bai-0.1.0";
  REQUIRE(w.event(id, beat));
}

}  // namespace

TEST_CASE("a batch is triggered once it runs, recorded as sent before it is sent") {
  World w;
  w.add_agent("a1");
  CreateSession request = World::batch("job-1", "echo hi");
  request.batch_timeout = seconds(90);
  const SessionId id = w.run(request, {"a1"});
  CHECK(w.session(id).batch_triggered);
  const auto command = w.take_one<TriggerBatch>();
  const auto& trigger = std::get<TriggerBatch>(command.request);
  CHECK(trigger.session == id);
  CHECK(trigger.kernel == w.kernel(id).id);
  CHECK(trigger.command == "echo hi");
  CHECK(trigger.timeout == seconds(90));
  w.accept(command);
  CHECK(w.session(id).retry_at.ns == 0);
  w.advance(w.options.recheck_interval * 2);
  CHECK(w.take<TriggerBatch>().empty());
}

TEST_CASE("success and failure of a batch end the session with the result and the exit code") {
  struct Case {
    BatchFinished event;
    SessionResult result;
    const char* info;
  };
  for (const Case& c :
       {Case{{{}, true, "task-finished", 0}, SessionResult::Success, "task-finished"},
        Case{{{}, true, "", 0}, SessionResult::Success, "task-finished"},
        Case{{{}, false, "unknown", 3}, SessionResult::Failure, "task-failed"},
        Case{{{}, false, "task-timeout", 137}, SessionResult::Failure, "task-timeout"}}) {
    World w;
    w.add_agent("a1");
    const SessionId id = w.run(World::batch("job-1"), {"a1"});
    BatchFinished event = c.event;
    event.session = id;
    CHECK(w.event("a1", event));
    CHECK(w.status(id) == SessionStatus::Terminating);
    CHECK(w.session(id).result == c.result);
    CHECK(w.session(id).status_info == c.info);
    CHECK(w.session(id).status_data["kernel"]["exit_code"].as_int() == event.exit_code);
    // The first outcome stands.
    event.success = !event.success;
    CHECK_FALSE(w.event("a1", event));
    CHECK(w.session(id).result == c.result);
    w.accept(w.take_one<DestroyKernel>());
    CHECK(w.status(id) == SessionStatus::Terminated);
    CHECK(w.kernel(id).exit_code == event.exit_code);  // of the command, not of the kernel's end
  }
}

TEST_CASE(
    "an outcome is taken from the main kernel's agent, of batch sessions, after the trigger") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  const SessionId plain = w.run(World::request("plain"), {"a1"});
  CHECK_FALSE(w.event("a1", BatchFinished{plain, true, "", 0}));
  CHECK(w.status(plain) == SessionStatus::Running);
  const SessionId early = w.creating(World::batch("early"), {"a1"});
  CHECK_FALSE(w.event("a1", BatchFinished{early, true, "", 0}));
  CHECK(w.session(early).result == SessionResult::Undefined);
  w.started(early);
  CHECK_FALSE(w.event("a2", BatchFinished{early, true, "", 0}));
  CHECK(w.event("a1", BatchFinished{early, true, "", 0}));
}

TEST_CASE("a kernel that ends without an outcome fails its batch") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::batch("job-1"), {"a1"});
  w.event("a1", KernelTerminated{w.kernel(id).id, id, "self-terminated", 1, ""});
  CHECK(w.status(id) == SessionStatus::Terminated);
  CHECK(w.session(id).result == SessionResult::Failure);
}

TEST_CASE("a refused trigger fails the batch") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::batch("job-1"), {"a1"});
  w.refuse(w.take_one<TriggerBatch>(), "ValueError", "no shell");
  CHECK(w.status(id) == SessionStatus::Terminating);
  CHECK(w.session(id).status_info == "failed-to-start");
  CHECK(w.session(id).result == SessionResult::Failure);
  CHECK(w.session(id).status_data["error"]["repr"].as_string() == "no shell");
}

TEST_CASE("a trigger that the network has doubled is refused once, and means nothing") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::batch("job-1"), {"a1"});
  w.refuse(w.take_one<TriggerBatch>(), "RuntimeError", "the batch is under way already");
  CHECK(w.status(id) == SessionStatus::Running);
  CHECK(w.session(id).result == SessionResult::Undefined);
}

TEST_CASE("a lost trigger is repeated on agents that refuse repeats, and nowhere else") {
  SUBCASE("an agent that might run it twice") {
    World w;
    w.options.agent_timeout = seconds(100'000);
    w.add_agent("a1");
    const SessionId id = w.run(World::batch("job-1"), {"a1"});
    w.lose(w.take_one<TriggerBatch>());
    w.advance(w.options.recheck_interval * 4);
    CHECK(w.take<TriggerBatch>().empty());
    CHECK(w.status(id) == SessionStatus::Running);
    CHECK_FALSE(w.take<CheckRunning>().empty());  // but its kernel is asked about
  }
  SUBCASE("one of our own: it had arrived") {
    World w;
    w.options.agent_timeout = seconds(100'000);
    add_own_agent(w, "a1");
    const SessionId id = w.run(World::batch("job-1"), {"a1"});
    w.lose(w.take_one<TriggerBatch>());
    w.advance(w.options.recheck_interval);
    const auto repeat = w.take_one<TriggerBatch>();
    CHECK(repeat.errand.repeat);
    w.refuse(repeat, "RuntimeError", "the batch is under way already");
    CHECK(w.status(id) == SessionStatus::Running);
    CHECK(w.session(id).result == SessionResult::Undefined);
    CHECK(w.session(id).retry_at.ns == 0);
  }
  SUBCASE("one of our own: it is lost again and again") {
    World w;
    w.options.agent_timeout = seconds(100'000);
    add_own_agent(w, "a1");
    const SessionId id = w.run(World::batch("job-1"), {"a1"});
    for (int i = 0; i < 5; ++i) {
      w.lose(w.take_one<TriggerBatch>());
      w.advance(w.options.recheck_interval);
    }
    w.accept(w.take_one<TriggerBatch>());
    CHECK(w.session(id).retry_at.ns == 0);
  }
}

TEST_CASE("the answer to a trigger of an earlier run says nothing about the present one") {
  World w;
  w.options.agent_timeout = seconds(40);
  add_own_agent(w, "a1");
  add_own_agent(w, "a2");
  CreateSession request = World::batch("job-1");
  request.resource_opts.set("restartable", true);
  const SessionId id = w.run(request, {"a1"});
  const auto first = w.take_one<TriggerBatch>();
  for (int i = 0; i < 12; ++i) {  // a1 is silent until it is given up
    w.advance(seconds(10));
    w.event("a2", World::beat("a2"));
  }
  REQUIRE(w.status(id) == SessionStatus::Pending);
  CHECK_FALSE(w.session(id).batch_triggered);
  w.commands.clear();
  w.place(id, {"a2"});
  w.started(id);
  CHECK(w.take<TriggerBatch>().size() == 1);
  const Timestamp recheck = w.session(id).retry_at;
  CHECK(recheck.ns != 0);
  w.accept(first);
  CHECK(w.session(id).retry_at == recheck);
  w.refuse(first, "RuntimeError");
  CHECK(w.status(id) == SessionStatus::Running);
}

TEST_CASE(
    "a batch that its user ends first keeps no result, unless the outcome comes before the end") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::batch("job-1"), {"a1"});
  w.terminate(id);
  CHECK(w.event("a1", BatchFinished{id, false, "task-cancelled", 130}));
  CHECK(w.session(id).result == SessionResult::Failure);
  CHECK(w.session(id).status_info == "user-requested");
  CHECK(w.take<DestroyKernel>().size() == 1);
}

}  // namespace bai::test

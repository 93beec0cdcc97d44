// Starts that fail: tried again elsewhere, with pauses, until given up; deadlines; doubtful
// answers.
#include "harness.hpp"

namespace bai::test {

namespace {

std::vector<KernelId> kernel_ids(const World& w, const SessionId& id) {
  std::vector<KernelId> ids;
  for (const auto& kernel : w.kernels(id)) ids.push_back(kernel->id);
  return ids;
}

}  // namespace

TEST_CASE(
    "a refused creation: the kernels are new, the agent is remembered, and it waits a while") {
  World w;
  for (const char* agent : {"a1", "a2"}) w.add_agent(agent);
  const SessionId id = w.creating(World::request("sess", kLocalImage, 2), {"a1", "a2"});
  const auto old = kernel_ids(w, id);
  const auto creates = w.take<CreateKernels>();
  REQUIRE(creates.size() == 2);
  w.refuse(creates[0], "InsufficientResource", "cpu");
  const Session& session = w.session(id);
  CHECK(session.status == SessionStatus::Pending);
  CHECK(session.attempts == 1);
  CHECK(session.failed_agents == std::vector<std::string>{"a1"});
  CHECK(session.status_info == "agent a1: InsufficientResource: cpu");
  CHECK(session.retry_at == w.now + w.options.retry_backoff);
  CHECK(session.status_data["error"]["repr"].as_string() == session.status_info);
  CHECK(w.user_usage().pending_sessions == 1);
  for (const char* agent : {"a1", "a2"}) CHECK(w.agent(agent).occupied_slots.empty());
  for (const KernelId& kernel : kernel_ids(w, id)) {
    CHECK(std::find(old.begin(), old.end(), kernel) == old.end());
  }
  CHECK(w.kernel(id).cluster_hostname == "main1");
  CHECK(w.kernel(id, 1).cluster_hostname == "sub1");
  REQUIRE_FALSE(w.history.empty());
  CHECK(w.history.back().phase == "start-sessions");
  CHECK(w.history.back().from_status == "CREATING");
  CHECK(w.history.back().to_status == "PENDING");
  CHECK(w.history.back().result == SchedulingResult::NeedRetry);
  // Both may exist: the refused one partly, the other one wholly.
  CHECK(w.operations().size() == 2);
  CHECK(w.take<DestroyKernel>().size() == 2);
  // The other agent's answer is about kernels that are gone.
  w.accept(creates[1]);
  CHECK(w.status(id) == SessionStatus::Pending);
  CHECK(w.session(id).attempts == 1);
  CHECK(w.operations().size() == 3);  // its creation may have come after the destroy
}

TEST_CASE("a pause between attempts doubles up to sixteen times, and ends by itself") {
  World w;
  w.options.attempts_max = 10;
  w.add_agent("a1");
  const SessionId id = w.create(World::request("sess"));
  for (const std::int64_t factor : {1, 2, 4, 8, 16, 16, 16}) {
    REQUIRE(w.place(id, {"a1"}).placed == 1);
    w.refuse(w.take_one<CreateKernels>(), "RuntimeError");
    CHECK(w.session(id).retry_at == w.now + w.options.retry_backoff * factor);
    w.event("a1", World::beat("a1"));
    w.advance(w.options.retry_backoff * factor - nanoseconds(1));
    CHECK(w.session(id).retry_at.ns != 0);
    w.advance(nanoseconds(1));
    CHECK(w.session(id).retry_at.ns == 0);
    w.event("a1", World::beat("a1"));
  }
}

TEST_CASE("after the last attempt the session is given up with the reason") {
  World w;
  w.options.attempts_max = 3;
  for (const char* agent : {"a1", "a2", "a3"}) w.add_agent(agent);
  CreateSession request = World::batch("sess");
  const SessionId id = w.create(request);
  for (const char* agent : {"a1", "a2", "a3"}) {
    CHECK(w.status(id) == SessionStatus::Pending);
    REQUIRE(w.place(id, {agent}).placed == 1);
    w.refuse(w.take_one<CreateKernels>(), "RuntimeError", std::string("broken ") + agent);
  }
  const Session& session = w.session(id);
  CHECK(session.status == SessionStatus::Cancelled);
  CHECK(session.status_info == "3 attempts failed: agent a3: RuntimeError: broken a3");
  CHECK(session.failed_agents == std::vector<std::string>{"a1", "a2", "a3"});
  CHECK(session.result == SessionResult::Failure);
  CHECK(session.retry_at.ns == 0);
  CHECK(w.kernel_status(id) == KernelStatus::Cancelled);
  CHECK(w.history.back().result == SchedulingResult::GiveUp);
  CHECK(w.history.back().to_status == "CANCELLED");
  CHECK(w.user_usage().pending_sessions == 0);
  CHECK(w.operations().size() == 3);
}

TEST_CASE("given up while another kernel runs already: that one has ended, not been cancelled") {
  World w;
  w.options.attempts_max = 1;
  for (const char* agent : {"a1", "a2"}) w.add_agent(agent);
  const SessionId id = w.creating(World::request("sess", kLocalImage, 2), {"a1", "a2"});
  KernelStarted body;
  body.kernel = w.kernel(id, 1).id;
  body.session = id;
  w.event("a2", body);
  const auto creates = w.take<CreateKernels>();
  w.refuse(creates[0], "RuntimeError");
  CHECK(w.status(id) == SessionStatus::Cancelled);
  CHECK(w.kernel_status(id, 0) == KernelStatus::Cancelled);
  CHECK(w.kernel_status(id, 1) == KernelStatus::Terminated);
  CHECK(w.operations().size() == 2);
  CHECK(w.agent("a2").occupied_slots.empty());
}

TEST_CASE("an agent that fails twice stands once, last, among the failed ones") {
  World w;
  for (const char* agent : {"a1", "a2"}) w.add_agent(agent);
  const SessionId id = w.create(World::request("sess"));
  for (const char* agent : {"a1", "a2", "a1"}) {
    w.place(id, {agent});
    w.refuse(w.take_one<CreateKernels>(), "RuntimeError");
  }
  CHECK(w.session(id).failed_agents == std::vector<std::string>{"a2", "a1"});
  w.place(id, {"a1"});
  w.started(id);
  CHECK(w.session(id).attempts == 0);  // it runs: the count begins anew
  CHECK(w.session(id).failed_agents.empty());
}

TEST_CASE("a refused image check fails the attempt; one about an earlier attempt does not") {
  World w;
  for (const char* agent : {"a1", "a2", "a3"}) w.add_agent(agent);
  const SessionId id = w.preparing(World::request("sess", kRemoteImage, 2), {"a1", "a2"});
  const auto old = kernel_ids(w, id);
  const auto checks = w.take<CheckAndPull>();
  REQUIRE(checks.size() == 2);
  w.refuse(checks[0], "RuntimeError", "registry");
  CHECK(w.status(id) == SessionStatus::Pending);
  CHECK(w.session(id).attempts == 1);
  CHECK(w.history.back().phase == "check-precondition");
  CHECK(w.operations().empty());    // nothing was created
  CHECK(kernel_ids(w, id) == old);  // so the kernels are the same
  w.place(id, {"a1", "a3"});
  w.refuse(checks[1], "RuntimeError");  // a2 answers at last
  CHECK(w.status(id) == SessionStatus::Preparing);
  CHECK(w.session(id).attempts == 1);
}

TEST_CASE("an image check without an answer is sent again") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.preparing(World::request("sess"), {"a1"});
  w.lose(w.take_one<CheckAndPull>());
  CHECK(w.status(id) == SessionStatus::Preparing);
  w.advance(w.options.retry_backoff);
  w.accept(w.take_one<CheckAndPull>());
  w.advance(w.options.recheck_interval);  // no event has come
  CHECK(w.take<CheckAndPull>().size() == 1);
  CHECK(w.session(id).attempts == 0);
}

TEST_CASE("a creation of unknown outcome is asked about, and never sent again") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.creating(World::request("sess"), {"a1"});
  w.lose(w.take_one<CreateKernels>());
  CHECK(w.status(id) == SessionStatus::Creating);
  w.advance(w.options.retry_backoff);
  CHECK(w.take<CreateKernels>().empty());

  SUBCASE("it runs: the started event need not be waited for") {
    w.accept(w.take_one<CheckRunning>(), true);
    CHECK(w.status(id) == SessionStatus::Running);
  }
  SUBCASE("it is still being created: looked at again later") {
    w.accept(w.take_one<CheckRunning>(), false);
    w.accept(w.take_one<CheckCreating>(), true);
    CHECK(w.status(id) == SessionStatus::Creating);
    w.advance(w.options.recheck_interval);
    CHECK(w.take<CheckRunning>().size() == 1);
  }
  SUBCASE("the agent knows nothing of it: another attempt, better elsewhere") {
    w.accept(w.take_one<CheckRunning>(), false);
    w.accept(w.take_one<CheckCreating>(), false);
    CHECK(w.status(id) == SessionStatus::Pending);
    CHECK(w.session(id).attempts == 1);
    CHECK(w.session(id).retry_at == w.now + w.options.retry_backoff);
    CHECK(w.session(id).failed_agents == std::vector<std::string>{"a1"});
    CHECK(w.operations().size() == 1);  // in case the request arrives yet
  }
  SUBCASE("no answer to the questions either: they are asked again") {
    w.lose(w.take_one<CheckRunning>());
    w.advance(w.options.recheck_interval);
    w.accept(w.take_one<CheckRunning>(), false);
    w.lose(w.take_one<CheckCreating>());
    w.advance(w.options.recheck_interval);
    CHECK(w.take<CheckRunning>().size() == 1);
    CHECK(w.status(id) == SessionStatus::Creating);
  }
}

TEST_CASE("a \"not running\" that was said before the start does not end the kernel") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.creating(World::request("sess"), {"a1"});
  w.advance(w.options.recheck_interval);
  const auto question = w.take_one<CheckRunning>();
  w.started(id);
  w.accept(question, false);  // the answer was on its way longer than the event
  CHECK(w.status(id) == SessionStatus::Running);
}

TEST_CASE("a session whose creation brings every agent down is given up with the reason") {
  World w;
  w.options.attempts_max = 3;
  w.add_agent("a1");
  const SessionId id = w.create(World::request("sess"));
  for (std::uint32_t attempt = 1; attempt <= w.options.attempts_max; ++attempt) {
    REQUIRE(w.place(id, {"a1"}).placed == 1);
    w.lose(w.take_one<CreateKernels>());
    w.event("a1", AgentStarted{"self-started"});  // it was down, and knows of nothing
    w.event("a1", World::beat("a1"));
    w.accept(w.take_one<CheckRunning>(), false);
    w.accept(w.take_one<CheckCreating>(), false);
    w.advance(w.options.retry_backoff * 4);
    w.event("a1", World::beat("a1"));
  }
  CHECK(w.status(id) == SessionStatus::Cancelled);
  CHECK(w.session(id).status_info == "3 attempts failed: agent a1 knows nothing of the kernel");
}

TEST_CASE("\"not running\" about a kernel that ran when it was asked ends it") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.input([&](core::Context& ctx) { core::drive(ctx, id); });
  const auto question = w.take_one<CheckRunning>();
  w.accept(question, "what?");  // only an explicit no counts
  w.lose(question);
  CHECK(w.status(id) == SessionStatus::Running);
  w.accept(question, false);
  CHECK(w.status(id) == SessionStatus::Terminated);
  CHECK(w.session(id).status_info == "container-not-found");
}

TEST_CASE("a kernel that ends before it runs fails the attempt") {
  World w;
  for (const char* agent : {"a1", "a2"}) w.add_agent(agent);
  const SessionId id = w.creating(World::request("sess"), {"a1"});
  const auto create = w.take_one<CreateKernels>();
  w.event("a1", KernelTerminated{w.kernel(id).id, id, "failed-to-create", 1, "trace"});
  CHECK(w.status(id) == SessionStatus::Pending);
  CHECK(w.session(id).attempts == 1);
  CHECK(w.session(id).status_info == "kernel main1 ended before it ran: failed-to-create");
  CHECK(w.logs.size() == 1);
  w.refuse(create, "RuntimeError");  // the same failure told twice counts once
  CHECK(w.session(id).attempts == 1);
}

// ---- deadlines
// -----------------------------------------------------------------------------------

TEST_CASE("PENDING has a deadline where its resource group gives one") {
  World w;
  w.add_agent("a1");
  w.load(R"({"resource_groups": [{"name": "default", "pending_timeout": 60}]})");
  const SessionId id = w.create(World::request("sess"));
  CHECK(w.session(id).deadline == w.now + seconds(60));
  w.advance(seconds(60) - nanoseconds(1));
  CHECK(w.status(id) == SessionStatus::Pending);
  w.advance(nanoseconds(1));
  CHECK(w.status(id) == SessionStatus::Cancelled);
  CHECK(w.session(id).status_info == "pending-timeout");
  CHECK(w.kernel_status(id) == KernelStatus::Cancelled);
}

TEST_CASE("PREPARING and PULLING have a deadline: the agent that is slow is blamed") {
  World w;
  w.options.agent_timeout = seconds(100'000);
  for (const char* agent : {"a1", "a2"}) w.add_agent(agent);
  const SessionId id = w.preparing(World::request("sess", kRemoteImage, 2), {"a1", "a2"});
  w.event("a1", ImagePullFinished{kRemoteImage});
  w.event("a2", ImagePullStarted{kRemoteImage});
  CHECK(w.session(id).deadline == w.now + w.options.prepare_timeout);
  w.advance(w.options.prepare_timeout);
  CHECK(w.status(id) == SessionStatus::Pending);
  CHECK(w.session(id).attempts == 1);
  CHECK(w.session(id).failed_agents == std::vector<std::string>{"a2"});
  CHECK(w.session(id).status_info == "PREPARING took too long");
}

TEST_CASE("SCHEDULED, PULLING and PREPARED have the same deadline") {
  for (const SessionStatus status :
       {SessionStatus::Scheduled, SessionStatus::Pulling, SessionStatus::Prepared}) {
    World w;
    w.is_stored = false;
    w.add_agent("a1");
    const SessionId id = w.preparing(World::request("sess"), {"a1"});
    w.put_session(id, [&](Session& s) {
      s.status = status;
      s.deadline = w.now;
    });
    w.input([&](core::Context& ctx) {
      core::on_timer(ctx, {w.now, core::TimerKind::Session, to_string(id)});
    });
    CHECK(w.status(id) == SessionStatus::Pending);
    CHECK(w.session(id).attempts == 1);
  }
}

TEST_CASE("CREATING has a deadline: the agent whose kernel is missing is blamed") {
  World w;
  w.options.agent_timeout = seconds(100'000);
  for (const char* agent : {"a1", "a2"}) w.add_agent(agent);
  const SessionId id = w.creating(World::request("sess", kLocalImage, 2), {"a1", "a2"});
  KernelStarted body;
  body.kernel = w.kernel(id, 1).id;
  body.session = id;
  w.event("a2", body);
  w.advance(w.options.create_timeout - nanoseconds(1));
  CHECK(w.status(id) == SessionStatus::Creating);
  w.advance(nanoseconds(1));
  CHECK(w.status(id) == SessionStatus::Pending);
  CHECK(w.session(id).failed_agents == std::vector<std::string>{"a1"});
  CHECK(w.operations().size() == 2);
}

TEST_CASE("TERMINATING has a deadline: ended here, the destroy stays owed") {
  World w;
  w.options.agent_timeout = seconds(100'000);
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.terminate(id);
  w.advance(w.options.terminate_timeout);
  CHECK(w.status(id) == SessionStatus::Terminated);
  CHECK(w.session(id).status_info == "user-requested");
  CHECK(w.operations().size() == 1);
  CHECK(w.agent("a1").occupied_slots.empty());
}

TEST_CASE("RUNNING has one only for a batch with a time limit") {
  World w;
  w.options.agent_timeout = seconds(100'000);
  w.add_agent("a1");
  CHECK(w.session(w.run(World::request("inter"), {"a1"})).deadline.ns == 0);
  CHECK(w.session(w.run(World::batch("free"), {"a1"})).deadline.ns == 0);
  CreateSession request = World::batch("limited");
  request.batch_timeout = seconds(30);
  const SessionId id = w.run(request, {"a1"});
  CHECK(w.session(id).deadline == w.now + seconds(30) + w.options.command_timeout);
  w.advance(seconds(30) + w.options.command_timeout);
  CHECK(w.status(id) == SessionStatus::Terminating);
  CHECK(w.session(id).status_info == "task-timeout");
  CHECK(w.session(id).result == SessionResult::Failure);
}

TEST_CASE("a timer of a time that has been left does nothing") {
  World w;
  w.options.agent_timeout = seconds(100'000);
  w.add_agent("a1");
  const SessionId id = w.preparing(World::request("sess"), {"a1"});
  w.event("a1", ImagePullFinished{kRemoteImage});
  w.started(id);
  w.commands.clear();
  w.advance(w.options.prepare_timeout + w.options.create_timeout + seconds(1));
  CHECK(w.status(id) == SessionStatus::Running);
  w.take<CheckRunning>();  // the census goes on
  CHECK(w.commands.empty());
}

}  // namespace bai::test

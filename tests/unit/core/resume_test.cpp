// Restart from storage in every status: the state is the same, and what is due goes on.
#include <fmt/format.h>

#include "harness.hpp"

namespace bai::test {

namespace {

// A minute in which this agent goes on beating.
void minute(World& w) {
  for (int i = 0; i < 6; ++i) {
    w.advance(seconds(10));
    w.event("a1", World::beat("a1"));
  }
}

}  // namespace

TEST_CASE("PENDING: it waits on, with its deadline") {
  World w;
  w.add_agent("a1");
  w.load(R"({"resource_groups": [{"name": "default", "pending_timeout": 60}]})");
  const SessionId id = w.create(World::request("sess"));
  w.restart();
  CHECK(w.commands.empty());
  CHECK(w.user_usage().pending_sessions == 1);
  minute(w);
  CHECK(w.status(id) == SessionStatus::Cancelled);
}

TEST_CASE("PENDING after a failure: the pause is kept") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.creating(World::request("sess"), {"a1"});
  w.refuse(w.take_one<CreateKernels>(), "RuntimeError");
  w.restart();
  CHECK(w.session(id).attempts == 1);
  CHECK(w.session(id).retry_at.ns != 0);
  CHECK(w.take<DestroyKernel>().size() == 1);  // still owed
  w.advance(w.options.retry_backoff);
  CHECK(w.session(id).retry_at.ns == 0);
}

TEST_CASE("PREPARING: the images are asked for again") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.preparing(World::request("sess"), {"a1"});
  w.event("a1", ImagePullStarted{kRemoteImage});
  w.restart();
  CHECK(w.kernel_status(id) == KernelStatus::Pulling);
  w.accept(w.take_one<CheckAndPull>());
  w.event("a1", ImagePullFinished{kRemoteImage});
  CHECK(w.status(id) == SessionStatus::Creating);
}

TEST_CASE("CREATING: the agent is asked, the creation is not repeated") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.creating(World::request("sess"), {"a1"});
  w.restart();
  CHECK(w.take<CreateKernels>().empty());
  w.accept(w.take_one<CheckRunning>(), false);
  w.accept(w.take_one<CheckCreating>(), true);
  CHECK(w.status(id) == SessionStatus::Creating);
  w.started(id);
  CHECK(w.status(id) == SessionStatus::Running);
}

TEST_CASE("RUNNING: the kernels are asked about, and one that is gone is found out") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  const SessionId gone = w.run(World::request("gone"), {"a1"});
  w.restart();
  const auto questions = w.take<CheckRunning>();
  REQUIRE(questions.size() == 2);
  for (const auto& question : questions) w.accept(question, question.errand.session == id);
  CHECK(w.status(id) == SessionStatus::Running);
  CHECK(w.status(gone) == SessionStatus::Terminated);
}

TEST_CASE("a batch that runs: its trigger is never sent again to an agent that would repeat it") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::batch("job-1"), {"a1"});
  w.restart();
  CHECK(w.session(id).batch_triggered);
  minute(w);
  CHECK(w.take<TriggerBatch>().empty());
  CHECK(w.event("a1", BatchFinished{id, true, "task-finished", 0}));
  CHECK(w.session(id).result == SessionResult::Success);
}

TEST_CASE("TERMINATING: the destroy is sent again") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.terminate(id);
  w.restart();
  w.accept(w.take_one<DestroyKernel>());
  CHECK(w.status(id) == SessionStatus::Terminated);
}

TEST_CASE("TERMINATED and CANCELLED: nothing to do, but an owed destroy is") {
  World w;
  w.add_agent("a1");
  w.terminate(w.create(World::request("sess-1")));
  w.terminate(w.run(World::request("sess-2"), {"a1"}), true);
  w.restart();
  CHECK(w.commands.size() == 1);
  w.accept(w.take_one<DestroyKernel>());
  CHECK(w.operations().empty());
  w.restart();
  CHECK(w.commands.empty());
}

TEST_CASE("statuses that one input passes through go on too, should they ever be found stored") {
  struct Case {
    SessionStatus session;
    KernelStatus kernel;
    SessionStatus then;
  };
  for (const Case& c :
       {Case{SessionStatus::Scheduled, KernelStatus::Scheduled, SessionStatus::Preparing},
        Case{SessionStatus::Pulling, KernelStatus::Pulling, SessionStatus::Pulling},
        Case{SessionStatus::Prepared, KernelStatus::Prepared, SessionStatus::Creating}}) {
    World w;
    w.is_stored = false;
    w.add_agent("a1");
    const SessionId id = w.preparing(World::request("sess"), {"a1"});
    w.put_session(id, [&](Session& s) { s.status = c.session; });
    w.put_kernel(w.kernel(id).id, [&](Kernel& k) { k.status = c.kernel; });
    w.commands.clear();
    w.input([](core::Context& ctx) { core::on_resume(ctx); });
    CHECK(w.status(id) == c.then);
    CHECK(w.commands.size() == 1);
  }
}

TEST_CASE("agents get one full timeout to speak up after a restart") {
  World w;
  w.add_agent("a1");
  w.now = w.now + seconds(100'000);  // the manager was away for a day
  w.restart();
  CHECK(w.agent("a1").status == AgentStatus::Alive);
  w.advance(w.options.agent_timeout - nanoseconds(1));
  CHECK(w.agent("a1").status == AgentStatus::Alive);
  w.advance(nanoseconds(1));
  CHECK(w.agent("a1").status == AgentStatus::Lost);
}

TEST_CASE("an agent that was lost before the restart is given up when its grace is over") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.advance(w.options.agent_timeout);
  REQUIRE(w.agent("a1").status == AgentStatus::Lost);
  w.restart();
  CHECK(w.status(id) == SessionStatus::Running);
  w.advance(w.options.lost_grace);
  CHECK(w.status(id) == SessionStatus::Terminated);
  CHECK(w.session(id).status_info == "agent-lost");
}

TEST_CASE("after any story the stored state is the state: random sessions, restarts in between") {
  World w;
  for (const char* agent : {"a1", "a2"}) w.add_agent(agent, "64", "64g");
  std::vector<SessionId> ids;
  for (std::uint64_t step = 0; step < 200; ++step) {
    const std::uint64_t dice = w.entropy.next() >> 40;
    if (ids.size() < 4 || dice % 7 == 0) {
      CreateSession request = dice % 2 == 0
                                  ? World::request(fmt::format("sess-{}", step), kRemoteImage)
                                  : World::batch(fmt::format("job-{}", step));
      request.cluster_size = dice % 3 == 0 ? 2 : 1;
      ids.push_back(w.create(request));
    }
    const SessionId id = ids[dice % ids.size()];
    if (w.status(id) == SessionStatus::Pending) w.place(id, {dice % 3 == 0 ? "a1" : "a2", "a1"});
    if (dice % 5 == 0) w.event("a1", ImagePullFinished{kRemoteImage});
    if (dice % 4 == 0) w.started(id);
    if (dice % 11 == 0) w.terminate(id, dice % 2 == 0);
    while (!w.commands.empty()) {
      const core::Command command = std::move(w.commands.back());
      w.commands.pop_back();
      if (dice % 13 == 0) {
        w.refuse(command, "RuntimeError");
      } else if (dice % 3 != 0 && !std::holds_alternative<CheckCreating>(command.request)) {
        w.accept(command, true);
      }
    }
    for (const char* agent : {"a1", "a2"}) w.event(agent, World::beat(agent, "64", "64g"));
    w.advance(seconds(1));
    if (step % 40 == 39) w.restart();
  }
  CHECK(ids.size() > 20);
}

}  // namespace bai::test

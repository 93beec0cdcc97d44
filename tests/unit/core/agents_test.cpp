// Agents that come, change, fall silent, come back, and owe an answer.
#include "harness.hpp"

namespace bai::test {

namespace {

// Lets time pass while these agents go on beating; all others are silent.
void pass(World& w, Duration time, std::vector<const char*> beating = {}) {
  for (Duration step = seconds(10), left = time; left.ns > 0; left = left - step) {
    w.advance(std::min(step, left));
    for (const char* agent : beating) w.event(agent, World::beat(agent));
  }
}

}  // namespace

TEST_CASE("P11: an agent goes to the group that it names, else to the default one, else nowhere") {
  World w;
  w.load(R"({"resource_groups": [{"name": "gpu"}]})");
  const auto join = [&](const char* id, const char* group) {
    AgentHeartbeat beat = World::beat(id);
    beat.info.resource_group = group;
    return w.event(id, beat);
  };
  CHECK(join("a1", "gpu"));
  CHECK(w.agent("a1").resource_group == ResourceGroupName("gpu"));
  CHECK(join("a2", "unknown"));
  CHECK(w.agent("a2").resource_group == ResourceGroupName("default"));
  CHECK(join("a1", "default"));  // a later beat does not move it
  CHECK(w.agent("a1").resource_group == ResourceGroupName("gpu"));
  w.load(R"({"resource_groups": [{"name": "default", "is_default": false}]})");
  CHECK_FALSE(join("a3", "unknown"));
  CHECK(w.state().find<Agent>(AgentId("a3")) == nullptr);
}

TEST_CASE("a heartbeat brings capacity, new slot types and a description") {
  World w;
  AgentHeartbeat beat = World::beat("a1");
  beat.info.slots = {{"cpu", "4.5"},    {"mem", "8g"},   {"npu.device", "2"},
                     {"npu.mem", "4g"}, {"bad", "many"}, {"endless", "inf"}};
  beat.info.slot_types = {
      {"npu.device", "count"}, {"npu.mem", "bytes"}, {"cpu", "bytes"}, {"odd", "no-such-type"}};
  CHECK(w.event("a1", beat));
  const Agent& agent = w.agent("a1");
  CHECK(agent.available_slots.get("cpu").units == 4500);
  CHECK(agent.available_slots.get("npu.device").units == 2000);
  CHECK(agent.available_slots.get("npu.mem").units == 4LL << 30);
  CHECK_FALSE(agent.available_slots.contains("bad"));
  CHECK_FALSE(agent.available_slots.contains("endless"));
  CHECK(w.state().slot_types().type_of("npu.mem") == SlotType::Size);
  CHECK(w.state().slot_types().type_of("cpu") ==
        SlotType::Count);  // built in: the report is ignored
  CHECK_FALSE(w.state().slot_types().knows("odd"));
  beat.info.slot_types = {{"npu.mem", "count"}};  // the first report decides
  beat.info.version = "26.9.0";
  CHECK(w.event("a1", beat));
  CHECK(w.state().slot_types().type_of("npu.mem") == SlotType::Size);
  CHECK(w.agent("a1").version == "26.9.0");
}

TEST_CASE("a beat that says nothing new is written nowhere") {
  World w;
  w.add_agent("a1");
  w.now = w.now + seconds(3);
  core::Context ctx = w.context();
  core::on_agent_event(ctx, {AgentId("a1"), World::beat("a1")});
  REQUIRE(ctx.changes.changes().size() == 1);
  CHECK_FALSE(repo::is_stored(ctx.changes.changes()[0]));
  CHECK(w.agent("a1").last_seen == w.now);
  ctx.changes.rollback(0);
}

TEST_CASE("an agent that moves is connected to anew") {
  World w;
  w.add_agent("a1");
  CHECK(w.forgotten.empty());
  AgentHeartbeat beat = World::beat("a1");
  beat.info.addr = "tcp://elsewhere:6001";
  w.event("a1", beat);
  CHECK(w.forgotten == std::vector<AgentId>{AgentId("a1")});
  CHECK(w.agent("a1").addr == "tcp://elsewhere:6001");
}

TEST_CASE("silence: lost after the timeout, its sessions keep their amounts for the grace time") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.advance(w.options.agent_timeout - nanoseconds(1));
  CHECK(w.agent("a1").status == AgentStatus::Alive);
  w.advance(nanoseconds(1));
  CHECK(w.agent("a1").status == AgentStatus::Lost);
  CHECK(w.agent("a1").lost_at == w.now);
  CHECK(w.forgotten == std::vector<AgentId>{AgentId("a1")});
  w.advance(w.options.lost_grace - nanoseconds(1));
  CHECK(w.status(id) == SessionStatus::Running);
  CHECK(w.agent("a1").occupied_slots == w.kernel(id).requested_slots);
  w.advance(nanoseconds(1));
  CHECK(w.status(id) == SessionStatus::Terminated);
  CHECK(w.session(id).status_info == "agent-lost");
  CHECK(w.agent("a1").occupied_slots.empty());
  REQUIRE(w.operations().size() == 1);  // should it come back, the kernel must go
  CHECK(w.operations()[0].arguments["reason"].as_string() == "agent-termination");
  CHECK(w.take<DestroyKernel>().empty());  // nobody to send it to
}

TEST_CASE("P10: back within the grace time its kernels are asked about and go on") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.advance(w.options.agent_timeout + seconds(30));
  REQUIRE(w.agent("a1").status == AgentStatus::Lost);
  w.commands.clear();
  w.event("a1", World::beat("a1"));
  CHECK(w.agent("a1").status == AgentStatus::Alive);
  CHECK(w.agent("a1").lost_at.ns == 0);
  w.accept(w.take_one<CheckRunning>(), true);
  pass(w, w.options.lost_grace * 2, {"a1"});
  CHECK(w.status(id) == SessionStatus::Running);
  CHECK(w.operations().empty());
}

TEST_CASE("back after the grace time the superseded kernels are destroyed") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  CreateSession request = World::request("sess");
  request.resource_opts.set("restartable", true);
  const SessionId id = w.run(request, {"a1"});
  const KernelId old = w.kernel(id).id;
  pass(w, w.options.agent_timeout + w.options.lost_grace, {"a2"});
  CHECK(w.status(id) == SessionStatus::Pending);  // restartable: it waits for another agent
  CHECK(w.session(id).status_info == "agent-lost");
  CHECK(w.session(id).attempts == 0);
  CHECK(w.session(id).starts_at.ns == 0);
  CHECK(w.kernel(id).id != old);
  w.place(id, {"a2"});
  w.started(id);
  w.commands.clear();
  w.event("a1", World::beat("a1"));
  const auto destroy = w.take_one<DestroyKernel>();
  CHECK(destroy.agent.id == AgentId("a1"));
  CHECK(std::get<DestroyKernel>(destroy.request).kernel == old);
  CHECK(std::get<DestroyKernel>(destroy.request).suppress_events);
  w.accept(destroy);
  CHECK(w.operations().empty());
  CHECK(w.status(id) == SessionStatus::Running);
}

TEST_CASE("sessions that had not run yet start again elsewhere, whoever they are") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  const SessionId preparing = w.preparing(World::request("prep"), {"a1"});
  const SessionId both = w.preparing(World::request("both", kRemoteImage, 2), {"a1"});
  const SessionId creating = w.creating(World::request("crea", kLocalImage, 2), {"a1", "a2"});
  pass(w, w.options.agent_timeout + w.options.lost_grace, {"a2"});
  for (const SessionId& id : {preparing, both, creating}) {
    CHECK(w.status(id) == SessionStatus::Pending);
    CHECK(w.session(id).attempts == 0);
    CHECK(w.session(id).failed_agents.empty());
  }
  CHECK(w.operations().size() == 2);  // both kernels of the one that was being created
  CHECK(w.agent("a1").occupied_slots.empty());
  CHECK(w.agent("a2").occupied_slots.empty());
}

TEST_CASE("a session that runs on two agents ends when one of them is lost") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  const SessionId id = w.run(World::request("sess", kLocalImage, 2), {"a1", "a2"});
  pass(w, w.options.agent_timeout + w.options.lost_grace, {"a2"});
  CHECK(w.status(id) == SessionStatus::Terminating);
  CHECK(w.session(id).status_info == "agent-lost");
  CHECK(w.kernel_status(id, 0) == KernelStatus::Terminated);
  for (const auto& destroy : w.take<DestroyKernel>()) {
    if (destroy.agent.id == AgentId("a2")) w.accept(destroy);
  }
  CHECK(w.status(id) == SessionStatus::Terminated);
}

TEST_CASE("a session that was being ended on a lost agent has ended with it") {
  World w;
  w.options.terminate_timeout = seconds(100'000);
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.terminate(id);
  w.advance(w.options.agent_timeout + w.options.lost_grace);
  CHECK(w.status(id) == SessionStatus::Terminated);
  CHECK(w.session(id).status_info == "user-requested");
  CHECK(w.operations().size() == 1);
}

TEST_CASE("an agent that says goodbye is treated as one that is lost, under its own status") {
  struct Case {
    const char* reason;
    AgentStatus status;
  };
  for (const Case& c :
       {Case{"shutdown", AgentStatus::Terminated}, Case{"agent-restart", AgentStatus::Restarting},
        Case{"agent-lost", AgentStatus::Lost}}) {
    World w;
    w.add_agent("a1");
    const SessionId id = w.run(World::request("sess"), {"a1"});
    CHECK(w.event("a1", AgentTerminated{c.reason}));
    CHECK(w.agent("a1").status == c.status);
    CHECK_FALSE(w.event("a1", AgentTerminated{c.reason}));
    CHECK(w.forgotten.size() == 1);
    w.advance(w.options.lost_grace - nanoseconds(1));
    CHECK(w.status(id) == SessionStatus::Running);
    w.advance(nanoseconds(1));
    CHECK(w.status(id) == SessionStatus::Terminated);
    w.event("a1", World::beat("a1"));
    CHECK(w.agent("a1").status == AgentStatus::Alive);
    w.accept(w.take_one<DestroyKernel>());
    CHECK(w.operations().empty());
  }
}

TEST_CASE("an agent that has just started is asked about everything that should be on it") {
  World w;
  w.add_agent("a1");
  CHECK_FALSE(w.event("nobody", AgentStarted{}));
  const SessionId running = w.run(World::request("runs"), {"a1"});
  const SessionId creating = w.creating(World::request("crea"), {"a1"});
  const SessionId preparing = w.preparing(World::request("prep"), {"a1"});
  const SessionId ending = w.run(World::request("ends"), {"a1"});
  w.terminate(ending);
  const SessionId forced = w.run(World::request("forc"), {"a1"});
  w.terminate(forced, true);
  w.commands.clear();
  CHECK(w.event("a1", AgentStarted{}));
  CHECK(w.take<CheckRunning>().size() == 2);
  CHECK(w.take<CheckAndPull>().size() == 1);
  CHECK(w.take<DestroyKernel>().size() == 2);
  CHECK(w.take<CreateKernels>().empty());
  CHECK(w.commands.empty());
  CHECK(w.status(running) == SessionStatus::Running);
  CHECK(w.status(creating) == SessionStatus::Creating);
  CHECK(w.status(preparing) == SessionStatus::Preparing);
}

// ---- operations
// ----------------------------------------------------------------------------------

TEST_CASE(
    "an owed destroy is tried again, with longer and longer pauses, until the agent answers") {
  World w;
  w.options.agent_timeout = seconds(1'000'000);
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.terminate(id, true);
  for (const std::int64_t factor : {2, 4, 8, 16, 32, 32, 32}) {
    w.refuse(w.take_one<DestroyKernel>(), "RuntimeError", "busy");
    REQUIRE(w.operations().size() == 1);
    CHECK(w.operations()[0].message == "busy");
    CHECK(w.operations()[0].retry_at == w.now + w.options.retry_backoff * factor);
    w.advance(w.options.retry_backoff * factor);
  }
  CHECK(w.operations()[0].attempts == 8);
  w.refuse(w.take_one<DestroyKernel>(), "KeyError");  // it has gone by itself
  CHECK(w.operations().empty());
}

TEST_CASE("an owed destroy that is not answered at all is sent again") {
  World w;
  w.options.agent_timeout = seconds(1'000'000);
  w.add_agent("a1");
  w.terminate(w.run(World::request("sess"), {"a1"}), true);
  CHECK(w.take<DestroyKernel>().size() == 1);
  w.advance(w.options.command_timeout + w.options.recheck_interval);
  CHECK(w.take<DestroyKernel>().size() == 1);
}

TEST_CASE("an owed destroy is given up after its deadline") {
  World w;
  w.options.owed_destroy_timeout = seconds(600);
  w.add_agent("a1");
  w.terminate(w.run(World::request("sess"), {"a1"}), true);
  w.advance(seconds(599));
  CHECK(w.operations().size() == 1);
  w.advance(seconds(200));
  CHECK(w.operations().empty());
}

TEST_CASE("a late answer to a destroy that is no longer owed is nothing") {
  World w;
  w.add_agent("a1");
  w.terminate(w.run(World::request("sess"), {"a1"}), true);
  const auto destroy = w.take_one<DestroyKernel>();
  w.accept(destroy);
  w.accept(destroy);
  w.refuse(destroy, "RuntimeError");
  CHECK(w.operations().empty());
}

TEST_CASE("a kernel that runs though nothing wants it is destroyed") {
  World w;
  w.add_agent("a1");
  KernelStarted body;
  body.kernel.bytes[3] = 7;
  body.session.bytes[3] = 8;
  CHECK_FALSE(w.event("a1", body));
  REQUIRE(w.operations().size() == 1);
  const auto destroy = w.take_one<DestroyKernel>();
  CHECK(std::get<DestroyKernel>(destroy.request).reason == "not-found-in-manager");
  w.accept(destroy);
  CHECK(w.operations().empty());
}

TEST_CASE("reasons that agents do not know are sent as \"unknown\"") {
  CHECK(core::agent_reason("user-requested") == "user-requested");
  CHECK(core::agent_reason("because") == "unknown");
  CHECK(core::agent_reason("") == "unknown");
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.terminate(id, false, "because I say so");
  CHECK(w.session(id).status_info == "because I say so");
  CHECK(std::get<DestroyKernel>(w.take_one<DestroyKernel>().request).reason == "unknown");
}

}  // namespace bai::test

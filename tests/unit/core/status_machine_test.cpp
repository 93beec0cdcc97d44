// How agents' events move kernels and sessions: conformance group H and domain facts 1.5, 1.6.
#include "harness.hpp"

namespace bai::test {

namespace {

KernelStarted started_event(const World& w, const SessionId& id, std::size_t rank = 0) {
  KernelStarted body;
  body.kernel = w.kernel(id, rank).id;
  body.session = id;
  body.container_id = "c-1";
  body.kernel_host = "10.0.0.1";
  body.repl_in_port = 30001;
  body.repl_out_port = 30002;
  body.service_ports = Json::parse(R"([{"name": "jupyter", "container_ports": [8080]}])").value();
  return body;
}

std::vector<std::string> phases(const World& w, const SessionId& id) {
  std::vector<std::string> found;
  for (const History& row : w.history) {
    if (row.subject == to_string(id)) found.push_back(row.phase + " " + row.to_status);
  }
  return found;
}

}  // namespace

TEST_CASE("the whole way of an interactive session, with what each step leaves behind") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.create(World::request("sess", kRemoteImage));
  CHECK(w.status(id) == SessionStatus::Pending);
  w.now = w.now + seconds(1);
  w.place(id, {"a1"});
  CHECK(w.status(id) == SessionStatus::Preparing);
  CHECK(w.kernel_status(id) == KernelStatus::Preparing);
  CHECK(w.kernel(id).agent == AgentId("a1"));
  CHECK(w.kernel(id).agent_addr == "tcp://a1:6001");
  CHECK_FALSE(w.kernel(id).create_sent);
  const auto pull = w.take_one<CheckAndPull>();
  CHECK(std::get<CheckAndPull>(pull.request).images[0].canonical == kRemoteImage);
  w.accept(pull);
  CHECK(w.status(id) == SessionStatus::Preparing);

  CHECK(w.event("a1", ImagePullStarted{kRemoteImage}));
  CHECK(w.kernel_status(id) == KernelStatus::Pulling);
  CHECK(w.event("a1", ImagePullFinished{kRemoteImage}));
  CHECK(w.status(id) == SessionStatus::Creating);
  CHECK(w.kernel_status(id) == KernelStatus::Prepared);
  CHECK(w.kernel(id).create_sent);
  const auto create = w.take_one<CreateKernels>();
  const auto& request = std::get<CreateKernels>(create.request);
  CHECK(request.session == id);
  REQUIRE(request.kernels.size() == 1);
  CHECK(request.kernels[0].id == w.kernel(id).id);
  CHECK(request.kernels[0].slots.at("cpu") == "1");
  CHECK(request.kernels[0].slots.at("mem") == "1073741824");
  CHECK(request.kernels[0].environ.at("BACKENDAI_SESSION_NAME") == "sess");

  w.now = w.now + seconds(1);
  CHECK(w.event("a1", started_event(w, id)));
  const Session& session = w.session(id);
  CHECK(session.status == SessionStatus::Running);
  CHECK(session.starts_at == w.now);
  CHECK(session.status_info == "");
  CHECK(session.deadline.ns == 0);
  CHECK(w.kernel(id).container_id == "c-1");
  CHECK(w.kernel(id).kernel_host == "10.0.0.1");
  CHECK(w.kernel(id).repl_in_port == 30001);
  CHECK(w.kernel(id).service_ports.size() == 1);
  CHECK(w.kernel(id).starts_at == w.now);

  CHECK(w.terminate(id) == "");
  CHECK(w.status(id) == SessionStatus::Terminating);
  CHECK(w.kernel_status(id) == KernelStatus::Terminating);
  const auto destroy = w.take_one<DestroyKernel>();
  CHECK(std::get<DestroyKernel>(destroy.request).reason == "user-requested");
  CHECK_FALSE(std::get<DestroyKernel>(destroy.request).suppress_events);
  w.now = w.now + seconds(1);
  CHECK(w.event("a1", KernelTerminated{w.kernel(id).id, id, "user-requested", 137, ""}));
  CHECK(w.status(id) == SessionStatus::Terminated);
  CHECK(w.session(id).terminated_at == w.now);
  CHECK(w.session(id).status_info == "user-requested");
  CHECK(w.kernel(id).exit_code == 137);
  CHECK(w.kernel(id).occupied_slots.empty());
  std::vector<std::string> entered;
  for (const auto& [status, at] : w.session(id).status_times) entered.push_back(status);
  CHECK(entered == std::vector<std::string>{"PENDING", "SCHEDULED", "PREPARING", "PREPARED",
                                            "CREATING", "RUNNING", "TERMINATING", "TERMINATED"});
  CHECK(phases(w, id) == std::vector<std::string>{"schedule-sessions SCHEDULED",
                                                  "start-sessions RUNNING",
                                                  "mark_terminating TERMINATING"});
}

TEST_CASE("a session whose images are local is created without asking for them") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.creating(World::request("sess"), {"a1"});
  CHECK(w.take<CheckAndPull>().empty());
  CHECK(w.take<CreateKernels>().size() == 1);
  CHECK(w.status(id) == SessionStatus::Creating);
}

TEST_CASE("H1: a started event is taken in PREPARED and CREATING only, and once") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.preparing(World::request("sess"), {"a1"});
  CHECK_FALSE(w.event("a1", started_event(w, id)));
  CHECK(w.kernel_status(id) == KernelStatus::Preparing);
  w.event("a1", ImagePullFinished{kRemoteImage});
  REQUIRE(w.kernel_status(id) == KernelStatus::Prepared);
  CHECK(w.event("a1", started_event(w, id)));
  CHECK(w.kernel_status(id) == KernelStatus::Running);
  const Session before = w.session(id);
  w.now = w.now + seconds(5);
  CHECK_FALSE(w.event("a1", started_event(w, id)));
  CHECK(w.session(id).starts_at == before.starts_at);
  CHECK(w.operations().empty());  // a repeated event is no reason to destroy anything
}

TEST_CASE("H1: SCHEDULED does not take a started event, CREATING does") {
  World w;
  w.add_agent("a1");
  w.is_stored = false;
  const SessionId id = w.creating(World::request("sess"), {"a1"});
  const KernelId kernel = w.kernel(id).id;
  w.put_kernel(kernel, [](Kernel& k) { k.status = KernelStatus::Scheduled; });
  CHECK_FALSE(w.event("a1", started_event(w, id)));
  CHECK(w.kernel_status(id) == KernelStatus::Scheduled);
  w.put_kernel(kernel, [](Kernel& k) { k.status = KernelStatus::Creating; });
  CHECK(w.event("a1", started_event(w, id)));
  CHECK(w.status(id) == SessionStatus::Running);
}

TEST_CASE("a cancelled event is taken in SCHEDULED, PREPARING, PULLING and CREATING only") {
  for (const KernelStatus from : {KernelStatus::Scheduled, KernelStatus::Preparing,
                                  KernelStatus::Pulling, KernelStatus::Creating}) {
    World w;
    w.add_agent("a1");
    w.add_agent("a2");
    w.is_stored = false;
    const SessionId id = w.preparing(World::request("sess"), {"a1"});
    const KernelCancelled body{w.kernel(id).id, id, "no more room"};
    w.put_kernel(body.kernel, [&](Kernel& k) { k.status = from; });
    CHECK_FALSE(w.event("a2", body));
    CHECK(w.event("a1", body));
    CHECK(w.kernel(id).status_info == "no more room");
    CHECK(w.status(id) == SessionStatus::Cancelled);
    CHECK(w.session(id).status_info == "all kernels cancelled");
    CHECK(w.agent("a1").occupied_slots.empty());
    CHECK_FALSE(w.event("a1", body));
  }
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess", kLocalImage, 2), {"a1"});
  CHECK_FALSE(w.event("a1", KernelCancelled{w.kernel(id).id, id, ""}));
  CHECK(w.status(id) == SessionStatus::Running);
}

TEST_CASE("one cancelled kernel ends its session, and what may exist of it is destroyed") {
  World w;
  w.add_agent("a1");
  w.is_stored = false;
  const SessionId id = w.creating(World::request("sess", kLocalImage, 2), {"a1"});
  const KernelId first = w.kernel(id).id, second = w.kernel(id, 1).id;
  w.put_kernel(first, [](Kernel& k) { k.status = KernelStatus::Creating; });
  CHECK(w.event("a1", KernelCancelled{first, id, "no more room"}));
  CHECK(w.status(id) == SessionStatus::Terminating);
  std::vector<KernelId> destroyed;
  for (const auto& command : w.take<DestroyKernel>()) {
    destroyed.push_back(std::get<DestroyKernel>(command.request).kernel);
  }
  CHECK(destroyed == std::vector{first, second});
}

TEST_CASE("a kernel that nobody has asked for yet does not start") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  const SessionId id = w.preparing(World::request("sess", kRemoteImage, 2), {"a1", "a2"});
  w.event("a1", ImagePullFinished{kRemoteImage});
  REQUIRE(w.kernel_status(id, 0) == KernelStatus::Prepared);
  CHECK_FALSE(w.event("a1", started_event(w, id, 0)));
  CHECK(w.kernel_status(id, 0) == KernelStatus::Prepared);
}

TEST_CASE("H2: a creating event is taken in PULLING only") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.preparing(World::request("sess"), {"a1"});
  const KernelCreating body{w.kernel(id).id, id};
  CHECK_FALSE(w.event("a1", body));
  w.event("a1", ImagePullStarted{kRemoteImage});
  CHECK(w.event("a1", body));
  CHECK(w.kernel_status(id) == KernelStatus::Creating);

  const SessionId prepared = w.creating(World::request("other"), {"a1"});
  REQUIRE(w.kernel_status(prepared) == KernelStatus::Prepared);
  CHECK_FALSE(w.event("a1", KernelCreating{w.kernel(prepared).id, prepared}));
}

TEST_CASE("preparing and pulling events move a kernel that is SCHEDULED, from its own agent only") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  w.is_stored = false;
  for (const bool pulls : {false, true}) {
    const SessionId id = w.preparing(World::request(pulls ? "sess-1" : "sess-2"), {"a1"});
    const KernelId kernel = w.kernel(id).id;
    w.put_kernel(kernel, [](Kernel& k) { k.status = KernelStatus::Scheduled; });
    const AgentEventBody body = pulls ? AgentEventBody(KernelPulling{kernel, id})
                                      : AgentEventBody(KernelPreparing{kernel, id});
    CHECK_FALSE(w.event("a2", body));
    CHECK(w.event("a1", body));
    CHECK(w.kernel_status(id) == (pulls ? KernelStatus::Pulling : KernelStatus::Preparing));
    CHECK_FALSE(w.event("a1", body));
  }
}

TEST_CASE("H4, H5: a failed pull cancels the kernels that wait for it, and the session with them") {
  for (const std::vector<const char*>& agents :
       {std::vector<const char*>{"a1"}, std::vector<const char*>{"a1", "a1"}}) {
    World w;
    w.add_agent("a1");
    const auto size = static_cast<std::int64_t>(agents.size());
    const SessionId id = w.preparing(World::request("sess", kRemoteImage, size), agents);
    const SessionId other = w.create(World::request("other", kRemoteImage));
    CHECK(w.event("a1", ImagePullFailed{kRemoteImage, "no space left"}));
    for (const auto& kernel : w.kernels(id)) {
      CHECK(kernel->status == KernelStatus::Cancelled);
      CHECK(kernel->status_info == "Image pull failed: no space left");
    }
    CHECK(w.status(id) == SessionStatus::Cancelled);
    CHECK(w.session(id).status_data["error"]["repr"].as_string() ==
          "Image pull failed: no space left");
    CHECK(w.session(id).status_data["error"]["agent_id"].as_string() == "a1");
    CHECK(w.agent("a1").occupied_slots.empty());
    CHECK(w.status(other) == SessionStatus::Pending);
    CHECK_FALSE(w.event("a1", ImagePullFailed{kRemoteImage, "again"}));
  }
}

TEST_CASE(
    "a failed pull on one of two agents ends the session; nothing was created, nothing is "
    "destroyed") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  const SessionId id = w.preparing(World::request("sess", kRemoteImage, 2), {"a1", "a2"});
  w.event("a2", ImagePullFinished{kRemoteImage});
  w.event("a1", ImagePullFailed{kRemoteImage, "x"});
  CHECK(w.status(id) == SessionStatus::Terminated);
  CHECK(w.kernel_status(id, 0) == KernelStatus::Cancelled);
  CHECK(w.kernel_status(id, 1) == KernelStatus::Terminated);
  CHECK(w.take<DestroyKernel>().empty());
  CHECK(w.operations().empty());
}

TEST_CASE("pull events touch the kernels on that agent with that image, of every session") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  const SessionId first = w.preparing(World::request("sess-1"), {"a1"});
  const SessionId second = w.preparing(World::request("sess-2"), {"a1"});
  const SessionId elsewhere = w.preparing(World::request("sess-3"), {"a2"});
  CHECK_FALSE(w.event("a1", ImagePullFinished{"another"}));
  CHECK(w.event("a1", ImagePullFinished{kRemoteImage}));
  CHECK(w.status(first) == SessionStatus::Creating);
  CHECK(w.status(second) == SessionStatus::Creating);
  CHECK(w.status(elsewhere) == SessionStatus::Preparing);
}

TEST_CASE("H7, H8: a session waits for the last of its kernels") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  const SessionId id = w.preparing(World::request("sess", kRemoteImage, 2), {"a1", "a2"});
  w.event("a1", ImagePullFinished{kRemoteImage});
  w.event("a2", ImagePullStarted{kRemoteImage});
  CHECK(w.kernel_status(id, 0) == KernelStatus::Prepared);
  CHECK(w.kernel_status(id, 1) == KernelStatus::Pulling);
  CHECK(w.status(id) == SessionStatus::Preparing);
  CHECK(w.take<CreateKernels>().empty());
  w.event("a2", ImagePullFinished{kRemoteImage});
  CHECK(w.status(id) == SessionStatus::Creating);
  CHECK(w.take<CreateKernels>().size() == 2);
  w.event("a1", started_event(w, id, 0));
  CHECK(w.kernel_status(id, 0) == KernelStatus::Running);
  CHECK(w.status(id) == SessionStatus::Creating);
  w.event("a2", started_event(w, id, 1));
  CHECK(w.status(id) == SessionStatus::Running);
}

TEST_CASE("H10, H11: a session ends with the last of its kernels, however each has ended") {
  World w;
  w.add_agent("a1");
  w.is_stored = false;
  const SessionId id = w.run(World::request("sess", kLocalImage, 3), {"a1"});
  w.terminate(id);
  w.event("a1", KernelTerminated{w.kernel(id, 0).id, id, "user-requested", 0, ""});
  CHECK(w.status(id) == SessionStatus::Terminating);
  w.put_kernel(w.kernel(id, 1).id, [](Kernel& k) { k.status = KernelStatus::Running; });
  w.input([&](core::Context& ctx) { core::advance(ctx, id); });
  CHECK(w.status(id) == SessionStatus::Terminating);
  w.put_kernel(w.kernel(id, 1).id, [](Kernel& k) {
    k.status = KernelStatus::Cancelled;
    k.occupied_slots = {};
  });
  w.put_kernel(w.kernel(id, 2).id, [](Kernel& k) {
    k.status = KernelStatus::Error;
    k.occupied_slots = {};
  });
  w.input([&](core::Context& ctx) { core::advance(ctx, id); });
  CHECK(w.status(id) == SessionStatus::Terminated);
}

TEST_CASE("a started event that names another session moves the kernel's own") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.creating(World::request("sess"), {"a1"});
  KernelStarted body = started_event(w, id);
  body.session = SessionId{};
  CHECK(w.event("a1", body));
  CHECK(w.status(id) == SessionStatus::Running);
}

TEST_CASE("events of foreign kernels and agents are ignored and leave nothing") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  const KernelId kernel = w.kernel(id).id;
  const KernelTerminated ended{kernel, id, "self-terminated", 1, "text"};
  CHECK_FALSE(w.event("a2", ended));
  CHECK_FALSE(w.event("", ended));
  CHECK_FALSE(w.event("nobody", started_event(w, id)));
  CHECK_FALSE(w.event("", AgentHeartbeat{World::beat("x")}));
  CHECK(w.status(id) == SessionStatus::Running);
  CHECK(w.logs.empty());
  CHECK(w.operations().empty());
  CHECK(w.state().table<Agent>().size() == 2);
}

TEST_CASE("one kernel that ends by itself ends its session, and the others are destroyed") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  const SessionId id = w.run(World::request("sess", kLocalImage, 2), {"a1", "a2"});
  w.event("a2", KernelTerminated{w.kernel(id, 1).id, id, "self-terminated", 9, ""});
  CHECK(w.status(id) == SessionStatus::Terminating);
  CHECK(w.session(id).status_info == "self-terminated");
  CHECK(w.session(id).status_data["kernel"]["exit_code"].as_int() == 9);
  const auto destroy = w.take_one<DestroyKernel>();
  CHECK(destroy.agent.id == AgentId("a1"));
  w.accept(destroy);
  CHECK(w.status(id) == SessionStatus::Terminated);
}

TEST_CASE("an end without a reason is called abnormal") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  const SessionId id = w.run(World::request("sess", kLocalImage, 2), {"a1", "a2"});
  w.event("a2", KernelTerminated{w.kernel(id, 1).id, id, "", 0, ""});
  CHECK(w.session(id).status_info == "ABNORMAL_TERMINATION");
  CHECK(std::get<DestroyKernel>(w.take_one<DestroyKernel>().request).reason == "unknown");
}

TEST_CASE("the console's tail is kept, and no more of it than the limit") {
  World w;
  w.options.kernel_log_max = 10;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.event("a1", KernelTerminated{w.kernel(id).id, id, "self-terminated", 0, "0123456789abcdef"});
  REQUIRE(w.logs.size() == 1);
  CHECK(w.logs[0].text == "6789abcdef");
  CHECK(w.logs[0].kernel == w.kernel(id).id);
}

TEST_CASE(
    "a destroy that the agent refuses or does not answer is asked again; one it does not know is "
    "done") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.terminate(id);
  w.refuse(w.take_one<DestroyKernel>(), "RuntimeError");
  CHECK(w.status(id) == SessionStatus::Terminating);
  w.advance(w.options.retry_backoff);
  w.lose(w.take_one<DestroyKernel>());
  w.advance(w.options.retry_backoff);
  w.refuse(w.take_one<DestroyKernel>(), "KeyError");
  CHECK(w.status(id) == SessionStatus::Terminated);
}

TEST_CASE("a destroy that is never answered at all is asked again regularly") {
  World w;
  w.add_agent("a1");
  w.options.agent_timeout = seconds(100'000);
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.terminate(id);
  CHECK(w.take<DestroyKernel>().size() == 1);
  w.advance(w.options.recheck_interval);
  CHECK(w.take<DestroyKernel>().size() == 1);
  w.advance(w.options.recheck_interval);
  CHECK(w.take<DestroyKernel>().size() == 1);
}

TEST_CASE("forced: ended here at once, the destroy is owed until the agent has answered") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  const KernelId kernel = w.kernel(id).id;
  CHECK(w.terminate(id, true, "force-terminated") == "terminated");
  CHECK(w.status(id) == SessionStatus::Terminated);
  CHECK(w.agent("a1").occupied_slots.empty());
  REQUIRE(w.operations().size() == 1);
  CHECK(w.operations()[0].subject == to_string(kernel));
  CHECK(w.operations()[0].kind == "destroy-kernel");
  const auto destroy = w.take_one<DestroyKernel>();
  CHECK(std::get<DestroyKernel>(destroy.request).kernel == kernel);
  CHECK(std::get<DestroyKernel>(destroy.request).reason == "force-terminated");
  w.accept(destroy);
  CHECK(w.operations().empty());
}

TEST_CASE("forced, while an ordinary end is under way") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("sess"), {"a1"});
  w.terminate(id);
  const auto first = w.take_one<DestroyKernel>();
  CHECK(w.terminate(id) == "");
  CHECK(w.take<DestroyKernel>().empty());
  CHECK(w.terminate(id, true) == "terminated");
  CHECK(w.operations().size() == 1);
  w.accept(first);  // the answer to the first one: nothing left to do
  CHECK(w.operations().size() == 1);
  w.accept(w.take_one<DestroyKernel>());
  CHECK(w.operations().empty());
}

TEST_CASE("ending a session while its kernels are created destroys them") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.creating(World::request("sess"), {"a1"});
  const auto create = w.take_one<CreateKernels>();
  w.terminate(id);
  CHECK(w.status(id) == SessionStatus::Terminating);
  w.accept(w.take_one<DestroyKernel>());
  CHECK(w.status(id) == SessionStatus::Terminated);
  // The creation was done all the same: whatever came of it is destroyed again.
  w.accept(create);
  REQUIRE(w.operations().size() == 1);
  w.accept(w.take_one<DestroyKernel>());
  CHECK(w.operations().empty());
  KernelStarted late = started_event(w, id);
  CHECK_FALSE(w.event("a1", late));
  CHECK(w.operations().size() == 1);
}

}  // namespace bai::test

#include "bai_manager/sim_agents.hpp"

#include <doctest/doctest.h>

#include "sim_world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

std::string kind_of(const std::optional<Result<AgentReply>>& answer) {
  if (!answer) return "(none)";
  if (*answer) return "(ok)";
  return answer->error().kind;
}
ErrorCode code_of(const std::optional<Result<AgentReply>>& answer) {
  REQUIRE(answer);
  REQUIRE_FALSE(*answer);
  return answer->error().code;
}

}  // namespace

TEST_CASE("simulated agent: announces itself, then beats with what it has") {
  SimWorld w;
  SimAgentSpec spec = agent_spec("a1");
  spec.resource_group = "gpu";
  spec.capacity.set("cuda.shares", Amount{2500});
  SimBehaviour behaviour;
  behaviour.heartbeat_interval = seconds(3);
  w.cluster.add(spec, behaviour, seconds(1));
  w.world.advance(seconds(8));
  REQUIRE(w.all<AgentStarted>().size() == 1);
  const auto beats = w.all<AgentHeartbeat>();
  REQUIRE(beats.size() == 3);  // after 1, 4 and 7 s
  const AgentInfo& info = beats[0].info;
  CHECK(info.addr == "tcp://a1:6001");
  CHECK(info.resource_group == "gpu");
  CHECK(info.architecture == "x86_64");
  using Slots = std::vector<std::pair<std::string, std::string>>;
  CHECK(info.slots == Slots{{"cpu", "8"}, {"cuda.shares", "2.5"}, {"mem", "17179869184"}});
  CHECK(info.slot_types == Slots{{"cpu", "count"}, {"cuda.shares", "count"}, {"mem", "bytes"}});
}

TEST_CASE("simulated agent: a kernel's way from creation to destruction, in order") {
  SimWorld w;
  SimBehaviour behaviour;
  behaviour.create = {seconds(2), seconds(2)};
  behaviour.destroy = {seconds(1), seconds(1)};
  SimAgent& agent = w.cluster.add(agent_spec("a1"), behaviour);
  const Timestamp start = w.world.now();
  const auto created = w.create("a1", 1, "2.5");
  REQUIRE(kind_of(created) == "(ok)");
  CHECK(w.world.now() == start + seconds(2));
  CHECK((*created)->value.items().size() == 1);
  CHECK((*created)->value.items()[0]["id"].as_string() == to_string(kernel_id(1)));
  CHECK(agent.held().get("cpu") == Amount{2500});
  CHECK(agent.running_kernels() == std::vector{kernel_id(1)});
  const auto started = w.all<KernelStarted>();
  REQUIRE(started.size() == 1);
  CHECK(started[0].session == session_id(1));
  REQUIRE(started[0].used_slots);
  CHECK(started[0].used_slots->front() == std::pair<std::string, std::string>{"cpu", "2.5"});

  const auto destroyed =
      w.ask("a1", DestroyKernel{kernel_id(1), session_id(1), "user-requested", false});
  CHECK(kind_of(destroyed) == "(ok)");
  CHECK(w.world.now() == start + seconds(3));
  const auto ended = w.all<KernelTerminated>();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].reason == "user-requested");
  CHECK(agent.held().empty());
  CHECK(agent.max_held().get("cpu") == Amount{2500});
  CHECK(agent.live_kernels().empty());
  CHECK(w.all<KernelPreparing>().size() == 1);
  CHECK(w.all<KernelCreating>().size() == 1);
  const auto record = w.cluster.totals_of(kernel_id(1));
  CHECK(record.created == 1);
  CHECK(record.started == 1);
  CHECK(record.destroys == 1);
  CHECK_FALSE(record.is_live);
}

TEST_CASE("simulated agent: repeats of a creation are refused, while creating and afterwards") {
  SimWorld w;
  SimBehaviour behaviour;
  behaviour.create = {seconds(5), seconds(5)};
  w.cluster.add(agent_spec("a1"), behaviour);
  CreateKernels request;
  request.session = session_id(1);
  request.kernels.push_back(kernel_spec(1));
  std::string first = "(none)", second = "(none)";
  const auto note = [](std::string& into) {
    return [&into](Result<AgentReply> r) { into = r ? "(ok)" : r.error().kind; };
  };
  w.cluster.request(w.endpoint("a1"), request, seconds(30), note(first));
  w.cluster.request(w.endpoint("a1"), request, seconds(30), note(second));
  w.world.advance(seconds(1));
  CHECK(second == "ResourceError");
  CHECK(first == "(none)");
  w.world.advance(seconds(5));
  CHECK(first == "(ok)");
  CHECK(kind_of(w.create("a1", 1)) == "ResourceError");
  CHECK(w.cluster.creates_sent(kernel_id(1)) == 3);
  const auto record = w.cluster.totals_of(kernel_id(1));
  CHECK(record.creates == 3);
  CHECK(record.created == 1);
  CHECK(record.repeats_refused == 2);
}

TEST_CASE("simulated agent: what does not fit or does not exist is refused by name") {
  SimWorld w;
  SimAgentSpec spec = agent_spec("a1", 4);
  spec.images = {"cr.backend.ai/stable/python:3"};
  SimAgent& agent = w.cluster.add(spec);
  CHECK(kind_of(w.create("a1", 1, "3")) == "(ok)");
  CHECK(kind_of(w.create("a1", 2, "1.001")) == "InsufficientResource");
  CHECK(kind_of(w.create("a1", 3, "1")) == "(ok)");
  CHECK(agent.totals().no_room == 1);
  CHECK(agent.held() == agent.max_held());

  CreateKernels request;
  request.kernels.push_back(kernel_spec(4));
  const auto with = [&](auto&& change) {
    CreateKernels changed = request;
    change(changed.kernels[0]);
    return kind_of(w.ask("a1", std::move(changed)));
  };
  CHECK(with([](KernelSpec& k) { k.slots["cuda.device"] = "1"; }) == "UnsupportedResource");
  CHECK(with([](KernelSpec& k) { k.slots.erase("mem"); }) == "InvalidResourceArgument");
  CHECK(with([](KernelSpec& k) { k.slots["cpu"] = "many"; }) == "InvalidResourceArgument");
  CHECK(with([](KernelSpec& k) { k.image.canonical = "cr.backend.ai/stable/r:4"; }) ==
        "ImageNotAvailable");
  CHECK(with([](KernelSpec& k) { k.image.architecture = "aarch64"; }) ==
        "ImageArchitectureMismatchError");
  CHECK(agent.live_kernels().size() == 2);
}

TEST_CASE("simulated agent: several kernels in one request; two failures are a group") {
  SimWorld w;
  SimAgent& agent = w.cluster.add(agent_spec("a1", 2));
  CreateKernels request;
  request.session = session_id(1);
  for (std::uint8_t n = 1; n <= 3; ++n) request.kernels.push_back(kernel_spec(n));
  CHECK(kind_of(w.ask("a1", request)) == "InsufficientResource");
  CHECK(agent.running_kernels().size() == 2);
  CHECK(kind_of(w.ask("a1", request)) == "TaskGroupError");
}

TEST_CASE("simulated agent: told to fail, early without and late with a container") {
  SimWorld w;
  SimAgent& agent = w.cluster.add(agent_spec("a1"));
  agent.fail_next_creates("PortConflictError", 1);
  CHECK(kind_of(w.create("a1", 1)) == "PortConflictError");
  CHECK(w.all<KernelTerminated>().empty());
  agent.fail_next_creates("ContainerStartupTimeoutError", 1, true);
  CHECK(kind_of(w.create("a1", 1)) == "ContainerStartupTimeoutError");
  w.world.advance(seconds(1));
  REQUIRE(w.all<KernelTerminated>().size() == 1);
  CHECK(w.all<KernelTerminated>()[0].reason == "failed-to-create");
  CHECK(agent.held().empty());
  CHECK(kind_of(w.create("a1", 1)) == "(ok)");
  CHECK(w.cluster.totals_of(kernel_id(1)).started == 1);
}

TEST_CASE("simulated agent: images are pulled once and unknown ones are reported") {
  SimWorld w;
  SimAgentSpec spec = agent_spec("a1");
  spec.images = {"known:1"};
  SimBehaviour behaviour;
  behaviour.pull = {seconds(10), seconds(10)};
  w.cluster.add(spec, behaviour);
  CheckAndPull request;
  request.images.resize(1);
  request.images[0].canonical = "known:1";
  const auto answer = w.ask("a1", request);
  REQUIRE(kind_of(answer) == "(ok)");
  CHECK((*answer)->value["known:1"].as_string().size() == 32);
  CHECK(kind_of(w.ask("a1", request)) == "(ok)");
  CHECK(w.all<ImagePullStarted>().size() == 1);
  CHECK(w.all<ImagePullFinished>().empty());
  w.world.advance(seconds(11));
  CHECK(w.all<ImagePullFinished>().size() == 1);
  w.ask("a1", request);
  w.world.advance(seconds(1));
  CHECK(w.all<ImagePullFinished>().size() == 2);  // it is there already
  CHECK(w.all<ImagePullStarted>().size() == 1);
  request.images[0].canonical = "unknown:1";
  CHECK(kind_of(w.ask("a1", request)) == "(ok)");
  w.world.advance(seconds(1));
  REQUIRE(w.all<ImagePullFailed>().size() == 1);
  CHECK(w.all<ImagePullFailed>()[0].image == "unknown:1");
}

TEST_CASE("simulated agent: a batch runs once, for as long as its command says") {
  SimWorld w;
  w.cluster.add(agent_spec("a1"));
  w.create("a1", 1);
  const TriggerBatch trigger{session_id(1), kernel_id(1), "echo hi; sleep 20; exit 3",
                             std::nullopt};
  const Timestamp start = w.world.now();
  CHECK(kind_of(w.ask("a1", trigger)) == "(ok)");
  CHECK(kind_of(w.ask("a1", trigger)) == "RuntimeError");
  CHECK(w.world.advance_until([&] { return !w.all<BatchFinished>().empty(); }, seconds(60)));
  CHECK(w.world.now() == start + seconds(20));
  const BatchFinished done = w.all<BatchFinished>()[0];
  CHECK_FALSE(done.success);
  CHECK(done.exit_code == 3);
  CHECK(done.reason == "task-failed");
  CHECK(kind_of(w.ask("a1", trigger)) == "RuntimeError");
  const auto logs = w.ask("a1", GetLogs{kernel_id(1)});
  CHECK((*logs)->value["logs"].as_string() == "hi\n");
  const auto record = w.cluster.totals_of(kernel_id(1));
  CHECK(record.batches == 1);
  CHECK(record.batches_refused == 2);
  CHECK(w.cluster.triggers_sent(kernel_id(1)) == 3);

  w.create("a1", 2);
  w.ask("a1", TriggerBatch{session_id(2), kernel_id(2), "sleep 20", seconds(5)});
  w.world.advance(seconds(6));
  REQUIRE(w.all<BatchFinished>().size() == 2);
  CHECK(w.all<BatchFinished>()[1].reason == "task-timeout");
  CHECK(kind_of(w.ask("a1", TriggerBatch{session_id(9), kernel_id(9), "x", {}})) == "KeyError");
}

TEST_CASE("simulated agent: questions and calls") {
  SimWorld w;
  SimBehaviour behaviour;
  behaviour.create = {seconds(5), seconds(5)};
  w.cluster.add(agent_spec("a1"), behaviour);
  const auto truth = [&](AgentRequest request) {
    const auto answer = w.ask("a1", std::move(request));
    REQUIRE(kind_of(answer) == "(ok)");
    return (*answer)->value.as_bool();
  };
  CHECK_FALSE(truth(CheckCreating{kernel_id(1)}));
  CreateKernels request;
  request.kernels.push_back(kernel_spec(1));
  w.cluster.request(w.endpoint("a1"), request, seconds(30), [](Result<AgentReply>) {});
  w.world.advance(seconds(1));
  CHECK(truth(CheckCreating{kernel_id(1)}));
  CHECK_FALSE(truth(CheckRunning{kernel_id(1)}));
  w.world.advance(seconds(5));
  CHECK(truth(CheckCreating{kernel_id(1)}));
  CHECK(truth(CheckRunning{kernel_id(1)}));

  Execute run{session_id(1), kernel_id(1), "r1", "query", "print(1)", Json::object(), {}};
  const auto echoed = w.ask("a1", run);
  REQUIRE(kind_of(echoed) == "(ok)");
  CHECK((*echoed)->value["status"].as_string() == "finished");
  CHECK((*echoed)->value["runId"].as_string() == "r1");
  CHECK((*echoed)->value["console"].items()[0].items()[1].as_string() == "print(1)\n");
  run.kernel = kernel_id(7);
  CHECK(kind_of(w.ask("a1", run)) == "RuntimeError");

  CHECK(kind_of(w.ask("a1", UploadFile{kernel_id(1), "a.txt", {'h', 'i'}})) == "(ok)");
  CHECK(kind_of(w.ask("a1", UploadFile{kernel_id(1), "../a.txt", {}})) == "PermissionError");
  CHECK(kind_of(w.ask("a1", DownloadFile{kernel_id(1), "b.txt"})) == "FileNotFoundError");
  const auto archive = w.ask("a1", DownloadSingle{kernel_id(1), "/home/work/a.txt"});
  REQUIRE(kind_of(archive) == "(ok)");
  const Bytes& tar = (*archive)->data;
  REQUIRE(tar.size() == 4 * 512);
  CHECK(std::string(tar.begin(), tar.begin() + 5) == "a.txt");
  CHECK(tar[512] == 'h');
  const auto listing = w.ask("a1", ListFiles{kernel_id(1), "."});
  CHECK((*listing)->value["files"].as_string().find("\"a.txt\"") != std::string_view::npos);
  CHECK((*w.ask("a1", PingAgent{}))->value.as_string() == "ping");
  CHECK(kind_of(w.ask("a1", InterruptKernel{kernel_id(9)})) == "KeyError");
}

TEST_CASE(
    "simulated agent: destroying what is unknown, what is being created, with a wrong reason") {
  SimWorld w;
  SimBehaviour behaviour;
  behaviour.create = behaviour.destroy = {seconds(5), seconds(5)};
  SimAgent& agent = w.cluster.add(agent_spec("a1"), behaviour);
  CHECK(kind_of(w.ask("a1", DestroyKernel{kernel_id(1), session_id(1), "user-requested", false})) ==
        "(ok)");
  w.world.advance(seconds(1));
  REQUIRE(w.all<KernelTerminated>().size() == 1);
  CHECK(w.all<KernelTerminated>()[0].reason == "already-terminated");

  std::string created = "(none)";
  CreateKernels request;
  request.kernels.push_back(kernel_spec(2));
  w.cluster.request(w.endpoint("a1"), request, seconds(30),
                    [&](Result<AgentReply> r) { created = r ? "(ok)" : r.error().kind; });
  w.world.advance(seconds(1));
  CHECK(kind_of(w.ask("a1", DestroyKernel{kernel_id(2), session_id(2), "user-requested", false})) ==
        "(ok)");
  CHECK(created == "ContainerStartupCancelledError");
  CHECK(w.all<KernelStarted>().empty());

  w.create("a1", 3);
  const auto before = w.all<KernelTerminated>().size();
  CHECK(kind_of(w.ask("a1", DestroyKernel{kernel_id(3), session_id(3), "bored", false})) ==
        "ValueError");
  w.world.advance(seconds(10));
  CHECK(agent.live_kernels().empty());
  CHECK(agent.totals().bad_reasons == 1);
  CHECK(w.all<KernelTerminated>().size() == before);
}

TEST_CASE("simulated agent: the registry is brought in line with the manager's") {
  SimWorld w;
  SimAgent& agent = w.cluster.add(agent_spec("a1"));
  w.create("a1", 1);
  w.create("a1", 2);
  SyncKernelRegistry sync;
  sync.kernels = {{kernel_id(2), session_id(2)}, {kernel_id(3), session_id(3)}};
  CHECK(kind_of(w.ask("a1", sync)) == "(ok)");
  w.world.advance(seconds(1));
  CHECK(agent.running_kernels() == std::vector{kernel_id(2)});
  REQUIRE(w.all<KernelTerminated>().size() == 1);
  CHECK(w.all<KernelTerminated>()[0].kernel == kernel_id(3));
}

TEST_CASE("simulated cluster: a crash cuts connections; kernels die with the agent or survive it") {
  SimWorld w;
  SimBehaviour behaviour;
  behaviour.create = {seconds(5), seconds(5)};
  SimAgent& agent = w.cluster.add(agent_spec("a1"), behaviour);
  w.create("a1", 1);
  w.ask("a1", TriggerBatch{session_id(1), kernel_id(1), "sleep 30", {}});
  std::optional<Result<AgentReply>> pending;
  CreateKernels request;
  request.kernels.push_back(kernel_spec(2));
  w.cluster.request(w.endpoint("a1"), request, seconds(30),
                    [&](Result<AgentReply> r) { pending = std::move(r); });
  w.world.advance(seconds(1));
  w.cluster.crash(AgentId("a1"), true);
  CHECK(code_of(pending) == ErrorCode::Unavailable);
  CHECK(kind_of(w.ask("a1", PingAgent{})) == "agent-unreachable");
  const auto beats = w.all<AgentHeartbeat>().size();
  w.world.advance(seconds(60));  // its batch ends meanwhile
  CHECK(w.all<AgentHeartbeat>().size() == beats);
  CHECK(w.all<BatchFinished>().empty());
  CHECK(agent.live_kernels() == std::vector{kernel_id(1)});
  w.cluster.come_back(AgentId("a1"));
  w.world.advance(seconds(1));
  CHECK(w.all<AgentStarted>().size() == 2);
  CHECK(w.all<BatchFinished>().size() == 1);
  CHECK(w.all<AgentHeartbeat>().size() == beats + 1);

  w.cluster.crash(AgentId("a1"), false);
  CHECK(agent.live_kernels().empty());
  CHECK(agent.held().empty());
  w.cluster.come_back(AgentId("a1"));
  w.world.advance(seconds(1));
  CHECK(w.all<KernelTerminated>().empty());  // nobody is left who knows
}

TEST_CASE("simulated cluster: a hanging agent is silent, then does what it was asked meanwhile") {
  SimWorld w;
  w.cluster.add(agent_spec("a1"));
  w.world.advance(seconds(1));
  w.cluster.hang(AgentId("a1"));
  const auto beats = w.all<AgentHeartbeat>().size();
  CreateKernels request;
  request.kernels.push_back(kernel_spec(1));
  CHECK(code_of(w.ask("a1", request, seconds(60), seconds(10))) == ErrorCode::DeadlineExceeded);
  CHECK(w.all<AgentHeartbeat>().size() == beats);
  CHECK(w.all<KernelStarted>().empty());
  w.cluster.come_back(AgentId("a1"));
  w.world.advance(seconds(4));
  CHECK(w.all<KernelStarted>().size() == 1);
  CHECK(w.all<AgentHeartbeat>().size() > beats);
}

TEST_CASE("simulated cluster: events are sent again until they are taken") {
  SimWorld w;
  w.accept = false;
  SimAgent& agent = w.cluster.add(agent_spec("a1"), {}, seconds(3600));
  w.world.advance(milliseconds(6500));
  CHECK(w.all<AgentStarted>().size() == 4);
  CHECK(w.cluster.events_waiting() == 1);
  w.accept = true;
  w.world.advance(seconds(2));
  CHECK(w.cluster.events_waiting() == 0);
  const auto before = w.deliveries;
  w.world.advance(seconds(60));
  CHECK(w.deliveries == before);

  w.create("a1", 1);
  w.world.run();
  w.cluster.set_sink({});
  CHECK(agent.kill_kernel(kernel_id(1)));
  CHECK_FALSE(agent.kill_kernel(kernel_id(1)));
  w.world.advance(seconds(60));
  CHECK(w.cluster.events_waiting() == 1);
  w.cluster.crash(AgentId("a1"), true);  // what it had not told is lost with it
  CHECK(w.cluster.events_waiting() == 0);
}

TEST_CASE("simulated cluster: lost, doubled and held back messages") {
  SimWorld w;
  w.cluster.add(agent_spec("a1", 100, 100));
  w.cluster.set_request_faults(
      {.lose = 1, .duplicate = 0, .hold = 0, .hold_most = {}, .latency = {}});
  CHECK(code_of(w.create("a1", 1)) == ErrorCode::DeadlineExceeded);
  CHECK(w.cluster.totals_of(kernel_id(1)).creates == 0);
  w.cluster.set_request_faults(
      {.lose = 0, .duplicate = 1, .hold = 0, .hold_most = {}, .latency = {}});
  CHECK(kind_of(w.create("a1", 1)) != "(none)");
  CHECK(w.cluster.totals_of(kernel_id(1)).creates == 2);
  CHECK(w.cluster.totals_of(kernel_id(1)).created == 1);
  w.cluster.set_request_faults({});
  w.cluster.set_reply_faults(
      {.lose = 1, .duplicate = 0, .hold = 0, .hold_most = {}, .latency = {}});
  CHECK(code_of(w.create("a1", 2)) == ErrorCode::DeadlineExceeded);
  CHECK(w.cluster.totals_of(kernel_id(2)).started == 1);
  w.cluster.set_reply_faults(
      {.lose = 0, .duplicate = 1, .hold = 0, .hold_most = {}, .latency = {}});
  int replies = 0;
  w.cluster.request(w.endpoint("a1"), PingAgent{}, seconds(5),
                    [&](Result<AgentReply>) { ++replies; });
  w.world.advance(seconds(10));
  CHECK(replies == 1);
  w.cluster.set_reply_faults({});
  w.cluster.set_event_faults({.lose = 0,
                              .duplicate = 0,
                              .hold = 0.5,
                              .hold_most = seconds(1),
                              .latency = milliseconds(1)});
  w.events.clear();
  for (std::uint8_t n = 10; n < 40; ++n) w.create("a1", n);
  w.world.advance(seconds(10));
  int overtaken = 0;
  std::map<KernelId, int> stage;
  for (const auto& event : w.events) {
    if (const auto* e = std::get_if<KernelPreparing>(&event.body))
      overtaken += stage[e->kernel]++ > 0;
    if (const auto* e = std::get_if<KernelStarted>(&event.body)) stage[e->kernel]++;
  }
  CHECK(overtaken > 0);
  CHECK(w.all<KernelStarted>().size() == 30);
}

TEST_CASE("simulated cluster: requests fail when nobody is there, and end with the connection") {
  SimWorld w;
  SimBehaviour slow;
  slow.answer = {seconds(5), seconds(5)};
  w.cluster.add(agent_spec("a1"), slow);
  CHECK(kind_of(w.ask("nobody", PingAgent{})) == "agent-unreachable");
  std::optional<Result<AgentReply>> moved;
  w.cluster.request({AgentId("a1"), "tcp://elsewhere:1", ""}, PingAgent{}, seconds(30),
                    [&](Result<AgentReply> r) { moved = std::move(r); });
  w.world.advance(seconds(1));
  CHECK(kind_of(moved) == "agent-unreachable");

  std::optional<Result<AgentReply>> dropped;
  w.cluster.request(w.endpoint("a1"), PingAgent{}, seconds(30),
                    [&](Result<AgentReply> r) { dropped = std::move(r); });
  w.world.advance(seconds(1));
  w.cluster.forget(AgentId("a1"));
  w.world.run();
  CHECK(kind_of(dropped) == "agent-disconnected");

  bool answered = false;
  auto witness = std::make_shared<int>();
  w.cluster.request(w.endpoint("a1"), PingAgent{}, seconds(30),
                    [&answered, witness](Result<AgentReply>) { answered = true; });
  w.world.run();
  CHECK(w.cluster.requests_open() == 1);
  w.cluster.request(w.endpoint("a1"), PingAgent{}, seconds(30),
                    [&answered, witness](Result<AgentReply>) { answered = true; });
  w.cluster.disconnect();  // the second one has not been sent yet
  w.world.run();
  CHECK(w.cluster.requests_open() == 0);
  CHECK(witness.use_count() == 1);
  w.world.advance(seconds(60));
  CHECK_FALSE(answered);
}

TEST_CASE("simulated cluster: injected events, shrinking capacity, clean stop") {
  SimWorld w;
  SimAgent& agent = w.cluster.add(agent_spec("a1", 8));
  w.cluster.inject(
      {AgentId("a1"), KernelTerminated{kernel_id(99), session_id(99), "unknown", 1, ""}});
  w.world.run();
  REQUIRE(w.all<KernelTerminated>().size() == 1);
  CHECK(kind_of(w.create("a1", 1, "6")) == "(ok)");
  agent.set_capacity({{"cpu", Amount{4000}}, {"mem", Amount{8LL << 30}}});
  w.world.advance(seconds(4));
  CHECK(w.all<AgentHeartbeat>().back().info.slots.front().second == "4");
  CHECK(kind_of(w.create("a1", 2)) == "InsufficientResource");
  CHECK(agent.running_kernels().size() == 1);
  agent.stop();
  w.world.advance(seconds(10));
  REQUIRE(w.all<AgentTerminated>().size() == 1);
  CHECK(w.all<AgentTerminated>()[0].reason == "shutdown");
  CHECK_FALSE(agent.is_up());
  CHECK(agent.running_kernels().size() == 1);
}

TEST_CASE("simulated cluster: the same seed gives the same history, another one a different") {
  const auto history = [](std::uint64_t seed) {
    SimWorld w(seed);
    SimBehaviour behaviour;
    behaviour.create = {milliseconds(1), seconds(5)};
    behaviour.create_failure = 0.3;
    w.cluster.set_event_faults(
        {.lose = 0.2, .duplicate = 0.2, .hold = 0.2, .hold_most = seconds(3), .latency = {}});
    w.cluster.add(agent_spec("a1", 100, 100), behaviour);
    std::string text;
    for (std::uint8_t n = 1; n < 20; ++n) text += kind_of(w.create("a1", n)) + ";";
    w.world.advance(seconds(30));
    for (const auto& event : w.events) text += std::to_string(event.body.index()) + ",";
    return text;
  };
  CHECK(history(5) == history(5));
  CHECK(history(5) != history(6));
}

TEST_CASE("simulated cluster: destroying it answers what is open") {
  std::optional<Result<AgentReply>> open, late;
  ManualEnv world;
  {
    SimulatedCluster cluster(world.env().clock, world.outside(), 1);
    SimBehaviour slow;
    slow.answer = {seconds(5), seconds(5)};
    cluster.add(agent_spec("a1"), slow);
    cluster.request({AgentId("a1"), "tcp://a1:6001", ""}, PingAgent{}, seconds(30),
                    [&](Result<AgentReply> r) { open = std::move(r); });
    world.advance(seconds(1));
    cluster.request({AgentId("a1"), "tcp://a1:6001", ""}, PingAgent{}, seconds(30),
                    [&](Result<AgentReply> r) { late = std::move(r); });
  }
  CHECK(kind_of(open) == "gateway-stopped");
  world.advance(seconds(60));
  CHECK(kind_of(late) == "gateway-stopped");
}

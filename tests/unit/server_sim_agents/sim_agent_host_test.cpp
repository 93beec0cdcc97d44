#include "sim_agents/sim_agent_host.hpp"

#include <doctest/doctest.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <set>

#include "agent/gateway.hpp"

using namespace bai;
using namespace bai::server;

namespace {

constexpr std::chrono::seconds kPatience{20};

// A manager's ends of the two wires.
class Manager {
 public:
  Manager() {
    EventListenerOptions options;
    options.addr = "tcp://127.0.0.1:*";
    listener_ = std::move(*EventListener::create(options, [this](AgentEvent event, EventDone done) {
      {
        const std::lock_guard lock(mutex_);
        events_.push_back(std::move(event));
      }
      changed_.notify_all();
      done(true);
    }));
    gateway_ = std::move(*ZmqAgentGateway::create({}));
  }

  const std::string& event_addr() const { return listener_->addr(); }

  template <class Pred>
  bool wait_until(Pred pred) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return pred(events_); });
  }
  template <class E>
  bool wait_for_events(std::size_t count) {
    return wait_until([&](const std::vector<AgentEvent>& events) {
      std::size_t found = 0;
      for (const auto& event : events) found += std::holds_alternative<E>(event.body);
      return found >= count;
    });
  }

  Result<AgentReply> ask(const SimAgentHost& host, const char* agent, AgentRequest request,
                         Duration timeout = seconds(10)) {
    auto answer = std::make_shared<std::promise<Result<AgentReply>>>();
    auto future = answer->get_future();
    gateway_->request({AgentId(agent), host.rpc_addr(), ""}, std::move(request), timeout,
                      [answer](Result<AgentReply> r) { answer->set_value(std::move(r)); });
    if (future.wait_for(kPatience) != std::future_status::ready) {
      return fail(ErrorCode::Internal, "the gateway has not called back", "test");
    }
    return future.get();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<AgentEvent> events_;
  std::unique_ptr<EventListener> listener_;
  std::unique_ptr<ZmqAgentGateway> gateway_;
};

SimHostOptions options_for(const Manager& manager, int agents) {
  SimHostOptions options;
  options.event_addr = manager.event_addr();
  options.behaviour.heartbeat_interval = milliseconds(200);
  for (int i = 0; i < agents; ++i) {
    SimAgentSpec spec;
    spec.id = AgentId("agent-" + std::to_string(i));
    spec.capacity = {{"cpu", Amount{4000}}, {"mem", Amount{8LL << 30}}};
    options.agents.push_back(std::move(spec));
  }
  return options;
}

CreateKernels creation(std::uint8_t n) {
  CreateKernels request;
  request.session.bytes[15] = n;
  request.cluster_mode = "single-node";
  KernelSpec kernel;
  kernel.id.bytes[15] = n;
  kernel.image.canonical = "cr.backend.ai/stable/python:3";
  kernel.image.registry = "cr.backend.ai";
  kernel.image.project = "stable";
  kernel.image.architecture = "x86_64";
  kernel.image.is_local = true;
  kernel.session_type = "interactive";
  kernel.cluster_mode = "single-node";
  kernel.cluster_role = "main";
  kernel.slots = {{"cpu", "1"}, {"mem", "1073741824"}};
  request.kernels.push_back(std::move(kernel));
  return request;
}

}  // namespace

TEST_CASE("records say what was created twice, repeated or is still there") {
  Manager manager;
  auto host = SimAgentHost::create(options_for(manager, 2));
  REQUIRE(host);
  (*host)->start();
  REQUIRE(manager.wait_until([](const std::vector<AgentEvent>& events) {
    return !events.empty() && events.back().agent == AgentId("agent-1");
  }));
  CHECK(manager.ask(**host, "agent-0", creation(1)).has_value());
  CHECK(manager.ask(**host, "agent-0", creation(2)).has_value());
  CHECK((*host)->stats().created == 2);
  CHECK((*host)->stats().created_twice == 0);
  CHECK((*host)->stats().creates_repeated == 0);
  CHECK_FALSE(manager.ask(**host, "agent-0", creation(1)).has_value());
  CHECK((*host)->stats().created_twice == 0);
  CHECK((*host)->stats().creates_repeated == 1);
  CHECK(manager.ask(**host, "agent-1", creation(1)).has_value());
  const SimHostStats stats = (*host)->stats();
  CHECK(stats.created == 2);
  CHECK(stats.created_twice == 1);
  CHECK(stats.kernels == 3);
  CHECK(stats.overfull == 0);
}

TEST_CASE("simulated agents over sockets: all of them beat, spread over the interval") {
  Manager manager;
  auto host = SimAgentHost::create(options_for(manager, 20));
  REQUIRE(host);
  (*host)->start();
  CHECK(manager.wait_until([](const std::vector<AgentEvent>& events) {
    std::set<AgentId> seen;
    for (const auto& event : events) {
      if (std::holds_alternative<AgentHeartbeat>(event.body)) seen.insert(event.agent);
    }
    return seen.size() == 20;
  }));
  CHECK((*host)->stats().announced == 20);
  CHECK((*host)->stop(seconds(5)));
  CHECK(manager.wait_for_events<AgentTerminated>(20));
}

TEST_CASE("simulated agents over sockets: create, repeat, execute, files, destroy") {
  Manager manager;
  auto host = SimAgentHost::create(options_for(manager, 2));
  REQUIRE(host);
  (*host)->start();
  REQUIRE(manager.wait_for_events<AgentHeartbeat>(4));
  const CreateKernels request = creation(1);
  const KernelId kernel = request.kernels[0].id;
  const auto created = manager.ask(**host, "agent-1", request);
  REQUIRE_MESSAGE(created.has_value(), created.error().message);
  CHECK(manager.wait_for_events<KernelStarted>(1));
  const auto repeated = manager.ask(**host, "agent-1", request);
  REQUIRE_FALSE(repeated);
  CHECK(repeated.error().code == ErrorCode::Internal);
  CHECK(repeated.error().kind == "ResourceError");
  const auto elsewhere = manager.ask(**host, "agent-0", CheckRunning{kernel});
  REQUIRE(elsewhere);
  CHECK_FALSE(elsewhere->value.as_bool(true));

  const auto run =
      manager.ask(**host, "agent-1",
                  Execute{request.session, kernel, "r", "query", "hello", Json::object(), {}});
  REQUIRE(run);
  CHECK(run->value["status"].as_string() == "finished");
  CHECK(manager.ask(**host, "agent-1", UploadFile{kernel, "x.txt", {'a', 'b'}}));
  const auto archive = manager.ask(**host, "agent-1", DownloadFile{kernel, "x.txt"});
  REQUIRE(archive);
  CHECK(archive->data.size() == 4 * 512);

  CHECK((*host)->stats().kernels == 1);
  CHECK(manager.ask(**host, "agent-1",
                    DestroyKernel{kernel, request.session, "user-requested", false}));
  CHECK(manager.wait_for_events<KernelTerminated>(1));
  CHECK((*host)->stats().kernels == 0);
}

TEST_CASE("simulated agents over sockets: failures on demand, lost replies, unknown agents") {
  Manager manager;
  SimHostOptions options = options_for(manager, 2);
  options.lose_replies = 1;
  auto host = SimAgentHost::create(options);
  REQUIRE(host);
  (*host)->start();
  REQUIRE(manager.wait_for_events<AgentHeartbeat>(2));
  const auto lost = manager.ask(**host, "agent-0", CheckRunning{}, milliseconds(300));
  REQUIRE_FALSE(lost);
  CHECK(lost.error().code == ErrorCode::DeadlineExceeded);

  auto second = SimAgentHost::create(options_for(manager, 2));
  REQUIRE(second);
  (*second)->start();
  REQUIRE(manager.wait_for_events<AgentStarted>(4));
  const auto stranger = manager.ask(**second, "agent-9", CheckRunning{});
  REQUIRE_FALSE(stranger);
  CHECK(stranger.error().kind == "AgentIdNotFoundError");
  CHECK((*second)->with_agent(AgentId("agent-1"), [](SimAgent& agent) {
    agent.fail_next_creates("PortConflictError", 1);
  }));
  CHECK_FALSE((*second)->with_agent(AgentId("agent-9"), [](SimAgent&) {}));
  const auto failed = manager.ask(**second, "agent-1", creation(5));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().kind == "PortConflictError");
}

TEST_CASE("simulated agents over sockets: options that make no sense are refused") {
  Manager manager;
  CHECK_FALSE(SimAgentHost::create(options_for(manager, 0)));
  SimHostOptions twice = options_for(manager, 2);
  twice.agents[1].id = twice.agents[0].id;
  CHECK_FALSE(SimAgentHost::create(twice));
  SimHostOptions share = options_for(manager, 1);
  share.lose_replies = 1.5;
  CHECK_FALSE(SimAgentHost::create(share));
  SimHostOptions delay = options_for(manager, 1);
  delay.behaviour.create = {seconds(2), seconds(1)};
  CHECK_FALSE(SimAgentHost::create(delay));
  SimHostOptions interval = options_for(manager, 1);
  interval.behaviour.heartbeat_interval = {};
  CHECK_FALSE(SimAgentHost::create(interval));
}

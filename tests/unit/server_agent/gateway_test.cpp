// The gateway against the RPC server, over real sockets on loopback.
#include "agent/gateway.hpp"

#include <atomic>
#include <set>

#include "agent/rpc_server.hpp"
#include "support.hpp"

namespace bai::server {

using namespace test;

namespace {

const AgentId kAgent("i-agent01");

GatewayOptions quick_options() {
  GatewayOptions options;
  options.handshake_timeout = milliseconds(500);
  options.backoff_min = milliseconds(20);
  options.backoff_max = milliseconds(100);
  return options;
}

std::unique_ptr<ZmqAgentGateway> make_gateway(GatewayOptions options = quick_options()) {
  auto gateway = ZmqAgentGateway::create(std::move(options));
  REQUIRE(gateway);
  return *std::move(gateway);
}

// Answers by method: the path of list_files says what to do.
void serve(DecodedRequest request, RpcReplier replier) {
  const auto* files = std::get_if<ListFiles>(&request.request);
  if (files == nullptr) {
    if (const auto* upload = std::get_if<UploadFile>(&request.request))
      return replier.ok(Json(static_cast<std::int64_t>(upload->data.size())));
    if (std::holds_alternative<DownloadFile>(request.request)) return replier.ok_bytes({9, 8, 7});
    if (std::holds_alternative<PingAgent>(request.request)) return replier.ok("ping");
    return replier.ok(Json(request.agent.str()));
  }
  if (files->path == "fail") return replier.fail("KeyError", "no such kernel");
  if (files->path == "drop") return;
  if (files->path == "never") return replier.abandon();
  replier.ok(Json(files->path));
}

struct Server {
  explicit Server(RpcHandler handler = serve, RpcServerOptions options = {},
                  const std::string& addr = "tcp://127.0.0.1:*") {
    auto made = RpcServer::create(std::move(options), std::move(handler));
    REQUIRE(made);
    rpc = *std::move(made);
    auto bound = rpc->bind(addr, AgentId("primary"));
    REQUIRE_MESSAGE(bound, (bound ? "" : bound.error().message));
    endpoint = {kAgent, *bound, {}};
  }
  std::unique_ptr<RpcServer> rpc;
  AgentEndpoint endpoint;
};

ListFiles path(std::string text) { return {kKernel, std::move(text)}; }

}  // namespace

TEST_CASE("calls reach the handler with their agent and come back with values or bytes") {
  Server server;
  auto gateway = make_gateway();
  CHECK(Call(*gateway, server.endpoint, path("hello"), seconds(10)).get()->value == Json("hello"));
  CHECK(Call(*gateway, server.endpoint, GetLogs{kKernel}, seconds(10)).get()->value ==
        Json("i-agent01"));
  CHECK(Call(*gateway, server.endpoint, DownloadFile{kKernel, "x"}, seconds(10)).get()->data ==
        Bytes{9, 8, 7});
  CHECK(Call(*gateway, server.endpoint, UploadFile{kKernel, "x", Bytes(3'000'000, 1)}, seconds(20))
            .get()
            ->value == Json(3'000'000));
  CHECK(Call(*gateway, server.endpoint, PingAgent{}, seconds(10)).get()->value == Json("ping"));
  const GatewayStats stats = gateway->stats();
  CHECK(stats.requests == 5);
  CHECK(stats.replies == 5);
  CHECK(stats.dials == 1);
  CHECK(stats.connected == 1);
  CHECK(stats.in_flight == 0);
}

TEST_CASE("the reply of one request may send the next one") {
  Server server;
  auto gateway = make_gateway();
  std::promise<std::string> promise;
  gateway->request(server.endpoint, path("a"), seconds(10), [&](Result<AgentReply> first) {
    REQUIRE(first);
    gateway->request(server.endpoint, path("b"), seconds(10), [&](Result<AgentReply> second) {
      promise.set_value(std::string(second->value.as_string()));
    });
  });
  CHECK(promise.get_future().get() == "b");
}

TEST_CASE("failures carry the exception's class and text; a dropped call is a RuntimeError") {
  Server server;
  auto gateway = make_gateway();
  const auto failed = Call(*gateway, server.endpoint, path("fail"), seconds(10)).get();
  CHECK(failed.error().code == ErrorCode::Internal);
  CHECK(failed.error().kind == "KeyError");
  CHECK(failed.error().message == "no such kernel");
  CHECK(Call(*gateway, server.endpoint, path("drop"), seconds(10)).get().error().kind ==
        "RuntimeError");
  CHECK(gateway->stats().failures == 2);
}

TEST_CASE("requests are pipelined and matched whatever the order of the answers") {
  std::mutex mutex;
  std::vector<std::pair<std::string, RpcReplier>> held;
  Server server([&](DecodedRequest request, RpcReplier replier) {
    const std::lock_guard lock(mutex);
    held.emplace_back(std::get<ListFiles>(request.request).path, std::move(replier));
  });
  auto gateway = make_gateway();
  constexpr int kCalls = 500;
  std::vector<Call> calls;
  for (int i = 0; i < kCalls; ++i)
    calls.emplace_back(*gateway, server.endpoint, path(std::to_string(i)), seconds(30));
  REQUIRE(eventually([&] {
    const std::lock_guard lock(mutex);
    return held.size() == kCalls;
  }));
  CHECK(gateway->stats().in_flight == kCalls);
  CHECK(server.rpc->stats().in_flight == kCalls);
  std::thread replying([&] {  // backwards, from another thread
    for (auto it = held.rbegin(); it != held.rend(); ++it) it->second.ok(Json(it->first));
  });
  for (int i = 0; i < kCalls; ++i)
    CHECK(calls[static_cast<std::size_t>(i)].get()->value == Json(std::to_string(i)));
  replying.join();
}

TEST_CASE("a deadline sends a cancel, and the late answer goes nowhere") {
  std::mutex mutex;
  std::optional<RpcReplier> held;
  std::atomic<bool> told{false};
  Server server([&](DecodedRequest, RpcReplier replier) {
    replier.on_cancel([&] { told = true; });
    const std::lock_guard lock(mutex);
    held.emplace(std::move(replier));
  });
  auto gateway = make_gateway();
  const auto result = Call(*gateway, server.endpoint, path("x"), milliseconds(300)).get();
  CHECK(result.error().code == ErrorCode::DeadlineExceeded);
  CHECK(eventually([&] { return told.load(); }));
  {
    const std::lock_guard lock(mutex);
    CHECK(held->cancelled());
    held->ok(Json(1));
    held.reset();
  }
  CHECK(server.rpc->stats().cancels == 1);
  CHECK(server.rpc->stats().in_flight == 0);
  CHECK(gateway->stats().timeouts == 1);
  CHECK(gateway->stats().late == 0);  // the answer to a cancel is not a late reply
}

TEST_CASE("an agent that opens its port late is reached all the same") {
  std::string addr;
  {
    Server probe;  // finds a free port
    addr = probe.endpoint.addr;
  }
  auto gateway = make_gateway();
  Call call(*gateway, {kAgent, addr, {}}, path("at last"), seconds(20));
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  CHECK_FALSE(call.done());
  CHECK(gateway->stats().handshake_failures >= 1);
  CHECK(gateway->stats().waiting == 1);
  Server server(serve, {}, addr);
  CHECK(call.get()->value == Json("at last"));
}

TEST_CASE("an agent that never answers is Unavailable at the deadline, not DeadlineExceeded") {
  RawSocket silent(ZMQ_ROUTER);
  auto gateway = make_gateway();
  const AgentEndpoint to{kAgent, silent.bind("tcp://127.0.0.1:*"), {}};
  const auto result = Call(*gateway, to, path("x"), milliseconds(700)).get();
  CHECK(result.error().code == ErrorCode::Unavailable);
  CHECK(result.error().kind == "agent-unreachable");
  CHECK(gateway->stats().unreachable == 1);
}

TEST_CASE("a restarted server: what was in flight fails at once, what follows is served") {
  auto first = std::make_unique<Server>();
  auto gateway = make_gateway();
  const AgentEndpoint to = first->endpoint;
  Call lost(*gateway, to, path("never"), seconds(1000));
  REQUIRE(eventually([&] { return first->rpc->stats().requests == 1; }));
  first.reset();
  const auto result = lost.get();
  CHECK(result.error().code == ErrorCode::Unavailable);
  CHECK(result.error().kind == "agent-disconnected");
  Call waiting(*gateway, to, path("back"), seconds(20));
  Server second(serve, {}, to.addr);
  CHECK(waiting.get()->value == Json("back"));
  CHECK(gateway->stats().disconnects == 1);
}

TEST_CASE("an address change re-dials and takes waiting requests along") {
  Server first, second;
  auto gateway = make_gateway();
  Call stuck(*gateway, first.endpoint, path("never"), seconds(1000));
  REQUIRE(eventually([&] { return first.rpc->stats().requests == 1; }));
  CHECK(Call(*gateway, second.endpoint, path("moved"), seconds(10)).get()->value == Json("moved"));
  CHECK(stuck.get().error().kind == "agent-disconnected");
  CHECK(second.rpc->stats().requests == 1);

  RawSocket silent(ZMQ_ROUTER);
  const AgentId other("i-other");
  Call waiting(*gateway, {other, silent.bind("tcp://127.0.0.1:*"), {}}, path("w"), seconds(20));
  Call after(*gateway, {other, second.endpoint.addr, {}}, path("v"), seconds(20));
  CHECK(waiting.get()->value == Json("w"));
  CHECK(after.get()->value == Json("v"));
}

TEST_CASE("forget drops the connection and everything open") {
  Server server;
  auto gateway = make_gateway();
  Call open(*gateway, server.endpoint, path("never"), seconds(1000));
  REQUIRE(eventually([&] { return gateway->stats().connected == 1; }));
  gateway->forget(kAgent);
  CHECK(open.get().error().kind == "agent-disconnected");
  CHECK(eventually([&] { return gateway->stats().connected == 0; }));
  gateway->forget(AgentId("unknown"));
  CHECK(Call(*gateway, server.endpoint, path("again"), seconds(10)).get()->value == Json("again"));
}

TEST_CASE("destroying the gateway answers everything that is open") {
  Server server;
  auto gateway = make_gateway();
  Call sent(*gateway, server.endpoint, path("never"), seconds(1000));
  Call unsent(*gateway, {AgentId("far"), "tcp://127.0.0.1:1", {}}, path("x"), seconds(1000));
  REQUIRE(eventually([&] { return server.rpc->stats().requests == 1; }));
  gateway.reset();
  CHECK(sent.get().error().kind == "gateway-stopped");
  CHECK(unsent.get().error().code == ErrorCode::Unavailable);
}

TEST_CASE("limits on open requests: per agent and together") {
  Server server;
  GatewayOptions options = quick_options();
  options.max_pending_per_agent = 2;
  options.max_pending = 3;
  auto gateway = make_gateway(options);
  Call a(*gateway, server.endpoint, path("never"), seconds(1000));
  Call b(*gateway, server.endpoint, path("never"), seconds(1000));
  CHECK(Call(*gateway, server.endpoint, path("x"), seconds(10)).get().error().kind ==
        "agent-queue-full");
  Call c(*gateway, {AgentId("far"), "tcp://127.0.0.1:1", {}}, path("x"), seconds(1000));
  const auto refused =
      Call(*gateway, {AgentId("far"), "tcp://127.0.0.1:1", {}}, path("x"), seconds(9)).get();
  CHECK(refused.error().code == ErrorCode::Unavailable);
  CHECK(refused.error().message.find("3 agent requests") != std::string::npos);
  gateway->forget(kAgent);
  CHECK(a.get().error().code == ErrorCode::Unavailable);
  CHECK(Call(*gateway, server.endpoint, path("room"), seconds(10)).get()->value == Json("room"));
}

TEST_CASE("addresses and keys that cannot work fail at once with the reason") {
  auto gateway = make_gateway();
  const auto bad = Call(*gateway, {kAgent, "10.0.0.1:6001", {}}, path("x"), seconds(100)).get();
  CHECK(bad.error().kind == "agent-address");
  CHECK(bad.error().message.find("tcp://host:port") != std::string::npos);
  const auto pair = *generate_curve_key_pair();
  const auto keyless =
      Call(*gateway, {kAgent, "tcp://127.0.0.1:1", pair.public_key}, path("x"), seconds(100)).get();
  CHECK(keyless.error().kind == "agent-auth");
  GatewayOptions options = quick_options();
  options.manager_keys = pair;
  auto with_keys = make_gateway(options);
  CHECK(Call(*with_keys, {kAgent, "tcp://127.0.0.1:1", "short"}, path("x"), seconds(100))
            .get()
            .error()
            .kind == "agent-auth");
  options.manager_keys.secret_key = "nonsense";
  CHECK(ZmqAgentGateway::create(options).error().code == ErrorCode::InvalidArgument);
  const auto huge =
      Call(*gateway, {AgentId(), "tcp://127.0.0.1:1", {}}, path("x"), seconds(9)).get();
  CHECK(huge.error().code == ErrorCode::InvalidArgument);
}

TEST_CASE("nonsense from an agent is counted, logged once and survived") {
  RawSocket agent(ZMQ_ROUTER);
  MemoryLog log;
  GatewayOptions options = quick_options();
  options.log = &log;
  auto gateway = make_gateway(options);
  const AgentEndpoint to{kAgent, agent.bind("tcp://127.0.0.1:*"), {}};
  Call call(*gateway, to, path("x"), seconds(20));
  auto ping = agent.receive();
  REQUIRE(ping.size() == 4);
  CHECK(ping[1] == bytes_of("PING"));
  const Bytes peer = ping[0];
  agent.send({peer, bytes_of("PONG"), {}, {}});
  auto request = agent.receive();
  REQUIRE(request.size() == 4);
  CHECK(hex(request[2]) ==
        hex(wire::encode_header({wire::MessageType::Function, "list_files", {}, 0})));

  agent.send({peer, bytes_of("UPPER")});                                    // too few frames
  agent.send({peer, bytes_of("LOWER"), {}, {}});                            // unknown type
  agent.send({peer, bytes_of("UPPER"), bytes_of("junk"), {}});              // bad header
  agent.send({peer, bytes_of("UPPER"), request[2], request[3]});            // a call, from an agent
  agent.send({peer, Bytes(100, 'x'), {}, {}, {}, {}, {}, {}, {}, {}, {}});  // too many frames
  const auto reply = [&](std::string method, std::uint32_t seq, Bytes body,
                         wire::MessageType type = wire::MessageType::Result) {
    agent.send({peer, bytes_of("UPPER"), wire::encode_header({type, std::move(method), {}, seq}),
                std::move(body)});
  };
  reply("list_files", 99, *wire::encode_result(Json(1)));  // nobody asked
  reply("get_logs", 0, *wire::encode_result(Json(1)));     // another method
  agent.send({peer, bytes_of("PING"), bytes_of("h"), bytes_of("b")});
  const auto pong = agent.receive();
  REQUIRE(pong.size() == 4);
  CHECK(pong[1] == bytes_of("PONG"));
  CHECK(pong[2] == bytes_of("h"));
  CHECK_FALSE(call.done());
  CHECK(gateway->stats().malformed == 5);
  CHECK(log.count("Agent i-agent01 has sent a message of 1 frames") == 1);
  CHECK(log.count("has sent") == 1);
  CHECK(gateway->stats().late == 2);
  CHECK(log.count("Agent i-agent01 has answered `list_files` when nobody waited") == 1);
  CHECK(log.count("has answered") == 1);

  reply("list_files", 0, bytes_of("junk"));
  CHECK(call.get().error().kind == "malformed-reply");
  Call failed(*gateway, to, path("x"), seconds(20));
  CHECK(agent.receive().size() == 4);
  reply("list_files", 1, wire::encode_failure("RPCError", "boom", ""), wire::MessageType::Error);
  CHECK(failed.get().error().kind == "RPCError");
  Call cancelled(*gateway, to, path("x"), seconds(20));
  CHECK(agent.receive().size() == 4);
  reply("list_files", 2, wire::encode_cancel(), wire::MessageType::Cancelled);
  CHECK(cancelled.get().error().kind == "CancelledError");
}

TEST_CASE("health pings: an agent that falls silent is dropped after three failures") {
  RawSocket agent(ZMQ_ROUTER);
  GatewayOptions options = quick_options();
  options.ping_interval = milliseconds(60);
  options.ping_timeout = milliseconds(40);
  MemoryLog log;
  options.log = &log;
  auto gateway = make_gateway(options);
  Call call(*gateway, {kAgent, agent.bind("tcp://127.0.0.1:*"), {}}, path("x"), seconds(1000));
  auto ping = agent.receive();
  agent.send({ping[0], bytes_of("PONG"), {}, {}});
  const auto result = call.get();
  CHECK(result.error().kind == "agent-disconnected");
  CHECK(gateway->stats().ping_failures == 3);
  CHECK(log.count("health pings went unanswered") == 1);
  CHECK(agent.receive().at(1) == bytes_of("UPPER"));  // the call
  const auto first = wire::decode_header(agent.receive().at(2));
  CHECK(first->method == "ping");
}

TEST_CASE("health pings that are answered keep the connection") {
  Server server;
  GatewayOptions options = quick_options();
  options.ping_interval = milliseconds(20);
  auto gateway = make_gateway(options);
  CHECK(Call(*gateway, server.endpoint, path("x"), seconds(10)).get());
  CHECK(eventually([&] { return server.rpc->stats().requests > 5; }));
  CHECK(gateway->stats().dials == 1);
  CHECK(gateway->stats().ping_failures == 0);
  CHECK(gateway->stats().requests == 1);  // the gateway's own pings are not requests
}

TEST_CASE("CURVE: the right keys talk, wrong ones do not") {
  const auto manager = *generate_curve_key_pair(), agent = *generate_curve_key_pair(),
             stranger = *generate_curve_key_pair();
  RpcServerOptions secure;
  secure.keys = agent;
  secure.manager_public_key = manager.public_key;
  Server server(serve, secure);
  AgentEndpoint to = server.endpoint;
  to.public_key = agent.public_key;

  GatewayOptions options = quick_options();
  options.manager_keys = manager;
  auto gateway = make_gateway(options);
  CHECK(Call(*gateway, to, path("secret"), seconds(10)).get()->value == Json("secret"));

  options.manager_keys = stranger;
  auto foreign = make_gateway(options);
  CHECK(Call(*foreign, to, path("x"), milliseconds(600)).get().error().code ==
        ErrorCode::Unavailable);
  CHECK(server.rpc->stats().auth_denied >= 1);

  auto plain = make_gateway();
  CHECK(Call(*plain, server.endpoint, path("x"), milliseconds(600)).get().error().code ==
        ErrorCode::Unavailable);
  CHECK(server.rpc->stats().requests == 1);

  secure.manager_public_key = "short";
  CHECK(RpcServer::create(secure, serve).error().code == ErrorCode::InvalidArgument);
}

TEST_CASE("hundreds of agents, on many ports and behind one") {
  raise_open_file_limit();
  Server server;
  constexpr int kPorts = 100, kShared = 200, kRounds = 3;
  std::vector<AgentEndpoint> agents;
  for (int i = 0; i < kPorts; ++i) {
    const AgentId id("own-" + std::to_string(i));
    auto addr = server.rpc->bind("tcp://127.0.0.1:*", id);
    REQUIRE(addr);
    agents.push_back({id, *addr, {}});
  }
  for (int i = 0; i < kShared; ++i)
    agents.push_back({AgentId("shared-" + std::to_string(i)), server.endpoint.addr, {}});
  auto gateway = make_gateway({});  // patient: the machine may be busy
  for (int round = 0; round < kRounds; ++round) {
    std::vector<Call> calls;
    for (const AgentEndpoint& agent : agents)
      calls.emplace_back(*gateway, agent, GetLogs{kKernel}, seconds(30));
    for (std::size_t i = 0; i < agents.size(); ++i)
      CHECK(calls[i].get()->value == Json(agents[i].id.str()));
  }
  CHECK(gateway->stats().connected == agents.size());
  CHECK(gateway->stats().dials >= agents.size());  // a slow handshake is tried again
}

TEST_CASE("requests from many threads at once") {
  Server server;
  auto gateway = make_gateway();
  constexpr int kThreads = 4, kEach = 300;
  std::atomic<int> right{0}, finished{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          const std::string text = std::to_string(t * kEach + i);
          gateway->request(server.endpoint, path(text), seconds(30),
                           [&, text](Result<AgentReply> r) {
                             if (r && r->value == Json(text)) ++right;
                             ++finished;
                           });
        }
      });
  }
  CHECK(eventually([&] { return finished == kThreads * kEach; }));
  CHECK(right == kThreads * kEach);
}

}  // namespace bai::server

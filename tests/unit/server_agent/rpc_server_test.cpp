#include "agent/rpc_server.hpp"

#include "support.hpp"

namespace bai::server {

using namespace test;
using wire::Header;
using wire::MessageType;

namespace {

std::unique_ptr<RpcServer> make_server(RpcHandler handler, RpcServerOptions options = {}) {
  auto server = RpcServer::create(std::move(options), std::move(handler));
  REQUIRE(server);
  return *std::move(server);
}

std::vector<Bytes> call(const AgentRequest& request, std::uint32_t seq, const AgentId& agent) {
  return {bytes_of("UPPER"),
          wire::encode_header({MessageType::Function, std::string(request_name(request)), {}, seq}),
          *wire::encode_function(agent, request)};
}

void echo_agent(DecodedRequest request, RpcReplier replier) {
  replier.ok(Json(request.agent.str()));
}

}  // namespace

TEST_CASE("a ping is echoed with its frames") {
  auto server = make_server(echo_agent);
  RawSocket client(ZMQ_DEALER);
  client.connect(*server->bind("tcp://127.0.0.1:*"));
  client.send({bytes_of("PING"), bytes_of("a"), bytes_of("b")});
  CHECK(client.receive() == std::vector<Bytes>{bytes_of("PONG"), bytes_of("a"), bytes_of("b")});
  CHECK(server->stats().pings == 1);
}

TEST_CASE("replies echo the ordering key with its type and the number") {
  auto server = make_server(echo_agent);
  RawSocket client(ZMQ_DEALER);
  client.connect(*server->bind("tcp://127.0.0.1:*"));
  for (const wire::OrderingKey& okey :
       {wire::OrderingKey{"", true}, wire::OrderingKey{"k", false}}) {
    const Header header{MessageType::Function, "get_logs", okey, 4294967295U};
    client.send({bytes_of("UPPER"), wire::encode_header(header),
                 *wire::encode_function(AgentId("a"), GetLogs{kKernel})});
    const auto reply = client.receive();
    REQUIRE(reply.size() == 3);
    CHECK(*wire::decode_header(reply[1]) ==
          Header{MessageType::Result, "get_logs", okey, 4294967295U});
    CHECK(wire::decode_result(reply[2])->value == Json("a"));
  }
}

TEST_CASE("malformed messages are counted and logged once; the server goes on") {
  MemoryLog log;
  RpcServerOptions options;
  options.log = &log;
  auto server = make_server(echo_agent, options);
  RawSocket client(ZMQ_DEALER);
  client.connect(*server->bind("tcp://127.0.0.1:*"));
  const auto good = call(GetLogs{kKernel}, 1, AgentId("a"));
  client.send({bytes_of("UPPER"), good[1]});
  client.send({bytes_of("UPPER"), good[1]});
  client.send({bytes_of("HELLO"), good[1], good[2]});
  client.send({bytes_of("UPPER"), bytes_of("junk"), good[2]});
  client.send({bytes_of("UPPER"), wire::encode_header({MessageType::Result, "x", {}, 1}), good[2]});
  client.send({bytes_of("PONG"), {}, {}});  // ignored
  client.send({good[0], good[1], bytes_of("junk")});
  auto reply = client.receive();
  REQUIRE(reply.size() == 3);
  CHECK(wire::decode_header(reply[1])->type == MessageType::Failure);
  CHECK(wire::decode_failure(reply[2]).kind == "ValueError");
  client.send(
      {good[0], wire::encode_header({MessageType::Function, "launch_missiles", {}, 2}), good[2]});
  reply = client.receive();
  CHECK(wire::decode_failure(reply.at(2)).kind == "NotImplementedError");
  client.send(good);
  reply = client.receive();
  CHECK(wire::decode_result(reply.at(2))->value == Json("a"));
  CHECK(server->stats().malformed == 5);
  CHECK(server->stats().rejected == 2);
  CHECK(log.count("has not three frames") == 1);
}

TEST_CASE("oversized frames cost the connection, nothing more") {
  RpcServerOptions options;
  options.max_frame_bytes = 10000;
  auto server = make_server(echo_agent, options);
  const std::string addr = *server->bind("tcp://127.0.0.1:*");
  RawSocket big(ZMQ_DEALER);
  big.connect(addr);
  auto frames = call(UploadFile{kKernel, "x", Bytes(20000, 1)}, 1, AgentId("a"));
  big.send(frames);
  CHECK(big.receive(300).empty());
  RawSocket client(ZMQ_DEALER);
  client.connect(addr);
  client.send(call(GetLogs{kKernel}, 1, AgentId("a")));
  CHECK(client.receive().size() == 3);
  CHECK(server->stats().requests == 1);
}

TEST_CASE("open calls are limited, and their numbers must differ") {
  std::vector<RpcReplier> held;
  std::mutex mutex;
  RpcServerOptions options;
  options.max_in_flight = 2;
  auto server = make_server(
      [&](DecodedRequest, RpcReplier replier) {
        const std::lock_guard lock(mutex);
        held.push_back(std::move(replier));
      },
      options);
  RawSocket client(ZMQ_DEALER);
  client.connect(*server->bind("tcp://127.0.0.1:*"));
  client.send(call(GetLogs{kKernel}, 1, AgentId("a")));
  client.send(call(GetLogs{kKernel}, 1, AgentId("a")));  // the same number
  client.send(call(GetLogs{kKernel}, 2, AgentId("a")));
  client.send(call(GetLogs{kKernel}, 3, AgentId("a")));
  const auto reply = client.receive();
  REQUIRE(reply.size() == 3);
  CHECK(wire::decode_header(reply[1])->seq == 3);
  CHECK(wire::decode_failure(reply[2]).kind == "ResourceError");
  CHECK(server->stats().malformed == 1);
  CHECK(server->stats().in_flight == 2);
  const std::lock_guard lock(mutex);
  held.clear();  // each answers with a RuntimeError
  CHECK(wire::decode_failure(client.receive().at(2)).kind == "RuntimeError");
}

TEST_CASE("a call without agent_id is for the port's primary agent") {
  auto server = make_server(echo_agent);
  const std::string one = *server->bind("tcp://127.0.0.1:*", AgentId("first"));
  const std::string two = *server->bind("tcp://127.0.0.1:*", AgentId("second"));
  RawSocket client(ZMQ_DEALER);
  client.connect(two);
  client.send(call(PingAgent{}, 1, AgentId()));
  CHECK(wire::decode_result(client.receive().at(2))->value == Json("second"));
  CHECK(one != two);
}

TEST_CASE("ports: a taken one, a closed one, an impossible one") {
  auto server = make_server(echo_agent);
  const std::string addr = *server->bind("tcp://127.0.0.1:*");
  CHECK(server->bind(addr).error().code == ErrorCode::AlreadyExists);
  CHECK(server->bind("ipc:///tmp/x").error().code == ErrorCode::InvalidArgument);
  CHECK(server->bind("tcp://nowhere").error().code == ErrorCode::InvalidArgument);
  CHECK(server->unbind("tcp://127.0.0.1:1").error().code == ErrorCode::NotFound);
  for (int i = 0; i < 10; ++i) {  // the address is free as soon as unbind returns
    CHECK(server->unbind(addr));
    const auto again = server->bind(addr);
    REQUIRE_MESSAGE(again, (again ? "" : again.error().message));
    CHECK(*again == addr);
  }
}

TEST_CASE("a replier may outlive its server, its port and its call") {
  std::optional<RpcReplier> held;
  std::atomic<int> calls{0};
  auto server = make_server([&](DecodedRequest, RpcReplier replier) {
    held.emplace(std::move(replier));
    ++calls;
  });
  const std::string addr = *server->bind("tcp://127.0.0.1:*");
  RawSocket client(ZMQ_DEALER);
  client.connect(addr);
  client.send(call(GetLogs{kKernel}, 1, AgentId("a")));
  REQUIRE(eventually([&] { return calls == 1; }));
  CHECK(server->unbind(addr));
  CHECK(server->stats().in_flight == 0);
  held->ok(Json(1));  // its port is gone
  CHECK(server->bind(addr));
  RawSocket second(ZMQ_DEALER);
  second.connect(addr);
  second.send(call(GetLogs{kKernel}, 2, AgentId("a")));
  REQUIRE(eventually([&] { return calls == 2; }));
  server.reset();
  held->fail("KeyError", "x");  // its server is gone
}

TEST_CASE("on_cancel set after the cancel runs at once") {
  std::optional<RpcReplier> held;
  std::atomic<int> calls{0};
  auto server = make_server([&](DecodedRequest, RpcReplier replier) {
    held.emplace(std::move(replier));
    ++calls;
  });
  RawSocket client(ZMQ_DEALER);
  client.connect(*server->bind("tcp://127.0.0.1:*"));
  client.send(call(GetLogs{kKernel}, 5, AgentId("a")));
  REQUIRE(eventually([&] { return calls == 1; }));
  client.send({bytes_of("UPPER"), wire::encode_header({MessageType::Cancel, "get_logs", {}, 5}),
               wire::encode_cancel()});
  const auto reply = client.receive();
  CHECK(wire::decode_header(reply.at(1))->type == MessageType::Cancelled);
  REQUIRE(eventually([&] { return held->cancelled(); }));
  bool ran = false;
  held->on_cancel([&] { ran = true; });
  CHECK(ran);
  // Cancelling what is not open does nothing.
  client.send({bytes_of("UPPER"), wire::encode_header({MessageType::Cancel, "get_logs", {}, 6}),
               wire::encode_cancel()});
  CHECK(client.receive(100).empty());
  CHECK(server->stats().cancels == 1);
}

}  // namespace bai::server

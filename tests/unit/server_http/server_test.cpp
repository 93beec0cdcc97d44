#include "http/server.hpp"

#include <doctest/doctest.h>

#include <thread>

#include "unit/server_http/test_server.hpp"

using namespace bai;
using namespace bai::http;
using namespace bai::http::test;

TEST_CASE("a request reaches the handler and its answer the client") {
  TestServer server;
  Client client(server.port());
  REQUIRE(client.send("GET /echo/a%20b?x=1&y=%41+b HTTP/1.1\r\nHost: h\r\nX-Thing:  v \r\n\r\n"));
  const auto reply = client.read_reply();
  REQUIRE(reply);
  CHECK(reply->status == 200);
  CHECK(reply->header("Server") == "BackendAI");
  CHECK(reply->header("Content-Type") == "application/json");
  CHECK(!reply->header("Date").empty());
  const auto body = Json::parse(reply->body);
  REQUIRE(body);
  CHECK((*body)["path"].as_string() == "/echo/a b");
  CHECK((*body)["target"].as_string() == "/echo/a%20b?x=1&y=%41+b");
  CHECK((*body)["y"].as_string() == "A b");
  CHECK((*body)["x-thing"].as_string() == "v");
  CHECK((*body)["peer"].as_string() == "127.0.0.1");
  CHECK((*body)["age_ms"].as_int(-1) >= 0);
  CHECK((*body)["age_ms"].as_int(-1) < 5000);
  CHECK(server->counters().requests == 1);
  CHECK(server->counters().responses == 1);
}

TEST_CASE("a loopback request takes less than 20 ms: Nagle is off") {
  TestServer server;
  Client client(server.port());
  REQUIRE(client.send(kGet));
  REQUIRE(client.read_reply());
  Millis best{1000};
  for (int i = 0; i < 10; ++i) {
    const auto start = std::chrono::steady_clock::now();
    REQUIRE(client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n"));
    REQUIRE(client.send("ab"));
    REQUIRE(client.read_reply());
    best = std::min(best,
                    std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - start));
  }
  CHECK(best < Millis(20));
}

TEST_CASE("answers may come later and from any thread") {
  TestServer server;
  Client client(server.port());
  REQUIRE(client.send("GET /later HTTP/1.1\r\nHost: h\r\n\r\n" + std::string(kGet)));
  REQUIRE(server.wait_for([&] { return server.held() == 1; }));
  CHECK(!client.receive_some(Millis(50)));  // the second one waits its turn
  std::thread([responder = server.take_held()]() mutable {
    responder.respond(Response::text(202, "slow"));
  }).join();
  const auto first = client.read_reply();
  REQUIRE(first);
  CHECK(first->status == 202);
  CHECK(first->body == "slow");
  const auto second = client.read_reply();
  REQUIRE(second);
  CHECK(second->status == 200);
}

TEST_CASE("a dropped responder and a throwing handler answer 500") {
  TestServer server;
  Client client(server.port());
  for (const char* path : {"/drop", "/throw"}) {
    CAPTURE(path);
    REQUIRE(client.send("GET " + std::string(path) + " HTTP/1.1\r\nHost: h\r\n\r\n"));
    const auto reply = client.read_reply();
    REQUIRE(reply);
    CHECK(reply->status == 500);
    CHECK(reply->header("Content-Type") == "application/problem+json");
    CHECK(reply->body.find("https://api.backend.ai/probs/internal-server-error") !=
          std::string::npos);
  }
  CHECK(server->counters().dropped_responders == 2);
  REQUIRE(client.send(kGet));
  CHECK(client.read_reply()->status == 200);
}

TEST_CASE("pipelined requests are answered in order, however the bytes are cut") {
  TestServer server;
  std::string burst;
  for (int i = 0; i < 50; ++i) {
    burst += "POST /echo/" + std::to_string(i) +
             " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  }
  for (std::size_t piece : {burst.size(), std::size_t{7}, std::size_t{501}}) {
    Client client(server.port());
    std::thread sender([&] {
      for (std::size_t at = 0; at < burst.size(); at += piece) {
        client.send(std::string_view(burst).substr(at, piece));
      }
    });
    for (int i = 0; i < 50; ++i) {
      const auto reply = client.read_reply();
      REQUIRE(reply);
      CHECK(reply->status == 200);
      CHECK(reply->body.find("\"/echo/" + std::to_string(i) + "\"") != std::string::npos);
      CHECK(reply->body.find("\"abc\"") != std::string::npos);
    }
    sender.join();
  }
}

TEST_CASE("a pipelining client that does not read is not served without end") {
  TestServer server;
  Client client(server.port());
  std::string burst;
  for (int i = 0; i < 200; ++i) burst += "GET /big HTTP/1.1\r\nHost: h\r\n\r\n";  // 1 MiB each
  REQUIRE(client.send(burst));
  std::this_thread::sleep_for(Millis(300));
  CHECK(server->counters().requests < 20);
  for (int i = 0; i < 200; ++i) {
    CAPTURE(i);
    const auto reply = client.read_reply();
    REQUIRE(reply);
    REQUIRE(reply->body.size() == 1024 * 1024);
  }
}

TEST_CASE("a response larger than the socket's buffers does not end the conversation") {
  TestServer server;
  Client client(server.port());
  for (int i = 0; i < 2; ++i) {
    REQUIRE(client.send("GET /huge HTTP/1.1\r\nHost: h\r\n\r\n"));
    std::this_thread::sleep_for(Millis(100));
    const auto huge = client.read_reply();
    REQUIRE(huge);
    CHECK(huge->body.size() == 32 * 1024 * 1024);
  }
  REQUIRE(client.send(kGet));
  CHECK(client.read_reply());
}

TEST_CASE("keep-alive follows the version and the Connection header") {
  TestServer server;
  struct Case {
    const char* request;
    bool closes;
  };
  const Case cases[] = {
      {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", false},
      {"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", true},
      {"GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", true},
      {"GET / HTTP/1.1\r\nHost: h\r\nConnection: foo, CLOSE\r\n\r\n", true},
      {"GET / HTTP/1.0\r\n\r\n", true},
      {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", false},
      {"GET /says-close HTTP/1.1\r\nHost: h\r\n\r\n", true},
  };
  for (const Case& c : cases) {
    CAPTURE(c.request);
    Client client(server.port());
    REQUIRE(client.send(c.request));
    const auto reply = client.read_reply();
    REQUIRE(reply);
    CHECK(reply->status == 200);
    CHECK((reply->header("Connection") == "close") == c.closes);
    CHECK(client.wait_closed(c.closes ? kPatience : Millis(100)) == c.closes);
  }
}

TEST_CASE("HEAD and bodiless statuses send no body") {
  TestServer server;
  Client client(server.port());
  REQUIRE(client.send("HEAD /echo HTTP/1.1\r\nHost: h\r\n\r\n"));
  const auto head = client.read_reply(kPatience, true);
  REQUIRE(head);
  CHECK(head->status == 200);
  CHECK(std::stoul(head->header("Content-Length")) > 10);
  REQUIRE(client.send("DELETE /nothing HTTP/1.1\r\nHost: h\r\n\r\n"));
  const auto empty = client.read_reply();
  REQUIRE(empty);
  CHECK(empty->status == 204);
  CHECK(empty->header("Content-Length").empty());
  REQUIRE(client.send(kGet));
  CHECK(client.read_reply()->status == 200);
  CHECK(client.buffer().empty());
}

TEST_CASE("a response cannot smuggle headers or framing") {
  TestServer server;
  Client client(server.port());
  REQUIRE(client.send("GET /evil HTTP/1.1\r\nHost: h\r\n\r\n"));
  const auto reply = client.read_reply();
  REQUIRE(reply);
  CHECK(reply->body == "ok");
  CHECK(reply->header("X-Evil") == "a  Injected: 1");
  CHECK(reply->header("Injected").empty());
  CHECK(reply->header("Content-Length") == "2");
  CHECK(reply->header("Transfer-Encoding").empty());
}

TEST_CASE("a client that ends its side still gets its answer") {
  TestServer server;
  Client client(server.port());
  REQUIRE(client.send("GET /later HTTP/1.1\r\nHost: h\r\n\r\n"));
  client.shut_write();
  REQUIRE(server.wait_for([&] { return server.held() == 1; }));
  server.take_held().respond(Response::text(200, "here"));
  const auto reply = client.read_reply();
  REQUIRE(reply);
  CHECK(reply->body == "here");
  CHECK(client.wait_closed());
}

TEST_CASE("Expect: 100-continue is answered before the body") {
  TestServer server;
  Client client(server.port());
  REQUIRE(client.send(
      "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n"));
  const auto go_on = client.read_reply();
  REQUIRE(go_on);
  CHECK(go_on->status == 100);
  REQUIRE(client.send("abc"));
  CHECK(client.read_reply()->status == 200);
  // A refused body is refused instead.
  REQUIRE(
      client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n"
                  "Expect: 100-continue\r\n\r\n"));
  CHECK(client.read_reply()->status == 413);
}

TEST_CASE("a taken port and a bad address are named") {
  TestServer server;
  ServerOptions options;
  options.port = server.port();
  const auto taken = Server::start(options, [](auto, auto) {});
  REQUIRE(!taken);
  CHECK(taken.error().kind == "port-taken");
  CHECK(taken.error().message.find("127.0.0.1:" + std::to_string(options.port)) !=
        std::string::npos);
  CHECK(taken.error().message.find("port " + std::to_string(options.port) + " is taken") !=
        std::string::npos);
  options.address = "localhost:99";
  const auto bad = Server::start(options, [](auto, auto) {});
  REQUIRE(!bad);
  CHECK(bad.error().code == ErrorCode::InvalidArgument);
  CHECK(bad.error().message.find("localhost:99") != std::string::npos);
  options.address = "203.0.113.7";  // not ours
  const auto foreign = Server::start(options, [](auto, auto) {});
  REQUIRE(!foreign);
  CHECK(foreign.error().code == ErrorCode::InvalidArgument);
}

TEST_CASE("several io threads serve connections side by side") {
  ServerOptions options;
  options.io_threads = 3;
  TestServer server(options);
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&] {
      Client client(server.port());
      for (int i = 0; i < 100; ++i) {
        if (!client.send(kGet)) return;
        const auto reply = client.read_reply();
        if (reply && reply->status == 200) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(good == 600);
}

TEST_CASE("IPv6 loopback works") {
  ServerOptions options;
  options.address = "::1";
  options.port = 0;
  const auto server = Server::start(options, [](auto, Responder r) { r.respond({}); });
  if (!server) {
    MESSAGE("SKIPPED: no IPv6 loopback here: " << server.error().message);
    return;
  }
  CHECK((*server)->port() != 0);
}

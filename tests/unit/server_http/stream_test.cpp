// Streamed responses, upgraded connections and stopping.
#include <doctest/doctest.h>
#include <httplib.h>

#include "unit/server_http/test_server.hpp"

using namespace bai;
using namespace bai::http;
using namespace bai::http::test;
using Outcome = StreamWriter::Outcome;

namespace {

constexpr std::string_view kLater = "GET /later HTTP/1.1\r\nHost: h\r\n\r\n";

Responder responder_for(TestServer& server, Client& client, std::string_view request = kLater) {
  REQUIRE(client.send(request));
  REQUIRE(server.wait_for([&] { return server.held() == 1; }));
  return server.take_held();
}

Response event_head() { return {200, {{"Content-Type", "text/event-stream"}}, {}}; }

bool receive_until(Client& client, std::string_view text) {
  while (client.buffer().find(text) == std::string::npos) {
    if (!client.receive_some()) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("a stream arrives piece by piece and ends properly; the connection goes on") {
  TestServer server;
  Client client(server.port());
  StreamWriter writer = responder_for(server, client).stream(event_head());
  CHECK(!writer.closed());
  CHECK(writer.write("data: 1\n\n") == Outcome::Ok);
  REQUIRE(receive_until(client, "9\r\ndata: 1\n\n\r\n"));
  CHECK(client.buffer().find("Transfer-Encoding: chunked") != std::string::npos);
  CHECK(server->counters().open_streams == 1);
  std::atomic<int> ended{0};
  writer.on_disconnect([&] { ++ended; });
  REQUIRE(client.send(kGet));  // sent ahead: answered behind the stream
  CHECK(writer.write("data: 2\n\n") == Outcome::Ok);
  writer.close();
  CHECK(writer.closed());
  CHECK(writer.write("late") == Outcome::Closed);
  const auto stream = client.read_reply();
  REQUIRE(stream);
  CHECK(stream->body == "data: 1\n\ndata: 2\n\n");
  const auto next = client.read_reply();
  REQUIRE(next);
  CHECK(next->status == 200);
  CHECK(server.wait_for([&] { return ended == 1; }));
  CHECK(server->counters().open_streams == 0);
  REQUIRE(client.send(kGet));
  CHECK(client.read_reply());
}

TEST_CASE("a silent stream notices that its client has gone") {
  TestServer server;
  for (const bool hard : {false, true}) {
    Client client(server.port());
    StreamWriter writer = responder_for(server, client).stream(event_head());
    std::atomic<int> ended{0};
    writer.on_disconnect([&] { ++ended; });
    REQUIRE(receive_until(client, "\r\n\r\n"));
    CHECK(ended == 0);
    if (hard) {
      client.reset();
    } else {
      client.close();
    }
    CHECK(server.wait_for([&] { return ended == 1; }));
    CHECK(writer.closed());
    CHECK(writer.write("x") == Outcome::Closed);
    int late = 0;
    writer.on_disconnect([&] { ++late; });  // told at once
    CHECK(late == 1);
  }
  CHECK(server->counters().open_streams == 0);
}

TEST_CASE("a stream that is abandoned is cut, not ended") {
  TestServer server;
  Client client(server.port());
  {
    StreamWriter writer = responder_for(server, client).stream(event_head());
    StreamWriter copy = writer;
    writer = StreamWriter{};
    CHECK(copy.write("half") == Outcome::Ok);
    REQUIRE(receive_until(client, "half"));
  }
  CHECK(client.wait_closed());
  CHECK(client.buffer().find("0\r\n\r\n") == std::string::npos);
}

TEST_CASE("a slow reader fills its stream's buffer, and draining is told") {
  ServerOptions options;
  options.stream_buffer_bytes = 100'000;
  TestServer server(options);
  Client client(server.port());
  StreamWriter writer = responder_for(server, client).stream(event_head());
  std::atomic<int> drained{0};
  writer.on_drain([&] { ++drained; });
  const std::string piece(10'000, 'x');
  std::size_t written = 0;
  int refused_in_row = 0;  // until the socket's own buffers are full too
  while (refused_in_row < 100 && written < 100'000'000) {
    const Outcome outcome = writer.write(piece);
    if (outcome == Outcome::Ok) written += piece.size();
    refused_in_row = outcome == Outcome::Full ? refused_in_row + 1 : 0;
    if (outcome == Outcome::Full) std::this_thread::sleep_for(Millis(2));
  }
  CHECK(refused_in_row == 100);
  CHECK(written < 100'000'000);
  CHECK(!writer.closed());
  const int drained_before = drained;
  std::thread reader([&] {
    while (client.buffer().find("END") == std::string::npos && client.receive_some()) {
    }
  });
  CHECK(server.wait_for([&] { return drained > drained_before; }));
  CHECK(server.wait_for([&] { return writer.write("END") == Outcome::Ok; }));
  writer.close();
  reader.join();
  const auto reply = client.read_reply();
  REQUIRE(reply);
  CHECK(reply->body.size() == written + 3);
}

TEST_CASE("a stream with a length is not chunked, and the length is kept to") {
  TestServer server;
  const auto start = [&](Client& client, std::string_view length) {
    return responder_for(server, client)
        .stream({200, {{"Content-Length", std::string(length)}}, "ab"});
  };
  Client exact(server.port());
  StreamWriter writer = start(exact, "5");
  writer.write("cde");
  writer.close();
  const auto reply = exact.read_reply();
  REQUIRE(reply);
  CHECK(reply->body == "abcde");
  CHECK(reply->header("Transfer-Encoding").empty());
  REQUIRE(exact.send(kGet));
  CHECK(exact.read_reply());

  Client longer(server.port());
  writer = start(longer, "4");
  writer.write("cde");
  writer.close();
  CHECK(longer.wait_closed());  // what follows would have no boundary
  CHECK(longer.buffer().ends_with("\r\n\r\nabcd"));

  Client shorter(server.port());
  writer = start(shorter, "50");
  REQUIRE(receive_until(shorter, "ab"));
  writer.close();
  CHECK(shorter.wait_closed());
}

TEST_CASE("HTTP/1.0 and HEAD streams") {
  TestServer server;
  Client old(server.port());
  StreamWriter writer =
      responder_for(server, old, "GET /later HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
          .stream(event_head());
  writer.write("abc");
  writer.close();
  CHECK(old.wait_closed());
  CHECK(old.buffer().find("Connection: close\r\n") != std::string::npos);
  CHECK(old.buffer().ends_with("\r\n\r\nabc"));

  Client head(server.port());
  writer =
      responder_for(server, head, "HEAD /later HTTP/1.1\r\nHost: h\r\n\r\n").stream(event_head());
  CHECK(head.read_reply(kPatience, true)->status == 200);
  CHECK(server.wait_for([&] { return writer.closed(); }));
  REQUIRE(head.send(kGet));
  CHECK(head.read_reply());
}

TEST_CASE("a thousand streams hold no thread and all hear an event") {
  TestServer server;
  std::vector<Client> clients;
  std::vector<StreamWriter> writers;
  clients.reserve(1000);
  for (int i = 0; i < 1000; ++i) {
    clients.emplace_back(server.port());
    writers.push_back(responder_for(server, clients.back()).stream(event_head()));
  }
  CHECK(server.wait_for([&] { return server->counters().open_streams == 1000; }));
  for (auto& writer : writers) CHECK(writer.write("data: tick\n\n") == Outcome::Ok);
  for (auto& client : clients) REQUIRE(receive_until(client, "data: tick\n\n"));
  Client other(server.port());
  REQUIRE(other.send(kGet));
  CHECK(other.read_reply(Millis(500)));
}

TEST_CASE("writers on several threads keep their pieces whole") {
  TestServer server;
  Client client(server.port());
  StreamWriter writer = responder_for(server, client).stream(event_head());
  std::vector<std::thread> threads;
  for (char c = 'a'; c < 'e'; ++c) {
    threads.emplace_back([writer, c]() mutable {
      for (int i = 0; i < 200; ++i) writer.write(std::string(9, c) + "\n");
    });
  }
  for (auto& thread : threads) thread.join();
  writer.close();
  const auto reply = client.read_reply();
  REQUIRE(reply);
  REQUIRE(reply->body.size() == 4 * 200 * 10);
  for (std::size_t at = 0; at < reply->body.size(); at += 10) {
    const std::string line = reply->body.substr(at, 10);
    REQUIRE(line == std::string(9, line[0]) + "\n");
  }
}

TEST_CASE("an upgraded connection is a raw pipe both ways") {
  TestServer server;
  Client client(server.port());
  Responder responder = responder_for(
      server, client,
      "GET /later HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly");
  std::mutex mutex;
  std::string heard;
  std::atomic<int> ended{0};
  StreamWriter writer = responder.upgrade(
      {101, {{"Connection", "Upgrade"}, {"Upgrade", "echo"}}, {}}, [&](std::string_view data) {
        std::scoped_lock lock(mutex);
        heard += data;
      });
  writer.on_disconnect([&] { ++ended; });
  const auto has_heard = [&](std::string_view text) {
    return server.wait_for([&] {
      std::scoped_lock lock(mutex);
      return heard == text;
    });
  };
  CHECK(has_heard("early"));
  REQUIRE(client.send("-late"));
  CHECK(has_heard("early-late"));
  CHECK(writer.write("raw") == Outcome::Ok);
  REQUIRE(receive_until(client, "\r\n\r\nraw"));
  CHECK(client.buffer().starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
  CHECK(client.buffer().find("Connection: Upgrade\r\n") != std::string::npos);
  writer.close();
  CHECK(client.wait_closed());
  client.close();
  CHECK(server.wait_for([&] { return ended == 1; }));
}

TEST_CASE("a stop finishes what is in flight, closes the idle and ends streams") {
  TestServer server;
  Client idle(server.port());
  REQUIRE(idle.send(kGet));
  REQUIRE(idle.read_reply());
  Client streaming(server.port());
  StreamWriter writer = responder_for(server, streaming).stream(event_head());
  std::atomic<int> ended{0};
  writer.on_disconnect([&] { ++ended; });
  writer.write("last words");
  Client busy(server.port());
  Responder responder = responder_for(server, busy);
  std::atomic<bool> stopped{false};
  std::thread stopper([&] {
    server->stop(seconds(5));
    stopped = true;
  });
  CHECK(idle.wait_closed());
  const auto stream = streaming.read_reply();
  REQUIRE(stream);
  CHECK(stream->body == "last words");
  CHECK(streaming.wait_closed());
  streaming.close();
  CHECK(ended == 1);
  CHECK(!stopped);
  CHECK(!Client(server.port()).connected());
  responder.respond(Response::text(200, "finished"));
  const auto reply = busy.read_reply();
  REQUIRE(reply);
  CHECK(reply->body == "finished");
  CHECK(reply->header("Connection") == "close");
  busy.close();
  stopper.join();
  CHECK(stopped);
}

TEST_CASE("a stop without patience cuts; what is held afterwards is harmless") {
  TestServer server;
  Client busy(server.port());
  Responder responder = responder_for(server, busy);
  Client streaming(server.port());
  StreamWriter writer = responder_for(server, streaming).stream(event_head());
  const auto start = std::chrono::steady_clock::now();
  server->stop(milliseconds(100));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
  CHECK(busy.wait_closed());
  CHECK(server->counters().open_connections == 0);
  server.destroy();
  responder.respond(Response::text(200, "too late"));
  CHECK(writer.write("too late") == Outcome::Closed);
  CHECK(writer.closed());
}

TEST_CASE("answers from many threads while the server stops") {
  for (int round = 0; round < 5; ++round) {
    TestServer server;
    std::vector<Client> clients;
    std::vector<Responder> responders;
    for (int i = 0; i < 20; ++i) {
      clients.emplace_back(server.port());
      responders.push_back(responder_for(server, clients.back()));
    }
    std::vector<std::thread> threads;
    for (auto& responder : responders) {
      threads.emplace_back([&responder] { responder.respond(Response::text(200, "x")); });
    }
    server->stop(milliseconds(round));
    for (auto& thread : threads) thread.join();
  }
}

TEST_CASE("another implementation's client understands this server") {
  TestServer server;
  httplib::Client client("127.0.0.1", server.port());
  client.set_tcp_nodelay(true);
  client.set_keep_alive(true);
  const auto got = client.Get("/echo/x?x=1");
  REQUIRE(got);
  CHECK(got->status == 200);
  const auto posted = client.Post("/echo", std::string(300'000, 'x'), "text/plain");
  REQUIRE(posted);
  CHECK((*Json::parse(posted->body))["body_bytes"].as_int() == 300'000);
  const auto chunked = client.Post(
      "/echo",
      [](std::size_t, httplib::DataSink& sink) {
        sink.os << "pieces";
        sink.done();
        return true;
      },
      "text/plain");
  REQUIRE(chunked);
  CHECK((*Json::parse(chunked->body))["body"].as_string() == "pieces");
  std::string streamed;
  std::thread producer([&] {
    const bool held = server.wait_for([&] { return server.held() == 1; });
    CHECK(held);
    if (!held) return;
    StreamWriter writer = server.take_held().stream(event_head());
    for (int i = 0; i < 3; ++i) writer.write("data: x\n\n");
    writer.close();
  });
  const auto events = client.Get("/later", [&](const char* data, std::size_t size) {
    streamed.append(data, size);
    return true;
  });
  producer.join();
  REQUIRE(events);
  CHECK(streamed == "data: x\n\ndata: x\n\ndata: x\n\n");
  CHECK(server->counters().accepted <= 2);  // it kept its connection
}

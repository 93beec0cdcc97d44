// Hostile and unlucky clients against a running server.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

#include "unit/server_http/hostile_requests.hpp"
#include "unit/server_http/test_server.hpp"

using namespace bai;
using namespace bai::http;
using namespace bai::http::test;

namespace {

// Whether a fresh client is served at once: nobody's misbehaviour may cost the others.
bool serves(TestServer& server) {
  Client client(server.port());
  if (!client.send(kGet)) return false;
  const auto reply = client.read_reply(Millis(2000));
  return reply && reply->status == 200;
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::size_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  in >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

std::size_t thread_count() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/self/task")) {
    ++n;
  }
  return n;
}

}  // namespace

TEST_CASE("every hostile form is answered with its status and the connection is closed") {
  TestServer server;
  for (const Hostile& hostile : hostile_requests()) {
    CAPTURE(hostile.name);
    Client client(server.port());
    // A smuggled request behind it must not be answered.
    client.send(std::string(kGet) + hostile.bytes);
    client.send("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
    const auto good = client.read_reply();
    REQUIRE(good);
    CHECK(good->status == 200);
    const auto refused = client.read_reply();
    REQUIRE(refused);
    CHECK(refused->status == hostile.status);
    CHECK(refused->header("Server") == "BackendAI");
    CHECK(refused->header("Connection") == "close");
    CHECK(refused->header("Content-Type") == "application/problem+json");
    const auto body = Json::parse(refused->body);
    REQUIRE(body);
    CHECK((*body)["type"].as_string().starts_with("https://api.backend.ai/probs/"));
    CHECK(!(*body)["title"].as_string().empty());
    CHECK((*body)["msg"].as_string() == describe(hostile.error));
    client.shut_write();
    CHECK(client.wait_closed());
    CHECK(client.buffer().empty());
  }
  const auto counters = server->counters();
  for (std::size_t i = 0; i < kFramingErrorCount; ++i) {
    CAPTURE(to_string(static_cast<FramingError>(i)));
    CHECK(counters.framing_errors[i] > 0);
  }
  CHECK(counters.requests == hostile_requests().size());
  CHECK(serves(server));
}

TEST_CASE("a refused upload still gets to read why") {
  ServerOptions options;
  options.limits.body_bytes = 1000;
  options.linger = milliseconds(500);
  TestServer server(options);
  Client client(server.port());
  REQUIRE(client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n"));
  for (int i = 0; i < 30; ++i) client.send(std::string(100'000, 'x'));
  const auto reply = client.read_reply();
  REQUIRE(reply);
  CHECK(reply->status == 413);
  CHECK(reply->body.find("request-entity-too-large") != std::string::npos);
}

TEST_CASE("routes may have their own body limit") {
  ServerOptions options;
  options.limits.body_bytes = 10;
  options.body_limit = [](const Request& request) {
    return request.path == "/upload" ? std::size_t{1'000'000} : std::size_t{10};
  };
  TestServer server(options);
  const std::string big(500'000, 'x');
  const std::string head = " HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\n";
  Client upload(server.port());
  REQUIRE(upload.send("POST /upload" + head + big));
  const auto accepted = upload.read_reply();
  REQUIRE(accepted);
  CHECK(accepted->status == 200);
  CHECK((*Json::parse(accepted->body))["body_bytes"].as_int() == 500'000);
  Client other(server.port());
  REQUIRE(other.send("POST /other" + head));
  CHECK(other.read_reply()->status == 413);
}

TEST_CASE("clients that drip bytes are cut at the header deadline and disturb nobody") {
  ServerOptions options;
  options.header_deadline = milliseconds(300);
  TestServer server(options);
  std::vector<Client> slow;
  for (int i = 0; i < 50; ++i) slow.emplace_back(server.port());
  const std::string_view drip = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 10; ++i) {  // a byte now and then does not buy time
    for (auto& client : slow) client.send(drip.substr(static_cast<std::size_t>(i), 1));
    std::this_thread::sleep_for(Millis(20));
    if (i == 5) CHECK(serves(server));
  }
  for (auto& client : slow) {
    const auto reply = client.read_reply();
    REQUIRE(reply);
    CHECK(reply->status == 408);
    CHECK(reply->body.find("headers") != std::string::npos);
    CHECK(client.wait_closed());
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(3));
  CHECK(server->counters().header_timeouts == 50);
}

TEST_CASE("a body that does not come is cut at the request deadline") {
  ServerOptions options;
  options.header_deadline = milliseconds(100);
  options.request_deadline = milliseconds(400);
  TestServer server(options);
  Client client(server.port());
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc"));
  const auto reply = client.read_reply();
  REQUIRE(reply);
  CHECK(reply->status == 408);
  CHECK(reply->body.find("body") != std::string::npos);
  const auto took = std::chrono::steady_clock::now() - start;
  CHECK(took >= Millis(390));
  CHECK(took < Millis(2000));
  CHECK(server->counters().request_timeouts == 1);
}

TEST_CASE("silent and idle connections are closed without a word") {
  ServerOptions options;
  options.header_deadline = milliseconds(150);
  options.idle_timeout = milliseconds(300);
  TestServer server(options);
  Client silent(server.port());
  Client idle(server.port());
  REQUIRE(idle.send(kGet));
  REQUIRE(idle.read_reply());
  CHECK(silent.wait_closed());
  CHECK(silent.buffer().empty());
  CHECK(idle.wait_closed());
  CHECK(idle.buffer().empty());
  CHECK(server->counters().header_timeouts == 1);
  CHECK(server->counters().idle_timeouts == 1);
  CHECK(server.wait_for([&] { return server->counters().open_connections == 0; }));
}

TEST_CASE("a client that stops reading is cut at the write deadline") {
  ServerOptions options;
  options.write_deadline = milliseconds(200);
  TestServer server(options);
  Client client(server.port());
  for (int i = 0; i < 50; ++i) REQUIRE(client.send("GET /big HTTP/1.1\r\nHost: h\r\n\r\n"));
  CHECK(server.wait_for([&] { return server->counters().write_timeouts == 1; }));
  CHECK(server.wait_for([&] { return server->counters().open_connections == 0; }));
}

TEST_CASE("connections beyond the limit are told so, and places are given back") {
  ServerOptions options;
  options.max_connections = 5;
  options.linger = milliseconds(100);
  TestServer server(options);
  std::vector<Client> clients;
  for (int i = 0; i < 5; ++i) {
    clients.emplace_back(server.port());
    REQUIRE(clients.back().send(kGet));
    REQUIRE(clients.back().read_reply());
  }
  Client extra(server.port());
  const auto refused = extra.read_reply();
  REQUIRE(refused);
  CHECK(refused->status == 503);
  CHECK(refused->header("Content-Type") == "application/problem+json");
  CHECK(extra.wait_closed());
  CHECK(server->counters().refused == 1);
  clients.clear();
  CHECK(server.wait_for([&] { return server->counters().open_connections == 0; }));
  CHECK(serves(server));
}

TEST_CASE("running out of descriptors pauses accepting and does not end it") {
  ServerOptions options;
  options.accept_retry = milliseconds(20);
  TestServer server(options);
  REQUIRE(serves(server));
  REQUIRE(server.wait_for([&] { return server->counters().open_connections == 0; }));
  Client client(server.port());  // one that is already in
  REQUIRE(client.send(kGet));
  REQUIRE(client.read_reply());
  const int waiting = ::socket(AF_INET, SOCK_STREAM, 0);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(waiting) + 1;  // nothing above what is open now
  std::vector<int> fill;
  for (int fd = ::dup(0); fd >= 0 && fd <= waiting; fd = ::dup(0)) fill.push_back(fd);
  ::setrlimit(RLIMIT_NOFILE, &none);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(server.port());
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(::connect(waiting, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(server.wait_for([&] { return server->counters().accept_errors >= 2; }));
  CHECK(client.send(kGet));  // those inside are served meanwhile
  const auto inside = client.read_reply();
  ::setrlimit(RLIMIT_NOFILE, &before);
  for (int fd : fill) ::close(fd);
  CHECK(inside);
  CHECK(server.wait_for([&] { return server->counters().open_connections == 2; }));
  CHECK(server->counters().accept_errors < 500);  // it paused, it did not spin
  ::close(waiting);
  CHECK(serves(server));
}

TEST_CASE("half-open, reset and vanishing clients leave nothing behind") {
  TestServer server;
  for (int i = 0; i < 20; ++i) {
    Client half(server.port());
    half.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    if (i % 2 == 0) half.reset();
  }
  CHECK(server.wait_for([&] { return server->counters().truncated_requests == 20; }));
  CHECK(server.wait_for([&] { return server->counters().open_connections == 0; }));
  {
    Client gone(server.port());
    gone.send("GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    REQUIRE(server.wait_for([&] { return server.held() == 1; }));
    gone.reset();
  }
  server.take_held().respond(Response::text(200, std::string(1 << 20, 'x')));
  CHECK(server.wait_for([&] { return server->counters().open_connections == 0; }));
  CHECK(serves(server));
}

TEST_CASE("an endless header line costs no memory") {
  TestServer server;
  Client client(server.port());
  const std::size_t before = resident_bytes();
  client.send("GET / HTTP/1.1\r\nX: ");
  const std::string junk(1 << 20, 'x');
  for (int i = 0; i < 20 && client.send(junk); ++i) {
  }
  CHECK(resident_bytes() < before + 8 * 1024 * 1024);
  CHECK(serves(server));
}

TEST_CASE("a thousand idle keep-alive connections cost neither threads nor time") {
  ServerOptions options;
  TestServer server(options);
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = std::min<rlim_t>(files.rlim_max, 4096);
  ::setrlimit(RLIMIT_NOFILE, &files);
  const std::size_t threads = thread_count();
  const std::size_t memory = resident_bytes();
  std::vector<Client> clients;
  clients.reserve(1000);
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) {
    clients.emplace_back(server.port());
    REQUIRE(clients.back().connected());
    REQUIRE(clients.back().send(kGet));
  }
  for (auto& client : clients) REQUIRE(client.read_reply());
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  CHECK(server->counters().open_connections == 1000);
  CHECK(thread_count() == threads);
  CHECK(resident_bytes() < memory + 30 * 1024 * 1024);
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  CHECK(cpu_seconds() - before < 2 * 0.02);
  for (auto& client : clients) REQUIRE(client.send(kGet));
  for (auto& client : clients) REQUIRE(client.read_reply());
}

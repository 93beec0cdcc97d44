#include "agent/event_channel.hpp"

#include <atomic>

#include "agent/event_wire.hpp"
#include "support.hpp"

namespace bai::server {

using namespace test;

namespace {

const AgentId kAgent("i-agent01");

// Keeps what arrived, with its `done` when asked to hold it.
struct Sink {
  std::mutex mutex;
  std::vector<AgentEvent> events;
  std::vector<EventDone> held;
  bool hold = false;

  EventSink function() {
    return [this](AgentEvent event, EventDone done) {
      const std::lock_guard lock(mutex);
      events.push_back(std::move(event));
      if (hold)
        held.push_back(std::move(done));
      else
        done(true);
    };
  }
  std::size_t count() {
    const std::lock_guard lock(mutex);
    return events.size();
  }
  std::vector<AgentEvent> seen() {  // more may follow: delivery is at least once
    const std::lock_guard lock(mutex);
    return events;
  }
  std::string reason(std::size_t i) {
    const std::lock_guard lock(mutex);
    return std::get<AgentStarted>(events.at(i).body).reason;
  }
};

std::unique_ptr<EventListener> listen(Sink& sink, EventListenerOptions options = {}) {
  if (options.addr == kDefaultEventAddr) options.addr = "tcp://127.0.0.1:*";
  auto listener = EventListener::create(std::move(options), sink.function());
  REQUIRE_MESSAGE(listener, (listener ? "" : listener.error().message));
  return *std::move(listener);
}

constexpr Duration kQuickly = milliseconds(200), kNever = seconds(1000);

std::unique_ptr<EventClient> connect(const std::string& addr, Duration resend_after = kQuickly,
                                     EventClientOptions options = {}) {
  options.addr = addr;
  options.resend_after = resend_after;
  auto client = EventClient::create(std::move(options));
  REQUIRE(client);
  return *std::move(client);
}

AgentHeartbeat heartbeat(std::string version) {
  AgentInfo info;
  info.addr = "tcp://127.0.0.1:6001";
  info.version = std::move(version);
  info.slots = {{"cpu", "1"}};
  return {info};
}

std::vector<Bytes> event_frames(std::uint64_t seq, std::string_view name,
                                std::string_view payload) {
  const SeqBytes number = encode_seq(seq);
  return {bytes_of("EVENT"), Bytes(number.begin(), number.end()),
          bytes_of(name),    bytes_of("i-raw"),
          bytes_of(payload), bytes_of("{}")};
}

}  // namespace

TEST_CASE("events arrive in order and are acknowledged once they are done") {
  Sink sink;
  auto listener = listen(sink);
  auto client = connect(listener->addr(), kNever);
  constexpr int kEvents = 3000;  // more than the window and libzmq's queues
  for (int i = 0; i < kEvents; ++i) CHECK(client->send(kAgent, AgentStarted{std::to_string(i)}));
  CHECK(client->flush(seconds(20)));
  REQUIRE(sink.count() == kEvents);
  for (int i = 0; i < kEvents; ++i)
    REQUIRE(sink.reason(static_cast<std::size_t>(i)) == std::to_string(i));
  CHECK(sink.seen()[0].agent == kAgent);
  CHECK(client->stats().acked == kEvents);
  CHECK(client->stats().pending == 0);
  CHECK(listener->stats().acked == kEvents);
}

TEST_CASE("no acknowledgement before done; done(false) and a dropped done bring the event again") {
  Sink sink;
  sink.hold = true;
  auto listener = listen(sink);
  auto client = connect(listener->addr());
  client->send(kAgent, AgentStarted{"x"});
  REQUIRE(eventually([&] { return sink.count() == 1; }));
  CHECK_FALSE(client->flush(milliseconds(500)));
  CHECK(sink.count() == 1);  // repeats of an event that is in flight are ignored
  CHECK(listener->stats().repeated >= 1);
  {
    const std::lock_guard lock(sink.mutex);
    std::exchange(sink.held, {})[0](false);
  }
  REQUIRE(eventually([&] { return sink.count() == 2; }));
  {
    const std::lock_guard lock(sink.mutex);
    sink.held.clear();
  }
  REQUIRE(eventually([&] { return sink.count() == 3; }));
  CHECK(listener->stats().refused == 2);
  {
    const std::lock_guard lock(sink.mutex);
    std::thread([&] { sink.held.at(0)(true); }).join();  // from any thread
  }
  CHECK(client->flush(seconds(10)));
}

TEST_CASE("a restarted listener gets what the first one did not acknowledge, in order") {
  Sink first;
  first.hold = true;
  auto listener = listen(first);
  const std::string addr = listener->addr();
  auto client = connect(addr, kNever);
  for (int i = 0; i < 20; ++i) client->send(kAgent, AgentStarted{std::to_string(i)});
  REQUIRE(eventually([&] { return first.count() == 20; }));
  {
    const std::lock_guard lock(first.mutex);
    for (std::size_t i = 0; i < 5; ++i) first.held[i](true);
  }
  REQUIRE(eventually([&] { return client->stats().acked == 5; }));
  listener.reset();
  for (int i = 20; i < 30; ++i) client->send(kAgent, AgentStarted{std::to_string(i)});
  CHECK_FALSE(client->flush(milliseconds(300)));
  Sink second;
  EventListenerOptions options;
  options.addr = addr;
  listener = listen(second, options);
  CHECK(client->flush(seconds(20)));
  REQUIRE(second.count() >= 25);
  for (std::size_t i = 0; i < 25; ++i) CHECK(second.reason(i) == std::to_string(i + 5));
  first.held.clear();  // `done` after the listener has gone does nothing
}

TEST_CASE("a client that starts before its listener delivers later") {
  std::string addr;
  {
    Sink probe;
    addr = listen(probe)->addr();
  }
  auto client = connect(addr);
  client->send(kAgent, AgentStarted{"early"});
  CHECK_FALSE(client->flush(milliseconds(300)));
  Sink sink;
  EventListenerOptions options;
  options.addr = addr;
  auto listener = listen(sink, options);
  CHECK(client->flush(seconds(20)));
  CHECK(sink.reason(0) == "early");
}

TEST_CASE("of an agent's heartbeats only the newest waits") {
  auto client = connect("tcp://127.0.0.1:1");  // nobody there
  const AgentId other("i-other");
  for (int i = 0; i < 100; ++i) client->send(kAgent, heartbeat(std::to_string(i)));
  client->send(other, heartbeat("o"));
  client->send(kAgent, AgentStarted{"s"});
  const EventClientStats stats = client->stats();
  CHECK(stats.pending == 3);
  CHECK(stats.coalesced == 99);
}

TEST_CASE("an unacknowledged heartbeat is not repeated once a newer one is queued") {
  Sink sink;
  sink.hold = true;
  auto listener = listen(sink);
  auto client = connect(listener->addr(), kNever);
  client->send(kAgent, heartbeat("1"));
  REQUIRE(eventually([&] { return sink.count() == 1; }));
  client->send(kAgent, heartbeat("2"));
  REQUIRE(eventually([&] { return sink.count() == 2; }));
  CHECK(client->stats().pending == 1);
  {
    const std::lock_guard lock(sink.mutex);
    sink.held[0](true);  // of the one that was replaced: nothing happens
    sink.held[1](true);
  }
  CHECK(client->flush(seconds(10)));
  CHECK(client->stats().acked == 1);
}

TEST_CASE("the client's queue is bounded; heartbeats always fit") {
  EventClientOptions options;
  options.max_events = 3;
  options.max_message_bytes = 100;
  auto client = connect("tcp://127.0.0.1:1", kQuickly, options);
  for (int i = 0; i < 3; ++i) CHECK(client->send(kAgent, AgentStarted{"x"}));
  CHECK_FALSE(client->send(kAgent, AgentStarted{"x"}));
  CHECK(client->send_raw(kAgent, "agent_heartbeat", "{}"));
  CHECK_FALSE(client->send_raw(kAgent, "agent_heartbeat", std::string(101, ' ')));
  CHECK(client->stats().dropped == 2);
  CHECK(client->stats().pending == 4);
}

TEST_CASE("events that can never succeed are acknowledged, counted and logged once per kind") {
  Sink sink;
  MemoryLog log;
  EventListenerOptions options;
  options.log = &log;
  auto listener = listen(sink, options);
  auto client = connect(listener->addr(), kNever);
  for (int i = 0; i < 5; ++i) client->send_raw(kAgent, "do_idle_check", "{}");
  for (int i = 0; i < 3; ++i) client->send_raw(kAgent, "kernel_preparing", R"({"kernel_id":1})");
  client->send_raw(kAgent, "kernel_started", "not json");
  client->send_raw(kAgent, "name \xff", "{}");
  CHECK(client->flush(seconds(10)));
  CHECK(sink.count() == 0);
  CHECK(listener->stats().unknown == 6);
  CHECK(listener->stats().malformed == 4);
  CHECK(log.count("`do_idle_check` of i-agent01") == 1);
  CHECK(log.count("`kernel_preparing`") == 1);
  CHECK(log.count("\xEF\xBF\xBD") == 1);
}

TEST_CASE("frames that are no events are dropped without an answer") {
  Sink sink;
  auto listener = listen(sink);
  RawSocket raw(ZMQ_DEALER);
  raw.connect(listener->addr());
  auto frames = event_frames(7, "agent_started", R"({"reason":"r"})");
  raw.send({bytes_of("EVENT")});
  auto short_seq = frames;
  short_seq[1].pop_back();
  raw.send(short_seq);
  auto renamed = frames;
  renamed[0] = bytes_of("EVENTS");
  raw.send(renamed);
  raw.send(std::vector<Bytes>(50, Bytes{1}));
  raw.send(frames);
  const auto ack = raw.receive();
  REQUIRE(ack.size() == 2);
  CHECK(ack[0] == bytes_of("ACK"));
  CHECK(hex(ack[1]) == "0000000000000007");
  CHECK(raw.receive(50).empty());
  CHECK(listener->stats().malformed == 4);
  CHECK(sink.seen().at(0).agent == AgentId("i-raw"));
}

TEST_CASE("with enough in flight the listener stops reading until there is room") {
  Sink sink;
  sink.hold = true;
  EventListenerOptions options;
  options.max_in_flight = 10;
  auto listener = listen(sink, options);
  auto client = connect(listener->addr());
  for (int i = 0; i < 100; ++i) client->send(kAgent, AgentStarted{std::to_string(i)});
  REQUIRE(eventually([&] { return sink.count() == 10; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(sink.count() == 10);
  CHECK(listener->stats().in_flight == 10);
  {
    const std::lock_guard lock(sink.mutex);
    sink.hold = false;
    for (EventDone& done : sink.held) done(true);
  }
  CHECK(client->flush(seconds(20)));
  CHECK(sink.count() >= 100);
}

TEST_CASE("an oversized event costs its sender the connection only") {
  Sink sink;
  EventListenerOptions options;
  options.max_message_bytes = 1000;
  auto listener = listen(sink, options);
  RawSocket big(ZMQ_DEALER);
  big.connect(listener->addr());
  big.send(event_frames(1, "agent_started", std::string(2000, ' ')));
  CHECK(big.receive(200).empty());
  auto client = connect(listener->addr(), kNever);
  client->send(kAgent, AgentStarted{"x"});
  CHECK(client->flush(seconds(10)));
  CHECK(sink.count() == 1);
}

TEST_CASE("a client survives nonsense from its manager") {
  RawSocket manager(ZMQ_ROUTER);
  auto client = connect(manager.bind("tcp://127.0.0.1:*"));
  client->send(kAgent, AgentStarted{"x"});
  const auto frames = manager.receive();
  REQUIRE(frames.size() == 7);
  CHECK(frames[3] == bytes_of("agent_started"));
  CHECK(frames[4] == bytes_of("i-agent01"));
  CHECK(frames[5] == bytes_of(R"({"reason":"x"})"));
  manager.send({frames[0], bytes_of("NACK"), frames[2]});
  manager.send({frames[0], bytes_of("ACK"), bytes_of("short")});
  manager.send({frames[0], bytes_of("ACK"), Bytes(8, 0xff)});  // unknown number
  CHECK(eventually([&] { return client->stats().malformed == 2; }));
  CHECK(client->stats().pending == 1);
  manager.send({frames[0], bytes_of("ACK"), frames[2]});
  CHECK(client->flush(seconds(10)));
}

TEST_CASE("one client serves a thousand agents") {
  Sink sink;
  auto listener = listen(sink);
  auto client = connect(listener->addr(), seconds(5));
  constexpr int kAgents = 1000;
  for (int i = 0; i < kAgents; ++i) {
    const AgentId agent("i-" + std::to_string(i));
    client->send(agent, AgentStarted{"self-started"});
    client->send(agent, heartbeat("1"));
  }
  CHECK(client->flush(seconds(30)));
  std::set<std::string> seen;
  for (const AgentEvent& event : sink.seen()) seen.insert(event.agent.str());
  CHECK(seen.size() == kAgents);
}

TEST_CASE("addresses that cannot be used say so") {
  Sink sink;
  auto listener = listen(sink);
  EventListenerOptions options;
  options.addr = listener->addr();
  CHECK(EventListener::create(options, sink.function()).error().code == ErrorCode::AlreadyExists);
  options.addr = "ipc:///x";
  CHECK(EventListener::create(options, sink.function()).error().code == ErrorCode::InvalidArgument);
  EventClientOptions client;
  client.addr = "tcp://nowhere";
  CHECK(EventClient::create(client).error().code == ErrorCode::InvalidArgument);
}

}  // namespace bai::server

// Agent events without Redis. An agent's DEALER sends ["EVENT", seq (8 bytes, big endian), name,
// source, payload JSON, metadata JSON]; the manager's ROUTER answers ["ACK", seq] once the event is
// durable. At least once; handlers are idempotent.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "bai_manager/agent.hpp"
#include "bai_manager/env.hpp"

namespace bai::server {

inline constexpr std::string_view kDefaultEventAddr = "tcp://127.0.0.1:16011";

using EventDone = std::move_only_function<void(bool durable)>;
// Runs on the listener's I/O thread. `done` may run on any thread, once: true acknowledges; false
// (or dropping it) leaves the event to be sent again by the agent.
using EventSink = std::move_only_function<void(AgentEvent, EventDone)>;

struct EventListenerOptions {
  std::string addr{kDefaultEventAddr};  // port `*`: any free one
  std::size_t max_in_flight = 4096;     // not yet done; beyond it nothing is read (back-pressure)
  std::size_t max_message_bytes = 4U
                                  << 20U;  // of one frame; a peer that exceeds it is disconnected
  LogSink* log = nullptr;                  // outlives the listener
};

struct EventListenerStats {
  std::uint64_t received = 0;  // well-formed and handed on
  std::uint64_t acked = 0;
  std::uint64_t repeated = 0;   // the same event arrived again while in flight; ignored
  std::uint64_t refused = 0;    // done(false)
  std::uint64_t unknown = 0;    // names that the manager does not act on; acknowledged
  std::uint64_t malformed = 0;  // bad frames (dropped) or payloads (acknowledged)
  std::uint64_t in_flight = 0;
};

class EventListener {
 public:
  static Result<std::unique_ptr<EventListener>> create(EventListenerOptions options,
                                                       EventSink sink);
  ~EventListener();  // joins; `done` may still be called afterwards and then does nothing
  EventListener(const EventListener&) = delete;
  EventListener& operator=(const EventListener&) = delete;

  const std::string& addr() const noexcept;  // with the real port
  EventListenerStats stats() const;

 private:
  class Impl;
  explicit EventListener(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct EventClientOptions {
  std::string addr{kDefaultEventAddr};
  Duration resend_after = seconds(2);
  std::size_t max_events = 65536;  // unacknowledged ones other than heartbeats; more are refused
  std::size_t window = 1024;       // sent and unacknowledged at a time
  std::size_t max_message_bytes = 4U << 20U;  // of one payload; larger ones are refused
  LogSink* log = nullptr;                     // outlives the client
};

struct EventClientStats {
  std::uint64_t queued = 0, sent = 0, resent = 0, acked = 0;
  std::uint64_t coalesced = 0;       // heartbeats replaced by a newer one of the same agent
  std::uint64_t dropped = 0;         // refused: max_events or max_message_bytes was reached
  std::uint64_t malformed = 0;       // messages from the manager that do not decode
  std::uint64_t pending = 0;         // unacknowledged now
  std::uint64_t pending_events = 0;  // ... without heartbeats
};

// One client may serve any number of agents: the source is given with each event. Events go out in
// the order of send() and are repeated until acknowledged, also across reconnects; of the
// heartbeats of one agent only the newest is kept.
class EventClient {
 public:
  static Result<std::unique_ptr<EventClient>> create(EventClientOptions options);
  ~EventClient();  // what is unacknowledged is lost; flush() first
  EventClient(const EventClient&) = delete;
  EventClient& operator=(const EventClient&) = delete;

  // Any thread, never blocks. False: dropped, the queue is full or the event too large.
  bool send(const AgentId& source, const AgentEventBody& body);
  bool send_raw(const AgentId& source, std::string name, std::string payload);
  // Waits until everything sent so far is acknowledged. False: not within `timeout`.
  bool flush(Duration timeout);

  EventClientStats stats() const;

 private:
  class Impl;
  explicit EventClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bai::server

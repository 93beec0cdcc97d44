// Inside of the gateway: what the I/O thread owns. Included by gateway*.cpp only.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "agent/codec.hpp"
#include "agent/gateway.hpp"
#include "agent/zmq_socket.hpp"

namespace bai::server {

enum class TimerKind : std::uint8_t { Deadline, Handshake, Redial, Ping };
// When, which link, why, and which request or which life of the link it belongs to.
using Timer = std::tuple<SteadyTime, std::uint64_t, TimerKind, std::uint64_t>;

struct OpenRequest {
  AgentReplyHandler reply;  // empty: the gateway's own health ping
  std::string_view method;
  Bytes body;  // until it is sent
  SteadyTime deadline;
  bool sent = false;
};

enum class LinkState : std::uint8_t { Idle, Dialing, Backoff, Ready };

// One agent. Requests wait in `open` until the link is Ready; the order of keys is the order of
// sending. Keys count up for ever, the wire carries their low 32 bits.
struct Link {
  std::uint64_t id = 0;
  AgentEndpoint endpoint;
  Socket dealer, monitor;
  LinkState state = LinkState::Idle;
  std::uint64_t life = 0;  // +1 with every change of state: outdates timers
  std::map<std::uint64_t, OpenRequest> open;
  std::uint64_t next_seq = 0;
  Duration backoff;
  int ping_failures = 0;
  std::string trouble;                                   // why the last dial failed
  bool is_malformed_told = false, is_late_told = false;  // logged; further ones are only counted
};

struct Command {
  AgentEndpoint endpoint;
  std::optional<OpenRequest> request;  // none: forget
};

struct GatewayCounters {
  std::atomic<std::uint64_t> requests{0}, replies{0}, failures{0}, timeouts{0}, unreachable{0},
      late{0}, malformed{0}, dials{0}, handshake_failures{0}, disconnects{0}, ping_failures{0},
      open{0}, in_flight{0}, connected{0};
};

class ZmqAgentGateway::Impl {
 public:
  explicit Impl(GatewayOptions options);
  ~Impl();
  Status start();

  void request(const AgentEndpoint& agent, AgentRequest request, Duration timeout,
               AgentReplyHandler reply);
  void forget(const AgentId& agent);
  GatewayStats stats() const;

 private:
  bool enqueue(Command& command);  // false: stopped
  void answer(AgentReplyHandler& reply, Result<AgentReply> result);
  void log(LogLevel level, const std::string& message) const;

  // I/O thread.
  void run();
  void take_commands();
  void accept(Command command, SteadyTime now);
  void handle_ready(std::uint64_t token);
  void fire_timers();
  void on_deadline(Link& link, std::uint64_t seq);
  void on_ping_time(Link& link);
  SteadyTime next_wake() const;

  // Links (gateway_link.cpp).
  Link& link_of(const AgentEndpoint& endpoint);
  void set_state(Link& link, LinkState state);
  void dial(Link& link);
  Status open_sockets(Link& link);
  void close_sockets(Link& link, int linger_ms);
  void dial_failed(Link& link, const std::string& why);
  void dial_refused(Link& link, const Error& error);
  void lost(Link& link, const std::string& why);  // a Ready link is gone
  void retry_or_rest(Link& link);
  void drain(Link& link);
  void drain_monitor(Link& link);
  void on_message(Link& link, const Frames& frames);
  void on_reply(Link& link, const Frames& frames);
  void malformed(Link& link, std::string_view what);
  void late(Link& link, std::string_view method);
  void became_ready(Link& link);
  bool send_request(Link& link, std::uint64_t seq, OpenRequest& request);
  void add_timer(SteadyTime when, const Link& link, TimerKind kind, std::uint64_t stamp);
  using OpenIterator = std::map<std::uint64_t, OpenRequest>::iterator;
  // Removes the request and answers it.
  void finish(Link& link, OpenIterator it, Result<AgentReply> result);
  void fail_open(Link& link, bool only_sent, const Error& error);

  GatewayOptions options_;
  wire::Limits limits_;
  GatewayCounters count_;

  std::mutex mutex_;  // guards commands_ and stopping_
  std::vector<Command> commands_;
  bool stopping_ = false;

  ZmqContext context_;
  Poller poller_;
  std::unordered_map<std::uint64_t, Link> links_;
  std::unordered_map<AgentId, std::uint64_t> link_ids_;
  std::uint64_t next_link_ = 1;
  std::set<Timer> timers_;
  Frames frames_;
  std::vector<std::uint64_t> unfinished_;  // tokens of links that had more than one turn's messages
  std::thread thread_;
};

}  // namespace bai::server

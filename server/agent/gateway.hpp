// The manager's end of the agent RPC: one DEALER per agent, all owned by one I/O thread.
#pragma once

#include <cstdint>
#include <memory>

#include "agent/curve.hpp"
#include "bai_manager/agent.hpp"
#include "bai_manager/env.hpp"

namespace bai::server {

struct GatewayOptions {
  CurveKeyPair manager_keys;  // needed for agents that announce a public key
  Duration handshake_timeout = seconds(5);
  Duration backoff_min = milliseconds(100);  // between two dials; doubles up to backoff_max
  Duration backoff_max = seconds(5);
  Duration ping_interval = seconds(30);
  Duration ping_timeout = seconds(5);
  int ping_failures = 3;                  // in a row, then the connection is dropped and re-dialled
  Duration keepalive_idle = seconds(60);  // TCP keepalive
  std::size_t max_pending_per_agent = 4096;  // requests waiting or in flight; more: Unavailable
  std::size_t max_pending = 262144;          // the same for all agents together
  std::size_t max_frame_bytes = 64U << 20U;  // of one message, both ways
  LogSink* log = nullptr;                    // outlives the gateway
};

// Counted since the start; `waiting`, `in_flight` and `connected` are current values.
struct GatewayStats {
  std::uint64_t requests = 0;     // accepted by request()
  std::uint64_t replies = 0;      // answered with a result
  std::uint64_t failures = 0;     // answered with FAILURE, ERROR or CANCELLED
  std::uint64_t timeouts = 0;     // in flight at their deadline: a CANCEL was sent
  std::uint64_t unreachable = 0;  // failed as Unavailable
  std::uint64_t late = 0;         // replies to requests that nobody waits for any more
  std::uint64_t malformed = 0;    // messages that do not decode
  std::uint64_t dials = 0, handshake_failures = 0, disconnects = 0, ping_failures = 0;
  std::uint64_t waiting = 0, in_flight = 0, connected = 0;
};

// Thread-safe. Reply handlers run on the I/O thread (or inside request() when it is refused at
// once): they must be quick and must not destroy the gateway. The destructor answers everything
// that is open with Unavailable and joins the thread.
class ZmqAgentGateway : public AgentGateway {
 public:
  static Result<std::unique_ptr<ZmqAgentGateway>> create(GatewayOptions options);
  ~ZmqAgentGateway() override;
  ZmqAgentGateway(const ZmqAgentGateway&) = delete;
  ZmqAgentGateway& operator=(const ZmqAgentGateway&) = delete;

  // Kinds of Unavailable: "agent-unreachable" (never sent), "agent-disconnected" (sent,
  // unanswered), "agent-queue-full", "agent-address" and "agent-auth" (cannot be dialled),
  // "gateway-stopped".
  void request(const AgentEndpoint& agent, AgentRequest request, Duration timeout,
               AgentReplyHandler reply) override;
  void forget(const AgentId& agent) override;

  GatewayStats stats() const;

 private:
  class Impl;
  explicit ZmqAgentGateway(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// One agent takes about four file descriptors. Raises the process's soft limit to its hard one; for
// programs with many agents to call first.
void raise_open_file_limit() noexcept;

}  // namespace bai::server

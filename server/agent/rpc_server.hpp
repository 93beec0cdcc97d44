// The agents' end of the agent RPC: ROUTER sockets, any number of logical agents in one process.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "agent/curve.hpp"
#include "bai_manager/agent.hpp"
#include "bai_manager/env.hpp"

namespace bai::server {

struct DecodedRequest {
  AgentId agent;  // the kwarg `agent_id`; absent or null: the primary agent of the port
  std::string method;
  AgentRequest request;
};

// Answers one request; any thread, at most once. Destroyed unanswered, it answers with a
// RuntimeError. Outliving the server is allowed: the answer then goes nowhere.
class RpcReplier {
 public:
  class State;
  explicit RpcReplier(std::shared_ptr<State> state);
  RpcReplier(RpcReplier&&) noexcept = default;
  RpcReplier& operator=(RpcReplier&&) noexcept;
  ~RpcReplier();

  void ok(Json value = {});   // RESULT
  void ok_bytes(Bytes data);  // RESULT with bytes (downloads)
  // FAILURE; `kind` is the exception class: "KeyError", "ResourceError", ...
  void fail(std::string_view kind, std::string_view message, std::string_view traceback = {});
  void abandon();  // never answers: a lost reply, for fault injection

  // A CANCEL has arrived. The server has answered it with CANCELLED; a later answer goes nowhere.
  bool cancelled() const noexcept;
  // Runs `callback` once on the I/O thread when the CANCEL arrives (at once, on this thread, when
  // it already has). Quick; must not call back into this replier.
  void on_cancel(std::move_only_function<void()> callback);

 private:
  std::shared_ptr<State> state_;  // null once answered
};

// Runs on the I/O thread: quick, hands long work to others together with the replier.
using RpcHandler = std::move_only_function<void(DecodedRequest, RpcReplier)>;

struct RpcServerOptions {
  CurveKeyPair keys;                  // set: CURVE on every port ...
  std::string manager_public_key;     // ... and only this client key is admitted
  std::size_t max_in_flight = 65536;  // unanswered requests; more: FAILURE "ResourceError"
  std::size_t max_frame_bytes = 64U << 20U;
  LogSink* log = nullptr;  // outlives the server
};

struct RpcServerStats {
  std::uint64_t requests = 0, replies = 0, pings = 0, cancels = 0;
  std::uint64_t malformed = 0;  // frames that are none or whose header does not decode; no answer
  std::uint64_t rejected = 0;   // answered with FAILURE here: unknown method, bad arguments, limit
  std::uint64_t auth_denied = 0;  // CURVE clients turned away
  std::uint64_t in_flight = 0;
};

class RpcServer {
 public:
  // No port is open yet. Unavailable when sockets or threads are exhausted.
  static Result<std::unique_ptr<RpcServer>> create(RpcServerOptions options, RpcHandler handler);
  ~RpcServer();  // joins; open requests go unanswered
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // Any thread except the handler's; blocks until done. `addr` is "tcp://host:port" or
  // "tcp://host:*"; returns the address with the real port. AlreadyExists when it is taken.
  Result<std::string> bind(const std::string& addr, AgentId primary = {});
  // Closes the port as a dying agent would: connections drop, its open requests go unanswered.
  Status unbind(const std::string& addr);

  RpcServerStats stats() const;

 private:
  class Impl;
  explicit RpcServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bai::server

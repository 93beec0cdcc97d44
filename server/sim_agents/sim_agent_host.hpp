// Simulated agents behind real sockets: one process, one RPC port, one event connection.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent/event_channel.hpp"
#include "agent/rpc_server.hpp"
#include "bai_manager/sim_agents.hpp"

namespace bai::server {

struct SimHostOptions {
  std::string event_addr{kDefaultEventAddr};   // the manager's
  std::string rpc_addr = "tcp://127.0.0.1:*";  // one port for all agents; `*`: any free one
  std::string advertised_host;                 // in place of the host of `rpc_addr`
  std::vector<SimAgentSpec> agents;
  SimBehaviour behaviour;
  double lose_requests = 0, lose_replies = 0;  // share of the calls that come to nothing
  std::uint64_t seed = 1;
  LogSink* log = nullptr;  // outlives the host
};

struct SimHostStats {
  std::uint64_t announced = 0;  // agents that have sent a heartbeat
  std::uint64_t kernels = 0;    // that exist now
  SimAgentTotals totals;        // summed
  // Of the records that are kept (SimBehaviour::keeps_records):
  std::uint64_t created = 0;           // kernels that a creation was accepted for
  std::uint64_t created_twice = 0;     // ... more than once, on whichever agents
  std::uint64_t creates_repeated = 0;  // requests to create what was there or had been there
  std::uint64_t overfull = 0;          // agents that held more than they have at some time
  EventClientStats events;
  RpcServerStats rpc;
};

// Threads: one for all agents, two for I/O.
class SimAgentHost {
 public:
  // InvalidArgument for options that make no sense; errors of the sockets as they are.
  static Result<std::unique_ptr<SimAgentHost>> create(SimHostOptions options);
  ~SimAgentHost();  // as a crash of all agents
  SimAgentHost(const SimAgentHost&) = delete;
  SimAgentHost& operator=(const SimAgentHost&) = delete;

  // Starts the agents one after the other, spread over one heartbeat interval.
  void start();
  // Every agent says that it shuts down; false when that has not been heard within `timeout`.
  bool stop(Duration timeout);

  const std::string& rpc_addr() const noexcept;  // with the real port
  SimHostStats stats() const;                    // any thread

  // Runs `visit` on the agents' thread and waits for it: faults on demand. False when there is no
  // such agent.
  bool with_agent(const AgentId& id, const std::function<void(SimAgent&)>& visit);

 private:
  class Impl;
  explicit SimAgentHost(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bai::server

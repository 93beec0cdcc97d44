#include "server_collectors.hpp"

#include <numeric>

namespace bai::server {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

void gauge(std::vector<Sample>& out, const char* name, const char* help, std::uint64_t value,
           Labels labels = {}) {
  out.push_back({name, help, std::move(labels), static_cast<double>(value), false});
}
void counter(std::vector<Sample>& out, const char* name, const char* help, std::uint64_t value,
             Labels labels = {}) {
  out.push_back({name, help, std::move(labels), static_cast<double>(value), true});
}

}  // namespace

void collect_manager(const Manager& manager, std::vector<Sample>& out) {
  const Statistics s = manager.statistics();
  const auto snapshot = manager.snapshot();
  gauge(out, "bai_state_version", "Version of the published state", s.version);
  gauge(out, "bai_queue_length", "Inputs waiting for the loop", s.queue_length);
  gauge(out, "bai_storage_down", "1 while commits are refused", s.storage_down ? 1 : 0);
  counter(out, "bai_turns_total", "Turns of the loop", s.turns);
  counter(out, "bai_inputs_total", "Inputs handled by the loop", s.inputs);
  counter(out, "bai_commits_total", "Commits to storage", s.commits);
  counter(out, "bai_commit_failures_total", "Commits refused or in doubt", s.commit_failures);
  counter(out, "bai_placements_total", "Placements applied", s.placements);
  counter(out, "bai_placements_refused_total", "Placements that no longer fitted when applied",
          s.placements_refused);
  counter(out, "backendai_scheduler_enqueue_success_total", "Sessions that were given agents",
          s.placements);
  counter(out, "bai_agent_events_ignored_total",
          "Agent events that were late, or about something unknown", s.events_ignored);
  for (std::size_t i = 0; i < EnumText<SessionStatus>::names.size(); ++i) {
    const auto status = static_cast<SessionStatus>(i);
    if (is_terminal(status)) continue;  // they only grow: the database counts them
    gauge(out, "bai_sessions", "Live sessions by status", snapshot->count_sessions(status),
          {{"status", std::string(to_string(status))}});
  }
  std::array<std::uint64_t, EnumText<AgentStatus>::names.size()> agents{};
  snapshot->for_each<Agent>([&](const Agent& agent) {
    ++agents[static_cast<std::size_t>(agent.status)];
    return true;
  });
  for (std::size_t i = 0; i < agents.size(); ++i) {
    gauge(out, "bai_agents", "Agents by status", agents[i],
          {{"status", std::string(EnumText<AgentStatus>::names[i])}});
  }
  gauge(out, "backendai_agent_registry_count", "Agents that are known, whatever their status",
        std::accumulate(agents.begin(), agents.end(), std::uint64_t{0}));
}

void collect_http(const http::ServerCounters& c, std::vector<Sample>& out) {
  gauge(out, "bai_http_open_connections", "Open connections to the public port",
        c.open_connections);
  gauge(out, "bai_http_open_streams", "Open streamed responses", c.open_streams);
  gauge(out, "backendai_async_task_count", "Requests received and not yet answered",
        c.requests > c.responses ? c.requests - c.responses : 0);
  counter(out, "bai_http_accepted_total", "Connections accepted", c.accepted);
  counter(out, "bai_http_refused_total", "Connections refused over the limit", c.refused);
  counter(out, "bai_http_timeouts_total", "Connections ended by a deadline", c.header_timeouts,
          {{"what", "header"}});
  counter(out, "bai_http_timeouts_total", "Connections ended by a deadline", c.request_timeouts,
          {{"what", "request"}});
  counter(out, "bai_http_timeouts_total", "Connections ended by a deadline", c.write_timeouts,
          {{"what", "write"}});
  for (std::size_t i = 0; i < c.framing_errors.size(); ++i) {
    counter(out, "bai_http_framing_errors_total", "Requests refused for their framing",
            c.framing_errors[i],
            {{"kind", std::string(to_string(static_cast<http::FramingError>(i)))}});
  }
}

void collect_agents(const GatewayStats& g, const EventListenerStats& e, std::vector<Sample>& out) {
  gauge(out, "bai_agent_rpc_connected", "Agents connected", g.connected);
  gauge(out, "bai_agent_rpc_in_flight", "Requests sent to agents and not yet answered",
        g.in_flight);
  counter(out, "bai_agent_rpc_requests_total", "Requests to agents", g.requests);
  counter(out, "bai_agent_rpc_timeouts_total", "Requests to agents past their deadline",
          g.timeouts);
  counter(out, "bai_agent_rpc_malformed_total", "Messages from agents that do not decode",
          g.malformed);
  counter(out, "bai_agent_rpc_late_replies_total", "Replies that nobody waited for any more",
          g.late);
  counter(out, "bai_agent_rpc_disconnects_total", "Connections to agents that broke",
          g.disconnects);
  counter(out, "bai_agent_rpc_handshake_failures_total", "Agents that could not be connected to",
          g.handshake_failures);
  counter(out, "bai_agent_rpc_ping_failures_total", "Health pings that went unanswered",
          g.ping_failures);
  counter(out, "bai_agent_events_received_total", "Agent events handed to the manager", e.received);
  counter(out, "bai_agent_events_malformed_total", "Agent events that do not decode", e.malformed);
  counter(out, "bai_agent_events_unknown_total", "Agent events of names that mean nothing here",
          e.unknown);
  counter(out, "bai_agent_events_repeated_total", "Agent events that arrived again meanwhile",
          e.repeated);
  counter(out, "bai_agent_events_refused_total", "Agent events left to be sent again", e.refused);
}

}  // namespace bai::server

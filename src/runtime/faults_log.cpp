#include "runtime/faults_log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

namespace bai::runtime {
namespace {

void log_agent(const Agent* was, const Agent& now, LogSink& log) {
  if (was != nullptr && was->status == now.status) return;
  const std::string_view id = now.id.view();
  switch (now.status) {
    case AgentStatus::Alive:
      if (was == nullptr) {
        return log.write(LogLevel::Info, "manager",
                         fmt::format("agent {} has joined: {}, resource group {}", id, now.addr,
                                     now.resource_group.view()));
      }
      return log.write(LogLevel::Info, "manager",
                       fmt::format("agent {} is back: it was {}", id, to_string(was->status)));
    case AgentStatus::Lost:
      return log.write(LogLevel::Warn, "manager",
                       fmt::format("agent {} is LOST: it was last heard of at {}", id,
                                   to_iso8601(now.last_seen)));
    case AgentStatus::Restarting:
    case AgentStatus::Terminated:
      return log.write(
          LogLevel::Info, "manager",
          fmt::format("agent {} has said that it stops: {}", id, to_string(now.status)));
  }
}

void log_attempt(const History& row, const Snapshot& now, LogSink& log) {
  const bool given_up = row.result == SchedulingResult::GiveUp;
  if (!given_up && row.error_code != "failed-to-start") return;
  const auto id = parse_uuid<SessionId>(row.subject);
  const Session* session = id ? now.find<Session>(*id) : nullptr;
  log.write(LogLevel::Warn, "manager",
            fmt::format("session {} ({}) {}: {}", row.subject, session ? session->name : "gone",
                        given_up ? fmt::format("is given up after {} attempts", row.attempts)
                                 : fmt::format("has failed to start, attempt {}", row.attempts),
                        row.message));
}

void log_end(const Session* was, const Session& now, LogSink& log) {
  constexpr std::string_view kLost = "agent-lost";
  if (was == nullptr || is_terminal(was->status) || !is_terminal(now.status)) return;
  if (now.status_info != kLost) return;
  log.write(
      LogLevel::Warn, "manager",
      fmt::format("session {} ({}) has ended: its agent is lost", to_string(now.id), now.name));
}

bool has_less(const Agent& was, const Agent& now) {
  if (was.resource_group != now.resource_group) return true;
  return std::ranges::any_of(was.available_slots, [&](const auto& slot) {
    return now.available_slots.get(slot.first) < slot.second;
  });
}

// `agents` have less than they had, or are in other resource groups.
void log_gaps(const std::map<ResourceGroupName, std::set<AgentId>>& agents, const Snapshot& now,
              LogSink& log) {
  for (const auto& [group, shrunk] : agents) {
    for (const ReservationGap& gap : now.reservation_gaps(group)) {
      if (!shrunk.contains(gap.agent)) continue;
      log.write(LogLevel::Warn, "manager",
                fmt::format("reservation {} keeps more of agent {} than it has: {} is missing",
                            gap.reservation->id, gap.agent.view(),
                            slots_to_json_humanized(now.slot_types(), gap.missing).dump()));
    }
  }
}

}  // namespace

void log_faults(std::span<const Change> changes, const Snapshot& now, LogSink& log) {
  std::map<ResourceGroupName, std::set<AgentId>> shrunk;
  for (const Change& change : changes) {
    if (!change.after) continue;
    if (change.entity == EntityKind::Agent) {
      const Agent* was = change.old_row<Agent>();
      log_agent(was, *change.new_row<Agent>(), log);
      if (was != nullptr && has_less(*was, *change.new_row<Agent>())) {
        shrunk[was->resource_group].insert(was->id);
      }
    } else if (change.entity == EntityKind::Session) {
      log_end(change.old_row<Session>(), *change.new_row<Session>(), log);
    } else if (change.entity == EntityKind::History) {
      log_attempt(*change.new_row<History>(), now, log);
    }
  }
  log_gaps(shrunk, now, log);
}

}  // namespace bai::runtime

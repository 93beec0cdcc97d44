// A small cluster whose plans become real as time goes by.
#pragma once

#include <map>
#include <random>
#include <set>

#include "world.hpp"

namespace bai::test {

struct Draw {
  explicit Draw(std::uint64_t seed) : random(seed) {}
  std::int64_t operator()(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
  }
  std::mt19937_64 random;
};

// Sessions run exactly as long as they said, unless a test says otherwise.
struct Timeline {
  explicit Timeline(PlanLimits limits = {}) : world(builtin_policies(), limits) {}

  World world;
  std::int64_t now = kNow;
  std::map<SessionId, std::int64_t> runtime;          // seconds; absent: as declared
  std::set<std::pair<std::int64_t, SessionId>> ends;  // of what runs
  std::map<SessionId, std::vector<std::pair<KernelId, AgentId>>> running;

  // What starts now runs from now on.
  Plan pass() {
    Plan plan = world.plan(now);
    for (const Placement& placement : plan.placements) {
      for (const auto& [kernel, agent] : placement.kernels) {
        world.changes.update<Kernel>(kernel, [&](Kernel& row) {
          row.status = KernelStatus::Running;
          row.agent = agent;
          row.occupied_slots = row.requested_slots;
        });
      }
      const Session& row = world.changes.update<Session>(placement.session, [&](Session& session) {
        session.status = SessionStatus::Running;
        session.starts_at = at_second(now);
      });
      const auto known = runtime.find(row.id);
      const std::int64_t takes =
          known != runtime.end() ? known->second : row.batch_timeout->ns / 1'000'000'000;
      ends.emplace(now + takes, row.id);
      running[row.id] = placement.kernels;
    }
    return plan;
  }

  std::int64_t next_end() const { return ends.empty() ? -1 : ends.begin()->first; }

  // Ends what is over by `second`, which is now from then on.
  void move_to(std::int64_t second) {
    now = second;
    while (!ends.empty() && ends.begin()->first <= now) {
      finish(ends.begin()->second);
      ends.erase(ends.begin());
    }
  }

  void finish(const SessionId& id) {
    for (const auto& [kernel, agent] : running[id]) {
      world.changes.update<Kernel>(kernel, [](Kernel& row) {
        row.status = KernelStatus::Terminated;
        row.occupied_slots = {};
      });
    }
    world.changes.update<Session>(id, [](Session& row) {
      row.status = SessionStatus::Terminated;
      row.result = SessionResult::Success;
    });
    running.erase(id);
  }

  bool is_pending(const SessionId& id) const {
    return world.state.find<Session>(id)->status == SessionStatus::Pending;
  }
};

}  // namespace bai::test

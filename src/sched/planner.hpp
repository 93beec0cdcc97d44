// Decides which pending sessions start where. Fed with the changes of every published version, it
// answers with plans; it reads nothing but its own mirror of the state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bai_manager/entities.hpp"
#include "bai_manager/policy.hpp"
#include "model/changeset.hpp"

namespace bai {

struct PlacedDevice {
  KernelId kernel;
  std::string slot;
  std::uint32_t device = 0;
  Amount amount;
  friend bool operator==(const PlacedDevice&, const PlacedDevice&) = default;
};

struct Placement {
  SessionId session;
  std::vector<std::pair<KernelId, AgentId>> kernels;  // every pending kernel of the session
  std::vector<PlacedDevice> devices = {};             // of slots that are made of devices
  // Sessions that are to be ended for it: it starts when they have left, and no earlier.
  std::vector<SessionId> victims = {};
  friend bool operator==(const Placement&, const Placement&) = default;
};

struct Explained {  // why a session still waits; only where it differs from the last one emitted
  SessionId session;
  std::shared_ptr<const PendingReason> reason;
};

struct Plan {
  StateVersion based_on;
  std::vector<Placement> placements;
  std::vector<Explained> explained;
  std::optional<Timestamp> wake_at;  // a requested start or retry that becomes due
  std::vector<std::string> errors;   // of policies: that resource group's pass is abandoned
  std::vector<std::string> notices;  // about settings, said once
};

// What would become of a session. Neither: it does not wait.
struct Prospect {
  StateVersion based_on;
  std::optional<Placement> placement;           // it starts now; of victims, when they have left
  std::shared_ptr<const PendingReason> reason;  // otherwise
};

struct PlanLimits {
  std::uint32_t sessions_max = 1000;  // placements per resource group and pass
  // Per resource group and pass: agents examined plus sessions looked at. What is left waits for
  // the next pass.
  std::uint64_t steps_max = 200'000'000;
  // Sessions at the front of each queue that are told their position and the missing amounts;
  // those behind get a reason without numbers that change with every pass.
  std::uint32_t positions_max = 100;
  // Agents looked at, per resource group and pass, to tell those at the front which amounts are
  // missing where; whoever comes after that is told the rule and the counts, and the rest when
  // asked about. The first one always gets it.
  std::uint64_t surveyed_max = 200'000;
  // False for simulations that ask nobody why: sessions that cannot start are not looked at one by
  // one.
  bool explain = true;
};

namespace sched {
class Mirror;
}  // namespace sched

// Calls `job` with every number below `count`, on any threads, and returns when all have returned.
using JobRunner =
    std::function<void(std::size_t count, const std::function<void(std::size_t)>& job)>;

// One thread at a time (the planner's). Deterministic: the same feeds and plans in the same order,
// `now` and `seed` give the same plan, byte for byte.
class Planner {
 public:
  // Resource groups are planned by `runner`, each apart from the others: what they share - limits
  // of users and projects - is settled when a plan is applied. Empty: one after the other.
  Planner(std::shared_ptr<const PolicyRegistry> policies, PlanLimits limits, JobRunner runner = {});
  ~Planner();
  Planner(const Planner&) = delete;
  Planner& operator=(const Planner&) = delete;

  // Coalesced changes of one version, in order of versions; the first call carries every row of
  // the loaded state as an insert. Order within a call does not matter.
  void feed(StateVersion version, std::span<const Change> changes);

  // Leaves the mirror as it was: what is accepted comes back through `feed`. Not to be called
  // before the version in which the previous plan was applied has been fed.
  Plan plan(Timestamp now, std::uint64_t seed);

  // What would become of a session, with everything that waits before it, if `changes` came to the
  // state of the mirror's version. Leaves everything as it was: no later plan differs for it.
  Prospect what_if(std::span<const Change> changes, const SessionId& session, Timestamp now,
                   std::uint64_t seed);

  const sched::Mirror& mirror() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bai

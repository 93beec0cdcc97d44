// What must hold, whatever happens.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/accounting.hpp"
#include "model/state.hpp"
#include "repo/repo.hpp"
#include "sim/simulation.hpp"

namespace bai::sim {
namespace {

constexpr Duration kSettleWithin = seconds(1800);
constexpr Duration kLook = seconds(5);
constexpr Duration kOrphanMost = seconds(60);  // the manager hears of it and ends it
constexpr std::uint64_t kReloadShare = 10;     // of the commits after which everything is loaded

bool is_on_the_way(SessionStatus status) {
  return status != SessionStatus::Pending && status != SessionStatus::Running &&
         !is_terminal(status);
}

}  // namespace

// ---- at every step ------------------------------------------------------------------------------

void Simulation::check_snapshot(const Snapshot& snapshot) {
  if (auto wrong = manager_->check_invariants(); !wrong.empty()) report("invariants", wrong);
  check_sessions(snapshot);
  check_grants(snapshot);
  check_truth();
  check_orphans(snapshot);
  check_restart(snapshot);
  ++totals_.checks;
  const bool is_stored = std::exchange(seen_commits_, totals_.commits) != totals_.commits;
  if (is_stored && totals_.commits % kReloadShare == 0) check_reload(snapshot);
}

void Simulation::check_sessions(const Snapshot& snapshot) {
  for (auto& [id, accepted] : accepted_) {
    const Session* session = snapshot.find<Session>(id);
    if (!session) return report("lost-session", accepted.name + " was accepted and is gone");
    if (session->name != accepted.name) {
      return report("lost-session", fmt::format("{} is called {}", accepted.name, session->name));
    }
    const SessionStatus before = accepted.last;
    accepted.last = session->status;
    if (session->status == SessionStatus::Running && !accepted.ran) {
      accepted.ran = true;
      ++totals_.ran;
    }
    if (before != session->status && session->status == SessionStatus::Rescheduling) {
      ++accepted.preempted;
    }
    const bool leaves = session->status == SessionStatus::Rescheduling ||
                        session->status_info == "PREEMPTED_BY_SCHEDULER";
    if (before == SessionStatus::Running && before != session->status && leaves) {
      ++totals_.preempted;
    }
    if (before != session->status) {
      note(fmt::format("{}: {} -> {} {}", accepted.name, to_string(before),
                       to_string(session->status), session->status_info));
    }
    if (is_terminal(before) && before != session->status) {
      return report("risen", fmt::format("{}: {} -> {}", accepted.name, to_string(before),
                                         to_string(session->status)));
    }
    if (accepted.destroy_done && before == SessionStatus::Terminating &&
        !is_terminal(session->status) && session->status != SessionStatus::Terminating) {
      return report("risen", fmt::format("{} was destroyed and is {}", accepted.name,
                                         to_string(session->status)));
    }
  }
  for (const std::string& name : refused_names_) {
    if (snapshot.find_live_session(AccessKey("AKIAADA"), name)) {
      return report("half-done", name + " was refused and is there");
    }
  }
}

// No grant beyond what an agent really has.
void Simulation::check_grants(const Snapshot& snapshot) {
  snapshot.for_each<Agent>([&](const Agent& agent) {
    const SimAgent* truth = cluster_->find(agent.id);
    if (!truth) {
      report("overcommit", fmt::format("there is no agent {}", agent.id.view()));
      return false;
    }
    if (!agent.occupied_slots.fits_in(truth->spec().capacity)) {
      report("overcommit", fmt::format("{}: more cpu granted ({}) than there is ({})",
                                       agent.id.view(), agent.occupied_slots.get("cpu").units,
                                       truth->spec().capacity.get("cpu").units));
    }
    return !finding_;
  });
}

void Simulation::check_truth() {
  std::map<SessionId, std::uint32_t> batches;
  for (const SimKernelRecord& record : cluster_->all_records()) {
    if (cluster_->creates_sent(record.id) > 1) {
      return report("created-twice",
                    fmt::format("kernel {} was asked for {} times", to_string(record.id),
                                cluster_->creates_sent(record.id)));
    }
    // A request that the network repeats after the kernel's end makes it anew.
    if (record.started > 1 && !config_.network_faults) {
      return report("created-twice", fmt::format("kernel {} was started {} times",
                                                 to_string(record.id), record.started));
    }
    batches[record.session] += record.batches;
  }
  for (const auto& [session, count] : batches) {
    const auto accepted = accepted_.find(session);
    if (count > 1 + (accepted != accepted_.end() ? accepted->second.preempted : 0)) {
      return report("batch-twice",
                    fmt::format("session {} ran its batch {} times", to_string(session), count));
    }
  }
  for (const AgentId& id : cluster_->agents()) {
    const SimAgent& agent = *cluster_->find(id);
    if (agent.totals().bad_reasons > 0) {
      return report("bad-reason",
                    fmt::format("{} was given a reason that no agent knows", id.view()));
    }
    // An agent that does not refuse repeats must never be asked twice.
    if (agent.spec().version.starts_with("bai-")) continue;
    for (const auto& [kernel, record] : agent.records()) {
      if (cluster_->triggers_sent(kernel) > 1) {
        return report("batch-twice",
                      fmt::format("kernel {} on {} was triggered {} times", to_string(kernel),
                                  id.view(), cluster_->triggers_sent(kernel)));
      }
    }
  }
}

// A restart would bring back what is published: what this step has changed, in memory or in
// storage, is compared as a start would load it.
void Simulation::check_restart(const Snapshot& snapshot) {
  if (!shadow_) return;
  if (auto ok = shadow_->follow(snapshot.version()); !ok) {
    return report("restart", ok.error().message);
  }
  const Timestamp ended_before = world_.now() - options().keep_ended;
  const std::string difference = shadow_->first_difference(snapshot.state(), ended_before);
  if (!difference.empty()) report("restart", difference);
}

// The same of everything at once, by the code of a start. Commits that are not published yet, or
// are in doubt, are waited for.
void Simulation::check_reload(const Snapshot& snapshot) {
  if (!shadow_) return;
  if (world_.now() - started_ > options().keep_ended - seconds(60)) return;  // some have left it
  const auto stored = repo::stored_version(*rows_);
  if (!stored) return report("reload", stored.error().message);
  if (stored->version != snapshot.version()) return;
  State loaded;
  if (auto ok = repo::load(*rows_, loaded); !ok) return report("reload", ok.error().message);
  Changeset sums(loaded);
  core::rebuild_sums(sums);
  ++totals_.reloads;
  const std::string difference = first_difference(snapshot.state(), loaded);
  if (!difference.empty()) report("reload", difference);
}

// A kernel that lives on an agent is one of a session, or its destruction is owed. Only a creation
// that was given up and came late is neither, until the agent has told of it.
void Simulation::check_orphans(const Snapshot& snapshot) {
  std::set<KernelId> owed;
  snapshot.for_each<Operation>([&](const Operation& operation) {
    if (const auto kernel = parse_uuid<KernelId>(operation.subject)) owed.insert(*kernel);
    return true;
  });
  std::map<KernelId, Timestamp> orphans;
  for (const auto& [id, agents] : cluster_->where_live()) {
    const Kernel* kernel = snapshot.find<Kernel>(id);
    const bool is_known = kernel != nullptr && !is_terminal(kernel->status) &&
                          std::ranges::find(agents, kernel->agent) != agents.end();
    if (is_known || owed.contains(id)) continue;
    const bool can_tell = !is_cut_ && std::ranges::any_of(agents, [&](const AgentId& agent) {
      const SimAgent& there = *cluster_->find(agent);
      return there.is_up() && !there.is_hanging();
    });
    if (!can_tell) continue;  // begins anew
    const auto before = orphans_.find(id);
    const Timestamp since = before != orphans_.end() ? before->second : world_.now();
    orphans.emplace(id, since);
    if (world_.now() - since > kOrphanMost) {
      report("orphan", fmt::format("kernel {} has lived on {} for {} s, and nobody knows",
                                   to_string(id), agents[0].view(), kOrphanMost.ms() / 1000));
    }
  }
  orphans_ = std::move(orphans);
}

// A manager that would start now on the same storage sees the same world.
void Simulation::check_start() {
  if (!manager_ || finding_ || manager_->statistics().storage_down) return;
  ManualEnv elsewhere(1);
  auto agents = std::make_shared<SimulatedCluster>(elsewhere.env().clock, elsewhere.outside(), 1);
  const SnapshotPtr here = manager_->snapshot();
  auto second = Manager::open(options(), elsewhere.env(), {rows_, agents, {}, {}, {}});
  if (!second) return report("start", second.error().message);
  const std::string difference = first_difference(here->state(), (*second)->snapshot()->state());
  if (!difference.empty()) report("start", difference);
  (*second)->abandon();
}

// ---- when trouble is over -----------------------------------------------------------------------

std::string Simulation::unsettled() const {
  if (!manager_) return "there is no manager";
  if (!creations_.empty()) return creations_.front()->request.name + ": no answer to its creation";
  if (calls_open_ > 0) return fmt::format("{} calls are not answered", calls_open_);
  const SnapshotPtr snapshot = manager_->snapshot();
  std::string open;
  std::map<KernelId, AgentId> expected;
  snapshot->for_each<Session>([&](const Session& session) {
    const bool batch_runs =
        session.type == SessionType::Batch && session.status == SessionStatus::Running;
    if (is_on_the_way(session.status) || batch_runs) {
      open = fmt::format("{} is {}", session.name, to_string(session.status));
      return false;
    }
    if (session.status == SessionStatus::Running) {
      for (const Kernel* kernel : snapshot->kernels_of(session.id)) {
        expected[kernel->id] = kernel->agent;
      }
    }
    return true;
  });
  if (!open.empty()) return open;
  snapshot->for_each<Operation>([&](const Operation& operation) {
    if (operation.status == OperationStatus::Running) {
      open = fmt::format("operation {} on {} goes on", operation.kind, operation.subject);
    }
    return open.empty();
  });
  if (!open.empty()) return open;
  snapshot->for_each<Agent>([&](const Agent& agent) {
    if (agent.status != AgentStatus::Alive) {
      open = fmt::format("agent {} is {}", agent.id.view(), to_string(agent.status));
    }
    return open.empty();
  });
  if (!open.empty()) return open;
  for (const auto& [kernel, agents] : cluster_->where_live()) {
    const auto known = expected.find(kernel);
    if (known == expected.end() || agents.size() != 1 || agents[0] != known->second) {
      return fmt::format("orphan: kernel {} lives on {}", to_string(kernel), agents[0].view());
    }
    expected.erase(known);
  }
  if (!expected.empty()) {
    return fmt::format("ghost: kernel {} does not run on {}", to_string(expected.begin()->first),
                       expected.begin()->second.view());
  }
  return {};
}

void Simulation::settle() {
  const Timestamp until = world_.now() + kSettleWithin;
  std::string open = "nothing has been looked at";
  while (!open.empty() && world_.now() < until) {
    if (!advance(kLook)) return;
    open = unsettled();
  }
  if (open.empty()) return check_settled_statuses();
  const bool is_orphan = open.starts_with("orphan") || open.starts_with("ghost");
  report(is_orphan ? open.substr(0, open.find(':')) : "liveness", open);
}

// Without trouble that explains it, nothing ends but by its client's or its own will.
void Simulation::check_settled_statuses() {
  const SnapshotPtr snapshot = manager_->snapshot();
  for (const auto& [id, accepted] : accepted_) {
    const Session& session = *snapshot->find<Session>(id);
    const auto complain = [&](const char* what) {
      report("outcome", fmt::format("{} {}: {} {}", accepted.name, what, to_string(session.status),
                                    session.status_info));
    };
    if (accepted.destroy_done && !is_terminal(session.status)) complain("was destroyed");
    if (accepted.destroy_asked || config_.agent_faults) continue;
    if (session.status_info == "PREEMPTED_BY_SCHEDULER") continue;
    if (session.type != SessionType::Batch) {
      if (is_terminal(session.status)) complain("ended though nobody wanted it");
      continue;
    }
    if (!is_terminal(session.status)) continue;
    // Whether an agent that does not refuse repeats was told to begin may stay unknown for ever.
    const Kernel* kernel = snapshot->kernels_of(id).front();
    const SimAgent* agent = cluster_->find(kernel->agent);
    const bool can_ask = agent && agent->spec().version.starts_with("bai-");
    if ((was_calm_ || can_ask) && session.result != SessionResult::Success) {
      complain("did not succeed");
    }
  }
  if (!was_calm_) return;
  for (const SimKernelRecord& record : cluster_->all_records()) {
    if (record.repeats_refused + record.batches_refused > 0) {
      report("repeat", fmt::format("kernel {} was asked for again", to_string(record.id)));
    }
  }
  for (const AgentId& id : cluster_->agents()) {
    if (cluster_->find(id)->totals().no_room > 0 && !had_force_) {
      report("overcommit", fmt::format("{} had no room for what it was given", id.view()));
    }
  }
}

// What runs is destroyed until everything that waited has had its turn.
void Simulation::drain() {
  check_start();
  note("everything is destroyed, round by round");
  std::size_t stuck_rounds = 0;
  while (!finding_) {
    std::vector<SessionId> running;
    std::size_t waiting = 0;
    manager_->snapshot()->for_each<Session>([&](const Session& session) {
      if (session.status == SessionStatus::Running) running.push_back(session.id);
      waiting += session.status == SessionStatus::Pending;
      return true;
    });
    if (running.empty() && waiting == 0) break;
    stuck_rounds = running.empty() ? stuck_rounds + 1 : 0;
    if (stuck_rounds > 5) {
      std::string why = "no reason is given";
      manager_->snapshot()->for_each<Session>([&](const Session& session) {
        if (session.status != SessionStatus::Pending) return true;
        why = session.name + (session.pending_reason ? ": " + session.pending_reason->message : "");
        return false;
      });
      return report("liveness",
                    fmt::format("{} sessions wait in an empty cluster; {}", waiting, why));
    }
    for (const SessionId& id : running) {
      const Session* session = manager_->snapshot()->find<Session>(id);
      if (!accepted_.contains(id)) {
        return report("half-done", session->name + " runs, but nobody was told");
      }
      destroy_session(id, false);
    }
    settle();
  }
  if (!finding_) check_drained();
}

void Simulation::check_drained() {
  check_start();
  if (auto wrong = manager_->check_invariants(); !wrong.empty()) report("invariants", wrong);
  check_truth();
  const SnapshotPtr snapshot = manager_->snapshot();
  for (const auto& [id, accepted] : accepted_) {
    if (!is_terminal(snapshot->find<Session>(id)->status)) {
      return report("liveness", accepted.name + " has not ended");
    }
  }
  snapshot->for_each<Agent>([&](const Agent& agent) {
    SlotMap left = agent.occupied_slots;
    left.prune_zeros();
    if (!left.empty() || agent.kernel_count != 0) {
      report("leak", fmt::format("{} holds amounts of nobody", agent.id.view()));
    }
    return !finding_;
  });
  if (!cluster_->where_live().empty()) report("orphan", "kernels live in an empty cluster");
  for (const SimKernelRecord& record : cluster_->all_records()) totals_.batches += record.batches;
}

}  // namespace bai::sim

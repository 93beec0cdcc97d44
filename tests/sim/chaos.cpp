// What goes wrong.
#include <fmt/format.h>

#include "sim/simulation.hpp"

namespace bai::sim {

void Simulation::set_network(bool is_faulty) {
  LinkFaults calls, events;
  calls.latency = events.latency = milliseconds(1);
  if (is_faulty) {
    calls.lose = 0.05;
    calls.duplicate = 0.05;
    calls.hold = 0.1;
    calls.hold_most = seconds(5);
    events = calls;
    events.lose = 0.1;
    events.hold = 0.2;
  }
  cluster_->set_request_faults(calls);
  cluster_->set_reply_faults(calls);
  cluster_->set_event_faults(events);
}

void Simulation::cause_trouble() {
  if (config_.agent_faults && random_.chance(0.2)) trouble_agent();
  if (config_.storage_faults && random_.chance(0.25)) trouble_storage();
  if (config_.manager_crashes && manager_ && !crash_in_steps_ && random_.chance(0.25)) {
    crash_in_steps_ = random_.below(60);
  }
}

void Simulation::trouble_agent() {
  const auto ids = cluster_->agents();
  const AgentId id = ids[random_.below(ids.size())];
  SimAgent& agent = *cluster_->find(id);
  const auto come_back = [this, id](Duration after) {
    world_.at(world_.now() + after, [this, id] {
      note(fmt::format("{} comes back", id.view()));
      const SimAgent* known = cluster_->find(id);
      if (!known->is_up() || known->is_hanging()) cluster_->come_back(id);
    });
  };
  switch (random_.below(7)) {
    case 0:
    case 1: {
      if (!agent.is_up()) return;
      const bool survive = random_.chance(0.5);
      note(fmt::format("{} crashes, its kernels {}", id.view(), survive ? "survive" : "die"));
      cluster_->crash(id, survive);
      come_back(milliseconds(random_.between(100, 90'000)));
      break;
    }
    case 2:
      if (!agent.is_up() || agent.is_hanging()) return;
      note(fmt::format("{} hangs", id.view()));
      cluster_->hang(id);
      come_back(milliseconds(random_.between(100, 60'000)));
      break;
    case 3: {
      const auto running = agent.running_kernels();
      if (running.empty()) return;
      const KernelId kernel = running[random_.below(running.size())];
      note(fmt::format("kernel {} on {} dies", to_string(kernel), id.view()));
      (void)agent.kill_kernel(kernel);
      break;
    }
    case 4:
      cut_network(milliseconds(random_.between(1'000, 70'000)));
      break;
    case 5:
      note(fmt::format("{} will fail creations", id.view()));
      agent.fail_next_creates("PortConflictError",
                              static_cast<std::uint32_t>(random_.between(1, 3)),
                              random_.chance(0.5));
      break;
    default: {
      KernelId stranger;
      for (auto& byte : stranger.bytes) byte = static_cast<std::uint8_t>(random_.next());
      if (!agent.is_up()) return;
      note(fmt::format("{} speaks of an unknown kernel", id.view()));
      if (random_.chance(0.5)) {
        cluster_->inject({id, KernelTerminated{stranger, SessionId{}, "unknown", 1, {}}});
      } else {
        cluster_->inject({id, BatchFinished{SessionId{stranger.bytes}, true, "task-finished", 0}});
      }
    }
  }
}

void Simulation::cut_network(Duration how_long) {
  if (is_cut_ || is_over_) return;
  note(fmt::format("the network is gone for {} ms", how_long.ms()));
  is_cut_ = true;
  LinkFaults none;
  none.lose = 1;
  cluster_->set_request_faults(none);
  cluster_->set_reply_faults(none);
  cluster_->set_event_faults(none);
  world_.at(world_.now() + how_long, [this] {
    is_cut_ = false;
    if (is_over_) return;
    note("the network is back");
    set_network(config_.network_faults);
  });
}

void Simulation::trouble_storage() {
  using Fault = FaultyStorage::Fault;
  static constexpr Fault kFaults[] = {Fault::Refuse, Fault::LoseAnswer, Fault::LoseCommit};
  const Fault fault = kFaults[random_.below(3)];
  const auto count = static_cast<std::uint32_t>(random_.between(1, 3));
  const auto skip = static_cast<std::uint32_t>(random_.between(0, 5));
  note(fmt::format("storage: fault {} for {} commits after {}", static_cast<int>(fault), count,
                   skip));
  storage_->fail_next_commits(fault, count, skip);
}

void Simulation::end_trouble() {
  note("all trouble ends");
  is_over_ = true;
  set_network(false);
  storage_->fail_next_commits(FaultyStorage::Fault::None, 0);
  crash_in_steps_.reset();
  config_.crash_point.reset();
  for (const AgentId& id : cluster_->agents()) {
    SimAgent& agent = *cluster_->find(id);
    agent.behaviour().create_failure = 0;
    agent.fail_next_creates("", 0);
    if (!agent.is_up() || agent.is_hanging()) cluster_->come_back(id);
  }
  for (int i = 0; i < 20 && !manager_ && !finding_; ++i) advance(seconds(1));
  if (!manager_) report("restart", "the manager has not come back");
}

}  // namespace bai::sim

// A small resource group that changes at random: agents come and go out of use, sessions start, end
// and run longer, reservations are made and altered, and somebody new waits after each step.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "sched/mirror.hpp"
#include "timeline.hpp"

namespace bai::test {

struct Growing {
  explicit Growing(std::uint64_t seed, bool has_labels = false)
      : draw(seed), with_labels(has_labels) {
    ResourceGroup row;
    row.name = ResourceGroupName("default");
    world.changes.insert(row);
    with_devices = draw(0, 2) == 0;
    with_reservation = draw(0, 3) == 0;
    if (draw(0, 2) == 0) container_limit = static_cast<std::uint32_t>(draw(2, 4));
    for (std::int64_t i = draw(1, 12); i > 0; --i) add_agent();
    feed();
  }

  void add_agent() {
    Agent row;
    row.id = AgentId("a" + std::to_string(draw(1, 99)));
    if (world.state.find<Agent>(row.id) != nullptr) return;
    row.resource_group = ResourceGroupName("default");
    row.architecture = draw(0, 5) == 0 ? "aarch64" : "x86_64";
    const std::string rack = std::to_string(draw(0, 4)), hall = std::to_string(draw(0, 1));
    if (rack != "0") row.labels = Json::object({{"rack", Json(rack)}, {"hall", Json(hall)}});
    row.available_slots = slots({{"cpu", "8"}});
    if (with_devices && draw(0, 1) == 0) {
      row.available_slots = slots({{"cpu", "8"}, {"cuda.shares", "2"}});
      row.devices.set("cuda.shares", *Json::parse(R"(["1", "1"])"));
    }
    if (with_labels && draw(0, 1) == 0) row.labels.set("zone", "a");
    world.changes.insert(row);
    agents.push_back(row.id);
  }

  void run_one() {
    const AgentId agent = agents[static_cast<std::size_t>(draw.random() % agents.size())];
    Session session = world.draft();
    session.status = SessionStatus::Running;
    session.starts_at = at_second(now - draw(0, 40));
    if (draw(0, 9) > 0) session.batch_timeout = seconds(draw(20, 120));
    if (with_reservation && draw(0, 3) == 0) session.resource_opts.set("reservation", "r");
    Kernel kernel;
    kernel.id = numbered<KernelId>(++last_kernel);
    kernel.session = session.id;
    kernel.agent = agent;
    kernel.status = KernelStatus::Running;
    kernel.occupied_slots = slots({{"cpu", std::to_string(draw(1, 4))}});
    if (with_devices && draw(0, 1) == 0) {
      kernel.occupied_slots.set("cuda.shares", Amount{500});
      kernel.devices = Json::object(
          {{"cuda.shares", Json::object({{std::to_string(draw(0, 1)), Json("0.5")}})}});
    }
    world.changes.insert(kernel);
    world.changes.insert(session);
    running.emplace_back(session.id, kernel.id);
  }

  void end_one() {
    if (running.empty()) return;
    const auto at = static_cast<std::size_t>(draw.random() % running.size());
    world.changes.erase<Kernel>(running[at].second);
    world.changes.erase<Session>(running[at].first);
    running.erase(running.begin() + static_cast<std::ptrdiff_t>(at));
  }

  void step() {
    now += draw(0, 9);
    for (std::int64_t i = draw(0, 3); i > 0; --i) run_one();
    for (std::int64_t i = draw(0, 2); i > 0; --i) end_one();
    if (!running.empty() && draw(0, 3) == 0) {
      const auto& [id, kernel] = running[static_cast<std::size_t>(draw.random() % running.size())];
      const Duration limit = seconds(draw(20, 200));
      world.changes.update<Session>(id, [&](Session& s) { s.batch_timeout = limit; });
    }
    if (draw(0, 9) == 0) add_agent();
    if (draw(0, 9) == 0) {
      const bool takes = draw(0, 2) > 0;
      world.changes.update<Agent>(agents[draw.random() % agents.size()],
                                  [&](Agent& a) { a.schedulable = takes; });
    }
    for (const char* name : {"r", "s"}) {
      if (with_reservation && draw(0, 9) == 0) reserve(name);
    }
    const auto kernels = static_cast<std::size_t>(draw(0, 3) == 0 ? draw(2, 6) : 1);
    KernelSpec spec{{{"cpu", std::to_string(draw(1, 8))}}, draw(0, 5) == 0 ? "aarch64" : "x86_64"};
    if (with_devices && draw(0, 1) == 0) spec.slots.emplace_back("cuda.shares", "0.8");
    std::vector<KernelSpec> all(kernels, spec);
    if (draw(0, 7) == 0) all.push_back({{{"cpu", "2"}}, "x86_64"});
    waiting.push_back(world.batch(all, draw(1, 150)));
    if (with_labels && draw(0, 3) == 0) {
      world.changes.update<Session>(waiting.back(), [](Session& s) {
        s.resource_opts.set("agent_labels", Json::object({{"zone", "a"}}));
      });
    }
    feed();
  }

  void reserve(const std::string& name) {
    Reservation row;
    row.id = "default/" + name;
    row.name = name;
    row.resource_group = ResourceGroupName("default");
    row.starts_at = at_second(now + draw(-20, 40));
    row.ends_at = row.starts_at + seconds(draw(1, 90));
    for (const AgentId& agent : agents) {
      if (draw(0, 2) == 0) {
        row.agents.set(agent.str(), Json::object({{"cpu", std::to_string(draw(1, 5))}}));
      }
    }
    if (world.state.find<Reservation>(row.id) == nullptr) {
      world.changes.insert(row);
    } else if (draw(0, 3) == 0) {
      world.changes.erase<Reservation>(row.id);
    } else {
      world.changes.update<Reservation>(row.id, [&](Reservation& r) { r = row; });
    }
  }

  void feed() {
    const auto fed = coalesce(world.changes.take());
    mirror.feed({++version}, fed);
  }

  Draw draw;
  World world;
  sched::Mirror mirror;
  std::uint64_t version = 0, last_kernel = 1'000'000;
  std::int64_t now = kNow;
  bool with_labels, with_devices = false, with_reservation = false;
  std::uint32_t container_limit = sched::kNoContainerLimit;
  std::vector<AgentId> agents;
  std::vector<std::pair<SessionId, KernelId>> running;
  std::vector<SessionId> waiting;
};

}  // namespace bai::test

// No device ever gives more than it has, whatever comes and goes.
#include <set>

#include "timeline.hpp"

using namespace bai;
using namespace bai::test;

namespace {

const Json kWorkload = *Json::parse(
    R"({"workload": [{"count": 3, "cpu": "1", "devices": 1, "device": "0.5"},
                     {"count": 1, "cpu": "2", "devices": 2, "device": "1"}]})");

struct Load {
  Load(std::uint64_t seed, const std::string& selector) : draw(seed) {
    world.group().selector = selector;
    world.group().queue_discipline = static_cast<QueueDiscipline>(draw(0, 3));
    if (selector == "fgd") world.group().policy_options.set("selector", kWorkload);
    const auto agents = draw(1, 5);
    for (std::int64_t a = 0; a < agents; ++a) {
      // Some of shares, some of listed devices, some of both, and one of neither.
      Texts capacity = {{"cpu", std::to_string(draw(4, 24))}};
      const auto kind = draw(0, 3);
      const std::string shares = std::to_string(draw(1, 4)), cards = std::to_string(draw(1, 4));
      if (kind != 0) capacity.emplace_back("cuda.shares", shares);
      if (kind != 1) capacity.emplace_back("tpu.device", cards);
      const std::string id = "a" + std::to_string(a);
      world.agent(id, capacity);
      for (const auto& [slot, count] : capacity) {
        if (slot != "cpu") devices[{id, slot}].resize(static_cast<std::size_t>(std::stoi(count)));
        if (slot == "tpu.device") {
          Json list = Json::array();
          for (int i = std::stoi(count); i > 0; --i) list.push_back("1");
          world.changes.update<Agent>(
              AgentId(id), [&](Agent& row) { row.devices = Json::object({{"tpu.device", list}}); });
        }
      }
    }
  }

  void arrive() {
    std::vector<KernelSpec> kernels(static_cast<std::size_t>(draw(1, 4)));
    const bool of_shares = draw(0, 2) > 0;
    for (KernelSpec& kernel : kernels) {
      kernel.slots = {{"cpu", std::to_string(draw(0, 3))}};
      const std::vector<std::string> amounts = {"0.1", "0.25", "0.4", "0.5",
                                                "0.7", "1",    "1.5", "2"};
      if (of_shares) {
        const auto which = static_cast<std::size_t>(draw(0, 7));
        kernel.slots.emplace_back("cuda.shares", amounts[which]);
      } else if (draw(0, 1) == 0) {
        kernel.slots.emplace_back("tpu.device", std::to_string(draw(1, 2)));
      }
    }
    Session row = world.draft();
    row.type = SessionType::Batch;
    row.batch_timeout = seconds(draw(1, 50));
    row.cluster_mode = draw(0, 1) == 0 ? ClusterMode::MultiNode : ClusterMode::SingleNode;
    world.add(std::move(row), kernels);
  }

  void pass() {
    const Plan plan = world.plan(now);
    REQUIRE_MESSAGE(plan.errors.empty(), plan.errors.front());
    std::map<std::pair<KernelId, std::string>, std::vector<std::int64_t>> given;
    for (const Placement& placement : plan.placements) {
      std::map<KernelId, std::string> agents;
      for (const auto& [kernel, agent] : placement.kernels) agents[kernel] = agent.str();
      for (const PlacedDevice& d : placement.devices) {
        auto& set = devices.at({agents.at(d.kernel), d.slot});
        REQUIRE(d.device < set.size());
        set[d.device] += d.amount.units;
        CHECK(set[d.device] <= kWhole);
        given[{d.kernel, d.slot}].push_back(d.amount.units);
        (d.amount.units % kWhole == 0 ? whole : parts)++;
      }
      for (const auto& [kernel, agent] : placement.kernels) {
        const Kernel& row = *world.state.find<Kernel>(kernel);
        for (const auto& [slot, amount] : row.requested_slots) {
          if (slot == "cpu" || amount.units == 0) continue;
          const auto& grants = given[{kernel, slot}];
          std::int64_t sum = 0, broken = 0;
          for (const std::int64_t units : grants) {
            sum += units;
            if (units != kWhole) ++broken;
          }
          CHECK(sum == amount.units);
          CHECK(broken == (amount.units % kWhole == 0 ? 0 : 1));
        }
      }
      running.emplace_back(placement);
    }
    world.apply(plan);
  }

  void finish(std::size_t which) {
    const Placement placement = running[which];
    running.erase(running.begin() + static_cast<std::ptrdiff_t>(which));
    std::map<KernelId, std::string> agents;
    for (const auto& [kernel, agent] : placement.kernels) {
      agents[kernel] = agent.str();
      world.changes.update<Kernel>(kernel, [](Kernel& row) {
        row.status = KernelStatus::Terminated;
        row.occupied_slots = {};
        row.devices = Json::object();
      });
    }
    for (const PlacedDevice& d : placement.devices) {
      devices.at({agents.at(d.kernel), d.slot})[d.device] -= d.amount.units;
    }
    world.changes.update<Session>(placement.session,
                                  [](Session& row) { row.status = SessionStatus::Terminated; });
    ++ended;
  }

  static constexpr std::int64_t kWhole = 1000;
  World world;
  Draw draw;
  std::int64_t now = kNow;
  std::map<std::pair<std::string, std::string>, std::vector<std::int64_t>> devices;  // given
  std::vector<Placement> running;
  std::size_t parts = 0, whole = 0, ended = 0;
};

}  // namespace

TEST_CASE("no device gives more than it has, and a part of one is of one device") {
  for (const char* selector :
       {"concentrated", "dispersed", "bestfit", "dotprod", "gpupacking", "fgd", "random"}) {
    CAPTURE(std::string(selector));
    std::size_t parts = 0, whole = 0, ended = 0;
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
      CAPTURE(seed);
      Load load(seed, selector);
      for (int step = 0; step < 40; ++step) {
        for (auto i = load.draw(0, 3); i > 0; --i) load.arrive();
        load.pass();
        for (auto i = load.draw(0, 2); i > 0 && !load.running.empty(); --i) {
          load.finish(
              static_cast<std::size_t>(load.draw(0, std::int64_t(load.running.size()) - 1)));
        }
        ++load.now;
      }
      parts += load.parts;
      whole += load.whole;
      ended += load.ended;
    }
    CHECK(parts > 150);
    CHECK(whole > 100);
    CHECK(ended > 200);
  }
}

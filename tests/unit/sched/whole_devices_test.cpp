// Policies that look at devices, on agents that only say how many whole ones they have.
#include "timeline.hpp"
#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

const Json kWorkload = *Json::parse(
    R"({"workload": [{"count": 3, "cpu": "1", "devices": 1, "device": "1"},
                     {"count": 2, "cpu": "2", "devices": 2, "device": "1"},
                     {"count": 1, "cpu": "4", "devices": 4, "device": "1"}]})");

std::vector<std::string> where(World& world, const SessionId& id) {
  const Plan plan = world.plan();
  CHECK(plan.errors.empty());
  const auto at = std::ranges::find(plan.placements, id, &Placement::session);
  return at != plan.placements.end() ? agents_of(*at) : std::vector<std::string>();
}

}  // namespace

TEST_CASE("devices are looked at in the slot of which there is most, unless another one is named") {
  for (const std::string slot : {"cuda.device", "rocm.device", "cuda.shares"}) {
    CAPTURE(slot);
    World world;
    world.group().selector = "gpupacking";
    world.agent("a1", {{"cpu", "32"}, {slot, "8"}, {"tpu.device", "2"}});
    world.agent("a2", {{"cpu", "32"}, {slot, "8"}, {"tpu.device", "2"}},
                {{"cpu", "1"}, {slot, "1"}});
    world.agent("a3", {{"cpu", "32"}, {slot, "8"}, {"tpu.device", "2"}});
    std::string expected = "a2";
    SUBCASE("by default") {}
    SUBCASE("another one") {
      world.group().policy_options =
          Json::object({{"selector", Json::object({{"device", "tpu.device"}})}});
      expected = "a1";  // where nobody asks for any all are alike
    }
    const auto id = world.session({{"cpu", "1"}, {slot, "1"}});
    if (slot == "cuda.shares" && expected == "a2") expected = "a1";  // it is not said which is used
    CHECK(where(world, id) == std::vector{expected});
  }
}

TEST_CASE("which devices are looked at does not depend on what was before") {
  World toggled, fresh;
  for (World* world : {&toggled, &fresh}) {
    world->group().selector = "gpupacking";
    world->agent("a1", {{"cpu", "32"}, {"cuda.device", "8"}});
    world->agent("a2", {{"cpu", "32"}, {"cuda.device", "8"}}, {{"cpu", "1"}, {"cuda.device", "1"}});
    world->agent("b", {{"cpu", "1"}, {"rocm.device", "64"}});
  }
  const auto stop = [](Agent& row) { row.schedulable = false; };
  fresh.changes.update<Agent>(AgentId("b"), stop);
  const Texts amounts{{"cpu", "2"}, {"cuda.device", "1"}};
  toggled.session(amounts);
  const auto expected = where(fresh, fresh.session(amounts));
  toggled.plan();
  toggled.changes.update<Agent>(AgentId("b"), stop);
  CHECK(agents_of(toggled.plan().placements.at(0)) == expected);
}

TEST_CASE("whole devices are rated alike whether agents list them or say how many they have") {
  for (const std::string selector : {"gpupacking", "fgd", "fgdx"}) {
    CAPTURE(selector);
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
      CAPTURE(seed);
      Draw draw(seed);
      World listing, counting;
      for (World* world : {&listing, &counting}) {
        world->group().selector = selector;
        if (selector != "gpupacking") {
          world->group().policy_options = Json::object({{"selector", kWorkload}});
        }
      }
      for (std::int64_t a = draw(4, 9); a > 0; --a) {
        const std::string name = "a" + std::to_string(a), count = std::to_string(draw(1, 8));
        const Texts capacity{{"cpu", std::to_string(draw(4, 40))}, {"cuda.device", count}};
        Json list = Json::array();
        for (std::int64_t d = std::stoi(count); d > 0; --d) list.push_back("1");
        for (World* world : {&listing, &counting}) world->agent(name, capacity);
        listing.changes.update<Agent>(AgentId(name), [&](Agent& row) {
          row.devices = Json::object({{"cuda.device", list}});
        });
      }
      for (int i = 0; i < 40; ++i) {
        const Texts amounts{{"cpu", std::to_string(draw(1, 4))},
                            {"cuda.device", std::to_string(draw(1, 4))}};
        listing.session(amounts);
        counting.session(amounts);
      }
      const Plan by_list = listing.plan(), by_count = counting.plan();
      CHECK(by_list.placements.size() > 1);
      REQUIRE(by_list.placements.size() == by_count.placements.size());
      for (std::size_t i = 0; i < by_list.placements.size(); ++i) {
        CHECK(agents_of(by_list.placements[i]) == agents_of(by_count.placements[i]));
        CHECK(by_count.placements[i].devices.empty());
      }
    }
  }
}

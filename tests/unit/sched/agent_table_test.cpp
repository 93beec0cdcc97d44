// Agents that are added together, against the same added one by one.
#include "sched/agent_table.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "sched/index/placement_index.hpp"

using namespace bai;
using namespace bai::sched;

namespace {

constexpr std::uint32_t kNoLimit = 0xffff'ffff;
const std::vector<KeyPart> kKey{{KeyPart::What::UnusedCapabilities, 0},
                                {KeyPart::What::LeastFree, 0}};

AgentFacts facts_of(std::uint64_t drawn) {
  AgentFacts facts;
  facts.takes_sessions = drawn % 7 != 0;
  facts.architecture = static_cast<std::uint32_t>(drawn % 3 == 0);
  facts.containers = static_cast<std::uint32_t>(drawn % 5);
  facts.labels = {{"rack", fmt::format("r{}", drawn % 4)}};
  facts.capacity = {{0, static_cast<std::int64_t>(100 + drawn % 50)}};
  if (drawn % 2 == 0) facts.capacity.emplace_back(1, 2000);
  if (drawn % 2 == 0) facts.devices[1] = {1000, 1000};
  facts.granted = {static_cast<std::int64_t>(drawn % 90)};
  return facts;
}

void require_alike(const AgentTable& a, const AgentTable& b) {
  REQUIRE(a.size() == b.size());
  REQUIRE(a.taking() == b.taking());
  for (AgentIndex at = 0; at < a.size(); ++at) {
    CAPTURE(at);
    REQUIRE(a.id(at) == b.id(at));
    REQUIRE(a.labels(at) == b.labels(at));
    REQUIRE(a.architecture(at) == b.architecture(at));
    REQUIRE(a.takes_sessions(at) == b.takes_sessions(at));
    REQUIRE(a.containers(at) == b.containers(at));
    REQUIRE((a.devices(at, 1) != nullptr) == (b.devices(at, 1) != nullptr));
    for (SlotIndex slot = 0; slot < 2; ++slot) {
      REQUIRE(a.has_slot(at, slot) == b.has_slot(at, slot));
      REQUIRE(a.free(at, slot) == b.free(at, slot));
      REQUIRE(a.capacity(at, slot) == b.capacity(at, slot));
      REQUIRE(a.observed(at, slot) == b.observed(at, slot));
      REQUIRE((a.column(slot) == nullptr || a.column(slot)->free[at] == b.column(slot)->free[at]));
      REQUIRE((a.column(slot) == nullptr || a.column(slot)->total == b.column(slot)->total));
    }
  }
}

}  // namespace

TEST_CASE(
    "agents added together stand where they would one by one, and others keep what they have") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    AgentTable together, single;
    PlacementIndex index;
    Requirement requirement;
    requirement.slots = {{0, 20}};
    for (int round = 0; round < 12; ++round) {
      CAPTURE(round);
      std::vector<AgentId> ids;
      for (std::uint64_t i = random() % 40; i > 0; --i) {
        const AgentId id(fmt::format("agent-{}", random() % 5000));
        if (!single.find(id) && std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
      }
      together.add_all(ids);
      for (const AgentId& id : ids) single.add(id);
      require_alike(together, single);
      for (const AgentId& id : ids) {
        if (random() % 4 == 0) continue;  // nothing is known of it yet
        const AgentFacts facts = facts_of(random());
        together.set(*together.find(id), facts);
        single.set(*single.find(id), facts);
      }
      if (together.size() > 0) {
        const auto at = static_cast<AgentIndex>(random() % together.size());
        if (together.fits(at, requirement)) {
          together.take(at, requirement, 1);
          single.take(at, requirement, 1);
        }
      }
      require_alike(together, single);
      for (int i = 0; i < 12; ++i) {  // so many that the index keeps an order
        index.follow(together);
        REQUIRE(index.best(together, requirement, kKey, kNoLimit) ==
                scan_best(single, requirement, kKey, kNoLimit, {}));
      }
    }
    CHECK(index.orders() > 0);
  }
}

// The most that is free in each block of agents: what is kept from pass to pass against all agents.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "sched/explain.hpp"

using namespace bai;
using namespace bai::sched;

namespace {

AgentFacts facts_of(std::uint64_t drawn) {
  AgentFacts facts;
  facts.takes_sessions = true;
  facts.capacity = {{0, 1000}};
  if (drawn % 3 == 0) facts.capacity.emplace_back(1, 500);
  facts.granted = {static_cast<std::int64_t>(drawn % 1001)};
  return facts;
}

}  // namespace

TEST_CASE("what is free at most in a block of agents follows them from pass to pass") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    AgentTable agents;
    std::uint64_t made = 0;
    const auto join = [&] {
      const AgentIndex at = agents.add(AgentId(fmt::format("a{}-{}", random() % 100, ++made)));
      agents.set(at, facts_of(random()));
    };
    for (std::uint64_t i = 1 + random() % 200; i > 0; --i) join();
    agents.set(0, facts_of(0));  // one that has both slots
    CoarseMemo memo;
    for (int pass = 0; pass < 200; ++pass) {
      CAPTURE(pass);
      // Now and then more of them than are worth following.
      for (std::uint64_t i = random() % (pass % 50 == 0 ? 300 : 4); i > 0; --i) {
        agents.set(static_cast<AgentIndex>(random() % agents.size()), facts_of(random()));
      }
      if (random() % 20 == 0) join();
      if (random() % 20 == 0 && agents.size() > 1) {
        agents.erase(static_cast<AgentIndex>(random() % agents.size()));
      }
      memo.begin_pass(agents);
      Requirement requirement;
      requirement.slots = {{0, 1}};
      const auto taken = static_cast<AgentIndex>(random() % agents.size());
      if (agents.free(taken, 0) > 0) agents.take(taken, requirement, 1);  // says nothing yet
      for (SlotIndex slot = 0; slot < 2; ++slot) {
        if (random() % 4 == 0) continue;  // not asked for in this pass
        const auto& most = memo.most_by_block(agents, slot);
        REQUIRE(most.size() == (agents.size() + CoarseMemo::kBlock - 1) / CoarseMemo::kBlock);
        std::vector<std::int64_t> expected(most.size(), std::numeric_limits<std::int64_t>::min());
        for (AgentIndex a = 0; a < agents.size(); ++a) {
          auto& of = expected[a / CoarseMemo::kBlock];
          of = std::max(of, agents.column(slot)->observed[a]);
        }
        REQUIRE(most == expected);
      }
    }
  }
}

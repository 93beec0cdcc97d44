// Counting who fits: what is kept from search to search against a scan.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <random>

#include "sched/search.hpp"

using namespace bai;
using namespace bai::sched;

TEST_CASE("a search that counts by what is kept finds as many as one that scans, in their places") {
  std::mt19937_64 random(11);
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(random() % n); };
  AgentTable table;
  const auto add = [&](int number) {
    AgentFacts facts;
    facts.takes_sessions = random() % 10 != 0;
    facts.architecture = static_cast<std::uint32_t>(random() % 8 == 0);
    facts.capacity = {{0, below(100)}, {1, below(100)}};
    facts.labels = {{"zone", random() % 2 == 0 ? "a" : "b"}};
    table.set(table.add(AgentId(fmt::format("{:05}", number))), facts);
  };
  for (int i = 0; i < 200; ++i) add(static_cast<int>(random() % 100'000));
  const std::vector<LabelRule> rules{{}, {{"zone", {"a"}}}};
  PlacementIndex index;
  ScoreCache scores;
  FitSets fits;
  std::vector<AgentIndex> buffer, other_buffer;
  std::size_t found = 0, beyond_a_word = 0;
  for (int i = 0; i < 6000; ++i) {
    Requirement requirement;
    requirement.labels = static_cast<std::uint32_t>(random() % 2);
    requirement.slots = {{0, 1 + below(6) * 10}, {1, 1 + below(3) * 10}};
    const LabelRule& labels = rules[requirement.labels];
    table.prepare_rule(requirement.labels, labels);
    AgentFilter filter;
    filter.container_limit = random() % 50 == 0 ? 3 : 5;
    for (AgentIndex a = 0; a < table.size(); ++a) {
      if (i % 3 == 0 && random() % 3 == 0) filter.barred.push_back(a);
      if (i % 11 == 0 && random() % 9 == 0) filter.failed.push_back(a);
    }
    AgentSearch scan(table, requirement, filter, other_buffer, scores);
    AgentSearch search(table, requirement, filter, buffer, scores, &index, &fits, &labels);
    if (random() % 2 == 0) REQUIRE(search.empty() == scan.empty());
    REQUIRE(search.count() == scan.list().size());
    if (search.count() == 0) continue;
    ++found;
    const auto place = static_cast<std::size_t>(random() % search.count());
    const AgentIndex chosen = search.at(place);
    REQUIRE(chosen == scan.list()[place]);
    beyond_a_word += chosen >= 64 ? 1 : 0;
    table.take(chosen, requirement, 1);
    if (random() % 2 == 0) {  // somebody leaves
      AgentFacts facts;
      facts.takes_sessions = random() % 10 != 0;
      facts.capacity = {{0, below(100)}, {1, below(100)}};
      facts.labels = {{"zone", random() % 2 == 0 ? "a" : "b"}};
      table.set(static_cast<AgentIndex>(random() % table.size()), facts);
    }
    if (random() % 100 == 0) add(static_cast<int>(random() % 100'000));
    if (random() % 100 == 0) table.erase(static_cast<AgentIndex>(random() % table.size()));
  }
  CHECK(found > 3000);
  CHECK(beyond_a_word > 1000);
}

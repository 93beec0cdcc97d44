// The tree of bounds against looking at every agent, while the agents' traits move.
#include "sched/index/rating_tree.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <random>

#include "sched/view_source.hpp"

using namespace bai;
using namespace bai::sched;

namespace {

constexpr AgentIndex kAgents = 2000;

// The nearer the free amount of the first slot is to what is asked for of the second the better.
class Nearness final : public Rater {
 public:
  explicit Nearness(const AgentTable& table) : table_(table) {}
  std::int64_t score(const SchedView&, const Requirement& requirement,
                     AgentIndex agent) const override {
    return -std::abs(table_.free(agent, 0) - requirement.slots[1].units);
  }
  std::size_t traits() const override { return 1; }
  void describe(const SchedView&, AgentIndex agent, std::span<std::int64_t> traits) const override {
    traits[0] = table_.free(agent, 0);
  }
  std::int64_t bound(const Requirement& requirement, std::span<const std::int64_t> least,
                     std::span<const std::int64_t> most) const override {
    const std::int64_t wanted = requirement.slots[1].units;
    return -std::max({least[0] - wanted, wanted - most[0], std::int64_t{0}});
  }

 private:
  const AgentTable& table_;
};

struct Site {
  AgentTable table;
  Mirror mirror;
  Ledger ledger{mirror};
  Group group;
  ViewSource source{mirror, group, ledger, {}, 1};
  SchedView view{source};
  Nearness rater{table};
  Rated rated{view, rater, table};
  RatingTree tree;
  std::mt19937_64 random{11};

  Site() {
    for (AgentIndex a = 0; a < kAgents; ++a) {
      table.add(AgentId(fmt::format("{:05}", a)));
      set(a, 1000);
    }
    tree.build(rated);
  }
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  }
  void set(AgentIndex agent, std::int64_t free, bool takes_sessions = true) {
    AgentFacts facts;
    facts.takes_sessions = takes_sessions;
    facts.capacity = {{0, 1'000'000}, {1, 1'000'000}};
    facts.granted = {1'000'000 - free};
    table.set(agent, facts);
  }
  std::optional<AgentIndex> best(const Requirement& requirement) {
    std::optional<AgentIndex> best;
    for (AgentIndex a = 0; a < table.size(); ++a) {
      std::uint8_t match = 0;
      table.match(a, 1, requirement, kNoContainerLimit, &match);
      if (match == 0) continue;
      if (!best || rater.score(view, requirement, a) > rater.score(view, requirement, *best)) {
        best = a;
      }
    }
    return best;
  }
  void check() {
    if (!tree.is_built(rated)) {
      tree.build(rated);
      ++builds;
    }
    Requirement requirement;
    requirement.slots = {{0, 1 + below(1000)}, {1, 1 + below(200'000)}};
    REQUIRE(tree.highest(rated, requirement, kNoContainerLimit, {}) == best(requirement));
    REQUIRE(tree.is_sound(rated));
  }
  int builds = 0;
};

}  // namespace

TEST_CASE("a tree stays sound while agents that were alike become different, and alike again") {
  Site site;
  for (int round = 0; round < 4; ++round) {
    CAPTURE(round);
    for (AgentIndex a = 0; a < kAgents; ++a) {
      const auto agent = static_cast<AgentIndex>((a * 7919) % kAgents);
      site.set(agent, round % 2 == 0 ? 1 + site.below(200'000) : 1000);
      if (a % 20 == 0) site.check();
    }
  }
  CHECK(site.builds == 0);
}

TEST_CASE("a tree stays sound while agents cease to take sessions and begin again") {
  Site site;
  for (int step = 0; step < 3000; ++step) {
    const auto agent = static_cast<AgentIndex>(site.below(kAgents));
    site.set(agent, 1 + site.below(200'000), site.below(3) > 0);
    if (step % 15 == 0) site.check();
  }
  for (AgentIndex a = 0; a < kAgents; ++a) {
    site.set(a, 1, false);
    if (a % 50 == 0 || a + 5 > kAgents) site.check();
  }
  for (AgentIndex a = 0; a < kAgents; ++a) {
    site.set(a, 1 + site.below(200'000));
    if (a % 50 == 0) site.check();
  }
  CHECK(site.builds == 0);
}

TEST_CASE("a tree that has become deep or lags far behind is made anew") {
  Site site;
  SUBCASE("deep: each agent has more than all before") {
    for (AgentIndex a = 0; a < kAgents; ++a) site.set(a, 1 + a);
    site.tree.build(site.rated);
    for (AgentIndex a = 0; a < kAgents; ++a) {
      site.set(a, 2000 + 50 * std::int64_t{a});
      if (a % 20 == 0) site.check();
    }
    CHECK(site.builds > 0);
  }
  SUBCASE("far behind") {
    for (AgentIndex a = 0; a < kAgents; ++a) site.set(a, 1 + site.below(200'000));
    CHECK_FALSE(site.tree.is_built(site.rated));
    site.check();
    CHECK(site.builds == 1);
  }
  SUBCASE("other agents") {
    site.table.erase(7);
    CHECK_FALSE(site.tree.is_built(site.rated));
    site.check();
  }
}

TEST_CASE("a tree looks at few of many agents") {
  Site site;
  for (AgentIndex a = 0; a < kAgents; ++a) site.set(a, 1 + site.below(200'000));
  site.tree.build(site.rated);
  const std::uint64_t before = site.tree.looked_at();
  for (int i = 0; i < 100; ++i) site.check();
  CHECK((site.tree.looked_at() - before) / 100 < 150);
}

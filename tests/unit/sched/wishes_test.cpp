// Sessions with wishes: searches that look only at agents which wishes name, and ask the index for
// the others, against searches that look at all.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <vector>

#include "sched/search.hpp"
#include "sched/view_source.hpp"

using namespace bai;
using namespace bai::sched;
using What = KeyPart::What;

namespace {

// Two slots, a zone as a label; the second slot is one that sessions may ask for as 0.
class World {
 public:
  World(std::uint64_t seed, std::size_t agents) : random_(seed) {
    while (table.size() < agents) add();
  }
  std::size_t below(std::size_t n) { return random_() % n; }
  bool once_in(std::size_t n) { return below(n) == 0; }
  AgentIndex agent() { return static_cast<AgentIndex>(below(table.size())); }

  void add() {
    const AgentId id(fmt::format("{:06}", below(1'000'000)));
    if (!table.find(id)) renew(table.add(id));
  }
  // As if all of its sessions left, and it were another machine.
  void renew(AgentIndex at) {
    AgentFacts facts;
    facts.takes_sessions = !once_in(10);
    facts.capacity = {{0, static_cast<std::int64_t>(below(40))}};
    if (once_in(2)) facts.capacity.emplace_back(1, static_cast<std::int64_t>(below(40)));
    facts.labels = {{"zone", std::string(1, static_cast<char>('a' + below(4)))}};
    table.set(at, facts);
  }
  std::vector<AgentIndex> some(std::size_t one_in) {
    std::vector<AgentIndex> chosen;
    for (AgentIndex a = 0; a < table.size(); ++a) {
      if (once_in(one_in)) chosen.push_back(a);
    }
    return chosen;
  }

  AgentTable table;

 private:
  std::mt19937_64 random_;
};

// The candidates as the rules have them, one rule after the other.
std::vector<AgentIndex> candidates(const AgentTable& table, const Requirement& requirement,
                                   const AgentFilter& filter) {
  const auto among = [](const std::vector<AgentIndex>& list, AgentIndex agent) {
    return std::ranges::find(list, agent) != list.end();
  };
  std::vector<AgentIndex> left;
  for (AgentIndex a = 0; a < table.size(); ++a) {
    std::uint8_t match = 0;
    table.match(a, 1, requirement, filter.container_limit, &match);
    if (match != 0 && !among(filter.barred, a) && !filter.excludes(a)) left.push_back(a);
  }
  const auto prefer = [&](auto&& is_better) {
    if (std::ranges::none_of(left, is_better)) return;
    std::erase_if(left, [&](AgentIndex a) { return !is_better(a); });
  };
  prefer([&](AgentIndex a) { return among(filter.designated, a); });
  if (filter.neighbours != nullptr && !left.empty()) {
    const auto rank = [&](AgentIndex a) { return filter.neighbours->rank(a); };
    const auto best = rank(*std::ranges::min_element(left, {}, rank));
    prefer([&](AgentIndex a) { return rank(a) == best; });
  }
  if (filter.preferred_labels != nullptr) {
    prefer([&](AgentIndex a) { return has_labels(table.labels(a), *filter.preferred_labels); });
  }
  prefer([&](AgentIndex a) { return !among(filter.failed, a); });
  return left;
}

// The less is free the better, in steps of three.
class Rates final : public ScoreSelector {
 public:
  explicit Rates(const AgentTable& table) : table_(table) {}
  std::unique_ptr<const Rater> rater(const SchedView&) const override {
    return std::make_unique<Free>(table_);
  }

 private:
  class Free final : public Rater {
   public:
    explicit Free(const AgentTable& table) : table_(table) {}
    std::int64_t score(const SchedView&, const Requirement&, AgentIndex agent) const override {
      return -table_.free(agent, 0) / 3;
    }
    std::size_t traits() const override { return 1; }
    void describe(const SchedView&, AgentIndex agent,
                  std::span<std::int64_t> traits) const override {
      traits[0] = table_.free(agent, 0);
    }
    std::int64_t bound(const Requirement&, std::span<const std::int64_t> least,
                       std::span<const std::int64_t>) const override {
      return -least[0] / 3;
    }

   private:
    const AgentTable& table_;
  };
  const AgentTable& table_;
};

}  // namespace

TEST_CASE("a search for a session with wishes finds the agents that a scan of all finds") {
  const std::vector<std::vector<KeyPart>> keys{
      {{What::UnusedCapabilities, 0}, {What::LeastFree, 0}, {What::LeastFree, 1}},
      {{What::UnusedCapabilities, 0}, {What::MostFree, 0}, {What::MostFree, 1}},
      {}};
  const std::vector<LabelRule> preferences{
      {{"zone", {"a"}}}, {{"zone", {"b", "c"}}}, {{"zone", {"nowhere"}}}};
  const std::vector<LabelRule> rules{{}, {{"zone", {"a", "b", "c"}}}};
  std::size_t found = 0, named = 0, unlabelled = 0, failed = 0;
  for (const std::uint32_t build_after : {0, 1}) {
    World world(7 + build_after, 250);
    AgentTable& table = world.table;
    PlacementIndexLimits limits;
    limits.scan_below = 0;
    limits.build_after = build_after;
    PlacementIndex index(limits);
    ScoreCache scores({1, 0});
    FitSets fits;
    std::vector<AgentIndex> buffer, other_buffer;
    const Rates rates(table);
    Mirror mirror;
    Ledger ledger(mirror);
    const Group group_of_agents;
    const ViewSource source{mirror, group_of_agents, ledger, {}, 1};
    const SchedView view(source);
    for (int i = 0; i < 6000; ++i) {
      Requirement requirement;
      requirement.labels = static_cast<std::uint32_t>(world.below(2));
      requirement.slots = {
          {0, 1 + static_cast<std::int64_t>(world.below(world.once_in(3) ? 40 : 8))},
          {1, static_cast<std::int64_t>(world.once_in(2) ? 0 : world.below(8))}};
      table.prepare_rule(requirement.labels, rules[requirement.labels]);
      AgentFilter filter;
      filter.container_limit = world.once_in(50) ? 3 : 6;
      Neighbours group;
      if (world.once_in(4)) filter.designated = world.some(world.once_in(5) ? 4 : 60);
      if (world.once_in(2)) filter.failed = world.some(world.once_in(3) ? 4 : 60);
      if (world.once_in(4)) filter.barred = world.some(3);
      if (world.once_in(10)) {  // only where it failed before there may be room
        filter.barred = world.some(1);
        std::erase_if(filter.barred,
                      [&](AgentIndex a) { return std::ranges::count(filter.failed, a) > 0; });
      }
      if (world.once_in(3)) filter.preferred_labels = &preferences[world.below(3)];
      if (world.once_in(2)) {
        group.direction = world.once_in(2) ? PlacementDirection::Spread : PlacementDirection::Pack;
        group.strict = world.once_in(3);
        for (std::size_t n = world.below(world.once_in(4) ? 200 : 8); n > 0; --n) {
          group.count(world.agent(), 1);
        }
        filter.neighbours = &group;
      }
      CAPTURE(i);
      const auto expected = candidates(table, requirement, filter);
      AgentSearch scan(table, requirement, filter, other_buffer, scores);
      AgentSearch search(table, requirement, filter, buffer, scores, &index, &fits,
                         &rules[requirement.labels]);
      REQUIRE(std::ranges::equal(scan.list(), expected));
      const auto& key = keys[world.below(keys.size())];
      std::optional<AgentIndex> chosen;
      // In any order, and not always all of them.
      for (int question = 0; question < 4; ++question) {
        switch (world.below(6)) {
          case 0:
            REQUIRE(search.empty() == expected.empty());
            break;
          case 1:
            REQUIRE(search.count() == expected.size());
            if (!expected.empty()) {
              const std::size_t place = world.below(expected.size());
              REQUIRE(search.at(place) == expected[place]);
            }
            break;
          case 2: {
            const auto any = static_cast<AgentIndex>(world.below(table.size() + 1));
            REQUIRE(search.contains(any) == scan.contains(any));
            if (!expected.empty()) REQUIRE(search.contains(expected.front()));
            break;
          }
          case 3: {
            if (requirement.labels != 0) break;  // this view has no rules
            const auto least = [&](AgentIndex a) { return table.free(a, 0) / 3; };
            const auto best = std::ranges::min_element(expected, {}, least);
            chosen = search.highest(view, rates);
            REQUIRE(chosen ==
                    (best == expected.end() ? std::nullopt : std::optional<AgentIndex>(*best)));
            REQUIRE(chosen == scan.highest(view, rates));
            break;
          }
          case 4:
            if (world.once_in(4)) REQUIRE(std::ranges::equal(search.list(), expected));
            break;
          default:
            chosen = search.best(key);
            REQUIRE(chosen == scan.best(key));
        }
      }
      if (chosen) {
        ++found;
        named += std::ranges::count(filter.named(), *chosen) > 0 ? 1 : 0;
        failed += std::ranges::count(filter.failed, *chosen) > 0 ? 1 : 0;
        unlabelled += filter.class_of(table, *chosen).lacks_labels ? 1 : 0;
        table.take(*chosen, requirement, 1);
      }
      if (world.once_in(2)) world.renew(world.agent());
      if (world.once_in(100)) world.add();
      if (world.once_in(100)) table.erase(world.agent());
    }
    index.follow(table);
    CHECK(index.is_sound(table));
    CHECK(index.orders() > 3);
  }
  CHECK(found > 3000);
  CHECK(named > 500);
  CHECK(failed > 100);
  CHECK(unlabelled > 200);
}

TEST_CASE("a session with wishes does not make a search look at all agents") {
  constexpr AgentIndex kAgents = 5000;
  AgentTable table;
  for (AgentIndex i = 0; i < kAgents; ++i) {
    AgentFacts facts;
    facts.takes_sessions = true;
    facts.capacity = {{0, i < kAgents / 2 ? 1 : 1000}};  // where it is preferred nothing is free
    facts.labels = {{"zone", i < kAgents / 2 ? "a" : "b"}};
    table.set(table.add(AgentId(fmt::format("{:05}", i))), facts);
  }
  const LabelRule full{{"zone", {"a"}}}, half{{"zone", {"b"}}};
  Neighbours group{"group", PlacementDirection::Spread, false, {{4990, 1}, {4999, 2}}};
  AgentFilter filter;
  SUBCASE("a failure") { filter.failed = {4995, 4999}; }
  SUBCASE("designated agents, full") { filter.designated = {1, 2}; }
  SUBCASE("designated agents") { filter.designated = {1, 4999}; }
  SUBCASE("labels that half of the agents have") { filter.preferred_labels = &half; }
  SUBCASE("labels of full agents") { filter.preferred_labels = &full; }
  SUBCASE("a group that spreads") { filter.neighbours = &group; }
  SUBCASE("a group that packs") {
    group.direction = PlacementDirection::Pack;
    filter.neighbours = &group;
  }
  SUBCASE("all of them") {
    filter.failed = {4995, 4999};
    filter.designated = {1, 2};
    filter.preferred_labels = &full;
    filter.neighbours = &group;
  }
  PlacementIndex index;
  ScoreCache scores;
  std::vector<AgentIndex> buffer;
  const std::vector<KeyPart> key{{What::LeastFree, 0}};
  for (int i = 0; i < 60; ++i) {
    Requirement requirement;
    requirement.slots = {{0, 10}};
    const std::uint64_t before = index.looked_at();
    AgentSearch search(table, requirement, filter, buffer, scores, &index);
    REQUIRE_FALSE(search.empty());
    const auto chosen = search.best(key);
    REQUIRE(chosen);
    REQUIRE(search.contains(*chosen));
    table.take(*chosen, requirement, 1);
    if (i < 40) continue;  // until there are orders
    CHECK(index.looked_at() - before + search.looked_at() < 50);
  }
}

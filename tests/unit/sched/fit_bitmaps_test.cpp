// Who fits by bitmaps: always those that a look at every agent finds.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <functional>
#include <limits>
#include <random>

#include "sched/fit_sets.hpp"

using namespace bai;
using namespace bai::sched;

namespace {

constexpr SlotIndex kCores = 0, kMemory = 1, kCards = 2, kShares = 3, kSlots = 4;

// Agents of which anything changes, and requests for what they have, nearly have, or never had.
class Site {
 public:
  explicit Site(std::uint64_t seed) : random_(seed) {}

  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(n));
  }
  bool one_in(std::int64_t n) { return below(n) == 0; }
  AgentIndex any() {
    return static_cast<AgentIndex>(below(static_cast<std::int64_t>(table.size())));
  }

  void come() {
    std::string name = fmt::format("{:09}", below(1'000'000'000));
    if (table.find(AgentId(name))) return;
    taken_.clear();
    set(table.add(AgentId(name)));
  }
  void go() {
    taken_.clear();
    table.erase(any());
  }
  // `full`: how much of everything is granted, in percent; many agents have nothing granted.
  void set(AgentIndex at, std::int64_t full = 50) {
    std::erase_if(taken_, [&](const Taken& taken) { return taken.agent == at; });
    AgentFacts facts;
    facts.takes_sessions = !one_in(8);
    facts.architecture = one_in(8) ? 1 : 0;
    facts.containers = static_cast<std::uint32_t>(below(6));
    facts.labels = {{"zone", one_in(2) ? "a" : "b"}};
    facts.granted.assign(kSlots, 0);
    const bool is_idle = one_in(3);
    const auto some = [&](std::int64_t of) { return is_idle ? 0 : below(of * full / 50 + 1); };
    facts.capacity = {{kCores, 64}};
    facts.granted[kCores] = some(64);
    if (!one_in(5)) {
      facts.capacity.emplace_back(kMemory, 1'000'000);
      facts.granted[kMemory] = some(1'000'000);
    }
    for (const SlotIndex slot : {kCards, kShares}) {
      if (one_in(3)) continue;
      const std::int64_t devices = 1 + below(4);
      facts.capacity.emplace_back(slot, devices * kUnitsPerDevice);
      if (one_in(4)) {  // a number, nothing more
        facts.granted[slot] = some(devices * kUnitsPerDevice);
        continue;
      }
      auto& capacity = facts.devices[slot];
      auto& granted = facts.device_granted[slot];
      for (std::int64_t i = 0; i < devices; ++i) {
        capacity.push_back(kUnitsPerDevice);
        granted.push_back(is_idle || one_in(2) ? 0 : (1 + below(10)) * kUnitsPerDevice / 10);
        facts.granted[slot] += granted.back();
      }
    }
    table.set(at, facts);
  }

  Requirement ask() {
    Requirement wanted;
    wanted.architecture = one_in(10) ? 1 : 0;
    wanted.labels = static_cast<std::uint32_t>(below(3));
    wanted.containers = static_cast<std::uint32_t>(1 + below(3));
    // What somebody has free to the last unit, or a unit more or less.
    const auto edge = [&](SlotIndex slot) {
      return std::max<std::int64_t>(0, table.free(any(), slot) + below(3) - 1);
    };
    wanted.slots.push_back({kCores, one_in(2) ? edge(kCores) : below(64)});
    if (!one_in(3)) wanted.slots.push_back({kMemory, one_in(2) ? edge(kMemory) : below(900'000)});
    for (const SlotIndex slot : {kCards, kShares}) {
      if (!one_in(3)) continue;
      wanted.slots.push_back({slot, one_in(2) ? below(3) * kUnitsPerDevice : 100 * below(25)});
    }
    if (one_in(20)) wanted.slots.push_back({kSlots, one_in(2) ? 1 : 0});  // which nobody has
    if (one_in(4)) {
      for (const SlotRequest& r : wanted.slots) {
        const std::int64_t first = one_in(2) ? r.units / 2 : below(r.units + 1);
        if (wanted.parts.empty()) wanted.parts.resize(2);
        wanted.parts[0].push_back({r.slot, first});
        wanted.parts[1].push_back({r.slot, r.units - first});
      }
    }
    return wanted;
  }
  void take(AgentIndex at, const Requirement& requirement) {
    const auto tightest = [](SlotIndex, std::int64_t units, std::span<const std::int64_t> free) {
      return tightest_device(units, free);
    };
    const auto devices = choose_devices(table, at, requirement, tightest);
    if (!devices) return;
    taken_.push_back({at, requirement, *devices});
    move(taken_.back(), 1);
  }
  void give_back() {
    if (taken_.empty()) return;
    const auto which = taken_.begin() + below(static_cast<std::int64_t>(taken_.size()));
    move(*which, -1);
    taken_.erase(which);
  }

  AgentTable table;

 private:
  struct Taken {
    AgentIndex agent;
    Requirement requirement;
    std::vector<DeviceGrant> devices;
  };
  void move(const Taken& taken, int sign) {
    table.take_devices(taken.agent, taken.devices, sign);
    table.take(taken.agent, taken.requirement, sign);
  }
  std::mt19937_64 random_;
  std::vector<Taken> taken_;
};

bool has(std::span<const std::uint64_t> bitmap, std::size_t agent) {
  return (bitmap[agent / 64] >> agent % 64 & 1) != 0;
}

}  // namespace

TEST_CASE("bitmaps find the agents that fit, whatever is asked for and whatever changes") {
  for (const std::uint64_t seed : {1, 2}) {
    Site site(seed);
    for (int i = 0; i < 700; ++i) site.come();
    AgentTable& table = site.table;
    const std::vector<LabelRule> rules{{}, {{"zone", {"a"}}}, {{"zone", {"b"}}}};
    const std::vector<LabelRule> other_rules{{}, {{"zone", {"b"}}}, {{"zone", {"a", "b"}}}};
    FitBitmaps bitmaps;
    FitSets sets;
    std::vector<std::uint64_t> fits;
    std::size_t found = 0, taken = 0;
    for (int step = 0; step < 2500; ++step) {
      const auto wanted = site.ask();
      // Numbers of rules are used again.
      const LabelRule& rule = (site.one_in(9) ? other_rules : rules)[wanted.labels];
      table.prepare_rule(wanted.labels, rule);
      const auto limit =
          site.one_in(2) ? kNoContainerLimit : static_cast<std::uint32_t>(2 + site.below(6));
      fits.assign(AmountBitmaps::words_for(table.size()), ~std::uint64_t{0});
      const bool by_bitmaps = bitmaps.find(table, wanted, rule, limit, fits);
      found += by_bitmaps ? 1 : 0;
      const FitSet& set = sets.refreshed(table, wanted, rule, limit);
      std::vector<AgentIndex> expected;
      for (AgentIndex a = 0; a < table.size(); ++a) {
        std::uint8_t match = 0;
        table.match(a, 1, wanted, limit, &match);
        if (match != 0) expected.push_back(a);
        if (by_bitmaps && has(fits, a) != (match != 0)) FAIL("at step " << step << ", agent " << a);
        if (set.has(a) != (match != 0)) FAIL("at step " << step << ", agent " << a);
      }
      REQUIRE(set.size() == expected.size());
      if (by_bitmaps && table.size() % 64 != 0) {
        const std::uint64_t behind_the_last = fits.back() >> table.size() % 64;
        REQUIRE(behind_the_last == 0);
      }
      if (!expected.empty()) {
        const auto place =
            static_cast<std::size_t>(site.below(static_cast<std::int64_t>(set.size())));
        REQUIRE(set.at(place) == expected[place]);
        if (!site.one_in(3)) {
          site.take(expected[place], wanted);
          ++taken;
        }
      }
      if (site.one_in(3)) site.give_back();
      // What agents have free drifts away from what it was.
      for (std::int64_t i = site.below(6); i > 0; --i) site.set(site.any(), 25 + step / 50);
      if (site.one_in(300)) site.come();
      if (site.one_in(300)) site.go();
    }
    CHECK(found > 1000);
    CHECK(taken > 500);
  }
}

TEST_CASE("bitmaps leave few agents in doubt, also when they have other amounts than before") {
  std::mt19937_64 random(3);
  AgentTable table;
  constexpr AgentIndex kAgents = 2000;
  std::vector<AgentId> ids;
  for (AgentIndex a = 0; a < kAgents; ++a) ids.emplace_back(fmt::format("{:05}", a));
  table.add_all(ids);
  FitBitmaps bitmaps;
  std::vector<std::uint64_t> fits(AmountBitmaps::words_for(kAgents));
  for (std::int64_t free = 1'000'000; free > 100; free /= 8) {
    for (AgentIndex a = 0; a < kAgents; ++a) {
      AgentFacts facts;
      facts.takes_sessions = true;
      facts.capacity = {{0, 1'000'000}};
      facts.granted = {1'000'000 -
                       static_cast<std::int64_t>(random() % 1'000'000) * free / 1'000'000};
      table.set(a, facts);
    }
    std::size_t found = 0;
    const std::uint64_t before = bitmaps.looked_at();
    for (int i = 0; i < 500; ++i) {
      Requirement wanted;
      wanted.slots = {{0, 1 + static_cast<std::int64_t>(random() % 1000) * free / 1000}};
      found += bitmaps.find(table, wanted, {}, kNoContainerLimit, fits) ? 1 : 0;
    }
    CHECK(found > 450);
    CHECK((bitmaps.looked_at() - before) / 500 < kAgents / 20);
  }
}

TEST_CASE("bitmaps of an amount bound who has at least so much, and closely") {
  std::mt19937_64 random(5);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  constexpr std::size_t kAgents = 3000;
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const std::vector<std::function<std::int64_t()>> amounts = {
      [&] { return below(1'000'000'000); },            // hardly two alike
      [&] { return below(2) == 0 ? 64 : below(64); },  // half of them the same
      [&] { return below(3) * 1000; },                 // three amounts, far apart
      [&] { return below(3) == 0 ? kMost : below(5); },
      [&] { return -below(100); },
      [&] { return std::int64_t{7}; },
  };
  for (const auto& amount : amounts) {
    std::vector<std::int64_t> has_free(kAgents);
    for (auto& free : has_free) free = amount();
    AmountBitmaps bitmaps;
    bitmaps.build(has_free);
    for (int i = 0; i < 300; ++i) {
      const auto agent = static_cast<AgentIndex>(below(kAgents));
      bitmaps.set(agent, has_free[agent] = amount());
      std::int64_t wanted = has_free[static_cast<std::size_t>(below(kAgents))];
      if (i % 3 == 1 && wanted < kMost) ++wanted;
      const auto [sure, maybe] = bitmaps.at_least(wanted);
      std::size_t between = 0;
      for (std::size_t a = 0; a < kAgents; ++a) {
        const bool is_sure = has({sure, kAgents / 64 + 1}, a);
        const bool is_maybe = has({maybe, kAgents / 64 + 1}, a);
        if (is_sure && has_free[a] < wanted) FAIL("agent " << a << " has not got " << wanted);
        if (!is_maybe && has_free[a] >= wanted) FAIL("agent " << a << " has " << wanted);
        between += is_sure != is_maybe ? 1 : 0;
      }
      CHECK(between < kAgents / 25);
    }
    CHECK_FALSE(bitmaps.is_uneven());
  }
}

TEST_CASE("bitmaps of an amount are to be built anew when their thresholds are far from it") {
  std::vector<std::int64_t> has_free(1000, 100);
  AmountBitmaps bitmaps;
  bitmaps.build(has_free);
  for (AgentIndex a = 0; a < 1000; ++a) bitmaps.set(a, has_free[a] = a % 50);
  int asked = 0;
  for (; asked < 100 && !bitmaps.is_uneven(); ++asked) static_cast<void>(bitmaps.at_least(25));
  CHECK(asked > 2);
  CHECK(asked < 20);
  // Not when agents only change places.
  for (AgentIndex a = 0; a < 1000; ++a) has_free[a] = a;
  bitmaps.build(has_free);
  for (AgentIndex round = 0; round < 200; ++round) {
    for (AgentIndex a = 0; a < 1000; ++a) bitmaps.set(a, (a + 37 * round) % 1000);
    for (std::int64_t wanted = 0; wanted < 1000; wanted += 3) {
      static_cast<void>(bitmaps.at_least(wanted));
    }
  }
  CHECK_FALSE(bitmaps.is_uneven());
}

// The placement index against a scan of every agent: the same choice after whatever happened.
#include "sched/index/placement_index.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <vector>

#include "sched/index/order_tree.hpp"
#include "sched/search.hpp"

using namespace bai;
using sched::AgentFacts;
using sched::AgentTable;
using sched::PlacementIndex;
using sched::PlacementIndexLimits;
using What = KeyPart::What;

namespace {

constexpr std::uint32_t kNoLimit = 0xffff'ffff;

// Labels of agents, by number of the rule.
const std::vector<std::vector<std::string>> kRules = {{}, {"r0"}, {"r1", "r2"}, {"r3", "r0"}};

// As the reference does it: every agent, every rule, one after the other.
class Oracle {
 public:
  Oracle(const AgentTable& agents, const Requirement& requirement, const std::vector<KeyPart>& key)
      : agents_(agents), requirement_(requirement), key_(key) {}

  std::optional<AgentIndex> best(std::uint32_t limit, const std::vector<bool>& barred) const {
    std::optional<AgentIndex> best;
    for (AgentIndex a = 0; a < agents_.size(); ++a) {
      if ((barred.empty() || !barred[a]) && fits(a, limit) && (!best || precedes(a, *best))) {
        best = a;
      }
    }
    return best;
  }

 private:
  bool fits(AgentIndex a, std::uint32_t limit) const {
    if (!agents_.takes_sessions(a)) return false;
    if (agents_.architecture(a) != requirement_.architecture) return false;
    if (std::uint64_t{agents_.containers(a)} + requirement_.containers > limit) return false;
    if (requirement_.labels != 0 && !has_labels(a)) return false;
    for (const SlotRequest& r : requirement_.slots) {
      if (r.units > 0 && agents_.free(a, r.slot) < r.units) return false;
      const sched::DeviceSet* set = agents_.devices(a, r.slot);
      if (set != nullptr && !hands_out(set->free, r.units)) return false;
    }
    return true;
  }
  // Whole devices, and what remains of one that has it.
  static bool hands_out(std::vector<std::int64_t> free, std::int64_t units) {
    for (std::int64_t& has : free) {
      if (units < kUnitsPerDevice || has < kUnitsPerDevice) continue;
      has -= kUnitsPerDevice;
      units -= kUnitsPerDevice;
    }
    return units == 0 || std::ranges::any_of(free, [&](auto has) { return has >= units; });
  }
  bool has_labels(AgentIndex a) const {
    const auto& rack = kRules[requirement_.labels];
    return std::ranges::find(rack, agents_.label(a, "rack")) != rack.end();
  }
  bool precedes(AgentIndex a, AgentIndex b) const {  // b, the earlier one, wins ties
    for (const KeyPart& part : key_) {
      const std::int64_t mine = value(a, part), its = value(b, part);
      if (mine != its) return mine < its;
    }
    return false;
  }
  std::int64_t value(AgentIndex a, const KeyPart& part) const {
    if (part.what == What::UnusedCapabilities) {
      std::int64_t unused = 0;
      for (const SlotRequest& r : requirement_.slots) {
        if (r.units == 0 && agents_.observed(a, r.slot) > 0) ++unused;
      }
      return unused;
    }
    if (!agents_.has_slot(a, part.slot)) return std::numeric_limits<std::int64_t>::max();
    const std::int64_t free = agents_.free(a, part.slot);
    return part.what == What::LeastFree ? free : -free;
  }

  const AgentTable& agents_;
  const Requirement& requirement_;
  const std::vector<KeyPart>& key_;
};

// How the amounts of a random world are made.
struct Style {
  std::size_t slots = 3;
  std::int64_t grain = 1;         // amounts are multiples of this
  std::int64_t most = 1'000'000;  // capacities go up to it
  std::uint32_t architectures = 1;
  bool alike = false;    // all agents have the same capacity
  bool devices = false;  // the first slot is made of them
  bool labels = false;   // agents have some, and some requirements ask for them
};

// Random numbers that are quickly begun anew.
struct Draws {
  using result_type = std::uint64_t;
  explicit Draws(std::uint64_t seed) : state(seed * 7919 + 1) {}
  static constexpr std::uint64_t min() { return 0; }
  static constexpr std::uint64_t max() { return ~std::uint64_t{0}; }
  std::uint64_t operator()() {
    std::uint64_t z = state += 0x9e37'79b9'7f4a'7c15U;
    z = (z ^ (z >> 30U)) * 0xbf58'476d'1ce4'e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d0'49bb'1331'11ebU;
    return z ^ (z >> 31U);
  }
  std::uint64_t state;
};

class RandomCluster {
 public:
  RandomCluster(std::uint64_t seed, const Style& style, std::size_t agents,
                const PlacementIndexLimits& limits)
      : style_(style), follows_(seed % 2 == 0), random_(seed), index_(limits) {
    for (SlotIndex s = 0; s < style.slots; ++s) {
      // Slots of very different magnitudes.
      scale_.push_back(std::max<std::int64_t>(8 * style.grain, style.most >> (pick(4) * 6)));
    }
    for (std::size_t i = 0; i < agents; ++i) join();
  }

  void step() {
    const std::size_t what = pick(1000);
    if (what < 2) {
      join();
    } else if (what < 4 && table_.size() > 1) {
      leave();
    } else if (what < 14) {
      alter();
    } else if (what < 20) {
      index_.reset();
    } else if (what < 400 && !taken_.empty()) {
      give_back(pick(taken_.size()));
    } else {
      ask();
    }
  }

  void check_soundness() {
    if (follows_) index_.follow(table_);
    REQUIRE(index_.is_sound(table_));
  }
  std::size_t orders() const { return index_.orders(); }
  std::size_t asked = 0, found = 0;

 private:
  struct Taken {
    AgentId agent;
    Requirement requirement;
    std::vector<DeviceGrant> devices;
  };
  std::size_t pick(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  std::int64_t amount(std::int64_t most) {
    const auto grains = static_cast<std::size_t>(std::max<std::int64_t>(0, most / style_.grain));
    return static_cast<std::int64_t>(pick(grains + 1)) * style_.grain;
  }

  AgentFacts facts() {
    AgentFacts facts;
    facts.architecture = static_cast<std::uint32_t>(pick(style_.architectures));
    facts.takes_sessions = pick(20) != 0;
    facts.containers = static_cast<std::uint32_t>(pick(3));
    if (style_.labels && pick(5) != 0) facts.labels = {{"rack", fmt::format("r{}", pick(4))}};
    for (SlotIndex s = 0; s < style_.slots; ++s) {
      if (!style_.alike && pick(4) == 0) continue;
      if (style_.devices && s == 0) {
        const std::size_t count = style_.alike ? 8 : 1 + pick(8);
        facts.devices[s].assign(count, kUnitsPerDevice);
        facts.capacity.emplace_back(s, static_cast<std::int64_t>(count) * kUnitsPerDevice);
        continue;
      }
      facts.capacity.emplace_back(s, style_.alike ? scale_[s] : amount(scale_[s]));
      facts.granted.resize(s + 1, 0);
      // Sometimes more than there is: a capacity that shrank.
      if (!style_.alike || pick(4) == 0) {
        facts.granted[s] = pick(8) == 0 ? amount(2 * scale_[s]) : amount(scale_[s] / 2);
      }
    }
    return facts;
  }

  void changed(AgentIndex at) {
    if (!follows_) index_.changed(at);
  }
  void join() {
    const AgentId id(fmt::format("agent-{:09}", pick(1'000'000'000)));
    if (table_.find(id)) return;
    const AgentIndex at = table_.add(id);
    if (!follows_) index_.inserted(at);
    table_.set(at, facts());
    changed(at);
  }
  void leave() {
    const auto at = static_cast<AgentIndex>(pick(table_.size()));
    const AgentId id = table_.id(at);
    std::erase_if(taken_, [&](const Taken& t) { return t.agent == id; });
    table_.erase(at);
    if (!follows_) index_.erased(at);
  }
  void alter() {
    const auto at = static_cast<AgentIndex>(pick(table_.size()));
    const AgentId id = table_.id(at);
    std::erase_if(taken_, [&](const Taken& t) { return t.agent == id; });
    table_.set(at, facts());
    changed(at);
  }
  void give_back(std::size_t which) {
    std::swap(taken_[which], taken_.back());
    const AgentIndex at = *table_.find(taken_.back().agent);
    table_.take_devices(at, taken_.back().devices, -1);
    table_.take(at, taken_.back().requirement, -1);
    changed(at);
    taken_.pop_back();
  }

  // One of a few kinds of requests and keys, so that they come back.
  void ask() {
    Draws kind(pick(6));
    Requirement requirement;
    requirement.architecture = static_cast<std::uint32_t>(kind() % style_.architectures);
    requirement.containers = 1 + static_cast<std::uint32_t>(pick(2));
    std::vector<KeyPart> key;
    const What what = kind() % 2 == 0 ? What::LeastFree : What::MostFree;
    if (kind() % 4 != 0) key.push_back({What::UnusedCapabilities, 0});
    for (SlotIndex s = 0; s < style_.slots; ++s) {
      const std::uint64_t use = kind() % 4;
      if (use == 0) continue;
      // Mostly small: what is wanted is to be found.
      requirement.slots.push_back({s, use == 1 ? 0 : 1 + amount(scale_[s] >> pick(8))});
      if (style_.devices && s == 0 && use != 1) {
        constexpr std::int64_t kAmounts[] = {100, 250, 300, 500, 700, 1000, 1500, 2000, 4000};
        requirement.slots.back().units = kAmounts[pick(std::size(kAmounts))];
      }
    }
    if (style_.labels && kind() % 2 == 0) {
      requirement.labels = static_cast<std::uint32_t>(1 + kind() % (kRules.size() - 1));
      table_.prepare_rule(requirement.labels, {{"rack", kRules[requirement.labels]}});
    }
    for (const SlotRequest& r : requirement.slots) {
      if (kind() % 8 != 0) key.push_back({kind() % 8 == 0 ? What::MostFree : what, r.slot});
    }
    std::shuffle(key.begin() + (key.empty() || key[0].what != What::UnusedCapabilities ? 0 : 1),
                 key.end(), kind);
    if (kind() % 8 == 0) key.push_back({what, static_cast<SlotIndex>(kind() % style_.slots)});
    compare(requirement, key);
  }

  void compare(const Requirement& requirement, const std::vector<KeyPart>& key) {
    const std::uint32_t limit = pick(2) == 0 ? kNoLimit : static_cast<std::uint32_t>(pick(8));
    std::vector<bool> barred(pick(4) == 0 ? table_.size() : 0);
    for (std::size_t i = 0; i < barred.size(); ++i) barred[i] = pick(2) == 0;
    const auto may = [&](AgentIndex a) { return barred.empty() || !barred[a]; };
    const auto expected = Oracle(table_, requirement, key).best(limit, barred);
    if (follows_) index_.follow(table_);
    const auto chosen = index_.best(table_, requirement, key, limit, may);
    ++asked;
    if (chosen != expected) REQUIRE(chosen == expected);
    if (pick(16) == 0) {
      REQUIRE(sched::scan_best(table_, requirement, key, limit, may) == expected);
    }
    if (!chosen) return;
    ++found;
    const auto any = [](SlotIndex, std::int64_t units, std::span<const std::int64_t> free) {
      return sched::tightest_device(units, free);
    };
    auto devices = sched::choose_devices(table_, *chosen, requirement, any);
    REQUIRE(devices.has_value());
    table_.take(*chosen, requirement, 1);
    table_.take_devices(*chosen, *devices, 1);
    changed(*chosen);
    taken_.push_back({table_.id(*chosen), requirement, std::move(*devices)});
  }

  Style style_;
  bool follows_;  // the table's logs say what happened, else calls do
  Draws random_;
  std::vector<std::int64_t> scale_;
  AgentTable table_;
  PlacementIndex index_;
  std::vector<Taken> taken_;
};

PlacementIndexLimits at_once() {
  PlacementIndexLimits limits;
  limits.scan_below = 0;
  limits.build_after = 0;
  return limits;
}

bool soak() { return std::getenv("BAI_SOAK") != nullptr; }

// Under a sanitizer a step takes ten times as long, and other things are looked for.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kShare = 8;
#else
constexpr std::size_t kShare = 1;
#endif

void walk(std::uint64_t seed, const Style& style, std::size_t agents, std::size_t all_steps,
          const PlacementIndexLimits& limits) {
  CAPTURE(seed);
  const std::size_t steps = all_steps / kShare;
  RandomCluster cluster(seed, style, agents, limits);
  for (std::size_t i = 0; i < steps; ++i) {
    cluster.step();
    if (i % 4096 == 0) cluster.check_soundness();
  }
  cluster.check_soundness();
  CHECK(cluster.asked > steps / 3);
  CHECK(cluster.found > cluster.asked / 20);
}

}  // namespace

TEST_CASE("the index chooses as a scan does, whatever the amounts") {
  const std::size_t rounds = soak() ? 30 : 1;
  std::uint64_t seed = 1;
  for (std::size_t round = 0; round < rounds; ++round) {
    walk(seed++, {3, 1, std::int64_t{1} << 40, 1, false}, 80, 120'000, at_once());
    walk(seed++, {4, 1000, 64'000, 2, false}, 70, 120'000, at_once());
    walk(seed++, {2, 1, 12, 1, false}, 60, 120'000, at_once());      // many equal keys
    walk(seed++, {3, 1, 1 << 20, 1, true}, 100, 60'000, at_once());  // agents alike
    walk(seed++, {8, 1, std::int64_t{1} << 50, 3, false}, 60, 60'000, at_once());
    walk(seed++, {12, 1, 1 << 16, 1, true}, 60, 60'000, at_once());  // more slots than lanes
    walk(seed++, {1, 1, 1 << 30, 1, false}, 3, 60'000, at_once());
    walk(seed++, {3, 1, 1 << 30, 1, false}, 1500, 6'000, at_once());  // a tree of three levels
    walk(seed++, {3, 1000, 8000, 1, true}, 1500, 6'000, at_once());
    walk(seed++, {4, 1, 1 << 20, 1, false}, 80, 50'000, {});  // some scans, some orders
    const auto gpus = [](bool alike, bool labels) {
      return Style{3, 1, 1 << 20, 1, alike, true, labels};
    };
    walk(seed++, gpus(false, true), 80, 100'000, at_once());
    walk(seed++, gpus(true, false), 60, 60'000, at_once());
    walk(seed++, gpus(false, true), 100, 50'000, {});
    walk(seed++, {4, 1, 1 << 30, 2, false, false, true}, 80, 100'000, at_once());
    // Many more steps where one costs little: two blocks that grow, split and merge.
    walk(seed++, {3, 1, std::int64_t{1} << 40, 1, false}, 40, 320'000, at_once());
    walk(seed++, {2, 1, 12, 1, false, false, true}, 36, 320'000, at_once());
    walk(seed++, gpus(false, true), 34, 320'000, at_once());
  }
}

TEST_CASE("an order is built for lookups that come back, and the oldest goes") {
  AgentTable table;
  for (int i = 0; i < 100; ++i) {
    AgentFacts facts;
    facts.takes_sessions = true;
    for (SlotIndex s = 0; s < 4; ++s) facts.capacity.emplace_back(s, 100 + i);
    table.set(table.add(AgentId(fmt::format("{:03}", i))), facts);
  }
  PlacementIndexLimits limits;
  limits.build_after = 3;
  limits.orders_max = 2;
  PlacementIndex index(limits);
  const auto ask = [&](SlotIndex slot) {
    Requirement requirement;
    requirement.slots.push_back({slot, 10});
    return index.best(table, requirement, std::vector<KeyPart>{{What::MostFree, slot}}, kNoLimit);
  };
  for (int i = 0; i < 3; ++i) CHECK(ask(0) == AgentIndex{99});
  CHECK(index.orders() == 0);
  CHECK(ask(0) == AgentIndex{99});
  CHECK(index.orders() == 1);
  for (SlotIndex slot = 1; slot < 4; ++slot) {
    for (int i = 0; i < 4; ++i) CHECK(ask(slot) == AgentIndex{99});
  }
  CHECK(index.orders() == 2);
  CHECK(index.bytes() > 0);
}

TEST_CASE("unused capabilities count whatever the number of their slot") {
  constexpr SlotIndex kFirst = 29, kSlots = 36;  // on both sides of what a brief knows
  AgentTable table;
  for (int i = 0; i < 64; ++i) {
    AgentFacts facts;
    facts.takes_sessions = true;
    facts.capacity.emplace_back(0, 1000);
    for (SlotIndex s = kFirst; s < kSlots; ++s) {
      if (i >> (s - kFirst) & 1) facts.capacity.emplace_back(s, 1);
    }
    facts.granted.resize(kSlots);
    if (i % 3 == 0) facts.granted[kFirst + 2] = facts.granted[kFirst + 4] = 1;  // nothing is left
    table.set(table.add(AgentId(fmt::format("{:03}", i))), facts);
  }
  PlacementIndex index(at_once());
  const std::vector<KeyPart> key{{What::UnusedCapabilities, 0}, {What::LeastFree, 0}};
  for (SlotIndex unwanted = kFirst; unwanted < kSlots; ++unwanted) {
    Requirement requirement;
    requirement.slots.push_back({0, 10});
    for (SlotIndex s = kFirst; s < kSlots; ++s) {
      if (s <= unwanted) requirement.slots.push_back({s, 0});
    }
    for (AgentIndex turn = 0; turn < 64; ++turn) {
      const auto chosen = index.best(table, requirement, key, kNoLimit);
      REQUIRE(chosen == scan_best(table, requirement, key, kNoLimit, {}));
      table.take(*chosen, requirement, 1);
      index.changed(*chosen);
    }
  }
  CHECK(index.orders() > 0);
  CHECK(index.is_sound(table));
}

TEST_CASE("an order that lags too far behind is dropped, one that is in use is kept") {
  AgentTable table;
  for (int i = 0; i < 100; ++i) {
    AgentFacts facts;
    facts.takes_sessions = true;
    facts.capacity = {{0, 1000}, {1, 1000}};
    table.set(table.add(AgentId(fmt::format("{:03}", i))), facts);
  }
  PlacementIndexLimits limits = at_once();
  limits.log_max = 64;
  PlacementIndex index(limits);
  Requirement first, second;
  first.slots.push_back({0, 1});
  second.slots.push_back({1, 1});
  const std::vector<KeyPart> by_first{{What::MostFree, 0}}, by_second{{What::MostFree, 1}};
  CHECK(index.best(table, second, by_second, kNoLimit) == AgentIndex{0});
  for (AgentIndex i = 0; i < 200; ++i) {
    const auto chosen = index.best(table, first, by_first, kNoLimit);
    REQUIRE(chosen == i % 100);
    table.take(*chosen, first, 1);
    index.changed(*chosen);
  }
  CHECK(index.orders() == 1);
  CHECK(index.best(table, second, by_second, kNoLimit) == AgentIndex{0});
  CHECK(index.orders() == 2);
}

TEST_CASE("a search that asks the index answers as one that scans") {
  AgentTable table;
  Draws draws(7);
  for (int i = 0; i < 150; ++i) {
    AgentFacts facts;
    facts.takes_sessions = i % 10 != 0;
    for (SlotIndex s = 0; s < 3; ++s) {
      facts.capacity.emplace_back(s, static_cast<std::int64_t>(draws() % 1000));
    }
    table.set(table.add(AgentId(fmt::format("{:03}", i))), facts);
  }
  PlacementIndex index;
  sched::ScoreCache scores;
  std::vector<AgentIndex> buffer, other_buffer;
  std::size_t found = 0;
  for (int i = 0; i < 4000; ++i) {
    Requirement requirement;
    for (SlotIndex s = 0; s < 3; ++s) {
      const auto most = draws() % 64 == 0 ? std::uint64_t{2000} : std::uint64_t{20};
      requirement.slots.push_back({s, static_cast<std::int64_t>(1 + draws() % most)});
    }
    std::vector<KeyPart> key;
    const What what = draws() % 2 == 0 ? What::LeastFree : What::MostFree;
    for (SlotIndex s = 0; s < 3; ++s) key.push_back({what, s});
    sched::AgentFilter filter;
    filter.container_limit = 60;
    for (AgentIndex a = 0; a < table.size(); ++a) {
      if (i % 3 == 0 && draws() % 3 == 0) filter.barred.push_back(a);
      if (i % 5 == 0 && draws() % 9 == 0) filter.failed.push_back(a);
      if (i % 7 == 0 && draws() % 50 == 0) filter.designated.push_back(a);
    }
    sched::AgentSearch scan(table, requirement, filter, other_buffer, scores);
    sched::AgentSearch search(table, requirement, filter, buffer, scores, &index);
    REQUIRE(search.empty() == scan.empty());
    const auto chosen = search.best(key);
    REQUIRE(chosen == scan.best(key));
    if (!chosen) continue;
    ++found;
    REQUIRE(search.contains(*chosen));
    const auto other = static_cast<AgentIndex>(draws() % (table.size() + 1));
    REQUIRE(search.contains(other) == scan.contains(other));
    table.take(*chosen, requirement, 1);
    if (draws() % 100 == 0) table.add(AgentId(fmt::format("new{}", i)));
    if (draws() % 100 == 0) table.erase(static_cast<AgentIndex>(draws() % table.size()));
  }
  CHECK(index.orders() == 2);
  CHECK(found > 2000);
}

TEST_CASE("agents that come and go one by one are followed without building orders anew") {
  AgentTable table;
  PlacementIndex index(at_once());
  Requirement requirement;
  requirement.slots.push_back({0, 1});
  const std::vector<KeyPart> key{{What::MostFree, 0}};
  const auto choice = [&] {
    index.follow(table);
    return index.best(table, requirement, key, kNoLimit);
  };
  // More than the table's log of moves holds.
  for (int i = 0; i < 3000; ++i) {
    AgentFacts facts;
    facts.takes_sessions = true;
    facts.capacity = {{0, 1000 + i}};
    const AgentIndex at = table.add(AgentId(fmt::format("{:05}", (i * 7919) % 100'000)));
    table.set(at, facts);
    REQUIRE(choice() == at);
  }
  CHECK(index.is_sound(table));
  CHECK(index.builds() < 10);
  while (table.size() > 1) {
    const AgentIndex largest = *choice();
    table.erase(largest);
    REQUIRE(table.free(*choice(), 0) == 1000 + static_cast<std::int64_t>(table.size()) - 1);
  }
  CHECK(index.builds() < 20);
}

TEST_CASE("columns say what rows do, however long nobody has asked") {
  AgentTable table;
  for (int i = 0; i < 20; ++i) {
    AgentFacts facts;
    facts.takes_sessions = true;
    facts.capacity = {{0, 1'000'000}};
    if (i % 2 == 0) facts.capacity.emplace_back(2, 1'000'000);
    table.set(table.add(AgentId(fmt::format("{:05}", i))), facts);
  }
  const auto agree = [&] {
    return std::ranges::all_of(std::vector<SlotIndex>{0, 2}, [&](SlotIndex slot) {
      const auto& free = table.column(slot)->free;
      bool all = free.size() == table.size();
      for (AgentIndex a = 0; all && a < table.size(); ++a) all = free[a] == table.free(a, slot);
      return all;
    });
  };
  Requirement requirement;
  requirement.slots = {{0, 3}};
  const auto change = [&](int times) {
    for (int i = 0; i < times; ++i) {
      table.take(static_cast<AgentIndex>(i * 7) % 20, requirement, i % 3 == 0 ? -1 : 1);
    }
  };
  for (const int times : {1, 19, 21, 500, 70'000, 140'000}) {  // the log begins anew in between
    change(times);
    CHECK(agree());
  }
  const std::uint64_t before = table.log_epoch();
  change(70'000);
  CHECK(table.log_epoch() > before);
  table.erase(4);
  table.add(AgentId("00004"));
  CHECK(agree());
}

TEST_CASE("more unwanted slots than an order can count are looked up by a scan") {
  AgentTable table;
  for (int i = 0; i < 100; ++i) {
    AgentFacts facts;
    facts.takes_sessions = true;
    facts.capacity = {{0, 10 + (i * 37) % 100}};
    table.set(table.add(AgentId(fmt::format("{:05}", i))), facts);
  }
  const std::vector<KeyPart> key{{What::UnusedCapabilities, 0}, {What::LeastFree, 0}};
  for (const std::size_t unwanted :
       {sched::OrderTree::kBandsMax - 1, sched::OrderTree::kBandsMax}) {
    PlacementIndex index(at_once());
    Requirement requirement;
    requirement.slots = {{0, 5}};
    for (SlotIndex s = 1; s <= unwanted; ++s) requirement.slots.push_back({s, 0});
    CHECK(index.best(table, requirement, key, kNoLimit) ==
          sched::scan_best(table, requirement, key, kNoLimit, {}));
    CHECK(index.orders() == (unwanted < sched::OrderTree::kBandsMax ? 1 : 0));
  }
}

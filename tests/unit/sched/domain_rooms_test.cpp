// Rooms in domains that follow what has changed, against a count over all agents.
#include "sched/domain_rooms.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <random>

#include "plain_topology.hpp"

using namespace bai;
using namespace bai::sched;
using namespace bai::test;

namespace {

const std::vector<std::vector<std::string>> kLevels = {{"domain", "rack"}, {"rack"}, {"zone"}, {}};
const std::vector<LabelRule> kRules = {{}, {{"zone", {"a"}}}};

// Agents that come, go, move and are used.
struct Floor {
  explicit Floor(std::uint64_t seed) : random(seed) {
    for (int i = 0; i < 120; ++i) add();
  }
  std::int64_t below(std::uint64_t n) { return static_cast<std::int64_t>(random() % n); }
  AgentIndex any() { return static_cast<AgentIndex>(random() % table.size()); }

  AgentFacts facts() {
    AgentFacts facts;
    facts.takes_sessions = random() % 10 != 0;
    facts.architecture = static_cast<std::uint32_t>(random() % 8 == 0);
    facts.containers = static_cast<std::uint32_t>(random() % 3);
    facts.capacity = {{0, below(100)}, {1, below(100)}};
    if (random() % 3 == 0) {
      facts.capacity.emplace_back(2, 2000);
      facts.devices[2] = {1000, 1000};
    }
    facts.labels = {{"zone", random() % 2 == 0 ? "a" : "b"}};
    if (random() % 8 != 0) facts.labels.emplace_back("rack", fmt::format("r{}", random() % 6));
    if (random() % 8 != 0) facts.labels.emplace_back("domain", fmt::format("d{}", random() % 4));
    std::ranges::sort(facts.labels);
    return facts;
  }
  void add() {
    const AgentId id(fmt::format("{:05}", random() % 100'000));
    if (!table.find(id)) table.set(table.add(id), facts());
  }

  Requirement requirement() {
    Requirement one;
    one.architecture = static_cast<std::uint32_t>(random() % 20 == 0);
    one.labels = static_cast<std::uint32_t>(random() % 2);
    one.slots = {{0, below(3) * 10}, {1, 10}};
    if (random() % 4 == 0) one.slots.push_back({2, 500});
    table.prepare_rule(one.labels, kRules[one.labels]);
    return one;
  }

  void change() {
    if (random() % 4 == 0) table.set(any(), facts());
    if (random() % 60 == 0) add();
    if (random() % 60 == 0) table.erase(any());
    for (std::int64_t i = below(4); i > 0; --i) {  // as a pass does, which then takes it back
      const AgentIndex agent = any();
      const Requirement one = requirement();
      if (!table.fits(agent, one)) continue;
      std::vector<DeviceGrant> devices;
      if (one.slots.size() > 2) devices = {{0, 2, static_cast<std::uint32_t>(random() % 2), 500}};
      if (!devices.empty() && table.devices(agent, 2)->free[devices[0].device] < 500) continue;
      table.take_devices(agent, devices, 1);
      table.take(agent, one, 1);
      if (random() % 2 == 0) {
        table.take_devices(agent, devices, -1);
        table.take(agent, one, -1);
      }
    }
  }

  std::vector<AgentIndex> some(std::uint64_t one_in) {
    std::vector<AgentIndex> agents;
    for (AgentIndex a = 0; a < table.size(); ++a) {
      if (random() % one_in == 0) agents.push_back(a);
    }
    return agents;
  }

  std::mt19937_64 random;
  AgentTable table;
};

std::vector<std::string> names(FittingDomains fitting) {
  std::vector<std::string> names;
  while (const Topology::Domain* domain = fitting.next()) names.push_back(domain->name);
  return names;
}

}  // namespace

TEST_CASE("rooms that follow what has changed are those that a count over all agents finds") {
  std::size_t fitting = 0, several = 0;
  std::uint64_t looked_at = 0, all = 0;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    Floor floor(seed);
    Topology topology;
    RoomsCache cache;
    const std::vector<std::string>* levels = &kLevels[0];
    for (int step = 0; step < 800; ++step) {
      CAPTURE(step);
      floor.change();
      if (floor.random() % 100 == 0) levels = &kLevels[floor.random() % kLevels.size()];
      topology.follow(floor.table, *levels);
      REQUIRE(topology.levels() == levels->size());
      AgentFilter filter;
      if (seed % 2 == 0) filter.container_limit = floor.random() % 50 == 0 ? 3 : 5;
      filter.strict = floor.random() % 4 == 0;
      if (filter.strict) filter.designated = floor.some(2);
      if (floor.random() % 3 == 0) filter.barred = floor.some(5);
      GangRooms rooms(topology, levels->size());
      std::vector<std::vector<PlainDomain>> plain;
      for (std::size_t level = 0; level < levels->size(); ++level) {
        plain.push_back(plain_domains(floor.table, *levels, level));
      }
      for (std::int64_t kind = floor.below(3); kind >= 0; --kind) {
        const Requirement requirement = floor.requirement();
        const auto wanted = static_cast<std::uint64_t>(1 + floor.below(15));
        for (auto& domains : plain) {
          plain_count(domains, floor.table, requirement, wanted, filter);
        }
        if (filter.strict) {
          std::vector<std::pair<AgentIndex, std::uint32_t>> copies;
          for (const AgentIndex a : filter.designated) {
            if (std::ranges::binary_search(filter.barred, a)) continue;
            copies.emplace_back(a, copies_on(floor.table, a, requirement, filter.container_limit));
          }
          rooms.add(copies, wanted);
        } else {
          rooms.add(cache.refreshed(topology, floor.table, requirement, kRules[requirement.labels],
                                    filter.container_limit),
                    filter.barred, wanted);
          all += floor.table.size();
        }
      }
      for (std::size_t level = 0; level < levels->size(); ++level) {
        const auto domains = topology.domains(level);
        REQUIRE(domains.size() == plain[level].size());
        for (std::size_t d = 0; d < domains.size(); ++d) {
          REQUIRE(domains[d].name == plain[level][d].name);
          REQUIRE(domains[d].agents == plain[level][d].agents);
          REQUIRE(rooms.room(level, d).total == plain[level][d].room);
          REQUIRE((rooms.room(level, d).missing == 0) == plain[level][d].enough);
        }
        const auto fits = names(FittingDomains(topology, level, rooms));
        REQUIRE(fits == plain_fitting(plain[level]));
        const Topology::Domain* roomiest = rooms.roomiest(level);
        REQUIRE((roomiest == nullptr ? "" : roomiest->name) == plain_roomiest(plain[level]));
        fitting += fits.size();
        several += fits.size() > 1 ? 1 : 0;
      }
    }
    looked_at += cache.looked_at();
  }
  CHECK(fitting > 5000);
  CHECK(several > 1500);
  CHECK(looked_at < all / 2);
}

TEST_CASE("what is kept of rooms has a limit, by kinds and by agents") {
  const auto ask = [](std::size_t agents, std::int64_t kinds) {
    AgentTable table;
    for (std::size_t i = 0; i < agents; ++i) {
      AgentFacts facts;
      facts.takes_sessions = true;
      facts.capacity = {{0, 100'000}};
      facts.labels = {{"rack", fmt::format("r{}", i / 40)}};
      table.set(table.add(AgentId(fmt::format("{:06}", i))), facts);
    }
    Topology topology;
    topology.follow(table, {"rack"});
    RoomsCache cache;
    Requirement requirement;
    const auto room = [&](std::int64_t units) {
      requirement.slots = {{0, units}};
      return cache.refreshed(topology, table, requirement, {}, kNoContainerLimit).in(0)[0];
    };
    for (std::int64_t units = 1; units <= kinds; ++units) {
      room(units);
      if (units % 64 == 0) room(1);  // used all the time: stays
    }
    const std::uint64_t before = cache.looked_at();
    CHECK(room(1) == 100'000 * std::min<std::uint64_t>(agents, 40));
    CHECK(room(kinds) ==
          100'000 / kinds * std::min<std::int64_t>(static_cast<std::int64_t>(agents), 40));
    CHECK(cache.looked_at() == before);
    room(2);
    CHECK(cache.looked_at() == before + agents);
    return cache.kinds();
  };
  CHECK(ask(2, 1200) == RoomsCache::kKindsMax);
  CHECK(ask(20'000, 900) == RoomsCache::kCopiesMax / 20'000);
}

// Orders by owner against brute force, and the queues that they draw from.
#include <random>
#include <set>

#include "sched/owner_queue.hpp"
#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

struct Want {
  SessionId id;
  std::uint64_t user = 0;
  std::int64_t priority = 0, cpu = 0, mem = 0;  // units
};

struct Held {
  std::int64_t cpu = 0, mem = 0;
};

// Dominant shares by definition, looked at anew for everybody before each choice.
std::vector<SessionId> brute_force(std::vector<Want> queue, std::map<std::uint64_t, Held> held,
                                   Held capacity, bool live) {
  std::map<std::uint64_t, Held> at_start = held;
  Held free = capacity;
  const auto less = [&](const Want& a, const Want& b) {
    auto& shares = live ? held : at_start;
    const auto share = [&](std::uint64_t user) {
      const Held& h = shares[user];
      // Over one common denominator.
      return std::max((h.cpu / 1000) * (capacity.mem >> 30), (h.mem >> 30) * (capacity.cpu / 1000));
    };
    return std::tuple(-a.priority, share(a.user)) < std::tuple(-b.priority, share(b.user));
  };
  std::vector<SessionId> placed;
  while (!queue.empty()) {
    const auto first = std::ranges::min_element(queue, less);  // the oldest among equals
    const Want want = *first;
    queue.erase(first);
    if (want.cpu > free.cpu || want.mem > free.mem) continue;
    free.cpu -= want.cpu;
    free.mem -= want.mem;
    held[want.user].cpu += want.cpu;
    held[want.user].mem += want.mem;
    placed.push_back(want.id);
  }
  return placed;
}

}  // namespace

TEST_CASE("DRF order equals brute force, live and per pass") {
  std::mt19937_64 random(5);
  const auto pick = [&](std::uint64_t n) { return static_cast<std::int64_t>(random() % n); };
  std::size_t placements = 0;
  for (int round = 0; round < 120; ++round) {
    CAPTURE(round);
    const bool live = round % 2 == 0;
    World world;
    world.group().scheduler = "drf";
    world.group().queue_discipline = QueueDiscipline::SkipAhead;
    if (!live) {
      world.group().policy_options =
          Json::object({{"sequencer", Json::object({{"shares", "per-pass"}})}});
    }
    Held capacity{(1 + pick(60)) * 1000, (1 + pick(60)) << 30};
    world.agent(
        "a", {{"cpu", std::to_string(capacity.cpu / 1000)}, {"mem", std::to_string(capacity.mem)}});
    std::map<std::uint64_t, Held> held;
    for (std::uint64_t user = 1; user <= 5; ++user) {
      if (pick(3) == 0) continue;
      held[user] = {pick(8) * 1000, pick(8) << 30};
      world.usage(ScopeKind::User, to_string(numbered<UserId>(user)),
                  {{"cpu", std::to_string(held[user].cpu / 1000)},
                   {"mem", std::to_string(held[user].mem)}});
    }
    std::vector<Want> queue;
    for (int i = 0; i < 60; ++i) {
      Session row = world.draft();
      Want want{row.id, 1 + static_cast<std::uint64_t>(pick(5)), pick(2), pick(5) * 1000,
                pick(5) << 30};
      row.user = numbered<UserId>(want.user);
      row.project = numbered<ProjectId>(static_cast<std::uint64_t>(pick(3)));
      row.priority = want.priority;
      world.add(row,
                {{{{"cpu", std::to_string(want.cpu / 1000)}, {"mem", std::to_string(want.mem)}}}});
      queue.push_back(want);
    }
    for (int pass = 0; pass < 3; ++pass) {
      const auto order = placed(world.plan());
      REQUIRE(order == brute_force(queue, held, capacity, live));
      placements += order.size();
      // What is known of shares must not outlive a change of holdings or of capacity.
      const auto user = 1 + static_cast<std::uint64_t>(pick(5));
      held[user] = {pick(8) * 1000, pick(8) << 30};
      const std::string id = usage_key(ScopeKind::User, to_string(numbered<UserId>(user)));
      if (world.state.find<Usage>(id) != nullptr) world.changes.erase<Usage>(id);
      world.feed();
      world.usage(ScopeKind::User, to_string(numbered<UserId>(user)),
                  {{"cpu", std::to_string(held[user].cpu / 1000)},
                   {"mem", std::to_string(held[user].mem)}});
      if (pick(2) == 0) continue;
      capacity.cpu += 1000;
      world.changes.update<Agent>(
          AgentId("a"), [&](Agent& row) { row.available_slots.set("cpu", Amount{capacity.cpu}); });
    }
  }
  CHECK(placements > 1000);
}

TEST_CASE("the order in which sessions arrived at the planner does not matter") {
  for (const char* scheduler : {"drf", "fair-share", "fifo", "lifo"}) {
    std::vector<std::vector<SessionId>> orders;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      World world;
      world.group().scheduler = scheduler;
      world.agent("a", {{"cpu", "1000"}});
      std::vector<Session> rows;
      for (int i = 0; i < 40; ++i) {
        rows.push_back(world.draft());
        rows.back().created_at = at_second(i / 3);
        rows.back().user = numbered<UserId>(static_cast<std::uint64_t>(i % 5));
      }
      std::mt19937_64 random(seed);
      if (seed > 0) std::ranges::shuffle(rows, random);
      for (const Session& row : rows) {
        world.add(row, {{{{"cpu", "1"}}}});
        if (random() % 4 == 0) world.feed();
      }
      orders.push_back(placed(world.plan()));
    }
    for (const auto& order : orders) CHECK(order == orders.front());
  }
}

TEST_CASE("a bigger quota never refuses more") {
  std::mt19937_64 random(9);
  const auto pick = [&](std::uint64_t n) { return static_cast<std::int64_t>(random() % n); };
  for (int round = 0; round < 60; ++round) {
    const std::uint64_t seed = random();
    std::int64_t limit = pick(10);
    std::set<SessionId> before;
    for (int step = 0; step < 6; ++step, limit += 1 + pick(5)) {
      // One session at a time: what is granted to one may well stand in another's way.
      std::mt19937_64 same(seed);
      std::set<SessionId> now;
      World world;
      world.group().queue_discipline = QueueDiscipline::SkipAhead;
      world.agent("a", {{"cpu", "100"}});
      KeypairPolicy policy;
      policy.name = PolicyName("p");
      policy.total_resource_slots = slots({{"cpu", std::to_string(limit)}});
      policy.max_concurrent_sessions = limit + 1;
      world.user_policy(policy);
      world.usage(ScopeKind::User, to_string(numbered<UserId>(1)),
                  {{"cpu", std::to_string(same() % 6)}}, static_cast<std::int64_t>(same() % 6));
      for (int i = 0; i < 8; ++i) {
        const auto id = world.session({{"cpu", std::to_string(1 + same() % 12)}});
        if (!placed(world.plan()).empty()) now.insert(id);
        for (const auto& kernel : world.state.kernels_of(id)) {
          world.changes.erase<Kernel>(kernel->id);
        }
        world.changes.erase<Session>(id);
      }
      CHECK(std::ranges::includes(now, before));
      before = std::move(now);
    }
  }
}

TEST_CASE("an age queue is a sorted list, whatever is put in and taken out") {
  std::mt19937_64 random(1);
  std::vector<std::int64_t> age(3000);
  for (auto& a : age) a = static_cast<std::int64_t>(random() % 1000);
  const auto less = [&](PendingIndex a, PendingIndex b) {
    return std::pair(age[a], a) < std::pair(age[b], b);
  };
  sched::AgeQueue queue;
  std::set<PendingIndex, decltype(less)> oracle(less);
  for (int step = 0; step < 30'000; ++step) {
    const auto session = static_cast<PendingIndex>(random() % age.size());
    const bool fill = step < 15'000 ? random() % 4 != 0 : random() % 4 == 0;
    if (fill && oracle.insert(session).second) queue.insert(session, less);
    if (!fill && !oracle.empty()) {
      const PendingIndex gone = oracle.contains(session) ? session : *oracle.begin();
      oracle.erase(gone);
      queue.erase(gone, less);
    }
    if (step % 997 != 0 && step != 29'999) continue;
    std::vector<PendingIndex> all;
    for (sched::AgeQueue::Place place; const auto at = queue.at(place);
         place = queue.after(place)) {
      all.push_back(*at);
    }
    REQUIRE(std::ranges::equal(all, oracle));
    CHECK(queue.empty() == oracle.empty());
  }
}

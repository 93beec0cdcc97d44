// Resource groups planned side by side: the plan does not depend on how many threads there are.
#include <atomic>
#include <random>
#include <thread>

#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

JobRunner on_threads(std::size_t threads) {
  return [threads](std::size_t count, const std::function<void(std::size_t)>& job) {
    std::atomic<std::size_t> next = 0;
    const auto work = [&] {
      for (std::size_t i = next++; i < count; i = next++) job(i);
    };
    std::vector<std::thread> others;
    for (std::size_t i = 1; i < threads; ++i) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
  };
}

// Many groups with settings, users and queues of their own, and some that no pass gets through.
class ManyGroups {
 public:
  explicit ManyGroups(std::uint64_t seed) : random_(seed) {
    const std::vector<std::string> schedulers = {"fifo", "lifo", "drf", "fair-share", "sjf"};
    const std::vector<std::string> selectors = {"concentrated", "dispersed", "roundrobin", "fgd"};
    for (std::size_t g = 0; g < 12; ++g) {
      const std::string name = "group" + std::to_string(g);
      ResourceGroup& row = world.group(name);
      row.scheduler = schedulers[pick(schedulers.size())];
      row.selector = selectors[pick(selectors.size())];
      row.queue_discipline = static_cast<QueueDiscipline>(pick(4));
      if (pick(2) == 0) row.policy_options = Json::object({{"default_runtime_s", 600}});
      if (row.selector == "fgd") {
        row.policy_options.set(
            "selector",
            *Json::parse(R"({"workload": [{"count": 2, "cpu": "2"}, {"count": 1, "cpu": "5"}]})"));
      }
      if (pick(12) == 0) row.selector = "no-such-selector";
      groups_.push_back(name);
      for (std::size_t a = pick(6); a > 0; --a) {
        world.agent(name + "-agent" + std::to_string(a),
                    {{"cpu", std::to_string(1 + pick(8))}, {"mem", "64g"}}, {}, name);
      }
    }
    world.usage(ScopeKind::User, to_string(numbered<UserId>(1)), {{"cpu", "3"}}, 2);
  }

  void arrive() {
    for (std::size_t i = 0; i < 60; ++i) {
      Session row = world.draft();
      row.resource_group = ResourceGroupName(groups_[pick(groups_.size())]);
      row.user = numbered<UserId>(1 + pick(4));
      row.priority = static_cast<std::int64_t>(pick(3));
      if (pick(3) == 0) {
        row.type = SessionType::Batch;
        row.batch_timeout = seconds(static_cast<std::int64_t>(60 + pick(600)));
      }
      world.add(std::move(row), {{{{"cpu", std::to_string(1 + pick(5))}, {"mem", "1g"}}}});
    }
  }

  World world;

 private:
  std::size_t pick(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  std::mt19937_64 random_;
  std::vector<std::string> groups_;
};

}  // namespace

TEST_CASE("plans are byte-equal however many threads make them") {
  std::map<std::string, std::size_t> placements;  // by selector
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    ManyGroups many(seed);
    World& w = many.world;
    const auto policies = builtin_policies();
    Planner two(policies, {}, on_threads(2)), four(policies, {}, on_threads(4));
    for (std::int64_t round = 0; round < 4; ++round) {
      many.arrive();
      w.group();
      for (const auto& [name, settings] : w.groups()) {
        if (w.state.find<ResourceGroup>(settings.name) == nullptr) w.changes.insert(settings);
      }
      const auto changes = coalesce(w.changes.take());
      const StateVersion version{++w.version};
      for (Planner* planner : {&w.planner, &two, &four}) planner->feed(version, changes);
      const Timestamp now = at_second(kNow + round * 100);
      const Plan plan = w.planner.plan(now, seed);
      const std::string expected = dump(plan);
      CHECK(dump(two.plan(now, seed)) == expected);
      CHECK(dump(four.plan(now, seed)) == expected);
      if (round == 0) CHECK(!plan.placements.empty());
      for (const Placement& placement : plan.placements) {
        const Session& session = *w.state.find<Session>(placement.session);
        ++placements[w.state.find<ResourceGroup>(session.resource_group)->selector];
      }
      w.apply(plan);
    }
    CHECK(two.mirror().dump() == w.planner.mirror().dump());
    CHECK(four.mirror().dump() == w.planner.mirror().dump());
  }
  for (const char* selector : {"concentrated", "dispersed", "roundrobin", "fgd"}) {
    CAPTURE(std::string(selector));
    CHECK(placements[selector] > 30);
  }
}

TEST_CASE("the limit of placements counts per resource group") {
  PlanLimits limits;
  limits.sessions_max = 2;
  World w(builtin_policies(), limits);
  for (const std::string name : {"default", "other"}) {
    w.group(name);
    w.agent("agent-" + name, {{"cpu", "8"}}, {}, name);
    for (int i = 0; i < 3; ++i) {
      Session row = w.draft();
      row.resource_group = ResourceGroupName(name);
      w.add(std::move(row), {{{{"cpu", "1"}}}});
    }
  }
  const Plan plan = w.plan();
  std::map<std::string, int> by_group;
  for (const Placement& placement : plan.placements) {
    ++by_group[w.state.find<Session>(placement.session)->resource_group.str()];
  }
  CHECK(by_group == std::map<std::string, int>{{"default", 2}, {"other", 2}});
}

// Whom gangs end that are kept together, against trying every domain.

#include "site.hpp"
#include "yard.hpp"

using namespace bai;
using namespace bai::test;

namespace {

struct Counts {
  std::size_t preempted = 0, several = 0, took_back = 0, placed = 0, waited = 0;
};

void compare_pass(Yard& yard, Counts& counts) {
  std::vector<Yard::Gang> gangs;
  for (std::int64_t i = yard.draw(1, 3); i > 0; --i) gangs.push_back(yard.gang());
  for (const auto& gang : gangs) {
    yard.world.changes.insert(gang.session);
    for (const Kernel& kernel : gang.kernels) yard.world.changes.insert(kernel);
  }
  yard.tell_usage(yard.world, yard.rows);
  const Plan plan = yard.world.plan(yard.now);
  CHECK(plan.errors.empty());
  Rows then = yard.rows;
  for (std::size_t i = 0; i < gangs.size(); ++i) {
    CAPTURE(i);
    const auto placement =
        std::ranges::find(plan.placements, gangs[i].session.id, &Placement::session);
    const auto expected = yard.expected(then, gangs[i]);
    REQUIRE((placement == plan.placements.end()) == !expected);
    if (!expected) {
      ++counts.waited;
      continue;
    }
    const Found found = Yard::found_of(*placement);
    REQUIRE(found.victims == expected->victims);
    if (found.victims.empty()) {
      ++counts.placed;
    } else {
      CHECK(found.agents == expected->agents);
      ++counts.preempted;
      counts.several += found.victims.size() > 1 ? 1 : 0;
      counts.took_back += yard.takes_back(then, gangs[i]) ? 1 : 0;
    }
    Yard::apply(then, gangs[i], found);
  }
  for (const auto& gang : gangs) {  // the plan is not followed
    for (const Kernel& kernel : gang.kernels) yard.world.changes.erase<Kernel>(kernel.id);
    yard.world.changes.erase<Session>(gang.session.id);
  }
}

}  // namespace

TEST_CASE("whom a gang ends within a domain is whom trying all domains finds") {
  Counts counts;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    Yard yard(seed);
    for (int step = 0; step < 8; ++step) {
      CAPTURE(step);
      yard.step();
      compare_pass(yard, counts);
    }
  }
  CHECK(counts.preempted > 40);
  CHECK(counts.several > 20);
  CHECK(counts.placed > 20);
  CHECK(counts.waited > 40);
}

TEST_CASE("whom a gang ends within a domain to take back quota is whom trying all domains finds") {
  Counts counts;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    Yard yard(seed, true);
    for (int step = 0; step < 8; ++step) {
      CAPTURE(step);
      yard.step();
      compare_pass(yard, counts);
    }
  }
  CHECK(counts.took_back > 40);
}

TEST_CASE("of many racks where few have to go those with the most room are tried") {
  Site s(R"({"order": "fewest-sessions"})");
  s.w.group().policy_options.set("topology", Json(Json::Array{Json("rack")}));
  Ids fewest;
  for (int i = 0; i < 80; ++i) {  // the first victims in the order are elsewhere
    const std::string name = std::to_string(100 + i);
    for (const char* side : {"a", "b"}) {
      s.w.agent(name + side, {{"cpu", "4"}});
      s.w.changes.update<Agent>(AgentId(name + side),
                                [&](Agent& a) { a.labels.set("rack", name); });
      const bool is_free = i == 77 && side[0] == 'b';
      if (!is_free) {
        const auto id = s.running(2000 + i, name + side, "4");
        if (i == 77) fewest.push_back(id);
      }
    }
  }
  const auto id =
      s.wants({"4", "4"}, 5, [](Session& row) { row.resource_opts.set("topology", "rack"); });
  CHECK(victims(s.w.plan(), id) == fewest);
}

TEST_CASE("of many racks where quota is taken back those whose sessions go first are tried") {
  Site s;
  s.w.group().policy_options.set("topology", Json(Json::Array{Json("rack")}));
  for (const std::uint64_t project : {1U, 2U}) {
    Project row;
    row.id = numbered<ProjectId>(project);
    row.name = "p" + std::to_string(project);
    row.cohort = "c";
    row.total_resource_slots = slots({{"cpu", project == 1 ? "8" : "632"}});
    s.w.changes.insert(row);
  }
  s.w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(2)), {{"cpu", "640"}});
  Ids oldest;
  for (int i = 0; i < 80; ++i) {
    const std::string name = std::to_string(100 + i);
    for (const char* side : {"a", "b"}) {
      s.w.agent(name + side, {{"cpu", "4"}});
      s.w.changes.update<Agent>(AgentId(name + side),
                                [&](Agent& a) { a.labels.set("rack", name); });
      // The two that come first are in different racks: one of them may stay.
      const bool is_first = side[0] == 'a' && (i == 60 || i == 77);
      const auto id = s.running(is_first ? 1000 + i : 2000 + i, name + side, "4", [](Session& row) {
        row.project = numbered<ProjectId>(2);
        row.job_priority = 9;
      });
      if (i == 60) oldest.push_back(id);
    }
  }
  const auto id = s.wants({"4", "4"}, 5, [](Session& row) {
    row.project = numbered<ProjectId>(1);
    row.resource_opts.set("topology", "rack");
  });
  CHECK(victims(s.w.plan(), id) == oldest);
}

// Quota that projects of a cohort lend each other.
#include "world.hpp"

namespace bai::test {

namespace {

// Projects 1 and 2 have 4 cpu each, on an agent that has more than enough.
struct Lenders {
  World w;

  Lenders() {
    w.agent("a", {{"cpu", "64"}, {"mem", "64g"}});
    project(1, {{"cpu", "4"}});
    project(2, {{"cpu", "4"}});
  }
  void project(std::uint64_t number, const Texts& own, const Texts& limit = {},
               const std::string& cohort = "c") {
    Project row;
    row.id = numbered<ProjectId>(number);
    row.name = "p" + std::to_string(number);
    row.total_resource_slots = slots(own);
    row.cohort = cohort;
    row.borrowing_limit = slots(limit);
    w.changes.insert(std::move(row));
  }
  void used(std::uint64_t number, const std::string& cpu) {
    w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(number)), {{"cpu", cpu}});
  }
  SessionId ask(std::uint64_t project, const std::string& cpu, bool is_preemptible = true) {
    Session row = w.draft();
    row.project = numbered<ProjectId>(project);
    row.is_preemptible = is_preemptible;
    return w.add(std::move(row), {{{{"cpu", cpu}, {"mem", "1g"}}}});
  }
};

}  // namespace

TEST_CASE("what is idle is borrowed, as far as all of them together have it") {
  Lenders l;
  l.used(2, "1");
  const auto first = l.ask(1, "5"), second = l.ask(1, "2"), third = l.ask(1, "1");
  const Plan plan = l.w.plan();
  CHECK(placed(plan) == std::vector{first, second});
  CHECK(l.w.reason(third).code == "quota");
  CHECK(l.w.reason(third).message.find("cpu: used 8 + requested 1 > limit 8 (over by 1)") !=
        std::string::npos);
}

TEST_CASE("a session that is not preemptible borrows nothing") {
  Lenders l;
  const auto own = l.ask(1, "4", false), more = l.ask(1, "1", false);
  CHECK(placed(l.w.plan()) == std::vector{own});
  CHECK(l.w.reason(more).code == "quota");
  CHECK(l.w.reason(more).message.find("not preemptible may not borrow") != std::string::npos);
}

TEST_CASE("a borrowing limit bounds what is borrowed, not what is its own") {
  Lenders l;
  l.project(3, {{"cpu", "2"}}, {{"cpu", "1"}});
  const auto most = l.ask(3, "3"), more = l.ask(3, "1");
  CHECK(placed(l.w.plan()) == std::vector{most});
  CHECK(l.w.reason(more).message.find("may borrow no more from cohort c") != std::string::npos);
}

TEST_CASE("a slot that one of them does not limit is unlimited for all") {
  Lenders l;
  l.project(3, {{"mem", "2g"}});
  const auto id = l.ask(1, "30");
  CHECK(placed(l.w.plan()) == std::vector{id});
}

TEST_CASE("other cohorts, and projects in none, have nothing to do with it") {
  Lenders l;
  l.project(3, {{"cpu", "4"}}, {}, "other");
  l.project(4, {{"cpu", "4"}}, {}, "");
  l.used(2, "4");
  const auto third = l.ask(3, "5"), fourth = l.ask(4, "5"), first = l.ask(1, "4");
  CHECK(placed(l.w.plan()) == std::vector{first});
  CHECK(l.w.reason(third).code == "quota");
  CHECK(l.w.reason(fourth).code == "quota");
}

TEST_CASE("what is lent is not there for its owner until it is given back") {
  Lenders l;
  l.used(2, "6");
  const auto id = l.ask(1, "4");
  CHECK(l.w.plan().placements.empty());
  CHECK(l.w.reason(id).code == "reclaim");
  CHECK(l.w.reason(id).message.find("lent to others of cohort c") != std::string::npos);
  l.w.changes.update<Usage>(usage_key(ScopeKind::Project, to_string(numbered<ProjectId>(2))),
                            [](Usage& u) { u.slots = slots({{"cpu", "4"}}); });
  CHECK(placed(l.w.plan()) == std::vector{id});
}

TEST_CASE("each slot by itself: one is borrowed, the other one is lent") {
  Lenders l;
  for (std::uint64_t number : {1U, 2U}) {
    l.w.changes.update<Project>(numbered<ProjectId>(number), [](Project& p) {
      p.total_resource_slots = slots({{"cpu", "4"}, {"mem", "4g"}});
    });
  }
  l.w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(1)), {{"mem", "4g"}});
  l.w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(2)), {{"cpu", "6"}, {"mem", "3g"}});
  const auto id = l.ask(1, "3");
  CHECK(l.w.plan().placements.empty());
  CHECK(l.w.reason(id).code == "reclaim");
  CHECK(contains(l.w.reason(id).message, "cpu: used 6 + requested 3 > limit 8 (over by 1)"));
  const auto other = l.ask(1, "1");
  l.w.changes.update<Usage>(usage_key(ScopeKind::Project, to_string(numbered<ProjectId>(2))),
                            [](Usage& u) { u.slots = slots({{"cpu", "6"}, {"mem", "4g"}}); });
  CHECK(l.w.plan().placements.empty());
  CHECK(l.w.reason(other).code == "quota");
  CHECK(contains(l.w.reason(other).message, "mem: used 8g + requested 1g > limit 8g"));
  CHECK_FALSE(contains(l.w.reason(other).message, "cpu"));
}

TEST_CASE("a project that leaves its cohort takes its slots along") {
  Lenders l;
  const auto id = l.ask(1, "5");
  l.w.group();
  l.w.feed();
  l.w.changes.update<Project>(numbered<ProjectId>(2), [](Project& p) { p.cohort.clear(); });
  CHECK(l.w.plan().placements.empty());
  CHECK(l.w.reason(id).code == "quota");
  l.w.changes.update<Project>(numbered<ProjectId>(2), [](Project& p) { p.cohort = "c"; });
  CHECK(placed(l.w.plan()) == std::vector{id});
}

}  // namespace bai::test

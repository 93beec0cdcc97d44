// Preemption beside the rules that bind placements: topology, promises, reservations, groups.
#include <array>
#include <set>

#include "sched/preemption.hpp"
#include "site.hpp"
#include "timeline.hpp"

namespace bai::test {

namespace {

using Agents = std::vector<std::string>;

void label(World& world, const std::string& agent, const std::string& rack,
           const std::string& domain = "") {
  Json labels = Json::object({{"rack", rack}});
  if (!domain.empty()) labels.set("nvlink-domain", domain);
  world.changes.update<Agent>(AgentId(agent), [&](Agent& a) { a.labels = labels; });
}

// Two racks with two agents of four cores each.
struct Racks : Site {
  explicit Racks(const std::string& rules = R"({"order": "oldest"})") : Site(rules) {
    w.group().policy_options.set("topology",
                                 Json(Json::Array{Json("nvlink-domain"), Json("rack")}));
    for (const char* id : {"a", "b", "c", "d"}) w.agent(id, {{"cpu", "4"}});
    for (const char* id : {"a", "b"}) label(w, id, "r1", id[0] == 'a' ? "n1" : "n2");
    for (const char* id : {"c", "d"}) label(w, id, "r2", id[0] == 'c' ? "n3" : "n4");
  }
  static void in_rack(Session& row) { row.resource_opts.set("topology", "rack"); }
};

void limit(Session& row, std::int64_t for_seconds) {
  row.type = SessionType::Batch;
  row.batch_timeout = seconds(for_seconds);
}

void lend(World& world, std::uint64_t project, const std::string& cpu) {
  Project row;
  row.id = numbered<ProjectId>(project);
  row.name = "p" + std::to_string(project);
  row.total_resource_slots = slots({{"cpu", cpu}});
  row.cohort = "c";
  world.changes.insert(std::move(row));
}

}  // namespace

TEST_CASE("a gang that demands one rack preempts within one rack") {
  Racks s;
  s.running(2020, "a", "4", [](Session& row) { row.is_preemptible = false; });
  s.running(2021, "b", "4");
  const auto in_c = s.running(2022, "c", "4");
  SUBCASE("where one victim is enough, although another one is older") {
    const auto id = s.wants({"4", "4"}, 5, Racks::in_rack);
    const Plan plan = s.w.plan();
    REQUIRE(victims(plan, id) == Victims{in_c});
    CHECK(agents_of(plan.placements[0]) == Agents{"d", "c"});
  }
  SUBCASE("or waits") {
    s.running(2023, "d", "4", [](Session& row) { row.is_preemptible = false; });
    const auto id = s.wants({"4", "4"}, 5, Racks::in_rack);
    CHECK(s.w.plan().placements.empty());
    CHECK(s.w.reason(id).code == "topology");
  }
  SUBCASE("for what leaves a rack anyway, rather than end somebody in the other one") {
    s.running(2023, "d", "4", [](Session& row) { row.status = SessionStatus::Terminating; });
    s.w.changes.update<Session>(in_c, [](Session& r) { r.status = SessionStatus::Terminating; });
    s.w.agent("e", {{"cpu", "4"}});
    s.w.agent("f", {{"cpu", "4"}});
    for (const char* id : {"e", "f"}) label(s.w, id, "r0");
    s.running(2010, "e", "4");
    s.wants({"4", "4"}, 5, Racks::in_rack);
    CHECK(s.w.plan().placements.empty());
  }
}

TEST_CASE("a gang that demands one rack preempts where the least has to go") {
  Racks s(R"({"order": "fewest-sessions"})");
  s.running(2020, "a", "2");
  s.running(2020, "a", "2");
  s.running(2020, "b", "4");
  const auto one = s.running(2024, "c", "4"), other = s.running(2025, "d", "4");
  const auto id = s.wants({"4", "4"}, 5, Racks::in_rack);
  CHECK(victims(s.w.plan(), id) == Victims{one, other});
}

TEST_CASE("a gang that demands nothing preempts in the smallest domain that does") {
  Racks s;
  SUBCASE("a rack") {
    s.running(2020, "a", "4");
    s.running(2021, "b", "4", [](Session& row) { row.is_preemptible = false; });
    const auto c = s.running(2022, "c", "4"), d = s.running(2023, "d", "4");
    const auto id = s.wants({"4", "4"});
    CHECK(victims(s.w.plan(), id) == Victims{c, d});
  }
  SUBCASE("all agents where no rack does") {
    const auto a = s.running(2020, "a", "4"), c = s.running(2022, "c", "4");
    for (const char* id : {"b", "d"}) {
      s.running(2021, id, "4", [](Session& row) { row.is_preemptible = false; });
    }
    const auto id = s.wants({"4", "4"});
    CHECK(victims(s.w.plan(), id) == Victims{a, c});
  }
}

TEST_CASE("what is lent is taken back within the level that is demanded") {
  Racks s;
  s.w.group().policy_options.set("preemption", Json::object({{"enabled", false}}));
  for (std::uint64_t project : {1U, 2U}) lend(s.w, project, "8");
  std::vector<SessionId> borrowers;
  for (const char* agent : {"a", "b", "c", "d"}) {
    borrowers.push_back(s.running(2020, agent, "4", [&](Session& row) {
      row.project = numbered<ProjectId>(2);
      row.is_preemptible = agent[0] != 'a';
    }));
  }
  s.w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(2)), {{"cpu", "16"}});
  SUBCASE("a rack") {
    const auto id = s.wants({"4", "4"}, 0, Racks::in_rack);
    CHECK(victims(s.w.plan(), id) == Victims{borrowers[2], borrowers[3]});
  }
  SUBCASE("one that is none of the resource group") {
    s.wants({"4", "4"}, 0, [](Session& row) { row.resource_opts.set("topology", "row"); });
    CHECK(s.w.plan().placements.empty());
  }
}

namespace {

// Ten cores on a0 of which eight are wanted from the hundredth second on; six on a1 by the victim.
struct Promised : Site {
  SessionId victim;
  explicit Promised(bool by_reservation) {
    w.group().queue_discipline =
        by_reservation ? QueueDiscipline::SkipAhead : QueueDiscipline::Easy;
    w.agent("a0", {{"cpu", "10"}});
    w.agent("a1", {{"cpu", "6"}});
    running(kNow, "a0", "4", [](Session& row) {
      limit(row, 100);
      row.is_preemptible = false;
    });
    victim = running(2020, "a1", "6");
    if (!by_reservation) {
      wants({"8"}, 0, [](Session& row) { limit(row, 1000); });
      return;
    }
    w.reserve("course", {{"a0", "8"}}, kNow + 100, kNow + 1100);
  }
};

}  // namespace

TEST_CASE("who may not have promised room preempts where nothing is promised") {
  for (const bool by_reservation : {false, true}) {
    CAPTURE(by_reservation);
    Promised s(by_reservation);
    const auto id = s.wants({"2", "2"});
    const Plan plan = s.w.plan();
    REQUIRE(victims(plan, id) == Victims{s.victim});
    CHECK(agents_of(plan.placements[0]) == Agents{"a0", "a1"});
  }
}

TEST_CASE("no kernel of a gang that preempts takes what another one leaves for a promise") {
  for (const bool by_reservation : {false, true}) {
    CAPTURE(by_reservation);
    Promised s(by_reservation);
    const auto id = s.wants({"2", "2", "4"});
    const Plan plan = s.w.plan();
    REQUIRE(victims(plan, id) == Victims{s.victim});
    CHECK(agents_of(plan.placements[0]) == Agents{"a0", "a1", "a1"});
  }
}

TEST_CASE("kernels of a gang that preempts are strictly apart where its group is") {
  Site s;
  SessionGroup group;
  group.id = "g1";
  group.direction = PlacementDirection::Spread;
  group.enforcement = PlacementEnforcement::Strict;
  s.w.changes.insert(group);
  s.w.agent("a", {{"cpu", "8"}});
  Victims all = {s.running(2020, "a", "8")};
  const auto id = s.wants({"2", "2"}, 5, [](Session& row) { row.session_group = "g1"; });
  CHECK(s.w.plan().placements.empty());
  s.w.agent("b", {{"cpu", "8"}});
  all.push_back(s.running(2021, "b", "8"));
  const Plan plan = s.w.plan();
  REQUIRE(victims(plan, id) == all);
  CHECK(agents_of(plan.placements[0]) == Agents{"a", "b"});
}

TEST_CASE("a session that ends before a promise begins preempts although a longer one may not") {
  Site s;
  s.w.group().queue_discipline = QueueDiscipline::Easy;
  s.w.agent("a", {{"cpu", "8"}});
  const auto victim = s.running(kNow, "a", "8", [](Session& row) { limit(row, 100); });
  s.wants({"8"}, 0, [](Session& row) { limit(row, 1000); });
  s.wants({"4"});
  const auto id = s.wants({"4"}, 5, [](Session& row) { limit(row, 50); });
  CHECK(victims(s.w.plan(), id) == Victims{victim});
}

TEST_CASE("conservative: a session's own promise does not keep it from preempting") {
  Site s;
  s.w.group().queue_discipline = QueueDiscipline::Conservative;
  s.w.agent("a", {{"cpu", "4"}});
  s.w.agent("b", {{"cpu", "4"}});
  s.running(kNow, "a", "4", [](Session& row) {
    limit(row, 100);
    row.is_preemptible = false;
  });
  const auto victim = s.running(kNow, "b", "4", [](Session& row) { limit(row, 150); });
  const auto first = s.wants({"4"}, 0);
  const auto second = s.wants({"4"}, 5, [](Session& row) { limit(row, 200); });
  CHECK(victims(s.w.plan(), second) == Victims{victim});
  CHECK(s.w.reason(first).expected_start == at_second(kNow + 100));
}

TEST_CASE("where nobody asks why, those who could preempt are looked at all the same") {
  PlanLimits limits;
  limits.explain = false;
  SUBCASE("behind one that asks for the same and could not") {
    Site s("{}", limits);
    s.w.group().queue_discipline = QueueDiscipline::SkipAhead;
    s.w.agent("a", {{"cpu", "4"}});
    const auto victim = s.running(2020, "a", "4");
    s.wants({"4"}, 0);
    const auto id = s.wants({"4"}, 5);
    CHECK(victims(s.w.plan(), id) == Victims{victim});
  }
  SUBCASE("when a victim has run long enough, whatever they are promised") {
    Site s(R"({"min_runtime_s": 60})", limits);
    s.w.group().queue_discipline = QueueDiscipline::Conservative;
    s.w.agent("a", {{"cpu", "4"}});
    const auto victim = s.running(kNow - 20, "a", "4", [](Session& row) { limit(row, 1000); });
    const auto id = s.wants({"4"}, 5, [](Session& row) { limit(row, 10); });
    CHECK(s.w.plan().placements.empty());
    // Nothing but time has changed.
    CHECK(victims(s.w.planner.plan(at_second(kNow + 40), 7), id) == Victims{victim});
  }
  SUBCASE("and those who have a reservation") {
    World w(builtin_policies(), limits);
    w.group().queue_discipline = QueueDiscipline::SkipAhead;
    w.agent("a", {{"cpu", "4"}});
    w.reserve("course", {{"a", "4"}}, kNow, kNow + 1000);
    w.batch({{{{"cpu", "4"}}}}, 10);
    Session session = w.draft();
    limit(session, 10);
    session.resource_opts.set("reservation", "course");
    const auto id = w.add(std::move(session), {{{{"cpu", "4"}}}});
    CHECK(placed(w.plan()) == std::vector{id});
  }
  SUBCASE("and those who take back what they have lent") {
    Site s("{}", limits);
    s.w.group().policy_options = Json::object();
    s.w.group().queue_discipline = QueueDiscipline::SkipAhead;
    s.w.agent("a", {{"cpu", "8"}});
    for (std::uint64_t project : {1U, 2U}) lend(s.w, project, "4");
    const auto borrower =
        s.running(2020, "a", "8", [](Session& row) { row.project = numbered<ProjectId>(2); });
    s.w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(2)), {{"cpu", "8"}});
    s.wants({"4"}, 0, [](Session& row) { row.project = numbered<ProjectId>(3); });
    const auto id = s.wants({"4"}, 0);
    CHECK(victims(s.w.plan(), id) == Victims{borrower});
  }
}

TEST_CASE("a session in a reservation takes back what its project has lent") {
  Site s;
  s.w.group().policy_options = Json::object();
  s.w.agent("a", {{"cpu", "10"}});
  for (std::uint64_t project : {1U, 2U}) lend(s.w, project, "4");
  const auto theirs = [](Session& row) { row.project = numbered<ProjectId>(2); };
  s.running(2020, "a", "4", [&](Session& row) {
    theirs(row);
    row.is_preemptible = false;
  });
  const auto borrower = s.running(2021, "a", "2", theirs);
  s.w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(2)), {{"cpu", "6"}});
  s.w.reserve("course", {{"a", "4"}}, kNow, kNow + 1000);
  const auto id = s.wants({"4"}, 0, [](Session& session) {
    limit(session, 10);
    session.resource_opts.set("reservation", "course");
  });
  CHECK(victims(s.w.plan(), id) == Victims{borrower});
}

TEST_CASE("while one slot is taken back another one is borrowed") {
  Site s;
  s.w.group().policy_options = Json::object();
  s.w.agent("a", {{"cpu", "64"}, {"mem", "64g"}});
  for (std::uint64_t project : {1U, 2U}) {
    lend(s.w, project, "4");
    s.w.changes.update<Project>(numbered<ProjectId>(project), [](Project& p) {
      p.total_resource_slots = slots({{"cpu", "4"}, {"mem", "4g"}});
    });
  }
  const auto borrower = s.running(2021, {{"a", {{"cpu", "6"}, {"mem", "1g"}}}},
                                  [](Session& row) { row.project = numbered<ProjectId>(2); });
  s.w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(2)), {{"cpu", "6"}, {"mem", "1g"}});
  Session session = s.w.draft();
  const auto id = s.w.add(std::move(session), {{{{"cpu", "3"}, {"mem", "6g"}}}});
  CHECK(victims(s.w.plan(), id) == Victims{borrower});
}

TEST_CASE("who was preempted takes back from borrowers only") {
  for (const bool was_preempted : {true, false}) {
    CAPTURE(was_preempted);
    Site s;
    s.w.agent("a", {{"cpu", "2"}});
    s.w.agent("b", {{"cpu", "1"}});
    s.w.agent("c", {{"cpu", "1"}});
    lend(s.w, 1, "4");
    lend(s.w, 2, "1");
    const auto own = s.running(2020, "a", "2");
    s.running(2020, {{"b", {{"cpu", "1"}}}, {"c", {{"cpu", "1"}}}},
              [](Session& row) { row.project = numbered<ProjectId>(2); });
    for (std::uint64_t project : {1U, 2U}) {
      s.w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(project)), {{"cpu", "2"}});
    }
    const auto id = s.wants({"2"}, 5, [&](Session& row) {
      if (was_preempted) row.status_data.set("preempted_by", "somebody");
    });
    const Plan plan = s.w.plan();
    if (was_preempted) {
      CHECK(plan.placements.empty());
    } else {
      REQUIRE(victims(plan, id) == Victims{own});
    }
  }
}

TEST_CASE("what victims hold of a slot that their agent has lost comes free for nobody") {
  World w;
  w.group();
  w.agent("a", {{"cpu", "8"}});
  w.agent("b", {{"cpu", "8"}, {"mem", "8g"}});
  for (const char* agent : {"a", "b"}) {
    for (const SessionStatus status : {SessionStatus::Running, SessionStatus::Terminating}) {
      Session row = w.draft();
      row.status = status;
      Kernel kernel;
      kernel.id = numbered<KernelId>(static_cast<std::uint64_t>(agent[0]) * 100 +
                                     static_cast<std::uint64_t>(status));
      kernel.session = row.id;
      kernel.agent = AgentId(agent);
      kernel.status = KernelStatus::Running;
      kernel.occupied_slots = slots({{"cpu", "4"}, {"mem", "4g"}});
      w.changes.insert(std::move(kernel));
      w.changes.insert(std::move(row));
    }
  }
  Session row = w.draft();
  row.job_priority = 5;
  const auto id = w.add(std::move(row), {{{{"cpu", "8"}, {"mem", "8g"}}}});
  sched::Mirror mirror;
  mirror.feed({1}, coalesce(w.changes.take()));
  sched::Group& group = mirror.group(mirror.groups().at(ResourceGroupName("default")));
  const AgentIndex lost = *group.agents.find(AgentId("a"));
  const SlotIndex memory = *mirror.slots().find("mem");
  const PendingSession& session = mirror.waiting(*mirror.find_waiting(id)).session;
  const Requirement& requirement = mirror.request(session.request).requirements[0];
  for (const auto order :
       {sched::PreemptionRules::Order::Oldest, sched::PreemptionRules::Order::FewestSessions}) {
    sched::PreemptionRules rules;
    rules.enabled = true;
    rules.order = order;
    sched::Ledger ledger(mirror);
    const sched::ViewSource source{mirror, group, ledger, at_second(kNow), 7};
    sched::Preemption preemption(source, group, ledger, rules);
    Timestamp due;
    CHECK(preemption.consider(session, {}, nullptr, true, due));
    preemption.release_leaving();
    preemption.release_eligible_on(std::array{lost}, {});
    CHECK_FALSE(group.agents.has_slot(lost, memory));
    CHECK(group.agents.free(lost, memory) == 0);
    ledger.rollback(0);
    preemption.release_leaving();
    const auto choice = preemption.choose(requirement, {}, {});
    REQUIRE(choice.has_value());
    CHECK(group.agents.id(choice->agent).str() == "b");
    ledger.rollback(0);
  }
}

}  // namespace bai::test

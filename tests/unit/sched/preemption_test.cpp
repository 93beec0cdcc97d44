// Who is ended for whom: conformance group F, and what must hold whatever the load.
#include <random>
#include <set>

#include "site.hpp"

namespace bai::test {

TEST_CASE("F1 the oldest victim goes first") {
  Site s;
  s.w.agent("a", {{"cpu", "8"}});
  const auto v1 = s.running(2020, "a", "2");
  s.running(2024, "a", "2");
  s.running(2025, "a", "4", [](Session& row) { row.is_preemptible = false; });
  const auto id = s.wants({"2"});
  CHECK(victims(s.w.plan(), id) == Victims{v1});
}

TEST_CASE("F2 the newest victim goes first") {
  Site s(R"({"order": "newest"})");
  s.w.agent("a", {{"cpu", "4"}});
  s.running(2020, "a", "2");
  const auto v2 = s.running(2024, "a", "2");
  const auto id = s.wants({"2"});
  CHECK(victims(s.w.plan(), id) == Victims{v2});
}

TEST_CASE("F4 a victim's job priority is strictly lower") {
  Site s;
  s.w.agent("a", {{"cpu", "8"}});
  const auto victim = s.running(2020, "a", "8", [](Session& row) { row.job_priority = 5; });
  const auto same = s.wants({"2"});
  CHECK(s.w.plan().placements.empty());
  CHECK(s.w.reason(same).code == "capacity");
  s.w.changes.update<Session>(same, [](Session& row) { row.job_priority = 6; });
  CHECK(victims(s.w.plan(), same) == Victims{victim});
}

TEST_CASE("F5 nobody is ended when that is not enough") {
  Site s;
  s.w.agent("a", {{"cpu", "8"}}, {{"cpu", "7"}});
  s.running(2020, "a", "1");
  const auto id = s.wants({"4"});
  CHECK(s.w.plan().placements.empty());
  CHECK(s.w.reason(id).code == "capacity");
}

TEST_CASE("F7 on the agent where the fewest have to go") {
  Site s(R"({"order": "fewest-sessions"})");
  s.w.agent("agent-few", {{"cpu", "8"}}, {{"cpu", "6"}});
  s.w.agent("agent-many", {{"cpu", "8"}}, {{"cpu", "6"}});
  s.running(2020, "agent-many", "1");
  s.running(2020, "agent-many", "1");
  const auto one = s.running(2024, "agent-few", "2");
  const auto id = s.wants({"2"});
  const Plan plan = s.w.plan();
  CHECK(victims(plan, id) == Victims{one});
  CHECK(agents_of(plan.placements[0]) == std::vector<std::string>{"agent-few"});
}

TEST_CASE("F8 what one victim frees is for all kernels of the session") {
  Site s;
  s.w.agent("a", {{"cpu", "8"}});
  const auto victim = s.running(2020, "a", "8");
  const auto id = s.wants({"2", "2"});
  CHECK(victims(s.w.plan(), id) == Victims{victim});
}

TEST_CASE("F10 also on other agents") {
  Site s;
  s.w.agent("a", {{"cpu", "8"}}, {{"cpu", "6"}});
  s.w.agent("b", {{"cpu", "8"}}, {{"cpu", "4"}});
  const auto victim = s.running(2020, {{"a", {{"cpu", "2"}}}, {"b", {{"cpu", "2"}}}});
  const auto id = s.wants({"4", "2"});
  const Plan plan = s.w.plan();
  CHECK(victims(plan, id) == Victims{victim});
  CHECK(agents_of(plan.placements[0]) == std::vector<std::string>{"b", "a"});
}

TEST_CASE("F11 private sessions and those that are not preemptible stay") {
  Site s;
  s.w.agent("a", {{"cpu", "4"}});
  s.running(2020, "a", "2", [](Session& row) { row.is_preemptible = false; });
  s.running(2020, "a", "2", [](Session& row) { row.type = SessionType::System; });
  const auto id = s.wants({"2"});
  CHECK(s.w.plan().placements.empty());
  CHECK(s.w.reason(id).code == "capacity");
}

TEST_CASE("the scope of victims") {
  const auto other_user = [](Session& row) { row.user = numbered<UserId>(2); };
  const auto other_project = [](Session& row) {
    row.user = numbered<UserId>(2);
    row.project = numbered<ProjectId>(2);
  };
  const auto other_domain = [](Session& row) {
    row.user = numbered<UserId>(2);
    row.project = numbered<ProjectId>(2);
    row.domain = DomainName("other");
  };
  const auto helped = [](const char* scope, const std::function<void(Session&)>& of) {
    Site s(std::string(R"({"victim_scope": ")") + scope + "\"}");
    s.w.agent("a", {{"cpu", "2"}});
    s.running(2020, "a", "2", of);
    s.wants({"2"});
    return s.w.plan().placements.size() == 1;
  };
  CHECK(helped("user", {}));
  CHECK_FALSE(helped("user", other_user));
  CHECK(helped("project", other_user));
  CHECK_FALSE(helped("project", other_project));
  CHECK(helped("domain", other_project));
  CHECK_FALSE(helped("domain", other_domain));
  CHECK(helped("resource-group", other_domain));
}

TEST_CASE("who has not run long enough stays, and the planner comes back in time") {
  Site s(R"({"min_runtime_s": 60})");
  s.w.agent("a", {{"cpu", "2"}});
  const auto victim = s.running(kNow - 20, "a", "2");
  const auto id = s.wants({"2"});
  const Plan early = s.w.plan();
  CHECK(early.placements.empty());
  CHECK(early.wake_at == at_second(kNow + 40));
  CHECK(victims(s.w.plan(kNow + 40), id) == Victims{victim});
}

TEST_CASE("only those are ended without whom there is no room") {
  Site s;
  s.w.agent("a", {{"cpu", "8"}});
  s.running(2020, "a", "1");
  s.running(2021, "a", "1");
  const auto large = s.running(2022, "a", "6");
  const auto id = s.wants({"6"});
  CHECK(victims(s.w.plan(), id) == Victims{large});
}

TEST_CASE("the smallest go first where that is the order") {
  Site s(R"({"order": "smallest-resources"})");
  s.w.agent("a", {{"cpu", "8"}});
  s.running(2020, "a", "5");
  const auto small = s.running(2024, "a", "3");
  const auto id = s.wants({"2"});
  CHECK(victims(s.w.plan(), id) == Victims{small});
}

TEST_CASE("of all agents it is the one on which the first to go comes first") {
  std::size_t chosen = 0;
  for (const char* order : {"oldest", "newest"}) {
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
      CAPTURE(order);
      CAPTURE(seed);
      // Victims in their order; empty: there is no room. `only`: the agent that it may go to.
      const auto ended_on = [&](const std::string& only) {
        std::mt19937_64 random(seed);
        const auto pick = [&](std::uint64_t n) { return static_cast<std::int64_t>(random() % n); };
        Site s(std::string(R"({"order": ")") + order + "\"}");
        const auto agents = 2 + pick(5);
        const auto name = [&](std::int64_t a) { return "a" + std::to_string(a % agents); };
        for (std::int64_t a = 0; a < agents; ++a) s.w.agent(name(a), {{"cpu", "8"}});
        std::map<SessionId, std::tuple<std::int64_t, std::int64_t, SessionId>> rank;
        for (std::int64_t i = 0; i < 4 * agents; ++i) {
          const std::int64_t priority = pick(3), since = 2000 + pick(20);
          std::vector<Site::Run> kernels{{name(i), {{"cpu", std::to_string(1 + pick(2))}}}};
          if (pick(4) == 0) kernels.push_back({name(i + pick(3)), {{"cpu", "0.1"}}});
          const auto id = s.running(since, kernels, [&](Session& r) { r.job_priority = priority; });
          rank[id] = {priority, *order == 'n' ? -since : since, id};
        }
        s.wants({std::to_string(3 + pick(5))}, 1 + pick(4), [&](Session& row) {
          if (only.empty()) return;
          row.designated_agents = {only};
          row.resource_opts.set("agent_selection_policy", "strict");
        });
        std::pair<std::vector<decltype(rank)::mapped_type>, std::string> ended;
        const Plan plan = s.w.plan();
        if (plan.placements.empty()) return std::pair(ended, agents);
        ended.second = agents_of(plan.placements[0]).front();
        for (const SessionId& id : plan.placements[0].victims) ended.first.push_back(rank[id]);
        std::ranges::sort(ended.first);
        return std::pair(ended, agents);
      };
      const auto [anywhere, agents] = ended_on("");
      if (!anywhere.second.empty() && anywhere.first.empty()) continue;  // there was room
      auto best = decltype(anywhere)();
      for (std::int64_t a = 0; a < agents; ++a) {
        const auto here = ended_on("a" + std::to_string(a)).first;
        if (!here.first.empty() && (best.first.empty() || here < best)) best = here;
      }
      CHECK(anywhere == best);
      chosen += best.first.empty() ? 0 : 1;
    }
  }
  CHECK(chosen > 100);
}

TEST_CASE("a session that was preempted itself preempts nobody") {
  Site s;
  s.w.agent("a", {{"cpu", "2"}});
  s.running(2020, "a", "2");
  s.wants({"2"}, 5, [](Session& row) { row.status_data.set("preempted_by", "somebody"); });
  CHECK(s.w.plan().placements.empty());
}

TEST_CASE("room that comes free anyway is waited for") {
  Site s;
  s.w.agent("a", {{"cpu", "4"}});
  s.running(2020, "a", "2");
  s.running(2020, "a", "2", [](Session& row) { row.status = SessionStatus::Terminating; });
  s.wants({"2"});
  CHECK(s.w.plan().placements.empty());
}

TEST_CASE("a victim is nobody else's, and what it leaves over is not taken for room") {
  Site s;
  s.w.group().queue_discipline = QueueDiscipline::SkipAhead;
  s.w.agent("a", {{"cpu", "8"}});
  const auto victim = s.running(2020, "a", "8");
  const auto first = s.wants({"4"}), second = s.wants({"4"}, 6), third = s.wants({"1"}, 0);
  const Plan plan = s.w.plan();
  CHECK(victims(plan, first) == Victims{victim});
  CHECK(s.w.reason(second).code == "capacity");
  CHECK(s.w.reason(third).code == "capacity");
}

TEST_CASE("a whole device comes free only with all who have a part of it") {
  Site s;
  s.w.agent("a", {{"cpu", "8"}, {"cuda.shares", "1"}});
  std::vector<SessionId> parts;
  for (int i = 0; i < 2; ++i) {
    parts.push_back(s.running(2020 + i, {{"a", {{"cpu", "1"}, {"cuda.shares", "0.5"}}}}));
  }
  std::vector<KernelId> kernels;
  s.w.state.table<Kernel>().for_each([&](const Kernel& kernel) {
    kernels.push_back(kernel.id);
    return true;
  });
  for (const KernelId& kernel : kernels) {
    s.w.changes.update<Kernel>(
        kernel, [](Kernel& k) { k.devices = *Json::parse(R"({"cuda.shares": {"0": "0.5"}})"); });
  }
  Session session = s.w.draft();
  session.job_priority = 5;
  const auto id = s.w.add(std::move(session), {{{{"cpu", "1"}, {"cuda.shares", "1"}}}});
  const Plan plan = s.w.plan();
  CHECK(victims(plan, id) == parts);
  REQUIRE(plan.placements[0].devices.size() == 1);
  CHECK(plan.placements[0].devices[0].device == 0);
}

TEST_CASE("options of preemption that cannot be") {
  const auto registry = builtin_policies();
  const auto error = [&](const std::string& rules) {
    ResourceGroup group;
    group.name = ResourceGroupName("g");
    group.policy_options = *Json::parse(R"({"preemption": )" + rules + "}");
    const Status status = registry->check(group);
    return status ? std::string() : status.error().message;
  };
  CHECK(error(R"({"enabled": true, "order": "newest", "mode": "reschedule"})") == "");
  for (const char* wrong :
       {R"({"order": "best"})", R"({"mode": "pause"})", R"({"enabled": 1})",
        R"({"min_runtime_s": -1})", R"({"victim_scope": "planet"})", R"({"grace": 3})", "3"}) {
    CHECK_MESSAGE(error(wrong).find("policy_options.preemption: ") != std::string::npos, wrong);
  }
}

TEST_CASE("what has been lent is taken back from those who have more than their own") {
  Site s;
  s.w.group().policy_options = Json::object();  // preemption as such is off
  s.w.agent("a", {{"cpu", "64"}});
  for (std::uint64_t number : {1U, 2U, 3U}) {
    Project row;
    row.id = numbered<ProjectId>(number);
    row.name = "p" + std::to_string(number);
    row.total_resource_slots = slots({{"cpu", "4"}});
    row.cohort = "c";
    s.w.changes.insert(std::move(row));
  }
  const auto of = [](std::uint64_t project) {
    return [=](Session& row) { row.project = numbered<ProjectId>(project); };
  };
  s.running(2019, "a", "4", of(3));  // its own
  s.running(2020, "a", "2", [&](Session& row) {
    of(2)(row);
    row.is_preemptible = false;
  });
  const auto lent = s.running(2021, "a", "3", of(2));
  const auto more = s.running(2022, "a", "3", of(2));
  s.w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(2)), {{"cpu", "8"}});
  s.w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(3)), {{"cpu", "4"}});
  const auto id = s.wants({"4"}, 0);
  CHECK(victims(s.w.plan(), id) == Victims{lent, more});
}

TEST_CASE("preemption makes room for its preemptor, ends nobody in vain, and nobody twice") {
  std::size_t ended = 0, gangs = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const auto pick = [&](std::uint64_t below) { return random() % below; };
    const char* orders[] = {"oldest", "newest", "fewest-sessions", "smallest-resources"};
    Site s(std::string(R"({"order": ")") + orders[pick(4)] + "\"}");
    s.w.group().queue_discipline = QueueDiscipline::SkipAhead;
    std::map<std::string, std::int64_t> free;
    std::map<SessionId, std::pair<std::int64_t, std::map<std::string, std::int64_t>>> held;
    for (int a = 0; a < 4; ++a) {
      const std::string agent = "a" + std::to_string(a);
      s.w.agent(agent, {{"cpu", "8"}});
      free[agent] = 8;
    }
    for (int i = 0; i < 14; ++i) {
      std::vector<Site::Run> kernels;
      std::map<std::string, std::int64_t> amounts;
      for (std::uint64_t k = 0; k <= pick(2); ++k) {
        const std::string agent = "a" + std::to_string(pick(4));
        const std::int64_t cpu = 1 + static_cast<std::int64_t>(pick(4));
        if (free[agent] < cpu) continue;
        free[agent] -= cpu;
        amounts[agent] += cpu;
        kernels.push_back({agent, {{"cpu", std::to_string(cpu)}}});
      }
      if (kernels.empty()) continue;
      const auto priority = static_cast<std::int64_t>(pick(4));
      const auto id = s.running(2000 + static_cast<std::int64_t>(pick(30)), kernels,
                                [&](Session& row) { row.job_priority = priority; });
      held[id] = {priority, amounts};
    }
    std::map<SessionId, std::pair<std::int64_t, std::vector<std::int64_t>>> wanted;
    for (int i = 0; i < 6; ++i) {
      std::vector<std::string> cpus;
      std::vector<std::int64_t> units;
      for (std::uint64_t k = 0; k <= pick(3); ++k) {
        units.push_back(1 + static_cast<std::int64_t>(pick(5)));
        cpus.push_back(std::to_string(units.back()));
      }
      const auto priority = static_cast<std::int64_t>(pick(5));
      wanted[s.wants(cpus, priority)] = {priority, units};
    }
    // What is there once all victims have left must do for all who were placed; and for nobody
    // when one of them stays.
    const Plan plan = s.w.plan();
    const auto room = [&](const std::set<SessionId>& gone) {
      auto left = free;
      for (const SessionId& id : gone) {
        for (const auto& [agent, cpu] : held.at(id).second) left[agent] += cpu;
      }
      return left;
    };
    const auto take = [&](auto& left, const Placement& placement) {
      bool fits = true;
      const auto& units = wanted.at(placement.session).second;
      for (std::size_t k = 0; k < placement.kernels.size(); ++k) {
        left[placement.kernels[k].second.str()] -=
            units[k];  // kernels come in the order of their ranks
      }
      for (const auto& [agent, cpu] : left) fits = fits && cpu >= 0;
      return fits;
    };
    std::set<SessionId> gone;
    for (const Placement& placement : plan.placements) {
      for (const SessionId& victim : placement.victims) {
        CHECK(gone.insert(victim).second);
        CHECK(held.at(victim).first < wanted.at(placement.session).first);
      }
      if (placement.victims.size() > 1 && placement.kernels.size() > 1) ++gangs;
    }
    auto left = room(gone);
    for (const Placement& placement : plan.placements) CHECK(take(left, placement));
    std::vector<Placement> before;
    std::set<SessionId> so_far;
    for (const Placement& placement : plan.placements) {
      so_far.insert(placement.victims.begin(), placement.victims.end());
      for (const SessionId& spared : placement.victims) {
        auto others = so_far;
        others.erase(spared);
        auto without = room(others);
        bool fits = true;
        for (const Placement& earlier : before) fits = take(without, earlier) && fits;
        fits = take(without, placement) && fits;
        CHECK_FALSE(fits);
      }
      before.push_back(placement);
    }
    ended += gone.size();
  }
  CHECK(ended > 300);
  CHECK(gangs > 30);
}

}  // namespace bai::test

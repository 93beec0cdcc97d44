// What is borrowed can always be taken back, and nobody else is ended for it.
#include <array>
#include <set>

#include "site.hpp"
#include "timeline.hpp"

namespace bai::test {

namespace {

using Amounts = std::array<std::int64_t, 2>;  // cores, gigabytes

Texts texts(const Amounts& amounts) {
  return {{"cpu", std::to_string(amounts[0])}, {"mem", std::to_string(amounts[1]) + "g"}};
}

// Projects of one cohort whose sessions run as the rules let them start, on a few agents.
struct Cluster {
  struct Runner {
    std::size_t project;
    bool is_preemptible;
    std::vector<std::pair<std::size_t, Amounts>> kernels;  // by agent
    Amounts total{};
  };

  explicit Cluster(std::uint64_t seed) : draw(seed) {
    World& w = site.w;
    w.group().policy_options = Json::object();  // preemption as such is off
    agents.resize(static_cast<std::size_t>(draw(1, 4)));
    for (std::size_t a = 0; a < agents.size(); ++a) {
      agents[a] = {draw(4, 12), draw(4, 12)};
      w.agent("a" + std::to_string(a), texts(agents[a]));
    }
    own.resize(static_cast<std::size_t>(draw(2, 4)));
    limit.resize(own.size());
    used.resize(own.size());
    for (std::size_t p = 0; p < own.size(); ++p) {
      own[p] = {draw(0, 10), draw(0, 10)};
      limit[p] = draw(0, 1) == 0 ? Amounts{draw(0, 8), draw(0, 8)} : Amounts{1000, 1000};
      Project row;
      row.id = numbered<ProjectId>(p + 1);
      row.name = "p" + std::to_string(p + 1);
      row.cohort = "c";
      row.total_resource_slots = slots(texts(own[p]));
      row.borrowing_limit = slots(texts(limit[p]));
      w.changes.insert(std::move(row));
    }
    for (int i = 0; i < 40; ++i) start();
    for (std::size_t p = 0; p < own.size(); ++p) {
      w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(p + 1)), texts(used[p]));
    }
  }

  // A session of a random project, unless a rule or the room is against it.
  void start() {
    Runner runner{
        static_cast<std::size_t>(draw(0, std::int64_t(own.size()) - 1)), draw(0, 3) > 0, {}};
    auto left = agents;
    for (std::int64_t k = draw(1, 2); k > 0; --k) {
      const auto agent = static_cast<std::size_t>(draw(0, std::int64_t(agents.size()) - 1));
      const Amounts amounts = {draw(0, 4), draw(0, 4)};
      for (std::size_t s = 0; s < 2; ++s) {
        left[agent][s] -= amounts[s];
        runner.total[s] += amounts[s];
        if (left[agent][s] < 0) return;
      }
      runner.kernels.emplace_back(agent, amounts);
    }
    bool borrows = false;
    for (std::size_t s = 0; s < 2; ++s) {
      const std::int64_t wanted = used[runner.project][s] + runner.total[s];
      if (runner.total[s] == 0) continue;
      borrows = borrows || wanted > own[runner.project][s];
      if (wanted > own[runner.project][s] + limit[runner.project][s]) return;
      if (together(s) + runner.total[s] > all(s)) return;
    }
    if (borrows && !runner.is_preemptible) return;
    agents = left;
    std::vector<Site::Run> kernels;
    for (const auto& [agent, amounts] : runner.kernels) {
      kernels.push_back({"a" + std::to_string(agent), texts(amounts)});
    }
    for (std::size_t s = 0; s < 2; ++s) used[runner.project][s] += runner.total[s];
    const auto id = site.running(kNow - draw(1, 100), kernels, [&](Session& row) {
      row.project = numbered<ProjectId>(runner.project + 1);
      row.user = numbered<UserId>(runner.project + 1);
      row.is_preemptible = runner.is_preemptible;
    });
    running[id] = std::move(runner);
  }

  std::int64_t together(std::size_t slot) const {
    std::int64_t sum = 0;
    for (const Amounts& amounts : used) sum += amounts[slot];
    return sum;
  }
  std::int64_t all(std::size_t slot) const {
    std::int64_t sum = 0;
    for (const Amounts& amounts : own) sum += amounts[slot];
    return sum;
  }
  // Can be ended for another project: it has something of a slot of which its project has more than
  // its own.
  bool is_borrower(const Runner& runner, std::size_t lender) const {
    bool borrows = false;
    for (std::size_t s = 0; s < 2; ++s) {
      borrows =
          borrows || (runner.total[s] > 0 && used[runner.project][s] > own[runner.project][s]);
    }
    return runner.is_preemptible && runner.project != lender && borrows;
  }

  Site site;
  Draw draw;
  std::vector<Amounts> agents;  // what each has free
  std::vector<Amounts> own, limit, used;
  std::map<SessionId, Runner> running;
};

}  // namespace

TEST_CASE("a project always gets back what it has lent, from those who have borrowed it") {
  std::size_t reclaimed = 0, for_room = 0, waited = 0;
  for (std::uint64_t seed = 1; seed <= 4000; ++seed) {
    CAPTURE(seed);
    Cluster c(seed);
    const auto lender = static_cast<std::size_t>(c.draw(0, std::int64_t(c.own.size()) - 1));
    Amounts wanted{};
    bool is_lent = false;
    for (std::size_t s = 0; s < 2; ++s) {
      const std::int64_t most = c.own[lender][s] - c.used[lender][s];
      if (most > 0) wanted[s] = c.draw(0, most);
      is_lent = is_lent || (wanted[s] > 0 && c.together(s) + wanted[s] > c.all(s));
    }
    if (!is_lent) continue;  // nothing to take back
    const auto fits = [&](const Amounts& free) {
      return free[0] >= wanted[0] && free[1] >= wanted[1];
    };
    auto most = c.agents;
    for (const auto& [id, runner] : c.running) {
      if (!c.is_borrower(runner, lender)) continue;
      for (const auto& [agent, amounts] : runner.kernels) {
        for (std::size_t s = 0; s < 2; ++s) most[agent][s] += amounts[s];
      }
    }
    const bool has_room = std::ranges::any_of(most, fits);
    Session row = c.site.w.draft();
    row.project = numbered<ProjectId>(lender + 1);
    row.user = numbered<UserId>(lender + 1);
    const auto id = c.site.w.add(std::move(row), {{texts(wanted)}});
    const Plan plan = c.site.w.plan();
    REQUIRE(plan.placements.size() == (has_room ? 1 : 0));
    if (!has_room) {
      ++waited;
      CHECK(c.site.w.reason(id).code == "reclaim");
      continue;
    }
    const Placement& placement = plan.placements.front();
    CHECK(placement.session == id);
    CHECK(!placement.victims.empty());
    const bool had_room = std::ranges::any_of(c.agents, fits);
    const std::set<SessionId> gone(placement.victims.begin(), placement.victims.end());
    CHECK(gone.size() == placement.victims.size());
    for (const SessionId& victim : placement.victims) {
      CHECK(c.is_borrower(c.running.at(victim), lender));
    }
    for (const SessionId& victim : placement.victims) {
      const auto& runner = c.running.at(victim);
      for (std::size_t s = 0; s < 2; ++s) c.used[runner.project][s] -= runner.total[s];
      for (const auto& [agent, amounts] : runner.kernels) {
        for (std::size_t s = 0; s < 2; ++s) c.agents[agent][s] += amounts[s];
      }
    }
    for (std::size_t s = 0; s < 2; ++s) {
      if (wanted[s] > 0) CHECK(c.together(s) + wanted[s] <= c.all(s));
    }
    const auto at = static_cast<std::size_t>(placement.kernels[0].second.str()[1] - '0');
    CHECK(fits(c.agents[at]));
    ++reclaimed;
    if (!had_room) ++for_room;
  }
  CHECK(reclaimed > 300);
  CHECK(for_room > 50);
  CHECK(waited > 30);
}

}  // namespace bai::test

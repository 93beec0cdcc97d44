// The sequencer "fair-share": rows and running kernels in, order of placements out.
#include <random>

#include "sched/fair_share.hpp"
#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

using Ids = std::vector<SessionId>;
constexpr std::int64_t kDay = 86'400;

struct Shares {
  World world;
  explicit Shares(std::shared_ptr<PolicyRegistry> policies = builtin_policies())
      : world(std::move(policies)) {
    world.group().scheduler = "fair-share";
    world.agent("a", {{"cpu", "100"}, {"mem", "100g"}});
  }
  void options(Json options) {
    world.group().policy_options = Json::object({{"sequencer", std::move(options)}});
  }
  // Cores times seconds, `age` days before kNow.
  void used(ScopeKind kind, const std::string& scope, std::int64_t cpu, std::int64_t age = 0,
            std::optional<std::int64_t> weight_milli = {}) {
    FairShare row;
    row.resource_group = ResourceGroupName("default");
    row.scope_kind = kind;
    row.scope = scope;
    row.id = "default/" + usage_key(kind, scope);
    row.weight_milli = weight_milli;
    row.buckets.set(sched::day_text(kNow / kDay - age), Json::object({{"cpu", cpu * 1000}}));
    if (world.state.find<FairShare>(row.id) != nullptr) {
      world.changes.update<FairShare>(row.id, [&](FairShare& present) { present = row; });
    } else {
      world.changes.insert(row);
    }
  }
  void user(std::uint64_t number, std::int64_t cpu, std::int64_t age = 0,
            std::optional<std::int64_t> weight_milli = {}) {
    used(ScopeKind::User, to_string(numbered<UserId>(number)), cpu, age, weight_milli);
  }
  void project(std::uint64_t number, std::int64_t cpu) {
    used(ScopeKind::Project, to_string(numbered<ProjectId>(number)), cpu);
  }
  void domain(const char* name, std::int64_t cpu) { used(ScopeKind::Domain, name, cpu); }
  SessionId session(std::uint64_t user, std::uint64_t project = 1, const char* domain = "default",
                    std::int64_t priority = 10) {
    Session row = world.draft();
    row.user = numbered<UserId>(user);
    row.project = numbered<ProjectId>(project);
    row.domain = DomainName(domain);
    row.priority = priority;
    return world.add(std::move(row), {{{{"cpu", "0.001"}}}});
  }
  // A kernel of the user that runs since `start`.
  void runs(std::uint64_t user, const Texts& amounts, std::int64_t start) {
    Session row = world.draft();
    row.user = numbered<UserId>(user);
    row.status = SessionStatus::Running;
    const SessionId id = world.add(std::move(row), {{amounts}});
    for (const auto& kernel : world.state.kernels_of(id)) {
      world.changes.update<Kernel>(kernel->id, [&](Kernel& k) {
        k.status = KernelStatus::Running;
        k.agent = AgentId("a");
        k.starts_at = at_second(start);
        k.occupied_slots = k.requested_slots;
      });
    }
  }
};

}  // namespace

TEST_CASE("A16 fair-share: an owner without a row goes last") {
  Shares s;
  s.user(2, 100 * kDay * 28 * 4);  // its factor is low
  const auto missing = s.session(1), known = s.session(2);
  CHECK(placed(s.world.plan()) == Ids{known, missing});
}

TEST_CASE("O11 fair-share: of two that used the same who did so more recently is ranked lower") {
  Shares s;
  s.user(1, 5000 * kDay, 0);
  s.user(2, 5000 * kDay, 14);
  s.user(3, 5000 * kDay, 7);
  const auto recent = s.session(1), old = s.session(2), between = s.session(3);
  CHECK(placed(s.world.plan()) == Ids{old, between, recent});
}

TEST_CASE("A17 fair-share: the project before the user") {
  Shares s;
  s.domain("default", 0);
  s.project(1, 3000 * kDay);
  s.project(2, 1000 * kDay);
  s.user(1, 100 * kDay);
  s.user(2, 9000 * kDay);
  const auto low = s.session(1, 1), high = s.session(2, 2);
  CHECK(placed(s.world.plan()) == Ids{high, low});
}

TEST_CASE("fair-share: the domain before the project, and equal owners by age") {
  Shares s;
  s.domain("d1", 500 * kDay);
  s.domain("d2", 100 * kDay);
  s.project(1, 9000 * kDay);
  s.project(2, 0);
  s.user(1, 0);
  s.user(2, 0);
  const auto a = s.session(1, 2, "d1"), b = s.session(2, 1, "d2"), c = s.session(1, 1, "d2");
  CHECK(placed(s.world.plan()) == Ids{b, c, a});
}

TEST_CASE("fair-share: priority bands come first") {
  Shares s;
  s.user(1, 9000 * kDay);
  s.user(2, 0);
  const auto light = s.session(2), heavy = s.session(1, 1, "default", 20);
  CHECK(placed(s.world.plan()) == Ids{heavy, light});
}

TEST_CASE("O2 O4 fair-share: old use counts less, by the half-life of the settings") {
  // Day for day alike at a half-life of seven days; at fourteen the old use weighs more.
  const auto order = [](std::int64_t half_life) {
    Shares s;
    s.options(Json::object({{"half_life_days", half_life}}));
    s.user(1, 1000 * kDay, 7);
    s.user(2, 600 * kDay);
    const auto old_use = s.session(1), new_use = s.session(2);
    const auto drawn = placed(s.world.plan());
    return drawn == Ids{old_use, new_use}   ? "old first"
           : drawn == Ids{new_use, old_use} ? "new first"
                                            : "?";
  };
  CHECK(std::string(order(7)) == "old first");
  CHECK(std::string(order(14)) == "new first");
}

TEST_CASE("fair-share: another policy asks by settings of its own during the pass") {
  FairShareSettings other;
  other.half_life_days = 100;
  Shares s(policies_and([&](const SchedView& view, const PendingSession& session) {
    view.fair_share(session.owner, other);
  }));
  s.user(1, 1000 * kDay, 7);
  s.user(2, 600 * kDay);
  Ids first, second;
  for (int i = 0; i < 3; ++i) second.push_back(s.session(2));
  for (int i = 0; i < 3; ++i) first.push_back(s.session(1));
  first.insert(first.end(), second.begin(), second.end());
  CHECK(placed(s.world.plan()) == first);
}

TEST_CASE("fair-share: weights of rows, and of those that have none") {
  Shares s;
  s.user(1, 1000 * kDay, 0, 2000);  // twice the share
  s.user(2, 700 * kDay);
  const auto weighty = s.session(1), plain = s.session(2);
  CHECK(placed(s.world.plan()) == Ids{weighty, plain});

  Shares t;
  t.options(Json::object({{"default_weight_milli", 3000}}));
  t.user(1, 1000 * kDay, 0, 2000);
  t.user(2, 700 * kDay);
  const auto first = t.session(1), second = t.session(2);
  CHECK(placed(t.world.plan()) == Ids{second, first});
}

TEST_CASE("fair-share: resource weights, and use older than the lookback") {
  Shares s;
  s.options(Json::object(
      {{"lookback_days", 5}, {"resource_weights", Json::object({{"cpu", 0}, {"mem", "1.5"}})}}));
  s.user(1, 9000 * kDay);  // cores do not count
  s.used(ScopeKind::User, to_string(numbered<UserId>(2)), 0);
  s.world.feed();
  s.world.changes.update<FairShare>(
      "default/" + usage_key(ScopeKind::User, to_string(numbered<UserId>(2))), [](FairShare& row) {
        row.buckets.set(sched::day_text(kNow / kDay),
                        Json::object({{"mem", std::int64_t{1024} * kDay}}));
      });
  s.user(3, 0);
  s.world.feed();
  s.world.changes.update<FairShare>(
      "default/" + usage_key(ScopeKind::User, to_string(numbered<UserId>(3))), [](FairShare& row) {
        row.buckets = Json::object({{sched::day_text(kNow / kDay - 5),
                                     Json::object({{"mem", std::int64_t{1024} * 1024 * kDay}})}});
      });
  const auto two = s.session(2), three = s.session(3), one = s.session(1);
  CHECK(placed(s.world.plan()) == Ids{three, one, two});
}

TEST_CASE("fair-share: what runs counts up to now, and not twice when it has ended") {
  Shares s;
  s.user(1, 0);
  s.user(2, 50);
  const auto one = s.session(1), two = s.session(2);
  CHECK(placed(s.world.plan()) == Ids{one, two});
  s.runs(1, {{"cpu", "1"}}, kNow - 10);
  CHECK(placed(s.world.plan(kNow)) == Ids{one, two});        // 10 core-seconds
  CHECK(placed(s.world.plan(kNow + 100)) == Ids{two, one});  // 110
  CHECK(placed(s.world.plan(kNow)) == Ids{one, two});        // the clock went back
}

TEST_CASE("fair-share: unknown and wrong options are told") {
  for (const auto& [options, part] : std::vector<std::pair<Json, std::string>>{
           {Json::object({{"half_life_days", 0}}), "half_life_days"},
           {Json::object({{"lookback_days", -1}}), "lookback_days"},
           {Json::object({{"half_life", 3}}), "half_life"},
           {Json::object({{"default_weight_milli", "x"}}), "default_weight_milli"},
           {Json::object({{"resource_weights", 3}}), "resource_weights"},
           {Json::object({{"resource_weights", Json::object({{"cpu", -1}})}}), "\"cpu\""},
           {Json::object({{"resource_weights", Json::object({{"cpu", "2e9"}})}}), "\"cpu\""}}) {
    CAPTURE(options.dump());
    Shares s;
    s.options(options);
    s.session(1);
    const Plan plan = s.world.plan();
    REQUIRE(plan.errors.size() == 1);
    CHECK(contains(plan.errors[0], part));
  }
}

TEST_CASE("fair-share order equals a sort of everybody") {
  std::mt19937_64 random(11);
  const auto pick = [&](std::uint64_t n) { return random() % n; };
  for (int round = 0; round < 30; ++round) {
    Shares s;
    for (std::uint64_t i = 1; i <= 6; ++i) {
      if (pick(5) != 0) s.user(i, static_cast<std::int64_t>(pick(4)) * 1000 * kDay);
      if (i <= 3) s.project(i, static_cast<std::int64_t>(pick(3)) * 1000 * kDay);
    }
    s.domain("d0", static_cast<std::int64_t>(pick(2)) * 1000 * kDay);
    s.domain("d1", static_cast<std::int64_t>(pick(2)) * 1000 * kDay);
    for (int i = 0; i < 40; ++i) {
      s.session(1 + pick(6), 1 + pick(3), pick(2) == 0 ? "d0" : "d1",
                static_cast<std::int64_t>(pick(2)));
    }
    const auto used = [&](ScopeKind kind, std::string_view scope) {
      const auto* row = s.world.state.find<FairShare>("default/" + usage_key(kind, scope));
      if (row == nullptr) return std::int64_t{1} << 60;  // last
      return row->buckets[sched::day_text(kNow / kDay)]["cpu"].as_int();
    };
    std::vector<Session> sessions;
    s.world.state.table<Session>().for_each([&](const Session& row) {
      sessions.push_back(row);
      return true;
    });
    std::ranges::sort(sessions, {}, [&](const Session& row) {
      return std::tuple(-row.priority, used(ScopeKind::Domain, row.domain.view()),
                        used(ScopeKind::Project, to_string(row.project)),
                        used(ScopeKind::User, to_string(row.user)), row.created_at, row.id);
    });
    Ids expected;
    for (const Session& row : sessions) expected.push_back(row.id);
    CHECK(placed(s.world.plan()) == expected);
  }
}

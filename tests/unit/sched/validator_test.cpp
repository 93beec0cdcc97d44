// What keeps a session from starting although there is room.
#include "sched/pass.hpp"
#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

using Violations = std::vector<std::pair<std::string, std::string>>;

struct Checked {
  std::vector<Refusal> refusals;
  bool passed() const { return refusals.empty(); }
  std::string kinds() const {
    std::string all;
    for (const Refusal& r : refusals) all += r.kind + ";";
    return all;
  }
  std::string text() const {
    std::string all;
    for (const Refusal& r : refusals) all += r.message + "\n";
    return all;
  }
};

// Runs all built-in validators on the only pending session.
Checked check(World& world, std::int64_t now = kNow) {
  world.group();
  world.feed();
  auto& mirror = const_cast<sched::Mirror&>(world.planner.mirror());
  sched::Group& group = mirror.group(mirror.groups().at(ResourceGroupName("default")));
  const sched::Ledger ledger(mirror);
  const sched::ViewSource source{mirror, group, ledger, at_second(now), 1};
  const SchedView view(source);
  REQUIRE(view.pending_count() == 1);
  const auto registry = builtin_policies();
  Checked checked;
  for (const std::string& name : registry->validators()) {
    const auto validator = registry->make_validator(name, {});
    REQUIRE(validator.has_value());
    (*validator)
        ->check(view, view.session(view.band(view.bands().front()).front()), checked.refusals);
  }
  return checked;
}

KeypairPolicy policy_of(const Texts& limits, std::int64_t sessions = 0, std::int64_t sftp = 0) {
  KeypairPolicy policy;
  policy.name = PolicyName("p");
  policy.total_resource_slots = slots(limits);
  policy.max_concurrent_sessions = sessions;
  policy.max_concurrent_sftp_sessions = sftp;
  return policy;
}

const std::string kUser = to_string(numbered<UserId>(1));
const std::string kProject = to_string(numbered<ProjectId>(1));

SessionId pending(World& world, SessionType type = SessionType::Interactive) {
  Session row = world.draft();
  row.type = type;
  return world.add(row, {{{{"cpu", "4"}, {"mem", "1g"}}}});
}

SessionId depends_on(World& world, SessionStatus status, SessionResult result) {
  Session first = world.draft();
  first.status = status;
  first.result = result;
  world.changes.insert(first);
  Session row = world.draft();
  row.dependencies = {to_string(first.id)};
  return world.add(row, {{{{"cpu", "1"}}}});
}

}  // namespace

TEST_CASE("E1 a user's slot limit") {
  World world;
  world.user_policy(policy_of({{"cpu", "10"}, {"mem", "64g"}}));
  world.usage(ScopeKind::User, kUser, {{"cpu", "7"}, {"mem", "1g"}});
  world.agent("a", {{"cpu", "64"}, {"mem", "64g"}});
  const auto id = pending(world);
  const Checked checked = check(world);
  CHECK(checked.kinds() == "user_check-limit_forbidden;");
  world.plan();
  CHECK(world.reason(id).kind == "user_check-limit_forbidden");
  CHECK(world.reason(id).violations == Violations{{"quota", "user_check-limit_forbidden"}});
  CHECK(world.reason(id).missing == slots({{"cpu", "1"}}));
  CHECK(contains(world.reason(id).expected_basis, "unknown: what it waits for is not foreseen"));
  CHECK(contains(checked.text(), "\n  - cpu: used 7 + requested 4 > limit 10 (over by 1)"));
  CHECK_FALSE(contains(checked.text(), "mem"));
}

TEST_CASE("E2 exactly at the limit passes") {
  World world;
  world.user_policy(policy_of({{"cpu", "10"}}));
  world.usage(ScopeKind::User, kUser, {{"cpu", "6"}});
  pending(world);
  CHECK(check(world).passed());
}

TEST_CASE("E4 no policy, no limit") {
  World world;
  world.usage(ScopeKind::User, kUser, {{"cpu", "1000"}}, 1000, 1000);
  pending(world);
  CHECK(check(world).passed());
}

TEST_CASE("E5 concurrency") {
  World world;
  world.user_policy(policy_of({}, 3));
  world.usage(ScopeKind::User, kUser, {}, 3);
  pending(world);
  const Checked checked = check(world);
  CHECK(checked.kinds() == "session_check-limit_forbidden;");
  CHECK(contains(checked.text(), "3 of at most 3 concurrent sessions"));
}

TEST_CASE("E7 private sessions have their own count") {
  World world;
  world.user_policy(policy_of({}, 3, 2));
  world.usage(ScopeKind::User, kUser, {}, 0, 2);
  pending(world, SessionType::System);
  CHECK(check(world).kinds() == "session_check-limit_forbidden;");
}

TEST_CASE("E8 private sessions pass when only the others' count is full") {
  World world;
  world.user_policy(policy_of({}, 3, 2));
  world.usage(ScopeKind::User, kUser, {}, 3, 1);
  pending(world, SessionType::System);
  CHECK(check(world).passed());
}

TEST_CASE("E10 an absent limit") {
  World world;
  world.user_policy(policy_of({{"mem", "64g"}}));
  world.usage(ScopeKind::User, kUser, {{"cpu", "1000"}});
  pending(world);
  CHECK(check(world).passed());
}

TEST_CASE("an absent limit is zero when the policy says so") {
  World world;
  KeypairPolicy policy = policy_of({{"mem", "64g"}});
  policy.default_for_unspecified = UnspecifiedLimit::Limited;
  world.user_policy(policy);
  pending(world);
  CHECK(contains(check(world).text(), "cpu: used 0 + requested 4 > limit 0 (over by 4)"));
}

TEST_CASE("a slot that is over its lowered limit counts even when it is not requested") {
  World world;
  world.user_policy(policy_of({{"cpu", "100"}, {"cuda.device", "1"}}));
  world.usage(ScopeKind::User, kUser, {{"cuda.device", "2"}});
  pending(world);
  CHECK(contains(check(world).text(), "cuda.device: used 2 + requested 0 > limit 1 (over by 1)"));
}

TEST_CASE("E11 all violations are told together") {
  World world;
  world.agent("a", {{"cpu", "64"}, {"mem", "64g"}});
  world.user_policy(policy_of({{"cpu", "3"}}));
  Project project;
  project.id = numbered<ProjectId>(1);
  project.total_resource_slots = slots({{"mem", "512m"}});
  world.changes.insert(project);
  Domain domain;
  domain.name = DomainName("default");
  domain.total_resource_slots = slots({{"cpu", "2"}});
  world.changes.insert(domain);
  world.usage(ScopeKind::Domain, "default", {{"cpu", "1"}});
  const auto id = pending(world);
  CHECK(check(world).kinds() ==
        "user_check-limit_forbidden;group_check-limit_forbidden;domain_check-limit_forbidden;");
  world.plan();
  const std::string& message = world.reason(id).message;
  CHECK(world.reason(id).code == "quota");
  CHECK(world.reason(id).kind == "backendai_schedule_forbidden");
  CHECK(world.reason(id).violations == Violations{{"quota", "user_check-limit_forbidden"},
                                                  {"quota", "group_check-limit_forbidden"},
                                                  {"quota", "domain_check-limit_forbidden"}});
  CHECK(world.reason(id).missing == slots({{"cpu", "3"}, {"mem", "512m"}}));
  CHECK(contains(message, "limit of the user"));
  CHECK(contains(message, "cpu: used 0 + requested 4 > limit 3 (over by 1)"));
  CHECK(contains(message, "limit of the project"));
  CHECK(contains(message, "mem: used 0 + requested 1g > limit 512m (over by 512m)"));
  CHECK(contains(message, "limit of the domain"));
  CHECK(contains(message, "cpu: used 1 + requested 4 > limit 2 (over by 3)"));
}

TEST_CASE("E13 a dependency that failed") {
  World world;
  world.agent("a", {{"cpu", "4"}});
  const auto id = depends_on(world, SessionStatus::Terminated, SessionResult::Failure);
  CHECK(check(world).kinds() == "session_check-limit_forbidden;");
  world.plan();
  CHECK(world.reason(id).code == "never");
  CHECK(contains(world.reason(id).message, "Can never start"));
}

TEST_CASE("a dependency that was cancelled, and one that does not exist, are never met") {
  World world;
  depends_on(world, SessionStatus::Cancelled, SessionResult::Undefined);
  const Checked cancelled = check(world);
  REQUIRE(cancelled.refusals.size() == 1);
  CHECK(cancelled.refusals[0].never);

  World other;
  Session row = other.draft();
  row.dependencies = {"00000000-0000-0000-0000-0000000000ff", "nonsense"};
  other.add(row, {{{{"cpu", "1"}}}});
  const Checked unknown = check(other);
  REQUIRE(unknown.refusals.size() == 2);
  CHECK(unknown.refusals[1].never);
  CHECK(contains(unknown.text(), "does not exist"));
}

TEST_CASE("E14 a dependency that succeeded") {
  World world;
  depends_on(world, SessionStatus::Terminated, SessionResult::Success);
  CHECK(check(world).passed());
}

TEST_CASE("a dependency that still runs is waited for") {
  World world;
  depends_on(world, SessionStatus::Running, SessionResult::Undefined);
  const Checked checked = check(world);
  REQUIRE(checked.refusals.size() == 1);
  CHECK_FALSE(checked.refusals[0].never);
}

TEST_CASE("E16 a batch session waits for its requested start, and wakes the planner") {
  World world;
  world.agent("a", {{"cpu", "4"}});
  Session row = world.draft();
  row.type = SessionType::Batch;
  row.requested_starts_at = at_second(kNow);
  const auto id = world.add(row, {{{{"cpu", "1"}}}});
  CHECK(check(world, kNow - 1).kinds() == "session_check-limit_forbidden;");
  CHECK(check(world, kNow).passed());
  const Plan plan = world.plan(kNow - 1);
  CHECK(plan.placements.empty());
  CHECK(plan.wake_at == at_second(kNow));
  CHECK(world.reason(id).code == "start-time");
  CHECK(placed(world.plan(kNow)) == std::vector{id});
}

TEST_CASE("E17 other sessions do not") {
  World world;
  Session row = world.draft();
  row.requested_starts_at = at_second(kNow + 100);
  world.add(row, {{{{"cpu", "1"}}}});
  CHECK(check(world).passed());
}

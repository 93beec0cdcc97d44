// Who goes first. Orders are read off the placements of a pass in which everything fits.
#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

struct Queue {
  World world;
  Queue(const std::string& scheduler, const Texts& capacity = {{"cpu", "100"}, {"mem", "102400"}}) {
    world.group().scheduler = scheduler;
    world.agent("a", capacity);
  }
  SessionId of_user(std::uint64_t user, std::int64_t priority = 10) {
    Session row = world.draft();
    row.user = numbered<UserId>(user);
    row.priority = priority;
    return world.add(std::move(row), {{{{"cpu", "0.001"}}}});
  }
  void holds(std::uint64_t user, const Texts& amounts) {
    world.usage(ScopeKind::User, to_string(numbered<UserId>(user)), amounts);
  }
};

using Ids = std::vector<SessionId>;

}  // namespace

TEST_CASE("A1 fifo: oldest first") {
  Queue q("fifo");
  const auto s1 = q.of_user(1), s2 = q.of_user(1), s3 = q.of_user(1);
  CHECK(placed(q.world.plan()) == Ids{s1, s2, s3});
}

TEST_CASE("A1 fifo: equal creation times go by id") {
  Queue q("fifo");
  Session late = q.world.draft(), early = q.world.draft();
  std::swap(late.id, early.id);
  late.created_at = early.created_at = at_second(5);
  q.world.add(late, {{{{"cpu", "1"}}}});
  q.world.add(early, {{{{"cpu", "1"}}}});
  CHECK(placed(q.world.plan()) == Ids{early.id, late.id});
}

TEST_CASE("A2 lifo: newest first") {
  Queue q("lifo");
  const auto s1 = q.of_user(1), s2 = q.of_user(1), s3 = q.of_user(1);
  CHECK(placed(q.world.plan()) == Ids{s3, s2, s1});
}

TEST_CASE("A4 lifo within priority bands") {
  Queue q("lifo");
  const auto low_a = q.of_user(1, 1), low_b = q.of_user(1, 1);
  const auto high_a = q.of_user(1, 20), high_b = q.of_user(1, 20);
  CHECK(placed(q.world.plan()) == Ids{high_b, high_a, low_b, low_a});
}

TEST_CASE("A7 drf: the smaller dominant share first") {
  Queue q("drf");
  q.holds(1, {{"cpu", "50"}});
  q.holds(2, {{"cpu", "10"}});
  const auto heavy = q.of_user(1), light = q.of_user(2);
  CHECK(placed(q.world.plan()) == Ids{light, heavy});
}

TEST_CASE("A8 drf: shares of different slots compare") {
  Queue q("drf", {{"cpu", "100"}, {"mem", "100000"}});
  q.holds(1, {{"cpu", "60"}, {"mem", "10000"}});
  q.holds(2, {{"cpu", "10"}, {"mem", "40000"}});
  const auto a = q.of_user(1), b = q.of_user(2);
  CHECK(placed(q.world.plan()) == Ids{b, a});
}

TEST_CASE("A10 drf: slots that the resource group does not have do not count") {
  Queue q("drf", {{"cpu", "100"}, {"rocm.device", "0"}});
  q.holds(1, {{"rocm.device", "5"}, {"tpu.device", "7"}});
  q.holds(2, {{"cpu", "1"}});
  const auto y = q.of_user(2), x = q.of_user(1);
  CHECK(placed(q.world.plan()) == Ids{x, y});
}

TEST_CASE("A11 drf: one user's sessions keep their order") {
  Queue q("drf");
  const auto s1 = q.of_user(1), s2 = q.of_user(1), s3 = q.of_user(1);
  CHECK(placed(q.world.plan()) == Ids{s1, s2, s3});
}

TEST_CASE("A13 drf: priority bands precede shares") {
  Queue q("drf");
  q.holds(1, {{"cpu", "90"}});
  const auto light = q.of_user(2, 10), heavy = q.of_user(1, 20);
  CHECK(placed(q.world.plan()) == Ids{heavy, light});
}

TEST_CASE("A14 drf with three slots") {
  Queue q("drf", {{"cpu", "100"}, {"mem", "1000"}, {"cuda.device", "10"}});
  q.holds(1, {{"cpu", "10"}, {"mem", "100"}, {"cuda.device", "5"}});
  q.holds(2, {{"cpu", "40"}, {"mem", "300"}});
  q.holds(3, {{"mem", "450"}, {"cuda.device", "1"}});
  const auto u1 = q.of_user(1), u2 = q.of_user(2), u3 = q.of_user(3);
  CHECK(placed(q.world.plan()) == Ids{u2, u3, u1});
}

TEST_CASE("drf: shares follow the placements of the pass, unless they are fixed per pass") {
  for (const bool live : {true, false}) {
    CAPTURE(live);
    Queue q("drf", {{"cpu", "100"}});
    if (!live) {
      q.world.group().policy_options =
          Json::object({{"sequencer", Json::object({{"shares", "per-pass"}})}});
    }
    Ids first, second;
    for (int i = 0; i < 3; ++i) {
      Session row = q.world.draft();
      first.push_back(q.world.add(row, {{{{"cpu", "10"}}}}));
    }
    for (int i = 0; i < 3; ++i) {
      Session row = q.world.draft();
      row.user = numbered<UserId>(2);
      second.push_back(q.world.add(row, {{{{"cpu", "10"}}}}));
    }
    const Ids in_turn{first[0], second[0], first[1], second[1], first[2], second[2]};
    const Ids by_age{first[0], first[1], first[2], second[0], second[1], second[2]};
    CHECK(placed(q.world.plan()) == (live ? in_turn : by_age));
  }
}

TEST_CASE("an unknown sequencer is an error of its resource group alone") {
  Queue q("unknown-x");
  const auto id = q.of_user(1);
  q.world.group("other");
  q.world.agent("b", {{"cpu", "4"}}, {}, "other");
  Session row = q.world.draft();
  row.resource_group = ResourceGroupName("other");
  const auto fine = q.world.add(row, {{{{"cpu", "1"}}}});
  const Plan plan = q.world.plan();
  CHECK(placed(plan) == Ids{fine});
  REQUIRE(plan.errors.size() == 1);
  CHECK(contains(plan.errors[0], "no sequencer named \"unknown-x\""));
  CHECK(contains(plan.errors[0], "drf, fair-share, fifo, lifo"));
  CHECK(q.world.reason(id).code == "policy-error");

  q.world.group().scheduler = "fifo";
  CHECK(placed(q.world.plan()) == Ids{id, fine});
}

TEST_CASE(
    "A5 a row from elsewhere whose sequencer is unknown is planned by drf, and said so once") {
  Queue q("unknown-x");
  q.world.group().policy_options = Json::object({{"scheduler_fallback", "drf"}});
  q.holds(1, {{"cpu", "50"}});
  q.holds(2, {{"cpu", "10"}});
  const auto heavy = q.of_user(1), light = q.of_user(2);
  const Plan plan = q.world.plan();
  CHECK(plan.errors.empty());
  CHECK(placed(plan) == Ids{light, heavy});
  REQUIRE(plan.notices.size() == 1);
  CHECK(contains(plan.notices[0], "unknown-x"));
  CHECK(contains(plan.notices[0], "drf"));
  CHECK(q.world.plan().notices.empty());

  q.world.group().policy_options = Json::object({{"scheduler_fallback", "unknown-y"}});
  CHECK(contains(q.world.plan().errors.at(0), "unknown-y"));
}

TEST_CASE("drf: a user is one, whatever projects and keypairs the sessions have") {
  Queue q("drf");
  q.holds(1, {{"cpu", "1"}});
  Session first = q.world.draft(), second = q.world.draft(), other = q.world.draft();
  first.access_key = AccessKey("AK-a");
  second.project = numbered<ProjectId>(7);
  other.user = numbered<UserId>(2);
  const auto a = q.world.add(first, {{{{"cpu", "60"}}}});
  const auto b = q.world.add(second, {{{{"cpu", "1"}}}});
  const auto c = q.world.add(other, {{{{"cpu", "2"}}}});
  const auto d = q.of_user(2);
  CHECK(placed(q.world.plan()) == Ids{c, a, d, b});
}

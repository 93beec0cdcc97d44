// Queue disciplines that look ahead.
#include <random>

#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

Texts cpu(const std::string& amount) { return {{"cpu", amount}}; }

// Ten cores, six of them taken for another hundred seconds, and a session that needs eight.
struct Blocked {
  explicit Blocked(QueueDiscipline discipline) {
    world.group().queue_discipline = discipline;
    world.agent("a", cpu("10"));
    world.running("a", cpu("6"), kNow - 50, 150);
    head = world.batch({{cpu("8")}}, 1000);
  }
  World world;
  SessionId head;
};

}  // namespace

TEST_CASE("easy: who ends in time starts, who would delay the head does not") {
  Blocked blocked(QueueDiscipline::Easy);
  World& world = blocked.world;
  const auto too_long = world.batch({{cpu("3")}}, 101);
  const auto in_time = world.batch({{cpu("3")}}, 100);
  const auto no_room = world.batch({{cpu("3")}}, 10);
  const Plan plan = world.plan();
  CHECK(placed(plan) == std::vector{in_time});
  CHECK(world.reason(too_long).code == "backfill");
  CHECK(world.reason(no_room).code == "capacity");
  CHECK(world.reason(blocked.head).expected_start == at_second(kNow + 100));
  CHECK(contains(world.reason(blocked.head).message, "Expected to start at"));
}

TEST_CASE("easy: what the head leaves over is there for long sessions") {
  Blocked blocked(QueueDiscipline::Easy);
  const auto fits_beside = blocked.world.batch({{cpu("2")}}, 100'000);
  const auto does_not = blocked.world.batch({{cpu("1")}}, 100'000);
  CHECK(placed(blocked.world.plan()) == std::vector{fits_beside});
  CHECK(blocked.world.reason(does_not).code == "backfill");
}

TEST_CASE("easy: a session without a limit never ends") {
  Blocked blocked(QueueDiscipline::Easy);
  const auto unlimited = blocked.world.session(cpu("3"));
  CHECK(blocked.world.plan().placements.empty());
  CHECK(blocked.world.reason(unlimited).code == "backfill");
  SUBCASE("unless the resource group says how long such ones take") {
    blocked.world.group().policy_options.set("default_runtime_s", 100);
    CHECK(placed(blocked.world.plan()) == std::vector{unlimited});
  }
}

TEST_CASE("easy: behind what never ends no start is promised and nobody is held up") {
  World world;
  world.group().queue_discipline = QueueDiscipline::Easy;
  world.agent("a", cpu("10"));
  world.hold("a", cpu("6"));
  const auto head = world.batch({{cpu("8")}}, 10);
  const auto behind = world.batch({{cpu("4")}}, 100'000);
  CHECK(placed(world.plan()) == std::vector{behind});
  CHECK(world.reason(head).expected_start == Timestamp{});
}

TEST_CASE("easy: the shortest first among those behind the head") {
  Blocked blocked(QueueDiscipline::Easy);
  blocked.world.group().policy_options.set("backfill_order", "shortest");
  blocked.world.batch({{cpu("4")}}, 90);
  const auto shorter = blocked.world.batch({{cpu("4")}}, 80);
  CHECK(placed(blocked.world.plan()) == std::vector{shorter});
}

TEST_CASE("conservative: nobody is delayed, not only the head") {
  Blocked blocked(QueueDiscipline::Conservative);
  World& world = blocked.world;
  // After the head's thousand seconds: the second one needs all ten.
  const auto second = world.batch({{cpu("10")}}, 10);
  const auto beside_head_only = world.batch({{cpu("2")}}, 1'101);
  const auto in_time = world.batch({{cpu("2")}}, 1'100);
  CHECK(placed(world.plan()) == std::vector{in_time});
  CHECK(world.reason(second).expected_start == at_second(kNow + 1'100));
  CHECK(world.reason(beside_head_only).code == "backfill");
}

TEST_CASE("conservative: behind those who are promised a start everybody waits") {
  Blocked blocked(QueueDiscipline::Conservative);
  blocked.world.group().policy_options.set("backfill_depth", 1);
  const auto second = blocked.world.batch({{cpu("9")}}, 10);
  const auto third = blocked.world.batch({{cpu("1")}}, 10);
  CHECK(blocked.world.plan().placements.empty());
  CHECK(blocked.world.reason(second).expected_start == Timestamp{});
  CHECK(blocked.world.reason(third).code == "behind-head");
}

TEST_CASE("a gang is promised the first time at which all of it has room") {
  World world;
  world.group().queue_discipline = QueueDiscipline::Easy;
  for (const char* id : {"a", "b", "c"}) world.agent(id, cpu("4"));
  world.running("a", cpu("4"), kNow - 10, 60);
  world.running("b", cpu("4"), kNow - 10, 40);
  world.running("c", cpu("2"), kNow - 10, 1000);
  const auto gang = world.batch({{cpu("4")}, {cpu("4")}}, 100);
  world.plan();
  CHECK(world.reason(gang).expected_start == at_second(kNow + 50));
}

namespace {

struct Draw {
  explicit Draw(std::uint64_t seed) : random(seed) {}
  std::int64_t operator()(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
  }
  std::mt19937_64 random;
};

void fill(World& world, Draw& draw, std::int64_t agents_max = 4) {
  const auto agents = draw(1, agents_max);
  for (std::int64_t a = 0; a < agents; ++a) {
    const std::string id = "a" + std::to_string(a);
    world.agent(id, cpu("8"));
    std::int64_t left = 8;
    while (left > 0 && draw(0, 3) > 0) {
      const auto amount = draw(1, left);
      world.running(id, cpu(std::to_string(amount)), kNow - draw(0, 100), draw(101, 400));
      left -= amount;
    }
  }
  const auto sessions = draw(1, 30);
  for (std::int64_t i = 0; i < sessions; ++i) {
    std::vector<KernelSpec> kernels(static_cast<std::size_t>(draw(0, 4) == 0 ? draw(2, 4) : 1),
                                    KernelSpec{cpu(std::to_string(draw(1, 8)))});
    world.batch(kernels, draw(1, 500));
  }
}

}  // namespace

TEST_CASE("what is promised is kept when the plan becomes real") {
  for (const auto discipline : {QueueDiscipline::Easy, QueueDiscipline::Conservative}) {
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
      CAPTURE(seed);
      CAPTURE(to_string(discipline));
      Draw draw(seed);
      World world;
      world.group().queue_discipline = discipline;
      // Promises are made anew in every pass: on several agents all but the first may move.
      fill(world, draw, discipline == QueueDiscipline::Easy ? 4 : 1);
      world.apply(world.plan());
      const auto promised = world.reasons;
      const Plan again = world.plan();
      CHECK(again.placements.empty());
      for (const auto& [id, before] : promised) {
        if (before->expected_start == Timestamp{}) continue;
        if (world.state.find<Session>(id)->status != SessionStatus::Pending) continue;
        const Timestamp now = world.reason(id).expected_start;
        CHECK(now != Timestamp{});
        CAPTURE(before->message);
        CAPTURE(world.reason(id).message);
        CHECK(now <= before->expected_start);
      }
    }
  }
}

TEST_CASE("leaving out sessions that cannot start changes no plan") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    const auto plan = [&](bool explain) {
      Draw draw(seed);
      PlanLimits limits;
      limits.explain = explain;
      World world(builtin_policies(), limits);
      world.group().queue_discipline = static_cast<QueueDiscipline>(draw(0, 3));
      world.group().scheduler = std::vector{"fifo", "lifo", "sjf"}[draw.random() % 3];
      if (draw(0, 1) == 0) world.group().policy_options.set("backfill_order", "shortest");
      fill(world, draw);
      return placed(world.plan());
    };
    CHECK(plan(true) == plan(false));
  }
}

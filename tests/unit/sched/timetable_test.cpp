// What conservative backfill keeps of its promises between passes, against laying all of them anew.
#include <tuple>

#include "sched/profile.hpp"
#include "timeline.hpp"

using namespace bai;
using namespace bai::test;

namespace {

Texts cpu(std::int64_t cores) { return {{"cpu", std::to_string(cores)}}; }

// All that may happen to a small cluster between two passes. `anew`: before each pass all agents
// get another label, which nobody asks for, so that nothing that was known of them is kept.
struct Restless {
  Restless(std::uint64_t seed, bool explain, bool lays_anew)
      : draw(seed), line(limits(explain, draw(0, 2) == 0)), anew(lays_anew) {
    ResourceGroup& group = line.world.group();
    group.queue_discipline = QueueDiscipline::Conservative;
    group.scheduler = std::vector{"fifo", "lifo", "sjf"}[draw.random() % 3];
    group.policy_options.set("backfill_depth", draw(3, 40));
    if (draw(0, 2) == 0) group.policy_options.set("max_container_count", draw(2, 4));
    for (std::int64_t a = draw(1, 5); a > 0; --a) join();
  }
  // `one_each`: so that a start that is due may have to wait for the next pass.
  static PlanLimits limits(bool explain, bool one_each) {
    PlanLimits limits;
    limits.explain = explain;
    if (one_each) limits.sessions_max = 1;
    return limits;
  }

  static constexpr int kSteps = 100, kArrivals = 70;

  Plan step(int number) {
    if (number < kArrivals) {
      for (std::int64_t i = draw(0, 2); i > 0; --i) submit();
    }
    if (draw(0, 3) == 0) change_session();
    if (draw(0, 5) == 0) change_running();
    if (draw(0, 5) == 0) change_agent();
    if (anew) {
      for (const AgentId& id : agents) {
        line.world.changes.update<Agent>(id, [&](Agent& row) { row.labels.set("turn", number); });
      }
    }
    Plan plan = line.pass();
    for (const Placement& placement : plan.placements) started.push_back(placement.session);
    return plan;
  }

  void go_on() {
    const std::int64_t next = line.next_end(), way = draw(0, 5);
    if (way <= 1 && next > line.now) line.move_to(next);
    if (way >= 2 && way <= 4) line.move_to(line.now + way - 1);
  }

  void join() {
    const std::string id = "a" + std::to_string(joined++ * 7 % 10);  // before others, too
    line.world.agent(id, cpu(8));
    agents.emplace_back(id);
  }

  void submit() {
    std::vector<KernelSpec> kernels(static_cast<std::size_t>(draw(0, 4) == 0 ? draw(2, 4) : 1),
                                    KernelSpec{cpu(draw(1, 8))});
    if (kernels.size() > 1 && draw(0, 1) == 0) kernels.back() = {cpu(draw(1, 8))};
    const std::int64_t takes = draw(1, 60);
    Session row = line.world.draft();
    row.type = SessionType::Batch;
    row.cluster_mode = kernels.size() > 1 ? ClusterMode::MultiNode : ClusterMode::SingleNode;
    row.batch_timeout = seconds(takes);
    if (draw(0, 9) == 0) row.failed_agents = {agents[draw.random() % agents.size()].str()};
    const SessionId id = line.world.add(std::move(row), kernels);
    submitted.push_back(id);
    const std::int64_t runs = draw(0, 4);
    if (runs == 0) line.runtime[id] = draw(1, takes);
    if (runs == 1 && draw(0, 3) == 0) line.runtime[id] = takes + draw(1, 20);
  }

  // One that waits gets another priority or limit, or is cancelled.
  void change_session() {
    std::vector<SessionId> waiting;
    for (const SessionId& id : submitted) {
      if (line.is_pending(id)) waiting.push_back(id);
    }
    if (waiting.empty()) return;
    World& world = line.world;
    const SessionId id = waiting[draw.random() % waiting.size()];
    const std::int64_t what = draw(0, 2), value = draw(1, 50);
    world.changes.update<Session>(id, [&](Session& row) {
      if (what == 0) row.priority = value;
      if (what == 1) row.batch_timeout = seconds(value);
      if (what == 2) row.status = SessionStatus::Cancelled;
    });
    if (what != 2) return;
    for (const auto& kernel : world.state.kernels_of(id)) {
      world.changes.update<Kernel>(kernel->id,
                                   [](Kernel& row) { row.status = KernelStatus::Cancelled; });
    }
  }

  // It is expected to end at another time.
  void change_running() {
    std::erase_if(started, [&](const SessionId& id) { return !line.running.contains(id); });
    if (started.empty()) return;
    const SessionId id = started[draw.random() % started.size()];
    const std::int64_t takes = draw(1, 80);
    line.world.changes.update<Session>(id,
                                       [&](Session& row) { row.batch_timeout = seconds(takes); });
  }

  void change_agent() {
    const std::int64_t what = draw(0, 4), cores = draw(4, 10);
    const AgentId id = agents[draw.random() % agents.size()];
    if (what == 0 && agents.size() < 8) return join();
    line.world.changes.update<Agent>(id, [&](Agent& row) {
      if (what == 1) row.available_slots = slots(cpu(cores));
      if (what == 2) row.schedulable = !row.schedulable;
      if (what == 3) row.status = AgentStatus::Lost;
      if (what == 4) row.status = AgentStatus::Alive;
    });
  }

  // What is told of those that wait, in order.
  std::vector<std::tuple<SessionId, std::string, Timestamp>> told() {
    std::vector<std::tuple<SessionId, std::string, Timestamp>> all;
    for (const SessionId& id : submitted) {
      if (!line.is_pending(id) || !line.world.reasons.contains(id)) continue;
      const PendingReason& reason = line.world.reason(id);
      all.emplace_back(id, reason.code, reason.expected_start);
    }
    return all;
  }
  // What one that waits would be told now.
  Timestamp ask(std::size_t number) {
    std::vector<SessionId> waiting;
    for (const SessionId& id : submitted) {
      if (line.is_pending(id)) waiting.push_back(id);
    }
    if (waiting.empty()) return {};
    const Prospect prospect =
        line.world.planner.what_if({}, waiting[number % waiting.size()], at_second(line.now), 7);
    return prospect.reason != nullptr ? prospect.reason->expected_start : Timestamp{};
  }

  Draw draw;
  Timeline line;
  bool anew;
  std::vector<AgentId> agents;
  std::vector<SessionId> submitted, started;
  int joined = 0;
};

std::vector<std::string> where(const Plan& plan) {
  std::vector<std::string> all;
  for (const Placement& placement : plan.placements) {
    std::string& one = all.emplace_back(to_string(placement.session));
    for (const std::string& agent : agents_of(placement)) one += " " + agent;
  }
  return all;
}

}  // namespace

TEST_CASE("promises that are kept are those that laying all anew would give") {
  bool explain = true;
  SUBCASE("everybody is told") {}
  SUBCASE("nobody is told") { explain = false; }
  std::size_t promised = 0, asked = 0, placed = 0;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    Restless kept(seed, explain, false), anew(seed, explain, true);
    for (int step = 0; step < Restless::kSteps; ++step) {
      CAPTURE(step);
      const auto by_kept = where(kept.step(step));
      REQUIRE(by_kept == where(anew.step(step)));
      placed += by_kept.size();
      const auto told = kept.told();
      REQUIRE(told == anew.told());
      promised += static_cast<std::size_t>(std::ranges::count_if(
          told, [](const auto& one) { return std::get<Timestamp>(one) != Timestamp{}; }));
      if (!explain && step % 5 == 0) {
        const Timestamp expected = kept.ask(static_cast<std::size_t>(step));
        REQUIRE(expected == anew.ask(static_cast<std::size_t>(step)));
        asked += expected != Timestamp{} ? 1 : 0;
      }
      kept.go_on();
      anew.go_on();
    }
  }
  CHECK(placed > 700);
  if (explain) {
    CHECK(promised > 10'000);
  } else {
    CHECK(asked > 200);
  }
}

TEST_CASE("taking several things from a profile at once is taking one after the other") {
  std::size_t all_fit = 0, overdrawn = 0;
  for (std::uint64_t seed = 1; seed <= 1'000; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    const std::int64_t now = draw(0, 5);
    sched::Profile one(now, {draw(0, 8), draw(0, 8), draw(0, 4)});
    for (std::int64_t i = draw(0, 3), at = now; i > 0; --i) {
      at += draw(1, 10);
      one.append(at, std::vector<SlotRequest>{{0, draw(0, 4)}, {1, draw(0, 4)}}, draw(0, 2));
    }
    sched::Profile all = one;
    std::vector<Requirement> requirements(static_cast<std::size_t>(draw(0, 5)));
    std::vector<sched::Profile::Take> takes;
    bool has_room = true;
    for (Requirement& requirement : requirements) {
      requirement.slots = {{0, draw(1, 3)}, {1, draw(1, 3)}};
      requirement.containers = 1;
      const std::int64_t from = now + draw(0, 30);
      const std::int64_t to = draw(0, 4) == 0 ? sched::kNeverEnds : from + draw(1, 20);
      takes.push_back({from, to, &requirement});
      has_room = has_room && one.room(from, to, requirement, 1) == 1;
      one.add(from, to, requirement.slots, requirement.containers, -1);
    }
    CHECK(all.add_all(takes) == has_room);
    ++(has_room ? all_fit : overdrawn);
    Requirement unit;
    for (const SlotIndex slot : {SlotIndex{0}, SlotIndex{1}, SlotIndex{2}}) {
      unit.slots.clear();
      unit.containers = slot == 2 ? 1 : 0;
      if (slot < 2) unit.slots = {{slot, 1}};
      for (std::int64_t at = now; at < now + 60; ++at) {
        REQUIRE(all.room(at, at + 1, unit, 100) == one.room(at, at + 1, unit, 100));
        REQUIRE(all.next_change(at, nanoseconds(1)) == one.next_change(at, nanoseconds(1)));
      }
    }
  }
  CHECK(all_fit > 300);
  CHECK(overdrawn > 300);
}

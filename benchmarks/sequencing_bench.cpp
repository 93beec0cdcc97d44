// How fast a pass orders its queue: many users with many sessions each, 1,000 of which are placed;
// or none, because the cluster is full and little has happened since the last pass.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <unordered_map>
#include <vector>

#include "model/changeset.hpp"
#include "numbered.hpp"
#include "sched/fair_share.hpp"
#include "sched/mirror.hpp"
#include "sched/planner.hpp"

namespace {

using namespace bai;

constexpr Timestamp kNow{1'800'000'000'000'000'000};
constexpr std::uint64_t kUserBase = 1'000'000'000;

class Queue {
 public:
  Queue(const char* scheduler, QueueDiscipline discipline, std::int64_t users,
        std::int64_t sessions)
      : users_(static_cast<std::uint64_t>(users)) {
    ResourceGroup group;
    group.name = ResourceGroupName("default");
    group.scheduler = scheduler;
    group.queue_discipline = discipline;
    add(group);
    for (int i = 0; i < 1000; ++i) add_agent(i);
    for (std::uint64_t user = 0; user < users_; ++user) add_user(user);
    for (std::int64_t i = 0; i < sessions; ++i) add_session();
  }

  // No agent has anything left, and every user runs something.
  void fill() {
    for (int i = 0; i < 1000; ++i) {
      run(numbered<SessionId>(0), i,
          {{"cpu", Amount{128'000}}, {"mem", Amount{std::int64_t{1} << 40}}});
    }
    for (std::uint64_t user = 0; user < users_; ++user) {
      Session row;
      row.id = numbered<SessionId>(++last_id_);
      row.resource_group = ResourceGroupName("default");
      row.status = SessionStatus::Running;
      row.user = numbered<UserId>(kUserBase + user);
      add(row);
      run(row.id, static_cast<int>(user % 1000), {{"cpu", Amount{1000}}});
    }
  }

  std::vector<Change> changes;

 private:
  template <class E>
  void add(E row) {
    changes.push_back(
        {EntityTraits<E>::kind, nullptr, std::make_shared<const E>(std::move(row)), false});
  }
  void add_agent(int i) {
    Agent row;
    row.id = AgentId(fmt::format("agent-{:04}", i));
    row.resource_group = ResourceGroupName("default");
    row.architecture = "x86_64";
    row.available_slots = {{"cpu", Amount{128'000}},
                           {"mem", Amount{std::int64_t{1} << 40}},
                           {"cuda.device", Amount{8'000}}};
    add(row);
  }
  void add_user(std::uint64_t user) {
    Usage usage;
    usage.id = usage_key(ScopeKind::User, to_string(numbered<UserId>(kUserBase + user)));
    usage.slots = {{"cpu", Amount{static_cast<std::int64_t>(random_() % 200) * 1000}},
                   {"mem", Amount{static_cast<std::int64_t>(random_() % 200) << 30}},
                   {"cuda.device", Amount{static_cast<std::int64_t>(random_() % 8) * 1000}}};
    add(usage);
    FairShare share;
    share.resource_group = ResourceGroupName("default");
    share.scope = to_string(numbered<UserId>(kUserBase + user));
    share.id = "default/" + usage_key(ScopeKind::User, share.scope);
    for (std::int64_t day = 0; day < 28; ++day) {
      share.buckets.set(sched::day_text(sched::day_of(kNow) - day),
                        Json::object({{"cpu", static_cast<std::int64_t>(random_() % 100'000'000)},
                                      {"mem", static_cast<std::int64_t>(random_() % 100'000)}}));
    }
    add(share);
  }
  void run(const SessionId& session, int agent, const SlotMap& slots) {
    Kernel row;
    row.id = numbered<KernelId>(++last_id_);
    row.session = session;
    row.agent = AgentId(fmt::format("agent-{:04}", agent));
    row.status = KernelStatus::Running;
    row.starts_at =
        Timestamp{kNow.ns - static_cast<std::int64_t>(last_id_ % 10'000) * 1'000'000'000};
    row.occupied_slots = slots;
    add(row);
  }
  void add_session() {
    Session row;
    row.id = numbered<SessionId>(++last_id_);
    row.resource_group = ResourceGroupName("default");
    row.created_at = Timestamp{static_cast<std::int64_t>(last_id_)};
    row.user = numbered<UserId>(kUserBase + random_() % users_);
    Kernel kernel;
    kernel.id = numbered<KernelId>(++last_id_);
    kernel.session = row.id;
    kernel.architecture = "x86_64";
    kernel.requested_slots = {{"cpu", Amount{static_cast<std::int64_t>(1 + random_() % 4) * 1000}},
                              {"mem", Amount{static_cast<std::int64_t>(1 + random_() % 8) << 30}}};
    add(row);
    add(kernel);
  }

  std::mt19937_64 random_{7};
  std::uint64_t users_ = 0, last_id_ = 0;
};

// A pass that orders the queue and places 1,000: range(0) users, range(1) pending sessions.
void order(benchmark::State& state, const char* scheduler) {
  auto registry = std::make_shared<PolicyRegistry>();
  if (!add_builtin_policies(*registry)) std::abort();
  Planner planner(registry, {});
  {
    const Queue queue(scheduler, QueueDiscipline::SkipAhead, state.range(0), state.range(1));
    planner.feed({1}, queue.changes);
  }
  std::size_t placements = 0;
  std::int64_t second = 0;
  for (auto _ : state) {
    placements += planner.plan(kNow + seconds(++second), 1).placements.size();
  }
  if (placements != 1000 * static_cast<std::size_t>(state.iterations())) {
    state.SkipWithError("a pass did not place 1,000 sessions");
  }
  state.counters["placements/s"] =
      benchmark::Counter(static_cast<double>(placements), benchmark::Counter::kIsRate);
}

// What becomes of the cluster after a plan: those placed leave the queue, and their users hold
// more.
class Turnover {
 public:
  explicit Turnover(const std::vector<Change>& rows) {
    for (const Change& row : rows) {
      if (row.entity == EntityKind::Session) of_[row.new_row<Session>()->id].push_back(row);
      if (row.entity == EntityKind::Kernel) of_[row.new_row<Kernel>()->session].push_back(row);
    }
  }
  // Takes out those that were placed, and lets as many in that ask for the same.
  void apply(Planner& planner, const Plan& plan) {
    std::vector<Change> out, in;
    for (const Placement& placement : plan.placements) {
      for (const Change& row : of_[placement.session]) {
        if (row.entity == EntityKind::Session) {
          auto usage = std::make_shared<Usage>();
          usage->id = usage_key(ScopeKind::User, to_string(row.new_row<Session>()->user));
          usage->slots = {{"cpu", Amount{static_cast<std::int64_t>(random_() % 200) * 1000}}};
          out.push_back({EntityKind::Usage, usage, usage, false});
        }
        out.push_back({row.entity, row.after, nullptr, false});
        in.push_back(row);
      }
    }
    planner.feed({++version_}, out);
    planner.feed({++version_}, in);
  }

 private:
  std::unordered_map<SessionId, std::vector<Change>> of_;
  std::mt19937_64 random_{3};
  std::uint64_t version_ = 1;
};

// The same, after the last pass's 1,000 have left and 1,000 others have come.
void turn_over(benchmark::State& state, const char* scheduler) {
  auto registry = std::make_shared<PolicyRegistry>();
  if (!add_builtin_policies(*registry)) std::abort();
  Planner planner(registry, {});
  const Queue queue(scheduler, QueueDiscipline::SkipAhead, state.range(0), state.range(1));
  planner.feed({1}, queue.changes);
  Turnover turnover(queue.changes);
  std::int64_t second = 0;
  for (auto _ : state) {
    const Plan plan = planner.plan(kNow + seconds(++second), 1);
    state.PauseTiming();
    if (plan.placements.size() != 1000) state.SkipWithError("a pass did not place 1,000 sessions");
    turnover.apply(planner, plan);
    state.ResumeTiming();
  }
}

// The same on a full cluster, a second after the last pass; what one user holds has changed.
// Feeding that is included.
void wait_on(benchmark::State& state, const char* scheduler) {
  auto registry = std::make_shared<PolicyRegistry>();
  if (!add_builtin_policies(*registry)) std::abort();
  Planner planner(registry, {});
  {
    Queue queue(scheduler, QueueDiscipline::HeadOfLine, state.range(0), state.range(1));
    queue.fill();
    planner.feed({1}, queue.changes);
  }
  std::size_t placements = planner.plan(kNow, 1).placements.size();
  std::uint64_t step = 0;
  for (auto _ : state) {
    auto usage = std::make_shared<Usage>();
    const std::uint64_t user = ++step * 7919 % static_cast<std::uint64_t>(state.range(0));
    usage->id = usage_key(ScopeKind::User, to_string(numbered<UserId>(kUserBase + user)));
    usage->slots = {{"cpu", Amount{static_cast<std::int64_t>(step % 200) * 1000}}};
    const std::vector<Change> changes{{EntityKind::Usage, usage, usage, false}};
    planner.feed({1 + step}, changes);
    placements +=
        planner.plan(kNow + seconds(static_cast<std::int64_t>(step)), 1).placements.size();
  }
  if (placements != 0) state.SkipWithError("something was placed on a full cluster");
}

#define BAI_ORDER(name, scheduler)          \
  BENCHMARK_CAPTURE(order, name, scheduler) \
      ->Args({100, 10'000})                 \
      ->Args({1'000, 10'000})               \
      ->Args({10'000, 100'000})             \
      ->Args({10'000, 1'000'000})           \
      ->Unit(benchmark::kMillisecond)

BAI_ORDER(fifo, "fifo");
BAI_ORDER(lifo, "lifo");
BAI_ORDER(drf, "drf");
BAI_ORDER(fair_share, "fair-share");

#define BAI_TURN_OVER(name, scheduler)          \
  BENCHMARK_CAPTURE(turn_over, name, scheduler) \
      ->Args({100, 10'000})                     \
      ->Args({1'000, 10'000})                   \
      ->Args({10'000, 100'000})                 \
      ->Unit(benchmark::kMillisecond)

BAI_TURN_OVER(fifo, "fifo");
BAI_TURN_OVER(drf, "drf");
BAI_TURN_OVER(fair_share, "fair-share");

#define BAI_WAIT_ON(name, scheduler)          \
  BENCHMARK_CAPTURE(wait_on, name, scheduler) \
      ->Args({100, 10'000})                   \
      ->Args({1'000, 10'000})                 \
      ->Args({10'000, 100'000})               \
      ->Unit(benchmark::kMicrosecond)

BAI_WAIT_ON(fifo, "fifo");
BAI_WAIT_ON(drf, "drf");
BAI_WAIT_ON(fair_share, "fair-share");

}  // namespace

BENCHMARK_MAIN();

// How fast a pass orders its queue: many users with many sessions each, 1,000 of which are placed.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <random>
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
  Queue(const char* scheduler, std::int64_t users, std::int64_t sessions)
      : users_(static_cast<std::uint64_t>(users)) {
    ResourceGroup group;
    group.name = ResourceGroupName("default");
    group.scheduler = scheduler;
    group.queue_discipline = QueueDiscipline::SkipAhead;
    add(group);
    for (int i = 0; i < 1000; ++i) add_agent(i);
    for (std::uint64_t user = 0; user < users_; ++user) add_user(user);
    for (std::int64_t i = 0; i < sessions; ++i) add_session();
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
    const Queue queue(scheduler, state.range(0), state.range(1));
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

#define BAI_ORDER(name, scheduler)          \
  BENCHMARK_CAPTURE(order, name, scheduler) \
      ->Args({1'000, 10'000})               \
      ->Args({10'000, 100'000})             \
      ->Args({10'000, 1'000'000})           \
      ->Unit(benchmark::kMillisecond)

BAI_ORDER(fifo, "fifo");
BAI_ORDER(lifo, "lifo");
BAI_ORDER(drf, "drf");
BAI_ORDER(fair_share, "fair-share");

}  // namespace

BENCHMARK_MAIN();

// How fast the planner decides: the agent and request mix that the design was measured with (60 %
// plain agents 64c/256g, 30 % 128c/1t/8 devices, 10 % 96c/512g/4 devices; 30 % of requests want
// devices; 85 % of the cores granted before).
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "model/changeset.hpp"
#include "numbered.hpp"
#include "runtime/job_threads.hpp"
#include "sched/mirror.hpp"
#include "sched/planner.hpp"

namespace {

using namespace bai;

constexpr std::int64_t kGiB = std::int64_t{1} << 30;
constexpr Timestamp kNow{1'000'000'000'000'000};

struct Request {
  std::int64_t cores, gib, devices;
  SlotMap slots() const {
    SlotMap map{{"cpu", Amount{cores * 1000}}, {"mem", Amount{gib * kGiB}}};
    if (devices > 0) map.set("cuda.device", Amount{devices * 1000});
    return map;
  }
};

// Rows of a cluster, made without a State: only the feed matters here.
class Cluster {
 public:
  // `in_racks`: of 40 agents each, 25 in a row; gangs stay in one.
  Cluster(std::int64_t agents, const char* selector, QueueDiscipline discipline,
          bool in_racks = false)
      : in_racks_(in_racks) {
    group_.selector = selector;
    group_.queue_discipline = discipline;
    if (group_.selector == "fgd") group_.policy_options.set("selector", workload());
    if (in_racks_) {
      group_.policy_options.set("topology", Json(Json::Array{Json("rack"), Json("row")}));
    }
    add_group("default", agents);
  }

  // Which gets all that is added from now on.
  void add_group(const std::string& name, std::int64_t agents) {
    group_.name = ResourceGroupName(name);
    add(group_);
    for (std::int64_t i = 0; i < agents; ++i) add_agent(i);
  }

  void grant(double share) {
    for (std::size_t i = 0; i < agents_.size(); ++i) {
      const Agent& agent = *agents_[i];
      Kernel row;
      row.id = numbered<KernelId>(++last_id_);
      row.session = numbered<SessionId>(++last_id_);
      row.agent = agent.id;
      row.status = KernelStatus::Running;
      for (const auto& [slot, amount] : agent.available_slots) {
        const double spread = share + (static_cast<double>(random_() % 1000) - 500.0) / 3500.0;
        const std::int64_t units =
            static_cast<std::int64_t>(static_cast<double>(amount.units) * std::min(1.0, spread));
        row.occupied_slots.set(slot, Amount{slot == "mem" ? units : units / 1000 * 1000});
      }
      add(row);
    }
  }

  // Leaves less than anyone asks for.
  void fill() {
    for (const auto& agent : agents_) {
      Kernel row;
      row.id = numbered<KernelId>(++last_id_);
      row.session = numbered<SessionId>(++last_id_);
      row.agent = agent->id;
      row.status = KernelStatus::Running;
      for (const auto& [slot, amount] : agent->available_slots) {
        row.occupied_slots.set(slot,
                               Amount{amount.units - static_cast<std::int64_t>(random_() % 1000)});
      }
      add(row);
    }
  }

  // `alike`: what each kernel asks for, of which every agent has some left. `level`: demanded.
  void add_gang(std::int64_t kernels, const Request* alike = nullptr, const char* level = nullptr) {
    Session row;
    row.id = numbered<SessionId>(++last_id_);
    row.resource_group = group_.name;
    row.cluster_mode = ClusterMode::MultiNode;
    row.cluster_size = kernels;
    row.created_at = Timestamp{static_cast<std::int64_t>(last_id_)};
    for (std::int64_t i = 0; i < kernels; ++i) {
      Kernel kernel;
      kernel.id = numbered<KernelId>(++last_id_);
      kernel.session = row.id;
      kernel.local_rank = i;
      kernel.architecture = "x86_64";
      Request one = alike != nullptr ? *alike : request();
      one.devices = std::min<std::int64_t>(one.devices, 1);  // of which every agent has some left
      kernel.requested_slots = one.slots();
      add(kernel);
    }
    if (level != nullptr) row.resource_opts.set("topology", level);
    add(row);
  }

  Request request() {
    const bool devices = random_() % 10 < 3;
    return {std::int64_t{1} << (random_() % 4),
            4 * (std::int64_t{1} + static_cast<std::int64_t>(random_() % 8)),
            devices ? std::int64_t{1} << (random_() % 3) : 0};
  }

  void add_session(const Request& request, std::uint64_t user, Session row = {}) {
    row.id = numbered<SessionId>(++last_id_);
    row.resource_group = group_.name;
    row.created_at = Timestamp{static_cast<std::int64_t>(last_id_)};
    row.user = numbered<UserId>(user);
    Kernel kernel;
    kernel.id = numbered<KernelId>(++last_id_);
    kernel.session = row.id;
    kernel.architecture = "x86_64";
    kernel.requested_slots = request.slots();
    add(row);
    add(kernel);
  }

  std::vector<Change> changes;

 private:
  // That selector rates agents by it.
  static Json workload() {
    Json kinds = Json::array();
    for (const std::int64_t devices : {0, 1, 2, 4}) {
      kinds.push_back(Json::object({{"count", 10},
                                    {"cpu", "4"},
                                    {"device", devices > 0 ? "1" : "0"},
                                    {"devices", devices}}));
    }
    return Json::object({{"workload", std::move(kinds)}});
  }
  template <class E>
  void add(E row) {
    changes.push_back(
        {EntityTraits<E>::kind, nullptr, std::make_shared<const E>(std::move(row)), false});
  }
  void add_agent(std::int64_t i) {
    Agent row;
    row.id = AgentId(fmt::format("agent-{:06}", agents_.size()));
    row.resource_group = group_.name;
    row.architecture = "x86_64";
    const std::int64_t kind = i % 10;
    const Request size = kind < 6   ? Request{64, 256, 0}
                         : kind < 9 ? Request{128, 1024, 8}
                                    : Request{96, 512, 4};
    row.available_slots = size.slots();
    row.labels = Json::object({{"zone", i / 10 % 2 == 0 ? "even" : "odd"}});
    if (in_racks_) {
      row.labels.set("rack", fmt::format("{:05}", i / 40));
      row.labels.set("row", fmt::format("{:03}", i / 1000));
    }
    auto shared = std::make_shared<const Agent>(std::move(row));
    agents_.push_back(shared);
    changes.push_back({EntityKind::Agent, nullptr, shared, false});
  }

  bool in_racks_;
  ResourceGroup group_;
  std::mt19937_64 random_{42};
  std::vector<std::shared_ptr<const Agent>> agents_;
  std::uint64_t last_id_ = 0;
};

std::shared_ptr<const PolicyRegistry> policies() {
  auto registry = std::make_shared<PolicyRegistry>();
  if (!add_builtin_policies(*registry)) std::abort();
  return registry;
}

// A pass that places 1,000 single-kernel sessions.
void place(benchmark::State& state, const char* selector) {
  Cluster cluster(state.range(0), selector, QueueDiscipline::SkipAhead);
  cluster.grant(0.85);
  for (int i = 0; i < 1500; ++i) cluster.add_session(cluster.request(), 1);
  Planner planner(policies(), {});
  planner.feed({1}, cluster.changes);
  std::size_t placements = 0;
  for (auto _ : state) placements += planner.plan(kNow, 1).placements.size();
  state.counters["placements/s"] =
      benchmark::Counter(static_cast<double>(placements), benchmark::Counter::kIsRate);
}

// The same in each of eight resource groups of 10,000 agents, planned on range(0) threads.
void place_in_groups(benchmark::State& state) {
  Cluster cluster(0, "concentrated", QueueDiscipline::SkipAhead);
  for (int group = 0; group < 8; ++group) {
    cluster.add_group(fmt::format("group-{}", group), 10'000);
    for (int i = 0; i < 1500; ++i) cluster.add_session(cluster.request(), 1);
  }
  cluster.grant(0.85);
  runtime::JobThreads threads(static_cast<std::size_t>(state.range(0)));
  Planner planner(policies(), {},
                  [&](std::size_t count, const auto& job) { threads.run(count, job); });
  planner.feed({1}, cluster.changes);
  std::size_t placements = 0;
  for (auto _ : state) placements += planner.plan(kNow, 1).placements.size();
  state.counters["placements/s"] =
      benchmark::Counter(static_cast<double>(placements), benchmark::Counter::kIsRate);
}

// One session that asks for what nobody has asked for before, and finds room; or, `known`, for what
// was asked for in the passes before, of which there are `passes` before any is measured. `like`
// says what else the session wishes.
void place_one(benchmark::State& state, const char* selector, bool known, int passes = 1,
               const Session& like = {}) {
  Cluster cluster(state.range(0), selector, QueueDiscipline::SkipAhead);
  cluster.grant(0.5);
  Planner planner(policies(), {});
  planner.feed({1}, cluster.changes);
  std::uint64_t version = 1;
  std::int64_t gib = 1;
  std::size_t placements = 0;
  std::vector<Change> out;
  const auto ask = [&] {
    planner.feed({++version}, out);
    cluster.changes.clear();
    out.clear();
    cluster.add_session({1, gib, 0}, 1, like);
    for (const Change& change : cluster.changes) {
      out.push_back({change.entity, change.after, nullptr, false});
    }
    planner.feed({++version}, cluster.changes);
    if (!known) ++gib;
  };
  for (; passes > 0; --passes) {
    ask();
    planner.plan(kNow, 1);  // makes what does not depend on the request
  }
  for (auto _ : state) {
    state.PauseTiming();
    ask();
    state.ResumeTiming();
    placements += planner.plan(kNow, 1).placements.size();
  }
  if (placements != static_cast<std::size_t>(state.iterations())) {
    state.SkipWithError("it found no room");
  }
}

Session after_failure() {
  Session row;
  row.failed_agents = {"agent-000000"};
  return row;
}

Session with_labels() {  // which half of the agents have
  Session row;
  row.resource_opts.set("preferred_agent_labels", Json::object({{"zone", "odd"}}));
  return row;
}

// 1,000 different requests, of which none has room on agents that are full but for crumbs.
// range(0) sessions wait; each is told why. range(1): agents.
void all_full(benchmark::State& state) {
  constexpr std::int64_t kKinds = 1000;
  Cluster cluster(state.range(1), "dispersed", QueueDiscipline::SkipAhead);
  cluster.fill();
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    const std::int64_t kind = i % kKinds;
    cluster.add_session({1 + kind % 10, 1 + kind / 10 % 20, kind / 200}, 1);
  }
  PlanLimits limits;
  limits.steps_max = ~std::uint64_t{0};
  Planner planner(policies(), limits);
  planner.feed({1}, cluster.changes);
  const auto told = planner.plan(kNow, 1);  // tells everyone; from now on nothing differs
  if (static_cast<std::int64_t>(told.explained.size()) != state.range(0)) {
    state.SkipWithError("somebody was not told why");
  }
  for (auto _ : state) benchmark::DoNotOptimize(planner.plan(kNow, 1));
}

// Everything that there is to say about one session that no agent has room for: of a request that
// nobody has asked for before, or, `known`, of one that was explained in the pass before.
void explain(benchmark::State& state, bool known) {
  Cluster cluster(state.range(0), "dispersed", QueueDiscipline::SkipAhead);
  cluster.fill();
  Planner planner(policies(), {});
  planner.feed({1}, cluster.changes);
  std::uint64_t version = 1;
  std::vector<Change> out;
  std::int64_t gib = 16;
  const auto replace_session = [&] {
    planner.feed({++version}, out);
    cluster.changes.clear();
    out.clear();
    cluster.add_session({4, known ? gib : gib++, 1}, 1);
    for (const Change& change : cluster.changes) {
      out.push_back({change.entity, change.after, nullptr, false});
    }
    planner.feed({++version}, cluster.changes);
  };
  replace_session();
  planner.plan(kNow, 1);
  for (auto _ : state) {
    state.PauseTiming();
    replace_session();
    state.ResumeTiming();
    if (planner.plan(kNow, 1).explained.size() != 1) state.SkipWithError("it was not told why");
  }
}

// One session with 64 kernels, each on an agent of its own choice: a whole pass, undone at its end.
void gang(benchmark::State& state, Cluster& cluster) {
  Planner planner(policies(), {});
  planner.feed({1}, cluster.changes);
  for (int i = 0; i < 100; ++i) {
    if (planner.plan(kNow, 1).placements.size() != 1) {
      return state.SkipWithError("the gang found no room");
    }
  }
  std::vector<double> times;
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(planner.plan(kNow, 1));
    times.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
            .count());
  }
  std::ranges::sort(times);
  state.counters["p50_us"] = times[times.size() / 2];
  state.counters["p99_us"] = times[times.size() * 99 / 100];
}

void gang_anywhere(benchmark::State& state, const char* selector) {
  Cluster cluster(state.range(0), selector, QueueDiscipline::SkipAhead);
  cluster.grant(0.85);
  cluster.add_gang(64);
  gang(state, cluster);
}

// The same within one rack: 32 kernels alike, or eight unlike ones.
void gang_in_rack(benchmark::State& state, bool alike) {
  Cluster cluster(state.range(0), "concentrated", QueueDiscipline::SkipAhead, true);
  cluster.grant(0.85);
  const Request kernel{4, 16, 0};
  alike ? cluster.add_gang(32, &kernel, "rack") : cluster.add_gang(8, nullptr, "rack");
  gang(state, cluster);
}

// 20 gangs of unlike requests, of which none has room in a single rack. `explain`: each is told.
void gangs_without_rack(benchmark::State& state, bool explain) {
  Cluster cluster(state.range(0), "concentrated", QueueDiscipline::SkipAhead, true);
  cluster.grant(0.85);
  for (std::int64_t i = 0; i < 20; ++i) {
    const Request kernel{60, 4 * (i + 1), 0};
    cluster.add_gang(40, &kernel, "rack");
  }
  PlanLimits limits;
  limits.explain = explain;
  Planner planner(policies(), limits);
  planner.feed({1}, cluster.changes);
  if (!planner.plan(kNow, 1).placements.empty()) return state.SkipWithError("there is room");
  for (auto _ : state) benchmark::DoNotOptimize(planner.plan(kNow, 1));
}

// An agent leaves and comes back, with a gang looking for a rack each time.
void agent_rejoins(benchmark::State& state) {
  Cluster cluster(state.range(0), "concentrated", QueueDiscipline::SkipAhead, true);
  cluster.grant(0.85);
  const Request kernel{4, 16, 0};
  cluster.add_gang(32, &kernel, "rack");
  Planner planner(policies(), {});
  planner.feed({1}, cluster.changes);
  Change came = cluster.changes[1 + static_cast<std::size_t>(state.range(0) / 2)];
  const Change left{came.entity, came.after, nullptr, false};
  std::uint64_t version = 1;
  planner.plan(kNow, 1);
  for (auto _ : state) {
    planner.feed({++version}, {&left, 1});
    benchmark::DoNotOptimize(planner.plan(kNow, 1));
    planner.feed({++version}, {&came, 1});
    benchmark::DoNotOptimize(planner.plan(kNow, 1));
  }
}

// All agents of a cluster that starts make themselves known, in any order, so many at once.
void agents_come(benchmark::State& state) {
  Cluster cluster(state.range(0), "concentrated", QueueDiscipline::SkipAhead, true);
  const auto at_once = static_cast<std::size_t>(state.range(1));
  const std::span<const Change> all = cluster.changes;
  std::ranges::shuffle(std::span(cluster.changes).subspan(1), std::mt19937_64{7});
  for (auto _ : state) {
    Planner planner(policies(), {});
    std::uint64_t version = 0;
    for (std::size_t at = 0; at < all.size(); at += at_once) {
      planner.feed({++version}, all.subspan(at, std::min(at_once, all.size() - at)));
    }
  }
}

// A pass whose head waits, with a long queue behind it.
void blocked_head(benchmark::State& state) {
  Cluster cluster(10'000, "dispersed", QueueDiscipline::HeadOfLine);
  for (std::int64_t i = 0; i < state.range(0); ++i) cluster.add_session({1000, 1, 0}, 1);
  Planner planner(policies(), {});
  planner.feed({1}, cluster.changes);
  planner.plan(kNow, 1);
  for (auto _ : state) benchmark::DoNotOptimize(planner.plan(kNow, 1));
}

// Feeding one session's way into the queue and out again.
void feed_session(benchmark::State& state) {
  Cluster cluster(1000, "dispersed", QueueDiscipline::SkipAhead);
  Planner planner(policies(), {});
  planner.feed({1}, cluster.changes);
  cluster.changes.clear();
  cluster.add_session({1, 1, 0}, 1);
  std::vector<Change> out;
  for (const Change& change : cluster.changes) {
    out.push_back({change.entity, change.after, nullptr, false});
  }
  std::uint64_t version = 1;
  for (auto _ : state) {
    planner.feed({++version}, cluster.changes);
    planner.feed({++version}, out);
  }
}

BENCHMARK_CAPTURE(place, concentrated, "concentrated")
    ->Arg(1'000)
    ->Arg(10'000)
    ->Arg(100'000)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(place, dispersed, "dispersed")
    ->Arg(1'000)
    ->Arg(10'000)
    ->Arg(100'000)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(place, roundrobin, "roundrobin")
    ->Arg(1'000)
    ->Arg(10'000)
    ->Arg(100'000)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(place_in_groups)
    ->Arg(1)
    ->Arg(2)
    ->ArgName("threads")
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
#define BAI_PLACE_ONE(name, ...)                  \
  BENCHMARK_CAPTURE(place_one, name, __VA_ARGS__) \
      ->Arg(1'000)                                \
      ->Arg(10'000)                               \
      ->Arg(100'000)                              \
      ->Iterations(50)                            \
      ->Unit(benchmark::kMicrosecond)
BAI_PLACE_ONE(dotprod_new, "dotprod", false, 50);
BAI_PLACE_ONE(dotprod_known, "dotprod", true, 300);
BAI_PLACE_ONE(gpupacking_new, "gpupacking", false, 50);
BAI_PLACE_ONE(gpuclustering_new, "gpuclustering", false, 50);
BAI_PLACE_ONE(fgd_new, "fgd", false, 50);
BAI_PLACE_ONE(fgd_known, "fgd", true, 300);
BAI_PLACE_ONE(roundrobin_new, "roundrobin", false, 50);
BAI_PLACE_ONE(roundrobin_known, "roundrobin", true, 50);
BAI_PLACE_ONE(random_new, "random", false, 50);
BAI_PLACE_ONE(dispersed_new, "dispersed", false, 50);
BAI_PLACE_ONE(concentrated_known, "concentrated", true, 50);
BAI_PLACE_ONE(concentrated_after_failure, "concentrated", true, 50, after_failure());
BAI_PLACE_ONE(concentrated_with_labels, "concentrated", true, 50, with_labels());
BENCHMARK(all_full)
    ->Args({1'000, 10'000})
    ->Args({10'000, 10'000})
    ->Args({100'000, 10'000})
    ->Args({100'000, 1'000})
    ->Args({100'000, 100'000})
    ->ArgNames({"pending", "agents"})
    ->Unit(benchmark::kMillisecond);
BENCHMARK(agents_come)
    ->Args({1'000, 1})
    ->Args({1'000, 100})
    ->Args({10'000, 1})
    ->Args({10'000, 100})
    ->Args({100'000, 100})
    ->Args({100'000, 100'000})
    ->ArgNames({"agents", "at_once"})
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);
#define BAI_BY_AGENTS(of, name, value, times) \
  BENCHMARK_CAPTURE(of, name, value)          \
      ->Arg(1'000)                            \
      ->Arg(10'000)                           \
      ->Arg(100'000)                          \
      ->Iterations(times)                     \
      ->Unit(benchmark::kMicrosecond)
BAI_BY_AGENTS(explain, of_new, false, 100);
BAI_BY_AGENTS(explain, of_known, true, 10'000);  // the first ones make what later ones use
BAI_BY_AGENTS(gang_anywhere, concentrated, "concentrated", 1000);
BENCHMARK_CAPTURE(gang_anywhere, dispersed, "dispersed")
    ->Arg(10'000)
    ->Iterations(1000)
    ->Unit(benchmark::kMicrosecond);
BAI_BY_AGENTS(gang_in_rack, alike, true, 100);
BAI_BY_AGENTS(gang_in_rack, unlike, false, 100);
BAI_BY_AGENTS(gangs_without_rack, untold, false, 100);
BAI_BY_AGENTS(gangs_without_rack, told, true, 100);
BENCHMARK(agent_rejoins)
    ->Arg(1'000)
    ->Arg(10'000)
    ->Arg(100'000)
    ->Iterations(200)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(blocked_head)->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMillisecond);
BENCHMARK(feed_session);

}  // namespace

BENCHMARK_MAIN();

// What a pass costs on a full cluster where little changes from one to the next: a session ends,
// another one runs in its place, and those that wait are looked at.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "model/changeset.hpp"
#include "numbered.hpp"
#include "sched/planner.hpp"

namespace {

using namespace bai;

constexpr Timestamp kNow{1'000'000'000'000'000};
constexpr std::int64_t kCores = 64, kPerAgent = 8;  // cores of an agent, sessions on it

template <class E>
Change inserted(E row) {
  return {EntityTraits<E>::kind, nullptr, std::make_shared<const E>(std::move(row)), false};
}

SlotMap cores(std::int64_t count) { return {{"cpu", Amount{count * 1000}}}; }

struct Load {
  bool mixed = false;     // sessions of one to sixteen cores, some of which nobody may end
  bool unsteady = false;  // the first agent stops and begins to take sessions, by turns
  // So many projects of a cohort hold everything; another one, which holds nothing, may have a
  // twentieth of it. That is missing in what so many of them may hold.
  std::int64_t projects = 0, borrowing = 0;
};

// Every agent has sessions that take all of it and said how long they run: eight alike, or mixed
// ones.
class FullCluster {
 public:
  FullCluster(std::int64_t agents, const ResourceGroup& settings, bool explain, Load load = {})
      : load_(load), planner_(policies(), limits(explain)) {
    changes_.push_back(inserted(settings));
    for (std::int64_t a = 0; a < agents; ++a) {
      Agent row;
      row.id = agent(a);
      row.resource_group = settings.name;
      row.architecture = "x86_64";
      row.available_slots = cores(kCores);
      row.labels.set("rack", fmt::format("{:05}", a / 40));
      changes_.push_back(inserted(row));
      if (a == 0) first_ = row;
      for (std::int64_t left = kCores; left > 0;) {
        const std::int64_t size =
            load_.mixed ? std::min(left, 1 + static_cast<std::int64_t>(random_() % 16))
                        : kCores / kPerAgent;
        running_.push_back(start_on(agent(a), size));
        left -= size;
      }
    }
    if (load_.projects > 0) lend(agents * kCores);
  }

  void wait(std::int64_t count, std::int64_t job_priority = 0, std::int64_t kernels = 1) {
    for (std::int64_t i = 0; i < count; ++i) {
      Session row = draft();
      row.job_priority = job_priority;
      if (load_.projects > 0) row.project = numbered<ProjectId>(1);
      if (kernels > 1) row.cluster_mode = ClusterMode::MultiNode;
      for (std::int64_t rank = 0; rank < kernels; ++rank) {
        Kernel kernel;
        kernel.id = numbered<KernelId>(++last_id_);
        kernel.session = row.id;
        kernel.local_rank = rank;
        kernel.architecture = "x86_64";
        kernel.requested_slots = cores(9 + i % 8 * 7);
        changes_.push_back(inserted(std::move(kernel)));
      }
      changes_.push_back(inserted(std::move(row)));
    }
  }

  void reserve(std::int64_t agents) {
    Reservation row;
    row.id = "default/later";
    row.name = "later";
    row.resource_group = ResourceGroupName("default");
    row.starts_at = kNow + seconds(1'000'000);
    row.ends_at = kNow + seconds(1'100'000);
    for (std::int64_t a = 0; a < agents; ++a) {
      row.agents.set(agent(a).str(), Json::object({{"cpu", "8"}}));
    }
    changes_.push_back(inserted(std::move(row)));
  }

  // One second later, when nothing has happened.
  std::size_t wait_on() {
    planner_.feed({++version_}, changes_);
    changes_.clear();
    return planner_.plan(now(), 1).placements.size();
  }

  // The same when a session has made room for one that ends when it would have.
  std::size_t relieve() {
    const std::size_t at = random_() % running_.size();
    Running& gone = running_[at];
    changes_.push_back({EntityKind::Session, gone.session, nullptr, false});
    changes_.push_back({EntityKind::Kernel, gone.kernel, nullptr, false});
    Session row = *gone.session;
    row.id = numbered<SessionId>(++last_id_);
    Kernel kernel = *gone.kernel;
    kernel.id = numbered<KernelId>(++last_id_);
    kernel.session = row.id;
    gone.session = std::make_shared<const Session>(std::move(row));
    gone.kernel = std::make_shared<const Kernel>(std::move(kernel));
    changes_.push_back({EntityKind::Session, nullptr, gone.session, false});
    changes_.push_back({EntityKind::Kernel, nullptr, gone.kernel, false});
    return wait_on();
  }

  // One second later, when somebody else runs in place of a session.
  std::size_t step() {
    if (version_ > 0) {
      const std::size_t at = random_() % running_.size();
      const Running gone = running_[at];
      changes_.push_back({EntityKind::Session, gone.session, nullptr, false});
      changes_.push_back({EntityKind::Kernel, gone.kernel, nullptr, false});
      project_ = gone.session->project;
      running_[at] = start_on(gone.kernel->agent, gone.cores);
      if (load_.unsteady) {
        const Agent before = first_;
        first_.schedulable = !first_.schedulable;
        changes_.push_back({EntityKind::Agent, std::make_shared<const Agent>(before),
                            std::make_shared<const Agent>(first_), false});
      }
    }
    planner_.feed({++version_}, changes_);
    changes_.clear();
    return planner_.plan(now(), 1).placements.size();
  }

 private:
  static std::shared_ptr<const PolicyRegistry> policies() {
    auto registry = std::make_shared<PolicyRegistry>();
    if (!add_builtin_policies(*registry)) std::abort();
    return registry;
  }
  static PlanLimits limits(bool explain) {
    PlanLimits limits;
    limits.explain = explain;
    return limits;
  }
  static AgentId agent(std::int64_t number) { return AgentId(fmt::format("agent-{:06}", number)); }

  // The lender is project 1; what each of the others holds is its own, but for the borrowers.
  void lend(std::int64_t all) {
    std::vector<std::int64_t> held(static_cast<std::size_t>(load_.projects) + 2, 0);
    for (std::size_t i = 0; i < running_.size(); ++i) {
      held[2 + i % static_cast<std::size_t>(load_.projects)] += running_[i].cores;
    }
    for (std::int64_t p = 1; p < load_.projects + 2; ++p) {
      const std::int64_t holds = held[static_cast<std::size_t>(p)];
      const bool borrows = p >= 2 && p < 2 + load_.borrowing;
      Project row;
      row.id = numbered<ProjectId>(static_cast<std::uint64_t>(p));
      row.cohort = "all";
      row.total_resource_slots = cores(p == 1    ? all / 20
                                       : borrows ? holds - all / 20 / load_.borrowing
                                                 : holds);
      changes_.push_back(inserted(std::move(row)));
      Usage usage;
      usage.id = usage_key(ScopeKind::Project,
                           to_string(numbered<ProjectId>(static_cast<std::uint64_t>(p))));
      usage.slots = cores(holds);
      changes_.push_back(inserted(std::move(usage)));
    }
  }

  struct Running {
    std::shared_ptr<const Session> session;
    std::shared_ptr<const Kernel> kernel;
    std::int64_t cores;
  };
  Timestamp now() const { return kNow + seconds(static_cast<std::int64_t>(version_)); }

  Session draft() {
    Session row;
    row.id = numbered<SessionId>(++last_id_);
    row.resource_group = ResourceGroupName("default");
    row.created_at = Timestamp{static_cast<std::int64_t>(last_id_)};
    row.user = numbered<UserId>(1);
    row.batch_timeout = seconds(static_cast<std::int64_t>(600 + random_() % 36'000));
    return row;
  }

  Running start_on(const AgentId& agent, std::int64_t size) {
    Session row = draft();
    row.status = SessionStatus::Running;
    row.starts_at = now();
    row.project = project_;
    if (version_ == 0 && load_.projects > 0) {
      row.project =
          numbered<ProjectId>(2 + running_.size() % static_cast<std::size_t>(load_.projects));
    }
    if (load_.mixed) {
      row.is_preemptible = random_() % 4 != 0;
      row.job_priority = static_cast<std::int64_t>(random_() % 3);
      if (version_ == 0) {
        row.starts_at = kNow - seconds(static_cast<std::int64_t>(random_() % 1'000'000));
      }
    }
    Kernel kernel;
    kernel.id = numbered<KernelId>(++last_id_);
    kernel.session = row.id;
    kernel.agent = agent;
    kernel.status = KernelStatus::Running;
    kernel.occupied_slots = cores(size);
    Running started{std::make_shared<const Session>(std::move(row)),
                    std::make_shared<const Kernel>(std::move(kernel)), size};
    changes_.push_back({EntityKind::Session, nullptr, started.session, false});
    changes_.push_back({EntityKind::Kernel, nullptr, started.kernel, false});
    return started;
  }

  std::mt19937_64 random_{42};
  Load load_;
  Agent first_;
  ProjectId project_;  // of who starts next
  Planner planner_;
  std::vector<Running> running_;
  std::uint64_t last_id_ = 0, version_ = 0;
  std::vector<Change> changes_;
};

ResourceGroup settings(QueueDiscipline discipline) {
  ResourceGroup row;
  row.name = ResourceGroupName("default");
  row.selector = "concentrated";
  row.queue_discipline = discipline;
  return row;
}

void run(benchmark::State& state, FullCluster& cluster) {
  cluster.step();
  for (auto _ : state) benchmark::DoNotOptimize(cluster.step());
}

// 200 sessions wait, each for more than any agent has free. `explain`: everybody is told why.
void backfill(benchmark::State& state, QueueDiscipline discipline, bool explain) {
  FullCluster cluster(state.range(0), settings(discipline), explain);
  cluster.wait(200);
  run(state, cluster);
}

// So many sessions wait on so many agents, and all of them have been promised a start.
void promises(benchmark::State& state, std::size_t (FullCluster::*pass)()) {
  ResourceGroup group = settings(QueueDiscipline::Conservative);
  group.policy_options.set("backfill_depth", state.range(0));
  FullCluster cluster(state.range(1), group, false);
  cluster.wait(state.range(0));
  for (int i = 0; i < 3; ++i) cluster.wait_on();
  for (auto _ : state) benchmark::DoNotOptimize((cluster.*pass)());
}

// Sessions that may end others wait, or such that may end nobody.
void preemption(benchmark::State& state, std::int64_t job_priority) {
  ResourceGroup group = settings(QueueDiscipline::SkipAhead);
  group.policy_options = Json::object({{"preemption", Json::object({{"enabled", true}})}});
  FullCluster cluster(state.range(0), group, false);
  cluster.wait(20, job_priority);
  run(state, cluster);
}

// The same where sessions differ, and the victims are to be these. `in_racks`: gangs stay in one
// rack where one has room.
void preemption_mixed(benchmark::State& state, const char* order, std::int64_t kernels,
                      bool in_racks = false) {
  ResourceGroup group = settings(QueueDiscipline::SkipAhead);
  group.policy_options =
      Json::object({{"preemption", Json::object({{"enabled", true}, {"order", order}})}});
  if (in_racks) group.policy_options.set("topology", Json(Json::Array{Json("rack")}));
  FullCluster cluster(state.range(0), group, false, {.mixed = true});
  cluster.wait(20, 2, kernels);
  run(state, cluster);
}

// The same while what the resource group has changes from pass to pass.
void preemption_unsteady(benchmark::State& state, const char* order) {
  ResourceGroup group = settings(QueueDiscipline::SkipAhead);
  group.policy_options =
      Json::object({{"preemption", Json::object({{"enabled", true}, {"order", order}})}});
  FullCluster cluster(state.range(0), group, false, {.mixed = true, .unsteady = true});
  cluster.wait(20, 2);
  run(state, cluster);
}

// Nine projects hold what they lend each other; one wants back what some of them have borrowed.
// `in_racks`: as above.
void reclaim(benchmark::State& state, std::int64_t borrowing, std::int64_t kernels = 1,
             bool in_racks = false) {
  ResourceGroup group = settings(QueueDiscipline::SkipAhead);
  if (in_racks) {
    group.policy_options = Json::object({{"topology", Json(Json::Array{Json("rack")})}});
  }
  FullCluster cluster(state.range(0), group, false,
                      {.mixed = true, .projects = 9, .borrowing = borrowing});
  cluster.wait(20, 0, kernels);
  run(state, cluster);
}

// Half of the agents are reserved for a time long after everything that waits.
void reservation(benchmark::State& state) {
  FullCluster cluster(state.range(0), settings(QueueDiscipline::SkipAhead), false);
  cluster.reserve(state.range(0) / 2);
  cluster.wait(20);
  run(state, cluster);
}

// So many passes: whoever tries out how many it takes makes a cluster of 800,000 sessions for each
// try, and after some thousand passes most sessions have run longer than they said.
void passes(benchmark::internal::Benchmark* of, std::int64_t count) {
  of->Arg(1'000)->Arg(10'000)->Arg(100'000)->Iterations(count)->Unit(benchmark::kMillisecond);
}
void many(benchmark::internal::Benchmark* of) { passes(of, 500); }
void few(benchmark::internal::Benchmark* of) { passes(of, 5); }
void depths(benchmark::internal::Benchmark* of) {
  of->ArgsProduct({{100, 1'000, 10'000}, {1, 1'000}})
      ->Iterations(100)
      ->Unit(benchmark::kMillisecond);
}

BENCHMARK_CAPTURE(backfill, easy, QueueDiscipline::Easy, false)->Apply(many);
BENCHMARK_CAPTURE(backfill, conservative, QueueDiscipline::Conservative, false)->Apply(many);
BENCHMARK_CAPTURE(backfill, conservative_told, QueueDiscipline::Conservative, true)->Apply(many);
BENCHMARK_CAPTURE(promises, quiet, &FullCluster::wait_on)->Apply(depths);
BENCHMARK_CAPTURE(promises, one_change, &FullCluster::relieve)->Apply(depths);
BENCHMARK_CAPTURE(preemption, nobody_yields, 0)->Apply(many);
BENCHMARK_CAPTURE(preemption, all_yield, 5)->Apply(many);
BENCHMARK_CAPTURE(preemption_mixed, oldest, "oldest", 1)->Apply(many);
BENCHMARK_CAPTURE(preemption_mixed, newest, "newest", 1)->Apply(many);
BENCHMARK_CAPTURE(preemption_mixed, fewest, "fewest-sessions", 1)->Apply(few);
BENCHMARK_CAPTURE(preemption_mixed, smallest, "smallest-resources", 1)->Apply(few);
BENCHMARK_CAPTURE(preemption_unsteady, smallest, "smallest-resources")->Apply(few);
BENCHMARK_CAPTURE(reclaim, one_borrows, 1)->Apply(few);
BENCHMARK_CAPTURE(reclaim, all_borrow, 9)->Apply(few);
BENCHMARK_CAPTURE(reclaim, gang_in_rack, 9, 8, true)->Apply(few);
BENCHMARK_CAPTURE(preemption_mixed, gang_of_8, "oldest", 8)->Apply(few);
BENCHMARK_CAPTURE(preemption_mixed, gang_in_rack, "oldest", 8, true)->Apply(few);
BENCHMARK_CAPTURE(preemption_mixed, gang_in_rack_fewest, "fewest-sessions", 8, true)->Apply(few);
BENCHMARK_CAPTURE(preemption_mixed, gang_in_rack_smallest, "smallest-resources", 8, true)
    ->Apply(few);
BENCHMARK(reservation)->Apply(many);

}  // namespace

BENCHMARK_MAIN();

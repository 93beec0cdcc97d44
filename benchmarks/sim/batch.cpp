#include "sim/batch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <queue>
#include <tuple>

#include "sim/numbers.hpp"

namespace bai::sim {

namespace {

constexpr std::size_t kProgressEvery = 1024;       // events
constexpr std::int64_t kSlowdownFloor = 10;        // seconds: shorter runs count as that long
constexpr std::int64_t kClockMax = 8'000'000'000;  // seconds: what timestamps can hold

SlotMap slots_of(const Job& job) {
  SlotMap slots{{"cpu", Amount{job.procs / job.nodes * 1000}}};
  if (job.devices > 0) slots.set("cuda.device", Amount{job.devices * 1000});
  return slots;
}

class BatchLoop {
 public:
  BatchLoop(const JobLog& log, const BatchPolicy& policy, Cluster& cluster, BatchRun& run)
      : jobs_(log.jobs), policy_(policy), cluster_(cluster), run_(run) {
    run_.starts.assign(jobs_.size(), -1);
    run_.samples.reserve(jobs_.size() * 2);
    rank_jobs();
  }

  Status go(std::uint64_t seed, const Progress& progress) {
    for (std::size_t events = 0; next_ < jobs_.size() || !ends_.empty(); ++events) {
      if (progress && events % kProgressEvery == 0) progress(done_, jobs_.size(), waiting_);
      const std::int64_t now = next_time();
      complete(now);
      arrive(now);
      if (auto passed = pass(now, seed); !passed) return passed;
      run_.samples.push_back({now, busy_, static_cast<std::int64_t>(waiting_)});
    }
    if (waiting_ == 0) return {};
    return fail(ErrorCode::Unschedulable,
                fmt::format("{} jobs never start on this machine.", waiting_));
  }

 private:
  using End = std::pair<std::int64_t, std::uint32_t>;

  std::int64_t submit(std::size_t job) const { return jobs_[job].submit - jobs_.front().submit; }
  std::int64_t estimate(std::size_t job) const {
    return policy_.clairvoyant ? jobs_[job].run : jobs_[job].estimate;
  }

  void rank_jobs() {
    std::vector<std::uint32_t> order(jobs_.size());
    std::iota(order.begin(), order.end(), 0U);
    if (policy_.rank == Rank::Estimate) {
      std::ranges::stable_sort(order, {}, [&](std::uint32_t job) { return estimate(job); });
    }
    rank_.resize(jobs_.size());
    for (std::uint32_t i = 0; i < order.size(); ++i) rank_[order[i]] = i;
    by_rank_ = std::move(order);
  }

  std::int64_t next_time() const {
    const bool arrival = next_ < jobs_.size();
    if (ends_.empty()) return submit(next_);
    return arrival ? std::min(submit(next_), ends_.top().first) : ends_.top().first;
  }

  void complete(std::int64_t now) {
    for (; !ends_.empty() && ends_.top().first == now; ends_.pop()) {
      const std::uint32_t job = ends_.top().second;
      cluster_.finish(job);
      busy_ -= jobs_[job].procs;
      ++done_;
    }
  }

  void arrive(std::int64_t now) {
    for (; next_ < jobs_.size() && submit(next_) == now; ++next_) {
      const Job& job = jobs_[next_];
      const auto number = static_cast<std::uint32_t>(next_);
      cluster_.submit({number, now, estimate(next_), slots_of(job), job.nodes, job.owner, {}});
      heads_.push(rank_[number]);
      ++waiting_;
    }
  }

  Status pass(std::int64_t now, std::uint64_t seed) {
    if (waiting_ == 0) return {};
    const auto starts = cluster_.pass(now, seed);
    if (!starts) return std::unexpected(starts.error());
    for (const Start& start : *starts) {
      const Job& job = jobs_[start.number];
      if (now + job.run > kClockMax) {
        return fail(
            ErrorCode::InvalidArgument,
            fmt::format("The simulated time would exceed {} s: the jobs run too long.", kClockMax));
      }
      run_.starts[start.number] = now;
      ends_.push({now + job.run, start.number});
      busy_ += job.procs;
    }
    waiting_ -= starts->size();
    count_backfills(*starts);
    return {};
  }

  void count_backfills(const std::vector<Start>& starts) {
    if (policy_.rank == Rank::None) return;
    while (!heads_.empty() && run_.starts[by_rank_[heads_.top()]] >= 0) heads_.pop();
    if (heads_.empty()) return;
    run_.backfilled += std::ranges::count_if(
        starts, [&](const Start& start) { return rank_[start.number] > heads_.top(); });
  }

  const std::vector<Job>& jobs_;
  const BatchPolicy& policy_;
  Cluster& cluster_;
  BatchRun& run_;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
  std::vector<std::uint32_t> rank_, by_rank_;  // the queue's order
  // Ranks of what waits; those that have started are dropped when they surface.
  std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<>> heads_;
  std::size_t next_ = 0, done_ = 0, waiting_ = 0;
  std::int64_t busy_ = 0;
};

}  // namespace

Machine one_pool(std::int64_t procs) {
  return {{{SlotMap{{"cpu", Amount{procs * 1000}}}, {}, {}}}, procs};
}

Result<BatchRun> run_batch(const JobLog& log, const Machine& machine, const BatchPolicy& policy,
                           const ResourceGroup& settings, std::uint64_t seed,
                           const Progress& progress) {
  auto cluster = Cluster::create(settings);
  if (!cluster) return std::unexpected(cluster.error());
  for (const Capacity& agent : machine.agents) (*cluster)->add_agent(agent);
  BatchRun run;
  run.log = log.name;
  run.policy = policy.name;
  run.procs = machine.procs;
  if (auto ran = BatchLoop(log, policy, **cluster, run).go(seed, progress); !ran) {
    return std::unexpected(ran.error());
  }
  if (auto wrong = (*cluster)->check(); !wrong.empty()) {
    return fail(ErrorCode::Internal, fmt::format("After the last job: {}.", wrong));
  }
  return run;
}

BatchMetrics measure(const JobLog& log, const BatchRun& run) {
  BatchMetrics m;
  Fnv64 hash;
  std::vector<std::int64_t> waits;
  waits.reserve(log.jobs.size());
  double slowdown = 0, work = 0;
  for (std::size_t i = 0; i < log.jobs.size(); ++i) {
    const Job& job = log.jobs[i];
    const std::int64_t wait = run.starts[i] - (job.submit - log.jobs.front().submit);
    waits.push_back(wait);
    m.sum_wait += wait;
    slowdown += std::max(1.0, static_cast<double>(wait + job.run) /
                                  static_cast<double>(std::max(job.run, kSlowdownFloor)));
    work += static_cast<double>(job.procs) * static_cast<double>(job.run);
    m.makespan = std::max(m.makespan, run.starts[i] + job.run);
    hash.add(static_cast<std::uint32_t>(run.starts[i]));
  }
  std::ranges::sort(waits);
  const std::size_t n = waits.size();
  const auto count = static_cast<double>(n);
  m.mean_wait = static_cast<double>(m.sum_wait) / count;
  m.mean_slowdown = slowdown / count;
  m.utilisation = work / (static_cast<double>(run.procs) * static_cast<double>(m.makespan));
  m.max_wait = waits.back();
  m.p50_wait = waits[n / 2];
  m.p95_wait = waits[std::min(n - 1, n * 95 / 100)];
  m.fnv64 = hash.hex();
  return m;
}

Json to_json(const JobLog& log, const BatchRun& run) {
  const BatchMetrics m = measure(log, run);
  const Dropped& d = log.dropped;
  return Json::object({{"log", run.log},
                       {"jobs", static_cast<std::int64_t>(log.jobs.size())},
                       {"P", run.procs},
                       {"policy", run.policy},
                       {"mean_wait", rounded(m.mean_wait, 3)},
                       {"sum_wait", m.sum_wait},
                       {"mean_bsld", rounded(m.mean_slowdown, 4)},
                       {"max_wait", m.max_wait},
                       {"p50_wait", m.p50_wait},
                       {"p95_wait", m.p95_wait},
                       {"makespan", m.makespan},
                       {"util", rounded(m.utilisation, 6)},
                       {"backfilled", run.backfilled},
                       {"fnv64", m.fnv64},
                       {"drop", Json::object({{"noprocs", d.noprocs},
                                              {"norun", d.norun},
                                              {"toobig", d.toobig},
                                              {"run0", d.run0},
                                              {"over", d.over},
                                              {"noest", d.noest}})}});
}

}  // namespace bai::sim

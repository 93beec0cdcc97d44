// Rigid batch jobs on a cluster: the event loop and what is measured.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bai_manager/json.hpp"
#include "sim/cluster.hpp"
#include "sim/job_log.hpp"
#include "sim/policies.hpp"

namespace bai::sim {

// Where jobs run: `agents` equal or different machines that have `procs` cores together.
struct Machine {
  std::vector<Capacity> agents;
  std::int64_t procs = 0;
};
Machine one_pool(std::int64_t procs);

struct Sample {  // after the pass at `time`; seconds since the first submit
  std::int64_t time = 0, busy = 0, waiting = 0;
};

struct BatchRun {
  std::string log, policy;
  std::int64_t procs = 0;
  std::vector<std::int64_t> starts;  // by job; seconds since the first submit
  std::int64_t backfilled = 0;       // started past an earlier one that still waits
  std::vector<Sample> samples;
};

// Called now and then with finished and all jobs, and how many wait.
using Progress = std::function<void(std::size_t done, std::size_t all, std::size_t waiting)>;

// At one time: all completions, then all arrivals, then one pass.
Result<BatchRun> run_batch(const JobLog& log, const Machine& machine, const BatchPolicy& policy,
                           const ResourceGroup& settings, std::uint64_t seed,
                           const Progress& progress);

struct BatchMetrics {
  double mean_wait = 0, mean_slowdown = 0, utilisation = 0;
  std::int64_t sum_wait = 0, max_wait = 0, p50_wait = 0, p95_wait = 0, makespan = 0;
  std::string fnv64;
};
BatchMetrics measure(const JobLog& log, const BatchRun& run);
Json to_json(const JobLog& log, const BatchRun& run);

}  // namespace bai::sim

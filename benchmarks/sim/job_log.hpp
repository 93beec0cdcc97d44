// Batch jobs of a recorded or generated log: what arrives when, how much it takes and how long.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/result.hpp"

namespace bai::sim {

// Seconds: submits, run times and estimates; the simulated clock counts nanoseconds in 63 bits.
inline constexpr std::int64_t kSecondsMax = 4'000'000'000;
inline constexpr std::int64_t kProcsMax = 1'000'000'000;
inline constexpr std::int64_t kUsersMax = 1'000'000'000;

struct Job {
  std::int64_t submit = 0, run = 1, estimate = 1;  // seconds
  std::int64_t procs = 1;                          // on all its nodes together
  std::int64_t nodes = 1;                          // kernels, each with procs / nodes
  std::int64_t devices = 0;                        // of each node
  std::uint32_t owner = 0;                         // equal numbers: one user
};

// Rows that were left out, and kept ones that were adjusted.
struct Dropped {
  std::int64_t noprocs = 0, norun = 0, toobig = 0;  // left out
  std::int64_t run0 = 0;                            // ran 0 s: taken as 1 s
  std::int64_t over = 0;                            // ran longer than requested
  std::int64_t noest = 0;                           // no requested time: the run time is taken
};

struct JobLog {
  std::string name;
  std::vector<Job> jobs;  // by submit, then in file order; never empty
  Dropped dropped;
};

// Standard Workload Format, version 2. `procs` is the machine's size.
Result<JobLog> parse_swf(std::string_view file, std::string_view text, std::int64_t procs);

// Columns timestamp, duration, num_gpus. Jobs belong to whom the column "user" names, or to the
// virtual cluster in "cluster" where there is none.
Result<JobLog> parse_philly(std::string_view file, std::string_view text, std::int64_t gpus);

// "KTH-SP2-1996-2.1-cln.swf.gz" -> "KTH-SP2": up to the year.
std::string log_name(std::string_view path);

}  // namespace bai::sim

// Generated work: the same for the same seed on every machine.
#pragma once

#include <cstdint>

#include "sim/batch.hpp"

namespace bai::sim {

inline constexpr std::int64_t kAgentsMax = 1'000'000, kSessionsMax = 100'000'000;

struct SyntheticOptions {
  std::int64_t agents = 0, sessions = 0;
  std::uint64_t seed = 1;
  double load = 0.9;  // cores asked for, over time, as a share of the cores there are
};

struct Synthetic {
  Machine machine;
  JobLog log;
};

// 60 % agents with 64 cores, 30 % with 128 and 8 devices, 10 % with 96 and 4. Sessions of 1 to 32
// cores; 30 % want devices, 5 % are gangs of 2 to 8 agents. Run times are spread evenly over orders
// of magnitude (1 minute to 1 day), estimates are 1 to 5 times as long, arrivals are independent of
// each other (Poisson).
Synthetic generate(const SyntheticOptions& options);

}  // namespace bai::sim

#include "sim/synthetic.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/numbers.hpp"

namespace bai::sim {

namespace {

constexpr double kShortest = 60, kLongest = 86'400;  // seconds
constexpr std::uint64_t kOwners = 100;
constexpr std::int64_t kGangMax = 8;

struct AgentKind {
  std::int64_t cores, devices;
};
AgentKind kind_of(std::int64_t agent) {
  const std::int64_t digit = agent % 10;
  return digit < 6 ? AgentKind{64, 0} : digit < 9 ? AgentKind{128, 8} : AgentKind{96, 4};
}

Job draw_job(SplitMix64& random, const SyntheticOptions& options) {
  Job job;
  const bool wants_devices = random.below(10) < 3;
  const bool gang = random.below(20) == 0;
  const std::int64_t cores = std::int64_t{1} << random.below(6);
  const std::int64_t devices = std::int64_t{1} << random.below(3);
  const auto size = static_cast<std::int64_t>(2 + random.below(kGangMax - 1));
  // With few agents only what fits: the first six have no devices, the seventh has.
  if (wants_devices && options.agents > 6) job.devices = devices;
  const std::int64_t with_devices =
      options.agents / 10 * 4 + std::max<std::int64_t>(0, options.agents % 10 - 6);
  const std::int64_t hosts = job.devices > 0 ? with_devices : options.agents;
  if (gang) job.nodes = std::min(size, hosts);
  job.procs = cores * job.nodes;
  job.run = static_cast<std::int64_t>(kShortest * std::pow(kLongest / kShortest, random.unit()));
  job.estimate = static_cast<std::int64_t>(static_cast<double>(job.run) * (1 + 4 * random.unit()));
  job.owner = static_cast<std::uint32_t>(random.below(kOwners));
  return job;
}

}  // namespace

Synthetic generate(const SyntheticOptions& options) {
  Synthetic made;
  for (std::int64_t i = 0; i < options.agents; ++i) {
    const AgentKind kind = kind_of(i);
    SlotMap slots{{"cpu", Amount{kind.cores * 1000}}};
    if (kind.devices > 0) slots.set("cuda.device", Amount{kind.devices * 1000});
    made.machine.agents.push_back({std::move(slots), {}, {}});
    made.machine.procs += kind.cores;
  }
  SplitMix64 random(options.seed);
  double work = 0;
  for (std::int64_t i = 0; i < options.sessions; ++i) {
    made.log.jobs.push_back(draw_job(random, options));
    const Job& job = made.log.jobs.back();
    work += static_cast<double>(job.procs) * static_cast<double>(job.run);
  }
  const double span = work / (static_cast<double>(made.machine.procs) * options.load);
  const double gap = span / static_cast<double>(options.sessions);
  double at = 0;
  for (Job& job : made.log.jobs) {
    job.submit = static_cast<std::int64_t>(at);
    at -= gap * std::log1p(-random.unit());
  }
  made.log.name = fmt::format("synthetic-{}", options.agents);
  return made;
}

}  // namespace bai::sim

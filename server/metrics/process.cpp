#include "metrics/process.hpp"

#include <time.h>
#include <unistd.h>

#include <fstream>

namespace bai::server {
namespace {

std::int64_t now_ns(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

void ProcessStatistics::update() {
  const auto cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
  const auto wall = now_ns(CLOCK_MONOTONIC);
  if (wall > wall_ns_ && wall_ns_ != 0) {
    cpu_percent_ =
        100.0 * static_cast<double>(cpu - cpu_ns_) / static_cast<double>(wall - wall_ns_);
  }
  cpu_ns_ = cpu;
  wall_ns_ = wall;
  double pages = 0, resident_pages = 0;
  if (std::ifstream("/proc/self/statm") >> pages >> resident_pages) {
    const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
    virtual_ = pages * page;
    resident_ = resident_pages * page;
  }
}

}  // namespace bai::server

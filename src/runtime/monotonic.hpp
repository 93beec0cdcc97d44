// Wall-clock time that never runs backwards.
#pragma once

#include <algorithm>
#include <cstdint>

namespace bai::runtime {

// Follows the system's clock; while that one is behind what was already given out (somebody set it
// back), time goes on at half speed until the system's clock has caught up, so that it neither
// repeats nor stands still. Not thread-safe.
class MonotonicTime {
 public:
  // `steady_ns` comes from a clock that nobody sets.
  std::int64_t read(std::int64_t system_ns, std::int64_t steady_ns) noexcept {
    if (started_) {
      const std::int64_t elapsed = std::max<std::int64_t>(0, steady_ns - steady_ns_);
      system_ns = std::max(system_ns, wall_ns_ + elapsed / 2);
    }
    started_ = true;
    wall_ns_ = system_ns;
    steady_ns_ = steady_ns;
    return wall_ns_;
  }

 private:
  bool started_ = false;
  std::int64_t wall_ns_ = 0, steady_ns_ = 0;
};

}  // namespace bai::runtime

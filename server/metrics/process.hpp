// What the kernel knows about this process.
#pragma once

#include <cstdint>

namespace bai::server {

class ProcessStatistics {  // one thread at a time
 public:
  ProcessStatistics() { update(); }
  void update();
  double cpu_percent() const noexcept { return cpu_percent_; }  // between the last two updates
  double resident_bytes() const noexcept { return resident_; }
  double virtual_bytes() const noexcept { return virtual_; }

 private:
  std::int64_t cpu_ns_ = 0, wall_ns_ = 0;
  double cpu_percent_ = 0, resident_ = 0, virtual_ = 0;
};

}  // namespace bai::server

// What a SchedView looks at.
#pragma once

#include "sched/ledger.hpp"
#include "sched/mirror.hpp"

namespace bai::sched {

struct ViewSource {
  const Mirror& mirror;
  const Group& group;
  const Ledger& ledger;
  Timestamp now;
  std::uint64_t seed;
};

}  // namespace bai::sched

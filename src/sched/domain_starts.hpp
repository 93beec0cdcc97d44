// From when on each domain of a topology has room for kernels of a kind, kept until agents change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/start_times.hpp"
#include "sched/topology.hpp"

namespace bai::sched {

// Belongs to one resource group.
class DomainStartsCache {
 public:
  // So many kernels alike, on agents of one domain of that level.
  struct Kind {
    const Requirement& requirement;  // its labels are prepared
    std::size_t wanted = 0;
    std::size_t level = 0;
    std::uint32_t container_limit = kNoContainerLimit;
  };

  void begin_pass() noexcept { ++pass_; }
  // By domain, as times of StartTimes are: as if nothing was promised and nobody else started from
  // now on. As of now; until the next call. `topology` has followed the agents.
  std::span<const std::int64_t> refreshed(const Mirror& mirror, const Group& group,
                                          const Topology& topology, const Started& started,
                                          const Kind& kind);
  std::uint64_t looked_at() const noexcept { return looked_at_; }  // agents, so far

 private:
  struct Known {
    Requirement requirement;
    LabelRule labels;  // numbers of rules are used again
    std::size_t wanted = 0, level = 0;
    std::uint32_t container_limit = kNoContainerLimit;
    std::uint64_t epoch = 0, ends_epoch = 0, topology = 0;  // of the agents, of expected ends
    std::size_t changes = 0, ends = 0, started = 0;         // that it knows of
    std::uint64_t pass = 0;                                 // whose `started` that is
    std::vector<std::int64_t> times;                        // by domain
  };
  std::int64_t find_time(const Group& group, const Started& started, const Topology::Domain& domain,
                         const Kind& kind);

  static constexpr std::size_t kTimesMax = 4'000'000;  // kept before all are forgotten
  std::unordered_map<std::uint64_t, Known> known_;     // by content of the kind
  std::size_t kept_ = 0;                               // times
  std::vector<std::uint64_t> seen_;                    // by domain: the last call that looked at it
  std::vector<std::int64_t> free_;                     // working space, like the next
  std::vector<std::pair<std::int64_t, std::size_t>> gains_;
  std::uint64_t calls_ = 0, pass_ = 0, looked_at_ = 0;
};

}  // namespace bai::sched

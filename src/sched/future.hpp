// What is promised on agents for times to come, so that what starts now does not break it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "sched/mirror.hpp"
#include "sched/search.hpp"

namespace bai::sched {

// One resource group's, for one pass. Amounts only: devices and container places of the future are
// not foreseen. What runs is expected to end as estimated; what should have ended is expected to
// end at once.
class Future {
 public:
  // Everything outlives it. The agents' free amounts are those of the pass as it goes on.
  Future(const Mirror& mirror, const Group& group, Timestamp now);

  struct Start {
    std::int64_t at = 0;             // nanoseconds, like Timestamp
    std::vector<AgentIndex> agents;  // one for each requirement
  };
  // The earliest time at which all requirements have room until they end and no promise is broken.
  // Nothing: never, as far as anyone knows. Adds to `steps` what it looks at.
  std::optional<Start> earliest(const Request& request, Duration estimate,
                                const AgentFilter& filter, std::uint64_t& steps) const;
  // From then on the session counts as if it would start there.
  void promise(const Start& start, const Request& request, Duration estimate);
  // A requirement of a session that starts now.
  void placed(AgentIndex agent, const Requirement& requirement, Duration estimate);
  // Takes back what was placed: its session did not start after all.
  void withdrawn(AgentIndex agent, const Requirement& requirement, Duration estimate);

  bool has_promises() const noexcept { return !promised_.empty(); }
  // Appends, in order, the agents on which it would break a promise when it ran for `estimate`.
  void barred(const Requirement& requirement, Duration estimate,
              std::vector<AgentIndex>& agents) const;
  // A session that ends before the first promise begins breaks none.
  Duration before_first_promise() const noexcept;
  // When something that starts now ends.
  std::int64_t end_of(Duration estimate) const noexcept { return add(now_, estimate); }

 private:
  // Between two of these an agent's free amounts only grow: to look at these is to look at all.
  struct Check {
    std::int64_t at = 0;
    std::vector<std::int64_t> free;  // by slot
  };
  struct Release {
    std::int64_t at = 0;
    AgentIndex agent = 0;
    const std::vector<SlotRequest>* slots = nullptr;
  };
  struct Promise {
    AgentIndex agent;
    const Requirement* requirement;
    std::int64_t from, to;
  };
  class Walk;

  static std::int64_t add(std::int64_t at, Duration estimate) noexcept;
  std::vector<std::int64_t> free_now(AgentIndex agent) const;
  std::vector<std::int64_t> free_at(AgentIndex agent, std::int64_t at) const;
  std::optional<AgentIndex> agent_of(const Held& held) const noexcept;
  // How many of `requirement` go onto the agent from `at` for `estimate`, `most` at most.
  std::size_t room(AgentIndex agent, std::span<const std::int64_t> free, std::int64_t at,
                   const Requirement& requirement, Duration estimate, std::size_t most) const;

  const Mirror& mirror_;
  const Group& group_;
  std::int64_t now_;
  std::vector<Release> ours_;  // of what this pass has started, and the ends of promises; by time
  std::vector<Promise> promises_;
  std::map<AgentIndex, std::vector<Check>> promised_;
  std::int64_t first_promise_ = kNeverEnds;
};

}  // namespace bai::sched

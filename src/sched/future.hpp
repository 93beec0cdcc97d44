// What is promised on agents for times to come, so that what starts now does not break it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/kept_amounts.hpp"
#include "sched/mirror.hpp"
#include "sched/profile.hpp"
#include "sched/search.hpp"
#include "sched/start_times.hpp"

namespace bai::sched {

class DomainStartsCache;
class Topology;

// One resource group's, for one pass. Amounts and places for containers; devices of the future are
// not foreseen. What runs is expected to end as estimated; what should have ended is expected to
// end at once.
//
// An agent's profile is made when something is promised on it. Until then what is free there only
// grows: what `times` keeps from pass to pass tells when there is room.
class Future {
 public:
  // Everything outlives it. The agents' free amounts are those of the pass as it goes on, and so
  // is what reservations have left of what is kept for them.
  Future(const Mirror& mirror, const Group& group, Timestamp now, StartTimesCache& times,
         const KeptAmounts& kept, std::uint32_t container_limit = kNoContainerLimit);

  struct Start {
    std::int64_t at = 0;             // nanoseconds, like Timestamp
    std::vector<AgentIndex> agents;  // one for each requirement
  };
  // The earliest time before `limit` at which all requirements have room until they end and no
  // promise is broken. Nothing: never, as far as anyone knows. Adds to `steps` what it looks at.
  std::optional<Start> earliest(const Request& request, Duration estimate,
                                const AgentFilter& filter, std::int64_t limit,
                                std::uint64_t& steps);
  // Not before `from`, and only while `steps` says less than `bounds.steps`.
  struct Bounds {
    std::int64_t from = 0, limit = kNeverEnds;
    std::uint64_t steps = ~std::uint64_t{0};
  };
  std::optional<Start> earliest(const Request& request, Duration estimate,
                                const AgentFilter& filter, const Bounds& bounds,
                                std::uint64_t& steps);
  // The same for a single requirement, on these agents (ordered) only.
  std::optional<Start> earliest_among(std::span<const AgentIndex> agents,
                                      const Requirement& requirement, Duration estimate,
                                      const AgentFilter& filter, const Bounds& bounds,
                                      std::uint64_t& steps);
  // For a gang, within one domain of that level: of equal ones in the first. `topology` has
  // followed the agents, the labels that it asks for are prepared.
  std::optional<Start> earliest_within(const Topology& topology, std::size_t level,
                                       DomainStartsCache& starts, const Request& request,
                                       Duration estimate, AgentFilter filter, Bounds bounds,
                                       std::uint64_t& steps);
  // Whether the agents would take it then.
  bool holds(const Start& start, const Request& request, Duration estimate,
             const AgentFilter& filter);
  // The only promise that there will be, and for ever: who starts later than it does not matter.
  void promise_once(const Start& start, const Request& request);
  // Afterwards it is one like any other.
  void end_promise(const Start& start, const Request& request, Duration estimate);
  // From then on the session counts as if it would start there; `withdraw` undoes it.
  void promise(const Start& start, const Request& request, Duration estimate);
  void withdraw(const Start& start, const Request& request, Duration estimate);
  // What promise() for each of them comes to on that agent, which nothing is promised on yet.
  // False: they may not all have room.
  bool promise_all(AgentIndex agent, std::span<const Profile::Take> takes);
  // The same where the profile knows so many promises already.
  void promise_known(AgentIndex agent, Profile profile, std::uint32_t count, std::int64_t first);
  // As if nothing had been promised and looked at.
  void forget();
  // Whether the agents are such as it may use, whatever they have free.
  bool admits(const Start& start, const Request& request, const AgentFilter& filter) const;
  // Those with promises. Whoever has looked at a gang's agents may have cut some in more steps than
  // are needed: they are left out.
  std::unordered_map<AgentIndex, Profile> take_promised();
  // A requirement of a session that starts now.
  void placed(AgentIndex agent, const Requirement& requirement, Duration estimate);
  // Takes back what was placed: its session did not start after all.
  void withdrawn(AgentIndex agent, const Requirement& requirement, Duration estimate);
  // A session that starts in a reservation takes what was kept, and so many places `beyond` it: all
  // that comes free for others when the reservation ends, at `to`. `sign`: 1, or -1 when it did not
  // start after all.
  void placed_in_kept(AgentIndex agent, const Requirement& requirement, std::int64_t beyond,
                      std::int64_t to, int sign);
  // Whether so many places for containers are free there as long, and nobody's.
  bool has_places(AgentIndex agent, std::int64_t containers, Duration estimate);

  bool has_promises() const noexcept { return !promised_.empty() || !kept_.empty(); }
  // Appends, in order, the agents on which it would break a promise when it ran for `estimate`.
  void barred(const Requirement& requirement, Duration estimate, std::vector<AgentIndex>& agents);
  // Before somebody's amounts are given back for a while: barred() would take them for free, unless
  // it has looked at those agents before.
  void foresee(Duration estimate);
  // A session that ends before the first promise begins breaks none.
  Duration before_first_promise() const noexcept;
  // When something that starts now ends.
  std::int64_t end_of(Duration estimate) const noexcept { return end_after(now_, estimate); }

 private:
  class Walk;

  std::vector<std::int64_t> free_now(AgentIndex agent) const;  // a FreeRow
  // When what is held comes free for others; what should have ended ends right after now.
  std::int64_t release_time(const Held& held, std::int64_t end) const;
  bool is_made(AgentIndex agent) const { return profiles_.contains(agent); }
  // Whether what is free there may do more than grow.
  bool is_special(AgentIndex agent) const { return promised_.contains(agent) || kept_.has(agent); }
  // With what comes free until `until`; later on it only has more.
  Profile& profile(AgentIndex agent, std::int64_t until = kNeverEnds);
  void add_releases(Profile& profile, AgentIndex agent, std::int64_t after, std::int64_t until);
  std::optional<Start> earliest_anywhere(const Requirement& requirement, Duration estimate,
                                         const AgentFilter& filter, const Bounds& bounds,
                                         std::uint64_t& steps);
  std::optional<Start> earliest_gang(const Request& request, Duration estimate,
                                     const AgentFilter& filter, const Bounds& bounds,
                                     std::uint64_t& steps);
  // By domain: not before that time.
  std::vector<std::int64_t> domain_bounds(const Topology& topology, std::size_t level,
                                          DomainStartsCache& starts, const Request& request,
                                          std::int64_t from) const;
  std::vector<AgentIndex> special_devices(const Requirement& requirement) const;
  std::int64_t known_end(AgentIndex agent, std::int64_t end) const;
  void add_promise(AgentIndex agent, const Requirement& requirement, std::int64_t from,
                   std::int64_t to, int sign);

  const Mirror& mirror_;
  const Group& group_;
  StartTimesCache& times_;
  const KeptAmounts& kept_;
  std::uint32_t container_limit_;
  std::int64_t now_;
  Started started_;
  std::unordered_map<AgentIndex, Profile> profiles_;  // where one was needed
  std::map<AgentIndex, std::uint32_t> promised_;      // agents with promises: how many
  std::int64_t first_promise_ = kNeverEnds;
  std::vector<std::pair<AgentIndex, std::int64_t>> partial_;  // profiles that end early
  std::vector<AgentIndex> cut_;                               // in more steps than are needed
};

}  // namespace bai::sched

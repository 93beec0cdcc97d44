// Looks at every agent of a resource group and counts what stands against a requirement on each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sched/search.hpp"
#include "sched/view_source.hpp"

namespace bai::sched {

// Why one agent is none.
enum class Rejection : std::uint8_t {
  Architecture,
  OtherLabels,
  Designation,
  Devices,  // the amounts are there, but not on devices as they are handed out
  SessionGroup,
  Reserved,  // there is room, but it is promised or kept; or its own reservation has none there
  Topology,  // outside the domain
  Domain,    // there is room, but its domain has none for the whole session
  Quota,     // there is room, but a limit forbids it
  Selector,  // there is room, but the selector does not want it
  Shortage
};

struct Survey {
  std::size_t agents = 0, compatible = 0;
  bool large_enough = false;  // some compatible agent, if it were empty
  bool amounts_free = false;  // some compatible agent lacks container places only
  // By class, and for a shortage by what is lacking.
  std::map<std::pair<Rejection, std::uint64_t>, std::size_t> tallies;
  std::optional<AgentIndex> closest;
  Int128 closest_total = 0;
  std::uint32_t closest_containers = 0;  // places lacking on it
};

// What stands against a requirement on one agent.
struct Verdict {
  // Room: nothing that is the requirement's own.
  enum class Kind : std::uint8_t { Incompatible, Short, Room };
  Kind kind = Kind::Room;
  std::pair<Rejection, std::uint64_t> which;  // as in a survey; not for those that have room
  Int128 total = 0;              // what is lacking, in the numbers that amounts are written with
  std::uint32_t containers = 0;  // places lacking
};

// Looks at agents for one requirement, whose labels are prepared and whose wishes are others' task.
class Examiner {
 public:
  // Everything outlives it, but for the columns of `source`.
  Examiner(const ViewSource& source, const Requirement& requirement, std::uint32_t container_limit);

  // An agent that takes sessions.
  Verdict look_at(AgentIndex agent) const;
  // Whether it could have room, if it were empty.
  bool is_large_enough(AgentIndex agent) const {
    return requirement_.containers <= container_limit_ &&
           agents_.fits_when_empty(agent, requirement_);
  }
  // Not less than any agent's Verdict::total.
  Int128 most_total() const noexcept;

  // How amounts are weighed against each other: verdicts of another Examiner are the same when it
  // asks for the same and weighs alike.
  struct Wanted {
    SlotIndex slot;
    std::int64_t units, weight;
    std::uint64_t bit;
    friend bool operator==(const Wanted&, const Wanted&) = default;
  };
  const std::vector<Wanted>& wanted() const noexcept { return wanted_; }

 private:
  const AgentTable& agents_;
  const Requirement& requirement_;
  std::uint32_t container_limit_;
  std::vector<Wanted> wanted_;
};

// `otherwise`: the class of agents that have room. Labels are prepared.
Survey survey_agents(const ViewSource& source, const Requirement& requirement,
                     const AgentFilter& filter, Rejection otherwise);

// Survey::amounts_free, by its tallies.
bool lacks_places_only(const Survey& survey);

// PendingReason::rejected
std::vector<std::pair<std::string, std::int64_t>> rejected_of(const Survey& survey);
// "12 agents: 9 lack cpu, 3 are of another architecture than x86_64"
std::string tally_text(const Mirror& mirror, const Requirement& requirement, const Survey& survey);

std::string join_words(const std::vector<std::string>& words);  // "a, b and c"

}  // namespace bai::sched

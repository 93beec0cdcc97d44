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

// `otherwise`: the class of agents that have room. Labels are prepared.
Survey survey_agents(const ViewSource& source, const Requirement& requirement,
                     const AgentFilter& filter, Rejection otherwise);

// PendingReason::rejected
std::vector<std::pair<std::string, std::int64_t>> rejected_of(const Survey& survey);
// "12 agents: 9 lack cpu, 3 are of another architecture than x86_64"
std::string tally_text(const Mirror& mirror, const Requirement& requirement, const Survey& survey);

std::string join_words(const std::vector<std::string>& words);  // "a, b and c"

}  // namespace bai::sched

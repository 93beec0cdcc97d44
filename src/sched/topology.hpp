// Where agents are: racks, NVLink domains and the like, so that the kernels of a multi-node session
// stay close to each other.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sched/search.hpp"

namespace bai::sched {

// The domains of one resource group. A level is the name of a label. Two agents are in the same
// domain of a level when they have the same text there and at all larger levels; an agent without
// the label is in none.
class Topology {
 public:
  struct Domain {
    std::string name;                // from the largest level down: "row1/rack3"
    std::vector<AgentIndex> agents;  // in order
  };

  // Made anew when the agents' settings or the levels have changed. `levels`: smallest first.
  void follow(const AgentTable& agents, const std::vector<std::string>& levels);

  std::size_t levels() const noexcept { return domains_.size(); }
  const std::string& label(std::size_t level) const noexcept { return labels_[level]; }
  std::span<const Domain> domains(std::size_t level) const noexcept { return domains_[level]; }

  // Domains of one level that have room for every requirement of the request as far as amounts go:
  // those with the least room for such kernels first, by name among equals. `rooms` by agent: how
  // many kernels of each kind fit.
  struct Rooms {
    std::vector<const Requirement*> kinds;         // equal ones once
    std::vector<std::uint64_t> wanted;             // by kind
    std::vector<std::vector<std::uint32_t>> have;  // by kind, then by agent
  };
  std::vector<const Domain*> fitting(std::size_t level, const Rooms& rooms) const;
  // The one with the most room; null: there is no domain of that level.
  const Domain* roomiest(std::size_t level, const Rooms& rooms) const;

  // One look at each agent. `filter.within` counts, `filter.barred` does not.
  static Rooms count(const AgentTable& agents, const Request& request, const AgentFilter& filter);

 private:
  std::uint64_t settings_epoch_ = 0;
  std::vector<std::string> labels_;
  std::vector<std::vector<Domain>> domains_;  // by level; by name
};

}  // namespace bai::sched

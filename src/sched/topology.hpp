// Where agents are: racks, NVLink domains and the like, so that the kernels of a multi-node session
// stay close to each other.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sched/agent_table.hpp"

namespace bai::sched {

// The domains of one resource group. A level is the name of a label. Two agents are in the same
// domain of a level when they have the same text there and at all larger levels; an agent without
// the label is in none.
class Topology {
 public:
  static constexpr std::uint32_t kNoDomain = 0xffff'ffff;
  struct Domain {
    std::string name;                // from the largest level down: "row1/rack3"
    std::vector<AgentIndex> agents;  // in order
  };

  // Made anew when agents have come or gone, or have other labels, or the levels are others.
  // `levels`: smallest first.
  void follow(const AgentTable& agents, const std::vector<std::string>& levels);

  std::size_t levels() const noexcept { return levels_.size(); }
  const std::string& label(std::size_t level) const noexcept { return labels_[level]; }
  std::span<const Domain> domains(std::size_t level) const noexcept {
    return levels_[level].domains;  // by name
  }
  // The number of the agent's domain, or kNoDomain.
  std::uint32_t domain_of(std::size_t level, AgentIndex agent) const noexcept {
    return levels_[level].of[agent];
  }
  // Differs when some agent is in another domain than before, or domains have other numbers.
  std::uint64_t version() const noexcept { return version_; }

 private:
  struct Level {
    std::vector<Domain> domains;    // by name
    std::vector<std::uint32_t> of;  // by agent
  };

  void build(const AgentTable& agents);
  std::string name_of(const AgentTable& agents, std::size_t level, AgentIndex agent) const;

  std::uint64_t labels_version_ = 0;
  std::vector<std::string> labels_;
  std::vector<Level> levels_;
  std::uint64_t version_ = 0;
};

}  // namespace bai::sched

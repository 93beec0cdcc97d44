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

  // To be called when agents may have come or gone or have other labels. `levels`: smallest first.
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
  bool follow_moves(const AgentTable& agents);
  void renumber(AgentIndex from, int by);
  static void leave(Level& level, AgentIndex agent);
  static void enter(Level& level, AgentIndex agent, std::string name);
  std::string name_of(const AgentTable& agents, std::size_t level, AgentIndex agent) const;

  std::uint64_t labels_version_ = 0, log_epoch_ = 0;
  std::size_t followed_ = 0;  // moves of agents
  std::vector<std::string> labels_;
  std::vector<Level> levels_;
  std::uint64_t version_ = 0;
};

}  // namespace bai::sched

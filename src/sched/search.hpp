// Finds the agents that one requirement may go to. A scan over arrays; an index that follows mirror
// and ledger can take its place behind the same three questions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sched/agent_table.hpp"

namespace bai::sched {

// What a session's wishes and the resource group's limits say about agents.
struct AgentFilter {
  bool strict = false;                 // only `designated`
  std::vector<AgentIndex> designated;  // ordered; preferred unless strict
  std::vector<AgentIndex> failed;      // ordered; taken when nothing else is left
  std::uint32_t container_limit = 0xffff'ffff;
};

class AgentSearch {
 public:
  // Everything outlives the search. `buffer` is working space that is kept between searches.
  AgentSearch(const AgentTable& agents, const Requirement& requirement, const AgentFilter& filter,
              std::vector<AgentIndex>& buffer)
      : agents_(agents), requirement_(requirement), filter_(filter), found_(buffer) {}

  bool empty();
  std::span<const AgentIndex> list();
  std::optional<AgentIndex> best(std::span<const KeyPart> key);
  bool contains(AgentIndex agent);

 private:
  void scan();
  void scan_all();
  void narrow();
  std::int64_t key_value(AgentIndex agent, const KeyPart& part) const noexcept;

  const AgentTable& agents_;
  const Requirement& requirement_;
  const AgentFilter& filter_;
  std::vector<AgentIndex>& found_;
  bool scanned_ = false;
};

}  // namespace bai::sched

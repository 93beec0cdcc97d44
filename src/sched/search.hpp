// Finds the agents that one requirement may go to. A scan over arrays; an index that follows mirror
// and ledger can take its place behind the same three questions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sched/agent_table.hpp"
#include "sched/score_cache.hpp"

namespace bai::sched {

// What a session's wishes and the resource group's limits say about agents.
struct AgentFilter {
  bool strict = false;                 // only `designated`
  std::vector<AgentIndex> designated;  // ordered; preferred unless strict
  std::vector<AgentIndex> failed;      // ordered; taken when nothing else is left
  std::vector<AgentIndex> barred;      // ordered; never taken: it would break a promise
  const LabelRule* preferred_labels = nullptr;
  std::uint32_t container_limit = 0xffff'ffff;
};

class AgentSearch {
 public:
  // Everything outlives the search. `buffer` is working space that is kept between searches.
  AgentSearch(const AgentTable& agents, const Requirement& requirement, const AgentFilter& filter,
              std::vector<AgentIndex>& buffer, ScoreCache& scores)
      : agents_(agents),
        requirement_(requirement),
        filter_(filter),
        found_(buffer),
        scores_(scores) {}

  bool empty();
  std::span<const AgentIndex> list();
  std::optional<AgentIndex> best(std::span<const KeyPart> key);
  std::optional<AgentIndex> highest(const SchedView& view, const ScoreSelector& selector);
  bool contains(AgentIndex agent);

 private:
  void scan();
  void scan_all();
  void narrow();
  bool has_wishes() const noexcept;  // that make some agents better than others, or forbid some
  std::int64_t key_value(AgentIndex agent, const KeyPart& part) const noexcept;

  const AgentTable& agents_;
  const Requirement& requirement_;
  const AgentFilter& filter_;
  std::vector<AgentIndex>& found_;
  ScoreCache& scores_;
  bool scanned_ = false;
};

}  // namespace bai::sched

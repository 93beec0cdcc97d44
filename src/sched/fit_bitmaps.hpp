// Which agents fit a requirement, from bitmaps of what they have free: without looking at every one
// of them, whatever is asked for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sched/agent_table.hpp"
#include "sched/amount_bitmaps.hpp"

namespace bai::sched {

// Belongs to one resource group.
class FitBitmaps {
 public:
  // Writes a bit for each agent that AgentTable::match takes. False: a scan is the better bargain;
  // only when enough of them have been asked for do the bitmaps pay. `labels`: the requirement's
  // rule, which is prepared.
  bool find(const AgentTable& agents, const Requirement& requirement, const LabelRule& labels,
            std::uint32_t container_limit, std::span<std::uint64_t> fits);
  // Agents that bitmaps left in doubt, so far.
  std::uint64_t looked_at() const noexcept { return looked_at_; }

 private:
  using Bitmap = std::vector<std::uint64_t>;
  enum class What : std::uint8_t {
    Free,     // of a slot
    Idle,     // devices of a slot that are free as a whole; without devices as many as anyone wants
    Part,     // the most that is free of another device; without devices as much as anyone wants
    Running,  // containers, less than nothing: at least -5 are five at most
  };
  struct Column {
    What what = What::Free;
    SlotIndex slot = 0;
    std::uint32_t scans = 0;  // without it
    bool is_built = false;
    AmountBitmaps amounts;
  };
  struct Kind {  // agents that take sessions
    std::uint32_t architecture = 0;
    Bitmap has;
  };
  struct Rule {
    std::uint64_t version = 0;  // AgentTable::labels_version
    LabelRule labels;           // numbers of rules are used again
    Bitmap has;
  };

  static std::int64_t amount(const AgentTable& agents, AgentIndex agent, const Column& column);
  void follow(const AgentTable& agents);
  bool is_ready(const AgentTable& agents, const Requirement& requirement,
                std::uint32_t container_limit);
  bool is_ready(const AgentTable& agents, What what, SlotIndex slot);
  Column& column_of(What what, SlotIndex slot);
  const Bitmap& kind(const AgentTable& agents, std::uint32_t architecture);
  const Bitmap& rule(const AgentTable& agents, std::uint32_t number, const LabelRule& labels);
  void narrow(AmountBitmaps::Bounds to);
  void narrow_devices(SlotIndex slot, std::int64_t units);
  void narrow_parts(const AgentTable& agents, const Requirement& requirement);

  std::vector<Column> columns_;
  std::vector<Kind> kinds_;
  std::vector<Rule> rules_;   // by number
  std::uint64_t epoch_ = 0;   // of the agents
  std::size_t followed_ = 0;  // of their changes
  Bitmap sure_, maybe_;       // of what is being looked for
  std::vector<std::int64_t> amounts_;
  std::uint64_t looked_at_ = 0;
};

}  // namespace bai::sched

// What one placement order knows of an agent: whether it can ever fit, its levels, and where it
// stands in the order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sched/agent_table.hpp"
#include "sched/index/levels.hpp"

namespace bai::sched {

// Requirements that name the same slots, the same ones of them as 0, and are looked up by the same
// key, among agents with the same labels, share an order.
struct OrderShape {
  std::uint32_t architecture = 0;
  bool by_unused = false;           // the key begins with UnusedCapabilities
  std::vector<SlotIndex> needed;    // requested as more than 0
  std::vector<SlotIndex> unwanted;  // requested as 0
  std::vector<KeyPart> parts;       // without UnusedCapabilities, each slot once
  LabelRule labels;                 // of agents without them nobody asks
};

class AgentKey {
 public:
  explicit AgentKey(OrderShape shape);

  // Before each use. Columns move when agents come or go: then `detach` comes first.
  void attach(const AgentTable& agents) {
    if (!is_attached_) find_columns(agents);
  }
  void detach() noexcept { is_attached_ = false; }
  // Fits the codes to the amounts that there are.
  void measure();

  // What the order needs to know of an agent; nothing when it can hold none of the requirements:
  // it takes no sessions, is of another architecture, lacks the labels, or all of something that is
  // needed.
  struct Reading {
    Levels levels;
    // An agent with a smaller code stands before; agents with equal ones may differ in what
    // `before` looks at.
    std::uint64_t code = 0;
    std::uint32_t band = 0;  // how many unwanted slots it has some of
  };
  bool read(AgentIndex agent, Reading& reading) const noexcept;
  Levels needs(const Requirement& requirement, std::uint32_t container_limit) const noexcept;

  // True when equal codes mean equal keys.
  bool code_is_exact() const noexcept { return code_is_exact_; }
  // Amounts have been seen that the codes do not tell apart: time to measure again.
  bool is_outgrown() const noexcept { return is_outgrown_; }
  std::size_t parts() const noexcept { return parts_.size(); }
  // A part's value as the key compares it; the smallest first.
  std::int64_t value(AgentIndex agent, std::size_t part) const noexcept;
  // By values, then by agent.
  bool before(AgentIndex a, AgentIndex b) const noexcept;

  const OrderShape& shape() const noexcept { return shape_; }

 private:
  struct Part {
    SlotIndex slot = 0;
    bool most = false;
    bool exists = false;                  // some agent has the slot
    std::int64_t span = 0;                // of the amounts that the code tells apart
    unsigned width = 0, at = 0, cut = 0;  // bits in the code, their place, bits left out
  };

  void find_columns(const AgentTable& agents);
  static std::int64_t value(const std::int64_t* row, const Part& part) noexcept;
  std::uint64_t code(AgentIndex agent, const std::int64_t* row) const noexcept;

  OrderShape shape_;
  std::vector<Part> parts_;
  std::size_t lanes_ = 0;  // of the needed slots
  std::size_t coded_ = 0;  // parts in the code
  bool code_is_exact_ = false;
  mutable bool is_outgrown_ = false;
  bool is_attached_ = false;
  bool empty_ = false;  // some needed slot does not exist
  const AgentTable* agents_ = nullptr;
};

}  // namespace bai::sched

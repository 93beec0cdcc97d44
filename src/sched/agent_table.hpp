// The agents of one resource group as a structure of arrays, in view order (by id).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "bai_manager/policy.hpp"

namespace bai::sched {

// Wider than any sum of amounts.
__extension__ using Int128 = __int128;

inline constexpr std::int64_t kAbsentSlot = -1;  // as a capacity

struct SlotColumn {                    // all empty when no agent of the group ever had the slot
  std::vector<std::int64_t> capacity;  // or kAbsentSlot
  std::vector<std::int64_t> observed;  // capacity - granted, as of the mirror's version
  std::vector<std::int64_t> free;      // observed - what the present pass has granted
  Int128 total = 0;                    // capacity of agents that take sessions
};

// What the mirror knows of an agent.
struct AgentFacts {
  std::uint32_t architecture = 0;
  bool takes_sessions = false;
  std::uint32_t containers = 0;
  std::vector<std::pair<SlotIndex, std::int64_t>> capacity;
  std::vector<std::int64_t> granted;  // by slot; may be shorter or longer than `capacity` needs
};

class AgentTable {
 public:
  std::size_t size() const noexcept { return ids_.size(); }
  std::size_t taking() const noexcept { return taking_; }  // agents that take sessions

  std::optional<AgentIndex> find(const AgentId& id) const noexcept;
  // Inserts in order of ids.
  AgentIndex add(const AgentId& id);
  // Inserts at `at`, whatever the order.
  void insert(AgentIndex at, const AgentId& id);
  void erase(AgentIndex at);
  void set(AgentIndex at, const AgentFacts& facts);

  const AgentId& id(AgentIndex at) const noexcept { return ids_[at]; }
  std::uint32_t architecture(AgentIndex at) const noexcept { return architectures_[at]; }
  bool takes_sessions(AgentIndex at) const noexcept { return takes_[at] != 0; }
  std::uint32_t containers(AgentIndex at) const noexcept { return containers_[at]; }
  std::uint64_t containers_total() const noexcept { return containers_total_; }

  // Null when no agent has the slot.
  const SlotColumn* column(SlotIndex slot) const noexcept {
    return slot < columns_.size() && !columns_[slot].capacity.empty() ? &columns_[slot] : nullptr;
  }
  bool has_slot(AgentIndex at, SlotIndex slot) const noexcept {
    const SlotColumn* c = column(slot);
    return c != nullptr && c->capacity[at] != kAbsentSlot;
  }
  std::int64_t free(AgentIndex at, SlotIndex slot) const noexcept {
    const SlotColumn* c = column(slot);
    return c != nullptr ? c->free[at] : 0;
  }
  std::int64_t observed(AgentIndex at, SlotIndex slot) const noexcept {
    const SlotColumn* c = column(slot);
    return c != nullptr ? c->observed[at] : 0;
  }
  std::size_t column_count() const noexcept { return columns_.size(); }

  // Whether the requirement's amounts are free; a request of 0 always is.
  bool fits(AgentIndex at, const Requirement& requirement) const noexcept;
  // For the ledger: `sign` is 1 to take and -1 to give back.
  void take(AgentIndex at, const Requirement& requirement, int sign) noexcept;

  // Sets bit i of `out[i]` to 1 for every agent in [first, first + count) that takes sessions, has
  // the architecture and room for amounts and containers.
  void match(AgentIndex first, std::size_t count, const Requirement& requirement,
             std::uint32_t container_limit, std::uint8_t* out) const noexcept;

 private:
  SlotColumn& writable_column(SlotIndex slot);
  void clear(AgentIndex at);

  std::vector<AgentId> ids_;
  std::vector<std::uint32_t> architectures_, containers_;
  std::vector<std::uint8_t> takes_;
  std::vector<SlotColumn> columns_;  // by slot
  std::size_t taking_ = 0;
  std::uint64_t containers_total_ = 0;  // as of the mirror's version
};

}  // namespace bai::sched

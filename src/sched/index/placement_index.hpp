// Answers "which agent has the smallest key of those that fit" without looking at all of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sched/agent_table.hpp"
#include "sched/index/scan.hpp"

namespace bai::sched {

struct PlacementIndexLimits {
  std::size_t scan_below = 64;          // agents: for fewer a scan is as fast
  std::uint32_t build_after = 8;        // scans for the same kind of lookup before it gets an order
  std::size_t orders_max = 12;          // kept up to date; the one not used for longest goes
  std::size_t kinds_max = 64;           // of lookups that are remembered
  std::size_t log_max = 1U << 16U;      // changes an order may lag behind before it is dropped
  std::uint32_t renumberings_max = 32;  // agents that come or go between lookups before all are
};

// Keeps, for each kind of lookup (slots asked for, slots asked for as 0, key, labels), the agents
// in the order of its key. Whoever changes the table says so; orders follow when they are asked.
// Gives the choice of scan_best, always. Not thread-safe; belongs to one table, which every call
// gets.
class PlacementIndex {
 public:
  explicit PlacementIndex(const PlacementIndexLimits& limits = {});
  ~PlacementIndex();
  PlacementIndex(const PlacementIndex&) = delete;
  PlacementIndex& operator=(const PlacementIndex&) = delete;

  // Takes in what the table's own logs say: instead of the four calls below.
  void follow(const AgentTable& agents);

  // Anything may have changed.
  void reset();
  // Amounts, containers, architecture, labels or `takes_sessions` of the agent changed.
  void changed(AgentIndex agent);
  // The table has a new agent at `at`, or no longer has the one that was there.
  void inserted(AgentIndex at);
  void erased(AgentIndex at);

  // `labels`: only agents that have them, whatever the requirement's own rule; null: any.
  std::optional<AgentIndex> best(const AgentTable& agents, const Requirement& requirement,
                                 std::span<const KeyPart> key, std::uint32_t container_limit,
                                 const AgentTest& test = {}, const LabelRule* labels = nullptr);

  // Whether best() finds anyone; nothing when no order knows without a scan.
  std::optional<bool> any(const AgentTable& agents, const Requirement& requirement,
                          std::uint32_t container_limit, const AgentTest& test = {});

  std::size_t orders() const noexcept;  // kept up to date
  std::size_t bytes() const noexcept;
  std::uint64_t builds() const noexcept { return builds_; }  // of orders, so far
  // Agents that lookups have looked at one by one, so far.
  std::uint64_t looked_at() const noexcept { return looked_at_; }
  bool is_sound(const AgentTable& agents);  // for tests; brings all orders up to date

 private:
  struct Order;
  struct Kind {  // of lookup
    std::uint32_t architecture = 0;
    std::vector<std::pair<SlotIndex, bool>> slots;  // and whether more than 0 is asked for
    std::vector<KeyPart> key;
    LabelRule labels;
    std::uint32_t scans = 0, misses = 0;
    std::uint64_t used = 0;  // when, counted in lookups
    std::unique_ptr<Order> order;
    Kind();
    Kind(Kind&&) noexcept;
    Kind& operator=(Kind&&) noexcept;
    ~Kind();
  };

  Kind& kind_of(const Requirement& requirement, std::span<const KeyPart> key,
                const LabelRule& labels);
  Order* order_of(Kind& kind);
  // Sets `gave_up` when so many have the levels but not the amounts that a scan is better.
  std::optional<AgentIndex> first(Order& order, const AgentTable& agents,
                                  const Requirement& requirement, std::uint32_t container_limit,
                                  const AgentTest& test, bool& gave_up);
  void catch_up(Order& order, const AgentTable& agents);
  static void apply(Order& order, std::span<const AgentIndex> changed);
  void build(Order& order, const AgentTable& agents);
  void trim_log();
  bool renumber();

  PlacementIndexLimits limits_;
  std::vector<Kind> kinds_;
  std::size_t last_kind_ = 0;
  std::uint64_t lookups_ = 0;
  std::vector<AgentIndex> log_;  // of changed agents
  std::uint64_t log_begin_ = 0;  // the number of its first entry
  std::uint32_t renumberings_ = 0;
  std::uint64_t builds_ = 0, looked_at_ = 0;
  std::uint64_t epoch_ = 0;                        // of the table's logs
  std::size_t followed_ = 0, followed_moves_ = 0;  // of them
};

}  // namespace bai::sched

// From when on agents have room for a requirement, kept until an agent changes.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/least_tree.hpp"
#include "sched/mirror.hpp"

namespace bai::sched {

// What a pass has started: it holds amounts already, and ends.
class Started {
 public:
  struct Release {
    std::int64_t at = 0;
    const std::vector<SlotRequest>* slots = nullptr;
    std::uint32_t containers = 0;
  };

  void add(AgentIndex agent, Release release);
  void remove(AgentIndex agent, Release release);  // one that was added

  std::span<const Release> on(AgentIndex agent) const;  // by time
  // Whoever remembers where it stopped catches up from there.
  const std::vector<AgentIndex>& log() const noexcept { return log_; }
  const auto& all() const noexcept { return releases_; }  // by agent, in no order

 private:
  std::unordered_map<AgentIndex, std::vector<Release>> releases_;
  std::vector<AgentIndex> log_;
};

// For one requirement, and as if nobody else started from now on: what is free only grows then, so
// that one time says all of an agent.
class StartTimes {
 public:
  static constexpr std::int64_t kAtOnce = std::numeric_limits<std::int64_t>::min();

  // The real one may be later: a reservation keeps what comes free.
  bool is_rough(AgentIndex agent) const noexcept { return rough_[agent] != 0; }

  // Agents by time, then by number: from `from` on, and before `limit`. What should have come free
  // by `now` does right after it.
  class InOrder {
   public:
    InOrder(const StartTimes& times, std::int64_t now, std::int64_t from, std::int64_t limit);
    std::optional<std::pair<std::int64_t, AgentIndex>> next();

   private:
    struct Node {
      std::int64_t at = 0;
      std::size_t first = 0, number = 0;  // its first agent; in the tree
      friend auto operator<=>(const Node&, const Node&) = default;
    };
    void push(std::size_t number, std::size_t first);

    const StartTimes& times_;
    std::int64_t now_, from_, limit_;
    std::vector<Node> heap_;
  };

  // The first agent not before `from` that has room by `at`, which is not before `now`.
  std::optional<AgentIndex> first_by(std::int64_t at, std::int64_t now, AgentIndex from) const;

 private:
  friend class StartTimesCache;

  Requirement requirement_;
  LabelRule labels_;
  std::uint32_t container_limit_ = kNoContainerLimit;
  std::uint64_t epoch_ = 0, ends_epoch_ = 0;          // of the agents, of expected ends
  std::size_t changes_ = 0, ends_ = 0, started_ = 0;  // that it knows of
  std::uint64_t pass_ = 0;                            // whose `started_` that is
  LeastTree<std::int64_t> tree_;                      // by agent; kNeverEnds: none
  std::vector<std::uint8_t> rough_;
};

// Belongs to one resource group.
class StartTimesCache {
 public:
  void begin_pass() noexcept { ++pass_; }
  // As of now; until the next call. The requirement's labels are prepared.
  const StartTimes& refreshed(const Mirror& mirror, const Group& group, const Started& started,
                              const Requirement& requirement, std::uint32_t container_limit);

 private:
  static constexpr std::size_t kTimesMax = 4'000'000;    // kept before all are forgotten
  std::unordered_map<std::uint64_t, StartTimes> known_;  // by content of the requirement
  std::vector<std::uint64_t> seen_;   // by agent: the last call that looked at it
  std::vector<SlotRequest> missing_;  // working space
  std::uint64_t calls_ = 0, pass_ = 0;
};

}  // namespace bai::sched

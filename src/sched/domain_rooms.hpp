// How many kernels of a kind have room in each domain of a topology, kept until agents change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/topology.hpp"
#include "sched/victim_index.hpp"

namespace bai::sched {

// How many of the requirement the agent has room for now, as far as amounts and containers go; none
// where not even one device does. None too on an agent that does not suit the requirement.
std::uint32_t copies_on(const AgentTable& agents, AgentIndex agent, const Requirement& requirement,
                        std::uint32_t container_limit);

// Of one requirement: what is there now, or, where the stakes of those who may be ended are looked
// at, what there is at most when they leave; then devices are not looked at.
class DomainRooms {
 public:
  std::uint32_t on(AgentIndex agent) const noexcept { return copies_[agent]; }
  std::span<const std::uint64_t> in(std::size_t level) const noexcept {
    return sums_[level];  // by domain
  }
  // Nobody is ended in the domain before that one; kNobody without stakes.
  const VictimKey& first(std::size_t level, std::size_t domain) const noexcept {
    return firsts_.empty() ? kNobody : firsts_[level][domain].key;
  }
  bool has_stakes() const noexcept { return !firsts_.empty(); }

 private:
  friend class RoomsCache;
  using Stakes = VictimIndex::Stakes;
  struct First {
    VictimKey key = kNobody;
    AgentIndex on = AgentLog::kGone;
  };
  void set(const Topology& topology, const Stakes* stakes, AgentIndex agent, std::uint32_t copies);
  void settle(const Topology& topology, const Stakes* stakes);  // after some calls of set()
  void sum_up(const Topology& topology, const Stakes* stakes);  // after copies were written
  const VictimKey& first_on(const Stakes& stakes, AgentIndex agent) const noexcept {
    return copies_[agent] > 0 ? stakes.on(agent).first() : kNobody;
  }
  First first_of(const Topology::Domain& domain, const Stakes& stakes) const;

  Requirement requirement_;
  LabelRule labels_;  // numbers of rules are used again
  std::uint32_t container_limit_ = 0;
  std::uint64_t epoch_ = 0;                       // of the agents
  std::size_t followed_ = 0;                      // of their changes
  std::uint64_t topology_ = 0;                    // its version
  std::uint64_t used_ = 0;                        // when, counted in calls
  std::uint64_t stakes_ = 0, built_ = 0;          // their kind, and when they were built
  ChangeLog<AgentIndex>::Place read_;             // of their changes
  std::vector<std::uint32_t> copies_;             // by agent
  std::vector<std::vector<std::uint64_t>> sums_;  // by level, then by domain
  std::vector<std::vector<First>> firsts_;        // the same; empty without stakes
  std::vector<std::pair<std::size_t, std::uint32_t>> stale_;  // levels and domains: of `firsts_`
};

// Belongs to one resource group.
class RoomsCache {
 public:
  static constexpr std::size_t kKindsMax = 1024;
  static constexpr std::size_t kCopiesMax = std::size_t{16} << 20U;  // of all kinds

  // Until the next call. `topology` has followed the agents. `labels`: the requirement's rule,
  // which is prepared. `stakes`: null, or as of now.
  const DomainRooms& refreshed(const Topology& topology, const AgentTable& agents,
                               const Requirement& requirement, const LabelRule& labels,
                               std::uint32_t container_limit,
                               const VictimIndex::Stakes* stakes = nullptr);
  std::size_t kinds() const noexcept { return known_.size(); }
  std::uint64_t looked_at() const noexcept { return looked_at_; }  // agents, so far

 private:
  void drop_unused(std::size_t agents);

  std::unordered_map<std::uint64_t, DomainRooms> known_;  // by content of the requirement, stakes
  std::vector<std::uint64_t> seen_;  // by agent: the last call that looked at it
  std::uint64_t calls_ = 0, looked_at_ = 0;
};

// What a gang finds: the rooms of all its kinds of kernels together.
class GangRooms {
 public:
  using Copies = std::span<const std::pair<AgentIndex, std::uint32_t>>;  // each agent once
  struct Room {
    std::uint64_t total = 0;    // kernels of all kinds
    std::uint64_t missing = 0;  // kernels that have none
  };

  // On the smallest `levels` levels.
  GangRooms(const Topology& topology, std::size_t levels);
  // One kind of which so many are wanted: what there is, without some agents, which are ordered,
  // and with so many `instead` on others; or what these agents alone have.
  void add(const DomainRooms& rooms, std::span<const AgentIndex> without, std::uint64_t wanted,
           Copies instead = {});
  void add(Copies copies, std::uint64_t wanted);

  const Room& room(std::size_t level, std::size_t domain) const noexcept {
    return levels_[level][domain];
  }
  // Of all kinds that were added with stakes: nobody is ended there before that one.
  const VictimKey& first(std::size_t level, std::size_t domain) const noexcept {
    return firsts_.empty() ? kNobody : firsts_[level][domain];
  }
  // The domain with the most room; null: there is no domain of that level.
  const Topology::Domain* roomiest(std::size_t level) const;

 private:
  void count(std::uint64_t wanted);

  const Topology& topology_;
  std::vector<std::vector<Room>> levels_;         // then by domain
  std::vector<std::vector<VictimKey>> firsts_;    // the same; empty without stakes
  std::vector<std::vector<std::uint64_t>> sums_;  // of the kind that is added
};

// Domains of one level that have room for all kernels of a gang, as far as amounts go: those with
// the least room for such kernels first, by name among equals.
class FittingDomains {
 public:
  FittingDomains(const Topology& topology, std::size_t level, const GangRooms& rooms);
  const Topology::Domain* next();  // null: no more

 private:
  std::span<const Topology::Domain> domains_;
  std::vector<std::pair<std::uint64_t, std::size_t>> heap_;  // room, domain
};

}  // namespace bai::sched

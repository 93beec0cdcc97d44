// The trees of a VictimIndex: what they know of agents, and which of them are kept.
#pragma once

#include <algorithm>
#include <limits>
#include <list>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "sched/victim_index.hpp"
#include "sched/victims.hpp"

namespace bai::sched {

inline constexpr std::size_t kEntriesPerTree = 16;  // what it takes beside its places
inline constexpr std::uint32_t kNowhere = 0xffff'ffff;
inline constexpr std::int64_t kNothing = VictimTree::kNothing;
inline constexpr std::int64_t kAbsent = kNothing / 4;  // what is less is not there
inline constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

inline bool weighs(const PreemptionRules& rules) {
  return rules.order == PreemptionRules::Order::SmallestResources;
}
inline bool counts_cost(const PreemptionRules& rules) {
  return rules.order == PreemptionRules::Order::FewestSessions || weighs(rules);
}

// What 2^magnitude units weigh, at least, where so many do: in 2^kPriceBits. Both round down, and
// leave what they cannot say at less.
inline constexpr int kPriceBits = 8;
inline std::int64_t price_of(std::int64_t weight, std::int64_t units, std::uint8_t magnitude) {
  if (magnitude == Magnitudes::kNone) return 0;
  const Int128 price = (Int128{weight} << magnitude >> kPriceBits) / units;
  return price >= kMost ? kMost : static_cast<std::int64_t>(price);
}
// What units weigh at that price.
inline std::int64_t weight_at(std::int64_t price, std::int64_t units, std::uint8_t magnitude) {
  if (magnitude == Magnitudes::kNone) return 0;
  Int128 weight = Int128{price} * units;
  if (const int shift = int{magnitude} - kPriceBits; shift > 0) {
    weight = (weight + ((Int128{1} << shift) - 1)) >> shift;
  }
  return weight >= kMost ? kMost : static_cast<std::int64_t>(weight);
}

struct VictimIndex::Kind {
  std::uint32_t architecture = 0;
  std::vector<SlotIndex> needed;   // ordered
  bool counts_containers = false;  // there is a limit to them
  bool by_priority = true;         // some yield
  std::int64_t highest = 0;        // job priority of those
  UserId user;                     // whose sessions do; of these what the scope says
  ProjectId project;
  DomainName domain;
  std::vector<Borrower> borrowers;  // whose sessions do as well
  friend auto operator<=>(const Kind&, const Kind&) = default;
};

// Numbers of a place: what each needed slot has free once all have left who may be ended; the
// same of container places, negative; when the next one will have run long enough, negative. Where
// it matters what ends: what each has free now, and the most that one session gives of it. Where
// sessions are weighed: what the lightest one weighs that gives some, and what it weighs for what
// it gives, both negative.
struct VictimIndex::Tree {
  Tree(std::uint64_t number, Kind of, const PreemptionRules& rules)
      : id(number),
        kind(std::move(of)),
        slots(kind.needed.size()),
        bounds((weighs(rules)        ? 5
                : counts_cost(rules) ? 3
                                     : 1) *
                   slots +
               2) {}

  std::size_t containers() const noexcept { return slots; }
  std::size_t ripe() const noexcept { return slots + 1; }
  std::size_t free(std::size_t i) const noexcept { return slots + 2 + i; }
  std::size_t most(std::size_t i) const noexcept { return 2 * slots + 2 + i; }
  std::size_t lightest(std::size_t i) const noexcept { return 3 * slots + 2 + i; }
  std::size_t price(std::size_t i) const noexcept { return 4 * slots + 2 + i; }
  // What it costs, at least, that so many units go of what some have.
  std::int64_t least_cost(const std::int64_t* numbers, std::size_t i, std::int64_t units,
                          bool by_weight) const {
    if (numbers[most(i)] <= 0) return 0;
    const std::int64_t sessions = (units - 1) / numbers[most(i)] + 1;
    if (!by_weight) return sessions;
    const Int128 weight = Int128{sessions} * -numbers[lightest(i)];
    const std::int64_t by_price = weight_at(-numbers[price(i)], units, magnitudes[kind.needed[i]]);
    return weight >= kMost ? kMost : std::max(static_cast<std::int64_t>(weight), by_price);
  }
  std::span<std::int64_t> gain(std::uint32_t place) {
    return std::span(gains).subspan(place * (slots + 1), slots + 1);
  }
  std::uint32_t place_of(AgentIndex agent) const {
    const auto spot = std::ranges::lower_bound(spots, agent, {}, &Spot::agent);
    return spot != spots.end() && spot->agent == agent ? spot->place : kNowhere;
  }
  std::uint32_t place_for(AgentIndex agent) {  // a new one
    std::uint32_t place = 0;
    if (unused.empty()) {
      place = bounds.add();
      agents.push_back(agent);
      firsts.push_back(kNobody);
      gains.resize(agents.size() * (slots + 1), 0);
      holds.push_back(0);
    } else {
      place = unused.back();
      unused.pop_back();
      agents[place] = agent;
    }
    const auto spot = std::ranges::lower_bound(spots, agent, {}, &Spot::agent);
    spots.insert(spot, {agent, place});
    return place;
  }
  void leave(std::uint32_t place) {  // nobody is there any more; bounds.follow() is to come
    spots.erase(std::ranges::lower_bound(spots, agents[place], {}, &Spot::agent));
    agents[place] = AgentLog::kGone;
    unused.push_back(place);
    bounds.empty(place);
  }
  std::size_t entries() const noexcept { return kEntriesPerTree + bounds.places(); }

  struct Spot {
    AgentIndex agent = 0;
    std::uint32_t place = 0;
  };

  std::uint64_t id;
  Kind kind;
  std::size_t slots;
  VictimTree bounds;
  std::vector<Spot> spots;            // of agents where somebody may be ended, by agent
  std::vector<AgentIndex> agents;     // by place; or AgentLog::kGone
  std::vector<std::uint32_t> unused;  // places
  std::vector<VictimKey> firsts;      // by place: of who has something of what is needed
  std::vector<std::int64_t> gains;    // by place: what they hold who may be ended, and containers
  std::vector<std::uint64_t> holds;   // by place: slots that they hold anywhere, where weighed
  Magnitudes magnitudes;              // that they were weighed by
  ChangeLog<AgentIndex> read;         // agents that were read again since it was built
  std::uint64_t built = 0;            // when, counted in builds
  std::size_t built_from = 0;         // agents
  // Of the group's logs, as far as it has followed them. 0: nothing is known.
  std::uint64_t log_epoch = 0, settings_epoch = 0, tenants_epoch = 0;
  std::size_t changes = 0, moves = 0, tenants = 0;
  Timestamp now;
  std::size_t counted = 0;  // entries, by those who keep it
};

// What is kept: the trees asked for lately.
struct VictimIndex::Trees {
  // The tree, made when there is none yet; the last one to be dropped from now on.
  Tree& of(const Kind& kind, const PreemptionRules& rules) {
    const auto [it, is_new] = by_kind.try_emplace(kind);
    if (is_new) {
      it->second = all.emplace(all.begin(), ++made, kind, rules);
    } else {
      all.splice(all.begin(), all, it->second);
    }
    return all.front();
  }
  // The first one may have grown: others go while all of them have more entries than that.
  void settle(std::size_t entries_max) {
    Tree& first = all.front();
    entries += first.entries() - first.counted;
    first.counted = first.entries();
    while (entries > entries_max && all.size() > 1) {
      entries -= all.back().counted;
      by_kind.erase(all.back().kind);
      all.pop_back();
    }
  }
  void clear() {
    by_kind.clear();
    all.clear();
    entries = 0;
  }

  std::list<Tree> all;  // asked for lately first
  std::map<Kind, std::list<Tree>::iterator> by_kind;
  std::size_t entries = 0;
  std::uint64_t made = 0;  // so far
};

}  // namespace bai::sched

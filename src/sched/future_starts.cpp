// When something can start.
#include <algorithm>
#include <queue>
#include <unordered_map>

#include "sched/future.hpp"

namespace bai::sched {

namespace {

bool suits(const AgentTable& agents, AgentIndex agent, const Requirement& requirement,
           const AgentFilter& filter) {
  return agents.takes_sessions(agent) && agents.architecture(agent) == requirement.architecture &&
         agents.labels_match(agent, requirement.labels) && !filter.excludes(agent);
}

// Counts a look at so many agents, unless it is more than there may be: then no more is looked at.
bool can_afford(std::size_t agents, const Future::Bounds& bounds, std::uint64_t& steps) {
  if (steps >= bounds.steps || bounds.steps - steps < agents) {
    steps = std::max(steps, bounds.steps);
    return false;
  }
  steps += agents;
  return true;
}

}  // namespace

// Goes from time to time at which something comes free and counts on how many agents there is room.
class Future::Walk {
 public:
  // Over `those` (ordered).
  Walk(Future& future, const Request& request, Duration estimate, const AgentFilter& filter,
       const Bounds& bounds, std::uint64_t& steps, std::span<const AgentIndex> those)
      : future_(future),
        estimate_(estimate),
        filter_(filter),
        bounds_(bounds),
        steps_(steps),
        requirements_(request.requirements),
        those_(those) {
    for (const Requirement& requirement : requirements_) {
      const auto known = std::ranges::find_if(
          kinds_, [&](const Kind& kind) { return kind.requirement->id == requirement.id; });
      if (known != kinds_.end()) {
        ++known->wanted;
      } else {
        kinds_.push_back({&requirement, 1, 0, {}});
      }
    }
  }

  std::optional<Start> run() {
    if (!can_afford(those_.size(), bounds_, steps_)) return std::nullopt;
    for (const AgentIndex agent : those_) future_.profile(agent);
    for (Kind& kind : kinds_) kind.rooms.assign(those_.size(), 0);
    at_ = std::max(future_.now_, bounds_.from);
    for (std::size_t place = 0; place < those_.size(); ++place) recount(place);
    while (at_ < bounds_.limit && steps_ < bounds_.steps) {
      if (auto start = attempt()) return start;
      if (due_.empty()) return std::nullopt;
      at_ = due_.top().first;
      touched_.clear();
      for (; !due_.empty() && due_.top().first == at_; due_.pop()) {
        touched_.push_back(due_.top().second);
      }
      for (const std::size_t place : touched_) recount(place);
      steps_ += touched_.size();
    }
    return std::nullopt;
  }

 private:
  struct Kind {
    const Requirement* requirement;
    std::size_t wanted, room;        // `room` over all agents, each counted up to `wanted`
    std::vector<std::size_t> rooms;  // by place
  };
  using Due = std::pair<std::int64_t, std::size_t>;  // place: of an agent among `those_`

  // Devices are known for what is there now only.
  std::size_t room_on(AgentIndex agent, const Requirement& requirement, std::size_t most) const {
    const Profile& profile = future_.profile(agent);
    const bool is_now = at_ < profile.first_change();
    if (is_now && !future_.group_.agents.fits(agent, requirement)) return 0;
    return profile.room(at_, end_after(at_, estimate_), requirement, most);
  }

  void recount(std::size_t place) {
    const AgentIndex agent = those_[place];
    bool is_candidate = false;
    for (Kind& kind : kinds_) {
      if (!suits(future_.group_.agents, agent, *kind.requirement, filter_)) continue;
      is_candidate = true;
      const std::size_t room = room_on(agent, *kind.requirement, kind.wanted);
      kind.room += room - kind.rooms[place];
      kind.rooms[place] = room;
    }
    if (!is_candidate) return;
    const std::int64_t next = future_.profile(agent).next_change(at_, estimate_);
    if (next != kNeverEnds) due_.emplace(next, place);
  }

  std::optional<Start> attempt() {
    for (const Kind& kind : kinds_) {
      if (kind.room < kind.wanted) return std::nullopt;
    }
    Start start{at_, {}};
    std::vector<std::size_t> from(kinds_.size(), 0);
    std::map<AgentIndex, std::vector<const Requirement*>> given;
    for (const Requirement& requirement : requirements_) {
      const Kind& kind = *std::ranges::find_if(
          kinds_, [&](const Kind& k) { return k.requirement->id == requirement.id; });
      std::optional<AgentIndex> chosen;
      // What was given since leaves no more room on those that were looked at.
      std::size_t& at = from[static_cast<std::size_t>(&kind - kinds_.data())];
      for (; at < those_.size(); ++at, ++steps_) {
        if (kind.rooms[at] == 0) continue;
        const AgentIndex agent = those_[at];
        auto& already = given[agent];
        if (!room_beside(agent, already, requirement, kind.wanted)) continue;
        already.push_back(&requirement);
        chosen = agent;
        break;
      }
      if (!chosen) return std::nullopt;  // kinds that only together have no room
      start.agents.push_back(*chosen);
    }
    return start;
  }

  // Whether what was given to the agent and this one have room together.
  bool room_beside(AgentIndex agent, const std::vector<const Requirement*>& already,
                   const Requirement& requirement, std::size_t most) {
    if (already.empty()) return true;
    const bool alike = std::ranges::all_of(
        already, [&](const Requirement* other) { return other->id == requirement.id; });
    if (alike) return room_on(agent, requirement, most) > already.size();
    Requirement together = requirement;
    for (const Requirement* other : already) {
      add(together, other->slots);
      together.containers += other->containers;
    }
    return future_.profile(agent).room(at_, end_after(at_, estimate_), together, 1) == 1;
  }

  static void add(Requirement& sum, const std::vector<SlotRequest>& slots) {
    for (const SlotRequest& r : slots) {
      const auto same = std::ranges::find(sum.slots, r.slot, &SlotRequest::slot);
      if (same != sum.slots.end()) {
        same->units += r.units;
      } else {
        sum.slots.push_back(r);
      }
    }
  }

  Future& future_;
  Duration estimate_;
  const AgentFilter& filter_;
  Bounds bounds_;
  std::uint64_t& steps_;
  std::span<const Requirement> requirements_;
  std::span<const AgentIndex> those_;
  std::vector<Kind> kinds_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  std::vector<std::size_t> touched_;
  std::int64_t at_ = 0;
};

std::optional<Future::Start> Future::earliest_among(std::span<const AgentIndex> agents,
                                                    const Requirement& requirement,
                                                    Duration estimate, const AgentFilter& filter,
                                                    const Bounds& bounds, std::uint64_t& steps) {
  std::optional<Start> best;
  std::int64_t limit = bounds.limit;
  const std::int64_t now = std::max(now_, bounds.from);
  if (!can_afford(agents.size(), bounds, steps)) return best;
  for (const AgentIndex agent : agents) {
    if (!suits(group_.agents, agent, requirement, filter)) continue;
    // Devices are known for what is there now only.
    const Profile& known = profile(agent);
    const std::int64_t from =
        group_.agents.fits(agent, requirement) ? now : std::max(now, known.first_change());
    const auto at = known.earliest(requirement, estimate, from, limit);
    if (!at) continue;
    best = Start{*at, {agent}};
    limit = *at;
    if (limit == now) break;
  }
  return best;
}

// In order: agents on which nothing but the devices is missing. Any change in what is promised
// there may be one of those, too, and come earlier than what is kept says.
std::vector<AgentIndex> Future::special_devices(const Requirement& requirement) const {
  std::vector<AgentIndex> agents;
  if (!group_.agents.has_devices()) return agents;
  const auto look_at = [&](AgentIndex agent) {
    if (!group_.agents.fits(agent, requirement) && copies(free_now(agent), requirement, 1) == 1) {
      agents.push_back(agent);
    }
  };
  for (const auto& [agent, count] : promised_) look_at(agent);
  for (const auto& [from, agent] : kept_.by_start()) look_at(agent);
  std::ranges::sort(agents);
  agents.erase(std::ranges::unique(agents).begin(), agents.end());
  return agents;
}

std::optional<Future::Start> Future::earliest_anywhere(const Requirement& requirement,
                                                       Duration estimate, const AgentFilter& filter,
                                                       const Bounds& bounds, std::uint64_t& steps) {
  const StartTimes& times =
      times_.refreshed(mirror_, group_, started_, requirement, container_limit_);
  const std::vector<AgentIndex> looked_at = special_devices(requirement);
  auto best = earliest_among(looked_at, requirement, estimate, filter, bounds, steps);
  StartTimes::InOrder order(times, now_, bounds.from, bounds.limit);
  while (const auto next = order.next()) {
    const auto& [at, agent] = *next;
    ++steps;
    if (best && std::pair(best->at, best->agents.front()) < *next) break;
    if (filter.excludes(agent)) continue;
    if (!is_special(agent) && !times.is_rough(agent)) return Start{at, {agent}};
    if (std::ranges::binary_search(looked_at, agent)) continue;
    Bounds earlier = bounds;
    if (best) earlier.limit = best->agents.front() > agent ? best->at + 1 : best->at;
    if (auto start =
            earliest_among(std::span(&agent, 1), requirement, estimate, filter, earlier, steps)) {
      best = std::move(start);
    }
  }
  return best;
}

// For each kind of kernel as many agents on which nothing is promised as there are kernels: each of
// them has room for one from its time on, so that all find room, whichever the others take. Where
// there are fewer, all that ever have room.
std::optional<Future::Start> Future::earliest_gang(const Request& request, Duration estimate,
                                                   const AgentFilter& filter, const Bounds& bounds,
                                                   std::uint64_t& steps) {
  const auto& requirements = request.requirements;
  std::vector<const Requirement*> kinds;
  for (const Requirement& requirement : requirements) {
    const bool is_known =
        std::ranges::any_of(kinds, [&](const Requirement* r) { return r->id == requirement.id; });
    if (!is_known) kinds.push_back(&requirement);
  }
  // `next` begins anew with the times of each kind.
  const auto walk = [&](const Bounds& within, const auto& next) {
    std::vector<AgentIndex> those;
    for (const Requirement* kind : kinds) {
      const auto special = special_devices(*kind);
      those.insert(those.end(), special.begin(), special.end());
      const StartTimes& times =
          times_.refreshed(mirror_, group_, started_, *kind, container_limit_);
      auto order = next(times);
      for (std::size_t plain = 0; plain < requirements.size(); ++steps) {
        const std::optional<AgentIndex> agent = order();
        if (!agent) break;
        if (filter.excludes(*agent)) continue;
        those.push_back(*agent);
        if (!is_special(*agent) && !times.is_rough(*agent)) ++plain;
      }
    }
    std::ranges::sort(those);
    those.erase(std::ranges::unique(those).begin(), those.end());
    return Walk(*this, request, estimate, filter, within, steps, those).run();
  };
  auto first = walk(bounds, [&](const StartTimes& times) {
    return [order = StartTimes::InOrder(times, now_, bounds.from, bounds.limit)]() mutable {
      const auto next = order.next();
      return next ? std::optional(next->second) : std::nullopt;
    };
  });
  if (!first) return first;
  // At that time others may come first.
  const std::int64_t at = first->at;
  auto start = walk({.from = at, .limit = at + 1}, [&](const StartTimes& times) {
    return [&times, this, at, from = AgentIndex{0}]() mutable {
      const auto agent = times.first_by(at, now_, from);
      if (agent) from = *agent + 1;
      return agent;
    };
  });
  return start ? start : first;
}

std::optional<Future::Start> Future::earliest(const Request& request, Duration estimate,
                                              const AgentFilter& filter, const Bounds& bounds,
                                              std::uint64_t& steps) {
  const auto& requirements = request.requirements;
  if (steps >= bounds.steps || requirements.empty()) return std::nullopt;
  std::vector<AgentIndex> members;
  const std::vector<AgentIndex>* those = filter.within;
  if (those == nullptr && filter.strict) those = &filter.designated;
  if (those == nullptr && filter.neighbours != nullptr && filter.neighbours->is_bound()) {
    for (const auto& [agent, sessions] : filter.neighbours->members) members.push_back(agent);
    those = &members;
  }
  const bool is_gang = requirements.size() > 1;
  if (those != nullptr && is_gang) {
    return Walk(*this, request, estimate, filter, bounds, steps, *those).run();
  }
  if (those != nullptr) {
    return earliest_among(*those, requirements.front(), estimate, filter, bounds, steps);
  }
  if (is_gang) return earliest_gang(request, estimate, filter, bounds, steps);
  return earliest_anywhere(requirements.front(), estimate, filter, bounds, steps);
}

std::optional<Future::Start> Future::earliest(const Request& request, Duration estimate,
                                              const AgentFilter& filter, std::int64_t limit,
                                              std::uint64_t& steps) {
  return earliest(request, estimate, filter, Bounds{.from = 0, .limit = limit}, steps);
}

bool Future::admits(const Start& start, const Request& request, const AgentFilter& filter) const {
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    if (!suits(group_.agents, start.agents[i], request.requirements[i], filter)) return false;
  }
  return true;
}

bool Future::holds(const Start& start, const Request& request, Duration estimate,
                   const AgentFilter& filter) {
  const std::int64_t end = end_after(start.at, estimate);
  std::size_t had = 0;
  for (; had < request.requirements.size(); ++had) {
    const Requirement& requirement = request.requirements[had];
    const AgentIndex agent = start.agents[had];
    if (!suits(group_.agents, agent, requirement, filter) ||
        profile(agent).room(start.at, end, requirement, 1) == 0) {
      break;
    }
    if (request.requirements.size() > 1) {
      cut_.push_back(agent);
      profile(agent).add(start.at, end, requirement.slots, requirement.containers, -1);
    }
  }
  const bool all = had == request.requirements.size();
  for (std::size_t i = 0; i < had && request.requirements.size() > 1; ++i) {
    const Requirement& requirement = request.requirements[i];
    profile(start.agents[i]).add(start.at, end, requirement.slots, requirement.containers, 1);
  }
  return all;
}

}  // namespace bai::sched

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
  // Over `those` (ordered), which get profiles, or over all agents.
  Walk(Future& future, const Request& request, Duration estimate, const AgentFilter& filter,
       const Bounds& bounds, std::uint64_t& steps, const std::vector<AgentIndex>* those = nullptr)
      : future_(future),
        agents_(future.group_.agents),
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
    if (!can_afford(size(), bounds_, steps_)) return std::nullopt;
    at_ = future_.now_;
    theirs_ = future_.group_.held.end();
    if (those_ != nullptr) {
      at_ = std::max(at_, bounds_.from);  // profiles know of that time, too
      for (const AgentIndex agent : *those_) future_.profile(agent);
    } else {
      theirs_ = future_.group_.held.begin();
      for (const auto& [agent, releases] : future_.started_.all()) future_.profile(agent);
      for (const auto& [from, agent] : future_.kept_.by_start()) future_.profile(agent);
      if (!future_.mirror_.reservations().empty()) profile_reserved();
    }
    for (Kind& kind : kinds_) kind.rooms.assign(size(), 0);
    for (std::size_t i = 0; i < size(); ++i) recount(i);
    while (at_ < bounds_.limit && steps_ < bounds_.steps) {
      const bool may_start = at_ >= bounds_.from;
      if (auto start = may_start ? attempt() : std::nullopt) return start;
      at_ = std::min(next_of_theirs(), next_of_profiles());
      if (!may_start) at_ = std::min(at_, bounds_.from);
      if (at_ >= bounds_.limit || at_ == kNeverEnds) return std::nullopt;
      move_on();
    }
    return std::nullopt;
  }

 private:
  struct Kind {
    const Requirement* requirement;
    std::size_t wanted, room;        // `room` over all agents, each counted up to `wanted`
    std::vector<std::size_t> rooms;  // by place
  };
  using Due = std::pair<std::int64_t, std::size_t>;

  // Places: of agents among those that are walked over.
  std::size_t size() const noexcept { return those_ != nullptr ? those_->size() : agents_.size(); }
  AgentIndex agent_at(std::size_t place) const noexcept {
    return those_ != nullptr ? (*those_)[place] : static_cast<AgentIndex>(place);
  }

  // What comes free of a reservation's comes free for it.
  void profile_reserved() {
    for (const auto& [key, held] : future_.group_.held) {
      if (future_.mirror_.reservation_of(held->session) == nullptr) continue;
      if (const auto agent = future_.agent_of(*held)) future_.profile(*agent);
    }
  }

  std::int64_t next_of_theirs() const {
    if (theirs_ == future_.group_.held.end()) return kNeverEnds;
    const std::int64_t end = theirs_->first.first;
    return end == kNeverEnds ? end : std::max(end, future_.now_ + 1);
  }
  std::int64_t next_of_profiles() const { return due_.empty() ? kNeverEnds : due_.top().first; }

  void move_on() {
    touched_.clear();
    for (; next_of_theirs() == at_; ++theirs_) {
      if (const auto agent = future_.agent_of(*theirs_->second)) {
        release(*agent, theirs_->second->slots);
      }
    }
    for (; next_of_profiles() == at_; due_.pop()) touched_.push_back(due_.top().second);
    for (const std::size_t place : touched_) recount(place);
    steps_ += touched_.size();
  }

  // Profiles know of it.
  void release(AgentIndex agent, const std::vector<SlotRequest>& slots) {
    if (future_.is_made(agent)) return;
    give(free_of(agent), slots, 1, 1);
    touched_.push_back(agent);
  }

  std::vector<std::int64_t>& free_of(AgentIndex agent) {
    const auto [it, is_new] = free_.try_emplace(agent);
    if (is_new) it->second = future_.free_now(agent);
    return it->second;
  }

  // Devices are known for what is there now only.
  std::size_t room_on(AgentIndex agent, const Requirement& requirement, std::size_t most) {
    if (future_.is_made(agent)) {
      const Profile& profile = future_.profile(agent);
      if (at_ < profile.first_change() && !agents_.fits(agent, requirement)) return 0;
      return profile.room(at_, end_after(at_, estimate_), requirement, most);
    }
    if (const auto it = free_.find(agent); it != free_.end()) {
      return copies(it->second, requirement, most);
    }
    if (!agents_.fits(agent, requirement)) return 0;
    const bool places_count = future_.container_limit_ != kNoContainerLimit;
    return most == 1 && !places_count ? 1 : copies(future_.free_now(agent), requirement, most);
  }

  void recount(std::size_t place) {
    const AgentIndex agent = agent_at(place);
    bool is_candidate = false;
    for (Kind& kind : kinds_) {
      if (!suits(agents_, agent, *kind.requirement, filter_)) continue;
      is_candidate = true;
      const std::size_t room = room_on(agent, *kind.requirement, kind.wanted);
      kind.room += room - kind.rooms[place];
      kind.rooms[place] = room;
    }
    if (!is_candidate || !future_.is_made(agent)) return;
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
      for (; at < size(); ++at, ++steps_) {
        if (kind.rooms[at] == 0) continue;
        const AgentIndex agent = agent_at(at);
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
    if (!future_.is_made(agent)) {
      const auto known = free_.find(agent);  // not free_of(): who is in there has changed
      return copies(known != free_.end() ? known->second : future_.free_now(agent), together, 1) ==
             1;
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
  const AgentTable& agents_;
  Duration estimate_;
  const AgentFilter& filter_;
  Bounds bounds_;
  std::uint64_t& steps_;
  std::span<const Requirement> requirements_;
  const std::vector<AgentIndex>* those_;
  std::vector<Kind> kinds_;
  std::map<EndKey, const Held*>::const_iterator theirs_;
  std::unordered_map<AgentIndex, std::vector<std::int64_t>> free_;  // where it is not as now
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;  // of agents with a profile
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
  for (const auto& [agent, profile] : profiles_) look_at(agent);
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

// Of agents on which nothing is promised as many as there are kernels decide when there is room for
// all: each of them has room for one from its time on.
std::optional<Future::Start> Future::earliest_gang(const Request& request, Duration estimate,
                                                   const AgentFilter& filter, const Bounds& bounds,
                                                   std::uint64_t& steps) {
  const Requirement& requirement = request.requirements.front();
  const StartTimes& times =
      times_.refreshed(mirror_, group_, started_, requirement, container_limit_);
  const std::size_t wanted = request.requirements.size();
  std::vector<AgentIndex> those = special_devices(requirement);
  const auto add = [&](AgentIndex agent) {
    const auto at = std::ranges::lower_bound(those, agent);
    if (at == those.end() || *at != agent) those.insert(at, agent);
    return !is_special(agent) && !times.is_rough(agent);
  };
  StartTimes::InOrder order(times, now_, bounds.from, bounds.limit);
  for (std::size_t plain = 0; plain < wanted;) {
    const auto next = order.next();
    if (!next) break;
    if (add(next->second)) ++plain;
  }
  const auto first = Walk(*this, request, estimate, filter, bounds, steps, &those).run();
  if (!first) return std::nullopt;
  // At that time others may come first.
  those = special_devices(requirement);
  std::size_t plain = 0;
  for (AgentIndex from = 0; plain < wanted;) {
    const auto agent = times.first_by(first->at, now_, from);
    if (!agent) break;
    if (add(*agent)) ++plain;
    from = *agent + 1;
  }
  return Walk(*this, request, estimate, filter, {.from = first->at, .limit = first->at + 1}, steps,
              &those)
      .run();
}

std::optional<Future::Start> Future::earliest(const Request& request, Duration estimate,
                                              const AgentFilter& filter, const Bounds& bounds,
                                              std::uint64_t& steps) {
  const auto& requirements = request.requirements;
  if (steps >= bounds.steps) return std::nullopt;
  const std::vector<AgentIndex>* those = filter.within;
  if (those == nullptr && filter.strict) those = &filter.designated;
  if (those != nullptr && requirements.size() == 1) {
    return earliest_among(*those, requirements.front(), estimate, filter, bounds, steps);
  }
  const bool alike = std::ranges::all_of(
      requirements, [&](const Requirement& r) { return r.id == requirements.front().id; });
  if (requirements.empty() || those != nullptr || filter.may_exclude() || !alike) {
    return Walk(*this, request, estimate, filter, bounds, steps, those).run();
  }
  if (requirements.size() > 1) return earliest_gang(request, estimate, filter, bounds, steps);
  return earliest_anywhere(requirements.front(), estimate, filter, bounds, steps);
}

std::optional<Future::Start> Future::earliest(const Request& request, Duration estimate,
                                              const AgentFilter& filter, std::int64_t limit,
                                              std::uint64_t& steps) {
  return earliest(request, estimate, filter, Bounds{.from = 0, .limit = limit}, steps);
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

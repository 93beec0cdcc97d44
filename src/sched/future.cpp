#include "sched/future.hpp"

#include <algorithm>
#include <unordered_map>

#include "base/assert.hpp"

namespace bai::sched {

namespace {

void give(std::vector<std::int64_t>& free, const std::vector<SlotRequest>& slots, int sign) {
  for (const SlotRequest& r : slots) {
    if (r.slot >= free.size()) free.resize(r.slot + 1, 0);
    free[r.slot] += sign * r.units;
  }
}

std::size_t copies(std::span<const std::int64_t> free, const Requirement& requirement,
                   std::size_t most) {
  for (const SlotRequest& r : requirement.slots) {
    if (r.units == 0) continue;
    const std::int64_t has = r.slot < free.size() ? free[r.slot] : 0;
    if (has < r.units) return 0;
    most = std::min(most, static_cast<std::size_t>(has / r.units));
  }
  return most;
}

bool suits(const AgentTable& agents, AgentIndex agent, const Requirement& requirement,
           const AgentFilter& filter) {
  return agents.takes_sessions(agent) && agents.architecture(agent) == requirement.architecture &&
         agents.labels_match(agent, requirement.labels) &&
         requirement.containers <= filter.container_limit && !filter.excludes(agent);
}

}  // namespace

// Goes from release to release and counts on how many agents there is room.
class Future::Walk {
 public:
  Walk(const Future& future, const Request& request, Duration estimate, const AgentFilter& filter,
       std::uint64_t& steps)
      : future_(future),
        agents_(future.group_.agents),
        estimate_(estimate),
        filter_(filter),
        steps_(steps) {
    for (const Requirement& requirement : request.requirements) {
      const auto known = std::ranges::find_if(
          kinds_, [&](const Kind& kind) { return kind.requirement->id == requirement.id; });
      if (known != kinds_.end()) {
        ++known->wanted;
      } else {
        kinds_.push_back({&requirement, 1, 0, {}});
      }
    }
    requirements_ = request.requirements;
  }

  std::optional<Start> run() {
    at_ = future_.now_;
    for (Kind& kind : kinds_) kind.rooms.assign(agents_.size(), 0);
    for (AgentIndex a = 0; a < agents_.size(); ++a) recount(a);
    steps_ += agents_.size();
    auto theirs = future_.group_.held.begin();
    auto ours = future_.ours_.begin();
    while (true) {
      if (auto start = attempt()) return start;
      const bool more_theirs =
          theirs != future_.group_.held.end() && theirs->first.first != kNeverEnds;
      const bool more_ours = ours != future_.ours_.end() && ours->at != kNeverEnds;
      if (!more_theirs && !more_ours) return std::nullopt;
      at_ = std::min(more_theirs ? when(theirs->first.first) : kNeverEnds,
                     more_ours ? when(ours->at) : kNeverEnds);
      touched_.clear();
      for (; theirs != future_.group_.held.end() && when(theirs->first.first) == at_; ++theirs) {
        if (theirs->first.first == kNeverEnds) break;
        if (const auto agent = future_.agent_of(*theirs->second)) {
          release(*agent, theirs->second->slots);
        }
      }
      for (; ours != future_.ours_.end() && when(ours->at) == at_; ++ours) {
        release(ours->agent, *ours->slots);
      }
      for (const auto& [agent, checks] : future_.promised_) touched_.push_back(agent);
      for (const AgentIndex agent : touched_) recount(agent);
      steps_ += touched_.size();
    }
  }

 private:
  struct Kind {
    const Requirement* requirement;
    std::size_t wanted, room;        // `room` over all agents, each counted up to `wanted`
    std::vector<std::size_t> rooms;  // by agent
  };

  // What should have ended ends right after now.
  std::int64_t when(std::int64_t at) const { return std::max(at, future_.now_ + 1); }

  void release(AgentIndex agent, const std::vector<SlotRequest>& slots) {
    give(free_of(agent), slots, 1);
    touched_.push_back(agent);
  }

  std::vector<std::int64_t>& free_of(AgentIndex agent) {
    const auto [it, is_new] = free_.try_emplace(agent);
    if (is_new) it->second = future_.free_now(agent);
    return it->second;
  }

  void recount(AgentIndex agent) {
    for (Kind& kind : kinds_) {
      if (!suits(agents_, agent, *kind.requirement, filter_)) continue;
      const auto it = free_.find(agent);
      std::size_t room = 0;
      if (it != free_.end()) {
        room = future_.room(agent, it->second, at_, *kind.requirement, estimate_, kind.wanted);
      } else if (agents_.fits(agent, *kind.requirement)) {
        room = future_.room(agent, future_.free_now(agent), at_, *kind.requirement, estimate_,
                            kind.wanted);
      }
      kind.room += room - kind.rooms[agent];
      kind.rooms[agent] = room;
    }
  }

  std::optional<Start> attempt() {
    for (const Kind& kind : kinds_) {
      if (kind.room < kind.wanted) return std::nullopt;
    }
    Start start{at_, {}};
    std::map<AgentIndex, std::vector<std::int64_t>> left;
    for (const Requirement& requirement : requirements_) {
      const Kind& kind = *std::ranges::find_if(
          kinds_, [&](const Kind& k) { return k.requirement->id == requirement.id; });
      std::optional<AgentIndex> chosen;
      for (AgentIndex a = 0; a < agents_.size() && !chosen; ++a) {
        if (kind.rooms[a] == 0) continue;
        const auto [it, is_new] = left.try_emplace(a);
        if (is_new) it->second = free_of(a);
        if (future_.room(a, it->second, at_, requirement, estimate_, 1) == 0) continue;
        give(it->second, requirement.slots, -1);
        chosen = a;
      }
      steps_ += agents_.size();
      if (!chosen) return std::nullopt;  // kinds that only together have no room
      start.agents.push_back(*chosen);
    }
    return start;
  }

  const Future& future_;
  const AgentTable& agents_;
  Duration estimate_;
  const AgentFilter& filter_;
  std::uint64_t& steps_;
  std::span<const Requirement> requirements_;
  std::vector<Kind> kinds_;
  std::unordered_map<AgentIndex, std::vector<std::int64_t>> free_;  // where it is not as now
  std::vector<AgentIndex> touched_;
  std::int64_t at_ = 0;
};

Future::Future(const Mirror& mirror, const Group& group, Timestamp now)
    : mirror_(mirror), group_(group), now_(now.ns) {}

std::int64_t Future::add(std::int64_t at, Duration estimate) noexcept {
  std::int64_t end = 0;
  return __builtin_add_overflow(at, estimate.ns, &end) ? kNeverEnds : end;
}

std::vector<std::int64_t> Future::free_now(AgentIndex agent) const {
  std::vector<std::int64_t> free(group_.agents.column_count());
  for (SlotIndex slot = 0; slot < free.size(); ++slot) free[slot] = group_.agents.free(agent, slot);
  return free;
}

std::optional<AgentIndex> Future::agent_of(const Held& held) const noexcept {
  if (group_.agents.size() == 1 && group_.agents.id(0) == held.agent) return AgentIndex{0};
  return group_.agents.find(held.agent);
}

std::vector<std::int64_t> Future::free_at(AgentIndex agent, std::int64_t at) const {
  std::vector<std::int64_t> free = free_now(agent);
  for (const auto& [key, held] : group_.held) {
    if (key.first > at) break;
    if (agent_of(*held) == agent) give(free, held->slots, 1);
  }
  for (const Release& release : ours_) {
    if (release.at > at) break;
    if (release.agent == agent) give(free, *release.slots, 1);
  }
  // A promise that has begun by then: its end, if past, was among `ours_`.
  for (const Promise& promise : promises_) {
    if (promise.agent == agent && promise.from <= at) give(free, promise.requirement->slots, -1);
  }
  return free;
}

std::size_t Future::room(AgentIndex agent, std::span<const std::int64_t> free, std::int64_t at,
                         const Requirement& requirement, Duration estimate,
                         std::size_t most) const {
  const auto promised = promised_.find(agent);
  if (promised == promised_.end()) return copies(free, requirement, most);
  // `free` knows of releases only: promises that have begun are to be taken off.
  std::vector<std::int64_t> left(free.begin(), free.end());
  for (const Promise& promise : promises_) {
    if (promise.agent == agent && promise.from <= at) give(left, promise.requirement->slots, -1);
  }
  most = copies(left, requirement, most);
  const std::int64_t end = add(at, estimate);
  for (const Check& check : promised->second) {
    if (most == 0 || check.at >= end) break;
    if (check.at > at) most = copies(check.free, requirement, most);
  }
  return most;
}

std::optional<Future::Start> Future::earliest(const Request& request, Duration estimate,
                                              const AgentFilter& filter,
                                              std::uint64_t& steps) const {
  return Walk(*this, request, estimate, filter, steps).run();
}

void Future::promise(const Start& start, const Request& request, Duration estimate) {
  const std::int64_t end = add(start.at, estimate);
  first_promise_ = std::min(first_promise_, start.at);
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    const AgentIndex agent = start.agents[i];
    const Requirement& requirement = request.requirements[i];
    auto& checks = promised_[agent];
    const auto at = std::ranges::lower_bound(checks, start.at, {}, &Check::at);
    if (at == checks.end() || at->at != start.at) {
      checks.insert(at, {start.at, free_at(agent, start.at)});
    }
    for (Check& check : checks) {
      if (check.at >= start.at && check.at < end) give(check.free, requirement.slots, -1);
    }
    promises_.push_back({agent, &requirement, start.at, end});
    const Release release{end, agent, &requirement.slots};
    ours_.insert(std::ranges::upper_bound(ours_, end, {}, &Release::at), release);
  }
}

void Future::placed(AgentIndex agent, const Requirement& requirement, Duration estimate) {
  const std::int64_t end = add(now_, estimate);
  ours_.insert(std::ranges::upper_bound(ours_, end, {}, &Release::at),
               Release{end, agent, &requirement.slots});
  const auto promised = promised_.find(agent);
  if (promised == promised_.end()) return;
  for (Check& check : promised->second) {
    if (check.at < end) give(check.free, requirement.slots, -1);
  }
}

void Future::withdrawn(AgentIndex agent, const Requirement& requirement, Duration estimate) {
  const std::int64_t end = add(now_, estimate);
  const auto same_end = std::ranges::equal_range(ours_, end, {}, &Release::at);
  const auto it = std::ranges::find_if(same_end, [&](const Release& release) {
    return release.agent == agent && release.slots == &requirement.slots;
  });
  BAI_ASSERT(it != same_end.end(), "what is withdrawn was placed");
  ours_.erase(it);
  const auto promised = promised_.find(agent);
  if (promised == promised_.end()) return;
  for (Check& check : promised->second) {
    if (check.at < end) give(check.free, requirement.slots, 1);
  }
}

void Future::barred(const Requirement& requirement, Duration estimate,
                    std::vector<AgentIndex>& agents) const {
  const std::int64_t end = add(now_, estimate);
  if (end <= first_promise_) return;
  for (const auto& [agent, checks] : promised_) {
    const bool breaks = std::ranges::any_of(checks, [&](const Check& check) {
      return check.at < end && copies(check.free, requirement, 1) == 0;
    });
    if (breaks) agents.push_back(agent);
  }
}

Duration Future::before_first_promise() const noexcept {
  return first_promise_ == kNeverEnds ? kUnknownEstimate : Duration{first_promise_ - now_};
}

}  // namespace bai::sched

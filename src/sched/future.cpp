#include "sched/future.hpp"

#include <algorithm>
#include <queue>
#include <unordered_map>

namespace bai::sched {

namespace {

void give(std::vector<std::int64_t>& free, const std::vector<SlotRequest>& slots, int sign) {
  for (const SlotRequest& r : slots) {
    if (r.slot >= free.size()) free.resize(r.slot + 1, 0);
    free[r.slot] += sign * r.units;
  }
}

bool suits(const AgentTable& agents, AgentIndex agent, const Requirement& requirement,
           const AgentFilter& filter) {
  return agents.takes_sessions(agent) && agents.architecture(agent) == requirement.architecture &&
         agents.labels_match(agent, requirement.labels) &&
         requirement.containers <= filter.container_limit && !filter.excludes(agent);
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
    at_ = future_.now_;
    theirs_ = future_.group_.held.end();
    if (those_ != nullptr) {
      at_ = std::max(at_, bounds_.from);  // profiles know of that time, too
      for (const AgentIndex agent : *those_) future_.profile(agent);
    } else {
      theirs_ = future_.group_.held.begin();
      for (const auto& [agent, releases] : future_.started_.all()) future_.profile(agent);
    }
    for (Kind& kind : kinds_) kind.rooms.assign(size(), 0);
    for (std::size_t i = 0; i < size(); ++i) recount(i);
    steps_ += size();
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
    give(free_of(agent), slots, 1);
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
    return most == 1 ? 1 : copies(future_.free_now(agent), requirement, most);
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
    std::map<AgentIndex, std::vector<const Requirement*>> given;
    for (const Requirement& requirement : requirements_) {
      const Kind& kind = *std::ranges::find_if(
          kinds_, [&](const Kind& k) { return k.requirement->id == requirement.id; });
      std::optional<AgentIndex> chosen;
      for (std::size_t i = 0; i < size() && !chosen; ++i) {
        if (kind.rooms[i] == 0) continue;
        const AgentIndex agent = agent_at(i);
        auto& already = given[agent];
        if (!room_beside(agent, already, requirement, kind.wanted)) continue;
        already.push_back(&requirement);
        chosen = agent;
      }
      steps_ += size();
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
    for (const Requirement* other : already) add(together, other->slots);
    if (!future_.is_made(agent)) return copies(free_of(agent), together, 1) == 1;
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

Future::Future(const Mirror& mirror, const Group& group, Timestamp now, StartTimesCache& times)
    : mirror_(mirror), group_(group), times_(times), now_(now.ns) {
  times_.begin_pass();
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

// What a session of a reservation gives back stays with the reservation while it lasts.
std::int64_t Future::release_time(const Held& held, std::int64_t end) const {
  if (end == kNeverEnds) return end;
  std::int64_t at = std::max(end, now_ + 1);
  const ReservationRecord* record = mirror_.reservation_of(held.session);
  if (record != nullptr && record->is_active(Timestamp{now_})) {
    at = std::max(at, record->row->ends_at.ns);
  }
  return at;
}

Profile& Future::profile(AgentIndex agent, std::int64_t until) {
  const auto known = profiles_.find(agent);
  if (known == profiles_.end()) {
    Profile& made = profiles_.try_emplace(agent, now_, free_now(agent)).first->second;
    add_releases(made, agent, now_, until);
    if (until != kNeverEnds) partial_.emplace_back(agent, until);
    return made;
  }
  if (!partial_.empty() && until == kNeverEnds) {
    for (const auto& [cut, at] : std::exchange(partial_, {})) {
      add_releases(profiles_.find(cut)->second, cut, at, kNeverEnds);
    }
  }
  return known->second;
}

// Those after `after` and not after `until`.
void Future::add_releases(Profile& profile, AgentIndex agent, std::int64_t after,
                          std::int64_t until) {
  const bool is_empty = after == now_, has_reservations = !mirror_.reservations().empty();
  for (const auto& [key, held] : mirror_.held_on(group_.agents.id(agent))) {
    if (key.first > until || key.first == kNeverEnds) break;
    const std::int64_t at =
        has_reservations ? release_time(*held, key.first) : std::max(key.first, now_ + 1);
    if (at <= after || at > until) continue;
    if (is_empty && !has_reservations) {
      profile.append(at, held->slots);
    } else {
      profile.add(at, kNeverEnds, held->slots, 1);
    }
  }
  for (const Started::Release& ours : started_.on(agent)) {
    if (ours.at > after && ours.at <= until) profile.add(ours.at, kNeverEnds, *ours.slots, 1);
  }
}

std::optional<Future::Start> Future::earliest_among(std::span<const AgentIndex> agents,
                                                    const Requirement& requirement,
                                                    Duration estimate, const AgentFilter& filter,
                                                    const Bounds& bounds, std::uint64_t& steps) {
  std::optional<Start> best;
  std::int64_t limit = bounds.limit;
  const std::int64_t now = std::max(now_, bounds.from);
  steps += agents.size();
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

// Where an agent has changed its devices may fit earlier than what is kept says.
std::vector<AgentIndex> Future::made_of_devices() const {
  std::vector<AgentIndex> agents;
  if (!group_.agents.has_devices()) return agents;
  for (const auto& [agent, profile] : profiles_) agents.push_back(agent);
  std::ranges::sort(agents);
  return agents;
}

std::optional<Future::Start> Future::earliest_anywhere(const Requirement& requirement,
                                                       Duration estimate, const AgentFilter& filter,
                                                       const Bounds& bounds, std::uint64_t& steps) {
  const StartTimes& times = times_.refreshed(mirror_, group_, started_, requirement);
  const std::vector<AgentIndex> looked_at = made_of_devices();
  auto best = earliest_among(looked_at, requirement, estimate, filter, bounds, steps);
  StartTimes::InOrder order(times, now_, bounds.from, bounds.limit);
  while (const auto next = order.next()) {
    const auto& [at, agent] = *next;
    ++steps;
    if (best && std::pair(best->at, best->agents.front()) < *next) break;
    if (!is_made(agent) && !times.is_rough(agent)) return Start{at, {agent}};
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
  const StartTimes& times =
      times_.refreshed(mirror_, group_, started_, request.requirements.front());
  const std::size_t wanted = request.requirements.size();
  std::vector<AgentIndex> those = made_of_devices();
  const auto add = [&](AgentIndex agent) {
    const auto at = std::ranges::lower_bound(those, agent);
    if (at == those.end() || *at != agent) those.insert(at, agent);
    return !is_made(agent) && !times.is_rough(agent);
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
  those = made_of_devices();
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
  if (requirements.front().containers > filter.container_limit) return std::nullopt;
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
    if (request.requirements.size() > 1) profile(agent).add(start.at, end, requirement.slots, -1);
  }
  const bool all = had == request.requirements.size();
  for (std::size_t i = 0; i < had && request.requirements.size() > 1; ++i) {
    profile(start.agents[i]).add(start.at, end, request.requirements[i].slots, 1);
  }
  return all;
}

void Future::add_promise(AgentIndex agent, const std::vector<SlotRequest>& slots, std::int64_t from,
                         std::int64_t to, int sign) {
  profile(agent).add(from, to, slots, -sign);
  if (sign > 0) {
    ++promised_[agent];
    first_promise_ = std::min(first_promise_, from);
  } else if (const auto it = promised_.find(agent); --it->second == 0) {
    promised_.erase(it);
  }
}

void Future::promise(const Start& start, const Request& request, Duration estimate) {
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    add_promise(start.agents[i], request.requirements[i].slots, start.at,
                end_after(start.at, estimate), 1);
  }
}

void Future::promise_once(const Start& start, const Request& request) {
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    const AgentIndex agent = start.agents[i];
    if (!is_made(agent)) profile(agent, start.at);
    profiles_.find(agent)->second.add(start.at, kNeverEnds, request.requirements[i].slots, -1);
    ++promised_[agent];
  }
  first_promise_ = std::min(first_promise_, start.at);
}

void Future::withdraw(const Start& start, const Request& request, Duration estimate) {
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    add_promise(start.agents[i], request.requirements[i].slots, start.at,
                end_after(start.at, estimate), -1);
  }
}

void Future::keep(AgentIndex agent, const std::vector<SlotRequest>& slots, std::int64_t from,
                  std::int64_t to) {
  add_promise(agent, slots, from, to, 1);
}

// A profile that ends before `end` learns of it with the other releases.
std::int64_t Future::known_end(AgentIndex agent, std::int64_t end) const {
  const auto cut = std::ranges::find(partial_, agent, &std::pair<AgentIndex, std::int64_t>::first);
  return cut != partial_.end() && end > cut->second ? kNeverEnds : end;
}

void Future::placed(AgentIndex agent, const Requirement& requirement, Duration estimate) {
  const std::int64_t end = end_after(now_, estimate);
  started_.add(agent, {end, &requirement.slots});
  if (const auto made = profiles_.find(agent); made != profiles_.end()) {
    made->second.add(now_, known_end(agent, end), requirement.slots, -1);
  }
}

void Future::withdrawn(AgentIndex agent, const Requirement& requirement, Duration estimate) {
  const std::int64_t end = end_after(now_, estimate);
  started_.remove(agent, {end, &requirement.slots});
  if (const auto made = profiles_.find(agent); made != profiles_.end()) {
    made->second.add(now_, known_end(agent, end), requirement.slots, 1);
  }
}

void Future::barred(const Requirement& requirement, Duration estimate,
                    std::vector<AgentIndex>& agents) const {
  const std::int64_t end = end_after(now_, estimate);
  if (end <= first_promise_) return;
  for (const auto& [agent, count] : promised_) {
    if (profiles_.find(agent)->second.room(now_, end, requirement, 1) == 0) agents.push_back(agent);
  }
}

Duration Future::before_first_promise() const noexcept {
  return first_promise_ == kNeverEnds ? kUnknownEstimate : Duration{first_promise_ - now_};
}

}  // namespace bai::sched

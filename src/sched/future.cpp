#include "sched/future.hpp"

#include <algorithm>
#include <utility>

namespace bai::sched {

Future::Future(const Mirror& mirror, const Group& group, Timestamp now, StartTimesCache& times,
               const KeptAmounts& kept, std::uint32_t container_limit)
    : mirror_(mirror),
      group_(group),
      times_(times),
      kept_(kept),
      container_limit_(container_limit),
      now_(now.ns) {
  times_.begin_pass();
}

std::vector<std::int64_t> Future::free_now(AgentIndex agent) const {
  const std::size_t slots = group_.agents.column_count();
  std::vector<std::int64_t> free(slots + 1);
  for (SlotIndex slot = 0; slot < slots; ++slot) free[slot] = group_.agents.free(agent, slot);
  free[slots] = container_limit_ == kNoContainerLimit
                    ? kManyPlaces
                    : std::int64_t{container_limit_} - group_.agents.containers(agent);
  return free;
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
    for (const KeptAmounts::Keep& keep : kept_.on(agent)) {
      std::vector<SlotRequest> left = keep.what->left;
      for (SlotRequest& r : left) r.units = std::max<std::int64_t>(0, r.units);
      made.add(keep.from, keep.to, left, places_left(group_.agents, *keep.what, container_limit_),
               -1);
    }
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
  for (const auto& [key, held] : group_.held_on(agent)) {
    if (key.first > until || key.first == kNeverEnds) break;
    const std::int64_t at =
        has_reservations ? release_time(*held, key.first) : std::max(key.first, now_ + 1);
    if (at <= after || at > until) continue;
    if (is_empty && !has_reservations) {
      profile.append(at, held->slots, 1);
    } else {
      profile.add(at, kNeverEnds, held->slots, 1, 1);
    }
  }
  for (const Started::Release& ours : started_.on(agent)) {
    if (ours.at <= after || ours.at > until) continue;
    profile.add(ours.at, kNeverEnds, *ours.slots, ours.containers, 1);
  }
}

void Future::add_promise(AgentIndex agent, const Requirement& requirement, std::int64_t from,
                         std::int64_t to, int sign) {
  profile(agent).add(from, to, requirement.slots, requirement.containers, -sign);
  if (sign > 0) {
    ++promised_[agent];
    first_promise_ = std::min(first_promise_, from);
  } else if (const auto it = promised_.find(agent); --it->second == 0) {
    promised_.erase(it);
  }
}

void Future::promise(const Start& start, const Request& request, Duration estimate) {
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    add_promise(start.agents[i], request.requirements[i], start.at, end_after(start.at, estimate),
                1);
  }
}

void Future::promise_once(const Start& start, const Request& request) {
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    const AgentIndex agent = start.agents[i];
    if (!is_made(agent)) profile(agent, start.at);
    const Requirement& requirement = request.requirements[i];
    profiles_.find(agent)->second.add(start.at, kNeverEnds, requirement.slots,
                                      requirement.containers, -1);
    ++promised_[agent];
  }
  first_promise_ = std::min(first_promise_, start.at);
}

void Future::end_promise(const Start& start, const Request& request, Duration estimate) {
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    const Requirement& requirement = request.requirements[i];
    profile(start.agents[i])
        .add(end_after(start.at, estimate), kNeverEnds, requirement.slots, requirement.containers,
             1);
  }
}

void Future::withdraw(const Start& start, const Request& request, Duration estimate) {
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    add_promise(start.agents[i], request.requirements[i], start.at, end_after(start.at, estimate),
                -1);
  }
}

bool Future::promise_all(AgentIndex agent, std::span<const Profile::Take> takes) {
  promised_[agent] = static_cast<std::uint32_t>(takes.size());
  for (const Profile::Take& take : takes) first_promise_ = std::min(first_promise_, take.from);
  return profile(agent).add_all(takes);
}

void Future::promise_known(AgentIndex agent, Profile profile, std::uint32_t count,
                           std::int64_t first) {
  promised_[agent] = count;
  first_promise_ = std::min(first_promise_, first);
  profiles_.try_emplace(agent, std::move(profile));
}

void Future::forget() {
  profiles_.clear();
  promised_.clear();
  first_promise_ = kNeverEnds;
}

std::unordered_map<AgentIndex, Profile> Future::take_promised() {
  for (const AgentIndex agent : cut_) profiles_.erase(agent);
  std::erase_if(profiles_, [&](const auto& known) { return !promised_.contains(known.first); });
  return std::exchange(profiles_, {});
}

// A profile that ends before `end` learns of it with the other releases.
std::int64_t Future::known_end(AgentIndex agent, std::int64_t end) const {
  const auto cut = std::ranges::find(partial_, agent, &std::pair<AgentIndex, std::int64_t>::first);
  return cut != partial_.end() && end > cut->second ? kNeverEnds : end;
}

void Future::placed(AgentIndex agent, const Requirement& requirement, Duration estimate) {
  const std::int64_t end = end_after(now_, estimate);
  started_.add(agent, {end, &requirement.slots, requirement.containers});
  if (const auto made = profiles_.find(agent); made != profiles_.end()) {
    made->second.add(now_, known_end(agent, end), requirement.slots, requirement.containers, -1);
  }
}

void Future::withdrawn(AgentIndex agent, const Requirement& requirement, Duration estimate) {
  const std::int64_t end = end_after(now_, estimate);
  started_.remove(agent, {end, &requirement.slots, requirement.containers});
  if (const auto made = profiles_.find(agent); made != profiles_.end()) {
    made->second.add(now_, known_end(agent, end), requirement.slots, requirement.containers, 1);
  }
}

// What it takes of what was kept is not left any more: profiles that were made before know both
// already.
void Future::placed_in_kept(AgentIndex agent, const Requirement& requirement, std::int64_t beyond,
                            std::int64_t to, int sign) {
  if (sign > 0) {
    started_.add(agent, {to, &requirement.slots, requirement.containers});
  } else {
    started_.remove(agent, {to, &requirement.slots, requirement.containers});
  }
  if (const auto made = profiles_.find(agent); made != profiles_.end()) {
    made->second.add(now_, known_end(agent, to), {}, beyond, -sign);
  }
}

bool Future::has_places(AgentIndex agent, std::int64_t containers, Duration estimate) {
  Requirement places;
  places.containers = static_cast<std::uint32_t>(containers);
  return profile(agent).room(now_, end_after(now_, estimate), places, 1) == 1;
}

void Future::barred(const Requirement& requirement, Duration estimate,
                    std::vector<AgentIndex>& agents) {
  const std::int64_t end = end_after(now_, estimate);
  const auto look_at = [&](AgentIndex agent) {
    if (profile(agent).room(now_, end, requirement, 1) == 0) agents.push_back(agent);
  };
  if (end > first_promise_) {
    for (const auto& [agent, count] : promised_) look_at(agent);
  }
  const std::size_t promised = agents.size();
  for (const auto& [from, agent] : kept_.by_start()) {
    if (from >= end) break;
    look_at(agent);
  }
  if (agents.size() == promised) return;
  std::ranges::sort(agents);
  agents.erase(std::ranges::unique(agents).begin(), agents.end());
}

void Future::foresee(Duration estimate) {
  const std::int64_t end = end_after(now_, estimate);
  for (const auto& [from, agent] : kept_.by_start()) {
    if (from >= end) break;
    profile(agent);
  }
}

Duration Future::before_first_promise() const noexcept {
  std::int64_t first = first_promise_;
  if (!kept_.empty()) first = std::min(first, std::max(now_, kept_.by_start().begin()->first));
  return first == kNeverEnds ? kUnknownEstimate : Duration{first - now_};
}

}  // namespace bai::sched

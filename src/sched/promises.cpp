#include "sched/promises.hpp"

#include <algorithm>
#include <utility>

namespace bai::sched {

KeptPromise keep_promise(const Mirror& mirror, const Group& group, PendingIndex session,
                         Future::Start start) {
  const Waiting& waiting = mirror.waiting(session);
  KeptPromise promise{session,
                      waiting.generation,
                      waiting.session.request,
                      mirror.request_generation(waiting.session.request),
                      waiting.session.estimate,
                      std::move(start),
                      {}};
  for (const AgentIndex agent : promise.start.agents) {
    promise.agents.push_back(group.agents.id(agent));
  }
  return promise;
}

bool is_wanted(const Mirror& mirror, const Group& group, const KeptPromise& promise) {
  const Waiting& waiting = mirror.waiting(promise.session);
  const PendingSession& session = waiting.session;
  return waiting.queued && waiting.generation == promise.generation &&
         &mirror.group(waiting.group) == &group && session.request == promise.request &&
         mirror.request_generation(session.request) == promise.request_generation &&
         session.estimate == promise.estimate;
}

bool renumber(const Group& group, KeptPromise& promise) {
  for (std::size_t i = 0; i < promise.agents.size(); ++i) {
    const auto at = group.agents.find(promise.agents[i]);
    if (!at) return false;
    promise.start.agents[i] = *at;
  }
  return true;
}

Promises::Promises(const Mirror& mirror, const Group& group, PromiseMemory& memory, Future& future,
                   bool has_reservations)
    : mirror_(mirror),
      group_(group),
      memory_(memory),
      future_(future),
      old_(std::exchange(memory.kept, {})),
      has_reservations_(has_reservations) {
  const AgentTable& agents = group.agents;
  all_improved_ = memory.epoch != agents.epoch() ||
                  memory.estimates_epoch != group.estimates_epoch || memory.settings != group.row ||
                  memory.had_reservations || has_reservations;
  if (all_improved_) return;
  improved_.assign(agents.changed().begin() + static_cast<std::ptrdiff_t>(memory.changes_seen),
                   agents.changed().end());
  improved_.insert(improved_.end(), memory.freed.begin(), memory.freed.end());
  std::ranges::sort(improved_);
  const auto rest = std::ranges::unique(improved_);
  improved_.erase(rest.begin(), rest.end());
}

void Promises::remember(bool is_whole) {
  std::vector<std::pair<std::uint64_t, PendingIndex>> order;
  for (const auto& [session, laid] : laid_) order.emplace_back(laid.number, session);
  std::ranges::sort(order);
  memory_.kept = std::move(started_);
  for (const auto& [number, session] : order) {
    memory_.kept.push_back(std::move(laid_.find(session)->second.promise));
  }
  if (!is_whole) {
    auto& freed = memory_.freed;
    freed.insert(freed.end(), freed_.begin(), freed_.end());
    std::ranges::sort(freed);
    const auto rest = std::ranges::unique(freed);
    freed.erase(rest.begin(), rest.end());
    return;
  }
  memory_.freed = std::move(freed_);
  memory_.epoch = group_.agents.epoch();
  memory_.settings_epoch = group_.agents.settings_epoch();
  memory_.estimates_epoch = group_.estimates_epoch;
  memory_.changes_seen = group_.agents.changed().size();
  memory_.had_reservations = has_reservations_;
  memory_.settings = group_.row;
}

bool Promises::is_valid(KeptPromise& promise) {
  if (memory_.settings_epoch != group_.agents.settings_epoch() && !renumber(group_, promise)) {
    return false;
  }
  if (is_wanted(mirror_, group_, promise)) return true;
  free(promise);
  return false;
}

std::vector<PendingIndex> Promises::undrawn() const {
  std::vector<std::pair<std::uint64_t, PendingIndex>> order;
  for (const auto& [session, laid] : laid_) {
    if (!laid.is_drawn) order.emplace_back(laid.number, session);
  }
  std::ranges::sort(order);
  std::vector<PendingIndex> sessions;
  for (const auto& [number, session] : order) sessions.push_back(session);
  return sessions;
}

void Promises::lay(KeptPromise promise) {
  future_.promise(promise.start, mirror_.request(promise.request), promise.estimate);
  lay_known(std::move(promise));
}

void Promises::lay_known(KeptPromise promise) {
  const PendingIndex session = promise.session;
  laid_[session] = {std::move(promise), next_number_++, !laying_old_};
}

std::optional<KeptPromise> Promises::lift(PendingIndex session) {
  laying_old_ = false;
  const auto it = laid_.find(session);
  if (it == laid_.end()) return std::nullopt;
  KeptPromise promise = std::move(it->second.promise);
  laid_.erase(it);
  future_.withdraw(promise.start, mirror_.request(promise.request), promise.estimate);
  return promise;
}

const KeptPromise* Promises::find(PendingIndex session) const {
  const auto it = laid_.find(session);
  return it == laid_.end() ? nullptr : &it->second.promise;
}

void Promises::stand(PendingIndex session) {
  laying_old_ = false;
  Laid& laid = laid_.find(session)->second;
  laid.number = next_number_++;
  laid.is_drawn = true;
}

void Promises::free(const KeptPromise& promise) {
  for (const AgentIndex agent : promise.start.agents) {
    improve(agent);
    freed_.push_back(agent);
  }
}

void Promises::started(KeptPromise promise) {
  free(promise);
  started_.push_back(std::move(promise));
}

void Promises::improve(AgentIndex agent) {
  if (all_improved_) return;
  const auto at = std::ranges::lower_bound(improved_, agent);
  if (at == improved_.end() || *at != agent) improved_.insert(at, agent);
}

}  // namespace bai::sched

// How long sessions run as far as anyone has said, and when what they hold comes free.
#include <algorithm>

#include "sched/mirror.hpp"

namespace bai::sched {

namespace {

// When it got its agents.
Timestamp began(const Session& session) {
  if (session.starts_at != Timestamp{}) return session.starts_at;
  for (const SessionStatus got : {SessionStatus::Scheduled, SessionStatus::Reserved}) {
    for (const auto& [status, at] : session.status_times) {
      if (status == to_string(got)) return at;
    }
  }
  return session.created_at;
}

auto place_of(std::vector<HeldOn>& held, const EndKey& key) {
  return std::ranges::lower_bound(held, key, {}, &HeldOn::key);
}

}  // namespace

// Members of ResourceGroup::policy_options that the mirror itself follows; the registry has checked
// them. True when one has changed.
bool Mirror::read_settings(Group& group) {
  Duration default_runtime = kUnknownEstimate;
  bool keeps_shortest = false;
  if (group.row != nullptr) {
    const Json& options = group.row->policy_options;
    const Json* runtime = options.find("default_runtime_s");
    if (runtime != nullptr && runtime->is_int()) default_runtime = seconds(runtime->as_int());
    const Json* order = options.find("backfill_order");
    keeps_shortest = group.row->scheduler == "sjf" ||
                     (order != nullptr && order->is_string() && order->as_string() == "shortest");
  }
  const bool changed =
      default_runtime != group.default_runtime || keeps_shortest != group.keeps_shortest;
  group.default_runtime = default_runtime;
  group.keeps_shortest = keeps_shortest;
  return changed;
}

bool Mirror::has_lifetimes() const noexcept {
  return std::ranges::any_of(
      policies_, [](const auto& entry) { return entry.second->max_session_lifetime_s > 0; });
}

Duration Mirror::estimate_of(const UserId& user, Duration declared, const Group& group) const {
  if (declared != kUnknownEstimate) return declared;
  const KeypairPolicy* policy = user_policy(user);
  if (policy != nullptr && policy->max_session_lifetime_s > 0) {
    return seconds(policy->max_session_lifetime_s);
  }
  return group.default_runtime;
}

EstimateFrom Mirror::estimate_from(const SessionId& session, const Group& group) const {
  const auto it = sessions_.find(session);
  if (it == sessions_.end() || !it->second.running) return EstimateFrom::Nothing;
  const Running& running = *it->second.running;
  if (running.declared != kUnknownEstimate) return EstimateFrom::Declared;
  const KeypairPolicy* policy = user_policy(running.user);
  if (policy != nullptr && policy->max_session_lifetime_s > 0) return EstimateFrom::Lifetime;
  return group.default_runtime != kUnknownEstimate ? EstimateFrom::Default : EstimateFrom::Nothing;
}

std::int64_t Mirror::end_of(const Running& running, const Group& group) const {
  if (running.began == Timestamp{}) return kNeverEnds;
  const Duration estimate = estimate_of(running.user, running.declared, group);
  std::int64_t end = 0;
  if (__builtin_add_overflow(running.began.ns, estimate.ns, &end)) return kNeverEnds;
  return end;
}

Mirror::Running& Mirror::running(SessionRecord& record) {
  if (!record.running) record.running = std::make_unique<Running>();
  return *record.running;
}

void Mirror::hold(const Kernel& kernel) {
  HeldEntry& entry = held_[kernel.id];
  entry.held = {kernel.session, kernel.agent, {}};
  for (const auto& [name, amount] : kernel.occupied_slots) {
    if (amount.units != 0) entry.held.slots.push_back({slots_.intern(name), amount.units});
  }
  Running& session = running(sessions_[kernel.session]);
  session.held.push_back(kernel.id);
  if (session.reservation != nullptr) session.reservation->hold(kernel.id);
  auto& on_agent = agents_[kernel.agent].held;
  const EndKey key{entry.end, kernel.id};
  on_agent.insert(place_of(on_agent, key), {key, &entry.held});
  rekey(kernel.id);
  if (tenancy_.is_victim(kernel.session)) stirred_.push_back(kernel.session);
}

void Mirror::release(const Kernel& kernel) {
  const auto it = held_.find(kernel.id);
  if (it->second.group != kNone) {
    groups_[it->second.group].held.erase({it->second.end, kernel.id});
  }
  auto& on_agent = agents_.find(kernel.agent)->second.held;
  on_agent.erase(place_of(on_agent, {it->second.end, kernel.id}));
  if (it->second.group != kNone) {
    Group& group = groups_[it->second.group];
    group.tenants.note(*group.agents.find(kernel.agent));
  }
  if (tenancy_.is_victim(kernel.session)) stirred_.push_back(kernel.session);
  Running& session = *sessions_.find(kernel.session)->second.running;
  std::erase(session.held, kernel.id);
  if (session.reservation != nullptr) session.reservation->release(kernel.id);
  held_.erase(it);
  drop_if_idle(kernel.session);
}

// How much a session holds, wherever, says on each of its agents when its turn comes.
void Mirror::note_tenants() {
  std::ranges::sort(stirred_);
  stirred_.erase(std::ranges::unique(stirred_).begin(), stirred_.end());
  for (const SessionId& session : stirred_) {
    victim_changes_.note(session);
    const Tenant* tenant = tenancy_.tenant(session);
    if (tenant == nullptr) continue;
    for (const auto& kernel : tenant->kernels) {
      const std::uint32_t group = held_.find(kernel->id)->second.group;
      if (group == kNone) continue;
      groups_[group].tenants.note(*groups_[group].agents.find(kernel->agent));
    }
  }
  stirred_.clear();
}

// What it holds counts for the reservation that its row names.
void Mirror::join_reservation(SessionRecord& record, const std::string& id) {
  if (id.empty() && !record.running) return;
  Running& session = running(record);
  if (id == (session.reservation != nullptr ? session.reservation->id : std::string())) return;
  if (ReservationRecord* left = std::exchange(session.reservation, nullptr)) {
    for (const KernelId& kernel : session.held) left->release(kernel);
    reservations_.leave(*left);
  }
  if (id.empty()) return;
  session.reservation = &reservations_.join(id);
  for (const KernelId& kernel : session.held) session.reservation->hold(kernel);
}

const ReservationRecord* Mirror::reservation_of(const SessionId& session) const noexcept {
  const auto it = sessions_.find(session);
  return it == sessions_.end() || !it->second.running ? nullptr : it->second.running->reservation;
}

std::pair<const Held*, std::int64_t> Mirror::held(const KernelId& kernel) const noexcept {
  const HeldEntry& entry = held_.find(kernel)->second;
  return {&entry.held, entry.end};
}

void Mirror::on_running(SessionRecord& record, const Session* after) {
  join_reservation(record, after != nullptr ? session_reservation(*after) : std::string());
  if (after == nullptr) {
    // Kernels may outlive the row of their session; nobody knows then when they end.
    if (!record.running) return;
    record.running->user = {};
    record.running->declared = kUnknownEstimate;
    record.running->began = {};
    for (const KernelId& kernel : record.running->held) rekey(kernel);
    return;
  }
  const bool has_agents = after->status != SessionStatus::Pending && !is_terminal(after->status);
  if (!has_agents && record.running && record.running->held.empty() &&
      record.running->reservation == nullptr) {
    record.running = nullptr;
  }
  if (!has_agents && !record.running) return;
  Running& session = running(record);
  session.user = after->user;
  session.declared = after->batch_timeout.value_or(kUnknownEstimate);
  session.began = has_agents ? began(*after) : Timestamp{};
  for (const KernelId& kernel : session.held) rekey(kernel);
}

void Mirror::rekey(const KernelId& kernel) {
  HeldEntry& entry = held_.find(kernel)->second;
  AgentRecord& agent = agents_.find(entry.held.agent)->second;
  const std::uint32_t group = agent.group;
  const std::int64_t end =
      group == kNone ? kNeverEnds
                     : end_of(*sessions_.find(entry.held.session)->second.running, groups_[group]);
  if (group == entry.group && end == entry.end) return;
  if (entry.group != kNone) groups_[entry.group].held.erase({entry.end, kernel});
  if (entry.group == group) {
    if (end < entry.end) ++groups_[group].estimates_epoch;
    groups_[group].ends.note(*groups_[group].agents.find(entry.held.agent));
  }
  if (end != entry.end) {
    agent.held.erase(place_of(agent.held, {entry.end, kernel}));
    const EndKey key{end, kernel};
    agent.held.insert(place_of(agent.held, key), {key, &entry.held});
  }
  entry.group = group;
  entry.end = end;
  if (group != kNone) groups_[group].held.emplace(EndKey{end, kernel}, &entry.held);
}

// After a change of what estimates rest on: rare, so everybody's is looked at.
void Mirror::refresh_estimates() {
  for (const auto& [kernel, entry] : held_) rekey(kernel);
  for (Group& group : groups_) group.shortest.clear();
  for (PendingIndex at = 0; at < waiting_.size(); ++at) {
    Waiting& waiting = waiting_[at];
    if (!waiting.queued) continue;
    Group& group = groups_[waiting.group];
    PendingSession& session = waiting.session;
    const Duration estimate =
        estimate_of(owner(session.owner).owner.user, declared_by(waiting), group);
    if (estimate != session.estimate) {
      BandQueue& band = group.bands.find(session.priority)->second;
      band.erase(session.request, entry_of(at));
      session.estimate = estimate;
      band.insert(session.request, entry_of(at));
    }
    if (group.keeps_shortest) enter_band(group.shortest, true, at);
  }
}

}  // namespace bai::sched

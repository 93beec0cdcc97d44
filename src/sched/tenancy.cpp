#include "sched/tenancy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace bai::sched {

namespace {

bool holds(const Kernel* kernel) {
  return kernel != nullptr && holds_resources(kernel->status) && !kernel->agent.empty();
}

bool alike(const Kernel& a, const Kernel& b) {
  return a.session == b.session && a.agent == b.agent && a.starts_at == b.starts_at &&
         a.occupied_slots == b.occupied_slots;
}

// Whether a session's kernels can be somewhere.
bool is_tenant(const Session* session) {
  return session != nullptr && !is_terminal(session->status) &&
         session->status != SessionStatus::Pending;
}

}  // namespace

bool may_be_ended(const Session& session) noexcept {
  return session.status == SessionStatus::Running && session.is_preemptible &&
         session.type != SessionType::System;
}

bool is_leaving(const Session& session) noexcept {
  return session.status == SessionStatus::Preempted ||
         session.status == SessionStatus::Rescheduling ||
         session.status == SessionStatus::Terminating;
}

void Tenancy::enter(const Session& victim) {
  Victims& group = victims_[victim.resource_group];
  ++group.by_priority[victim.job_priority];
  group.by_user.emplace(victim.user, victim.id);
  group.by_project.emplace(victim.project, victim.id);
}

void Tenancy::remove(const Session& victim) {
  const auto it = victims_.find(victim.resource_group);
  Victims& group = it->second;
  const auto priority = group.by_priority.find(victim.job_priority);
  if (--priority->second == 0) group.by_priority.erase(priority);
  group.by_user.erase({victim.user, victim.id});
  group.by_project.erase({victim.project, victim.id});
  if (group.by_priority.empty()) victims_.erase(it);
}

bool Tenancy::follow_victim(const Session* before, const Session* after) {
  const bool left = before != nullptr && is_leaving(*before);
  const bool leaves = after != nullptr && is_leaving(*after);
  if (left && !leaves) leaving_.erase(before->id);
  if (!left && leaves) leaving_.insert(after->id);
  const bool was = before != nullptr && may_be_ended(*before);
  const bool is = after != nullptr && may_be_ended(*after);
  const auto looks = [](const Session& row) {
    return std::tie(row.resource_group, row.job_priority, row.starts_at, row.user, row.project,
                    row.domain);
  };
  if (was == is && (!is || looks(*before) == looks(*after))) return false;
  if (was) remove(*before);
  if (is) enter(*after);
  return true;
}

void Tenancy::count(const Tenant& tenant, const Kernel& kernel, int sign) {
  if (kernel.starts_at == Timestamp{}) return;
  shares_[tenant.row->resource_group].count_running(tenant.scopes, kernel.starts_at,
                                                    kernel.occupied_slots, slots_, sign);
}

void Tenancy::count_member(const Tenant& tenant, const AgentId& agent, int sign) {
  const std::string& group = tenant.row->session_group;
  if (group.empty()) return;
  Members& members = members_[group];
  std::uint32_t& sessions = members[agent];
  sessions = sign > 0 ? sessions + 1 : sessions - 1;
  if (sessions == 0) members.erase(agent);
  if (members.empty()) members_.erase(group);
}

namespace {

// Each agent once.
template <class Kernels, class Visit>
void for_each_agent(const Kernels& kernels, Visit&& visit) {
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const auto before = kernels.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::none_of(kernels.begin(), before,
                     [&](const auto& other) { return other->agent == kernels[i]->agent; })) {
      visit(kernels[i]->agent);
    }
  }
}

}  // namespace

void Tenancy::learn(Tenant& tenant, std::shared_ptr<const Session> row) {
  tenant.row = std::move(row);
  const Session& session = *tenant.row;
  tenant.scopes = shares_[session.resource_group].scopes_of(
      {session.user, session.project, session.domain, {}});
  for (const auto& kernel : tenant.kernels) count(tenant, *kernel, 1);
  for_each_agent(tenant.kernels, [&](const AgentId& agent) { count_member(tenant, agent, 1); });
}

void Tenancy::forget(Tenant& tenant) {
  if (tenant.row == nullptr) return;
  for (const auto& kernel : tenant.kernels) count(tenant, *kernel, -1);
  for_each_agent(tenant.kernels, [&](const AgentId& agent) { count_member(tenant, agent, -1); });
  tenant.row.reset();
}

bool Tenancy::on_session(const Change& change) {
  const Session *before = change.old_row<Session>(), *after = change.new_row<Session>();
  const SessionId id = after != nullptr ? after->id : before->id;
  const bool looks_otherwise = follow_victim(before, after);
  if (!is_tenant(after)) {
    const auto it = tenants_.find(id);
    if (it == tenants_.end()) return looks_otherwise;
    forget(it->second);
    if (it->second.kernels.empty()) tenants_.erase(it);
    return looks_otherwise;
  }
  Tenant& tenant = tenants_[id];
  auto row = std::static_pointer_cast<const Session>(change.after);
  if (tenant.row != nullptr && before != nullptr &&
      before->resource_group == after->resource_group &&
      before->session_group == after->session_group && before->user == after->user &&
      before->project == after->project && before->domain == after->domain) {
    tenant.row = std::move(row);
    return looks_otherwise;
  }
  forget(tenant);
  learn(tenant, std::move(row));
  return looks_otherwise;
}

void Tenancy::on_kernel(const Change& change) {
  const Kernel *before = change.old_row<Kernel>(), *after = change.new_row<Kernel>();
  const bool held = holds(before), holds_now = holds(after);
  if (!held && !holds_now) return;
  if (held && holds_now && alike(*before, *after)) return;
  if (held) {
    const auto it = tenants_.find(before->session);
    Tenant& tenant = it->second;
    const auto at = std::ranges::find(tenant.kernels, before->id,
                                      [](const auto& kernel) { return kernel->id; });
    const auto old = *at;
    tenant.kernels.erase(at);
    const bool last = std::ranges::none_of(
        tenant.kernels, [&](const auto& other) { return other->agent == old->agent; });
    if (tenant.row) count(tenant, *old, -1);
    if (tenant.row && last) count_member(tenant, old->agent, -1);
    if (!tenant.row && tenant.kernels.empty()) tenants_.erase(it);
  }
  if (!holds_now) return;
  Tenant& tenant = tenants_[after->session];
  const bool first = std::ranges::none_of(
      tenant.kernels, [&](const auto& other) { return other->agent == after->agent; });
  tenant.kernels.push_back(std::static_pointer_cast<const Kernel>(change.after));
  if (!tenant.row) return;
  count(tenant, *after, 1);
  if (first) count_member(tenant, after->agent, 1);
}

void Tenancy::on_fair_share(const Change& change) {
  const FairShare *before = change.old_row<FairShare>(), *after = change.new_row<FairShare>();
  if (after != nullptr) {
    shares_[after->resource_group].set_row(*after, slots_);
  } else {
    shares_[before->resource_group].forget_row(*before);
  }
}

void Tenancy::on_session_group(const Change& change) {
  if (change.after) {
    auto after = std::static_pointer_cast<const SessionGroup>(change.after);
    groups_[after->id] = std::move(after);
  } else {
    groups_.erase(change.old_row<SessionGroup>()->id);
  }
}

const SessionGroup* Tenancy::session_group(std::string_view id) const {
  const auto it = groups_.find(id);
  return it == groups_.end() ? nullptr : it->second.get();
}

const Members* Tenancy::members(std::string_view session_group) const {
  const auto it = members_.find(session_group);
  return it == members_.end() ? nullptr : &it->second;
}

std::string Tenancy::dump() const {
  std::string text;
  for (const auto& [group, shares] : shares_) {
    for (const auto& [name, line] : shares.dump(slots_)) {
      text += fmt::format("fair share {}/{} {}\n", group.str(), name, line);
    }
  }
  for (const auto& [group, victims] : victims_) {
    for (const auto& [priority, sessions] : victims.by_priority) {
      text += fmt::format("may be ended {} {}={}\n", group.str(), priority, sessions);
    }
    text += fmt::format("may be ended {} by user={} by project={}\n", group.str(),
                        victims.by_user.size(), victims.by_project.size());
  }
  if (!leaving_.empty()) text += fmt::format("leaving {}\n", leaving_.size());
  std::map<std::string, std::string> lines;
  for (const auto& [id, group] : groups_) {
    lines[id] = fmt::format(" {} {}", to_string(group->direction), to_string(group->enforcement));
  }
  for (const auto& [id, members] : members_) {
    for (const auto& [agent, sessions] : members) {
      lines[id] += fmt::format(" {}={}", agent.str(), sessions);
    }
  }
  for (const auto& [id, line] : lines) text += fmt::format("session group {}{}\n", id, line);
  return text;
}

}  // namespace bai::sched

#include "sched/ledger.hpp"

#include <algorithm>

namespace bai::sched {

bool Ledger::take(AgentTable& agents, AgentIndex agent, const Requirement& requirement,
                  std::uint32_t container_limit, const DevicePick& pick) {
  if (requirement.containers > container_limit ||
      agents.containers(agent) > container_limit - requirement.containers ||
      !agents.fits(agent, requirement)) {
    return false;
  }
  std::vector<DeviceGrant> devices;
  if (agents.has_devices()) {
    bool is_wrong = false;
    auto chosen =
        choose_devices(agents, agent, requirement,
                       [&](SlotIndex slot, std::int64_t units, std::span<const std::int64_t> free) {
                         const std::uint32_t device = pick(slot, units, free);
                         is_wrong = is_wrong || device >= free.size() || free[device] < units;
                         return device;
                       });
    // What one kernel was given may have been what another one needs: then as fits() found it.
    if (!chosen && !is_wrong) {
      chosen =
          choose_devices(agents, agent, requirement,
                         [](SlotIndex, std::int64_t units, std::span<const std::int64_t> free) {
                           return tightest_device(units, free);
                         });
    }
    if (!chosen) return false;
    devices = std::move(*chosen);
    agents.take_devices(agent, devices, 1);
  }
  agents.take(agent, requirement, 1);
  entries_.push_back({&agents, agent, &requirement, 0, 0, false, std::move(devices)});
  return true;
}

void Ledger::shift(AgentTable& agents, AgentIndex agent, const Requirement& amounts,
                   const std::vector<DeviceGrant>& devices, int sign) {
  agents.take_devices(agent, devices, sign);
  agents.take(agent, amounts, sign);
  entries_.push_back({&agents, agent, &amounts, 0, 0, false, devices, sign});
}

void Ledger::hold(const PendingSession& session) {
  entries_.push_back({nullptr,
                      0,
                      nullptr,
                      session.owner,
                      session.request,
                      session.type == SessionType::System,
                      {}});
  count(entries_.back(), 1);
}

void Ledger::count(const Entry& entry, int sign) {
  for (const std::uint32_t scope : mirror_.owner(entry.owner).scopes) {
    Scope& granted = granted_[scope];
    if (entry.is_private) {
      granted.sftp_sessions += sign;
      continue;
    }
    granted.sessions += sign;
    for (const SlotRequest& r : mirror_.request(entry.request).total) {
      if (r.slot >= granted.units.size()) granted.units.resize(r.slot + 1, 0);
      granted.units[r.slot] += sign * r.units;
    }
  }
}

// Holdings end with the ledger: only what lies in the agent tables has to be put back.
Ledger::~Ledger() {
  std::erase_if(entries_, [](const Entry& entry) { return entry.agents == nullptr; });
  rollback(0);
}

void Ledger::rollback(std::size_t to) {
  for (std::size_t i = to; i < entries_.size(); ++i) {
    if (entries_[i].agents != nullptr) entries_[i].agents->fetch(entries_[i].agent);
  }
  while (entries_.size() > to) {
    const Entry& entry = entries_.back();
    if (entry.agents != nullptr) {
      entry.agents->take_devices(entry.agent, entry.devices, -entry.sign);
      entry.agents->take(entry.agent, *entry.requirement, -entry.sign);
    } else {
      count(entry, -1);
    }
    entries_.pop_back();
  }
}

Holding Ledger::holding(ScopeKind kind, const PendingSession& session) const {
  const std::uint32_t at = mirror_.owner(session.owner).scopes[static_cast<std::size_t>(kind)];
  const Scope& scope = mirror_.scope(at);
  Holding holding{scope.units, scope.sessions, scope.sftp_sessions};
  const auto granted = granted_.find(at);
  if (granted == granted_.end()) return holding;
  const Scope& more = granted->second;
  holding.units.resize(std::max(holding.units.size(), more.units.size()), 0);
  for (std::size_t i = 0; i < more.units.size(); ++i) holding.units[i] += more.units[i];
  holding.sessions += more.sessions;
  holding.sftp_sessions += more.sftp_sessions;
  return holding;
}

}  // namespace bai::sched

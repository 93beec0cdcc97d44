// What a plan has granted so far, on top of the mirror: amounts on agents and holdings of users,
// projects, domains and keypairs. Everything can be undone.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "sched/mirror.hpp"

namespace bai::sched {

// Writes the `free` columns of the agent tables in place, so that they stay arrays that can be
// scanned; the destructor puts back what was there.
class Ledger {
 public:
  explicit Ledger(Mirror& mirror) : mirror_(mirror) {}
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // False, and nothing taken, when the requirement does not fit or `pick` names a wrong device.
  // `requirement` outlives the ledger.
  bool take(AgentTable& agents, AgentIndex agent, const Requirement& requirement,
            std::uint32_t container_limit, const DevicePick& pick);
  // Gives back what somebody else holds there (`sign` -1), or takes it again (1); whether it fits
  // or not. `amounts` outlives the ledger.
  void shift(AgentTable& agents, AgentIndex agent, const Requirement& amounts,
             const std::vector<DeviceGrant>& devices, int sign);
  // Of what was taken last.
  const std::vector<DeviceGrant>& last_devices() const noexcept { return entries_.back().devices; }
  // Counts the session into its owner's holdings. Private ones count as sessions only.
  void hold(const PendingSession& session);

  // Of the entry with that number: what checkpoint() was before it.
  const std::vector<DeviceGrant>& devices(std::size_t entry) const {
    return entries_[entry].devices;
  }

  std::size_t checkpoint() const noexcept { return entries_.size(); }
  void rollback(std::size_t to);

  // The Usage row of the scope with what has been granted.
  Holding holding(ScopeKind kind, const PendingSession& session) const;
  bool has_granted() const noexcept { return !granted_.empty(); }
  // What has been granted to the scope; null: nothing.
  const Scope* granted(std::uint32_t scope) const noexcept {
    const auto it = granted_.find(scope);
    return it == granted_.end() ? nullptr : &it->second;
  }

 private:
  struct Entry {
    AgentTable* agents;  // null: a holding
    AgentIndex agent;
    const Requirement* requirement;
    std::uint32_t owner, request;
    bool is_private;
    std::vector<DeviceGrant> devices;
    int sign = 1;
  };
  void count(const Entry& entry, int sign);

  Mirror& mirror_;
  std::vector<Entry> entries_;
  std::unordered_map<std::uint32_t, Scope> granted_;  // by scope
};

}  // namespace bai::sched

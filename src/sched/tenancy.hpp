// Which kernels of whom are on which agents, for what rules ask about others' sessions: how long
// the kernels of a scope have run (fair shares), and where the members of a session group are.
// Rows may come in any order.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bai_manager/entities.hpp"
#include "model/changeset.hpp"
#include "sched/fair_share_book.hpp"

namespace bai::sched {

// Sessions of a session group on each agent.
using Members = std::map<AgentId, std::uint32_t>;

// A session that may have kernels somewhere.
struct Tenant {
  std::shared_ptr<const Session> row;                  // null: not seen, or it has ended
  std::vector<std::shared_ptr<const Kernel>> kernels;  // that hold amounts
  GroupShares::Scopes scopes{};
};

// Whether it runs and may be ended for others.
bool may_be_ended(const Session& session) noexcept;

class Tenancy {
 public:
  explicit Tenancy(Names& slots) : slots_(slots) {}

  void on_session(const Change& change);
  void on_kernel(const Change& change);
  void on_fair_share(const Change& change);
  void on_session_group(const Change& change);

  // Null: nobody has used anything of it. May be asked about on one thread at a time, other groups
  // on others.
  GroupShares* shares(const ResourceGroupName& group) const {
    const auto it = shares_.find(group);
    return it == shares_.end() ? nullptr : &it->second;
  }
  // Null: there is no such session group (any more), or nobody of it is anywhere.
  const SessionGroup* session_group(std::string_view id) const;
  const Members* members(std::string_view session_group) const;

  // Null: it has no kernels anywhere.
  const Tenant* tenant(const SessionId& session) const {
    const auto it = tenants_.find(session);
    return it == tenants_.end() ? nullptr : &it->second;
  }

  // The lowest job priority of the resource group's sessions that run and may be ended; nothing:
  // there are none.
  std::optional<std::int64_t> lowest_victim(const ResourceGroupName& group) const;

  std::string dump() const;

 private:
  void count_victim(const Session& session, int sign);
  void count(const Tenant& tenant, const Kernel& kernel, int sign);
  void count_member(const Tenant& tenant, const AgentId& agent, int sign);
  void learn(Tenant& tenant, std::shared_ptr<const Session> row);
  void forget(Tenant& tenant);

  Names& slots_;
  std::unordered_map<SessionId, Tenant> tenants_;
  mutable std::map<ResourceGroupName, GroupShares> shares_;
  std::unordered_map<std::string, std::shared_ptr<const SessionGroup>, TextHash, std::equal_to<>>
      groups_;
  std::unordered_map<std::string, Members, TextHash, std::equal_to<>> members_;
  // How many may be ended, by job priority.
  std::map<ResourceGroupName, std::map<std::int64_t, std::uint32_t>> victims_;
};

}  // namespace bai::sched

// Which kernels of whom are on which agents, for what rules ask about others' sessions: how long
// the kernels of a scope have run (fair shares), and where the members of a session group are.
// Rows may come in any order.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
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

  std::string dump() const;

 private:
  struct Tenant {        // a session that may have kernels somewhere
    bool known = false;  // its row has been seen and is alive
    ResourceGroupName resource_group;
    std::string session_group;
    GroupShares::Scopes scopes{};
    std::vector<std::shared_ptr<const Kernel>> kernels;  // that hold amounts
  };

  void count(const Tenant& tenant, const Kernel& kernel, int sign);
  void count_member(const Tenant& tenant, const AgentId& agent, int sign);
  void learn(Tenant& tenant, const Session& session);
  void forget(Tenant& tenant);

  Names& slots_;
  std::unordered_map<SessionId, Tenant> tenants_;
  mutable std::map<ResourceGroupName, GroupShares> shares_;
  std::unordered_map<std::string, std::shared_ptr<const SessionGroup>, TextHash, std::equal_to<>>
      groups_;
  std::unordered_map<std::string, Members, TextHash, std::equal_to<>> members_;
};

}  // namespace bai::sched

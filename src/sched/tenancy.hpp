// Which kernels of whom are on which agents, for what rules ask about others' sessions: how long
// the kernels of a scope have run (fair shares), and where the members of a session group are.
// Rows may come in any order.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
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
// Whether it is about to give back what it holds.
bool is_leaving(const Session& session) noexcept;

// A resource group's sessions that run and may be ended; none is empty.
struct Victims {
  std::map<std::int64_t, std::uint32_t> by_priority;  // how many, by job priority
  std::set<std::pair<UserId, SessionId>> by_user;
  std::set<std::pair<ProjectId, SessionId>> by_project;

  // Calls `visit` with their sessions, until it answers false; so does this then.
  template <class Visit>
  bool for_each_of(const UserId& user, Visit&& visit) const {
    return for_each_of(by_user, user, visit);
  }
  template <class Visit>
  bool for_each_of(const ProjectId& project, Visit&& visit) const {
    return for_each_of(by_project, project, visit);
  }

 private:
  template <class Owner, class Visit>
  static bool for_each_of(const std::set<std::pair<Owner, SessionId>>& sessions, const Owner& owner,
                          Visit&& visit) {
    for (auto it = sessions.lower_bound({owner, SessionId{}});
         it != sessions.end() && it->first == owner; ++it) {
      if (!visit(it->second)) return false;
    }
    return true;
  }
};

class Tenancy {
 public:
  explicit Tenancy(Names& slots) : slots_(slots) {}

  // True: other sessions may be ended now, or look otherwise to who chooses among them.
  bool on_session(const Change& change);
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

  // Null: there are none.
  const Victims* victims(const ResourceGroupName& group) const {
    const auto it = victims_.find(group);
    return it == victims_.end() ? nullptr : &it->second;
  }
  // Calls `visit` with the project's sessions that run and may be ended, whatever their resource
  // group, until it answers false; so does this then.
  template <class Visit>
  bool for_each_victim_of(const ProjectId& project, Visit&& visit) const {
    for (const auto& [group, victims] : victims_) {
      if (!victims.for_each_of(project, visit)) return false;
    }
    return true;
  }
  bool is_victim(const SessionId& session) const {
    const Tenant* known = tenant(session);
    return known != nullptr && known->row != nullptr && may_be_ended(*known->row);
  }
  // Sessions that are about to give back what they hold.
  const std::set<SessionId>& leaving() const noexcept { return leaving_; }

  std::string dump() const;

 private:
  bool follow_victim(const Session* before, const Session* after);
  void enter(const Session& victim);
  void remove(const Session& victim);
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
  std::map<ResourceGroupName, Victims> victims_;
  std::set<SessionId> leaving_;
};

}  // namespace bai::sched

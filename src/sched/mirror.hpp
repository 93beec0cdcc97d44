// The planner's own picture of the state: what decisions need, laid out for them, kept up to date
// change by change. At version V it equals a mirror fed with nothing but the rows of version V.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bai_manager/policy.hpp"
#include "model/changeset.hpp"
#include "sched/agent_table.hpp"
#include "sched/intern.hpp"

namespace bai::sched {

inline constexpr std::uint32_t kNone = 0xffff'ffff;

struct PendingKernel {
  KernelId id;
  std::int64_t local_rank = 0;
  std::uint32_t requirement = 0;  // Mirror::kernel_requirement
};

// A session that is PENDING, or of which a kernel is.
struct Waiting {
  PendingSession session;
  std::uint32_t group = kNone;
  std::uint32_t generation = 0;  // tells successive users of one place apart
  bool has_row = false;          // its session row is PENDING
  bool queued = false;
  bool dirty = false;
  ClusterMode mode = ClusterMode::SingleNode;
  std::vector<PendingKernel> kernels;  // by local rank, then id
  std::unique_ptr<PendingDetails> details;
};

struct ByAge {  // creation time, then id
  const std::deque<Waiting>* waiting;
  bool operator()(PendingIndex a, PendingIndex b) const {
    const PendingSession &x = (*waiting)[a].session, &y = (*waiting)[b].session;
    return std::tie(x.created_at, x.id) < std::tie(y.created_at, y.id);
  }
};
using Band = std::set<PendingIndex, ByAge>;
using Bands = std::map<std::int32_t, Band, std::greater<>>;  // highest priority first

struct Arrival {
  PendingIndex session;
  std::uint32_t generation;
};

struct Group {
  ResourceGroupName name;
  std::shared_ptr<const ResourceGroup> row;  // null: there is no such resource group (yet)
  AgentTable agents;
  Bands bands;  // none is empty
  std::size_t pending = 0;
  std::vector<Arrival> arrivals;  // queued, or queued anew, since the planner last looked
};

struct Scope {                      // a Usage row
  std::vector<std::int64_t> units;  // by slot
  std::int64_t sessions = 0, sftp_sessions = 0;
};

struct OwnerEntry {
  Owner owner;
  std::array<std::uint32_t, 4> scopes{};  // by ScopeKind; Mirror::scope
};

class Mirror {
 public:
  Mirror();
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  void feed(StateVersion version, std::span<const Change> changes);
  StateVersion version() const noexcept { return version_; }

  // Everything it knows as text, in an order that depends on nothing but the state.
  std::string dump() const;

  const std::map<ResourceGroupName, std::uint32_t>& groups() const noexcept { return group_index_; }
  Group& group(std::uint32_t at) { return groups_[at]; }
  const Group& group(std::uint32_t at) const { return groups_[at]; }
  const Waiting& waiting(PendingIndex at) const { return waiting_[at]; }
  std::size_t waiting_places() const noexcept { return waiting_.size(); }
  const Request& request(std::uint32_t at) const { return requests_[at]; }
  std::uint32_t request_generation(std::uint32_t at) const { return requests_.generation(at); }
  const OwnerEntry& owner(std::uint32_t at) const { return owners_[at]; }
  const Scope& scope(std::uint32_t at) const { return scopes_[at]; }
  const Names& slots() const noexcept { return slots_; }
  const Names& architectures() const noexcept { return architectures_; }
  const SlotTypes& slot_types() const noexcept { return slot_types_; }
  DependencyState dependency(const SessionId& id) const noexcept;
  const KeypairPolicy* user_policy(const UserId& user) const noexcept;
  const SlotMap* project_limits(const ProjectId& project) const noexcept;
  const SlotMap* domain_limits(const DomainName& domain) const noexcept;

 private:
  struct AgentRecord {
    bool has_row = false;
    std::uint32_t group = kNone;  // whose table it is in
    AgentFacts facts;
  };
  struct SessionRecord {
    std::uint32_t waiting = kNone;
    bool has_row = false;
    DependencyState as_dependency = DependencyState::Unknown;
  };

  // mirror.cpp: agents, limits, usage
  void apply(const Change& change);
  void on_agent(const Change& change);
  void on_kernel(const Change& change);
  void on_usage(const Change& change);
  void on_slot_declaration(const Change& change);
  void on_resource_group(const Change& change);
  void grant(const Kernel& kernel, int sign);
  AgentRecord& agent_record(const AgentId& id);
  void refresh_agent(const AgentId& id, AgentRecord& record);
  std::uint32_t group_of(const ResourceGroupName& name);
  std::uint32_t scope_of(ScopeKind kind, std::string_view scope);
  std::uint32_t owner_of(const Session& session);

  // mirror_queue.cpp: pending sessions
  void on_session(const Change& change);
  void on_pending_kernel(const Kernel* before, const Kernel* after);
  PendingIndex waiting_place(const SessionId& id);
  void touch(PendingIndex at);  // out of the queue until the feed ends
  void settle(PendingIndex at);
  void leave_queue(Waiting& waiting, PendingIndex at);
  void drop_if_idle(const SessionId& id);
  std::uint32_t compose_request(const Waiting& waiting);
  std::uint32_t intern_requirement(const Kernel& kernel);

  StateVersion version_;
  Names slots_, architectures_, scope_names_;
  SlotTypes slot_types_;
  std::map<std::string, SlotType> declared_;
  std::map<ResourceGroupName, std::uint32_t> group_index_;
  std::deque<Group> groups_;
  std::unordered_map<AgentId, AgentRecord> agents_;
  std::unordered_map<SessionId, SessionRecord> sessions_;
  std::deque<Waiting> waiting_;
  std::vector<PendingIndex> free_places_;
  std::vector<PendingIndex> touched_;
  Shared<Requirement> kernel_requirements_;
  Shared<Request> requests_;
  std::map<std::tuple<UserId, ProjectId, DomainName, AccessKey>, std::uint32_t> owner_index_;
  std::deque<OwnerEntry> owners_;
  std::deque<Scope> scopes_;
  std::unordered_map<UserId, AccessKey> main_keys_;
  std::unordered_map<AccessKey, PolicyName> key_policies_;
  std::unordered_map<PolicyName, std::shared_ptr<const KeypairPolicy>> policies_;
  std::unordered_map<ProjectId, std::shared_ptr<const Project>> projects_;
  std::unordered_map<DomainName, std::shared_ptr<const Domain>> domains_;
};

// Which of a session's wishes bind its placement: "strict" or "preferred", or empty for the
// resource group's own rule.
std::string session_agent_policy(const Session& session);

}  // namespace bai::sched

// The planner's own picture of the state: what decisions need, laid out for them, kept up to date
// change by change. At version V it equals a mirror fed with nothing but the rows of version V.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
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
#include "sched/agent_log.hpp"
#include "sched/agent_table.hpp"
#include "sched/borrower_book.hpp"
#include "sched/change_log.hpp"
#include "sched/cohorts.hpp"
#include "sched/index/placement_index.hpp"
#include "sched/intern.hpp"
#include "sched/owner_order.hpp"
#include "sched/owner_queue.hpp"
#include "sched/queue.hpp"
#include "sched/reservations.hpp"
#include "sched/tenancy.hpp"
#include "sched/victim_index.hpp"
#include "sched/waiting.hpp"

namespace bai::sched {

// A kernel that holds amounts.
struct Held {
  SessionId session;
  AgentId agent;
  std::vector<SlotRequest> slots;
};
// What says how long a session runs.
enum class EstimateFrom : std::uint8_t { Nothing, Declared, Lifetime, Default };
// When it gives them back as far as anyone knows (kNeverEnds: nobody does), then by kernel.
using EndKey = std::pair<std::int64_t, KernelId>;
inline constexpr std::int64_t kNeverEnds = std::numeric_limits<std::int64_t>::max();
// One of those that hold something on an agent.
struct HeldOn {
  EndKey key;
  const Held* held = nullptr;
};

struct Arrival {
  PendingIndex session;
  std::uint32_t generation;
};

struct Group {
  ResourceGroupName name;
  std::shared_ptr<const ResourceGroup> row;  // null: there is no such resource group (yet)
  AgentTable agents;
  PlacementIndex index;                      // of `agents`; follows them when it is asked
  BandQueues bands;                          // by age; none is empty
  BandQueues shortest;                       // by estimate; only where the settings need it
  std::map<std::int32_t, OwnerBand> owners;  // by priority; none is empty
  ChangeLog<OwnerChange> owner_changes;      // of `owners`
  mutable ShareCache shares;                 // of the thread that plans this group
  mutable OwnerOrder order;                  // the same
  bool keeps_shortest = false;
  Duration default_runtime = kUnknownEstimate;
  std::map<EndKey, const Held*> held;  // on its agents
  std::vector<const std::vector<HeldOn>*> held_by_agent;
  std::uint64_t estimates_epoch = 0;       // differs when something may end earlier than before
  AgentLog ends;                           // where something is now expected to end at another time
  AgentLog tenants;                        // where others may be ended now, or in another order
  VictimIndex victims;                     // of `agents`; follows them when it is asked
  BorrowerBook borrowers;                  // the same, for sessions of all resource groups
  std::set<PendingIndex> in_reservations;  // queued sessions that name one
  std::size_t pending = 0;
  std::vector<Arrival> arrivals;  // queued, or queued anew, since the planner last looked

  // What is held on the agent, by end.
  std::span<const HeldOn> held_on(AgentIndex agent) const noexcept { return *held_by_agent[agent]; }
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

  const LabelRule& label_rule(std::uint32_t at) const { return label_rules_[at]; }
  const std::string& topology_name(std::uint32_t at) const { return topology_names_[at]; }
  const Tenancy& tenancy() const noexcept { return tenancy_; }
  // Sessions that may be ended now, or no longer, or look otherwise to who chooses among them, or
  // hold something else.
  const ChangeLog<SessionId>& victim_changes() const noexcept { return victim_changes_; }
  const ReservationBook& reservations() const noexcept { return reservations_; }
  // That the session names; null: none.
  const ReservationRecord* reservation_of(const SessionId& session) const noexcept;
  // What such a kernel holds, and until when.
  std::pair<const Held*, std::int64_t> held(const KernelId& kernel) const noexcept;
  // For a session that holds something on agents of the group.
  EstimateFrom estimate_from(const SessionId& session, const Group& group) const;
  std::optional<PendingIndex> find_waiting(const SessionId& id) const noexcept;
  // How many of its group are before it, by priority and age.
  std::size_t waiting_before(PendingIndex at) const;
  const std::string& image(std::uint32_t at) const { return images_[at]; }
  const KeypairPolicy* key_policy(const AccessKey& key) const noexcept;
  bool is_main_key(const UserId& user, const AccessKey& key) const noexcept;
  const std::map<ResourceGroupName, std::uint32_t>& groups() const noexcept { return group_index_; }
  Group& group(std::uint32_t at) { return groups_[at]; }
  const Group& group(std::uint32_t at) const { return groups_[at]; }
  const Waiting& waiting(PendingIndex at) const { return waiting_[at]; }
  std::size_t waiting_places() const noexcept { return waiting_.size(); }
  const Request& request(std::uint32_t at) const { return requests_[at]; }
  std::uint32_t request_generation(std::uint32_t at) const { return requests_.generation(at); }
  const OwnerEntry& owner(std::uint32_t at) const { return owners_[at]; }
  const Scope& scope(std::uint32_t at) const { return scopes_[at]; }
  // Changes with the scope; never 0.
  std::uint32_t scope_version(std::uint32_t at) const { return scope_versions_[at]; }
  std::uint32_t user_scope(std::uint32_t owner) const { return user_scopes_[owner]; }
  // Users' scopes that hold something else now; the owners that such a scope is of.
  const ChangeLog<std::uint32_t>& user_changes() const noexcept { return user_changes_; }
  std::span<const std::uint32_t> owners_of(std::uint32_t scope) const noexcept {
    if (scope >= owners_of_.size()) return {};
    return owners_of_[scope];
  }
  const Names& slots() const noexcept { return slots_; }
  const Names& architectures() const noexcept { return architectures_; }
  const SlotTypes& slot_types() const noexcept { return slot_types_; }
  DependencyState dependency(const SessionId& id) const noexcept;
  const KeypairPolicy* user_policy(const UserId& user) const noexcept;
  const Project* project(const ProjectId& id) const noexcept;
  const Cohorts& cohorts() const noexcept { return cohorts_; }
  const SlotMap* project_limits(const ProjectId& project) const noexcept;
  const SlotMap* domain_limits(const DomainName& domain) const noexcept;

 private:
  struct AgentRecord {
    bool has_row = false;
    std::uint32_t group = kNone;  // whose table it is in
    AgentFacts facts;
    std::vector<HeldOn> held;  // by end
  };
  // What is known of a session that has got its agents, holds something or names a reservation.
  struct Running {
    UserId user;
    Duration declared = kUnknownEstimate;  // how long it runs at most, by itself
    Timestamp began;                       // got its agents; 0: not yet, or it has ended
    ReservationRecord* reservation = nullptr;
    std::vector<KernelId> held;
  };
  struct SessionRecord {
    std::uint32_t waiting = kNone;
    bool has_row = false;
    DependencyState as_dependency = DependencyState::Unknown;
    std::unique_ptr<Running> running;  // null: nothing of that
  };

  // mirror.cpp: agents, limits, usage
  void apply(const Change& change);
  void meet_agents(std::span<const Change> changes);
  void on_agent(const Change& change);
  void on_kernel(const Change& change);
  void on_usage(const Change& change);
  void on_project(const Change& change);
  void on_slot_declaration(const Change& change);
  void on_resource_group(const Change& change);
  void grant(const Kernel& kernel, int sign);
  static bool read_settings(Group& group);
  void grant_devices(AgentFacts& facts, const Kernel& kernel, int sign);
  AgentRecord& agent_record(const AgentId& id);
  void refresh_agent(const AgentId& id, AgentRecord& record);
  std::uint32_t group_of(const ResourceGroupName& name);
  std::uint32_t scope_of(ScopeKind kind, std::string_view scope);
  std::uint32_t scope_named(std::string_view name);
  std::uint32_t owner_of(const Session& session);

  // mirror_runtime.cpp: how long sessions run, and when what they hold comes free
  Duration estimate_of(const UserId& user, Duration declared, const Group& group) const;
  std::int64_t end_of(const Running& running, const Group& group) const;
  static Running& running(SessionRecord& record);
  void hold(const Kernel& kernel);
  void release(const Kernel& kernel);
  void note_tenants();
  void on_running(SessionRecord& record, const Session* after);
  void rekey(const KernelId& kernel);  // its group or its end may have changed
  void join_reservation(SessionRecord& record, const std::string& id);
  bool has_lifetimes() const noexcept;
  void refresh_estimates();

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
  QueueEntry entry_of(PendingIndex at) const;
  void enter_queue(Waiting& waiting, PendingIndex at);
  void enter_band(BandQueues& bands, bool by_estimate, PendingIndex at);
  void release_labels(Waiting& waiting);
  auto by_age() const;
  auto created() const;

  StateVersion version_;
  Names slots_, architectures_, scope_names_, images_, topology_names_;
  Tenancy tenancy_{slots_};
  Cohorts cohorts_;
  SlotTypes slot_types_;
  bool slot_types_stale_ = false;  // they have changed in this feed
  ReservationBook reservations_;
  std::map<std::string, SlotType> declared_;
  std::map<ResourceGroupName, std::uint32_t> group_index_;
  std::deque<Group> groups_;
  std::unordered_map<AgentId, AgentRecord> agents_;
  std::unordered_map<SessionId, SessionRecord> sessions_;
  WaitingSessions waiting_;
  std::vector<PendingIndex> free_places_;
  std::vector<PendingIndex> touched_;
  std::vector<SessionId> stirred_;  // in this feed: others may be ended now, or look otherwise
  ChangeLog<SessionId> victim_changes_;
  bool estimates_stale_ = false;  // a lifetime that somebody's estimate rests on may have changed
  struct HeldEntry {
    Held held;
    std::uint32_t group = kNone;  // whose `held` it is in
    std::int64_t end = kNeverEnds;
  };
  std::unordered_map<KernelId, HeldEntry> held_;
  Shared<LabelRule> label_rules_;  // number 0 is the empty rule
  Shared<Requirement> kernel_requirements_;
  Shared<Request> requests_;
  std::map<std::tuple<UserId, ProjectId, DomainName, AccessKey>, std::uint32_t> owner_index_;
  std::deque<OwnerEntry> owners_;
  std::deque<Scope> scopes_;
  std::vector<std::uint32_t> scope_versions_;
  std::vector<std::uint32_t> user_scopes_;             // by owner
  std::vector<std::vector<std::uint32_t>> owners_of_;  // by scope; of users' scopes only
  ChangeLog<std::uint32_t> user_changes_;
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

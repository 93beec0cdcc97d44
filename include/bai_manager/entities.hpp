// The world as plain structs. Each has one description (src/model/entities/) from which columns,
// codecs, JSON, fixtures and queries follow; `schema.hpp` offers the descriptions type-erased.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bai_manager/ids.hpp"
#include "bai_manager/json.hpp"
#include "bai_manager/resources.hpp"
#include "bai_manager/status.hpp"
#include "bai_manager/time.hpp"

namespace bai {

// One line per entity; the order is the order of tables in the schema.
// clang-format off
#define BAI_ENTITIES(X)                                                                       \
  X(Domain) X(Project) X(User) X(Keypair) X(KeypairPolicy) X(ProjectMember) X(ResourceGroup)  \
  X(ResourceGroupGrant) X(SlotDeclaration) X(Agent) X(Image) X(Session) X(Kernel) X(Usage)    \
  X(Operation) X(History) X(KernelLog) X(SessionGroup) X(Reservation) X(FairShare)
// clang-format on

enum class EntityKind : std::uint16_t {
#define BAI_ENTITY_KIND(E) E,
  BAI_ENTITIES(BAI_ENTITY_KIND)
#undef BAI_ENTITY_KIND
};

struct Domain {
  using Key = DomainName;
  DomainName name;
  std::string description;
  bool is_active = true;
  SlotMap total_resource_slots;  // slots not listed are unlimited
  Timestamp created_at;
};

struct Project {
  using Key = ProjectId;
  ProjectId id;
  std::string name;  // unique in its domain
  DomainName domain;
  std::string description;
  bool is_active = true;
  SlotMap total_resource_slots;  // slots not listed are unlimited
  // Projects that name the same cohort lend each other what they do not use of these slots, to
  // preemptible sessions only. Empty: none.
  std::string cohort;
  SlotMap borrowing_limit;  // beyond its own slots; slots not listed: all that is idle
  Timestamp created_at;
};

struct User {
  using Key = UserId;
  UserId id;
  std::string email;     // unique
  std::string username;  // unique
  std::string full_name;
  std::string password_hash;
  DomainName domain;
  UserRole role = UserRole::User;
  UserStatus status = UserStatus::Active;
  AccessKey main_access_key;
  std::vector<std::string> allowed_client_ip;  // empty: any
  Timestamp created_at;
};

struct Keypair {
  using Key = AccessKey;
  AccessKey access_key;
  std::string secret_key;
  UserId user;
  bool is_active = true;
  bool is_admin = false;
  PolicyName resource_policy;
  std::optional<std::int64_t> rate_limit;  // requests per 15 minutes
  Timestamp created_at;
};

struct KeypairPolicy {
  using Key = PolicyName;
  PolicyName name;
  UnspecifiedLimit default_for_unspecified = UnspecifiedLimit::Unlimited;
  SlotMap total_resource_slots;
  std::int64_t max_concurrent_sessions = 0;       // <= 0: no limit
  std::int64_t max_concurrent_sftp_sessions = 1;  // <= 0: no limit
  std::int64_t max_containers_per_session = 1;    // <= 0: no limit
  std::optional<std::int64_t> max_pending_session_count;
  std::optional<SlotMap> max_pending_session_resource_slots;
  std::int64_t max_priority = 100;
  std::int64_t max_session_lifetime_s = 0;
  std::int64_t idle_timeout_s = 0;
  Timestamp created_at;
};

struct ProjectMember {
  using Key = std::string;
  std::string id;  // "<project>/<user>"
  ProjectId project;
  UserId user;
};

struct ResourceGroup {
  using Key = ResourceGroupName;
  ResourceGroupName name;
  std::string description;
  bool is_active = true;
  bool is_default = false;                     // where agents go that name no group
  std::string scheduler = "fifo";              // sequencer
  std::string selector = "dispersed";          // agent selection strategy
  std::vector<std::string> selector_priority;  // slot names first in the selector's key
  Json policy_options = Json::object();
  QueueDiscipline queue_discipline = QueueDiscipline::HeadOfLine;
  std::vector<std::string> allowed_session_types = {"interactive", "batch", "inference"};
  std::int64_t pending_timeout_s = 0;  // 0: none
  Timestamp created_at;
};

struct ResourceGroupGrant {  // who may use a resource group
  using Key = std::string;
  std::string id;  // "<group>/<scope kind>/<scope>"
  ResourceGroupName resource_group;
  ScopeKind scope_kind = ScopeKind::Domain;
  std::string scope;  // domain name, project id or access key
};

struct SlotDeclaration {  // slot types beyond the built-in ones, as agents reported them
  using Key = std::string;
  std::string name;
  SlotType type = SlotType::Count;
};

struct Agent {
  using Key = AgentId;
  AgentId id;
  ResourceGroupName resource_group;
  AgentStatus status = AgentStatus::Alive;
  bool schedulable = true;
  std::string addr, public_key, public_host, region, architecture, version;
  SlotMap available_slots;  // capacity
  Json compute_plugins = Json::object();
  Json labels = Json::object();  // name -> text
  Json devices =
      Json::object();  // slot -> [amount of each device]; what is not here is split by ones
  Timestamp first_contact, lost_at;
  // volatile
  SlotMap occupied_slots;         // sum over kernels that hold resources
  SlotMap prereserved_slots;      // sum over RESERVED kernels, which wait for others to leave
  std::int64_t kernel_count = 0;  // kernels that hold resources
  Timestamp last_seen;
};

struct Image {
  using Key = ImageId;
  ImageId id;
  std::string canonical;  // "registry/project/name:tag"; unique with its architecture
  std::string architecture = "x86_64";
  std::string registry, project, digest;
  bool is_local = false;
  std::vector<std::string> aliases;
  SlotMap min_slots;
  Json labels = Json::object();
  Timestamp created_at;
};

// Why a pending session waits, for its owner to read. Derived, never stored.
struct PendingReason {
  // "capacity", "quota", "dependency", "no-compatible-agent", "behind-head", ...; "never": waiting
  // does not help, as things are.
  std::string code;
  std::string message;  // whole, readable
  // On the agent that lacks least; for a limit that it would exceed, by how much.
  SlotMap missing;
  std::int64_t position = 0;  // in its resource group's queue, from 1
  // Agents of the resource group by what stands against them: "architecture", "slots",
  // "containers", "devices", "labels", "designated", "session-group", "reserved", "topology",
  // "selector"; "quota": they have room, but a limit forbids it.
  std::vector<std::pair<std::string, std::int64_t>> rejected = {};
  Timestamp expected_start = {};    // from the estimates of what runs and waits; 0: unknown
  std::string expected_basis = {};  // what the expectation rests on, readable
  // The rules that keep it from starting: the code of each, and the reference system's error code.
  std::vector<std::pair<std::string, std::string>> violations = {};
  std::string kind = {};  // the reference system's error code for all of them; often empty
  friend bool operator==(const PendingReason&, const PendingReason&) = default;
};

using StatusTimes = std::vector<std::pair<std::string, Timestamp>>;  // last time each was entered

struct Session {
  using Key = SessionId;
  SessionId id;
  std::string name;  // unique among its owner's live sessions
  SessionType type = SessionType::Interactive;
  ClusterMode cluster_mode = ClusterMode::SingleNode;
  std::int64_t cluster_size = 1;
  std::int64_t priority = 10, job_priority = 0;
  bool is_preemptible = true;
  DomainName domain;
  ProjectId project;
  UserId user;
  AccessKey access_key;
  ResourceGroupName resource_group;
  std::string image, architecture, tag;
  std::string session_group;  // id of a SessionGroup; empty: none
  SlotMap requested_slots;    // sum over its kernels
  Json resource_opts = Json::object();
  Json environ = Json::object();
  std::vector<std::string> designated_agents;
  std::vector<std::string> dependencies;  // session ids
  std::string startup_command, bootstrap_script, callback_url;
  std::vector<std::int64_t> preopen_ports;
  std::optional<Duration> batch_timeout;
  Timestamp requested_starts_at;  // 0: none

  SessionStatus status = SessionStatus::Pending;
  std::string status_info;
  Json status_data = Json::object();
  StatusTimes status_times;
  SessionResult result = SessionResult::Undefined;
  Timestamp created_at, starts_at, terminated_at;

  // what must happen next
  Timestamp deadline;         // of the present status; 0: none
  std::int64_t attempts = 0;  // failed attempts of the present phase
  Timestamp retry_at;         // earliest next attempt; 0: at once
  std::vector<std::string> failed_agents;
  bool batch_triggered = false;  // recorded before the trigger is sent

  // volatile
  std::shared_ptr<const PendingReason> pending_reason;
  std::int64_t num_queries = 0;
  Timestamp last_access;
};

struct Kernel {
  using Key = KernelId;
  KernelId id;
  SessionId session;
  std::string cluster_role = "main";
  std::int64_t cluster_idx = 1, local_rank = 0;
  std::string cluster_hostname = "main1";
  std::string image, architecture;
  SlotMap requested_slots;
  SlotMap occupied_slots;         // granted; empty before SCHEDULED and after the end
  Json devices = Json::object();  // granted: slot -> {index of the device -> amount}
  AgentId agent;
  std::string agent_addr, container_id, kernel_host;
  std::int64_t repl_in_port = 0, repl_out_port = 0;
  Json service_ports = Json::array();
  KernelStatus status = KernelStatus::Pending;
  std::string status_info;
  StatusTimes status_times;
  std::optional<std::int64_t> exit_code;
  bool create_sent = false;  // recorded before the create is sent, which is never repeated
  Timestamp created_at, starts_at, terminated_at;
};

// What a scope (user, project, domain, keypair) holds now. Derived from kernels, never stored.
struct Usage {
  using Key = std::string;
  std::string id;             // "<scope kind>/<scope>"
  SlotMap slots;              // of kernels that hold resources, without private sessions
  std::int64_t sessions = 0;  // in resource-occupying statuses, without private ones
  std::int64_t sftp_sessions = 0;
  std::int64_t pending_sessions = 0;
  SlotMap pending_slots;
};

// Work that goes outside and outlives one turn of the loop.
struct Operation {
  using Key = OperationId;
  OperationId id;
  std::string kind;
  std::string step;
  OperationStatus status = OperationStatus::Running;
  std::string subject;  // id of what it works on
  std::int64_t attempts = 0;
  Timestamp deadline, retry_at, created_at, finished_at;
  std::int64_t progress = 0, total = 0;
  std::string message;
  Json arguments = Json::object(), result = Json::object();
};

// Append-only record of scheduling phases; cold: written, never held in memory.
struct History {
  using Key = HistoryId;
  HistoryId id;
  std::string subject;  // session id
  std::string phase;    // "schedule-sessions", "check-precondition", "start-sessions", ...
  std::string from_status, to_status;
  SchedulingResult result = SchedulingResult::Success;
  std::string error_code, message;
  std::int64_t attempts = 1;
  Timestamp created_at, updated_at;
};

// Tail of a dead kernel's console; cold.
struct KernelLog {
  using Key = KernelId;
  KernelId kernel;
  std::string text;
  Timestamp stored_at;
};

// Sessions that want to be near each other, or apart.
struct SessionGroup {
  using Key = std::string;
  std::string id;
  DomainName domain;
  ProjectId project;
  UserId owner;
  PlacementDirection direction = PlacementDirection::None;
  PlacementEnforcement enforcement = PlacementEnforcement::Preferred;
  Timestamp created_at;
};

// Amounts on agents that are kept from `starts_at` until `ends_at` for sessions of its owners that
// name it (resource option "reservation"). They get nothing else, and end before it does. Where the
// resource group limits containers it keeps as large a part of an agent's places for them as of the
// slot of which it has most there, and one at least.
struct Reservation {
  using Key = std::string;
  std::string id;  // "<resource group>/<name>"
  ResourceGroupName resource_group;
  std::string name;
  Json agents = Json::object();     // agent -> {slot -> amount}
  std::vector<std::string> owners;  // "<scope kind>/<scope>", as in usages
  Timestamp starts_at, ends_at, created_at;
};

// What a scope has used of a resource group, and its weight.
struct FairShare {
  using Key = std::string;
  std::string id;  // "<resource group>/<scope kind>/<scope>"
  ResourceGroupName resource_group;
  ScopeKind scope_kind = ScopeKind::User;
  std::string scope;
  std::optional<std::int64_t> weight_milli;  // absent: the resource group's default
  Json buckets = Json::object();             // day ("2026-11-23") -> {slot -> units x seconds}
};

template <class E>
using KeyOf = typename E::Key;

template <class E>
struct EntityTraits;
#define BAI_ENTITY_TRAITS(E)                          \
  template <>                                         \
  struct EntityTraits<E> {                            \
    static constexpr EntityKind kind = EntityKind::E; \
  };
BAI_ENTITIES(BAI_ENTITY_TRAITS)
#undef BAI_ENTITY_TRAITS

template <class E>
concept Entity = requires { EntityTraits<E>::kind; };

}  // namespace bai

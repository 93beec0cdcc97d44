// What can be asked of a manager: one struct per action, with its result type. All of them are
// registered in one table (src/action/table.cpp), which names the permission rule of each.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bai_manager/agent.hpp"
#include "bai_manager/entities.hpp"

namespace bai {

// Who asks. `Manager` trusts it: the edge that makes one has authenticated the request.
struct Caller {
  UserId user;
  AccessKey access_key;
  DomainName domain;
  UserRole role = UserRole::User;
  bool is_system = false;  // the embedding program itself: may do everything
  std::string request_id;

  static Caller system() {
    Caller caller;
    caller.role = UserRole::Superadmin;
    caller.is_system = true;
    return caller;
  }
  friend bool operator==(const Caller&, const Caller&) = default;
};

template <class A>
concept Action = requires {
  typename A::Result;
  { A::kName } -> std::convertible_to<std::string_view>;
};

// ---- sessions -----------------------------------------------------------------------------------

// Queues a session. InvalidArgument for anything that can never be right, NotFound for an unknown
// image, project or dependency, QuotaExceeded for limits that apply at once, PermissionDenied when
// acting for somebody else without the role for it.
struct CreateSession {
  static constexpr std::string_view kName = "create_session";
  struct Result {
    SessionId id;
    bool created = true;  // false: an existing session of that name is reused
  };
  std::string name;   // 4-64 characters: word characters, inside also '.' and '-'
  std::string image;  // canonical name or alias
  std::string architecture = "x86_64";
  SessionType type = SessionType::Interactive;
  DomainName domain{"default"};
  std::string project = "default";
  std::optional<ResourceGroupName> resource_group;  // none: the first that the owner may use
  ClusterMode cluster_mode = ClusterMode::SingleNode;
  std::int64_t cluster_size = 1;  // kernels
  std::int64_t priority = 10, job_priority = 0;
  bool is_preemptible = true;
  SlotMap slots;  // of each kernel; cpu and mem are taken from the image when absent
  std::vector<SlotMap> kernel_slots;  // instead: of main1, sub1, sub2, ..., one for each kernel
  // Id of a SessionGroup, empty: none. Its project must be the session's, its owner too unless a
  // superadmin asks.
  std::string session_group;
  Json resource_opts = Json::object();  // "shmem", "agent_selection_policy", "restartable", ...
  Json environ = Json::object();
  std::vector<std::string> agents;  // designated
  std::vector<SessionId> dependencies;
  std::string tag, startup_command, bootstrap_script, callback_url;
  std::vector<std::int64_t> preopen_ports;
  std::optional<Duration> batch_timeout;  // batch only
  Timestamp starts_at;                    // batch only; 0: none
  bool reuse = true;                      // a live session of that name and image is returned
  std::optional<AccessKey> owner;         // act for another keypair (admins)
};

// Ends a session: CANCELLED when it was pending, TERMINATING otherwise, TERMINATED at once when
// forced (its kernels are still destroyed on their agents).
struct DestroySession {
  static constexpr std::string_view kName = "destroy_session";
  struct Result {
    // "cancelled" or "terminated" for each session that this call ended
    std::vector<std::pair<SessionId, std::string>> ended;
  };
  SessionId id;
  bool forced = false;
  bool recursive = false;  // also the live sessions that depend on it
  std::string reason = "user-requested";
};

struct RenameSession {  // only while RUNNING; InvalidArgument when the owner has a live one of that
                        // name
  static constexpr std::string_view kName = "rename_session";
  struct Result {};
  SessionId id;
  std::string name;
};

// What would become of a session if it were queued now, or of one that waits. Creates nothing; asks
// the planner, with everything that waits before it. Errors as of CreateSession; Conflict for a
// session that does not wait.
struct WhatIf {
  static constexpr std::string_view kName = "what_if";
  struct Result {
    StateVersion version;  // that the answer is about
    bool starts_now = false;
    std::vector<std::pair<std::string, AgentId>> agents;  // host name of each kernel, if it starts
    std::vector<SessionId> victims;  // that would be preempted for it, if it starts
    PendingReason reason;            // otherwise; with the expected start where there is one
  };
  std::optional<CreateSession> session;  // either this
  std::optional<SessionId> waiting;      // or this
  // Agents that would be there too, or would be other than they are. What is not given of one that
  // is there stays (superadmins only, as of `agents` in a fixture).
  Json agents = Json::array();
};

// ---- calls to the agent of a session's main kernel: Conflict unless the session runs
// --------------

struct ExecuteCode {
  static constexpr std::string_view kName = "execute_code";
  using Result = Json;  // {"runId", "status", "exitCode", "options", "console", "files"}
  SessionId id;
  std::string mode = "query";  // "query", "batch", "continue", "input"
  std::string code;
  std::string run_id;  // empty: a new run; "continue" and "input" need one
  Json options = Json::object();
  Duration flush_timeout = seconds(2);  // then the answer is "continued"
};
struct InterruptSession {
  static constexpr std::string_view kName = "interrupt_session";
  using Result = Json;
  SessionId id;
};
struct CompleteCode {
  static constexpr std::string_view kName = "complete_code";
  using Result = Json;  // {"status", "error", "suggestions"}
  SessionId id;
  std::string code;
  Json options = Json::object();
};
struct SessionLogs {  // also of sessions that have ended, from the stored tail
  static constexpr std::string_view kName = "session_logs";
  using Result = std::string;
  SessionId id;
  std::optional<KernelId> kernel;  // none: the main kernel
};
struct ListSessionFiles {
  static constexpr std::string_view kName = "list_session_files";
  using Result = Json;  // {"files": JSON text, "errors", "abspath"}
  SessionId id;
  std::string path = ".";
};
struct UploadSessionFile {
  static constexpr std::string_view kName = "upload_session_file";
  struct Result {};
  SessionId id;
  std::string name;  // relative to the working directory
  Bytes data;
};
struct DownloadSessionFile {
  static constexpr std::string_view kName = "download_session_file";
  using Result = Bytes;  // a tar archive
  SessionId id;
  std::string path;
  bool single = false;
};

// ---- administration -----------------------------------------------------------------------------

// Inserts or replaces rows: {"domains": [{...}, ...], "users": [...], ...}, tables and fields as
// described by schema.hpp. All or nothing. For seeding, not for live sessions and kernels.
struct LoadFixture {
  static constexpr std::string_view kName = "load_fixture";
  struct Result {
    std::size_t inserted = 0, replaced = 0;
  };
  Json document;
};

// Keeps amounts on agents for a time (see Reservation). AlreadyExists for a name that is taken;
// NotFound for an unknown resource group, agent or owner; InvalidArgument for a window that ends
// before it starts or has ended, for slots that an agent does not have, and for amounts that with
// those of other reservations at the same time are more than it has.
struct CreateReservation {
  static constexpr std::string_view kName = "create_reservation";
  struct Result {
    std::string id;
  };
  ResourceGroupName resource_group;
  std::string name;                 // 1-64 characters: letters, digits, '-', '_' and '.'
  Json agents = Json::object();     // agent -> {slot -> amount}
  std::vector<std::string> owners;  // "<scope kind>/<scope>"
  Timestamp starts_at, ends_at;
};
struct DeleteReservation {  // what runs in it goes on
  static constexpr std::string_view kName = "delete_reservation";
  struct Result {};
  std::string id;
};

// Sessions that are to be apart or together (see SessionGroup). The handlers say who may: users
// make and alter groups of their own, admins those of their domain's projects, superadmins all,
// monitors none. Somebody else's group is NotFound.
//
// NotFound for an unknown project or owner, PermissionDenied for another owner than the caller may
// act for and for one who is not a member of the project (superadmins need not be), AlreadyExists
// for an id that is taken, InvalidArgument for one that is malformed, QuotaExceeded when the owner
// has 1,000 groups.
struct CreateSessionGroup {
  static constexpr std::string_view kName = "create_session_group";
  struct Result {
    std::string id;
  };
  std::string id;  // 1-64 characters: letters, digits, '-', '_' and '.'; empty: a UUID is made
  DomainName domain{"default"};
  std::string project = "default";
  std::optional<UserId> owner;  // none: the caller
  PlacementDirection direction = PlacementDirection::Spread;
  PlacementEnforcement enforcement = PlacementEnforcement::Preferred;
};
// What is not given stays; InvalidArgument when nothing is. Sessions that wait are placed by the
// new rule, those that have their agents stay there.
struct ModifySessionGroup {
  static constexpr std::string_view kName = "modify_session_group";
  struct Result {};
  std::string id;
  std::optional<PlacementDirection> direction;
  std::optional<PlacementEnforcement> enforcement;
};
struct DeleteSessionGroup {  // Conflict while a session of it lives
  static constexpr std::string_view kName = "delete_session_group";
  struct Result {};
  std::string id;
};

struct ModifyAgent {
  static constexpr std::string_view kName = "modify_agent";
  struct Result {};
  AgentId id;
  std::optional<bool> schedulable;
};

}  // namespace bai

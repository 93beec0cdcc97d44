// The agent port: requests out, events in. The server's ZeroMQ gateway and the simulated cluster
// implement it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bai_manager/env.hpp"
#include "bai_manager/ids.hpp"
#include "bai_manager/json.hpp"
#include "bai_manager/resources.hpp"
#include "bai_manager/result.hpp"
#include "bai_manager/storage.hpp"  // Bytes

namespace bai {

struct AgentEndpoint {
  AgentId id;
  std::string addr;        // "tcp://host:port", as the agent announced it
  std::string public_key;  // Z85 CURVE key; empty: plain
};

// ---- requests -----------------------------------------------------------------------------------

struct ImageSpec {
  std::string canonical;     // "registry/project/name:tag"
  std::string architecture;  // "x86_64"
  std::string digest;
  std::string registry;  // name of the registry: the leading part of `canonical`
  std::string registry_url;
  std::string project;
  std::map<std::string, std::string> labels;
  bool is_local = false;             // never pulled
  std::string auto_pull = "digest";  // "digest", "tag" or "none"
};

struct KernelSpec {
  KernelId id;
  ImageSpec image;
  std::string session_type;  // "interactive", "batch", ...
  std::string cluster_mode;  // "single-node", "multi-node"
  std::string cluster_role;  // "main", "sub"
  std::int64_t cluster_idx = 1;
  std::int64_t local_rank = 0;
  std::string cluster_hostname;
  UserId owner;
  std::map<std::string, std::string> slots;  // decimal text, bytes for mem
  Json resource_opts = Json::object();
  std::map<std::string, std::string> environ;
  std::string bootstrap_script, startup_command;  // empty: none
  std::vector<std::int64_t> preopen_ports;
  std::string agent_addr;
  std::string resource_group;
};

struct CheckAndPull {
  std::vector<ImageSpec> images;
};
struct CreateKernels {
  SessionId session;
  std::vector<KernelSpec> kernels;
  std::string cluster_mode;
  std::int64_t cluster_size = 1;
  std::map<std::string, std::int64_t> replicas;  // role -> count
  Json network_config = Json::object();
};
struct DestroyKernel {
  KernelId kernel;
  SessionId session;
  std::string reason;  // one of the lifecycle reasons; agents refuse any other text
  bool suppress_events = false;
};
struct CheckCreating {
  KernelId kernel;
};  // reply: bool
struct CheckRunning {
  KernelId kernel;
};  // reply: bool
struct SyncKernelRegistry {
  std::vector<std::pair<KernelId, SessionId>> kernels;
};
struct TriggerBatch {
  SessionId session;
  KernelId kernel;
  std::string command;
  std::optional<Duration> timeout;
};
struct Execute {
  SessionId session;
  KernelId kernel;
  std::string run_id;
  std::string mode;  // "query", "batch", "continue", "input"
  std::string code;
  Json options = Json::object();
  std::optional<Duration> flush_timeout;
};
struct InterruptKernel {
  KernelId kernel;
};
struct GetCompletions {
  KernelId kernel;
  std::string text;
  Json options = Json::object();
};
struct GetLogs {
  KernelId kernel;
};  // reply: {"logs": text}
struct ListFiles {
  KernelId kernel;
  std::string path;
};
struct UploadFile {
  KernelId kernel;
  std::string name;
  Bytes data;
};
struct DownloadFile {
  KernelId kernel;
  std::string path;
};  // reply data: tar archive
struct DownloadSingle {
  KernelId kernel;
  std::string path;
};  // reply data: tar archive of one file
struct PingAgent {};

using AgentRequest =
    std::variant<CheckAndPull, CreateKernels, DestroyKernel, CheckCreating, CheckRunning,
                 SyncKernelRegistry, TriggerBatch, Execute, InterruptKernel, GetCompletions,
                 GetLogs, ListFiles, UploadFile, DownloadFile, DownloadSingle, PingAgent>;

// "create_kernels", "destroy_kernel", ...: the method on the wire.
std::string_view request_name(const AgentRequest& request) noexcept;

struct AgentReply {
  Json value;
  Bytes data;  // for requests that answer with bytes
};
using AgentReplyHandler = std::move_only_function<void(Result<AgentReply>)>;

class AgentGateway {
 public:
  virtual ~AgentGateway() = default;

  // Never blocks. `reply` runs exactly once, on any thread, possibly before this returns:
  //   Unavailable       the agent could not be reached; it may or may not have acted
  //   DeadlineExceeded  no answer within `timeout`; a cancel was sent; it may have acted
  //   Internal          the agent answered with a failure; `kind` is its exception class
  //                     ("ResourceError", "KeyError", ...), `message` its text
  // Repeats are not harmless: a second CreateKernels for the same kernel fails. Ask first.
  virtual void request(const AgentEndpoint& agent, AgentRequest request, Duration timeout,
                       AgentReplyHandler reply) = 0;

  // Drops the connection to an agent that has gone or moved; requests in flight fail as
  // Unavailable.
  virtual void forget(const AgentId& agent) = 0;
};

// ---- events -------------------------------------------------------------------------------------

struct AgentInfo {  // what a heartbeat says
  std::string addr;
  std::string public_key;
  std::string public_host;
  std::string region;
  std::string resource_group;  // used at the first registration only
  std::string architecture;
  std::string version;
  std::vector<std::pair<std::string, std::string>> slots;       // name -> decimal text
  std::vector<std::pair<std::string, std::string>> slot_types;  // name -> "count", "bytes", ...
  Json compute_plugins = Json::object();
};
struct AgentStarted {
  std::string reason;
};
struct AgentTerminated {
  std::string reason;
};  // "shutdown", "agent-restart", ...
struct AgentHeartbeat {
  AgentInfo info;
};
struct ImagePullStarted {
  std::string image;
};
struct ImagePullFinished {
  std::string image;
};
struct ImagePullFailed {
  std::string image, message;
};
struct KernelPreparing {
  KernelId kernel;
  SessionId session;
};
struct KernelPulling {
  KernelId kernel;
  SessionId session;
};
struct KernelCreating {
  KernelId kernel;
  SessionId session;
};
struct KernelStarted {
  KernelId kernel;
  SessionId session;
  std::string container_id;
  std::string kernel_host;
  std::int64_t repl_in_port = 0, repl_out_port = 0;
  Json service_ports = Json::array();
  std::optional<std::vector<std::pair<std::string, std::string>>> used_slots;  // measured
};
struct KernelTerminated {
  KernelId kernel;
  SessionId session;
  std::string reason;
  std::int64_t exit_code = -1;
  std::string log;  // tail of the console output, where the agent sends it along
};
struct KernelCancelled {  // it will not start
  KernelId kernel;
  SessionId session;
  std::string reason;
};
struct BatchFinished {
  SessionId session;
  bool success = false;
  std::string reason;
  std::int64_t exit_code = -1;
};
using AgentEventBody =
    std::variant<AgentStarted, AgentTerminated, AgentHeartbeat, ImagePullStarted, ImagePullFinished,
                 ImagePullFailed, KernelPreparing, KernelPulling, KernelCreating, KernelStarted,
                 KernelTerminated, KernelCancelled, BatchFinished>;

// "kernel_started", "agent_heartbeat", ...: the name on the wire.
std::string_view event_name(const AgentEventBody& body) noexcept;

struct AgentEvent {
  AgentId agent;
  AgentEventBody body;
};

// Reads one event as it stands on the wire (name, source, payload as JSON text). Unsupported when
// the name is none that the manager acts on, InvalidArgument when the payload does not fit.
Result<AgentEvent> parse_agent_event(std::string_view name, std::string_view source,
                                     std::string_view payload);
// The inverse, used by the bundled and simulated agents: {name, payload}.
std::pair<std::string, std::string> format_agent_event(const AgentEventBody& body);

}  // namespace bai

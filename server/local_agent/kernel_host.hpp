// The kernels of one host: started, found again, called, ended, and their outcomes told.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bai_manager/agent.hpp"
#include "bai_manager/resources.hpp"
#include "local_agent/event_loop.hpp"
#include "local_agent/executions.hpp"
#include "local_agent/kernel_config.hpp"
#include "local_agent/kernel_files.hpp"
#include "local_agent/kernel_link.hpp"

namespace bai::server::local {

struct LocalImage {
  Runtime runtime = Runtime::Python;
  std::string interpreter;  // path of python3, or of bash
};

struct KernelHostOptions {
  std::string work_root;   // absolute; created when absent
  std::string executable;  // a program whose main() knows supervisor_main()
  std::string kernel_host, agent_addr, resource_group;
  std::string architecture;
  std::map<std::string, std::string> slots;  // what may be granted in all, decimal text
  std::map<std::string, LocalImage> images;  // by canonical name
  bool limit_memory = true;
  std::int64_t max_log_bytes = 1 << 20;
  std::int64_t max_console_bytes = 4 << 20;
  EventLoop::Millis term_grace{2000};
  EventLoop::Millis start_timeout{15'000};
  EventLoop::Millis hung_timeout{10'000};  // beyond the grace; then the supervisor is killed
  std::size_t keep_ended_count = 100;      // work directories of ended kernels
  EventLoop::Millis keep_ended_for{3'600'000};
};

inline constexpr std::int64_t kMinDataLimitBytes = 64 << 20;  // what an interpreter needs to start
inline constexpr std::size_t kTerminatedLogBytes = 64U << 10U;  // in the event
inline constexpr std::size_t kMaxLogReplyBytes = 1U << 20U;

// Loop thread only, but open() may run before the loop does. Destroying it leaves kernels running.
class KernelHost {
 public:
  using Emit = std::function<void(AgentEventBody)>;
  using BytesReply = std::move_only_function<void(std::expected<Bytes, CallError>)>;

  KernelHost(EventLoop& loop, KernelHostOptions options, Emit emit);
  ~KernelHost();

  // Locks work_root, attaches to the kernels that run there and tells what ended meanwhile.
  // AlreadyExists when another agent holds it.
  Status open();

  void check_and_pull(const CheckAndPull& request, CallReply reply);
  void create(CreateKernels request, CallReply reply);
  void destroy(const DestroyKernel& request, CallReply reply);
  void sync(const SyncKernelRegistry& request, CallReply reply);
  bool is_creating(const KernelId& id) const;  // or present
  bool is_running(const KernelId& id) const;
  void trigger_batch(const TriggerBatch& request, CallReply reply);
  // Returns what to call when the caller gives up; null when it is answered already.
  std::function<void()> execute(const Execute& request, CallReply reply);
  void interrupt(const KernelId& id, CallReply reply);
  void complete(const GetCompletions& request, CallReply reply);
  void logs(const KernelId& id, CallReply reply) const;
  std::expected<KernelFiles, CallError> files(const KernelId& id) const;

  // Everything emitted so far has reached the manager: it need not be told again after a restart.
  void confirm_events();
  bool has_unconfirmed() const noexcept { return !unconfirmed_.empty(); }
  std::size_t running() const noexcept { return kernels_.size(); }
  // Removes directories of ended kernels beyond the configured number and age.
  void prune();

 private:
  using Clock = std::chrono::steady_clock;
  struct Creation;  // one create_kernels call
  struct Kernel {
    KernelId id;
    SessionId session;
    KernelConfig config;
    std::string dir;
    KernelState state;
    SlotMap slots;
    std::unique_ptr<KernelLink> link;
    bool running = false;
    std::shared_ptr<Creation> creation;  // while it is being created
    std::string failure;                 // why it could not start
    EventLoop::TimerId timer = 0;
    std::vector<CallReply> destroyers;
    std::string destroy_reason;
    bool suppress_events = false;
    Json reported = Json::object();  // reported.json
  };
  struct Ended {
    std::string dir;
    SessionId session;
    std::int64_t exit_code;
    Clock::time_point since;
    std::uint64_t order;
  };
  using KernelPtr = std::shared_ptr<Kernel>;

  std::expected<void, CallError> admit(const KernelSpec& spec, const SlotMap& others) const;
  std::expected<SlotMap, CallError> read_slots(const KernelSpec& spec) const;
  KernelConfig config_for(const SessionId& session, const KernelSpec& spec) const;
  void start_kernel(const SessionId& session, const KernelSpec& spec, SlotMap slots,
                    std::shared_ptr<Creation> creation);
  LinkHandlers handlers_for(const KernelPtr& kernel);
  void on_state(const KernelPtr& kernel, const KernelState& state);
  void on_gone(const KernelPtr& kernel);
  void creation_done(const KernelPtr& kernel, std::expected<Json, CallError> result);
  Json creation_result(const Kernel& kernel) const;
  void begin_destroy(const KernelPtr& kernel, const std::string& reason);
  void already_terminated(const KernelId& id, const SessionId& session);

  void adopt(const std::string& dir, const KernelId& id);
  void emit_started(const KernelPtr& kernel);
  void emit_batch(const KernelPtr& kernel);
  void emit_terminated(const KernelPtr& kernel, const std::string& reason);
  void report(const KernelPtr& kernel, const char* what);
  void keep_ended(const Kernel& kernel);
  KernelPtr find_running(const KernelId& id) const;
  static CallError no_kernel(const KernelId& id, std::string kind);

  EventLoop& loop_;
  KernelHostOptions options_;
  Emit emit_;
  SlotTypes slot_types_;
  Fd lock_;
  std::map<KernelId, KernelPtr> kernels_;  // being created, running, being destroyed
  std::map<KernelId, Ended> ended_;
  std::uint64_t next_ended_ = 1, pulls_ = 0;
  std::vector<std::pair<KernelPtr, const char*>> unconfirmed_;  // (kernel, key of reported.json)
};

}  // namespace bai::server::local

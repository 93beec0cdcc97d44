// The control plane: what an embedder opens, asks and reads.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/actions.hpp"
#include "bai_manager/agent.hpp"
#include "bai_manager/env.hpp"
#include "bai_manager/snapshot.hpp"
#include "bai_manager/storage.hpp"

namespace bai {

class PolicyRegistry;

// A status that changed; emitted after the change is durable and visible.
struct StatusEvent {
  StateVersion version;
  Timestamp at;
  SessionId session;
  std::optional<KernelId> kernel;  // none: the session's own status
  std::string from, to;            // status texts; `from` is empty for a new session
  std::string reason;
  std::optional<std::int64_t> exit_code;
};
class EventSink {
 public:
  virtual ~EventSink() = default;
  // On the loop thread, in order of versions. Must not block.
  virtual void publish(std::span<const StatusEvent> events) noexcept = 0;
};

// What is measured, as it happens. On the thread that did the work; must not block.
class MetricsSink {
 public:
  virtual ~MetricsSink() = default;
  virtual void action_done(std::string_view name, std::string_view entity,
                           std::string_view operation, const Error* error,
                           Duration took) noexcept = 0;
  // Once what it changed is visible, `took` after it was delivered. `accepted`: it was acted on, or
  // only told of a progress that needs no action.
  virtual void agent_event_done(std::string_view name, bool accepted, Duration took) noexcept = 0;
  // Whatever the manager asks agents; once they have answered or the time is up.
  virtual void agent_request_done(std::string_view method, bool ok, Duration took) noexcept = 0;
  virtual void pass_done(Duration took, std::size_t placed, std::size_t waiting) noexcept = 0;
  virtual void commit_done(std::size_t rows, bool ok, Duration took) noexcept = 0;
};

struct Ports {
  std::shared_ptr<Storage> storage;                // required
  std::shared_ptr<AgentGateway> agents;            // required
  std::shared_ptr<EventSink> events;               // may be null
  std::shared_ptr<MetricsSink> metrics;            // may be null
  std::shared_ptr<const PolicyRegistry> policies;  // null: the built-in ones
};

// All limits and waits. Zero is not "unlimited" unless said.
struct Options {
  std::uint32_t batch_max = 1024;       // inputs per commit
  std::uint32_t queue_max = 100'000;    // waiting inputs; beyond, actions get Unavailable
  std::uint32_t placements_max = 1000;  // per resource group and scheduling pass
  std::uint32_t planner_threads = 1;    // that resource groups are planned on

  Duration agent_timeout = seconds(40);         // without a heartbeat: LOST
  Duration lost_grace = seconds(60);            // a lost agent's kernels keep their amounts so long
  Duration reserve_timeout = seconds(600);      // RESERVED: victims of preemption have not left
  Duration prepare_timeout = seconds(1800);     // SCHEDULED .. PREPARED
  Duration create_timeout = seconds(900);       // CREATING
  Duration terminate_timeout = seconds(300);    // TERMINATING; then ended here, destroy still owed
  Duration recheck_interval = seconds(15);      // ask again about what no event has reported
  Duration running_recheck = seconds(600);      // ask every agent whether its kernels still run
  Duration command_timeout = seconds(60);       // an agent's answer to a command
  Duration create_call_timeout = seconds(900);  // ... to create_kernels, which may take minutes
  Duration call_timeout = seconds(30);          // ... to execute, logs, files
  Duration retry_backoff = seconds(2);          // between failed attempts; doubles up to 16 times
  std::uint32_t attempts_max = 5;               // then the session is given up
  Duration keep_ended = seconds(3600);  // ended sessions in memory; storage keeps them for ever
  Duration owed_destroy_timeout = seconds(24 * 3600);  // trying to destroy a superseded kernel
  Duration storage_backoff = milliseconds(200);        // after a refused commit

  std::size_t tag_max = 64;                   // bytes of a session's tag
  std::size_t environ_max = 64 * 1024;        // bytes of a session's environment, as JSON
  std::size_t resource_opts_max = 16 * 1024;  // bytes of a session's resource options, as JSON
  std::size_t list_max = 256;  // a session's dependencies, ports, or the agents it may run on
  std::size_t script_max = 1024 * 1024;  // bytes of a startup command or bootstrap script
  std::size_t upload_max = 32 * 1024 * 1024;
  std::int64_t cluster_size_max = 1024;
  std::size_t kernel_log_max = 64 * 1024;  // stored tail of a dead kernel's console
};

struct Statistics {  // since open()
  std::uint64_t version = 0;
  std::uint64_t turns = 0, inputs = 0, commits = 0, commit_failures = 0, rows_written = 0;
  std::uint64_t passes = 0, placements = 0, placements_refused = 0;
  std::uint64_t events_accepted = 0, events_ignored = 0;
  std::uint64_t queue_length = 0;
  bool storage_down = false;
};

// Thread-safe unless a method says otherwise.
class Manager {
 public:
  // Loads the state, checks it, resumes what was under way. `env` and everything in it outlive the
  // manager. Corruption when stored rows contradict each other; errors of the storage as they are.
  static Result<std::unique_ptr<Manager>> open(Options options, Env env, Ports ports);
  ~Manager();  // as close(seconds(5))
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  // Calls `reply` exactly once, on the loop after the change is durable and visible, or on any
  // thread when it is refused outright (Unavailable: closing, queue full or storage down).
  template <Action A>
  void submit(Caller caller, A action,
              std::move_only_function<void(Result<typename A::Result>)> reply) {
    submit_erased(std::move(caller), A::kName, std::make_shared<A>(std::move(action)),
                  [reply = std::move(reply)](Result<std::shared_ptr<void>> result) mutable {
                    if (!result) return reply(std::unexpected(std::move(result.error())));
                    reply(std::move(*static_cast<typename A::Result*>(result->get())));
                  });
  }

  // Entry point for transports. `done(true)`: what the event changed is durable (or there was
  // nothing to change); `done(false)`: not handled, deliver it again.
  void deliver(AgentEvent event, std::move_only_function<void(bool)> done = {});

  // The last committed state. Costs a pointer copy.
  SnapshotPtr snapshot() const;

  // Calls `reply` once the session runs or has ended, with the snapshot that shows it; with
  // DeadlineExceeded after `timeout` (0: never). NotFound at once when there is no such session,
  // Unavailable when the manager closes first.
  void await_session(SessionId id, Duration timeout,
                     std::move_only_function<void(Result<SnapshotPtr>)> reply);

  // Rows of a cold entity (history, kernel logs). Any thread; reads storage.
  Result<std::vector<std::shared_ptr<const History>>> history(const SessionId& session) const;

  Statistics statistics() const;

  // Recomputes everything that is derived and compares: empty when all holds, otherwise what does
  // not. Any thread; walks the whole snapshot.
  std::string check_invariants() const;

  // Refuses new actions, lets those under way finish for at most `patience`, flushes storage.
  // DeadlineExceeded when something was left (it is resumed at the next open). Whoever still waits
  // then is answered with Unavailable. Not from the loop thread.
  Status close(Duration patience);

  // Stops at once without flushing anything, as a crash would; replies that are owed are dropped.
  void abandon() noexcept;

 private:
  struct Impl;
  explicit Manager(std::shared_ptr<Impl> impl);
  void submit_erased(Caller caller, std::string_view action, std::shared_ptr<void> body,
                     std::move_only_function<void(Result<std::shared_ptr<void>>)> reply);
  std::shared_ptr<Impl> impl_;
};

// Who an access key is: Unauthenticated unless the keypair and its user are there and active.
Result<Caller> identify(const Snapshot& snapshot, const AccessKey& key);

// The session that a caller means by an id or by the name of a live session of its own: NotFound
// when there is none that it may see (users: their own; admins: their domain's; superadmins: all).
Result<const Session*> resolve_session(const Snapshot& snapshot, const Caller& caller,
                                       std::string_view name_or_id);
bool may_access(const Caller& caller, const Session& session);
bool may_access(const Caller& caller, const SessionGroup& group);  // by the same rule

}  // namespace bai

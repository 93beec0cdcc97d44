// What a handler works with: the state through a changeset, and an outbox for everything that is to
// happen once its changes are durable and visible.
#pragma once

#include <vector>

#include "bai_manager/agent.hpp"
#include "bai_manager/env.hpp"
#include "bai_manager/manager.hpp"
#include "bai_manager/policy.hpp"
#include "model/changeset.hpp"

namespace bai::core {

// Why a command was sent: what its answer is taken for.
enum class Purpose : std::uint8_t {
  PrepareImages,
  CreateKernels,
  DestroyKernel,      // of a session that is TERMINATING
  DestroySuperseded,  // owed: an Operation remembers it until the agent has answered
  AskRunning,         // of a kernel that runs here
  AskStarted,         // of a kernel whose start has not been heard of
  AskCreating,        // the same, after "no" to AskStarted
  TriggerBatch,
};

struct Errand {
  Purpose purpose{};
  SessionId session;
  std::vector<KernelId> kernels;
  OperationId operation;  // DestroySuperseded only
  bool repeat = false;    // TriggerBatch: a refusal means that it had been triggered before
};

struct Command {
  AgentEndpoint agent;
  AgentRequest request;
  Duration timeout;
  Errand errand;
};

enum class TimerKind : std::uint8_t { Session, Agent, Operation, Eviction, Census };
struct Timer {  // handled by on_timer, which looks at the row again
  Timestamp at;
  TimerKind kind{};
  std::string id;
  friend auto operator<=>(const Timer&, const Timer&) = default;
};

// Drained after the changes that filled it are durable.
struct Outbox {
  std::vector<Command> commands;
  std::vector<AgentId> forget;  // connections to drop
  std::vector<Timer> timers;

  struct Mark {
    std::size_t commands, forget, timers;
  };
  Mark mark() const noexcept { return {commands.size(), forget.size(), timers.size()}; }
  void rollback(const Mark& to) {
    commands.erase(commands.begin() + static_cast<std::ptrdiff_t>(to.commands), commands.end());
    forget.resize(to.forget);
    timers.resize(to.timers);
  }
};

// Loop thread only; made for one input.
struct Context {
  Changeset& changes;
  Outbox& outbox;
  Timestamp now;
  Entropy& entropy;
  const Options& options;
  Timestamp& last_created;   // of the newest session: the order of creation is one of times
  Timestamp& last_recorded;  // of the newest row of history: likewise
  const PolicyRegistry* policies = nullptr;  // null: resource groups are not checked against them

  const State& state() const noexcept { return changes.state(); }
};

}  // namespace bai::core

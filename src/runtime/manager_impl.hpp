// The shell around the handlers: one writer, group commit, snapshots, planner, agents.
//
//   submit / deliver / answers / timers / plans
//        -> queue -> turn(): handle inputs, growing one batch of changes
//        -> commit(): one batch at a time on the storage executor, the next one grows meanwhile
//        -> publish(): snapshot, planner's feed, commands to agents, replies, events
//
// Durable before visible, visible before acted on.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "action/table.hpp"
#include "bai_manager/manager.hpp"
#include "core/handlers.hpp"
#include "repo/repo.hpp"
#include "runtime/job_threads.hpp"
#include "sched/planner.hpp"

namespace bai {

// Something to handle on the loop. An action is handled once; everything else is kept until what it
// changed is durable, and handled again when a commit fails - unless storage will never take that
// commit, and somebody learns from `finish` that the input has to be brought again.
struct Input {
  std::move_only_function<Status(core::Context&)> handle;
  // After publishing (null), or when it will never be handled (the reason).
  std::move_only_function<void(const Error*)> finish;
  bool is_action = false;
  std::uint32_t refusals = 0;  // commits with it that storage will not take, so far
};

// The inputs of one commit and what they led to.
struct Batch {
  std::vector<Input> inputs;
  std::vector<Change> changes;  // coalesced
  std::vector<StatusEvent> events;
  core::Outbox outbox;
  std::unique_ptr<const State> frozen;
  repo::StoredVersion from;
  bool stored = false;
};

struct Manager::Impl : std::enable_shared_from_this<Manager::Impl> {
  Impl(Options options, Env env, Ports ports);

  Status start();
  Status close(Duration patience);
  void abandon();

  // Any thread.
  void enqueue(Input input);
  void submit(Caller caller, const action::ActionInfo& info, std::shared_ptr<void> body,
              action::ErasedReply reply);
  SnapshotPtr snapshot() const;
  void await(SessionId id, Duration timeout,
             std::move_only_function<void(Result<SnapshotPtr>)> reply);
  void deliver(AgentEvent event, std::move_only_function<void(bool)> done);
  Statistics statistics() const;

  const Options options_;
  const Env env_;
  const Ports ports_;
  std::shared_ptr<AgentGateway> agents_;  // of the ports, measured where somebody wants to know

 private:
  struct Waiter {
    std::uint64_t id = 0;
    std::move_only_function<void(Result<SnapshotPtr>)> reply;
    Executor::TimerId timer = 0;
  };

  // A task that does nothing once the manager is gone.
  template <class F>
  Task guarded(F f) {
    return [weak = weak_from_this(), f = std::move(f)]() mutable {
      if (auto self = weak.lock(); self && !self->abandoned_) f(*self);
    };
  }

  // Loop thread.
  void turn();
  void handle(Input input);
  void commit();
  void committed(std::shared_ptr<Batch> batch, Status status);
  void find_out(std::shared_ptr<Batch> batch);
  void commit_failed(std::shared_ptr<Batch> batch, const Error& error);
  void refuse_meanwhile(const Batch& in_doubt);
  void refuse_actions(std::vector<Input> inputs, const Error& refusal);
  void handle_later(Input input);
  void publish(Batch& batch);
  void feed_planner(const Batch& batch);
  void send(core::Command command);
  void arm_timers(Batch& batch);
  void arm();
  void timers_due();
  void maybe_plan();
  void planned(Plan plan, Duration took, std::size_t waiting);
  void wake_waiters(const Batch& batch);
  bool finish_waiter(const SessionId& id, std::uint64_t waiter, Result<SnapshotPtr> result);
  void call_agent(Caller caller, const action::ActionInfo& info, std::shared_ptr<void> body,
                  action::ErasedReply reply);
  void ask_planner(Caller caller, const action::ActionInfo& info, std::shared_ptr<void> body,
                   action::ErasedReply reply);
  void put_question(const Caller& caller, const action::ActionInfo& info, const void* body,
                    action::ErasedReply reply);
  action::ErasedReply measured(const action::ActionInfo& info, action::ErasedReply reply);
  void answer_all();
  void replan_later();
  void log(LogLevel level, std::string_view message);
  void event_done(const AgentEvent& event, bool accepted, Duration took);
  Timestamp now();
  void set_idle();

  // Loop thread only.
  State state_;
  Changeset changes_{state_};
  Batch growing_;
  std::shared_ptr<Batch> in_flight_;
  bool storage_down_ = false;
  repo::StoredVersion stored_;
  Timestamp last_now_, last_created_, last_recorded_;
  std::shared_ptr<const PolicyRegistry> policies_;
  std::set<core::Timer> timers_;
  Executor::TimerId armed_ = 0;
  Timestamp armed_for_;
  bool plan_in_flight_ = false, plan_wanted_ = false, plan_paused_ = false;
  Executor::TimerId plan_wake_ = 0, plan_retry_ = 0;
  std::uint32_t fruitless_passes_ = 0;  // in a row
  std::map<SessionId, std::vector<Waiter>> waiters_;
  std::uint64_t next_waiter_ = 1;
  std::map<std::uint64_t, action::ErasedReply> questions_;  // that the planner is answering
  std::uint64_t next_question_ = 1;

  // Planner thread only.
  std::unique_ptr<runtime::JobThreads> job_threads_;
  std::unique_ptr<Planner> planner_;

  mutable std::mutex mutex_;  // guards what follows
  std::deque<Input> queue_;
  bool turn_posted_ = false;
  bool closing_ = false;
  bool closed_ = false;    // everybody has been answered; nothing is taken any more
  bool refusing_ = false;  // storage is down or does not answer: actions are refused at once
  bool idle_ = true;       // nothing queued, growing or in flight
  std::condition_variable became_idle_;
  SnapshotPtr snapshot_;
  Statistics statistics_;
  std::set<std::string_view> ignored_;  // names of events of which one was ignored

  std::atomic<bool> abandoned_ = false;
};

}  // namespace bai

// The single writer: turns, group commit, publishing.
#include <fmt/format.h>

#include "core/preemption.hpp"
#include "runtime/faults_log.hpp"
#include "runtime/manager_impl.hpp"

namespace bai {

namespace {

// Every status that these changes pass through, in order.
std::vector<StatusEvent> status_events(std::span<const Change> changes, Timestamp at) {
  std::vector<StatusEvent> events;
  for (const Change& change : changes) {
    if (change.is_volatile || !change.after) continue;
    if (change.entity == EntityKind::Session) {
      const auto& now = *change.new_row<Session>();
      const auto* was = change.old_row<Session>();
      if (was != nullptr && was->status == now.status) continue;
      events.push_back({{},
                        at,
                        now.id,
                        {},
                        was ? std::string(to_string(was->status)) : "",
                        std::string(to_string(now.status)),
                        now.status_info,
                        {}});
    } else if (change.entity == EntityKind::Kernel) {
      const auto& now = *change.new_row<Kernel>();
      const auto* was = change.old_row<Kernel>();
      if (was != nullptr && was->status == now.status) continue;
      events.push_back({{},
                        at,
                        now.session,
                        now.id,
                        was ? std::string(to_string(was->status)) : "",
                        std::string(to_string(now.status)),
                        now.status_info,
                        now.exit_code});
    }
  }
  return events;
}

bool concerns_planner(EntityKind kind) {
  switch (kind) {
    case EntityKind::Image:
    case EntityKind::Operation:
    case EntityKind::History:
    case EntityKind::KernelLog:
    case EntityKind::ProjectMember:
    case EntityKind::ResourceGroupGrant:
      return false;
    default:
      return true;
  }
}

template <class T>
void append(std::vector<T>& to, auto& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  from.clear();
}

}  // namespace

Timestamp Manager::Impl::now() {
  last_now_ = std::max(last_now_, env_.clock.now());
  return last_now_;
}

void Manager::Impl::set_idle() {
  const std::lock_guard lock(mutex_);
  idle_ = queue_.empty() && !in_flight_ && growing_.inputs.empty();
  if (idle_) became_idle_.notify_all();
}

void Manager::Impl::turn() {
  std::vector<Input> inputs;
  {
    const std::lock_guard lock(mutex_);
    turn_posted_ = false;
    if (storage_down_) return;  // the backoff timer takes the queue up again
    // While a batch is in flight the next one may grow, but not without bound.
    const std::size_t room =
        options_.batch_max - std::min<std::size_t>(options_.batch_max, growing_.inputs.size());
    while (!queue_.empty() && inputs.size() < room) {
      inputs.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    if (!queue_.empty() && !in_flight_) {
      turn_posted_ = true;
      env_.loop.post(guarded([](Impl& self) { self.turn(); }));
    }
    ++statistics_.turns;
    statistics_.inputs += inputs.size();
  }
  for (Input& input : inputs) handle(std::move(input));
  commit();
  set_idle();
}

void Manager::Impl::handle(Input input) {
  const auto changes = changes_.checkpoint();
  const auto outbox = growing_.outbox.mark();
  core::Context ctx{changes_, growing_.outbox, now(),          env_.entropy,
                    options_, last_created_,   last_recorded_, policies_.get()};
  if (input.handle(ctx)) {
    core::admit_reserved(ctx, changes);
  } else {
    changes_.rollback(changes);
    growing_.outbox.rollback(outbox);
  }
  growing_.inputs.push_back(std::move(input));
}

void Manager::Impl::commit() {
  if (in_flight_ || storage_down_ || growing_.inputs.empty()) return;
  auto batch = std::make_shared<Batch>(std::exchange(growing_, {}));
  auto raw = changes_.take();
  batch->events = status_events(raw, last_now_);
  batch->changes = coalesce(std::move(raw));
  batch->stored = std::any_of(batch->changes.begin(), batch->changes.end(), repo::is_stored);
  if (!batch->changes.empty()) ++state_.version.value;
  for (StatusEvent& event : batch->events) event.version = state_.version;
  batch->from = stored_;
  batch->frozen = std::make_unique<State>(state_.freeze());
  if (!batch->stored) return committed(std::move(batch), {});
  in_flight_ = batch;
  env_.storage.post(guarded([batch](Impl& self) mutable {
    const Timestamp began = self.env_.clock.now();
    const WriteBatch writes = repo::make_batch(batch->changes, batch->from, batch->frozen->version);
    Status status = self.ports_.storage->commit(writes);
    if (self.ports_.metrics) {
      self.ports_.metrics->commit_done(writes.writes.size(), status.has_value(),
                                       self.env_.clock.now() - began);
    }
    const std::lock_guard lock(self.mutex_);
    ++(status ? self.statistics_.commits : self.statistics_.commit_failures);
    if (status) self.statistics_.rows_written += writes.writes.size();
    self.env_.loop.post(
        self.guarded([batch = std::move(batch), status = std::move(status)](Impl& loop) mutable {
          loop.committed(std::move(batch), std::move(status));
        }));
  }));
}

void Manager::Impl::committed(std::shared_ptr<Batch> batch, Status status) {
  if (!status && status.error().code == ErrorCode::InDoubt) return find_out(std::move(batch));
  in_flight_.reset();
  if (!status) return commit_failed(std::move(batch), status.error());
  if (batch->stored) stored_ = {batch->frozen->version, batch->from.revision + 1};
  publish(*batch);
  // What grew meanwhile goes next; the queue may have been waiting for room.
  {
    const std::lock_guard lock(mutex_);
    if (turn_posted_) return;
    turn_posted_ = !queue_.empty() || !growing_.inputs.empty();
    if (turn_posted_) env_.loop.post(guarded([](Impl& self) { self.turn(); }));
  }
  set_idle();
}

// The connection died before the answer came. Nothing else happens until storage says what it
// holds.
void Manager::Impl::find_out(std::shared_ptr<Batch> batch) {
  log(LogLevel::Warn, "a commit's outcome is unknown; reading it back");
  env_.storage.post(guarded([batch](Impl& self) mutable {
    auto found = repo::stored_version(*self.ports_.storage);
    self.env_.loop.post(self.guarded([batch = std::move(batch),
                                      found = std::move(found)](Impl& loop) mutable {
      if (!found) {
        loop.refuse_meanwhile(*batch);
        loop.env_.loop.run_after(loop.options_.storage_backoff,
                                 loop.guarded([batch = std::move(batch)](Impl& again) mutable {
                                   again.find_out(std::move(batch));
                                 }));
        return;
      }
      {
        const std::lock_guard lock(loop.mutex_);
        loop.refusing_ = false;
      }
      const bool applied = found->version == batch->frozen->version;
      if (applied) return loop.committed(std::move(batch), {});
      loop.committed(std::move(batch), fail(ErrorCode::Unavailable, "the commit was not applied"));
    }));
  }));
}

// Nobody can say when storage will be there again: clients are told so instead of being kept. What
// is in doubt waits for its outcome.
void Manager::Impl::refuse_meanwhile(const Batch& in_doubt) {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(refusing_, true)) return;
  }
  std::vector<Input> inputs = std::exchange(growing_, {}).inputs;
  changes_.take();
  state_.restore(*in_doubt.frozen);
  refuse_actions(
      std::move(inputs),
      {ErrorCode::Unavailable, "Storage does not answer at the moment", "service-unavailable", {}});
}

// Of these inputs and of those that wait. The others are handled again, before those.
void Manager::Impl::refuse_actions(std::vector<Input> inputs, const Error& refusal) {
  std::vector<Input> refused;
  {
    const std::lock_guard lock(mutex_);
    append(inputs, queue_);
    queue_.clear();
    for (Input& input : inputs) {
      if (input.is_action) {
        refused.push_back(std::move(input));
      } else {
        queue_.push_back(std::move(input));
      }
    }
  }
  for (Input& input : refused) {
    if (input.finish) input.finish(&refusal);
  }
}

// Goes back to what is durable. Actions are refused; everything else is handled again.
void Manager::Impl::commit_failed(std::shared_ptr<Batch> batch, const Error& error) {
  log(LogLevel::Error, fmt::format("storage refused a commit: {}", error.message));
  std::vector<Input> inputs = std::move(batch->inputs);
  append(inputs, growing_.inputs);
  growing_ = {};
  changes_.take();
  state_.restore(snapshot()->state());
  // A row that storage will never take must not come back at once for ever.
  const bool poisoned = error.code != ErrorCode::Unavailable;
  const Error refusal{ErrorCode::Unavailable,
                      fmt::format("The change could not be stored: {}", error.message),
                      "service-unavailable",
                      {}};
  std::vector<Input> refused;
  {
    const std::lock_guard lock(mutex_);
    storage_down_ = refusing_ = true;
    for (auto input = inputs.rbegin(); input != inputs.rend(); ++input) {
      if (input->is_action || (poisoned && input->finish)) {
        refused.push_back(std::move(*input));
      } else if (poisoned) {
        handle_later(std::move(*input));
      } else {
        queue_.push_front(std::move(*input));
      }
    }
  }
  for (auto input = refused.rbegin(); input != refused.rend(); ++input) {
    if (input->finish) input->finish(&refusal);
  }
  env_.loop.run_after(options_.storage_backoff, guarded([](Impl& self) {
                        self.storage_down_ = false;
                        {
                          const std::lock_guard lock(self.mutex_);
                          self.refusing_ = false;
                        }
                        self.turn();
                      }));
}

// An input that nobody will bring again - a timer, an agent's answer - and that shared a commit
// with what storage does not take, or is that itself: it comes back ever more rarely.
void Manager::Impl::handle_later(Input input) {
  constexpr std::uint32_t kDoublingsMax = 8;
  const std::int64_t factor = std::int64_t{1} << std::min(input.refusals++, kDoublingsMax);
  env_.loop.run_after(
      options_.storage_backoff * factor,
      guarded([input = std::move(input)](Impl& self) mutable { self.enqueue(std::move(input)); }));
}

void Manager::Impl::publish(Batch& batch) {
  auto published = std::make_shared<const Snapshot>(std::move(batch.frozen));
  {
    const std::lock_guard lock(mutex_);
    snapshot_ = std::move(published);
  }
  arm_timers(batch);
  feed_planner(batch);
  for (const AgentId& agent : batch.outbox.forget) agents_->forget(agent);
  for (core::Command& command : batch.outbox.commands) send(std::move(command));
  for (Input& input : batch.inputs) {
    if (input.finish) input.finish(nullptr);
  }
  if (ports_.events && !batch.events.empty()) ports_.events->publish(batch.events);
  runtime::log_faults(batch.changes, *snapshot(), env_.log);
  wake_waiters(batch);
  maybe_plan();
}

void Manager::Impl::send(core::Command command) {
  const AgentId agent = command.agent.id;
  agents_->request(
      command.agent, std::move(command.request), command.timeout,
      [weak = weak_from_this(), agent,
       errand = std::move(command.errand)](Result<AgentReply> answer) {
        auto self = weak.lock();
        if (!self) return;
        self->enqueue({[agent, errand, answer = std::move(answer)](core::Context& ctx) -> Status {
                         core::on_answer(ctx, agent, errand, answer);
                         return {};
                       },
                       {},
                       false});
      });
}

void Manager::Impl::wake_waiters(const Batch& batch) {
  if (waiters_.empty()) return;
  for (const StatusEvent& event : batch.events) {
    if (event.kernel || !waiters_.contains(event.session)) continue;
    const auto status = parse_enum<SessionStatus>(event.to);
    if (*status != SessionStatus::Running && !is_terminal(*status)) continue;
    auto waiting = std::move(waiters_[event.session]);
    waiters_.erase(event.session);
    for (Waiter& waiter : waiting) {
      if (waiter.timer != 0) env_.loop.cancel(waiter.timer);
      waiter.reply(snapshot());
    }
  }
}

// ---- timers
// ---------------------------------------------------------------------------------------

void Manager::Impl::arm_timers(Batch& batch) {
  std::vector<core::Timer> due = std::move(batch.outbox.timers);
  for (const Change& change : batch.changes) core::collect_timers(change, options_, due);
  timers_.insert(std::make_move_iterator(due.begin()), std::make_move_iterator(due.end()));
  arm();
}

void Manager::Impl::arm() {
  if (timers_.empty()) return;
  const Timestamp first = timers_.begin()->at;
  if (armed_ != 0) {
    if (armed_for_ <= first) return;
    env_.loop.cancel(armed_);
  }
  armed_for_ = first;
  armed_ = env_.loop.run_after(std::max(first - now(), Duration{}),
                               guarded([](Impl& self) { self.timers_due(); }));
}

void Manager::Impl::timers_due() {
  armed_ = 0;
  const Timestamp at = now();
  while (!timers_.empty() && timers_.begin()->at <= at) {
    enqueue({[timer = *timers_.begin()](core::Context& ctx) -> Status {
               core::on_timer(ctx, timer);
               return {};
             },
             {},
             false});
    timers_.erase(timers_.begin());
  }
  arm();
}

// ---- planner
// --------------------------------------------------------------------------------------

void Manager::Impl::feed_planner(const Batch& batch) {
  auto changes = std::make_shared<std::vector<Change>>();
  for (const Change& change : batch.changes) {
    const bool is_known = !change.is_volatile || !change.after;  // evicted rows leave it, too
    if (is_known && concerns_planner(change.entity)) changes->push_back(change);
  }
  if (changes->empty()) return;
  plan_wanted_ = true;
  const StateVersion version = snapshot()->version();
  env_.planner.post(
      guarded([version, changes](Impl& self) { self.planner_->feed(version, *changes); }));
}

void Manager::Impl::maybe_plan() {
  if (!plan_wanted_ || plan_in_flight_ || plan_paused_) return;
  const std::size_t waiting = snapshot()->count_sessions(SessionStatus::Pending);
  if (waiting == 0) return;
  plan_wanted_ = false;
  plan_in_flight_ = true;
  env_.planner.post(guarded([at = now(), seed = env_.entropy.next(), waiting](Impl& self) {
    const Timestamp began = self.env_.clock.now();
    Plan plan = self.planner_->plan(at, seed);
    const Duration took = self.env_.clock.now() - began;
    self.env_.loop.post(self.guarded([plan = std::move(plan), took, waiting](Impl& loop) mutable {
      loop.planned(std::move(plan), took, waiting);
    }));
  }));
}

void Manager::Impl::planned(Plan plan, Duration took, std::size_t waiting) {
  for (const std::string& error : plan.errors) log(LogLevel::Error, error);
  for (const std::string& notice : plan.notices) log(LogLevel::Warn, notice);
  if (ports_.metrics) ports_.metrics->pass_done(took, plan.placements.size(), waiting);
  if (plan_wake_ != 0) env_.loop.cancel(std::exchange(plan_wake_, 0));
  if (plan.wake_at) {
    plan_wake_ =
        env_.loop.run_after(std::max(*plan.wake_at - now(), Duration{}), guarded([](Impl& self) {
                              self.plan_wake_ = 0;
                              self.plan_wanted_ = true;
                              self.maybe_plan();
                            }));
  }
  // A long pass is not followed by the next one at once: planning gets half a processor at most.
  constexpr Duration kShort = milliseconds(2), kPauseMax = milliseconds(100);
  if (took > kShort) {
    plan_paused_ = true;
    env_.loop.run_after(std::min(took, kPauseMax), guarded([](Impl& self) {
                          self.plan_paused_ = false;
                          self.maybe_plan();
                        }));
  }
  if (plan.placements.size() >= options_.placements_max) plan_wanted_ = true;
  auto shared = std::make_shared<const Plan>(std::move(plan));
  auto outcome = std::make_shared<core::PlanOutcome>();
  Input input;
  input.handle = [shared, outcome](core::Context& ctx) -> Status {
    *outcome = core::on_plan(ctx, *shared);
    return {};
  };
  // The next pass starts from what this one led to.
  input.finish = [weak = weak_from_this(), outcome](const Error* error) {
    auto self = weak.lock();
    if (!self) return;
    self->plan_in_flight_ = false;
    if (error != nullptr || outcome->refused > 0) {
      self->replan_later();
    } else {
      self->fruitless_passes_ = 0;
    }
    if (error != nullptr) return;
    const std::lock_guard lock(self->mutex_);
    ++self->statistics_.passes;
    self->statistics_.placements += outcome->placed;
    self->statistics_.placements_refused += outcome->refused;
  };
  enqueue(std::move(input));
}

// After a plan that could not be applied or stored. Where the state had moved on, that change has
// reached the planner already and the next pass follows at once. Otherwise planner and state do not
// agree, and the same pass would fail the same way: it is tried again, but ever more rarely.
void Manager::Impl::replan_later() {
  constexpr Duration kFirst = milliseconds(100);
  constexpr std::uint32_t kDoublingsMax = 9;  // 51.2 s
  const std::int64_t factor = std::int64_t{1} << std::min(fruitless_passes_++, kDoublingsMax);
  if (plan_retry_ != 0) return;
  plan_retry_ = env_.loop.run_after(kFirst * factor, guarded([](Impl& self) {
                                      self.plan_retry_ = 0;
                                      self.plan_wanted_ = true;
                                      self.maybe_plan();
                                    }));
}

}  // namespace bai

// Opening, asking, closing.
#include <fmt/format.h>

#include "core/accounting.hpp"
#include "runtime/manager_impl.hpp"
#include "runtime/measured_gateway.hpp"

namespace bai {

namespace {

Result<std::shared_ptr<const PolicyRegistry>> builtin_policies() {
  auto registry = std::make_shared<PolicyRegistry>();
  if (auto ok = add_builtin_policies(*registry); !ok) return std::unexpected(ok.error());
  return registry;
}

// Says how far something is; that the manager knows already, or need not know, is no fault.
bool is_progress(const AgentEventBody& body) {
  return std::holds_alternative<AgentStarted>(body) ||
         std::holds_alternative<ImagePullStarted>(body) ||
         std::holds_alternative<ImagePullFinished>(body) ||
         std::holds_alternative<KernelPreparing>(body) ||
         std::holds_alternative<KernelPulling>(body) ||
         std::holds_alternative<KernelCreating>(body);
}

Error closing_error() {
  return {ErrorCode::Unavailable, "The manager is closing", "service-unavailable", {}};
}

}  // namespace

Manager::Impl::Impl(Options options, Env env, Ports ports)
    : options_(options), env_(env), ports_(std::move(ports)) {}

Status Manager::Impl::start() {
  if (!ports_.storage || !ports_.agents) {
    return fail(ErrorCode::InvalidArgument, "Ports: storage and agents are required");
  }
  agents_ = ports_.agents;
  if (ports_.metrics) {
    agents_ = std::make_shared<runtime::MeasuredGateway>(ports_.agents, ports_.metrics, env_.clock,
                                                         weak_from_this());
  }
  policies_ = ports_.policies;
  if (!policies_) {
    auto builtin = builtin_policies();
    if (!builtin) return std::unexpected(builtin.error());
    policies_ = *builtin;
  }
  constexpr std::uint32_t kPlannerThreadsMax = 64;
  if (options_.planner_threads < 1 || options_.planner_threads > kPlannerThreadsMax) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("Options: planner_threads must be 1 to {}", kPlannerThreadsMax));
  }
  if (auto ok = ports_.storage->open(repo::make_schema()); !ok) return ok;
  const auto stored = repo::stored_version(*ports_.storage);
  if (!stored) return std::unexpected(stored.error());
  if (auto ok = repo::load(*ports_.storage, state_, env_.clock.now() - options_.keep_ended); !ok)
    return ok;
  const auto recorded = repo::last_recorded(*ports_.storage);
  if (!recorded) return std::unexpected(recorded.error());
  last_recorded_ = *recorded;
  stored_ = *stored;
  state_.version = stored_.version;
  // Heartbeats were not stored, and the loop may look at the timers before anything else.
  std::vector<AgentId> alive;
  state_.table<Agent>().for_each([&](const Agent& agent) {
    if (agent.status == AgentStatus::Alive) alive.push_back(agent.id);
    return true;
  });
  for (const AgentId& id : alive) {
    changes_.update_volatile<Agent>(
        id, [at = env_.clock.now()](Agent& agent) { agent.last_seen = at; });
  }
  core::rebuild_sums(changes_);
  if (auto wrong = core::check_invariants(state_); !wrong.empty()) {
    return fail(ErrorCode::Corruption,
                fmt::format("The stored state contradicts itself: {}", wrong));
  }
  changes_.take();

  PlanLimits limits;
  limits.sessions_max = options_.placements_max;
  job_threads_ = std::make_unique<runtime::JobThreads>(options_.planner_threads);
  planner_ = std::make_unique<Planner>(
      policies_, limits, [threads = job_threads_.get()](std::size_t count, const auto& job) {
        threads->run(count, job);
      });
  auto loaded = std::make_shared<Batch>();
  for (const EntityInfo* info : all_entities()) {
    if (info->residence == Residence::Cold) continue;
    state_.any_table(info->kind).for_each_row([&](const RowPtr& row) {
      loaded->changes.push_back({info->kind, nullptr, row, false});
      return true;
    });
  }
  snapshot_ = std::make_shared<const Snapshot>(std::make_unique<State>(state_.freeze()));
  // From here on the loop owns everything: a timer may be due at once.
  env_.loop.post(guarded([loaded](Impl& self) {
    self.arm_timers(*loaded);
    self.feed_planner(*loaded);
  }));
  enqueue({[](core::Context& ctx) -> Status {
             core::on_resume(ctx);
             return {};
           },
           {},
           false});
  return {};
}

void Manager::Impl::enqueue(Input input) {
  {
    const std::lock_guard lock(mutex_);
    if (!closed_) {
      if (abandoned_) return;
      queue_.push_back(std::move(input));
      idle_ = false;
      if (turn_posted_) return;
      turn_posted_ = true;
      env_.loop.post(guarded([](Impl& self) { self.turn(); }));
      return;
    }
  }
  const Error closing = closing_error();
  if (input.finish) input.finish(&closing);
}

action::ErasedReply Manager::Impl::measured(const action::ActionInfo& info,
                                            action::ErasedReply reply) {
  if (!ports_.metrics) return reply;
  return [metrics = ports_.metrics, &info, &clock = env_.clock, began = env_.clock.now(),
          reply = std::move(reply)](action::ErasedResult result) mutable {
    metrics->action_done(info.name, info.entity, info.operation, result ? nullptr : &result.error(),
                         clock.now() - began);
    reply(std::move(result));
  };
}

void Manager::Impl::submit(Caller caller, const action::ActionInfo& info,
                           std::shared_ptr<void> body, action::ErasedReply reply) {
  reply = measured(info, std::move(reply));
  std::optional<Error> refusal;
  {
    const std::lock_guard lock(mutex_);
    if (closing_ || abandoned_) {
      refusal = closing_error();
    } else if (info.write != nullptr && refusing_) {
      refusal = Error{ErrorCode::Unavailable,
                      "Storage does not accept changes at the moment",
                      "service-unavailable",
                      {}};
    } else if (queue_.size() >= options_.queue_max) {
      refusal = Error{ErrorCode::Unavailable,
                      fmt::format("Too many requests are waiting ({})", options_.queue_max),
                      "service-unavailable",
                      {}};
    }
  }
  if (refusal) return reply(std::unexpected(std::move(*refusal)));
  if (info.call != nullptr)
    return call_agent(std::move(caller), info, std::move(body), std::move(reply));
  if (info.ask != nullptr)
    return ask_planner(std::move(caller), info, std::move(body), std::move(reply));

  struct Pending {
    action::ErasedReply reply;
    action::ErasedResult result;
  };
  auto pending = std::make_shared<Pending>(std::move(reply), action::ErasedResult{});
  Input input;
  input.is_action = true;
  input.handle = [caller = std::move(caller), &info, body = std::move(body),
                  pending](core::Context& ctx) -> Status {
    const auto find = [&](const SessionId& id) { return ctx.state().find<Session>(id); };
    if (auto ok = action::check_permission(info, caller, body.get(), find); !ok) {
      pending->result = std::unexpected(ok.error());
      return ok;
    }
    pending->result = info.write(ctx, caller, body.get());
    if (!pending->result) return std::unexpected(pending->result.error());
    return {};
  };
  input.finish = [pending](const Error* error) {
    pending->reply(error ? action::ErasedResult(std::unexpected(*error))
                         : std::move(pending->result));
  };
  enqueue(std::move(input));
}

void Manager::Impl::call_agent(Caller caller, const action::ActionInfo& info,
                               std::shared_ptr<void> body, action::ErasedReply reply) {
  auto current = snapshot();
  const auto find = [&](const SessionId& id) { return current->find<Session>(id); };
  if (auto ok = action::check_permission(info, caller, body.get(), find); !ok) {
    return reply(std::unexpected(ok.error()));
  }
  service::CallContext ctx{std::move(current),
                           agents_,
                           ports_.storage,
                           options_,
                           [weak = weak_from_this()](Task task) {
                             auto self = weak.lock();
                             if (self && !self->abandoned_) {
                               self->env_.storage.post(std::move(task));
                             } else {
                               task();  // the answer has come after the manager's end
                             }
                           },
                           [weak = weak_from_this()](SessionId id) {
                             auto self = weak.lock();
                             if (!self) return;
                             self->enqueue({[id](core::Context& loop) -> Status {
                                              if (loop.state().find<Session>(id) == nullptr)
                                                return {};
                                              loop.changes.update_volatile<Session>(
                                                  id, [&](Session& s) {
                                                    s.num_queries += 1;
                                                    s.last_access = loop.now;
                                                  });
                                              return {};
                                            },
                                            {},
                                            false});
                           },
                           [&entropy = env_.entropy] { return entropy.next(); }};
  info.call(std::move(ctx), body.get(), std::move(reply));
}

SnapshotPtr Manager::Impl::snapshot() const {
  const std::lock_guard lock(mutex_);
  return snapshot_;
}

void Manager::Impl::deliver(AgentEvent event, std::move_only_function<void(bool)> done) {
  struct Outcome {
    bool accepted = false;
  };
  auto outcome = std::make_shared<Outcome>();
  auto shared = std::make_shared<const AgentEvent>(std::move(event));
  Input input;
  input.handle = [shared, outcome](core::Context& ctx) -> Status {
    outcome->accepted = core::on_agent_event(ctx, *shared);
    return {};
  };
  input.finish = [weak = weak_from_this(), shared, outcome, began = env_.clock.now(),
                  done = std::move(done)](const Error* error) mutable {
    if (auto self = weak.lock(); self && error == nullptr) {
      self->event_done(*shared, outcome->accepted, self->env_.clock.now() - began);
    }
    if (done) done(error == nullptr);
  };
  enqueue(std::move(input));
}

void Manager::Impl::event_done(const AgentEvent& event, bool accepted, Duration took) {
  const std::string_view name = event_name(event.body);
  bool is_first = false;
  accepted = accepted || is_progress(event.body);
  {
    const std::lock_guard lock(mutex_);
    accepted ? ++statistics_.events_accepted : ++statistics_.events_ignored;
    is_first = !accepted && ignored_.insert(name).second;
  }
  if (ports_.metrics) ports_.metrics->agent_event_done(name, accepted, took);
  if (!is_first) return;
  log(LogLevel::Info,
      fmt::format("The event `{}` of agent {} is ignored: it is late, or about something unknown. "
                  "Further ones of the name are only counted.",
                  name, event.agent.view()));
}

void Manager::Impl::await(SessionId id, Duration timeout,
                          std::move_only_function<void(Result<SnapshotPtr>)> reply) {
  auto shared =
      std::make_shared<std::move_only_function<void(Result<SnapshotPtr>)>>(std::move(reply));
  env_.loop.post([weak = weak_from_this(), id, timeout, shared] {
    const auto locked = weak.lock();
    if (!locked || locked->closed_) return (*shared)(std::unexpected(closing_error()));
    if (locked->abandoned_) return;
    Impl& self = *locked;
    auto current = self.snapshot();
    const Session* session = current->find<Session>(id);
    if (session == nullptr) {
      return (*shared)(fail(ErrorCode::NotFound, "No such session.", "session-not-found"));
    }
    if (session->status == SessionStatus::Running || is_terminal(session->status)) {
      return (*shared)(std::move(current));
    }
    Waiter waiter{self.next_waiter_++, std::move(*shared), 0};
    if (timeout.ns > 0) {
      waiter.timer =
          self.env_.loop.run_after(timeout, self.guarded([id, number = waiter.id](Impl& later) {
            later.finish_waiter(id, number,
                                fail(ErrorCode::DeadlineExceeded, "The session does not run yet"));
          }));
    }
    self.waiters_[id].push_back(std::move(waiter));
  });
}

bool Manager::Impl::finish_waiter(const SessionId& id, std::uint64_t number,
                                  Result<SnapshotPtr> result) {
  const auto found = waiters_.find(id);
  if (found == waiters_.end()) return false;
  auto& list = found->second;
  const auto at =
      std::find_if(list.begin(), list.end(), [&](const Waiter& w) { return w.id == number; });
  if (at == list.end()) return false;
  Waiter waiter = std::move(*at);
  list.erase(at);
  if (list.empty()) waiters_.erase(found);
  waiter.reply(std::move(result));
  return true;
}

Statistics Manager::Impl::statistics() const {
  const std::lock_guard lock(mutex_);
  Statistics copy = statistics_;
  copy.queue_length = queue_.size();
  copy.version = snapshot_ ? snapshot_->version().value : 0;
  copy.storage_down = refusing_;
  return copy;
}

Status Manager::Impl::close(Duration patience) {
  {
    const std::lock_guard lock(mutex_);
    if (abandoned_) return {};
    closing_ = true;
  }
  // An executor without a thread of its own is driven here; the others get on by themselves.
  const auto wait = [this](Duration at_most, const bool& condition) {
    while (env_.loop.drive()) {
    }
    std::unique_lock lock(mutex_);
    return became_idle_.wait_for(lock, std::chrono::nanoseconds(at_most.ns),
                                 [&] { return condition; });
  };
  const bool drained = wait(patience, idle_);
  // The loop answers whoever is left: only there nothing else is going on meanwhile.
  constexpr Duration kLastReplies = seconds(5);
  env_.loop.post(guarded([](Impl& self) { self.answer_all(); }));
  wait(kLastReplies, closed_);
  abandon();
  if (drained) return {};
  return fail(ErrorCode::DeadlineExceeded,
              "Not everything was stored in time; it is resumed at the next start");
}

// What has not been stored by now is not going to be: says so to everybody who waits.
void Manager::Impl::answer_all() {
  std::vector<Input> owed;
  const auto take = [&owed](auto& inputs) {
    owed.insert(owed.end(), std::make_move_iterator(inputs.begin()),
                std::make_move_iterator(inputs.end()));
    inputs.clear();
  };
  const Error closing = closing_error();
  if (in_flight_) {
    const Error in_doubt{ErrorCode::Unavailable,
                         "The manager closed before storage had answered: the change may have "
                         "been stored or not",
                         "service-unavailable",
                         {}};
    for (Input& input : in_flight_->inputs) {
      if (input.finish) input.finish(&in_doubt);
    }
    in_flight_->inputs.clear();
  }
  take(growing_.inputs);
  {
    const std::lock_guard lock(mutex_);
    take(queue_);
    closed_ = true;
    abandoned_ = true;
  }
  for (Input& input : owed) {
    if (input.finish) input.finish(&closing);
  }
  for (auto& [id, waiting] : std::exchange(waiters_, {})) {
    for (Waiter& waiter : waiting) {
      if (waiter.timer != 0) env_.loop.cancel(waiter.timer);
      waiter.reply(std::unexpected(closing));
    }
  }
  for (auto& [number, reply] : std::exchange(questions_, {})) reply(std::unexpected(closing));
  const std::lock_guard lock(mutex_);
  became_idle_.notify_all();
}

void Manager::Impl::abandon() {
  abandoned_ = true;
  std::deque<Input> dropped;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    dropped.swap(queue_);
  }
}

void Manager::Impl::log(LogLevel level, std::string_view message) {
  env_.log.write(level, "manager", message);
}

// ---- the façade
// -----------------------------------------------------------------------------------

Manager::Manager(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Manager::~Manager() { (void)close(seconds(5)); }

Result<std::unique_ptr<Manager>> Manager::open(Options options, Env env, Ports ports) {
  auto impl = std::make_shared<Impl>(options, env, std::move(ports));
  if (auto ok = impl->start(); !ok) return std::unexpected(ok.error());
  return std::unique_ptr<Manager>(new Manager(std::move(impl)));
}

void Manager::submit_erased(Caller caller, std::string_view name, std::shared_ptr<void> body,
                            std::move_only_function<void(Result<std::shared_ptr<void>>)> reply) {
  const action::ActionInfo* info = action::find_action(name);
  BAI_ASSERT(info != nullptr, "an action stands in the table of actions");
  impl_->submit(std::move(caller), *info, std::move(body), std::move(reply));
}

void Manager::deliver(AgentEvent event, std::move_only_function<void(bool)> done) {
  impl_->deliver(std::move(event), std::move(done));
}
SnapshotPtr Manager::snapshot() const { return impl_->snapshot(); }
void Manager::await_session(SessionId id, Duration timeout,
                            std::move_only_function<void(Result<SnapshotPtr>)> reply) {
  impl_->await(id, timeout, std::move(reply));
}
Result<std::vector<std::shared_ptr<const History>>> Manager::history(
    const SessionId& session) const {
  return repo::load_history(*impl_->ports_.storage, session);
}
Statistics Manager::statistics() const { return impl_->statistics(); }
std::string Manager::check_invariants() const {
  return core::check_invariants(impl_->snapshot()->state());
}
Status Manager::close(Duration patience) { return impl_->close(patience); }
void Manager::abandon() noexcept { impl_->abandon(); }

}  // namespace bai

// The handlers without a manager around them: a state, an outbox to look into, timers that fire
// when told to, and a storage that every input is written to. After each input all invariants are
// checked; an action that fails must have left nothing behind.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bai_manager/storage.hpp"
#include "core/accounting.hpp"
#include "core/handlers.hpp"
#include "core/lifecycle.hpp"
#include "core/preemption.hpp"
#include "repo/repo.hpp"
#include "service/service.hpp"

namespace bai::test {

inline constexpr const char* kLocalImage = "cr.test/stable/python:3";   // never pulled
inline constexpr const char* kRemoteImage = "cr.test/stable/remote:3";  // asked for before a start
inline constexpr const char* kOtherImage = "cr.test/stable/other:1";

// {"cpu", "2"}, {"mem", "4g"}: as users write them.
SlotMap slots(std::initializer_list<std::pair<const char*, const char*>> amounts);

class Counter final : public Entropy {  // the same ids in every run
 public:
  std::uint64_t next() override { return ++last_ * 0x9e3779b97f4a7c15ULL; }

 private:
  std::uint64_t last_ = 0;
};

class World {
 public:
  // A domain, a project "default" in it, a resource group "default" open to the domain, a keypair
  // policy without limits, the three images above, and a user "user" with keypair "USER".
  World();

  // ---- what there is
  const State& state() const { return *state_; }
  const Session& session(const SessionId& id) const;
  std::vector<std::shared_ptr<const Kernel>> kernels(const SessionId& id) const {
    return state_->kernels_of(id);
  }
  const Kernel& kernel(const SessionId& id, std::size_t rank = 0) const;
  const Agent& agent(const char* id) const;
  SessionStatus status(const SessionId& id) const { return session(id).status; }
  KernelStatus kernel_status(const SessionId& id, std::size_t rank = 0) const {
    return kernel(id, rank).status;
  }
  std::vector<Operation> operations() const;
  const Usage& usage(ScopeKind kind, std::string_view scope) const {
    return state_->usage(kind, scope);
  }
  Usage user_usage(const char* name = "user") const { return usage(ScopeKind::User, id_of(name)); }

  // ---- one line for each thing that tests need
  void load(std::string_view fixture);  // must be accepted
  void add_user(const char* name, const char* role = "user", const char* policy = "default");
  static std::string id_of(std::string_view user);  // the id that add_user gives
  Caller caller(const char* user = "user") const;
  void set_policy(std::string_view fields);  // of keypair policy "default"
  void add_agent(const char* id, const char* cpu = "8", const char* mem = "16g");
  static AgentHeartbeat beat(const char* id, const char* cpu = "8", const char* mem = "16g");

  // A request that is right: local image, 1 core, 1 GiB.
  static CreateSession request(std::string name, std::string image = kLocalImage,
                               std::int64_t cluster_size = 1);
  static CreateSession batch(std::string name, std::string command = "true");

  // ---- inputs
  template <class F>  // f(Context&) -> anything; a Result or Status that failed is rolled back
  auto input(F&& f) {
    begin();
    core::Context ctx = context();
    if constexpr (std::is_void_v<decltype(f(ctx))>) {
      f(ctx);
      core::admit_reserved(ctx, 0);
      finish(true);
    } else {
      auto result = f(ctx);
      bool keep = true;
      if constexpr (requires { result.error(); }) keep = result.has_value();
      if (keep) core::admit_reserved(ctx, 0);
      finish(keep);
      return result;
    }
  }
  template <Action A>
  Result<typename A::Result> ask(const A& action, const char* user = "user") {
    return input([&](core::Context& ctx) { return service::handle(ctx, caller(user), action); });
  }
  SessionId create(const CreateSession& request, const char* user = "user");  // must be accepted
  bool event(const char* agent, AgentEventBody body) {
    return event(AgentId(agent), std::move(body));
  }
  bool event(const AgentId& agent, AgentEventBody body);
  // Puts kernel i of the session on agents[i] (the last one for the rest).
  core::PlanOutcome place(const SessionId& session, std::vector<const char*> agents);
  core::PlanOutcome plan(const Plan& plan);
  Placement placement(const SessionId& session, std::vector<const char*> agents) const;
  std::string terminate(const SessionId& session, bool forced = false,
                        std::string_view reason = "user-requested");
  void answer(const core::Command& command, Result<AgentReply> reply);
  void accept(const core::Command& command, Json value = {}) {
    answer(command, AgentReply{std::move(value), {}});
  }
  void refuse(const core::Command& command, std::string kind, std::string message = "no") {
    answer(command, fail(ErrorCode::Internal, std::move(message), std::move(kind)));
  }
  void lose(const core::Command& command) {
    answer(command, fail(ErrorCode::DeadlineExceeded, "no answer"));
  }
  void advance(Duration by);  // fires what is due, in order
  std::vector<std::shared_ptr<const History>> stored_history(const SessionId& session) const;
  void restart();  // loads what was stored into a new state, which must be the same, and resumes

  // ---- shorter ways
  void started(const SessionId& session);  // every kernel that is awaited runs now
  SessionId run(const CreateSession& request, std::vector<const char*> agents);  // RUNNING
  SessionId preparing(const CreateSession& request, std::vector<const char*> agents);
  SessionId creating(const CreateSession& request, std::vector<const char*> agents);

  // Commands of one kind sent since the last time, which are then forgotten.
  template <class R>
  std::vector<core::Command> take() {
    std::vector<core::Command> found;
    std::erase_if(commands, [&](core::Command& command) {
      if (!std::holds_alternative<R>(command.request)) return false;
      found.push_back(std::move(command));
      return true;
    });
    return found;
  }
  template <class R>
  core::Command take_one() {
    auto found = take<R>();
    REQUIRE(found.size() == 1);
    return std::move(found[0]);
  }

  // For tests that go back and forth: everything but storage.
  State freeze() { return state_->freeze(); }
  void go_back(const State& to);
  // Writes rows as they are, whatever the handlers would say.
  void put_session(const SessionId& id, const std::function<void(Session&)>& edit);
  void put_kernel(const KernelId& id, const std::function<void(Kernel&)>& edit);

  core::Context context() {
    return {*changes_, outbox_, now, entropy, options, last_created_, last_recorded_, &policies};
  }

  Timestamp now{1'767'225'600'000'000'000};
  Options options;
  PolicyRegistry policies;  // the built-in ones
  Counter entropy;
  std::vector<core::Command> commands;
  std::vector<AgentId> forgotten;
  std::vector<History> history;  // every row appended
  std::vector<KernelLog> logs;
  std::set<core::Timer> timers;
  bool is_stored = true;  // false: inputs are not written to storage

 private:
  void begin();
  void finish(bool keep);

  std::unique_ptr<State> state_ = std::make_unique<State>();
  std::unique_ptr<Changeset> changes_ = std::make_unique<Changeset>(*state_);
  core::Outbox outbox_;
  Timestamp last_created_, last_recorded_;
  std::unique_ptr<State> before_;
  std::shared_ptr<Storage> storage_ = make_memory_storage();
  repo::StoredVersion stored_;
};

}  // namespace bai::test

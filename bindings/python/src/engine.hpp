// A whole control plane on virtual time: manager, storage, simulated agents.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "bai_manager/manager.hpp"
#include "bai_manager/manual_env.hpp"
#include "bai_manager/policy.hpp"
#include "bai_manager/sim_agents.hpp"
#include "common.hpp"
#include "policies.hpp"

namespace bai::python {

// Sessions of which something is still to come without anybody's doing: those on their way to
// running or to their end, and batches. On the loop.
class BusySessions final : public EventSink {
 public:
  void follow(std::function<SnapshotPtr()> read);  // also counts what is there now
  void publish(std::span<const StatusEvent> events) noexcept override;
  bool empty() const noexcept { return busy_.empty(); }

 private:
  void note(const Session& session);

  std::function<SnapshotPtr()> read_;
  std::unordered_set<SessionId> busy_;
};

struct EngineConfig {
  std::uint64_t seed = 0;
  bool shuffle = false;
  std::string path;  // of the SQLite file; empty: memory
  Options options;
};

// One thread drives it at a time, the others wait; methods that drive run without the GIL. Whoever
// calls them from inside a policy or a predicate gets Conflict.
class Engine {
 public:
  using Predicate = std::function<bool()>;  // without the GIL

  // Policies are added before open().
  explicit Engine(EngineConfig config);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  void add_policy(const std::string& kind, const std::string& name, py::object policy);
  void check_group(const Json& row) const;
  void open();
  void close();
  // The manager dies, with `outage` until the next one opens what the storage has.
  void restart(Duration outage);

  SnapshotPtr snapshot() const;
  Timestamp now() const noexcept { return Timestamp{now_ns_.load()}; }
  Timestamp start() const noexcept { return start_; }
  Caller caller(const std::string& access_key) const;  // empty: the embedding program
  Statistics statistics() const;

  bool advance_until(const Predicate& done, Duration within);
  bool run_until_idle(Duration within);
  // Submits the actions together and runs the world until all are answered; virtual time moves on
  // only when the storage or an agent is waited for.
  template <Action A>
  std::vector<Result<typename A::Result>> ask(const Caller& caller, std::vector<A> actions);

  // Runs `body` on the world without the GIL while no one else drives it.
  template <class Body>
  auto exclusively(Body&& body);

  // The present manager; Unavailable once closed.
  std::shared_ptr<Manager> manager() const;
  SimulatedCluster& cluster() { return *cluster_; }
  ManualEnv& world() { return world_; }
  PolicyHost& host() { return *host_; }

 private:
  class Turn;

  void set_manager(std::shared_ptr<Manager> manager);
  void open_manager();
  void resume_time();
  bool is_idle() const;
  bool drive(const Predicate& done, Duration within);

  EngineConfig config_;
  std::shared_ptr<PolicyHost> host_;
  std::shared_ptr<PolicyRegistry> registry_;
  ManualEnv world_;
  Timestamp start_;
  std::atomic<std::int64_t> now_ns_;
  std::shared_ptr<Storage> storage_;
  std::shared_ptr<SimulatedCluster> cluster_;
  std::shared_ptr<BusySessions> busy_;
  std::shared_ptr<Manager> manager_;  // set under manager_mutex_, read by any thread
  mutable std::mutex manager_mutex_;
  std::atomic<bool> open_{false};
  mutable std::timed_mutex turn_;
  std::atomic<std::thread::id> driver_;
};

// Holds the world while it lives: releases the GIL, waits for the turn (signals are seen), gives
// both back.
class Engine::Turn {
 public:
  explicit Turn(Engine& engine);
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Engine& engine_;
  std::unique_ptr<py::gil_scoped_release> released_;
};

template <class Body>
auto Engine::exclusively(Body&& body) {
  const auto guarded = [&] {
    const Turn turn(*this);
    return body();
  };
  if constexpr (std::is_void_v<decltype(body())>) {
    guarded();
    host_->rethrow();
  } else {
    auto result = guarded();
    host_->rethrow();
    return result;
  }
}

template <Action A>
std::vector<Result<typename A::Result>> Engine::ask(const Caller& caller, std::vector<A> actions) {
  constexpr Duration kAnswerMax = seconds(3600);  // virtual time
  using Answer = Result<typename A::Result>;
  struct Waiting {
    std::vector<Answer> answers;
    std::size_t open = 0;
  };
  return exclusively([&] {
    const auto waiting = std::make_shared<Waiting>();
    waiting->open = actions.size();
    waiting->answers.assign(actions.size(), fail(ErrorCode::DeadlineExceeded,
                                                 "The manager has not answered within an hour"));
    const auto present = manager();
    for (std::size_t i = 0; i < actions.size(); ++i) {
      present->template submit<A>(caller, std::move(actions[i]), [waiting, i](auto result) {
        waiting->answers[i] = std::move(result);
        --waiting->open;
      });
    }
    drive([&] { return waiting->open == 0; }, kAnswerMax);
    return std::move(waiting->answers);
  });
}

}  // namespace bai::python

// A whole manager on virtual time with simulated agents and a storage that fails when told to.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bai_manager/manager.hpp"
#include "bai_manager/manual_env.hpp"
#include "bai_manager/sim_agents.hpp"

namespace bai::test {

class Site {
 public:
  // Events as they were published, with the version that readers saw at that moment.
  struct Recorder final : EventSink {
    void publish(std::span<const StatusEvent> batch) noexcept override;
    std::vector<StatusEvent> events;
    std::vector<StateVersion> seen;
    Manager** manager = nullptr;
  };

  // Opens a manager, loads the tenants of `World` (user "USER", one domain, local and remote image)
  // and adds one agent "a1" of 8 cores unless told otherwise.
  explicit Site(Options options = {}, bool with_agent = true, std::uint64_t seed = 1,
                bool shuffle = false);
  ~Site();

  void open();   // again, on the same storage
  void crash();  // the process is gone, with all that it had not stored
  void add_agent(const char* id, std::int64_t cores = 8, SimBehaviour behaviour = {},
                 std::string version = "26.8.0");

  // Submits and lets time pass until the answer is there.
  template <Action A>
  Result<typename A::Result> ask(A action, Duration patience = seconds(60)) {
    auto answer = submit(std::move(action));
    env.advance_until([&] { return answer->has_value(); }, patience);
    REQUIRE(answer->has_value());
    return std::move(**answer);
  }
  // Only submits. Fails the test should there be two answers.
  template <Action A>
  std::shared_ptr<std::optional<Result<typename A::Result>>> submit(A action) {
    auto answer = std::make_shared<std::optional<Result<typename A::Result>>>();
    manager->submit<A>(caller(), std::move(action), [answer](Result<typename A::Result> result) {
      REQUIRE_FALSE(answer->has_value());
      *answer = std::move(result);
    });
    return answer;
  }
  Caller caller() const;
  SessionId create(const char* name, const char* image, SessionType type = SessionType::Interactive,
                   std::string command = {});
  SessionStatus status(const SessionId& id) const;
  bool becomes(const SessionId& id, SessionStatus wanted, Duration within = seconds(120));
  std::vector<std::string> story(const SessionId& id) const;  // "PENDING>SCHEDULED", ...

  ManualEnv env;
  SimulatedCluster cluster;
  std::shared_ptr<Storage> rows = make_memory_storage();
  std::shared_ptr<FaultyStorage> storage = make_faulty_storage(rows);
  std::shared_ptr<Storage> used = storage;  // what the next open() gets
  std::shared_ptr<Recorder> recorder = std::make_shared<Recorder>();
  std::shared_ptr<MetricsSink> metrics;  // of the next open(); may be null
  LogSink* log = nullptr;                // the same
  Options options;
  std::unique_ptr<Manager> manager;

 private:
  Manager* current_ = nullptr;
};

}  // namespace bai::test

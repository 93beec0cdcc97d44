// A world on one thread and virtual time, whose order a test decides.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bai_manager/env.hpp"

namespace bai {

// Not thread-safe: everything that uses its Env runs inside the calls below, on the calling thread.
class ManualEnv {
 public:
  // With a seed, the order in which loop, planner and storage get their turns is shuffled
  // (each keeps its own order); entropy is drawn from the seed too.
  explicit ManualEnv(std::uint64_t seed = 1, bool shuffle = false);
  ~ManualEnv();
  ManualEnv(const ManualEnv&) = delete;
  ManualEnv& operator=(const ManualEnv&) = delete;

  Env env();
  // A fourth executor for what is not the manager (agents, clients): it has turns and a seed like
  // the others, but a crash does not touch it.
  Executor& outside();
  Timestamp now() const;

  // Runs one task that is due; false when none is.
  bool step();
  // Runs everything that is due now; throws std::runtime_error after `tasks_max` (a livelock).
  void run(std::uint64_t tasks_max = 10'000'000);
  // Moves time forward, firing timers in order and running what they cause.
  void advance(Duration by);
  // Advances from task to task until `done()`, which is asked before each, or `within` has passed;
  // the value of `done()`.
  bool advance_until(const std::function<bool()>& done, Duration within);

  // Schedules test code on the virtual time line (on outside()).
  void at(Timestamp when, Task task);

  // Drops all tasks and timers of loop, planner and storage that have not run (a crash).
  void forget_all();

  std::vector<std::string> log_lines() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bai

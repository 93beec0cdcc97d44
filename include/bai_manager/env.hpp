// Everything nondeterministic that the library may touch, behind interfaces.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "bai_manager/time.hpp"

namespace bai {

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall-clock time; any thread. May jump backwards: the manager keeps its own time monotonic.
  virtual Timestamp now() const = 0;
};

class Entropy {
 public:
  virtual ~Entropy() = default;
  virtual std::uint64_t next() = 0;  // any thread
};

using Task = std::move_only_function<void()>;

// Runs tasks one at a time, in post order.
class Executor {
 public:
  using TimerId = std::uint64_t;  // never 0
  virtual ~Executor() = default;
  virtual void post(Task task) = 0;                          // any thread; never runs inline
  virtual TimerId run_after(Duration delay, Task task) = 0;  // any thread
  virtual void cancel(TimerId id) = 0;  // any thread; no effect once the task has started

  // For executors without a thread of their own: runs what is due, on the calling thread, and
  // answers whether anything was. False for all others.
  virtual bool drive() { return false; }
};

enum class LogLevel : std::uint8_t { Debug, Info, Warn, Error };

class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void write(LogLevel level, std::string_view component,
                     std::string_view message) noexcept = 0;  // any thread
};

// Non-owning; every referent outlives the Manager.
struct Env {
  Clock& clock;
  Entropy& entropy;
  Executor& loop;     // the single writer
  Executor& planner;  // may be the same object as loop
  Executor& storage;  // may be the same object as loop
  LogSink& log;
};

}  // namespace bai

// One thread that waits: descriptors, timers and tasks posted by other threads. Used by the agent
// and by each kernel's supervisor; nothing in here polls.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "bai_manager/env.hpp"
#include "local_agent/fd.hpp"

namespace bai::server::local {

class EventLoop {
 public:
  using Ready = std::move_only_function<void(std::uint32_t events)>;  // EPOLL* bits
  using TimerId = std::uint64_t;                                      // never 0
  using Millis = std::chrono::milliseconds;

  EventLoop();  // asserts that the kernel grants an epoll and an event descriptor
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Loop thread only (or before run()). `fd` stays the caller's; unwatch() before closing it.
  void watch(int fd, std::uint32_t events, Ready ready);
  void set_events(int fd, std::uint32_t events);
  void unwatch(int fd);
  TimerId run_after(Millis delay, Task task);
  void cancel(TimerId id);  // no effect once the task has started; 0 is allowed

  void post(Task task);  // any thread; never runs inline
  void run();            // until stop()
  void stop();           // any thread

 private:
  using Clock = std::chrono::steady_clock;
  struct Watch {
    std::uint32_t generation;
    Ready ready;
  };
  struct Timer {
    TimerId id;
    Task task;
  };
  int wait_ms() const;
  void run_posted();
  void run_timers();
  void dispatch(std::uint64_t tag, std::uint32_t events);

  Fd epoll_, wake_;
  std::unordered_map<int, std::shared_ptr<Watch>> watches_;
  std::uint32_t next_generation_ = 1;
  std::multimap<Clock::time_point, Timer> timers_;
  TimerId next_timer_ = 1;
  bool stopped_ = false;  // loop thread
  std::mutex mutex_;
  std::vector<Task> posted_;  // guarded by mutex_
  bool stop_wanted_ = false;  // guarded by mutex_
};

}  // namespace bai::server::local

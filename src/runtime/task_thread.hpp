// One thread that runs what is posted to it, and timers.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "bai_manager/env.hpp"

namespace bai::runtime {

class TaskThread final : public Executor {
 public:
  explicit TaskThread(const char* name);  // at most 15 bytes; shown by top and ps
  ~TaskThread() override;                 // stop() must have been called

  void post(Task task) override;
  TimerId run_after(Duration delay, Task task) override;
  void cancel(TimerId id) override;

  // Lets the running task finish, drops the others and joins. Posting stays legal and does nothing.
  void stop();

 private:
  using Steady = std::chrono::steady_clock;
  using TimerKey = std::pair<Steady::time_point, TimerId>;

  void run();
  void run_posted(std::unique_lock<std::mutex>& lock);
  void run_due_timers(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Task> posted_;
  std::vector<Task> batch_;  // the thread's own
  std::map<TimerKey, Task> timers_;
  std::unordered_map<TimerId, Steady::time_point> timer_times_;
  TimerId next_timer_ = 1;
  bool is_waiting_ = false;
  std::atomic<bool> is_stopping_ = false;  // written under the lock
  std::thread thread_;                     // last: it uses all of the above
};

}  // namespace bai::runtime

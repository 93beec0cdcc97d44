#include "runtime/task_thread.hpp"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "base/assert.hpp"

namespace bai::runtime {
namespace {

// Far enough to never fire, near enough that time_point arithmetic does not overflow.
constexpr Duration kLongestDelay = seconds(100LL * 365 * 24 * 3600);

}  // namespace

TaskThread::TaskThread(const char* name) : thread_([this] { run(); }) {
  pthread_setname_np(thread_.native_handle(), name);
}

TaskThread::~TaskThread() {
  BAI_ASSERT(!thread_.joinable(), "a TaskThread must be stopped before it is destroyed");
}

void TaskThread::post(Task task) {
  bool must_wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (is_stopping_) return;  // `task` is destroyed by the caller's frame, outside the lock
    posted_.push_back(std::move(task));
    must_wake = std::exchange(is_waiting_, false);
  }
  if (must_wake) wake_.notify_one();
}

Executor::TimerId TaskThread::run_after(Duration delay, Task task) {
  const auto wait = std::clamp(delay, Duration{}, kLongestDelay);
  const auto when = Steady::now() + std::chrono::nanoseconds(wait.ns);
  TimerId id = 0;
  bool must_wake = false;
  {
    const std::lock_guard lock(mutex_);
    id = next_timer_++;
    if (is_stopping_) return id;
    const auto at = timers_.emplace(TimerKey{when, id}, std::move(task)).first;
    timer_times_.emplace(id, when);
    if (at == timers_.begin()) must_wake = std::exchange(is_waiting_, false);
  }
  if (must_wake) wake_.notify_one();
  return id;
}

void TaskThread::cancel(TimerId id) {
  Task doomed;  // destroyed after the lock is released: what it owns may call back
  const std::lock_guard lock(mutex_);
  const auto at = timer_times_.find(id);
  if (at == timer_times_.end()) return;
  const auto timer = timers_.find({at->second, id});
  doomed = std::move(timer->second);
  timers_.erase(timer);
  timer_times_.erase(at);
}

void TaskThread::stop() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    is_waiting_ = false;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  std::vector<Task> posted;
  std::map<TimerKey, Task> timers;
  {
    const std::lock_guard lock(mutex_);
    posted.swap(posted_);
    timers.swap(timers_);
    timer_times_.clear();
  }
}

void TaskThread::run() {
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    run_posted(lock);
    run_due_timers(lock);
    if (is_stopping_ || !posted_.empty()) continue;
    is_waiting_ = true;
    const auto woken = [this] { return !is_waiting_; };
    if (timers_.empty()) {
      wake_.wait(lock, woken);
    } else {
      const auto when = timers_.begin()->first.first;
      if (!wake_.wait_until(lock, when, woken)) is_waiting_ = false;
    }
  }
}

void TaskThread::run_posted(std::unique_lock<std::mutex>& lock) {
  if (posted_.empty()) return;
  batch_.swap(posted_);
  lock.unlock();
  for (auto& task : batch_) {
    if (is_stopping_) break;
    std::exchange(task, {})();
  }
  batch_.clear();
  lock.lock();
}

void TaskThread::run_due_timers(std::unique_lock<std::mutex>& lock) {
  const auto now = Steady::now();
  while (!is_stopping_ && !timers_.empty() && timers_.begin()->first.first <= now) {
    auto node = timers_.extract(timers_.begin());
    timer_times_.erase(node.key().second);
    lock.unlock();
    std::exchange(node.mapped(), {})();
    lock.lock();
  }
}

}  // namespace bai::runtime

// Threads that share the jobs of one caller at a time.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace bai::runtime {

class JobThreads {
 public:
  // `threads` counts the caller's own, which works too: 1 starts none.
  explicit JobThreads(std::size_t threads);
  ~JobThreads();  // not while run() is under way
  JobThreads(const JobThreads&) = delete;
  JobThreads& operator=(const JobThreads&) = delete;

  // Calls `job` once with every number below `count` and returns when all have returned. One call
  // at a time; `job` does not throw.
  void run(std::size_t count, const std::function<void(std::size_t)>& job);

 private:
  void work(std::unique_lock<std::mutex>& lock);
  void serve();

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_, done_;
  const std::function<void(std::size_t)>* job_ = nullptr;  // null: nothing to do
  std::size_t next_ = 0, count_ = 0, running_ = 0;
  bool is_stopping_ = false;
  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace bai::runtime

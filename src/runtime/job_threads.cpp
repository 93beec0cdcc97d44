#include "runtime/job_threads.hpp"

#include <pthread.h>

namespace bai::runtime {

JobThreads::JobThreads(std::size_t threads) {
  for (std::size_t i = 1; i < threads; ++i) {
    threads_.emplace_back([this] { serve(); });
    pthread_setname_np(threads_.back().native_handle(), "bai-plan-group");
  }
}

JobThreads::~JobThreads() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void JobThreads::run(std::size_t count, const std::function<void(std::size_t)>& job) {
  if (threads_.empty() || count < 2) {
    for (std::size_t i = 0; i < count; ++i) job(i);
    return;
  }
  std::unique_lock lock(mutex_);
  job_ = &job;
  next_ = 0;
  count_ = count;
  wake_.notify_all();
  work(lock);
  done_.wait(lock, [this] { return running_ == 0; });
  job_ = nullptr;
}

// Until no job is left that nobody has begun.
void JobThreads::work(std::unique_lock<std::mutex>& lock) {
  while (job_ != nullptr && next_ < count_) {
    const std::size_t at = next_++;
    const auto& job = *job_;
    ++running_;
    lock.unlock();
    job(at);
    lock.lock();
    if (--running_ == 0) done_.notify_one();
  }
}

void JobThreads::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return is_stopping_ || (job_ != nullptr && next_ < count_); });
    if (is_stopping_) return;
    work(lock);
  }
}

}  // namespace bai::runtime

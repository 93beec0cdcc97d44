// A thread for what would hold up an io thread: reading storage, walking whole tables.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <thread>

#include "bai_manager/env.hpp"

namespace bai::server {

class Offload {
 public:
  explicit Offload(std::size_t waiting_max);
  ~Offload();  // runs what is waiting, then joins
  Offload(const Offload&) = delete;
  Offload& operator=(const Offload&) = delete;

  bool run(Task task);  // false: too many are waiting; the task was not taken

 private:
  void loop();
  const std::size_t waiting_max_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> tasks_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace bai::server

// The real world for a Manager: system clock, threads, entropy, a log to stderr.
#pragma once

#include <memory>
#include <string>

#include "bai_manager/env.hpp"

namespace bai {

// Owns three threads (loop, planner, storage). Destroy it after the managers that use it.
class Runtime {
 public:
  explicit Runtime(LogSink* log = nullptr);  // null: lines to stderr
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  Env env();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bai

#include "bai_manager/runtime.hpp"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <mutex>

#include "base/assert.hpp"
#include "runtime/monotonic.hpp"
#include "runtime/random.hpp"
#include "runtime/task_thread.hpp"

namespace bai {
namespace {

class SystemClock final : public Clock {
 public:
  Timestamp now() const override {
    const std::lock_guard lock(mutex_);
    return {time_.read(nanoseconds_of<std::chrono::system_clock>(),
                       nanoseconds_of<std::chrono::steady_clock>())};
  }

 private:
  template <class C>
  static std::int64_t nanoseconds_of() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(C::now().time_since_epoch())
        .count();
  }

  mutable std::mutex mutex_;
  mutable runtime::MonotonicTime time_;
};

std::array<std::uint64_t, 4> kernel_entropy() {
  std::array<std::uint64_t, 4> seed{};
  auto* bytes = reinterpret_cast<unsigned char*>(seed.data());
  for (std::size_t filled = 0; filled < sizeof seed;) {
    const ssize_t got = getrandom(bytes + filled, sizeof seed - filled, 0);
    if (got < 0 && errno == EINTR) continue;
    BAI_ASSERT(got > 0, "the kernel gives no randomness");
    filled += static_cast<std::size_t>(got);
  }
  return seed;
}

class SystemEntropy final : public Entropy {
 public:
  SystemEntropy() : random_(kernel_entropy()) {}
  std::uint64_t next() override {
    const std::lock_guard lock(mutex_);
    return random_.next();
  }

 private:
  std::mutex mutex_;
  runtime::Random random_;
};

class StderrLog final : public LogSink {
 public:
  void write(LogLevel level, std::string_view component,
             std::string_view message) noexcept override {
    static constexpr std::array<const char*, 4> kNames = {"debug", "info", "warn", "error"};
    std::fprintf(stderr, "%s %.*s: %.*s\n", kNames[static_cast<std::size_t>(level)],
                 static_cast<int>(component.size()), component.data(),
                 static_cast<int>(message.size()), message.data());
  }
};

}  // namespace

struct Runtime::Impl {
  explicit Impl(LogSink* sink) : log(sink ? sink : &stderr_log) {}
  // All three end before any is destroyed: a dropped task may still post to its neighbours.
  ~Impl() {
    planner.stop();
    storage.stop();
    loop.stop();
  }

  SystemClock clock;
  SystemEntropy entropy;
  StderrLog stderr_log;
  LogSink* log;
  runtime::TaskThread loop{"bai-loop"};
  runtime::TaskThread planner{"bai-planner"};
  runtime::TaskThread storage{"bai-storage"};
};

Runtime::Runtime(LogSink* log) : impl_(std::make_unique<Impl>(log)) {}
Runtime::~Runtime() = default;

Env Runtime::env() {
  return {impl_->clock, impl_->entropy, impl_->loop, impl_->planner, impl_->storage, *impl_->log};
}

}  // namespace bai

#include "bai_manager/manual_env.hpp"

#include <array>
#include <deque>
#include <map>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "base/assert.hpp"
#include "runtime/random.hpp"

namespace bai {
namespace {

constexpr Timestamp kStart{1'767'225'600'000'000'000};  // 2026-01-01T00:00:00Z
constexpr std::size_t kLogLinesMax = 100'000;           // the oldest are dropped
constexpr std::uint64_t kTasksPerInstantMax = 10'000'000;

enum Lane : std::size_t { kLoop, kPlanner, kStorage, kOutside, kLanes };

std::string_view level_name(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::Debug:
      return "debug";
    case LogLevel::Info:
      return "info";
    case LogLevel::Warn:
      return "warn";
    case LogLevel::Error:
      return "error";
  }
  return "?";
}

}  // namespace

struct ManualEnv::Impl final : Clock, Entropy, LogSink {
  struct Queued {
    std::uint64_t order = 0;      // over all lanes
    Executor::TimerId timer = 0;  // 0: posted
    Task task;
  };
  struct Timer {
    Lane lane;
    Task task;
  };
  using TimerKey = std::pair<Timestamp, Executor::TimerId>;

  struct LaneExecutor final : Executor {
    Impl* impl = nullptr;
    Lane lane = kLoop;
    std::deque<Queued> queue;

    void post(Task task) override {
      if (impl->is_dropped(lane)) return;
      queue.push_back({impl->next_order++, 0, std::move(task)});
    }
    TimerId run_after(Duration delay, Task task) override {
      return impl->add_timer(lane, impl->time + std::max(delay, Duration{}), std::move(task));
    }
    void cancel(TimerId id) override { impl->cancel_timer(id); }
    // All lanes: what this one waits for may have to be done by another.
    bool drive() override { return impl->step(); }
  };

  Impl(std::uint64_t seed, bool shuffle_lanes)
      : shuffle(shuffle_lanes), order_random(seed ^ 0x6f72646572ULL), entropy_random(seed) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      lanes[i].impl = this;
      lanes[i].lane = static_cast<Lane>(i);
    }
  }

  Timestamp now() const override { return time; }
  std::uint64_t next() override { return entropy_random.next(); }
  void write(LogLevel level, std::string_view component,
             std::string_view message) noexcept override {
    std::string line;
    line.append(level_name(level)).append(" ").append(component).append(": ").append(message);
    log.push_back(std::move(line));
    if (log.size() > kLogLinesMax) log.pop_front();
  }

  bool is_dropped(Lane lane) const noexcept {
    return dropping == kLanes || (dropping == kOutside && lane != kOutside);
  }

  Executor::TimerId add_timer(Lane lane, Timestamp when, Task task) {
    const auto id = next_timer++;
    if (is_dropped(lane)) return id;
    timers.emplace(TimerKey{when, id}, Timer{lane, std::move(task)});
    timer_times.emplace(id, when);
    return id;
  }

  void cancel_timer(Executor::TimerId id) {
    const auto at = timer_times.find(id);
    if (at == timer_times.end()) return;
    Task doomed;  // destroyed last: what it owns may call back into here
    const auto waiting = timers.find({at->second, id});
    if (waiting != timers.end()) {
      doomed = std::move(waiting->second.task);
      timers.erase(waiting);
    } else {  // due, but its turn has not come
      for (auto& lane : lanes) {
        for (auto& queued : lane.queue) {
          if (queued.timer == id) doomed = std::exchange(queued.task, {});
        }
      }
    }
    timer_times.erase(id);
  }

  // Due timers join the queues of their lanes, in order of (time, id).
  void collect_due() {
    while (!timers.empty() && timers.begin()->first.first <= time) {
      auto node = timers.extract(timers.begin());
      Timer& timer = node.mapped();
      lanes[timer.lane].queue.push_back({next_order++, node.key().second, std::move(timer.task)});
    }
  }

  LaneExecutor* choose() {
    std::array<LaneExecutor*, kLanes> ready{};
    std::size_t count = 0;
    for (auto& lane : lanes) {
      if (!lane.queue.empty()) ready[count++] = &lane;
    }
    if (count == 0) return nullptr;
    if (shuffle) return ready[order_random.below(count)];
    LaneExecutor* first = ready[0];
    for (std::size_t i = 1; i < count; ++i) {
      if (ready[i]->queue.front().order < first->queue.front().order) first = ready[i];
    }
    return first;
  }

  bool step() {
    for (;;) {
      collect_due();
      LaneExecutor* lane = choose();
      if (!lane) return false;
      Queued next_task = std::move(lane->queue.front());
      lane->queue.pop_front();
      if (next_task.timer != 0) {
        if (!next_task.task) continue;  // cancelled
        timer_times.erase(next_task.timer);
      }
      next_task.task();
      return true;
    }
  }

  [[noreturn]] static void livelock(std::uint64_t tasks) {
    throw std::runtime_error("livelock: " + std::to_string(tasks) +
                             " tasks have run without time moving on");
  }

  // Tasks are destroyed outside the containers: their destructors may post or cancel.
  void drop(Lane first_kept) {
    const Lane before = std::exchange(dropping, first_kept);
    std::vector<Task> doomed;
    for (std::size_t i = 0; i < first_kept; ++i) {
      for (auto& queued : lanes[i].queue) {
        if (queued.timer != 0) timer_times.erase(queued.timer);
        doomed.push_back(std::move(queued.task));
      }
      lanes[i].queue.clear();
    }
    for (auto it = timers.begin(); it != timers.end();) {
      if (it->second.lane >= first_kept) {
        ++it;
        continue;
      }
      doomed.push_back(std::move(it->second.task));
      timer_times.erase(it->first.second);
      it = timers.erase(it);
    }
    doomed.clear();
    dropping = before;
  }

  bool shuffle;
  runtime::Random order_random, entropy_random;
  Timestamp time = kStart;
  std::array<LaneExecutor, kLanes> lanes;
  std::map<TimerKey, Timer> timers;
  std::unordered_map<Executor::TimerId, Timestamp> timer_times;  // of all that have not started
  std::uint64_t next_order = 0;
  Executor::TimerId next_timer = 1;
  Lane dropping = kLoop;  // lanes before it are being dropped
  std::deque<std::string> log;
};

ManualEnv::ManualEnv(std::uint64_t seed, bool shuffle)
    : impl_(std::make_unique<Impl>(seed, shuffle)) {}

ManualEnv::~ManualEnv() { impl_->drop(kLanes); }

Env ManualEnv::env() {
  return {*impl_, *impl_, impl_->lanes[kLoop], impl_->lanes[kPlanner], impl_->lanes[kStorage],
          *impl_};
}

Executor& ManualEnv::outside() { return impl_->lanes[kOutside]; }

Timestamp ManualEnv::now() const { return impl_->time; }

bool ManualEnv::step() { return impl_->step(); }

void ManualEnv::run(std::uint64_t tasks_max) {
  for (std::uint64_t tasks = 0; impl_->step();) {
    if (++tasks > tasks_max) Impl::livelock(tasks_max);
  }
}

void ManualEnv::advance(Duration by) {
  const Timestamp until = impl_->time + by;
  for (;;) {
    run();
    if (impl_->timers.empty() || impl_->timers.begin()->first.first > until) break;
    impl_->time = impl_->timers.begin()->first.first;
  }
  impl_->time = std::max(impl_->time, until);
}

bool ManualEnv::advance_until(const std::function<bool()>& done, Duration within) {
  const Timestamp until = impl_->time + within;
  for (std::uint64_t tasks = 0;;) {
    if (done()) return true;
    if (impl_->step()) {
      if (++tasks > kTasksPerInstantMax) Impl::livelock(tasks);
      continue;
    }
    if (impl_->timers.empty() || impl_->timers.begin()->first.first > until) break;
    impl_->time = impl_->timers.begin()->first.first;
    tasks = 0;
  }
  impl_->time = std::max(impl_->time, until);
  return done();
}

void ManualEnv::at(Timestamp when, Task task) {
  impl_->add_timer(kOutside, std::max(when, impl_->time), std::move(task));
}

void ManualEnv::forget_all() { impl_->drop(kOutside); }

std::vector<std::string> ManualEnv::log_lines() const {
  return {impl_->log.begin(), impl_->log.end()};
}

}  // namespace bai

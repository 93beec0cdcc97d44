#include "local_agent/event_loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace bai::server::local {
namespace {

std::uint64_t tag_of(int fd, std::uint32_t generation) {
  return (std::uint64_t{generation} << 32U) | static_cast<std::uint32_t>(fd);
}

}  // namespace

EventLoop::EventLoop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll_ || !wake_) {
    std::perror("event loop: epoll_create1/eventfd");
    std::abort();
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tag_of(wake_.get(), 0);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
}

EventLoop::~EventLoop() = default;

void EventLoop::watch(int fd, std::uint32_t events, Ready ready) {
  unwatch(fd);
  auto entry = std::make_shared<Watch>(Watch{next_generation_++, std::move(ready)});
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag_of(fd, entry->generation);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  watches_[fd] = std::move(entry);
}

void EventLoop::set_events(int fd, std::uint32_t events) {
  auto it = watches_.find(fd);
  if (it == watches_.end()) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag_of(fd, it->second->generation);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::unwatch(int fd) {
  if (watches_.erase(fd) > 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EventLoop::run_after(Millis delay, Task task) {
  const TimerId id = next_timer_++;
  timers_.emplace(Clock::now() + delay, Timer{id, std::move(task)});
  return id;
}

void EventLoop::cancel(TimerId id) {
  if (id == 0) return;
  for (auto it = timers_.begin(); it != timers_.end(); ++it) {
    if (it->second.id == id) {
      timers_.erase(it);
      return;
    }
  }
}

void EventLoop::post(Task task) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    wake = posted_.empty();
    posted_.push_back(std::move(task));
  }
  if (wake) ::eventfd_write(wake_.get(), 1);
}

void EventLoop::stop() {
  {
    std::lock_guard lock(mutex_);
    stop_wanted_ = true;
  }
  ::eventfd_write(wake_.get(), 1);
}

int EventLoop::wait_ms() const {
  if (timers_.empty()) return -1;
  const auto left = std::chrono::ceil<Millis>(timers_.begin()->first - Clock::now()).count();
  constexpr std::int64_t kLongestWaitMs = 60'000;
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, kLongestWaitMs));
}

void EventLoop::run_posted() {
  std::vector<Task> tasks;
  {
    std::lock_guard lock(mutex_);
    tasks.swap(posted_);
    stopped_ = stopped_ || stop_wanted_;
  }
  for (auto& task : tasks) task();
}

void EventLoop::run_timers() {
  const auto now = Clock::now();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    Task task = std::move(timers_.begin()->second.task);
    timers_.erase(timers_.begin());
    task();
  }
}

void EventLoop::dispatch(std::uint64_t tag, std::uint32_t events) {
  const int fd = static_cast<int>(tag & 0xffffffffU);
  if (fd == wake_.get()) {
    eventfd_t count = 0;
    ::eventfd_read(wake_.get(), &count);
    return;
  }
  auto it = watches_.find(fd);
  // A callback earlier in this round may have closed the descriptor, or even reused its number.
  if (it == watches_.end() || it->second->generation != static_cast<std::uint32_t>(tag >> 32U))
    return;
  const std::shared_ptr<Watch> keep = it->second;
  keep->ready(events);
}

void EventLoop::run() {
  std::array<epoll_event, 64> ready;
  while (true) {
    run_posted();
    if (stopped_) return;
    const int count =
        ::epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), wait_ms());
    if (count < 0 && errno != EINTR) {
      std::perror("event loop: epoll_wait");
      std::abort();
    }
    for (int i = 0; i < count; ++i) {
      const auto& event = ready[static_cast<std::size_t>(i)];
      dispatch(event.data.u64, event.events);
    }
    run_timers();
  }
}

}  // namespace bai::server::local

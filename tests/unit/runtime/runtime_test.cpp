#include "bai_manager/runtime.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "runtime/monotonic.hpp"

using namespace bai;

namespace {

constexpr std::chrono::seconds kPatience{20};

template <class T>
bool arrives(std::future<T>& future) {
  return future.wait_for(kPatience) == std::future_status::ready;
}

}  // namespace

TEST_CASE("runtime: posts of one thread run in order, of many threads all run, one at a time") {
  Runtime runtime;
  Env env = runtime.env();
  constexpr int kThreads = 4, kPosts = 2000;
  std::vector<std::vector<int>> seen(kThreads);
  std::atomic<int> inside = 0, overlaps = 0;
  std::vector<std::thread> posters;
  for (int t = 0; t < kThreads; ++t) {
    posters.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        env.loop.post([&, t, i] {
          if (inside.fetch_add(1) != 0) ++overlaps;
          seen[static_cast<std::size_t>(t)].push_back(i);
          inside.fetch_sub(1);
        });
      }
    });
  }
  for (auto& poster : posters) poster.join();
  std::promise<void> done;
  auto finished = done.get_future();
  env.loop.post([&] { done.set_value(); });
  REQUIRE(arrives(finished));
  CHECK(overlaps == 0);
  for (const auto& of_thread : seen) {
    REQUIRE(of_thread.size() == kPosts);
    CHECK(std::is_sorted(of_thread.begin(), of_thread.end()));
  }
}

TEST_CASE("runtime: the three executors are three threads") {
  Runtime runtime;
  Env env = runtime.env();
  std::set<std::thread::id> ids = {std::this_thread::get_id()};
  for (Executor* executor : {&env.loop, &env.planner, &env.storage}) {
    std::promise<std::thread::id> id;
    auto known = id.get_future();
    executor->post([&] { id.set_value(std::this_thread::get_id()); });
    REQUIRE(arrives(known));
    ids.insert(known.get());
  }
  CHECK(ids.size() == 4);
}

TEST_CASE("runtime: timers fire in order of their times and never early") {
  Runtime runtime;
  Env env = runtime.env();
  const auto start = std::chrono::steady_clock::now();
  std::string order;
  std::promise<void> done;
  auto finished = done.get_future();
  std::atomic<bool> early = false;
  const auto add = [&](int ms, std::string name, bool last = false) {
    env.loop.run_after(milliseconds(ms), [&, ms, name, last] {
      if (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(ms)) early = true;
      order += name;
      if (last) done.set_value();
    });
  };
  add(60, "c", true);
  add(30, "b");
  add(0, "a");
  REQUIRE(arrives(finished));
  CHECK(order == "abc");
  CHECK_FALSE(early);
}

TEST_CASE("runtime: a timer set from another thread shortens the wait of the executor") {
  Runtime runtime;
  Env env = runtime.env();
  env.planner.run_after(seconds(3600), [] {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it waits for the hour now
  std::promise<void> fired;
  auto known = fired.get_future();
  std::thread([&] { env.planner.run_after(milliseconds(5), [&] { fired.set_value(); }); }).join();
  CHECK(arrives(known));
}

TEST_CASE("runtime: a cancelled timer does not run, whoever cancels it") {
  Runtime runtime;
  Env env = runtime.env();
  std::atomic<int> runs = 0;
  const auto by_other = env.loop.run_after(milliseconds(30), [&] { ++runs; });
  std::thread([&] { env.loop.cancel(by_other); }).join();
  Executor::TimerId by_itself = 0;
  std::promise<void> cancelled;
  auto known = cancelled.get_future();
  env.loop.post([&] {
    by_itself = env.loop.run_after(Duration{}, [&] { ++runs; });
    env.loop.cancel(by_itself);
    cancelled.set_value();
  });
  REQUIRE(arrives(known));
  std::promise<void> later;
  auto after = later.get_future();
  env.loop.run_after(milliseconds(60), [&] { later.set_value(); });
  REQUIRE(arrives(after));
  CHECK(runs == 0);
  env.loop.cancel(by_other);
  env.loop.cancel(123456);
  CHECK(by_other != 0);
  CHECK(by_other != by_itself);
}

TEST_CASE("runtime: cancelling from inside what a cancelled timer owns does not deadlock") {
  Runtime runtime;
  Env env = runtime.env();
  const auto other = env.loop.run_after(seconds(3600), [] {});
  struct Canceller {
    Executor& executor;
    Executor::TimerId id;
    Canceller(Executor& e, Executor::TimerId i) : executor(e), id(i) {}
    Canceller(const Canceller&) = delete;
    Canceller& operator=(const Canceller&) = delete;
    ~Canceller() { executor.cancel(id); }
  };
  const auto owner =
      env.loop.run_after(seconds(3600), [held = std::make_unique<Canceller>(env.loop, other)] {});
  env.loop.cancel(owner);
}

TEST_CASE("runtime: destroying it drops what has not run, though tasks post to their neighbours") {
  std::atomic<int> runs = 0;
  auto witness = std::make_shared<int>(1);
  std::promise<void> entered, proceed;
  auto inside = entered.get_future();
  auto gate = proceed.get_future();
  {
    Runtime runtime;
    Env env = runtime.env();
    env.loop.post([&] {
      entered.set_value();
      gate.wait();
    });
    REQUIRE(arrives(inside));
    struct Poster {
      Executor& executor;
      std::atomic<int>& runs;
      Poster(Executor& e, std::atomic<int>& r) : executor(e), runs(r) {}
      Poster(const Poster&) = delete;
      Poster& operator=(const Poster&) = delete;
      ~Poster() {
        executor.post([&r = runs] { ++r; });
        executor.run_after(Duration{}, [&r = runs] { ++r; });
      }
    };
    for (Executor* executor : {&env.loop, &env.planner, &env.storage}) {
      executor->run_after(seconds(3600), [witness, &runs] { ++runs; });
      executor->run_after(seconds(3600), [held = std::make_unique<Poster>(env.planner, runs)] {});
    }
    std::thread releaser([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      proceed.set_value();
    });
    releaser.join();
  }
  CHECK(runs == 0);
  CHECK(witness.use_count() == 1);
}

TEST_CASE("runtime: an idle runtime uses no processor time") {
  Runtime runtime;
  Env env = runtime.env();
  env.loop.run_after(seconds(3600), [] {});
  timespec before{}, after{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  const auto used_us =
      (after.tv_sec - before.tv_sec) * 1'000'000 + (after.tv_nsec - before.tv_nsec) / 1000;
  CHECK(used_us < 30'000);
}

TEST_CASE("runtime: the clock does not run backwards and tells the time of day") {
  Runtime runtime;
  Env env = runtime.env();
  Timestamp last = env.clock.now();
  const auto system = std::chrono::system_clock::now().time_since_epoch();
  CHECK(std::abs(last.ns - std::chrono::duration_cast<std::chrono::nanoseconds>(system).count()) <
        seconds(60).ns);
  for (int i = 0; i < 1000; ++i) {
    const Timestamp now = env.clock.now();
    CHECK(now >= last);
    last = now;
  }
}

TEST_CASE("runtime: a clock that is set back goes on at half speed until it has caught up") {
  runtime::MonotonicTime time;
  CHECK(time.read(1'000'000, 0) == 1'000'000);
  CHECK(time.read(1'000'100, 100) == 1'000'100);
  CHECK(time.read(900'000, 300) == 1'000'200);  // set back: half of the 200 that passed
  CHECK(time.read(900'200, 500) == 1'000'300);
  CHECK(time.read(1'000'290, 600) == 1'000'350);
  CHECK(time.read(1'000'500, 700) == 1'000'500);  // caught up
  CHECK(time.read(2'000'000, 800) == 2'000'000);  // set forward: followed at once
}

TEST_CASE("runtime: entropy does not repeat, across threads and runtimes") {
  Runtime a, b;
  std::mutex mutex;
  std::set<std::uint64_t> seen;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Env env = (t % 2 == 0 ? a : b).env();
      for (int i = 0; i < 500; ++i) {
        const auto value = env.entropy.next();
        const std::lock_guard lock(mutex);
        seen.insert(value);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(seen.size() == 2000);
}

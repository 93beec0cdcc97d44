#include "runtime/job_threads.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <vector>

using bai::runtime::JobThreads;

TEST_CASE("job threads run every job exactly once, call after call") {
  for (const std::size_t threads : {1U, 2U, 4U}) {
    JobThreads pool(threads);
    for (std::size_t count = 0; count < 40; ++count) {
      std::vector<int> ran(count, 0);
      pool.run(count, [&](std::size_t i) { ++ran[i]; });
      CHECK(std::ranges::count(ran, 1) == static_cast<std::ptrdiff_t>(count));
    }
  }
}

TEST_CASE("job threads work at the same time") {
  JobThreads pool(3);
  std::atomic<int> there = 0;
  std::atomic<bool> met = true;
  pool.run(3, [&](std::size_t) {
    ++there;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (there < 3) {
      if (std::chrono::steady_clock::now() > until) {
        met = false;
        return;
      }
      std::this_thread::yield();
    }
  });
  CHECK(met);
}

TEST_CASE("one job thread is the caller itself") {
  JobThreads pool(1);
  std::set<std::thread::id> seen;
  pool.run(5, [&](std::size_t) { seen.insert(std::this_thread::get_id()); });
  CHECK(seen == std::set{std::this_thread::get_id()});
}

#include "bai_manager/manual_env.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace bai;

namespace {

std::string shuffled_order(std::uint64_t seed) {
  ManualEnv world(seed, true);
  Env env = world.env();
  std::string order;
  for (int i = 0; i < 5; ++i) {
    env.loop.post([&order, i] { order += static_cast<char>('a' + i); });
    env.planner.post([&order, i] { order += static_cast<char>('A' + i); });
    env.storage.post([&order, i] { order += static_cast<char>('0' + i); });
  }
  world.run();
  return order;
}

std::string only(std::string_view text, char from, char to) {
  std::string out;
  for (const char c : text) {
    if (c >= from && c <= to) out += c;
  }
  return out;
}

struct PostsWhenDestroyed {
  Executor* executor;
  int* runs;
  PostsWhenDestroyed(Executor* e, int* r) : executor(e), runs(r) {}
  PostsWhenDestroyed(const PostsWhenDestroyed&) = delete;
  PostsWhenDestroyed& operator=(const PostsWhenDestroyed&) = delete;
  ~PostsWhenDestroyed() {
    executor->post([r = runs] { ++*r; });
    executor->run_after(seconds(1), [r = runs] { ++*r; });
  }
};

}  // namespace

TEST_CASE("manual env: posted tasks run one by one in post order, never inline") {
  ManualEnv world;
  Env env = world.env();
  std::string order;
  env.loop.post([&] {
    order += "1";
    env.loop.post([&] { order += "4"; });
    order += "2";
  });
  env.planner.post([&] { order += "3"; });
  CHECK(order.empty());
  CHECK(world.step());
  CHECK(order == "12");
  world.run();
  CHECK(order == "1234");
  CHECK_FALSE(world.step());
}

TEST_CASE("manual env: a shuffled order depends on the seed only and keeps each executor's order") {
  const std::string order = shuffled_order(7);
  CHECK(order.size() == 15);
  CHECK(only(order, 'a', 'e') == "abcde");
  CHECK(only(order, 'A', 'E') == "ABCDE");
  CHECK(only(order, '0', '4') == "01234");
  CHECK(order == shuffled_order(7));
  int different = 0;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) different += shuffled_order(seed) != order;
  CHECK(different >= 8);
}

TEST_CASE("manual env: timers fire in order of time, then of creation") {
  ManualEnv world;
  Env env = world.env();
  const Timestamp start = world.now();
  std::vector<std::pair<std::string, Timestamp>> fired;
  const auto note = [&](std::string name) {
    return [&fired, &env, name] { fired.emplace_back(name, env.clock.now()); };
  };
  env.loop.run_after(seconds(2), note("late"));
  env.storage.run_after(seconds(1), note("first"));
  env.loop.run_after(seconds(1), note("second"));
  env.loop.run_after(Duration{-5}, note("at once"));
  world.advance(milliseconds(999));
  REQUIRE(fired.size() == 1);
  CHECK(fired[0].first == "at once");
  CHECK(world.now() == start + milliseconds(999));
  world.advance(seconds(10));
  REQUIRE(fired.size() == 4);
  CHECK(fired[1] == std::pair<std::string, Timestamp>{"first", start + seconds(1)});
  CHECK(fired[2] == std::pair<std::string, Timestamp>{"second", start + seconds(1)});
  CHECK(fired[3] == std::pair<std::string, Timestamp>{"late", start + seconds(2)});
  CHECK(world.now() == start + milliseconds(10'999));
}

TEST_CASE("manual env: a timer's consequences run at its time, before the next timer") {
  ManualEnv world;
  Env env = world.env();
  std::string order;
  env.loop.run_after(seconds(1), [&] {
    order += "a";
    env.planner.post([&] { order += "b"; });
    env.loop.run_after(milliseconds(500), [&] { order += "c"; });
  });
  env.loop.run_after(seconds(2), [&] { order += "d"; });
  world.advance(seconds(3));
  CHECK(order == "abcd");
}

TEST_CASE("manual env: a cancelled timer never runs, even when it is already due") {
  ManualEnv world;
  Env env = world.env();
  int runs = 0;
  const auto waiting = env.loop.run_after(seconds(1), [&] { ++runs; });
  env.loop.cancel(waiting);
  Executor::TimerId second = 0;
  env.loop.run_after(seconds(2), [&] { env.loop.cancel(second); });
  second = env.loop.run_after(seconds(2), [&] { runs += 10; });
  const auto ran = env.loop.run_after(seconds(3), [&] { runs += 100; });
  world.advance(seconds(5));
  CHECK(runs == 100);
  env.loop.cancel(ran);
  env.loop.cancel(0);
  env.loop.cancel(999);
  CHECK(waiting != 0);
}

TEST_CASE("manual env: advance_until stops at the task that made it true") {
  ManualEnv world;
  Env env = world.env();
  const Timestamp start = world.now();
  int ticks = 0;
  std::function<void()> tick = [&] {
    ++ticks;
    env.loop.run_after(seconds(1), [&] { tick(); });
  };
  tick();
  CHECK(world.advance_until([&] { return ticks == 4; }, seconds(60)));
  CHECK(world.now() == start + seconds(3));
  CHECK_FALSE(world.advance_until([&] { return ticks == 1000; }, seconds(10)));
  CHECK(world.now() == start + seconds(13));
  CHECK(ticks == 14);
}

TEST_CASE("manual env: tasks that breed without time moving on are a livelock") {
  ManualEnv world;
  Env env = world.env();
  std::function<void()> breed = [&] { env.loop.post([&] { breed(); }); };
  breed();
  CHECK_THROWS_AS(world.run(1000), std::runtime_error);
  ManualEnv other;
  Env other_env = other.env();
  int left = 1000;
  std::function<void()> bounded = [&] {
    if (--left > 0) other_env.loop.run_after(Duration{}, [&] { bounded(); });
  };
  bounded();
  other.run(1000);
  CHECK(left == 0);
}

TEST_CASE("manual env: a crash drops the manager's tasks and timers, not the world's") {
  ManualEnv world;
  Env env = world.env();
  std::string order;
  env.loop.post([&] { order += "loop"; });
  env.storage.run_after(seconds(1), [&] { order += "storage"; });
  world.outside().post([&] { order += "[outside]"; });
  world.outside().run_after(seconds(2), [&] { order += "[later]"; });
  world.at(world.now() + seconds(3), [&] { order += "[at]"; });
  world.at(world.now() + seconds(1), [&] { world.forget_all(); });
  const auto due = env.loop.run_after(seconds(1), [&] { order += "due"; });
  world.forget_all();
  env.loop.cancel(due);
  world.advance(seconds(5));
  CHECK(order == "[outside][later][at]");
  env.loop.post([&] { order += "again"; });
  world.run();
  CHECK(order == "[outside][later][at]again");
}

TEST_CASE("manual env: what dropped tasks post while they are destroyed is dropped too") {
  int runs = 0;
  {
    ManualEnv world;
    Env env = world.env();
    env.loop.post([guard = std::make_unique<PostsWhenDestroyed>(&env.planner, &runs)] {});
    env.loop.run_after(seconds(1),
                       [guard = std::make_unique<PostsWhenDestroyed>(&env.storage, &runs)] {});
    world.forget_all();
    world.advance(seconds(10));
    CHECK(runs == 0);
    env.loop.post([guard = std::make_unique<PostsWhenDestroyed>(&world.outside(), &runs)] {});
  }
  CHECK(runs == 0);
}

TEST_CASE("manual env: entropy repeats with the seed") {
  ManualEnv a(3), b(3), c(4);
  Env ea = a.env(), eb = b.env(), ec = c.env();
  bool same = true, differs = false;
  for (int i = 0; i < 10; ++i) {
    const auto value = ea.entropy.next();
    same = same && value == eb.entropy.next();
    differs = differs || value != ec.entropy.next();
  }
  CHECK(same);
  CHECK(differs);
}

TEST_CASE("manual env: log lines are kept") {
  ManualEnv world;
  world.env().log.write(LogLevel::Warn, "core", "something is odd");
  REQUIRE(world.log_lines().size() == 1);
  CHECK(world.log_lines()[0] == "warn core: something is odd");
}

TEST_CASE("manual env: driving one executor runs what is due on all of them") {
  ManualEnv world;
  Env env = world.env();
  std::string order;
  env.loop.post([&] {
    order += "a";
    env.storage.post([&] { order += "b"; });
  });
  env.loop.run_after(seconds(1), [&] { order += "later"; });
  while (env.loop.drive()) {
  }
  CHECK(order == "ab");
}

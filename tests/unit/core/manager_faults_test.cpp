// Faults of agents: counted, logged, survived.
#include <deque>
#include <map>
#include <thread>

#include "harness.hpp"
#include "manager_site.hpp"

namespace bai::test {

namespace {

struct Counts final : MetricsSink {
  void action_done(std::string_view, std::string_view, std::string_view, const Error*,
                   Duration) noexcept override {}
  void agent_event_done(std::string_view name, bool accepted, Duration) noexcept override {
    ++(accepted ? accepted_events : ignored_events)[std::string(name)];
  }
  void agent_request_done(std::string_view method, bool ok, Duration) noexcept override {
    ++(ok ? answered : failed)[std::string(method)];
  }
  void pass_done(Duration, std::size_t, std::size_t) noexcept override {}
  void commit_done(std::size_t, bool, Duration) noexcept override {}

  std::map<std::string, int> accepted_events, ignored_events, answered, failed;
};

struct Lines final : LogSink {
  void write(LogLevel, std::string_view, std::string_view message) noexcept override {
    lines.emplace_back(message);
  }
  std::size_t count(std::string_view part) const {
    return static_cast<std::size_t>(std::ranges::count_if(
        lines, [&](const std::string& line) { return line.find(part) != line.npos; }));
  }
  std::vector<std::string> lines;
};

// A site whose manager is measured and whose log is read.
struct Watched {
  explicit Watched(Options options = {}) : site(options, false) {
    site.crash();
    site.metrics = counts;
    site.log = &log;
    site.open();
  }
  ~Watched() { site.crash(); }

  std::shared_ptr<Counts> counts = std::make_shared<Counts>();
  Lines log;
  Site site;
};

}  // namespace

TEST_CASE("what is asked of agents and what they tell is measured") {
  Watched watched;
  watched.site.add_agent("a1");
  const SessionId id = watched.site.create("measured", "cr.test/stable/python:3");
  REQUIRE(watched.site.becomes(id, SessionStatus::Running));
  CHECK(watched.counts->accepted_events["agent_heartbeat"] > 0);
  CHECK(watched.counts->accepted_events["kernel_started"] == 1);
  CHECK(watched.counts->ignored_events.empty());
  CHECK(watched.counts->answered["create_kernels"] == 1);
  REQUIRE(watched.site.ask(SessionLogs{id, {}}).has_value());  // a call passes through
  CHECK(watched.counts->answered["get_logs"] == 1);
  watched.site.cluster.hang(AgentId("a1"));
  CHECK_FALSE(watched.site.ask(SessionLogs{id, {}}).has_value());
  CHECK(watched.counts->failed["get_logs"] == 1);
}

TEST_CASE("events that mean nothing here are counted, and logged once for each name") {
  Watched watched;
  watched.site.add_agent("a1");
  for (int i = 0; i < 5; ++i) {
    KernelTerminated event;
    event.kernel = *parse_uuid<KernelId>("11111111-2222-3333-4444-555555555555");
    event.reason = "self-terminated";
    watched.site.cluster.inject({AgentId("a1"), event});
  }
  REQUIRE(watched.site.env.advance_until(
      [&] { return watched.counts->ignored_events["kernel_terminated"] == 5; }, seconds(30)));
  CHECK(watched.site.manager->statistics().events_ignored >= 5);
  CHECK(watched.log.count("event `kernel_terminated` of agent a1 is ignored") == 1);
}

TEST_CASE("an agent that joins, is lost, comes back and stops is one line each") {
  Options options;
  options.lost_grace = seconds(1);
  Watched watched(options);
  Site& site = watched.site;
  site.add_agent("a1");
  CHECK(watched.log.count("agent a1 has joined") == 1);
  const SessionId id = site.create("unlucky", "cr.test/stable/python:3");
  REQUIRE(site.becomes(id, SessionStatus::Running));
  site.cluster.hang(AgentId("a1"));
  REQUIRE(site.becomes(id, SessionStatus::Terminated));
  CHECK(watched.log.count("agent a1 is LOST") == 1);
  CHECK(watched.log.count("(unlucky) has ended: its agent is lost") == 1);
  site.cluster.come_back(AgentId("a1"));
  const auto status = [&] { return site.manager->snapshot()->find<Agent>(AgentId("a1"))->status; };
  REQUIRE(site.env.advance_until([&] { return status() == AgentStatus::Alive; }, seconds(60)));
  CHECK(watched.log.count("agent a1 is back: it was LOST") == 1);
  site.cluster.find(AgentId("a1"))->stop();
  REQUIRE(site.env.advance_until([&] { return status() == AgentStatus::Terminated; }, seconds(60)));
  CHECK(watched.log.count("agent a1 has said that it stops: TERMINATED") == 1);
}

TEST_CASE(
    "a manager that starts gives its agents one full timeout, however soon its timers are due") {
  // A loop that gets on before open() has done all of its part.
  struct Prompt final : Executor {
    void post(Task task) override {
      if (std::exchange(is_first, false)) {
        std::thread(std::move(task)).join();
      } else {
        tasks.push_back(std::move(task));
      }
    }
    TimerId run_after(Duration delay, Task task) override {
      if (delay.ns <= 0) task();
      return 1;
    }
    void cancel(TimerId) override {}
    bool drive() override {
      if (tasks.empty()) return false;
      Task task = std::move(tasks.front());
      tasks.pop_front();
      task();
      return true;
    }
    bool is_first = true;
    std::deque<Task> tasks;
  };
  Watched watched;
  Site& site = watched.site;
  site.add_agent("a1");
  site.crash();
  Prompt loop;
  const Env own = site.env.env();
  const Env prompt{own.clock, own.entropy, loop, loop, loop, watched.log};
  Ports ports;
  ports.storage = site.used;
  ports.agents = std::shared_ptr<AgentGateway>(std::shared_ptr<void>(), &site.cluster);
  auto opened = Manager::open({}, prompt, std::move(ports));
  REQUIRE(opened.has_value());
  while (loop.drive()) {
  }
  CHECK((*opened)->snapshot()->find<Agent>(AgentId("a1"))->status == AgentStatus::Alive);
  CHECK(watched.log.count("is LOST") == 0);
  (*opened)->abandon();
  opened->reset();
  site.open();
}

TEST_CASE("a start that fails and a session that is given up are one line each") {
  Options options;
  options.attempts_max = 3;
  Watched watched(options);
  Site& site = watched.site;
  site.add_agent("a1");
  site.cluster.find(AgentId("a1"))->fail_next_creates("ResourceError", 3);
  const SessionId id = site.create("hopeless", "cr.test/stable/python:3");
  REQUIRE(site.becomes(id, SessionStatus::Cancelled));
  CHECK(watched.log.count("(hopeless) has failed to start, attempt 1: ") == 1);
  CHECK(watched.log.count("(hopeless) has failed to start, attempt 2: ") == 1);
  CHECK(watched.log.count("(hopeless) is given up after 3 attempts: ") == 1);
  CHECK(watched.counts->failed["create_kernels"] == 3);
}

}  // namespace bai::test

// The manager as a whole: lives of sessions, events in order, waiting, limits, closing, restarts.
#include <atomic>
#include <future>

#include "bai_manager/runtime.hpp"
#include "harness.hpp"
#include "manager_site.hpp"

namespace bai::test {

TEST_CASE(
    "a session from request to end, its events in order and never ahead of what readers see") {
  Site site;
  const SessionId id = site.create("sess", kRemoteImage);
  REQUIRE(site.becomes(id, SessionStatus::Running));
  ExecuteCode code;
  code.id = id;
  code.code = "print(1)";
  const auto executed = site.ask(code);
  REQUIRE(executed.has_value());
  CHECK((*executed)["status"].as_string() == "finished");
  REQUIRE(site.ask(DestroySession{.id = id}).has_value());
  REQUIRE(site.becomes(id, SessionStatus::Terminated));

  CHECK(site.story(id) ==
        std::vector<std::string>{">PENDING", "PENDING>SCHEDULED", "SCHEDULED>PREPARING",
                                 "PREPARING>PREPARED", "PREPARED>CREATING", "CREATING>RUNNING",
                                 "RUNNING>TERMINATING", "TERMINATING>TERMINATED"});
  StateVersion last;
  std::string kernel = "";
  for (std::size_t i = 0; i < site.recorder->events.size(); ++i) {
    const StatusEvent& event = site.recorder->events[i];
    CHECK(event.version >= last);
    CHECK(event.version == site.recorder->seen[i]);  // visible when it is told
    last = event.version;
    if (!event.kernel) continue;
    CHECK(event.from == kernel);
    kernel = event.to;
  }
  CHECK(kernel == "TERMINATED");
  CHECK(site.cluster.where_live().empty());
  CHECK(site.manager->check_invariants() == "");
  const auto history = site.manager->history(id);
  REQUIRE(history.has_value());
  CHECK(history->size() == 3);
  const Statistics statistics = site.manager->statistics();
  CHECK(statistics.placements == 1);
  CHECK(statistics.commits > 0);
  CHECK(statistics.commit_failures == 0);
  CHECK(statistics.version == site.manager->snapshot()->version().value);
}

TEST_CASE("an action that fails changes nothing, and its answer comes all the same") {
  Site site;
  const StateVersion before = site.manager->snapshot()->version();
  const auto commits = site.storage->commits();
  CreateSession request = World::request("x");
  const auto result = site.ask(request);
  REQUIRE_FALSE(result.has_value());
  CHECK(result.error().code == ErrorCode::InvalidArgument);
  CHECK(site.storage->commits() == commits);
  CHECK(site.manager->snapshot()->version() == before);
}

TEST_CASE("many actions of one turn are one commit") {
  Site site({}, true);
  site.env.run();
  std::vector<std::shared_ptr<std::optional<Result<CreateSession::Result>>>> answers;
  const auto commits = site.storage->commits();
  for (int i = 0; i < 50; ++i)
    answers.push_back(site.submit(World::request("sess-" + std::to_string(i))));
  while (!answers.back()->has_value()) REQUIRE(site.env.step());
  CHECK(site.storage->commits() == commits + 1);
  std::set<SessionId> ids;
  for (const auto& answer : answers) ids.insert((**answer)->id);
  CHECK(ids.size() == 50);
}

TEST_CASE("batch_max bounds the inputs of one commit") {
  Options options;
  options.batch_max = 4;
  Site site(options);
  site.env.run();
  const auto commits = site.storage->commits();
  std::vector<std::shared_ptr<std::optional<Result<CreateSession::Result>>>> answers;
  for (int i = 0; i < 10; ++i)
    answers.push_back(site.submit(World::request("sess-" + std::to_string(i))));
  while (!answers.back()->has_value()) REQUIRE(site.env.step());
  CHECK(site.storage->commits() >= commits + 3);
  for (const auto& answer : answers) CHECK((*answer)->has_value());
}

TEST_CASE("a full queue refuses actions at once, and takes them again when it has room") {
  Options options;
  options.queue_max = 3;
  Site site(options);
  site.env.run();
  std::vector<std::shared_ptr<std::optional<Result<CreateSession::Result>>>> answers;
  for (int i = 0; i < 5; ++i)
    answers.push_back(site.submit(World::request("sess-" + std::to_string(i))));
  for (int i = 0; i < 3; ++i) CHECK_FALSE(answers[static_cast<std::size_t>(i)]->has_value());
  for (std::size_t i = 3; i < 5; ++i) {
    REQUIRE(answers[i]->has_value());
    REQUIRE_FALSE((*answers[i])->has_value());
    CHECK((**answers[i]).error().code == ErrorCode::Unavailable);
    CHECK((**answers[i]).error().message == "Too many requests are waiting (3)");
  }
  CHECK(site.manager->statistics().queue_length == 3);
  site.env.run();
  for (std::size_t i = 0; i < 3; ++i) CHECK((*answers[i])->has_value());
  CHECK(site.ask(World::request("later")).has_value());
}

// ---- waiting
// -------------------------------------------------------------------------------------

namespace {

using Awaited = std::shared_ptr<std::optional<Result<SnapshotPtr>>>;

Awaited await(Site& site, const SessionId& id, Duration timeout) {
  auto answer = std::make_shared<std::optional<Result<SnapshotPtr>>>();
  site.manager->await_session(id, timeout, [answer](Result<SnapshotPtr> result) {
    REQUIRE_FALSE(answer->has_value());
    *answer = std::move(result);
  });
  return answer;
}

}  // namespace

TEST_CASE("awaiting a session: until it runs, until it ends, until time is up, or not at all") {
  SimBehaviour slow;
  slow.create = {seconds(20), seconds(20)};
  Site site({}, false);
  site.add_agent("a1", 8, slow);
  const auto unknown = await(site, SessionId{}, seconds(1));
  site.env.run();
  REQUIRE(unknown->has_value());
  CHECK((*unknown)->error().code == ErrorCode::NotFound);

  const SessionId id = site.create("sess", kLocalImage);
  const auto short_one = await(site, id, seconds(5)), long_one = await(site, id, seconds(60)),
             endless = await(site, id, {});
  site.env.advance(seconds(5) - nanoseconds(1));
  CHECK_FALSE(short_one->has_value());
  site.env.advance(nanoseconds(1));
  REQUIRE(short_one->has_value());
  CHECK((*short_one)->error().code == ErrorCode::DeadlineExceeded);
  CHECK_FALSE(long_one->has_value());
  REQUIRE(site.becomes(id, SessionStatus::Running));
  for (const auto& waiter : {long_one, endless}) {
    REQUIRE(waiter->has_value());
    CHECK((**waiter)->get()->find<Session>(id)->status == SessionStatus::Running);
  }
  const auto at_once = await(site, id, seconds(1));
  site.env.run();
  CHECK(at_once->has_value());
  site.env.advance(seconds(100));  // no timer answers a second time

  const SessionId doomed = site.create("doomed", kLocalImage);
  const auto waiter = await(site, doomed, {});
  site.env.run();
  CHECK_FALSE(waiter->has_value());
  REQUIRE(site.ask(DestroySession{doomed, true, false, "user-requested"}).has_value());
  REQUIRE(waiter->has_value());
  CHECK((**waiter)->get()->find<Session>(doomed)->status == SessionStatus::Terminated);
}

// ---- closing
// -------------------------------------------------------------------------------------

TEST_CASE("close: what was submitted before is done and stored, what comes after is refused") {
  Site site;
  site.env.run();
  const auto before = site.submit(World::request("before"));
  CHECK(site.manager->close(seconds(1)).has_value());
  REQUIRE(before->has_value());
  REQUIRE((*before)->has_value());
  const auto after = site.submit(World::request("after"));
  REQUIRE(after->has_value());
  CHECK((*after)->error().code == ErrorCode::Unavailable);
  const SessionId id = (**before)->id;
  site.crash();
  site.open();
  CHECK(site.manager->snapshot()->find<Session>(id) != nullptr);
  CHECK(site.manager->snapshot()->count<Session>() == 1);
}

TEST_CASE("close on real threads waits for what is under way") {
  Runtime runtime;
  auto storage = std::shared_ptr<Storage>(make_memory_storage());
  SimulatedCluster cluster(runtime.env().clock, runtime.env().loop, 1);
  Ports ports;
  ports.storage = storage;
  ports.agents = std::shared_ptr<AgentGateway>(std::shared_ptr<void>(), &cluster);
  auto opened = Manager::open({}, runtime.env(), ports);
  REQUIRE(opened.has_value());
  constexpr int kActions = 200;
  std::atomic<int> done = 0, refused = 0;
  for (int i = 0; i < kActions; ++i) {
    const Json row = Json::object({{"name", "domain-" + std::to_string(i)}});
    Json rows = Json::array();
    rows.push_back(row);
    (*opened)->submit<LoadFixture>(Caller::system(), LoadFixture{Json::object({{"domains", rows}})},
                                   [&](auto result) { ++(result ? done : refused); });
  }
  CHECK((*opened)->close(seconds(20)).has_value());
  CHECK(done == kActions);
  CHECK(refused == 0);
  opened->reset();
  auto again = Manager::open({}, runtime.env(), ports);
  REQUIRE(again.has_value());
  CHECK((*again)->snapshot()->count<Domain>() == kActions);
}

// ---- restarts
// ------------------------------------------------------------------------------------

TEST_CASE("a crash loses nothing that was answered, and what was under way goes on") {
  SimBehaviour slow;
  slow.pull = {seconds(10), seconds(10)};
  slow.create = {seconds(10), seconds(10)};
  Site site({}, false);
  site.add_agent("a1", 8, slow);
  const SessionId running = site.create("running", kLocalImage);
  REQUIRE(site.becomes(running, SessionStatus::Running));
  const SessionId creating = site.create("creating", kLocalImage);
  REQUIRE(site.becomes(creating, SessionStatus::Creating));
  const SessionId preparing = site.create("preparing", kRemoteImage);
  REQUIRE(site.becomes(preparing, SessionStatus::Preparing));
  const SessionId ending = site.create("ending", kLocalImage);
  REQUIRE(site.becomes(ending, SessionStatus::Running));
  REQUIRE(site.ask(DestroySession{.id = ending}).has_value());
  CHECK(site.manager->check_invariants() == "");
  site.crash();
  site.open();
  CHECK(site.manager->check_invariants() == "");
  CHECK(site.becomes(creating, SessionStatus::Running));
  CHECK(site.becomes(preparing, SessionStatus::Running));
  CHECK(site.becomes(ending, SessionStatus::Terminated));
  CHECK(site.status(running) == SessionStatus::Running);
  for (const SimKernelRecord& record : site.cluster.all_records()) {
    CHECK(record.repeats_refused == 0);
    CHECK(record.creates <= 1);
  }
  CHECK(site.cluster.where_live().size() == 3);
}

TEST_CASE("a batch that crashes of the manager surround is begun exactly once") {
  for (int steps = 1; steps < 60; steps += 3) {
    Site site;
    const SessionId id = site.create("job-1", kLocalImage, SessionType::Batch, "sleep 5");
    for (int i = 0; i < steps; ++i) site.env.step();
    site.crash();
    site.open();
    const bool ended = site.becomes(id, SessionStatus::Terminated, seconds(600));
    const KernelId kernel = site.manager->snapshot()->kernels_of(id).front()->id;
    const std::uint32_t triggers = site.cluster.triggers_sent(kernel);
    CHECK(triggers <= 1);
    // Recorded, but never sent: such a batch waits for its user (see README.md).
    if (triggers == 1) {
      CHECK(ended);
      CHECK(site.manager->snapshot()->find<Session>(id)->result == SessionResult::Success);
    }
  }
}

TEST_CASE("an agent that agrees to nothing: tried again elsewhere, given up with the reason") {
  Options options;
  options.attempts_max = 3;
  Site site(options);
  site.cluster.find(AgentId("a1"))->fail_next_creates("RuntimeError", 100);
  const SessionId id = site.create("sess", kLocalImage);
  REQUIRE(site.becomes(id, SessionStatus::Cancelled, seconds(600)));
  CHECK(site.manager->snapshot()->find<Session>(id)->status_info ==
        "3 attempts failed: agent a1: RuntimeError: told to fail");
  site.cluster.find(AgentId("a1"))->fail_next_creates("RuntimeError", 0);
  site.add_agent("a2");
  site.cluster.find(AgentId("a1"))->fail_next_creates("RuntimeError", 1);
  site.cluster.find(AgentId("a2"))->fail_next_creates("RuntimeError", 1);
  const SessionId other = site.create("other", kLocalImage);
  REQUIRE(site.becomes(other, SessionStatus::Running, seconds(600)));
  CHECK(site.cluster.where_live().size() == 1);
}

TEST_CASE("an agent that dies and stays away; one that comes back late with its kernels") {
  Site site;
  site.add_agent("a2");
  std::vector<SessionId> ids;
  for (int i = 0; i < 6; ++i) {
    ids.push_back(site.create(("sess-" + std::to_string(i)).c_str(), kLocalImage));
    REQUIRE(site.becomes(ids.back(), SessionStatus::Running));
  }
  site.cluster.crash(AgentId("a1"), true);
  site.env.advance(site.options.agent_timeout + site.options.lost_grace + seconds(5));
  std::size_t lost = 0;
  for (const SessionId& id : ids) lost += site.status(id) == SessionStatus::Terminated;
  CHECK(lost > 0);
  CHECK(lost < ids.size());
  CHECK(site.cluster.where_live().size() == ids.size());  // they still run there
  site.cluster.come_back(AgentId("a1"));
  site.env.advance(seconds(60));
  CHECK(site.cluster.where_live().size() == ids.size() - lost);
  CHECK(site.manager->snapshot()->count<Operation>() == 0);
  CHECK(site.manager->check_invariants() == "");
}

}  // namespace bai::test

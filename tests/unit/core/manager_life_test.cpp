// What a manager must not do for ever: leave somebody waiting, plan in vain, keep what has ended.
#include <atomic>
#include <condition_variable>
#include <mutex>

#include "bai_manager/runtime.hpp"
#include "forwarding_storage.hpp"
#include "harness.hpp"
#include "manager_site.hpp"
#include "repo/rows.hpp"

namespace bai::test {

namespace {

// Commits wait until the test lets them through.
class Stuck final : public ForwardingStorage {
 public:
  Stuck() : ForwardingStorage(make_memory_storage()) {}
  Status commit(const WriteBatch& batch) override {
    std::unique_lock lock(mutex_);
    is_waiting_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !is_stuck_; });
    is_waiting_ = false;
    return ForwardingStorage::commit(batch);
  }

  void stick(bool on) {
    const std::lock_guard lock(mutex_);
    is_stuck_ = on;
    changed_.notify_all();
  }
  bool await_commit() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return is_waiting_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_stuck_ = false, is_waiting_ = false;
};

LoadFixture domain(int number) {
  Json rows = Json::array();
  rows.push_back(Json::object({{"name", "domain-" + std::to_string(number)}}));
  return {Json::object({{"domains", std::move(rows)}})};
}

}  // namespace

TEST_CASE("close that runs out of time answers everybody before it returns") {
  Runtime runtime;
  auto storage = std::make_shared<Stuck>();
  SimulatedCluster cluster(runtime.env().clock, runtime.env().loop, 1);
  Ports ports;
  ports.storage = storage;
  ports.agents = std::shared_ptr<AgentGateway>(std::shared_ptr<void>(), &cluster);
  auto opened = Manager::open({}, runtime.env(), ports);
  REQUIRE(opened.has_value());
  Manager& manager = **opened;
  storage->stick(true);

  std::atomic<int> in_doubt = 0, refused = 0, other = 0;
  const auto count = [&](const Error* error) {
    if (error == nullptr || error->code != ErrorCode::Unavailable) {
      ++other;
    } else if (error->message.find("stored or not") != std::string::npos) {
      ++in_doubt;
    } else {
      ++refused;
    }
  };
  const auto submit = [&](int number) {
    manager.submit<LoadFixture>(Caller::system(), domain(number),
                                [&](auto result) { count(result ? nullptr : &result.error()); });
  };
  submit(0);
  REQUIRE(storage->await_commit());  // this one is on its way to storage, the others are behind it
  constexpr int kMore = 50;
  for (int i = 1; i <= kMore; ++i) submit(i);
  std::atomic<int> events_left = 0;
  manager.deliver({AgentId("a1"), World::beat("a1")}, [&](bool taken) { events_left += !taken; });

  const Status closed = manager.close(milliseconds(50));
  REQUIRE_FALSE(closed.has_value());
  CHECK(closed.error().code == ErrorCode::DeadlineExceeded);
  CHECK(in_doubt == 1);
  CHECK(refused == kMore);
  CHECK(events_left == 1);
  CHECK(other == 0);
  manager.deliver({AgentId("a1"), World::beat("a1")}, [&](bool taken) { events_left += !taken; });
  CHECK(events_left == 2);
  storage->stick(false);
  opened->reset();
}

TEST_CASE("whoever awaits a session is answered when the manager closes, or is closed") {
  SimBehaviour slow;
  slow.create = {seconds(20), seconds(20)};
  Site site({}, false);
  site.add_agent("a1", 8, slow);
  const SessionId id = site.create("sess", kLocalImage);
  int unavailable = 0;
  const auto count = [&](const Result<SnapshotPtr>& result) {
    unavailable += !result && result.error().code == ErrorCode::Unavailable;
  };
  site.manager->await_session(id, {}, count);
  site.manager->await_session(id, seconds(60), count);
  site.env.run();
  CHECK(unavailable == 0);
  CHECK(site.manager->close(seconds(1)).has_value());
  CHECK(unavailable == 2);
  site.manager->await_session(id, {}, count);
  site.env.run();
  CHECK(unavailable == 3);
}

TEST_CASE("a planner that does not see what forbids a placement plans ever more rarely") {
  Site site;
  bool loaded = false;
  site.manager->submit<LoadFixture>(Caller::system(), LoadFixture{*Json::parse(R"({
    "keypair_resource_policies": [{"name": "default", "max_containers_per_session": 0,
                                   "max_concurrent_sessions": 1}],
    "resource_groups": [{"name": "default", "is_default": true,
                         "policy_options": {"validators": ["dependencies"]}}]})")},
                                    [&](auto result) { loaded = result.has_value(); });
  site.env.run();
  REQUIRE(loaded);
  const SessionId first = site.create("first", kLocalImage);
  REQUIRE(site.becomes(first, SessionStatus::Running));
  const SessionId second = site.create("second", kLocalImage);
  const auto before = site.manager->statistics();
  site.env.advance(seconds(300));
  const auto after = site.manager->statistics();
  CHECK(site.status(second) == SessionStatus::Pending);
  CHECK(after.placements_refused > before.placements_refused);
  CHECK(after.passes - before.passes < 40);
  const auto told = site.manager->snapshot()->find<Session>(second)->pending_reason;
  REQUIRE(told != nullptr);
  CHECK(told->code == "concurrency");
  CHECK(told->expected_basis.starts_with("unknown: "));
  CHECK(told->message.find("1 of 1 concurrent sessions are in use") != std::string::npos);
  CHECK(site.manager->history(second)->size() == 1);
  WhatIf question;
  question.waiting = second;
  const auto asked = site.ask(question);
  REQUIRE(asked.has_value());
  CHECK_FALSE(asked->starts_now);
  CHECK(asked->reason.message == told->message);
  REQUIRE(site.ask(DestroySession{.id = first}).has_value());
  CHECK(site.becomes(second, SessionStatus::Running, seconds(10)));  // woken by the change
}

TEST_CASE("rows of storage that wait for each other, for themselves or for nobody never start") {
  Site site;
  CreateSession large = World::request("large");
  large.slots.set("cpu", Amount{8000});  // those behind it wait
  REQUIRE(site.ask(large).has_value());
  std::vector<SessionId> ids;
  for (const char* name : {"ring-1", "ring-2", "itself", "behind", "nobodys"}) {
    ids.push_back(site.create(name, kLocalImage));
  }
  site.env.advance(seconds(1));
  site.crash();
  const EntityInfo& info = entity_info<Session>();
  const auto depend = [&](const SessionId& session, const SessionId& on) {
    auto record = site.rows->get(repo::table_of(info.kind), Value(to_string(session)));
    REQUIRE((record.has_value() && record->has_value()));
    Row row = (*record)->row;
    row[repo::column_of(info, "dependencies")] = Value("[\"" + to_string(on) + "\"]");
    REQUIRE(site.rows->commit({{}, {Put{repo::table_of(info.kind), std::move(row)}}}).has_value());
  };
  depend(ids[0], ids[1]);
  depend(ids[1], ids[0]);
  depend(ids[2], ids[2]);
  depend(ids[3], ids[0]);
  SessionId nobody;
  nobody.bytes.fill(7);
  depend(ids[4], nobody);
  site.open();
  site.env.advance(seconds(5));
  const char* said[] = {"wait for each other", "wait for each other", "wait for each other",
                        "wait for each other", "does not exist"};
  for (std::size_t i = 0; i < ids.size(); ++i) {
    CAPTURE(i);
    CHECK(site.status(ids[i]) == SessionStatus::Pending);
    WhatIf question;
    question.waiting = ids[i];
    const auto asked = site.ask(question);
    REQUIRE(asked.has_value());
    CHECK_FALSE(asked->starts_now);
    CHECK(asked->reason.code == "never");
    CHECK_MESSAGE(asked->reason.message.find(said[i]) != std::string::npos, asked->reason.message);
    CHECK(asked->reason.expected_start.ns == 0);
  }
  // All of a ring end when one of them does, and nobody twice.
  const auto ended = site.ask(DestroySession{.id = ids[0], .recursive = true});
  REQUIRE(ended.has_value());
  CHECK(ended->ended.size() == 3);
  CHECK(site.ask(DestroySession{.id = ids[2], .recursive = true})->ended.size() == 1);
  CHECK(site.manager->check_invariants() == "");
}

TEST_CASE("ended sessions leave the memory in time, and a restart does not bring them back") {
  Options options;
  options.keep_ended = seconds(600);
  Site site(options);
  const SessionId parent = site.create("parent", kLocalImage, SessionType::Batch, "true");
  REQUIRE(site.becomes(parent, SessionStatus::Terminated, seconds(300)));
  const SessionId ended = site.create("ended", kLocalImage);
  REQUIRE(site.becomes(ended, SessionStatus::Running));
  REQUIRE(site.ask(DestroySession{.id = ended}).has_value());
  REQUIRE(site.becomes(ended, SessionStatus::Terminated));
  CreateSession large = World::request("large");
  large.slots.set("cpu", Amount{8000});
  const auto all = site.ask(large);
  REQUIRE(all.has_value());
  CreateSession request = World::request("child");
  request.dependencies = {parent};  // and it waits for room
  const auto waiting = site.ask(request);
  REQUIRE(waiting.has_value());
  const SessionId child = waiting->id;

  const auto find = [&](const SessionId& id) {
    return site.manager->snapshot()->find<Session>(id);
  };
  site.env.advance(seconds(500));
  CHECK(find(ended) != nullptr);
  site.env.advance(seconds(200));
  CHECK(find(ended) == nullptr);
  CHECK(site.manager->snapshot()->kernels_of(ended).empty());
  CHECK(find(parent) != nullptr);  // the child waits for its success
  CHECK(site.manager->check_invariants() == "");
  const auto history = site.manager->history(ended);
  REQUIRE(history.has_value());
  CHECK_FALSE(history->empty());
  CHECK(site.rows->count(repo::table_of(EntityKind::Session), {}) == 4);

  site.crash();
  site.open();
  site.env.run();
  CHECK(find(ended) == nullptr);
  CHECK(find(parent) != nullptr);
  CHECK(site.manager->snapshot()->kernels_of(parent).size() == 1);
  CHECK(site.manager->check_invariants() == "");
  REQUIRE(site.ask(DestroySession{.id = child}).has_value());
  site.env.advance(seconds(100));
  CHECK(find(parent) == nullptr);
  CHECK(find(child) != nullptr);
  site.env.advance(seconds(700));
  CHECK(site.manager->snapshot()->count<Session>() == 1);  // the large one runs
  CHECK(site.rows->count(repo::table_of(EntityKind::Session), {}) == 4);
}

}  // namespace bai::test

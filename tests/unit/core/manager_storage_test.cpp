// The manager when storage refuses, or does not say whether it has stored.
#include "forwarding_storage.hpp"
#include "harness.hpp"
#include "manager_site.hpp"

namespace bai::test {

namespace {

using Fault = FaultyStorage::Fault;

// Refuses some commits with an error that no waiting will heal.
class Poisoned final : public test::ForwardingStorage {
 public:
  using ForwardingStorage::ForwardingStorage;
  Status commit(const WriteBatch& batch) override {
    if (refuse == 0) return ForwardingStorage::commit(batch);
    --refuse;
    return fail(ErrorCode::InvalidArgument, "a row does not fit");
  }
  int refuse = 0;
};

}  // namespace

TEST_CASE("a refused commit refuses its actions, and nothing of them is to be seen") {
  Site site;
  site.env.run();
  const StateVersion before = site.manager->snapshot()->version();
  site.storage->fail_next_commits(Fault::Refuse, 1);
  const auto result = site.ask(World::request("sess"));
  REQUIRE_FALSE(result.has_value());
  CHECK(result.error().code == ErrorCode::Unavailable);
  CHECK(result.error().kind == "service-unavailable");
  CHECK(result.error().message.find("The commit was refused") != std::string::npos);
  CHECK(site.manager->snapshot()->count<Session>() == 0);
  CHECK(site.manager->snapshot()->version() == before);
  CHECK(site.manager->statistics().commit_failures == 1);
  CHECK(site.manager->statistics().storage_down);
  // Until storage is tried again, actions are refused at once.
  const auto at_once = site.submit(World::request("sess"));
  REQUIRE(at_once->has_value());
  CHECK((*at_once)->error().code == ErrorCode::Unavailable);
  site.env.advance(site.options.storage_backoff);
  CHECK_FALSE(site.manager->statistics().storage_down);
  CHECK(site.ask(World::request("sess")).has_value());
  CHECK(site.manager->check_invariants() == "");
}

TEST_CASE("what was to be answered when commits fail is answered once, in order") {
  Options options;
  options.batch_max = 2;
  Site site(options);
  site.env.run();
  site.storage->fail_next_commits(Fault::Refuse, 1);
  std::vector<std::shared_ptr<std::optional<Result<CreateSession::Result>>>> answers;
  for (int i = 0; i < 6; ++i)
    answers.push_back(site.submit(World::request("sess-" + std::to_string(i))));
  site.env.advance(seconds(5));
  std::size_t accepted = 0;
  for (const auto& answer : answers) {
    REQUIRE(answer->has_value());
    accepted += (*answer)->has_value();
  }
  CHECK(site.manager->snapshot()->count<Session>() == accepted);
  CHECK(accepted < answers.size());
}

TEST_CASE("events, answers, timers and plans are handled again until they are durable") {
  for (std::uint32_t skip = 0; skip < 14; ++skip) {
    CAPTURE(skip);
    Site site;
    const SessionId id = site.create("sess", kRemoteImage);
    site.storage->fail_next_commits(Fault::Refuse, 3, skip);
    REQUIRE(site.becomes(id, SessionStatus::Running, seconds(300)));
    CHECK(site.manager->check_invariants() == "");
    for (const SimKernelRecord& record : site.cluster.all_records()) CHECK(record.creates == 1);
    site.storage->fail_next_commits(Fault::None, 0);
    bool destroyed = false;
    while (!destroyed) {
      destroyed = site.ask(DestroySession{.id = id}).has_value();
      site.env.advance(seconds(1));
    }
    site.storage->fail_next_commits(Fault::Refuse, 2, skip % 3);
    REQUIRE(site.becomes(id, SessionStatus::Terminated, seconds(300)));
    CHECK(site.cluster.where_live().empty());
  }
}

TEST_CASE("an event is acknowledged only when what it changed is durable") {
  Site site;
  const SessionId id = site.create("sess", kLocalImage);
  REQUIRE(site.becomes(id, SessionStatus::Running));
  site.env.run();
  const KernelId kernel = site.manager->snapshot()->kernels_of(id).front()->id;
  site.storage->fail_next_commits(Fault::Refuse, 5);
  std::optional<bool> done;
  site.manager->deliver({AgentId("a1"), KernelTerminated{kernel, id, "self-terminated", 0, ""}},
                        [&](bool taken) { done = taken; });
  site.env.run();
  CHECK_FALSE(done.has_value());
  CHECK(site.status(id) == SessionStatus::Running);
  site.env.advance(site.options.storage_backoff * 4);
  CHECK_FALSE(done.has_value());
  site.env.advance(site.options.storage_backoff * 2);
  REQUIRE(done.has_value());
  CHECK(*done);
  CHECK(site.status(id) == SessionStatus::Terminated);
}

TEST_CASE("nothing is sent to agents, told or answered before it is durable") {
  Site site;
  site.env.run();
  site.storage->fail_next_commits(Fault::Refuse, 1'000'000, 1);  // the creation itself passes
  const SessionId id = site.create("sess", kLocalImage);
  const std::size_t told = site.recorder->events.size();
  site.env.advance(seconds(30));
  CHECK(site.status(id) == SessionStatus::Pending);
  CHECK(site.recorder->events.size() == told);
  CHECK(site.cluster.all_records().empty());
  site.storage->fail_next_commits(Fault::None, 0);
  CHECK(site.becomes(id, SessionStatus::Running));
  CHECK(site.cluster.all_records().size() == 1);
}

TEST_CASE("in doubt, but stored: the answer is yes") {
  Site site;
  site.env.run();
  site.storage->fail_next_commits(Fault::LoseAnswer, 1);
  const auto result = site.ask(World::request("sess"));
  REQUIRE(result.has_value());
  CHECK(result->created);
  CHECK(site.manager->snapshot()->count<Session>() == 1);
  CHECK(site.becomes(result->id, SessionStatus::Running));
  CHECK(site.story(result->id).front() == ">PENDING");
  const auto stored = site.rows->count(0, {});
  CHECK(stored.has_value());
}

TEST_CASE("in doubt, and not stored: the action is refused, everything else is done again") {
  Site site;
  site.env.run();
  site.storage->fail_next_commits(Fault::LoseCommit, 1);
  const auto result = site.ask(World::request("sess"));
  REQUIRE_FALSE(result.has_value());
  CHECK(result.error().code == ErrorCode::Unavailable);
  CHECK(site.manager->snapshot()->count<Session>() == 0);
  site.env.advance(seconds(1));
  for (std::uint32_t skip = 0; skip < 8; ++skip) {
    const SessionId id = site.create(("sess-" + std::to_string(skip)).c_str(), kLocalImage);
    site.storage->fail_next_commits(skip % 2 == 0 ? Fault::LoseCommit : Fault::LoseAnswer, 2,
                                    skip / 2);
    REQUIRE(site.becomes(id, SessionStatus::Running, seconds(300)));
    site.storage->fail_next_commits(Fault::None, 0);
  }
  CHECK(site.manager->check_invariants() == "");
  for (const SimKernelRecord& record : site.cluster.all_records()) CHECK(record.creates == 1);
}

TEST_CASE("in doubt while nothing can be read: it waits, and what comes after it is refused") {
  for (const Fault fault : {Fault::LoseAnswer, Fault::LoseCommit}) {
    Options options;
    options.batch_max = 1;
    Site site(options);
    site.env.run();
    site.storage->fail_next_commits(fault, 1);
    site.storage->fail_reads(true);
    const auto answer = site.submit(World::request("sess"));
    const auto growing = site.submit(World::request("growing"));  // handled, not stored
    const auto queued = site.submit(World::request("queued"));
    site.env.advance(seconds(1));
    CHECK_FALSE(answer->has_value());
    for (const auto& one : {growing, queued}) {
      REQUIRE(one->has_value());
      CHECK((*one)->error().code == ErrorCode::Unavailable);
    }
    CHECK(site.manager->statistics().storage_down);
    const auto at_once = site.submit(World::request("later"));
    REQUIRE(at_once->has_value());
    CHECK((*at_once)->error().code == ErrorCode::Unavailable);
    site.env.advance(seconds(20));
    CHECK_FALSE(answer->has_value());
    CHECK(site.manager->snapshot()->count<Session>() == 0);

    site.storage->fail_reads(false);
    site.env.advance(seconds(1));
    const bool is_stored = fault == Fault::LoseAnswer;
    REQUIRE(answer->has_value());
    CHECK((*answer)->has_value() == is_stored);
    CHECK(site.manager->snapshot()->count<Session>() == (is_stored ? 1U : 0U));
    CHECK_FALSE(site.manager->statistics().storage_down);
    CHECK(site.ask(World::request("growing")).has_value());
    CHECK(site.manager->check_invariants() == "");
  }
}

TEST_CASE("events that come while in doubt are handled when storage is there again") {
  Site site;
  const SessionId id = site.create("sess", kLocalImage);
  REQUIRE(site.becomes(id, SessionStatus::Running));
  site.env.run();
  site.storage->fail_next_commits(Fault::LoseAnswer, 1);
  site.storage->fail_reads(true);
  const auto answer = site.submit(World::request("other"));
  const KernelId kernel = site.manager->snapshot()->kernels_of(id).front()->id;
  std::optional<bool> done;
  site.manager->deliver({AgentId("a1"), KernelTerminated{kernel, id, "self-terminated", 0, ""}},
                        [&](bool taken) { done = taken; });
  site.env.advance(seconds(5));
  CHECK_FALSE(done.has_value());
  site.storage->fail_reads(false);
  site.env.advance(seconds(1));
  CHECK(done == true);
  CHECK(site.status(id) == SessionStatus::Terminated);
}

TEST_CASE("a crash while in doubt: the next manager sees what storage holds") {
  for (const Fault fault : {Fault::LoseAnswer, Fault::LoseCommit}) {
    Site site;
    site.env.run();
    site.storage->fail_next_commits(fault, 1);
    site.storage->fail_reads(true);
    const auto answer = site.submit(World::request("sess"));
    site.env.advance(seconds(1));
    CHECK_FALSE(answer->has_value());
    site.crash();
    site.storage->fail_reads(false);
    site.open();
    CHECK(site.manager->snapshot()->count<Session>() == (fault == Fault::LoseAnswer ? 1U : 0U));
    CHECK_FALSE(answer->has_value());
    CHECK(site.ask(World::request("sess")).has_value());
  }
}

TEST_CASE("an input that storage will never take is given up, and does not stop the others") {
  Site site;
  auto poisoned = std::make_shared<Poisoned>(site.rows);
  site.crash();
  site.used = poisoned;
  site.open();
  site.env.advance(seconds(10));
  poisoned->refuse = 1;
  const auto refused = site.ask(World::request("sess"));
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == ErrorCode::Unavailable);
  site.env.advance(seconds(1));
  const SessionId id = site.create("sess", kLocalImage);
  REQUIRE(site.becomes(id, SessionStatus::Running));
  poisoned->refuse = 1;
  const KernelId kernel = site.manager->snapshot()->kernels_of(id).front()->id;
  std::optional<bool> done;
  site.manager->deliver({AgentId("a1"), KernelTerminated{kernel, id, "self-terminated", 0, ""}},
                        [&](bool taken) { done = taken; });
  site.env.run();
  REQUIRE(done.has_value());
  CHECK_FALSE(*done);  // deliver it again
  site.env.advance(seconds(1));
  CHECK(site.ask(World::request("other")).has_value());
}

// A manager whose storage refuses when told to, and one agent.
struct PoisonedSite {
  Site site;
  std::shared_ptr<Poisoned> storage = std::make_shared<Poisoned>(site.rows);
  explicit PoisonedSite(Options options = {}) : site(options) {
    site.crash();
    site.used = storage;
    site.open();
    site.env.advance(seconds(10));
  }
};

TEST_CASE("timers that shared a commit with what storage never takes come again") {
  PoisonedSite p;
  Site& site = p.site;
  SUBCASE("a session's deadline") {
    const auto fixture = Json::parse(R"({"resource_groups": [{"name": "default",
                                                              "pending_timeout": 60}]})");
    auto request = LoadFixture{*fixture};
    site.manager->submit<LoadFixture>(Caller::system(), request, [](auto) {});
    CreateSession large = World::request("large");
    large.slots.set("cpu", Amount{1'000'000});
    const auto created = site.ask(large);
    REQUIRE(created.has_value());
    site.env.advance(seconds(58));
    REQUIRE(site.status(created->id) == SessionStatus::Pending);
    p.storage->refuse = 3;
    site.env.advance(seconds(4));
    REQUIRE(p.storage->refuse == 0);
    CHECK(site.status(created->id) == SessionStatus::Cancelled);
  }
  SUBCASE("an agent's silence") {
    site.cluster.crash(AgentId("a1"), false);
    const auto is_lost = [&] {
      return site.manager->snapshot()->find<Agent>(AgentId("a1"))->status == AgentStatus::Lost;
    };
    site.env.advance(seconds(30));
    REQUIRE_FALSE(is_lost());
    p.storage->refuse = 2;
    site.env.advance(seconds(15));
    REQUIRE(p.storage->refuse == 0);
    CHECK(is_lost());
  }
}

TEST_CASE("an agent's answer that storage refuses to take note of is not lost") {
  PoisonedSite p;
  Site& site = p.site;
  const SessionId id = site.create("sess", kLocalImage);
  REQUIRE(site.becomes(id, SessionStatus::Running));
  site.env.advance(seconds(1));
  REQUIRE(site.ask(DestroySession{.id = id}).has_value());
  site.cluster.set_sink([&](AgentEvent event, std::move_only_function<void(bool)> done) {
    if (std::holds_alternative<KernelTerminated>(event.body)) return done(true);
    site.manager->deliver(std::move(event), std::move(done));
  });
  p.storage->refuse = 2;
  site.env.advance(seconds(5));
  REQUIRE(p.storage->refuse == 0);
  CHECK(site.status(id) == SessionStatus::Terminated);
}

TEST_CASE("a plan that storage never takes is tried ever more rarely, and the rest goes on") {
  Site site;
  auto poisoned = std::make_shared<Poisoned>(site.rows);
  site.crash();
  site.used = poisoned;
  site.open();
  site.env.run();
  const auto answer = site.submit(World::request("sess"));
  site.env.advance_until([&] { return answer->has_value(); }, seconds(10));
  REQUIRE((*answer)->has_value());
  poisoned->refuse = 1'000'000;
  site.env.advance(seconds(300));
  const int tried = 1'000'000 - poisoned->refuse;
  CHECK(tried >= 5);
  CHECK(tried <= 20);  // 100 ms, doubling, at most 51.2 s
  poisoned->refuse = 0;
  REQUIRE(site.becomes((**answer)->id, SessionStatus::Running));
}

TEST_CASE("open refuses rows that contradict each other, and storage that cannot be read") {
  Site site;
  const SessionId id = site.create("sess", kLocalImage);
  REQUIRE(site.becomes(id, SessionStatus::Running));
  site.crash();
  // Its kernel is gone from storage.
  const auto table = repo::table_of(EntityKind::Kernel);
  Scan scan;
  scan.table = table;
  const auto kernels = site.rows->scan(scan);
  REQUIRE(kernels.has_value());
  WriteBatch batch;
  batch.writes.emplace_back(Erase{table, (*kernels)[0].row[0]});
  REQUIRE(site.rows->commit(batch).has_value());
  Ports ports;
  ports.storage = site.storage;
  ports.agents = std::shared_ptr<AgentGateway>(std::shared_ptr<void>(), &site.cluster);
  const auto opened = Manager::open({}, site.env.env(), ports);
  REQUIRE_FALSE(opened.has_value());
  CHECK(opened.error().code == ErrorCode::Corruption);
  CHECK(opened.error().message.find("0 of 1 kernels") != std::string::npos);

  site.storage->fail_reads(true);
  const auto unreadable = Manager::open({}, site.env.env(), ports);
  REQUIRE_FALSE(unreadable.has_value());
  CHECK(unreadable.error().code == ErrorCode::Unavailable);
  ports.storage = nullptr;
  CHECK(Manager::open({}, site.env.env(), ports).error().code == ErrorCode::InvalidArgument);
}

TEST_CASE("a stored value that does not decode names its table, row and column") {
  Site site;
  site.crash();
  const auto table = repo::table_of(EntityKind::Agent);
  auto record = site.rows->get(table, Value(std::string("a1")));
  REQUIRE(record.has_value());
  REQUIRE(record->has_value());
  Row row = (*record)->row;
  row[2] = Value(std::string("ASLEEP"));
  WriteBatch batch;
  batch.writes.emplace_back(Put{table, row});
  REQUIRE(site.rows->commit(batch).has_value());
  Ports ports;
  ports.storage = site.storage;
  ports.agents = std::shared_ptr<AgentGateway>(std::shared_ptr<void>(), &site.cluster);
  const auto opened = Manager::open({}, site.env.env(), ports);
  REQUIRE_FALSE(opened.has_value());
  CHECK(opened.error().code == ErrorCode::Corruption);
  CHECK(opened.error().message ==
        "table agents, row a1, column status: does not hold one of the names of its enumeration");
}

TEST_CASE("the history of a session is read whole, however long it is") {
  Site site;
  const SessionId id = site.create("sess", kLocalImage);
  WriteBatch batch;
  constexpr int kRows = 2500;
  const EntityInfo& info = entity_info<History>();
  for (int i = 0; i < kRows; ++i) {
    History row;
    row.id.bytes[14] = static_cast<std::uint8_t>(i / 256);
    row.id.bytes[15] = static_cast<std::uint8_t>(i % 256);
    row.subject = to_string(id);
    Row stored;
    for (const FieldInfo& field : info.fields) stored.push_back(field.get(&row));
    batch.writes.emplace_back(Put{repo::table_of(EntityKind::History), std::move(stored)});
  }
  REQUIRE(site.rows->commit(batch).has_value());
  const auto history = site.manager->history(id);
  REQUIRE(history.has_value());
  CHECK(history->size() >= kRows);
}

}  // namespace bai::test

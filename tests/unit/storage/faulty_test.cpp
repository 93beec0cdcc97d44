#include <thread>

#include "bai_manager/storage.hpp"

using namespace bai;

namespace {

using Fault = FaultyStorage::Fault;

struct World {
  std::shared_ptr<Storage> inner = make_memory_storage();
  std::unique_ptr<FaultyStorage> storage = make_faulty_storage(inner);

  World() {
    const Schema schema{1, {{"t", {{"id", ColumnType::Int, false, {}}}, {}}}};
    REQUIRE(storage->open(schema).has_value());
  }
  std::string commit(std::int64_t id) {
    const Status done = storage->commit({{}, {Put{0, {id}}}});
    return done ? "ok" : std::string(to_string(done.error().code));
  }
  std::uint64_t rows() { return inner->count(0, {}).value(); }
};

}  // namespace

TEST_CASE("refused commits leave nothing behind, then service resumes") {
  World world;
  world.storage->fail_next_commits(Fault::Refuse, 2);
  CHECK(world.commit(1) == "unavailable");
  CHECK(world.commit(1) == "unavailable");
  CHECK(world.rows() == 0);
  CHECK(world.commit(1) == "ok");
  CHECK(world.rows() == 1);
  CHECK(world.storage->commits() == 3);
}

TEST_CASE("a lost answer was applied, a lost commit was not") {
  World world;
  world.storage->fail_next_commits(Fault::LoseAnswer, 1);
  CHECK(world.commit(1) == "in-doubt");
  CHECK(world.rows() == 1);
  world.storage->fail_next_commits(Fault::LoseCommit, 1);
  CHECK(world.commit(2) == "in-doubt");
  CHECK(world.rows() == 1);
  // Nobody hears that the commit was wrong either.
  world.storage->fail_next_commits(Fault::LoseAnswer, 1);
  CHECK(to_string(world.storage->commit({{Expect{0, std::int64_t{1}, 9}}, {}}).error().code) ==
        "in-doubt");
}

TEST_CASE("commits can be skipped; the last order counts") {
  World world;
  world.storage->fail_next_commits(Fault::Refuse, 5);
  world.storage->fail_next_commits(Fault::LoseCommit, 1, 2);
  CHECK(world.commit(1) == "ok");
  CHECK(world.commit(2) == "ok");
  CHECK(world.commit(3) == "in-doubt");
  CHECK(world.commit(4) == "ok");
  world.storage->fail_next_commits(Fault::Refuse, 5);
  world.storage->fail_next_commits(Fault::None, 0);
  CHECK(world.commit(5) == "ok");
  CHECK(world.rows() == 4);
}

TEST_CASE("reads fail while they are told to") {
  World world;
  CHECK(world.commit(1) == "ok");
  world.storage->fail_reads(true);
  CHECK(world.storage->get(0, std::int64_t{1}).error().code == ErrorCode::Unavailable);
  CHECK(world.storage->scan({0, {}, {}, {}, 1}).error().code == ErrorCode::Unavailable);
  CHECK(world.storage->count(0, {}).error().code == ErrorCode::Unavailable);
  CHECK(world.commit(2) == "ok");
  world.storage->fail_reads(false);
  CHECK(world.storage->count(0, {}) == 2);
}

TEST_CASE("faults can be set from another thread") {
  World world;
  std::thread control([&] {
    for (int i = 0; i < 200; ++i) {
      world.storage->fail_next_commits(i % 2 ? Fault::Refuse : Fault::None, 3);
      world.storage->fail_reads(i % 3 == 0);
    }
    world.storage->fail_next_commits(Fault::None, 0);
    world.storage->fail_reads(false);
  });
  std::uint64_t applied = 0;
  for (int i = 0; i < 500; ++i) applied += world.commit(i) == "ok" ? 1 : 0;
  control.join();
  CHECK(world.rows() == applied);
  CHECK(world.storage->commits() == 500);
}

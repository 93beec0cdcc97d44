// The storage suite on every backend.
#include "bai_manager/storage_sqlite.hpp"
#include "conformance/storage_suite.hpp"
#include "conformance/temp_folder.hpp"

using namespace bai;
using namespace bai::conformance;

namespace {

class MemoryFixture : public StorageFixture {
 public:
  Storage& storage() override { return *storage_; }
  void restart() override {}  // its rows live as long as the object

 private:
  std::unique_ptr<Storage> storage_ = make_memory_storage();
};

class SqliteFixture : public StorageFixture {
 public:
  SqliteFixture() { restart(); }
  Storage& storage() override { return *storage_; }
  void restart() override {
    storage_.reset();
    auto opened = open_sqlite_storage({.path = folder_.file("suite.sqlite")});
    INFO((opened ? std::string() : opened.error().message));
    REQUIRE(opened.has_value());
    storage_ = std::move(*opened);
  }

 private:
  TempFolder folder_;
  std::unique_ptr<Storage> storage_;
};

class FaultyFixture : public StorageFixture {
 public:
  Storage& storage() override { return *storage_; }
  void restart() override { storage_ = make_faulty_storage(inner_); }

 private:
  std::shared_ptr<Storage> inner_ = make_memory_storage();
  std::unique_ptr<Storage> storage_ = make_faulty_storage(inner_);
};

template <class Fixture>
void run_suite() {
  for (const StorageCase& test : storage_cases()) {
    SUBCASE(test.name) {
      Fixture fixture;
      test.run(fixture);
    }
  }
}

}  // namespace

TEST_CASE("storage suite: memory") { run_suite<MemoryFixture>(); }
TEST_CASE("storage suite: sqlite") { run_suite<SqliteFixture>(); }
TEST_CASE("storage suite: faults switched off") { run_suite<FaultyFixture>(); }

TEST_CASE("the suite has cases and backends name themselves") {
  CHECK(storage_cases().size() >= 18);
  CHECK(MemoryFixture().storage().backend_name() == "memory");
  CHECK(SqliteFixture().storage().backend_name() == "sqlite");
  CHECK(FaultyFixture().storage().backend_name() == "faulty");
}

// What is special about the SQLite backend; what all backends share is in tests/conformance.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "bai_manager/storage_sqlite.hpp"
#include "conformance/temp_folder.hpp"

using namespace bai;
using conformance::TempFolder;

namespace {

Schema blob_schema() {
  return {1,
          {{"blobs",
            {{"id", ColumnType::Int, false, {}}, {"body", ColumnType::Blob, false, {}}},
            {{"by_body", {1}, false}}}}};
}

WriteBatch blobs(std::int64_t first, std::int64_t count, std::size_t bytes) {
  WriteBatch batch;
  for (std::int64_t i = 0; i < count; ++i) {
    batch.writes.emplace_back(Put{0, {first + i, Bytes(bytes, static_cast<std::uint8_t>(i))}});
  }
  return batch;
}

std::unique_ptr<Storage> open_blobs(SqliteOptions options) {
  auto opened = open_sqlite_storage(std::move(options));
  INFO((opened ? std::string() : opened.error().message));
  REQUIRE(opened.has_value());
  REQUIRE((*opened)->open(blob_schema()).has_value());
  return std::move(*opened);
}

ErrorCode open_code(const std::string& path) {
  const auto opened = open_sqlite_storage({.path = path});
  REQUIRE(!opened.has_value());
  CHECK(opened.error().message.find(path.empty() ? "path" : path.substr(0, 5)) !=
        std::string::npos);
  return opened.error().code;
}

// What the child returns in its exit status; a failed check cannot leave a forked test.
int in_child(const std::function<int()>& body) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) _exit(body());
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("sqlite: a path must lead to a file in a folder that exists") {
  const TempFolder folder;
  CHECK(open_code(folder.file("missing/db.sqlite")) == ErrorCode::NotFound);
  CHECK(open_code(folder.file("")) == ErrorCode::InvalidArgument);
  CHECK(open_code("") == ErrorCode::InvalidArgument);
}

TEST_CASE("sqlite: a file that is no database is refused and left alone") {
  const TempFolder folder;
  const std::string path = folder.file("text.sqlite");
  const std::string text(5000, 'x');
  std::ofstream(path) << text;
  CHECK(open_code(path) == ErrorCode::Corruption);
  std::ifstream again(path);
  CHECK(std::string(std::istreambuf_iterator<char>(again), {}) == text);
}

TEST_CASE("sqlite: a second opener is refused at once, by any name, until the first is gone") {
  const TempFolder folder;
  const std::string path = folder.file("one.sqlite");
  auto first = open_blobs({.path = path});
  const auto second = open_sqlite_storage({.path = path});
  REQUIRE(!second.has_value());
  CHECK(second.error().code == ErrorCode::Unavailable);
  CHECK(second.error().kind == "database-locked");
  REQUIRE(symlink(path.c_str(), folder.file("other.sqlite").c_str()) == 0);
  CHECK(open_code(folder.file("other.sqlite")) == ErrorCode::Unavailable);
  CHECK(in_child([&] { return open_sqlite_storage({.path = path}) ? 0 : 7; }) == 7);
  first.reset();
  CHECK(open_sqlite_storage({.path = path}).has_value());
}

TEST_CASE("sqlite: nobody else can read the file") {
  const TempFolder folder;
  const auto storage = open_blobs({.path = folder.file("private.sqlite")});
  REQUIRE(storage->commit(blobs(0, 1, 10)).has_value());
  for (const char* name : {"private.sqlite", "private.sqlite-wal", "private.sqlite.lock"}) {
    struct stat info{};
    REQUIRE(stat(folder.file(name).c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }
}

TEST_CASE("sqlite: a full file refuses whole batches and takes up service again") {
  const TempFolder folder;
  const std::string path = folder.file("full.sqlite");
  auto storage = open_blobs({.path = path, .max_mib = 1});
  REQUIRE(storage->commit(blobs(0, 10, 1000)).has_value());
  const Status full = storage->commit(blobs(5, 2000, 1000));
  REQUIRE(!full.has_value());
  CHECK(full.error().code == ErrorCode::Unavailable);
  CHECK(storage->count(0, {}) == 10);
  CHECK((*storage->get(0, std::int64_t{5}))->revision == 1);
  CHECK(storage->commit(blobs(10, 10, 1000)).has_value());
  CHECK(storage->count(0, {}) == 20);
  storage.reset();
  storage = open_blobs({.path = path});
  CHECK(storage->count(0, {}) == 20);
  CHECK(storage->commit(blobs(5, 2000, 1000)).has_value());
}

// The limit of the process makes write() fail, as a broken disk does.
int write_through_failing_disk(const std::string& path) {
  std::signal(SIGXFSZ, SIG_IGN);
  auto opened = open_sqlite_storage({.path = path});
  if (!opened || !(*opened)->open(blob_schema())) return 1;
  Storage& storage = **opened;
  if (!storage.commit(blobs(0, 10, 1000))) return 2;
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0) return 3;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = 300'000;
  if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 4;
  for (int i = 0; i < 3; ++i) {
    const Status failed = storage.commit(blobs(5, 2000, 1000));
    if (failed || failed.error().code != ErrorCode::Unavailable) return 5;
    if (storage.count(0, {}) != 10U) return 6;
  }
  limit.rlim_cur = before;
  if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 7;
  if (storage.count(0, {}) != 10U) return 8;
  if (!storage.commit(blobs(10, 2000, 1000))) return 9;
  return storage.count(0, {}) == 2010U ? 0 : 10;
}

TEST_CASE("sqlite: when writing fails nothing is applied, and service resumes with the disk") {
  const TempFolder folder;
  const std::string path = folder.file("disk.sqlite");
  CHECK(in_child([&] { return write_through_failing_disk(path); }) == 0);
  CHECK(open_blobs({.path = path})->count(0, {}) == 2010);
}

TEST_CASE("sqlite: every thread reads what was committed before, while one writes") {
  const TempFolder folder;
  const auto storage =
      open_blobs({.path = folder.file("threads.sqlite"), .synchronous_full = false});
  constexpr std::int64_t kBatches = 200;
  std::atomic<std::int64_t> committed{0};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 4; ++t) {  // more than there are connections
    readers.emplace_back([&] {
      while (committed < kBatches) {
        const std::int64_t before = committed;
        const auto count = storage->count(0, {});
        // A batch is seen whole: rows come in tens.
        if (!count || *count < static_cast<std::uint64_t>(before * 10) || *count % 10 != 0) ++wrong;
        const auto page = storage->scan({0, {}, {{0, true}}, {}, 1});
        if (!page || (before > 0 && page->empty())) ++wrong;
        if (before > 0 && !storage->get(0, before * 10 - 1).value()) ++wrong;
      }
    });
  }
  for (std::int64_t n = 0; n < kBatches; ++n) {
    if (!storage->commit(blobs(n * 10, 10, 50))) ++wrong;
    committed = n + 1;
  }
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong == 0);
}

TEST_CASE("sqlite: any number of different scans") {
  const TempFolder folder;
  const auto storage = open_blobs({.path = folder.file("scans.sqlite"), .readers = 0});
  REQUIRE(storage->commit(blobs(0, 20, 1)).has_value());
  // More texts than a connection keeps prepared.
  for (std::size_t n = 0; n <= 256; ++n) {
    const std::vector<Condition> conditions(n, {0, Compare::Lt, std::int64_t{7}});
    CHECK(storage->scan({0, conditions, {}, {}, 100})->size() == (n == 0 ? 20U : 7U));
    CHECK(storage->count(0, conditions) == (n == 0 ? 20U : 7U));
  }
}

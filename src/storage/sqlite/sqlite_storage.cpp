#include <fmt/core.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>

#include "bai_manager/storage_sqlite.hpp"
#include "base/assert.hpp"
#include "storage/catalog.hpp"
#include "storage/sqlite/connection.hpp"
#include "storage/sqlite/file_lock.hpp"
#include "storage/sqlite/migrate.hpp"
#include "storage/sqlite/sql_text.hpp"

namespace bai {

namespace {

using storage::Connection;
using storage::Cursor;
using storage::SqlText;
using storage::TableSql;

constexpr std::uint32_t kMaxReaders = 64;
constexpr std::uint32_t kReaderCacheMib = 8;  // most of what readers touch is mapped

// Read connections, lent to one caller at a time.
class ReaderPool {
 public:
  class Lease {
   public:
    Lease(ReaderPool& pool, std::unique_ptr<Connection> connection)
        : pool_(pool), connection_(std::move(connection)) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { pool_.give_back(std::move(connection_)); }
    Connection& operator*() const noexcept { return *connection_; }

   private:
    ReaderPool& pool_;
    std::unique_ptr<Connection> connection_;
  };

  void add(std::unique_ptr<Connection> connection) { give_back(std::move(connection)); }
  // Waits for a free one; every use is one bounded read.
  Lease borrow() {
    std::unique_lock lock(mutex_);
    free_again_.wait(lock, [this] { return !free_.empty(); });
    auto connection = std::move(free_.back());
    free_.pop_back();
    return {*this, std::move(connection)};
  }

 private:
  void give_back(std::unique_ptr<Connection> connection) {
    {
      const std::lock_guard lock(mutex_);
      free_.push_back(std::move(connection));
    }
    free_again_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable free_again_;
  std::vector<std::unique_ptr<Connection>> free_;
};

Result<Record> read_record(const Cursor& cursor, const TableSpec& table) {
  Record record;
  record.row.reserve(table.columns.size());
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    auto value = cursor.read(static_cast<int>(i), table, i);
    if (!value) return std::unexpected(std::move(value.error()));
    record.row.push_back(std::move(*value));
  }
  record.revision = static_cast<Revision>(cursor.read_int(static_cast<int>(table.columns.size())));
  return record;
}

class SqliteStorage final : public Storage {
 public:
  SqliteStorage(storage::FileLock lock, std::unique_ptr<Connection> writer)
      : lock_(std::move(lock)), writer_(std::move(writer)) {}

  Status open_readers(storage::ConnectionOptions options, std::uint32_t count);

  Status open(const Schema& schema) override;
  Result<std::optional<Record>> get(std::uint16_t table, const Value& key) override;
  Result<std::vector<Record>> scan(const Scan& scan) override;
  Result<std::uint64_t> count(std::uint16_t table,
                              const std::vector<Condition>& conditions) override;
  Status commit(const WriteBatch& batch) override;
  std::string_view backend_name() const noexcept override { return "sqlite"; }

 private:
  // What a batch leaves behind for one key.
  struct Final {
    const Row* row = nullptr;  // null: erased
    Revision revision = 0;
  };
  using Finals = std::map<std::pair<std::uint16_t, Value>, Final>;

  Status transact(const WriteBatch& batch, Status (SqliteStorage::*apply)(const WriteBatch&));
  Status check_expects(const WriteBatch& batch);
  Status apply_in_order(const WriteBatch& batch);
  Status apply_at_once(const WriteBatch& batch);
  Result<Finals> finals(const WriteBatch& batch);
  Result<Revision> revision(std::uint16_t table, const Value& key);
  Status erase(std::uint16_t table, const Value& key);
  Status put(std::uint16_t table, const std::string& sql, const Row& row, Revision revision);

  storage::FileLock lock_;  // given up last
  std::mutex write_mutex_;
  std::unique_ptr<Connection> writer_;
  ReaderPool readers_;
  Schema schema_{0, {}};
  std::vector<TableSql> sql_;  // as schema_.tables
};

Status SqliteStorage::open_readers(storage::ConnectionOptions options, std::uint32_t count) {
  options.writer = false;
  options.cache_mib = kReaderCacheMib;
  for (std::uint32_t i = 0; i < std::clamp(count, 1U, kMaxReaders); ++i) {
    auto reader = Connection::open(options);
    if (!reader) return std::unexpected(reader.error());
    readers_.add(std::move(*reader));
  }
  return {};
}

Status SqliteStorage::open(const Schema& schema) {
  if (auto ok = storage::check_schema(schema); !ok) return ok;
  const std::lock_guard lock(write_mutex_);
  if (auto ok = storage::migrate(*writer_, schema); !ok) return ok;
  writer_->forget_statements();  // those of the migration do not come again
  schema_ = schema;
  sql_.clear();
  for (const TableSpec& table : schema_.tables) sql_.push_back(storage::make_table_sql(table));
  return {};
}

// ---- reading ------------------------------------------------------------------------------------

Result<std::optional<Record>> SqliteStorage::get(std::uint16_t table, const Value& key) {
  const auto spec = storage::find_table(schema_, table);
  if (!spec) return std::unexpected(spec.error());
  if (auto ok = storage::check_key(**spec, key); !ok) return std::unexpected(ok.error());
  const auto reader = readers_.borrow();
  auto cursor = (*reader).prepare(sql_[table].get);
  if (!cursor) return std::unexpected(cursor.error());
  cursor->bind(1, key);
  auto row = cursor->step();
  if (!row) return std::unexpected(row.error());
  if (!*row) return std::nullopt;
  auto record = read_record(*cursor, **spec);
  if (!record) return std::unexpected(std::move(record.error()));
  return std::optional<Record>(std::move(*record));
}

Result<std::vector<Record>> SqliteStorage::scan(const Scan& scan) {
  const auto spec = storage::find_table(schema_, scan.table);
  if (!spec) return std::unexpected(spec.error());
  if (auto ok = storage::check_order(**spec, scan); !ok) return std::unexpected(ok.error());
  const auto predicates = storage::make_predicates(**spec, scan.conditions);
  if (!predicates) return std::unexpected(predicates.error());
  const SqlText text = storage::scan_sql(**spec, scan, *predicates);

  const auto reader = readers_.borrow();
  auto cursor = (*reader).prepare(text.sql);
  if (!cursor) return std::unexpected(cursor.error());
  for (std::size_t i = 0; i < text.values.size(); ++i) {
    cursor->bind(static_cast<int>(i + 1), text.values[i]);
  }
  std::vector<Record> out;
  while (true) {
    auto row = cursor->step();
    if (!row) return std::unexpected(row.error());
    if (!*row) return out;
    auto record = read_record(*cursor, **spec);
    if (!record) return std::unexpected(std::move(record.error()));
    out.push_back(std::move(*record));
  }
}

Result<std::uint64_t> SqliteStorage::count(std::uint16_t table,
                                           const std::vector<Condition>& conditions) {
  const auto spec = storage::find_table(schema_, table);
  if (!spec) return std::unexpected(spec.error());
  const auto predicates = storage::make_predicates(**spec, conditions);
  if (!predicates) return std::unexpected(predicates.error());
  const SqlText text = storage::count_sql(**spec, *predicates);

  const auto reader = readers_.borrow();
  auto cursor = (*reader).prepare(text.sql);
  if (!cursor) return std::unexpected(cursor.error());
  for (std::size_t i = 0; i < text.values.size(); ++i) {
    cursor->bind(static_cast<int>(i + 1), text.values[i]);
  }
  if (auto row = cursor->step(); !row) return std::unexpected(row.error());
  return static_cast<std::uint64_t>(cursor->read_int(0));
}

// ---- writing ------------------------------------------------------------------------------------

Status SqliteStorage::commit(const WriteBatch& batch) {
  const std::lock_guard lock(write_mutex_);
  if (auto ok = storage::check_batch(schema_, batch); !ok) return ok;
  if (batch.expects.empty() && batch.writes.empty()) return {};
  Status done = transact(batch, &SqliteStorage::apply_in_order);
  // SQLite looks at unique indexes after every row; the batch may be fine as a whole.
  const bool collided = !done && done.error().code == ErrorCode::AlreadyExists;
  return collided ? transact(batch, &SqliteStorage::apply_at_once) : done;
}

Status SqliteStorage::transact(const WriteBatch& batch,
                               Status (SqliteStorage::*apply)(const WriteBatch&)) {
  if (auto ok = writer_->begin(); !ok) return ok;
  Status done = check_expects(batch);
  if (done) done = (this->*apply)(batch);
  if (done) return writer_->commit();
  writer_->rollback();
  return done;
}

Status SqliteStorage::check_expects(const WriteBatch& batch) {
  for (const Expect& expect : batch.expects) {
    const auto found = revision(expect.table, expect.key);
    if (!found) return std::unexpected(found.error());
    if (*found != expect.revision) {
      return storage::revision_conflict(schema_.tables[expect.table], expect.key, expect.revision,
                                        *found);
    }
  }
  return {};
}

Status SqliteStorage::apply_in_order(const WriteBatch& batch) {
  for (const Write& write : batch.writes) {
    const auto* erased = std::get_if<Erase>(&write);
    const auto* put_row = std::get_if<Put>(&write);
    Status done = erased ? erase(erased->table, erased->key)
                         : put(put_row->table, sql_[put_row->table].upsert, put_row->row, 0);
    if (!done) return done;
  }
  return {};
}

// Takes every touched row out first, so that only the final rows are compared with one another.
Status SqliteStorage::apply_at_once(const WriteBatch& batch) {
  const auto wanted = finals(batch);
  if (!wanted) return std::unexpected(wanted.error());
  for (const auto& [at, row] : *wanted) {
    if (auto ok = erase(at.first, at.second); !ok) return ok;
  }
  for (const auto& [at, last] : *wanted) {
    if (!last.row) continue;
    Status done = put(at.first, sql_[at.first].insert, *last.row, last.revision);
    if (!done) return done;
  }
  return {};
}

Result<SqliteStorage::Finals> SqliteStorage::finals(const WriteBatch& batch) {
  Finals out;
  for (const Write& write : batch.writes) {
    const auto* erased = std::get_if<Erase>(&write);
    const auto* put_row = std::get_if<Put>(&write);
    const std::uint16_t table = erased ? erased->table : put_row->table;
    const Value& key = erased ? erased->key : put_row->row.front();
    const auto [it, fresh] = out.try_emplace({table, key});
    if (fresh) {
      const auto stored = revision(table, key);
      if (!stored) return std::unexpected(stored.error());
      it->second.revision = *stored;
    }
    it->second.row = erased ? nullptr : &put_row->row;
    it->second.revision = erased ? 0 : it->second.revision + 1;
  }
  return out;
}

Result<Revision> SqliteStorage::revision(std::uint16_t table, const Value& key) {
  auto cursor = writer_->prepare(sql_[table].revision);
  if (!cursor) return std::unexpected(cursor.error());
  cursor->bind(1, key);
  const auto row = cursor->step();
  if (!row) return std::unexpected(row.error());
  return *row ? static_cast<Revision>(cursor->read_int(0)) : 0;
}

Status SqliteStorage::erase(std::uint16_t table, const Value& key) {
  auto cursor = writer_->prepare(sql_[table].erase);
  if (!cursor) return std::unexpected(cursor.error());
  cursor->bind(1, key);
  return cursor->run();
}

Status SqliteStorage::put(std::uint16_t table, const std::string& sql, const Row& row,
                          Revision revision) {
  auto cursor = writer_->prepare(sql);
  if (!cursor) return std::unexpected(cursor.error());
  for (std::size_t i = 0; i < row.size(); ++i) cursor->bind(static_cast<int>(i + 1), row[i]);
  if (revision > 0) {
    cursor->bind(static_cast<int>(row.size() + 1), static_cast<std::int64_t>(revision));
  }
  Status done = cursor->run();
  if (done || done.error().code != ErrorCode::AlreadyExists) return done;
  // "UNIQUE constraint failed: ..." names the columns.
  return fail(ErrorCode::AlreadyExists,
              fmt::format("Another row of {} has the same value in a unique index ({})",
                          schema_.tables[table].name, done.error().message),
              "unique-violation");
}

Result<std::string> resolve_path(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code failed;
  const fs::path given(path);
  const fs::path folder = given.has_parent_path() ? given.parent_path() : fs::path(".");
  if (path.empty() || fs::is_directory(given, failed)) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("\"{}\" is no path of a file; right would be \"bai.sqlite\"", path));
  }
  if (!fs::is_directory(folder, failed)) {
    return fail(ErrorCode::NotFound,
                fmt::format("The directory {} of the SQLite file does not exist", folder.string()));
  }
  // Two names of the same file must meet at the same lock.
  const fs::path real = fs::weakly_canonical(given, failed);
  return failed ? path : real.string();
}

}  // namespace

Result<std::unique_ptr<Storage>> open_sqlite_storage(SqliteOptions options) {
  const auto path = resolve_path(options.path);
  if (!path) return std::unexpected(path.error());
  auto lock = storage::FileLock::acquire(*path);
  if (!lock) return std::unexpected(lock.error());
  if (auto ok = storage::create_private_file(*path); !ok) return std::unexpected(ok.error());
  const storage::ConnectionOptions connection{
      *path,          true, options.synchronous_full, options.cache_mib, options.busy_timeout_ms,
      options.max_mib};
  auto writer = Connection::open(connection);
  if (!writer) return std::unexpected(writer.error());
  auto storage = std::make_unique<SqliteStorage>(std::move(*lock), std::move(*writer));
  if (auto ok = storage->open_readers(connection, options.readers); !ok) {
    return std::unexpected(ok.error());
  }
  return storage;
}

}  // namespace bai

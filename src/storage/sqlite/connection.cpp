#include "storage/sqlite/connection.hpp"

#include <fmt/core.h>
#include <sqlite3.h>

#include "base/assert.hpp"
#include "storage/catalog.hpp"

namespace bai::storage {

namespace {

// Checkpoints are rare and large: the default of 1000 pages costs a third of the insert rate.
constexpr int kCheckpointPages = 10'000;
constexpr std::int64_t kMaxLogBytes = std::int64_t{64} << 20;  // what the log is cut to when idle
constexpr std::int64_t kMappedBytes = std::int64_t{256} << 20;

ErrorCode error_code(int code) noexcept {
  switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_PROTOCOL:
      return ErrorCode::Unavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorCode::Corruption;
    case SQLITE_CONSTRAINT:
      return code == SQLITE_CONSTRAINT_UNIQUE ? ErrorCode::AlreadyExists : ErrorCode::Internal;
    case SQLITE_TOOBIG:
      return ErrorCode::InvalidArgument;
    default:
      return ErrorCode::Internal;
  }
}

int open_flags(bool writer) noexcept {
  const int mode = writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
  return mode | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
}

std::string_view storage_class(int type) noexcept {
  switch (type) {
    case SQLITE_INTEGER:
      return "an integer";
    case SQLITE_FLOAT:
      return "a real number";
    case SQLITE_TEXT:
      return "text";
    case SQLITE_BLOB:
      return "a blob";
    default:
      return "null";
  }
}

int storage_class(ColumnType type) noexcept {
  switch (type) {
    case ColumnType::Int:
      return SQLITE_INTEGER;
    case ColumnType::Real:
      return SQLITE_FLOAT;
    case ColumnType::Text:
      return SQLITE_TEXT;
    case ColumnType::Blob:
      return SQLITE_BLOB;
  }
  return SQLITE_NULL;
}

}  // namespace

std::unexpected<Error> sqlite_error(int code, std::string_view message, std::string_view path) {
  return fail(error_code(code), fmt::format("SQLite file {}: {} (code {})", path, message, code),
              fmt::format("sqlite-{}", code));
}

// ---- Cursor -------------------------------------------------------------------------------------

Cursor::Cursor(Cursor&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)),
      db_(other.db_),
      path_(other.path_),
      bind_result_(other.bind_result_) {}

Cursor::~Cursor() {
  if (!statement_) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

void Cursor::bind(int parameter, std::int64_t value) {
  const int result = sqlite3_bind_int64(statement_, parameter, value);
  if (result != SQLITE_OK) bind_result_ = result;
}

void Cursor::bind(int parameter, const Value& value) {
  int result = SQLITE_OK;
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    result = sqlite3_bind_int64(statement_, parameter, *number);
  } else if (const auto* real = std::get_if<double>(&value)) {
    result = sqlite3_bind_double(statement_, parameter, *real);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    result = sqlite3_bind_text64(statement_, parameter, text->data(), text->size(), SQLITE_STATIC,
                                 SQLITE_UTF8);
  } else if (const auto* blob = std::get_if<Bytes>(&value)) {
    // A null pointer would bind NULL instead of the empty blob.
    result = blob->empty() ? sqlite3_bind_zeroblob(statement_, parameter, 0)
                           : sqlite3_bind_blob64(statement_, parameter, blob->data(), blob->size(),
                                                 SQLITE_STATIC);
  } else {
    result = sqlite3_bind_null(statement_, parameter);
  }
  if (result != SQLITE_OK) bind_result_ = result;
}

Result<bool> Cursor::step() {
  const int result = bind_result_ != SQLITE_OK ? bind_result_ : sqlite3_step(statement_);
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  return sqlite_error(result, sqlite3_errmsg(db_), *path_);
}

Status Cursor::run() {
  while (true) {
    auto row = step();
    if (!row) return std::unexpected(std::move(row.error()));
    if (!*row) return {};
  }
}

std::int64_t Cursor::read_int(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Cursor::read_text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return text ? std::string(text, size) : std::string();
}

Result<Value> Cursor::read(int column, const TableSpec& table, std::size_t spec) const {
  const ColumnSpec& wanted = table.columns[spec];
  const int type = sqlite3_column_type(statement_, column);
  if (type == SQLITE_NULL && wanted.nullable) return Value{};
  if (type != storage_class(wanted.type)) {
    return fail(ErrorCode::Corruption,
                fmt::format("SQLite file {}: {}.{} holds {} instead of {}", *path_, table.name,
                            wanted.name, storage_class(type), type_name(wanted.type)));
  }
  if (type == SQLITE_INTEGER) return Value{read_int(column)};
  if (type == SQLITE_FLOAT) return Value{sqlite3_column_double(statement_, column)};
  if (type == SQLITE_TEXT) return Value{read_text(column)};
  const auto* bytes = static_cast<const std::uint8_t*>(sqlite3_column_blob(statement_, column));
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return Value{bytes ? Bytes(bytes, bytes + size) : Bytes()};
}

// ---- Connection ---------------------------------------------------------------------------------

Result<std::unique_ptr<Connection>> Connection::open(ConnectionOptions options) {
  sqlite3* db = nullptr;
  const int result =
      sqlite3_open_v2(options.path.c_str(), &db, open_flags(options.writer), nullptr);
  // Also after a failure there is a handle, which holds the message.
  std::unique_ptr<Connection> connection(new Connection(db, options.path));
  if (result != SQLITE_OK) {
    return sqlite_error(result, db ? sqlite3_errmsg(db) : "out of memory", options.path);
  }
  if (auto ok = connection->configure(options); !ok) return std::unexpected(ok.error());
  return connection;
}

Connection::~Connection() {
  forget_statements();
  [[maybe_unused]] const int result = sqlite3_close(db_);
  BAI_ASSERT(result == SQLITE_OK, "a statement outlived its SQLite connection");
}

Status Connection::configure(const ConnectionOptions& options) {
  sqlite3_busy_timeout(db_, static_cast<int>(std::min(options.busy_timeout_ms, 86'400'000U)));
  std::vector<std::string> pragmas = {
      fmt::format("PRAGMA cache_size=-{}", std::uint64_t{options.cache_mib} * 1024),
      fmt::format("PRAGMA mmap_size={}", kMappedBytes),
      "PRAGMA temp_store=MEMORY",
      "PRAGMA trusted_schema=OFF",
  };
  if (options.writer) {
    pragmas.push_back("PRAGMA journal_mode=WAL");
    pragmas.push_back(options.synchronous_full ? "PRAGMA synchronous=FULL"
                                               : "PRAGMA synchronous=NORMAL");
    pragmas.push_back(fmt::format("PRAGMA wal_autocheckpoint={}", kCheckpointPages));
    pragmas.push_back(fmt::format("PRAGMA journal_size_limit={}", kMaxLogBytes));
  }
  for (const std::string& pragma : pragmas) {
    if (auto ok = exec(pragma); !ok) return ok;
  }
  if (!options.writer || options.max_mib == 0) return {};
  auto cursor = prepare("PRAGMA page_size");
  if (!cursor) return std::unexpected(cursor.error());
  if (auto row = cursor->step(); !row) return std::unexpected(row.error());
  const auto page = static_cast<std::uint64_t>(std::max<std::int64_t>(cursor->read_int(0), 512));
  return exec(
      fmt::format("PRAGMA max_page_count={}",
                  std::max<std::uint64_t>((std::uint64_t{options.max_mib} << 20) / page, 1)));
}

Result<Cursor> Connection::prepare(const std::string& sql) {
  if (const auto it = statements_.find(sql); it != statements_.end()) {
    return Cursor(it->second, db_, path_);
  }
  if (statements_.size() >= kMaxStatements) forget_statements();
  sqlite3_stmt* statement = nullptr;
  const int result = sqlite3_prepare_v3(db_, sql.c_str(), static_cast<int>(sql.size() + 1),
                                        SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (result != SQLITE_OK) return sqlite_error(result, sqlite3_errmsg(db_), path_);
  statements_.emplace(sql, statement);
  return Cursor(statement, db_, path_);
}

void Connection::forget_statements() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  statements_.clear();
}

Status Connection::exec(const std::string& sql) {
  const int result = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  if (result == SQLITE_OK) return {};
  return sqlite_error(result, sqlite3_errmsg(db_), path_);
}

Status Connection::begin() {
  rollback();
  auto cursor = prepare("BEGIN IMMEDIATE");
  return cursor ? cursor->run() : std::unexpected(cursor.error());
}

Status Connection::commit() {
  auto cursor = prepare("COMMIT");
  Status done = cursor ? cursor->run() : std::unexpected(cursor.error());
  if (done) return done;
  const bool sync_failed = sqlite3_extended_errcode(db_) == SQLITE_IOERR_FSYNC;
  rollback();
  if (sync_failed) {
    // The whole transaction is in the log: a crash before the next commit would bring it back.
    done.error().code = ErrorCode::InDoubt;
  }
  return done;
}

void Connection::rollback() noexcept {
  // Some failures have rolled back already; then this would be an error of its own.
  if (sqlite3_get_autocommit(db_) != 0) return;
  sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
}

}  // namespace bai::storage

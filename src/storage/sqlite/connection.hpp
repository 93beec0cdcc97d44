// One SQLite connection and its cached statements. Not thread-safe: whoever holds it uses it alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bai_manager/storage.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace bai::storage {

struct ConnectionOptions {
  std::string path;
  bool writer = false;
  bool synchronous_full = true;
  std::uint32_t cache_mib = 16;
  std::uint32_t busy_timeout_ms = 5000;
  std::uint32_t max_mib = 0;
};

// A prepared statement between bind and reset; resets on destruction. Lives no longer than its
// connection. Bound text and blobs are not copied: they outlive the cursor.
class Cursor {
 public:
  Cursor(sqlite3_stmt* statement, sqlite3* db, const std::string& path) noexcept
      : statement_(statement), db_(db), path_(&path) {}
  Cursor(Cursor&& other) noexcept;
  Cursor& operator=(Cursor&&) = delete;
  ~Cursor();

  void bind(int parameter, const Value& value);  // parameters count from 1
  void bind(int parameter, std::int64_t value);
  Result<bool> step();  // true: a row is there
  Status run();         // steps until there are no more rows

  // Of the current row. Corruption when the value is of another type than the column's.
  Result<Value> read(int column, const TableSpec& table, std::size_t spec) const;
  std::int64_t read_int(int column) const;
  std::string read_text(int column) const;

 private:
  sqlite3_stmt* statement_;
  sqlite3* db_;
  const std::string* path_;
  int bind_result_ = 0;
};

class Connection {
 public:
  // Corruption when the file is not a database; Unavailable when it cannot be opened.
  static Result<std::unique_ptr<Connection>> open(ConnectionOptions options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // The statement is kept for the next call with the same text. One cursor at a time: the one
  // before is gone when this is called.
  Result<Cursor> prepare(const std::string& sql);
  Status exec(const std::string& sql);
  void forget_statements();

  Status begin();   // takes the write lock at once
  Status commit();  // on failure nothing is applied, except for InDoubt
  void rollback() noexcept;

 private:
  // A scan's text depends on its conditions, so the number of texts has no bound of its own.
  static constexpr std::size_t kMaxStatements = 256;

  Connection(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  Status configure(const ConnectionOptions& options);

  sqlite3* db_;
  std::string path_;
  std::unordered_map<std::string, sqlite3_stmt*> statements_;
};

// `code` is SQLite's extended result code.
std::unexpected<Error> sqlite_error(int code, std::string_view message, std::string_view path);

}  // namespace bai::storage

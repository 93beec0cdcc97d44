// SQLite backend (library bai_manager::sqlite): one file, nothing to install or start.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bai_manager/storage.hpp"

namespace bai {

struct SqliteOptions {
  std::string path;              // created when missing; its directory must exist
  bool synchronous_full = true;  // false: a power failure may lose the last commits
  std::uint32_t cache_mib = 64;
  std::uint32_t readers = 2;             // connections for get() and scan()
  std::uint32_t busy_timeout_ms = 5000;  // wait for a foreign writer, then Unavailable
  std::uint32_t max_mib =
      0;  // commits that would grow the file beyond give Unavailable; 0: no limit
};

// WAL journal; every commit() is one transaction. The file is locked against a second opener for
// writing: opening it twice gives Unavailable. NotFound when the directory does not exist,
// Corruption when the file is not a database.
Result<std::unique_ptr<Storage>> open_sqlite_storage(SqliteOptions options);

}  // namespace bai

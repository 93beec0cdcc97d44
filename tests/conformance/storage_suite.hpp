// What every Storage backend must do. A backend's test provides a fixture and runs all cases.
#pragma once

#include <doctest/doctest.h>

#include <span>
#include <string>

#include "bai_manager/storage.hpp"

namespace bai::conformance {

class StorageFixture {
 public:
  virtual ~StorageFixture() = default;
  virtual Storage& storage() = 0;
  // What a restart of the process does, as far as the backend can tell. Does not open the schema.
  virtual void restart() = 0;
};

struct StorageCase {
  const char* name;
  void (*run)(StorageFixture&);
};
std::span<const StorageCase> storage_cases();

// Tables of the suite: `notes` has a text key and nullable columns of every type, `accounts` an int
// key and two unique indexes.
inline constexpr std::uint16_t kNotes = 0;
inline constexpr std::uint16_t kAccounts = 1;
namespace note {
inline constexpr std::uint16_t kId = 0, kOwner = 1, kSize = 2, kScore = 3, kBody = 4;
}
namespace account {
inline constexpr std::uint16_t kId = 0, kEmail = 1, kDomain = 2, kName = 3;
}
Schema suite_schema();

inline Value null() { return {}; }
inline Value num(std::int64_t value) { return value; }
inline Value text(std::string value) { return value; }

Row note_row(std::string id, Value owner = {}, Value size = {}, Value score = {}, Value body = {});
Row account_row(std::int64_t id, Value email, std::string domain, std::string name);
WriteBatch puts(std::uint16_t table, std::vector<Row> rows);

ErrorCode code_of(const Status& status);  // requires a failure
// The keys of the rows found, "a b c"; requires success.
std::string keys_of(const Result<std::vector<Record>>& found);

}  // namespace bai::conformance

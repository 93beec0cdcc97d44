// The persistence port. Small on purpose: every backend implements it, and one conformance suite
// (tests/conformance) defines what it means. It knows tables and rows, not sessions.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bai_manager/result.hpp"

namespace bai {

using Bytes = std::vector<std::uint8_t>;
using Value = std::variant<std::monostate, std::int64_t, double, std::string, Bytes>;
using Row = std::vector<Value>;

enum class ColumnType : std::uint8_t { Int, Real, Text, Blob };
struct ColumnSpec {
  std::string name;
  ColumnType type = ColumnType::Text;
  bool nullable = false;
  Value fallback;  // what rows stored before this column existed read as (migration)
};
struct IndexSpec {
  std::string name;
  std::vector<std::uint16_t> columns;
  bool unique = false;
};
struct TableSpec {  // column 0 is the primary key: Int or Text, never null
  std::string name;
  std::vector<ColumnSpec> columns;
  std::vector<IndexSpec> indexes;
};
// Schema versions only grow. A backend that finds an older version adds missing tables, columns and
// indexes in one transaction; a newer one is refused with Unsupported.
struct Schema {
  std::uint32_t version = 1;
  std::vector<TableSpec> tables;
};

// 1 when the row is first put, one more with every further put; 0 means "no such row". A row that
// was erased and is put again starts at 1.
using Revision = std::uint64_t;

struct Record {
  Row row;
  Revision revision = 0;
};

struct Put {  // inserts or replaces by primary key
  std::uint16_t table = 0;
  Row row;
};
struct Erase {  // erasing a row that does not exist is no error
  std::uint16_t table = 0;
  Value key;
};
struct Expect {  // the commit fails with Conflict unless the row has this revision before the
                 // writes
  std::uint16_t table = 0;
  Value key;
  Revision revision = 0;
};
using Write = std::variant<Put, Erase>;
struct WriteBatch {
  std::vector<Expect> expects;
  std::vector<Write> writes;  // applied in order; a later write of the same key wins
};

enum class Compare : std::uint8_t { Eq, Ne, Lt, Le, Gt, Ge, Prefix };  // Prefix: text only
// Null never matches, except Eq against null. Numbers compare exactly with numbers of either type;
// any other mix of types is InvalidArgument.
struct Condition {
  std::uint16_t column = 0;
  Compare op = Compare::Eq;
  Value value;
};
struct OrderBy {
  std::uint16_t column = 0;
  bool descending = false;
};
// All conditions must hold. Rows come in the given order, then by primary key ascending (which
// makes the order total). `after` is keyset paging: it holds the values of the order columns and
// the primary key of the last row seen, in that order, and the scan continues behind that row.
// Nulls sort before every value; Int and Real compare as numbers, text and blobs by bytes.
struct Scan {
  std::uint16_t table = 0;
  std::vector<Condition> conditions;
  std::vector<OrderBy> order;
  std::optional<Row> after;
  std::uint32_t limit = 1000;
};

// commit() is called by one thread at a time; get(), scan() and count() by any thread, and they see
// every commit that returned before they were called.
class Storage {
 public:
  virtual ~Storage() = default;

  // Creates or migrates the schema. Called before anything else; calling it again (a restart on the
  // same object) checks or migrates again.
  virtual Status open(const Schema& schema) = 0;

  virtual Result<std::optional<Record>> get(std::uint16_t table, const Value& key) = 0;
  virtual Result<std::vector<Record>> scan(const Scan& scan) = 0;
  virtual Result<std::uint64_t> count(std::uint16_t table,
                                      const std::vector<Condition>& conditions) = 0;

  // Applies all writes or none. Conflict when an expectation does not hold, AlreadyExists when the
  // rows as they are after the whole batch would violate a unique index (nulls never collide; two
  // rows may swap their values), InvalidArgument when a row does not fit its table (wrong number
  // of columns, wrong type, null in a column that is not nullable), Unavailable when the backend
  // refused and nothing was applied (disk full, connection refused), InDoubt when it died between
  // sending and hearing back. Durable on return, except for backends that document otherwise.
  virtual Status commit(const WriteBatch& batch) = 0;

  virtual std::string_view backend_name() const noexcept = 0;
};

// Rows in memory; durable as long as the object lives. The reference for all other backends.
std::unique_ptr<Storage> make_memory_storage();

// Passes calls through to `inner`, failing when told to. For tests of whoever uses a Storage.
// The controls are thread-safe.
class FaultyStorage : public Storage {
 public:
  enum class Fault : std::uint8_t {
    None,
    Refuse,      // Unavailable, nothing applied
    LoseAnswer,  // applied, then InDoubt
    LoseCommit,  // not applied, then InDoubt
  };
  // After `skip` commits that pass, `count` commits fail. Replaces what was set before.
  virtual void fail_next_commits(Fault fault, std::uint32_t count, std::uint32_t skip = 0) = 0;
  virtual void fail_reads(bool on) = 0;
  virtual std::uint64_t commits() const = 0;  // commit() calls so far
};
std::unique_ptr<FaultyStorage> make_faulty_storage(std::shared_ptr<Storage> inner);

}  // namespace bai

// Loading touches what lives and what ended lately, not the archive.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "bai_manager/storage_sqlite.hpp"
#include "conformance/temp_folder.hpp"
#include "forwarding_storage.hpp"
#include "repo/repo.hpp"
#include "repo/rows.hpp"
#include "storage/predicate.hpp"
#include "storage/sqlite/connection.hpp"
#include "storage/sqlite/sql_text.hpp"

using namespace bai;
using conformance::TempFolder;

namespace {

// Passes everything on and remembers what was asked for.
class Listening final : public test::ForwardingStorage {
 public:
  using ForwardingStorage::ForwardingStorage;
  Result<std::vector<Record>> scan(const Scan& scan) override {
    scans.push_back(scan);
    auto rows = ForwardingStorage::scan(scan);
    if (rows) read += rows->size();
    return rows;
  }

  std::vector<Scan> scans;
  std::size_t read = 0;
};

template <class E>
Put put(const E& row) {
  Row stored;
  for (const FieldInfo* field : repo::columns_of(entity_info<E>())) {
    stored.push_back(field->get(&row));
  }
  return {repo::table_of(EntityTraits<E>::kind), std::move(stored)};
}

SessionId session_id(std::int64_t number) {
  SessionId id;
  for (std::size_t i = 0; i < 8; ++i) {
    id.bytes[15 - i] = static_cast<std::uint8_t>(number >> (8 * i));
  }
  return id;
}

void add_session(WriteBatch& batch, std::int64_t number, SessionStatus status, Timestamp ended) {
  Session session;
  session.id = session_id(number);
  session.name = fmt::format("session-{}", number);
  session.status = status;
  session.terminated_at = ended;
  Kernel kernel;
  kernel.id = KernelId{session.id.bytes};
  kernel.session = session.id;
  kernel.status = is_terminal(status) ? KernelStatus::Terminated : KernelStatus::Running;
  if (status == SessionStatus::Pending) kernel.status = KernelStatus::Pending;
  kernel.terminated_at = ended;
  batch.writes.emplace_back(put(session));
  batch.writes.emplace_back(put(kernel));
}

History row_of(const SessionId& session, std::int64_t number, std::string_view to,
               std::string code) {
  History row;
  row.id = HistoryId{session_id(1'000'000 + number).bytes};
  row.subject = to_string(session);
  row.phase = "schedule-sessions";
  row.from_status = "PENDING";
  row.to_status = to;
  row.error_code = std::move(code);
  row.message = "because";
  return row;
}

}  // namespace

TEST_CASE("loading reads the live and the lately ended, by indexes, whatever the archive holds") {
  const TempFolder folder;
  const std::string path = folder.file("archive.sqlite");
  auto opened = open_sqlite_storage({.path = path, .synchronous_full = false});
  REQUIRE(opened.has_value());
  Listening storage(std::move(*opened));
  REQUIRE(storage.open(repo::make_schema()).has_value());
  constexpr std::int64_t kArchived = 5000;
  WriteBatch batch;
  for (std::int64_t i = 0; i < kArchived; ++i) {
    add_session(batch, i, i % 2 == 0 ? SessionStatus::Terminated : SessionStatus::Cancelled,
                Timestamp{1 + i});
  }
  add_session(batch, kArchived, SessionStatus::Running, {});
  add_session(batch, kArchived + 1, SessionStatus::Pending, {});
  add_session(batch, kArchived + 2, SessionStatus::Terminated, Timestamp{1'000'000});
  REQUIRE(storage.commit(batch).has_value());

  State state;
  REQUIRE(repo::load(storage, state, Timestamp{kArchived + 100}).has_value());
  CHECK(state.table<Session>().size() == 3);
  CHECK(state.table<Kernel>().size() == 3);
  CHECK(storage.read == 6);

  // What SQLite makes of these questions: nothing is walked or sorted.
  const Schema schema = repo::make_schema();
  auto db = storage::Connection::open({.path = path});
  REQUIRE(db.has_value());
  std::size_t looked_at = 0;
  for (const Scan& scan : storage.scans) {
    const TableSpec& table = schema.tables[scan.table];
    if (table.name != "sessions" && table.name != "kernels" &&
        table.name != "session_scheduling_history") {
      continue;
    }
    const auto predicates = storage::make_predicates(table, scan.conditions);
    REQUIRE(predicates.has_value());
    const auto text = storage::scan_sql(table, scan, *predicates);
    auto plan = (*db)->prepare("EXPLAIN QUERY PLAN " + text.sql);
    REQUIRE(plan.has_value());
    for (std::size_t i = 0; i < text.values.size(); ++i) {
      plan->bind(static_cast<int>(i) + 1, text.values[i]);
    }
    while (plan->step().value_or(false)) {
      const std::string step = plan->read_text(3);
      CAPTURE(text.sql);
      CHECK_MESSAGE(step.starts_with("SEARCH"), step);
      ++looked_at;
    }
  }
  CHECK(looked_at > 10);
}

TEST_CASE("many lately ended sessions are read page by page, each once") {
  auto storage = make_memory_storage();
  REQUIRE(storage->open(repo::make_schema()).has_value());
  WriteBatch batch;
  for (std::int64_t i = 0; i < 4500; ++i) {  // many of one instant
    add_session(batch, i, SessionStatus::Terminated, Timestamp{1000 + i / 3000});
  }
  REQUIRE(storage->commit(batch).has_value());
  State state;
  REQUIRE(repo::load(*storage, state, Timestamp{1000}).has_value());
  CHECK(state.table<Session>().size() == 4500);
  CHECK(state.table<Kernel>().size() == 4500);
}

TEST_CASE("why a session waits is recalled from its last row of history") {
  auto storage = make_memory_storage();
  REQUIRE(storage->open(repo::make_schema()).has_value());
  WriteBatch batch;
  for (std::int64_t i = 0; i < 3; ++i) add_session(batch, i, SessionStatus::Pending, {});
  batch.writes.emplace_back(put(row_of(session_id(0), 1, "PENDING", "capacity")));
  batch.writes.emplace_back(put(row_of(session_id(0), 2, "PENDING", "quota")));
  batch.writes.emplace_back(put(row_of(session_id(1), 3, "PENDING", "quota")));
  batch.writes.emplace_back(put(row_of(session_id(1), 4, "SCHEDULED", "")));
  REQUIRE(storage->commit(batch).has_value());
  State state;
  REQUIRE(repo::load(*storage, state).has_value());
  const auto& reason = state.find<Session>(session_id(0))->pending_reason;
  REQUIRE(reason != nullptr);
  CHECK(reason->code == "quota");
  CHECK(reason->message == "because");
  CHECK(state.find<Session>(session_id(1))->pending_reason == nullptr);
  CHECK(state.find<Session>(session_id(2))->pending_reason == nullptr);
}

// The stored schema: a change of it needs a new version, and older databases are taken over.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <fstream>
#include <sstream>

#include "bai_manager/storage_sqlite.hpp"
#include "conformance/temp_folder.hpp"
#include "repo/repo.hpp"
#include "storage/sqlite/connection.hpp"

using namespace bai;
using conformance::TempFolder;

namespace {

std::string text_of(const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  if (const auto* text = std::get_if<std::string>(&value)) return "'" + *text + "'";
  return "null";
}

std::string text_of(const Schema& schema) {
  std::string out;
  for (const TableSpec& table : schema.tables) {
    out += table.name + "\n";
    for (const ColumnSpec& column : table.columns) {
      out += fmt::format("  {} {}{} {}\n", column.name, static_cast<int>(column.type),
                         column.nullable ? "?" : "", text_of(column.fallback));
    }
    for (const IndexSpec& index : table.indexes) {
      out += fmt::format("  {} {}", index.unique ? "unique" : "index", index.name);
      for (const std::uint16_t column : index.columns) out += " " + table.columns[column].name;
      out += "\n";
    }
  }
  return out;
}

std::uint64_t digest_of(const std::string& text) {  // FNV-1a
  std::uint64_t digest = 14695981039346656037ULL;
  for (const char c : text) digest = (digest ^ static_cast<std::uint8_t>(c)) * 1099511628211ULL;
  return digest;
}

// A database as the server of that time wrote it, with an agent and two sessions: its dump.
std::unique_ptr<Storage> open_old(const TempFolder& folder, const std::string& name) {
  const std::string path = folder.file(name + ".sqlite");
  std::ifstream file(std::string(BAI_SOURCE_DIR "/tests/unit/repo/data/") + name + ".sql");
  REQUIRE(file.good());
  std::stringstream commands;
  commands << file.rdbuf();
  {
    auto db = storage::Connection::open({.path = path, .writer = true});
    REQUIRE(db.has_value());
    const Status made = (*db)->exec(commands.str());
    REQUIRE_MESSAGE(made.has_value(), made.error().message);
  }
  auto opened = open_sqlite_storage({.path = path});
  REQUIRE(opened.has_value());
  return std::move(*opened);
}

}  // namespace

// Whoever changes what is stored has databases of the last version out there: raise kSchemaVersion
// in src/repo/repo.cpp, then put the new numbers here.
TEST_CASE("a schema that changed has a new version") {
  constexpr std::uint32_t kVersion = 3;
  constexpr std::uint64_t kDigest = 10928985791223941998ULL;
  const Schema schema = repo::make_schema();
  const std::string text = text_of(schema);
  CAPTURE(text);
  CHECK(schema.version == kVersion);
  CHECK(digest_of(text) == kDigest);
}

TEST_CASE("databases of older versions are taken over with their rows") {
  const TempFolder folder;
  for (const std::string name : {"v1", "v2", "v2-with-cohorts"}) {
    CAPTURE(name);
    auto storage = open_old(folder, name);
    const Status opened = storage->open(repo::make_schema());
    REQUIRE_MESSAGE(opened.has_value(), opened.error().message);
    const auto version = repo::stored_version(*storage);
    REQUIRE(version.has_value());
    CHECK(version->version.value > 0);

    State state;
    const Status loaded = repo::load(*storage, state);
    REQUIRE_MESSAGE(loaded.has_value(), loaded.error().message);
    const Project* project = nullptr;
    state.table<Project>().for_each([&](const Project& row) {
      project = &row;
      return true;
    });
    REQUIRE(project != nullptr);
    CHECK(project->name == "default");
    CHECK(project->cohort.empty());
    CHECK(project->borrowing_limit.empty());
    CHECK(state.find<Keypair>(AccessKey("AKIANABBDUSEREXAMPLE")) != nullptr);
    const Agent* agent = state.find<Agent>(AgentId("sim-00000"));
    REQUIRE(agent != nullptr);
    CHECK(agent->available_slots.get("cpu") == Amount{8000});
    CHECK(agent->labels.size() == 0);
    CHECK(state.table<Session>().size() == 2);
    CHECK(state.table<Kernel>().size() == 2);
    std::size_t running = 0, ended = 0;
    state.table<Session>().for_each([&](const Session& session) {
      running += session.status == SessionStatus::Running;
      ended += session.status == SessionStatus::Terminated;
      const auto history = repo::load_history(*storage, session.id);
      CHECK(history.has_value());
      CHECK(history->size() >= 2);
      CHECK(state.kernels_of(session.id).size() == 1);
      return true;
    });
    CHECK(running == 1);
    CHECK(ended == 1);
    CHECK(storage->open(repo::make_schema()).has_value());  // there is nothing left to do
  }
}

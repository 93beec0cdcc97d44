#include "storage/migration.hpp"

using namespace bai;
using storage::describe;
using storage::plan_migration;

namespace {

TableSpec users() {
  return {"users",
          {{"id", ColumnType::Text, false, {}}, {"name", ColumnType::Text, false, {}}},
          {{"by_name", {1}, true}}};
}

std::string plan(std::uint32_t version, const std::vector<TableSpec>& found, const Schema& wanted) {
  const auto steps = plan_migration(version, found, wanted);
  if (!steps) return std::string(to_string(steps.error().code)) + ": " + steps.error().message;
  std::string out;
  for (const auto& step : *steps) out += (out.empty() ? "" : ", ") + describe(step, wanted);
  return out;
}

}  // namespace

TEST_CASE("an empty backend gets every table and its indexes") {
  CHECK(plan(0, {}, {3, {users()}}) == "add table users, add index users.by_name");
}

TEST_CASE("only what is missing is added, indexes after their columns") {
  TableSpec grown = users();
  grown.columns.insert(grown.columns.begin() + 1, {"mail", ColumnType::Text, true, {}});
  grown.indexes = {{"by_mail", {1}, false}, {"by_name", {2}, true}};
  CHECK(plan(1, {users()}, {2, {grown}}) == "add column users.mail, add index users.by_mail");
  CHECK(plan(2, {grown}, {3, {users()}}) == "drop index users.by_mail");
  CHECK(plan(1, {users()}, {1, {users()}}).empty());
  CHECK(plan(1, {users()}, {2, {}}).empty());
}

TEST_CASE("an index that changed is made anew") {
  TableSpec changed = users();
  changed.indexes[0].unique = false;
  CHECK(plan(1, {users()}, {2, {changed}}) == "drop index users.by_name, add index users.by_name");
  changed.indexes[0] = {"by_name", {1, 0}, true};
  CHECK(plan(1, {users()}, {2, {changed}}) == "drop index users.by_name, add index users.by_name");
}

TEST_CASE("what cannot be migrated says why") {
  TableSpec changed = users();
  changed.columns[1].type = ColumnType::Blob;
  CHECK(plan(1, {users()}, {2, {changed}}) ==
        "unsupported: users.name is stored as text, not blob; such a change needs a new column");
  CHECK(plan(4, {users()}, {3, {users()}}).find("version 4, this program knows 3") !=
        std::string::npos);
  CHECK(plan(3, {}, {3, {users()}}).find("add table users") != std::string::npos);
  CHECK(plan(3, {}, {3, {users()}}).starts_with("unsupported"));
}

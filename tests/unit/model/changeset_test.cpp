// Undo, merging and printing of recorded edits.
#include "model/changeset.hpp"

#include <doctest/doctest.h>

#include <map>
#include <set>

#include "random.hpp"

namespace bai::test {

namespace {

std::string key_of(const EntityInfo& info, const void* row) {
  return std::string(info.table) + "/" + info.fields[0].get_json(row, {}).dump();
}
std::string key_of(const Change& change) {
  return key_of(entity_info(change.entity),
                change.after ? change.after.get() : change.before.get());
}

Domain domain(const char* name) {
  Domain row;
  row.name = DomainName(name);
  return row;
}
Agent agent(const AgentId& id) {
  Agent row;
  row.id = id;
  return row;
}

// Every row of every table, as its JSON text.
using World = std::map<std::string, std::string>;
World world_of(const State& state) {
  World world;
  for (const EntityInfo* info : all_entities()) {
    state.any_table(info->kind).for_each_row([&](const RowPtr& row) {
      world[key_of(*info, row.get())] = row_to_json(*info, row.get(), {}, true).dump();
      return true;
    });
  }
  return world;
}

// Edits rows of three entities, some of them again and again.
class Editor {
 public:
  Editor(Changeset& changes, std::uint64_t seed) : changes_(changes), dice_(seed) {}

  void edit() {
    const std::string number = std::to_string(dice_.below(25));
    switch (dice_.below(3)) {
      case 0:
        return edit_row<Domain>(DomainName("d" + number), &Domain::name);
      case 1:
        return edit_row<Agent>(AgentId("a" + number), &Agent::id);
      default:
        return edit_row<SlotDeclaration>("slot" + number, &SlotDeclaration::name);
    }
  }

 private:
  template <class E>
  void edit_row(const KeyOf<E>& key, KeyOf<E> E::* member) {
    const bool present = changes_.state().find<E>(key) != nullptr;
    if (!present) {
      E row = *std::static_pointer_cast<E>(random_row(dice_, entity_info<E>()));
      row.*member = key;
      changes_.insert(std::move(row));
    } else if (dice_.chance(35)) {
      changes_.erase<E>(key);
    } else {
      const E fresh = *std::static_pointer_cast<E>(random_row(dice_, entity_info<E>()));
      changes_.update<E>(key, [&](E& row) {
        row = fresh;
        row.*member = key;
      });
    }
  }

  Changeset& changes_;
  Dice dice_;
};

}  // namespace

TEST_CASE("rolling back gives exactly the state of the checkpoint") {
  State state;
  Changeset changes(state);
  Editor editor(changes, 3);
  Dice dice(4);
  struct Mark {
    std::size_t at;
    State then;
    World world;
  };
  std::vector<Mark> marks;
  for (int step = 0; step < 4000; ++step) {
    editor.edit();
    if (dice.chance(3)) marks.push_back({changes.checkpoint(), state.freeze(), world_of(state)});
    if (marks.empty() || !dice.chance(2)) continue;
    const std::size_t to = dice.below(marks.size());
    changes.rollback(marks[to].at);
    REQUIRE(changes.checkpoint() == marks[to].at);
    REQUIRE(first_difference(state, marks[to].then) == "");
    REQUIRE(world_of(state) == marks[to].world);
    std::size_t types = 0, expected = 0;
    for ([[maybe_unused]] const auto& type : state.slot_types()) ++types;
    for ([[maybe_unused]] const auto& type : marks[to].then.slot_types()) ++expected;
    REQUIRE(types == expected);
    marks.resize(to + 1);
  }
  changes.rollback(0);
  CHECK(world_of(state).empty());
  CHECK_FALSE(state.slot_types().knows("slot1"));
}

TEST_CASE("a rollback takes back what is appended to cold entities too") {
  State state;
  Changeset changes(state);
  changes.append(KernelLog{KernelId{}, "kept", Timestamp{1}});
  const auto at = changes.checkpoint();
  changes.append(KernelLog{KernelId{}, "dropped", Timestamp{2}});
  changes.insert(domain("d"));
  changes.rollback(at);
  REQUIRE(changes.changes().size() == 1);
  CHECK(changes.changes()[0].new_row<KernelLog>()->text == "kept");
  CHECK(state.table<KernelLog>().size() == 0);
  CHECK(state.find<Domain>(DomainName("d")) == nullptr);
}

TEST_CASE("merged changes lead from the first state to the last one, one change per row") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    State state;
    Changeset changes(state);
    Editor editor(changes, seed);
    Dice dice(seed);
    for (int i = 0; i < 30; ++i) editor.edit();
    changes.take();
    const World before = world_of(state);
    for (std::uint64_t i = dice.below(120); i > 0; --i) editor.edit();
    const World after = world_of(state);
    std::vector<std::string> first_touched;
    for (const Change& change : changes.changes()) {
      if (std::find(first_touched.begin(), first_touched.end(), key_of(change)) ==
          first_touched.end()) {
        first_touched.push_back(key_of(change));
      }
    }

    World replayed = before;
    std::set<std::string> seen;
    std::size_t position = 0;
    for (const Change& change : coalesce(changes.take())) {
      const std::string key = key_of(change);
      const EntityInfo& info = entity_info(change.entity);
      REQUIRE((change.before || change.after));
      REQUIRE_MESSAGE(seen.insert(key).second, key << " is changed twice, seed " << seed);
      if (change.before) {
        REQUIRE(before.contains(key));
        REQUIRE(row_to_json(info, change.before.get(), {}, true).dump() == before.at(key));
      } else {
        REQUIRE_FALSE(before.contains(key));
      }
      if (change.after) {
        replayed[key] = row_to_json(info, change.after.get(), {}, true).dump();
      } else {
        replayed.erase(key);
      }
      while (position < first_touched.size() && first_touched[position] != key) ++position;
      REQUIRE_MESSAGE(position < first_touched.size(), "not in order of the first edit: " << key);
    }
    REQUIRE(replayed == after);
  }
}

TEST_CASE("a row inserted and erased again leaves no change") {
  State state;
  Changeset changes(state);
  const DomainName name("d");
  changes.insert(domain("d"));
  changes.update<Domain>(name, [](Domain& d) { d.description = "x"; });
  changes.erase<Domain>(name);
  CHECK(coalesce(changes.take()).empty());
}

TEST_CASE("a merged change is volatile only when every one of its edits is") {
  State state;
  Changeset changes(state);
  const AgentId a("a"), b("b"), c("c");
  for (const AgentId& id : {a, b, c}) changes.insert(agent(id));
  changes.take();
  const auto beat = [](Agent& row) { row.last_seen.ns += 1; };
  changes.update_volatile<Agent>(a, beat);
  changes.update_volatile<Agent>(a, beat);
  changes.update_volatile<Agent>(b, beat);
  changes.update<Agent>(b, [](Agent& row) { row.addr = "x"; });
  changes.update_volatile<Agent>(b, beat);
  changes.update_volatile<Agent>(c, beat);
  changes.erase<Agent>(c);
  changes.insert(agent(c));
  const auto merged = coalesce(changes.take());
  REQUIRE(merged.size() == 3);
  CHECK(merged[0].is_volatile);
  CHECK(merged[0].new_row<Agent>()->last_seen.ns == 2);
  CHECK_FALSE(merged[1].is_volatile);
  CHECK(merged[1].new_row<Agent>()->last_seen.ns == 2);
  CHECK_FALSE(merged[2].is_volatile);
}

TEST_CASE("an evicted row is no change to store, but what was edited before is") {
  State state;
  Changeset changes(state);
  const AgentId a("a"), b("b");
  for (const AgentId& id : {a, b}) changes.insert(agent(id));
  changes.take();
  changes.update<Agent>(a, [](Agent& row) { row.addr = "x"; });
  changes.evict<Agent>(a);
  changes.evict<Agent>(b);
  CHECK(state.table<Agent>().size() == 0);
  CHECK(print(changes.changes(), {}).find("agent \"b\": evicted") != std::string::npos);
  const auto merged = coalesce({changes.changes().begin(), changes.changes().end()});
  REQUIRE(merged.size() == 3);
  CHECK_FALSE(merged[0].is_volatile);
  CHECK(merged[0].new_row<Agent>()->addr == "x");
  for (const std::size_t i : {1U, 2U}) {
    CHECK(merged[i].is_volatile);
    CHECK(merged[i].after == nullptr);
  }
  changes.rollback(0);
  CHECK(state.table<Agent>().size() == 2);
  CHECK(state.find<Agent>(a)->addr.empty());
}

TEST_CASE("every append to a cold entity stays a change of its own") {
  State state;
  Changeset changes(state);
  for (std::int64_t i = 0; i < 3; ++i) {
    History row;
    row.id.bytes[0] = static_cast<std::uint8_t>(i);
    changes.append(std::move(row));
  }
  CHECK(coalesce(changes.take()).size() == 3);
}

TEST_CASE("first_difference names what differs and leaves heartbeat times out") {
  State a, b;
  Changeset in_a(a), in_b(b);
  CHECK(first_difference(a, b) == "");
  for (Changeset* changes : {&in_a, &in_b}) {
    changes->insert(domain("d"));
    changes->insert(agent(AgentId("agent-1")));
  }
  CHECK(first_difference(a, b) == "");
  in_a.update_volatile<Agent>(AgentId("agent-1"), [](Agent& row) { row.last_seen.ns = 5; });
  CHECK(first_difference(a, b) == "");
  in_a.update_volatile<Agent>(AgentId("agent-1"), [](Agent& row) { row.kernel_count = 5; });
  CHECK(first_difference(a, b) == R"(agent: "agent-1": kernel_count 5 / 0)");
  in_a.update<Domain>(DomainName("d"), [](Domain& d) { d.description = "other"; });
  CHECK(first_difference(a, b).starts_with("domain:"));
  in_b.erase<Domain>(DomainName("d"));
  CHECK(first_difference(a, b).find("(none)") != std::string::npos);
}

TEST_CASE("changes are printed field by field, without secrets") {
  State state;
  Changeset changes(state);
  User user;
  user.id.bytes[15] = 1;
  user.email = "a@b.c";
  user.password_hash = "do-not-print";
  changes.insert(user);
  changes.update<User>(user.id, [](User& u) { u.full_name = "Full Name"; });
  changes.erase<User>(user.id);
  const std::string text = print(changes.changes(), state.slot_types());
  CHECK(text.find("user \"00000000-0000-0000-0000-000000000001\": inserted\n") !=
        std::string::npos);
  CHECK(text.find(R"(email "" -> "a@b.c")") != std::string::npos);
  CHECK(text.find(R"(full_name "" -> "Full Name")") != std::string::npos);
  CHECK(text.find(": erased\n") != std::string::npos);
  CHECK(text.find("do-not-print") == std::string::npos);
}

TEST_CASE("a state that is moved keeps its tables reachable by kind") {
  State first;
  Changeset changes(first);
  changes.insert(domain("d"));
  State second(std::move(first));
  CHECK(second.any_table(EntityKind::Domain).size() == 1);
  second.put_row(EntityKind::Domain, std::make_shared<const Domain>(domain("e")));
  CHECK(second.table<Domain>().size() == 2);
}

}  // namespace bai::test

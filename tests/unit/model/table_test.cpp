// Tables and their indexes against a plain list of rows; the order of encoded index values.
#include "model/table.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "model/state.hpp"
#include "random.hpp"

namespace bai::test {

namespace {

SessionId numbered(std::int64_t n) {
  SessionId id;
  id.bytes[14] = static_cast<std::uint8_t>(n / 256);
  id.bytes[15] = static_cast<std::uint8_t>(n % 256);
  return id;
}

// Few owners, names and statuses, so that every prefix has many rows.
Session random_session(Dice& dice, std::int64_t n) {
  static const std::vector<std::string> kNames = {
      "", "a", "aa", "ab", std::string("a\0", 2), std::string("a\0b", 3), "a\xff", "b"};
  Session session;
  session.id = numbered(n);
  session.access_key = AccessKey(kNames[dice.below(kNames.size())]);
  session.name = kNames[dice.below(kNames.size())];
  session.status = static_cast<SessionStatus>(dice.below(EnumText<SessionStatus>::names.size()));
  session.resource_group = ResourceGroupName(dice.chance(50) ? "g1" : "g2");
  session.session_group = kNames[dice.below(kNames.size())];
  return session;
}

using Rows = std::map<SessionId, Session>;

std::vector<SessionId> in_index(const Table<Session>& table, std::size_t index,
                                const std::string& prefix) {
  std::vector<SessionId> found;
  table.for_each_in(index, prefix, [&](const Session& session) {
    found.push_back(session.id);
    return true;
  });
  return found;
}

// The same by looking at every row: sorted by (name, id) or (resource group, id).
template <class Pick, class Order>
std::vector<SessionId> by_hand(const Rows& rows, Pick pick, Order order) {
  std::vector<const Session*> picked;
  for (const auto& [id, session] : rows) {
    if (pick(session)) picked.push_back(&session);
  }
  std::stable_sort(picked.begin(), picked.end(),
                   [&](const Session* a, const Session* b) { return order(*a) < order(*b); });
  std::vector<SessionId> found;
  for (const Session* session : picked) found.push_back(session->id);
  return found;
}

void compare(const Table<Session>& table, const Rows& rows, const Session& like) {
  const auto name = [](const Session& s) { return s.name; };
  const auto group = [](const Session& s) { return s.resource_group.str(); };
  const std::string owner = IndexPrefix{}.add(like.access_key.view()).str();
  const auto owned = by_hand(rows, [&](auto& s) { return s.access_key == like.access_key; }, name);
  CHECK(in_index(table, index::kSessionByOwnerName, owner) == owned);
  CHECK(table.count_in(index::kSessionByOwnerName, owner) == owned.size());

  const std::string both = IndexPrefix{}.add(like.access_key.view()).add(like.name).str();
  const auto named = by_hand(
      rows, [&](auto& s) { return s.access_key == like.access_key && s.name == like.name; }, name);
  CHECK(in_index(table, index::kSessionByOwnerName, both) == named);
  CHECK(table.count_in(index::kSessionByOwnerName, both) == named.size());

  const std::string status = IndexPrefix{}.add(to_string(like.status)).str();
  const auto at = by_hand(rows, [&](auto& s) { return s.status == like.status; }, group);
  CHECK(in_index(table, index::kSessionByStatus, status) == at);
  CHECK(table.count_in(index::kSessionByStatus, status) == at.size());

  // Sparse: who is in no group is not in the index.
  const std::string joined = IndexPrefix{}.add(like.session_group).str();
  const auto members = by_hand(
      rows,
      [&](auto& s) { return !s.session_group.empty() && s.session_group == like.session_group; },
      [](const Session& s) { return std::string(to_string(s.status)); });
  CHECK(in_index(table, index::kSessionByGroup, joined) == members);
  CHECK(table.count_in(index::kSessionByGroup, joined) == members.size());
}

}  // namespace

TEST_CASE("index look-ups and counts are those of a walk over all rows") {
  Dice dice(5);
  Table<Session> table;
  Rows rows;
  std::vector<std::pair<Table<Session>, Rows>> versions;
  for (int step = 0; step < 6000; ++step) {
    const std::int64_t n = dice.between(0, 400);
    if (dice.chance(35)) {
      table.erase(numbered(n));
      rows.erase(numbered(n));
    } else {
      Session session = random_session(dice, n);
      rows.insert_or_assign(session.id, session);
      table.put(std::make_shared<const Session>(std::move(session)));
    }
    REQUIRE(table.size() == rows.size());
    if (step % 100 == 0) compare(table, rows, random_session(dice, 0));
    if (step % 1000 == 500) versions.emplace_back(table.freeze(), rows);
    if (step == 4000) {  // back to the second version, indexes included
      table.restore(versions[1].first);
      rows = versions[1].second;
    }
  }
  for (const auto& [frozen, then] : versions) {
    CHECK(frozen.size() == then.size());
    for (int i = 0; i < 30; ++i) compare(frozen, then, random_session(dice, 0));
  }
}

TEST_CASE("a row put in place of another leaves no index entry of the old one") {
  Table<Session> table;
  Session session;
  session.id = numbered(1);
  session.access_key = AccessKey("key");
  session.name = "before";
  table.put(std::make_shared<const Session>(session));
  session.name = "after";
  table.put(std::make_shared<const Session>(session));
  const auto named = [&](const char* name) {
    return table.count_in(index::kSessionByOwnerName, IndexPrefix{}.add("key").add(name).str());
  };
  CHECK(named("before") == 0);
  CHECK(named("after") == 1);
  table.erase(session.id);
  CHECK(named("after") == 0);
  CHECK(table.share(session.id) == nullptr);
  table.erase(session.id);  // no error
}

TEST_CASE("a visit of an index stops where it is told to") {
  Table<Session> table;
  Dice dice(1);
  for (std::int64_t n = 0; n < 50; ++n) {
    Session session = random_session(dice, n);
    session.status = SessionStatus::Pending;
    table.put(std::make_shared<const Session>(std::move(session)));
  }
  int seen = 0;
  table.for_each_in(index::kSessionByStatus, IndexPrefix{}.add("PENDING").str(),
                    [&](const Session&) { return ++seen < 7; });
  CHECK(seen == 7);
}

TEST_CASE("encoded texts sort as the texts do, NULs and high bytes included") {
  std::vector<std::string> texts = {"",
                                    "a",
                                    "ab",
                                    "b",
                                    std::string("\0", 1),
                                    std::string("\0\0", 2),
                                    std::string("\0\x01", 2),
                                    std::string("a\0", 2),
                                    std::string("a\0\0", 3),
                                    std::string("a\0b", 3),
                                    std::string("a\0\xff", 3),
                                    "a\x01",
                                    "a\xff",
                                    "\xff",
                                    "\xff\xff",
                                    "\x01",
                                    "\xc3\xa9"};
  Dice dice(9);
  for (int i = 0; i < 300; ++i) texts.push_back(dice.text(4));
  for (const std::string& a : texts) {
    for (const std::string& b : texts) {
      const std::string left = IndexPrefix{}.add(a).str(), right = IndexPrefix{}.add(b).str();
      CHECK((left < right) == (a < b));
      CHECK((left == right) == (a == b));
      // No text is taken for the beginning of another one.
      CHECK(right.starts_with(left) == (a == b));
      // The next field decides only between equal first ones.
      const std::string left_two = IndexPrefix{}.add(a).add("z").str();
      const std::string right_two = IndexPrefix{}.add(b).add("a").str();
      CHECK((left_two < right_two) == (a < b));
    }
  }
}

TEST_CASE("encoded integers sort as the integers do, and null before everything") {
  const std::vector<std::int64_t> numbers = {std::numeric_limits<std::int64_t>::min(),
                                             -(1LL << 40),
                                             -256,
                                             -255,
                                             -1,
                                             0,
                                             1,
                                             127,
                                             128,
                                             255,
                                             256,
                                             1LL << 40,
                                             std::numeric_limits<std::int64_t>::max()};
  std::string null;
  append_index_value(null, Value{});
  for (const std::int64_t a : numbers) {
    for (const std::int64_t b : numbers) {
      CHECK((IndexPrefix{}.add(a).str() < IndexPrefix{}.add(b).str()) == (a < b));
    }
    CHECK(null < IndexPrefix{}.add(a).str());
    CHECK(IndexPrefix{}.add(a).str() < index_prefix_end(IndexPrefix{}.str()));
  }
  CHECK(null < IndexPrefix{}.add("").str());
}

}  // namespace bai::test

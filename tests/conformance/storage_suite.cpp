#include "conformance/storage_suite.hpp"

#include <limits>

namespace bai::conformance {

Schema suite_schema() {
  TableSpec notes{
      "notes",
      {{"id", ColumnType::Text, false, {}},
       {"owner", ColumnType::Text, true, {}},
       {"size", ColumnType::Int, true, {}},
       {"score", ColumnType::Real, true, {}},
       {"body", ColumnType::Blob, true, {}}},
      {{"by_owner", {note::kOwner, note::kSize}, false}, {"by_score", {note::kScore}, false}}};
  TableSpec accounts{"accounts",
                     {{"id", ColumnType::Int, false, {}},
                      {"email", ColumnType::Text, true, {}},
                      {"domain", ColumnType::Text, false, {}},
                      {"name", ColumnType::Text, false, {}}},
                     {{"by_email", {account::kEmail}, true},
                      {"by_name", {account::kDomain, account::kName}, true}}};
  return {1, {notes, accounts}};
}

Row note_row(std::string id, Value owner, Value size, Value score, Value body) {
  return {std::move(id), std::move(owner), std::move(size), std::move(score), std::move(body)};
}

Row account_row(std::int64_t id, Value email, std::string domain, std::string name) {
  return {id, std::move(email), std::move(domain), std::move(name)};
}

WriteBatch puts(std::uint16_t table, std::vector<Row> rows) {
  WriteBatch batch;
  for (Row& row : rows) batch.writes.emplace_back(Put{table, std::move(row)});
  return batch;
}

ErrorCode code_of(const Status& status) {
  REQUIRE(!status.has_value());
  CHECK(!status.error().message.empty());
  return status.error().code;
}

std::string keys_of(const Result<std::vector<Record>>& found) {
  REQUIRE(found.has_value());
  std::string out;
  for (const Record& record : *found) {
    if (!out.empty()) out += ' ';
    const Value& key = record.row.front();
    const auto* number = std::get_if<std::int64_t>(&key);
    out += number ? std::to_string(*number) : std::get<std::string>(key);
  }
  return out;
}

namespace {

template <class T>
ErrorCode code_of(const Result<T>& result) {
  REQUIRE(!result.has_value());
  return result.error().code;
}

Storage& opened(StorageFixture& fixture) {
  Storage& storage = fixture.storage();
  REQUIRE(storage.open(suite_schema()).has_value());
  return storage;
}

void put(Storage& storage, std::uint16_t table, std::vector<Row> rows) {
  const Status done = storage.commit(puts(table, std::move(rows)));
  INFO((done ? std::string() : done.error().message));
  REQUIRE(done.has_value());
}

Revision revision_of(Storage& storage, std::uint16_t table, const Value& key) {
  const auto record = storage.get(table, key);
  REQUIRE(record.has_value());
  return *record ? (*record)->revision : 0;
}

std::string scan_keys(Storage& storage, std::vector<Condition> conditions,
                      std::vector<OrderBy> order = {}) {
  return keys_of(storage.scan({kNotes, std::move(conditions), std::move(order), {}, 1000}));
}

// ---- rows ---------------------------------------------------------------------------------------

void values_come_back_as_they_went(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  const std::vector<Row> rows = {
      note_row("", text(""), num(0), 0.0, Bytes{}),
      note_row("all", text("\xED\x95\x9C\xEA\xB8\x80"), num(-7), -2.5, Bytes{0, 255, 10}),
      note_row("limits", text(std::string("nul\0in it", 9)),
               num(std::numeric_limits<std::int64_t>::min()),
               std::numeric_limits<double>::infinity(), Bytes(100'000, 7)),
      note_row("limits2", text("12"), num(std::numeric_limits<std::int64_t>::max()),
               std::numeric_limits<double>::denorm_min(), Bytes{'1'}),
      note_row("nothing"),
      note_row("it's \"quoted\"", text("a;--"), null(), 1e300),
  };
  put(storage, kNotes, rows);
  for (const Row& row : rows) {
    const auto record = storage.get(kNotes, row.front());
    REQUIRE(record.has_value());
    REQUIRE(record->has_value());
    CHECK((*record)->row == row);
    CHECK((*record)->revision == 1);
  }
  CHECK(storage.scan({kNotes, {}, {}, {}, 100})->size() == rows.size());
  const auto missing = storage.get(kNotes, text("other"));
  REQUIRE(missing.has_value());
  CHECK(!missing->has_value());
}

void keys_can_be_numbers(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  const std::int64_t low = std::numeric_limits<std::int64_t>::min();
  const std::int64_t high = std::numeric_limits<std::int64_t>::max();
  put(storage, kAccounts,
      {account_row(high, null(), "d", "a"), account_row(-1, null(), "d", "b"),
       account_row(low, null(), "d", "c"), account_row(0, null(), "d", "d")});
  const auto found = storage.scan({kAccounts, {}, {}, {}, 10});
  CHECK(keys_of(found) == std::to_string(low) + " -1 0 " + std::to_string(high));
  CHECK(revision_of(storage, kAccounts, num(low)) == 1);
}

void rows_must_fit_their_table(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  const std::vector<Row> wrong = {
      {},
      {text("few")},
      note_row("type", num(1)),
      note_row("type", null(), text("1")),
      note_row("type", null(), 1.0),
      note_row("type", null(), null(), num(1)),
      note_row("type", null(), null(), null(), text("blob")),
      note_row("nan", null(), null(), std::numeric_limits<double>::quiet_NaN()),
      {null(), null(), null(), null(), null()},
      {num(1), null(), null(), null(), null()},
      note_row("large", text(std::string((64U << 20) + 1, 'x'))),
  };
  for (const Row& row : wrong) {
    WriteBatch batch = puts(kNotes, {note_row("fine"), row});
    CHECK(code_of(storage.commit(batch)) == ErrorCode::InvalidArgument);
  }
  CHECK(code_of(storage.commit(puts(kAccounts, {{num(1), null(), null(), text("n")}}))) ==
        ErrorCode::InvalidArgument);
  CHECK(code_of(storage.commit(puts(2, {note_row("x")}))) == ErrorCode::InvalidArgument);
  CHECK(code_of(storage.commit({{}, {Erase{kNotes, num(1)}}})) == ErrorCode::InvalidArgument);
  CHECK(code_of(storage.commit({{}, {Erase{9, text("x")}}})) == ErrorCode::InvalidArgument);
  CHECK(code_of(storage.commit({{Expect{kNotes, null(), 0}}, {}})) == ErrorCode::InvalidArgument);
  CHECK(code_of(storage.get(kNotes, num(1))) == ErrorCode::InvalidArgument);
  CHECK(code_of(storage.get(7, num(1))) == ErrorCode::InvalidArgument);
  CHECK(storage.count(kNotes, {}) == 0);
}

void revisions_grow_by_one(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  for (Revision expected = 1; expected <= 3; ++expected) {
    put(storage, kNotes, {note_row("a", text("x"))});
    CHECK(revision_of(storage, kNotes, text("a")) == expected);
  }
  // Every put of a batch counts; the last one wins.
  put(storage, kNotes, {note_row("a", text("first")), note_row("a", text("last"))});
  const auto record = storage.get(kNotes, text("a"));
  CHECK((*record)->revision == 5);
  CHECK((*record)->row[note::kOwner] == text("last"));
  REQUIRE(storage.commit({{}, {Erase{kNotes, text("a")}, Put{kNotes, note_row("a")}}}).has_value());
  CHECK(revision_of(storage, kNotes, text("a")) == 1);
  REQUIRE(storage.commit({{}, {Put{kNotes, note_row("a")}, Erase{kNotes, text("a")}}}).has_value());
  CHECK(revision_of(storage, kNotes, text("a")) == 0);
  REQUIRE(storage.commit({{}, {Erase{kNotes, text("a")}}}).has_value());
  REQUIRE(storage.commit({}).has_value());
}

void expectations_guard_the_batch(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  put(storage, kNotes, {note_row("a"), note_row("b")});
  const auto guarded = [](Revision a, Revision missing) {
    return WriteBatch{{Expect{kNotes, text("a"), a}, Expect{kNotes, text("new"), missing}},
                      {Put{kNotes, note_row("a", text("changed"))}, Put{kNotes, note_row("new")},
                       Erase{kNotes, text("b")}}};
  };
  CHECK(code_of(storage.commit(guarded(2, 0))) == ErrorCode::Conflict);
  CHECK(code_of(storage.commit(guarded(0, 0))) == ErrorCode::Conflict);
  CHECK(code_of(storage.commit(guarded(1, 1))) == ErrorCode::Conflict);
  CHECK(scan_keys(storage, {}) == "a b");
  CHECK(revision_of(storage, kNotes, text("a")) == 1);
  CHECK(storage.commit(guarded(1, 0)).has_value());
  CHECK(scan_keys(storage, {}) == "a new");
  CHECK(code_of(storage.commit(guarded(1, 0))) == ErrorCode::Conflict);
  // Expectations alone are a commit too.
  CHECK(storage.commit({{Expect{kNotes, text("a"), 2}}, {}}).has_value());
  CHECK(code_of(storage.commit({{Expect{kNotes, text("a"), 3}}, {}})) == ErrorCode::Conflict);
}

// ---- unique indexes -----------------------------------------------------------------------------

void unique_indexes_refuse_the_whole_batch(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  put(storage, kAccounts, {account_row(1, text("a@x"), "d", "ann")});
  WriteBatch twice = puts(kAccounts, {account_row(2, text("b@x"), "d", "bob"),
                                      account_row(3, text("a@x"), "d", "cid")});
  CHECK(code_of(storage.commit(twice)) == ErrorCode::AlreadyExists);
  CHECK(storage.commit(twice).error().kind == "unique-violation");
  CHECK(code_of(storage.commit(puts(kAccounts, {account_row(2, null(), "d", "ann")}))) ==
        ErrorCode::AlreadyExists);
  CHECK(code_of(storage.commit(puts(kAccounts, {account_row(5, text("n@x"), "e", "1"),
                                                account_row(6, text("n@x"), "e", "2")}))) ==
        ErrorCode::AlreadyExists);
  CHECK(storage.count(kAccounts, {}) == 1);
  // Part of the value may be the same; a row does not collide with itself; nulls never do.
  put(storage, kAccounts,
      {account_row(2, null(), "e", "ann"), account_row(3, null(), "d", "bob"),
       account_row(1, text("a@x"), "d", "ann")});
  CHECK(storage.count(kAccounts, {}) == 3);
  CHECK(revision_of(storage, kAccounts, num(1)) == 2);
}

void unique_indexes_look_at_the_end_of_the_batch(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  put(storage, kAccounts,
      {account_row(1, text("a@x"), "d", "ann"), account_row(2, text("b@x"), "d", "bob")});
  put(storage, kAccounts,
      {account_row(1, text("b@x"), "d", "bob"), account_row(2, text("a@x"), "d", "ann")});
  CHECK((*storage.get(kAccounts, num(1)))->row == account_row(1, text("b@x"), "d", "bob"));
  CHECK(revision_of(storage, kAccounts, num(2)) == 2);
  // The name is taken over from a row that goes in the same batch, whatever the order.
  WriteBatch takeover;
  takeover.writes = {Put{kAccounts, account_row(3, text("a@x"), "d", "ann")},
                     Put{kAccounts, account_row(3, text("a@x"), "d", "ann")},
                     Erase{kAccounts, num(2)}, Erase{kAccounts, num(7)}};
  takeover.expects = {Expect{kAccounts, num(3), 0}};
  REQUIRE(storage.commit(takeover).has_value());
  CHECK(keys_of(storage.scan({kAccounts, {}, {}, {}, 10})) == "1 3");
  CHECK(revision_of(storage, kAccounts, num(3)) == 2);
  // What is only wrong in between is not wrong.
  put(storage, kAccounts,
      {account_row(4, text("a@x"), "d", "dan"), account_row(4, text("d@x"), "d", "dan")});
  CHECK((*storage.get(kAccounts, num(4)))->row[account::kEmail] == text("d@x"));
  // Neither did anything of a refused one stay.
  WriteBatch refused = takeover;
  refused.expects.clear();
  refused.writes.emplace_back(Put{kAccounts, account_row(9, text("d@x"), "d", "eve")});
  CHECK(code_of(storage.commit(refused)) == ErrorCode::AlreadyExists);
  CHECK(revision_of(storage, kAccounts, num(3)) == 2);
  CHECK(keys_of(storage.scan({kAccounts, {}, {}, {}, 10})) == "1 3 4");
}

// ---- reading ------------------------------------------------------------------------------------

void fill_notes(Storage& storage) {
  put(storage, kNotes,
      {note_row("a", text("ann"), num(10), 1.5), note_row("b", text("bob"), num(-3), -0.5),
       note_row("c", text("ann"), null(), 2.0), note_row("d", null(), num(10), null()),
       note_row("e", text("anna"), num(7), 1e10), note_row("f", text("Ann"), num(8), 10.0)});
}

void conditions_compare(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  fill_notes(storage);
  using enum Compare;
  CHECK(scan_keys(storage, {{note::kOwner, Eq, text("ann")}}) == "a c");
  CHECK(scan_keys(storage, {{note::kOwner, Ne, text("ann")}}) == "b e f");
  CHECK(scan_keys(storage, {{note::kOwner, Eq, null()}}) == "d");
  for (const Compare op : {Ne, Lt, Le, Gt, Ge, Prefix}) {
    CHECK(scan_keys(storage, {{note::kOwner, op, null()}}) == "");
  }
  CHECK(scan_keys(storage, {{note::kSize, Lt, num(8)}}) == "b e");
  CHECK(scan_keys(storage, {{note::kSize, Le, num(8)}}) == "b e f");
  CHECK(scan_keys(storage, {{note::kSize, Gt, num(8)}}) == "a d");
  CHECK(scan_keys(storage, {{note::kSize, Ge, num(8)}}) == "a d f");
  CHECK(scan_keys(storage, {{note::kSize, Ge, num(7)}, {note::kOwner, Prefix, text("an")}}) ==
        "a e");
  CHECK(scan_keys(storage, {{note::kId, Gt, text("b")}, {note::kId, Le, text("d")}}) == "c d");
  CHECK(scan_keys(storage, {{note::kOwner, Prefix, text("ann")}}) == "a c e");
  CHECK(scan_keys(storage, {{note::kOwner, Prefix, text("")}}) == "a b c e f");
  CHECK(storage.count(kNotes, {{note::kOwner, Prefix, text("ann")}}) == 3);
  CHECK(storage.count(kNotes, {}) == 6);
  CHECK(storage.count(kNotes, {{note::kSize, Eq, num(11)}}) == 0);
}

void numbers_compare_exactly(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  using enum Compare;
  constexpr std::int64_t kTwo53 = 9007199254740992;
  const std::int64_t high = std::numeric_limits<std::int64_t>::max();
  put(storage, kNotes,
      {note_row("a", null(), num(kTwo53), 9007199254740992.0),
       note_row("b", null(), num(kTwo53 + 1), 9007199254740994.0),
       note_row("c", null(), num(high), 9223372036854775808.0),
       note_row("d", null(), num(-high - 1), -9223372036854775808.0),
       note_row("e", null(), num(2), 2.5)});
  CHECK(scan_keys(storage, {{note::kSize, Eq, 9007199254740992.0}}) == "a");
  CHECK(scan_keys(storage, {{note::kSize, Gt, 9007199254740992.0}}) == "b c");
  CHECK(scan_keys(storage, {{note::kSize, Lt, 9223372036854775808.0}}) == "a b c d e");
  CHECK(scan_keys(storage, {{note::kSize, Ge, 9223372036854775808.0}}) == "");
  CHECK(scan_keys(storage, {{note::kSize, Le, -9223372036854775808.0}}) == "d");
  CHECK(scan_keys(storage, {{note::kSize, Gt, 1.5}, {note::kSize, Lt, 2.5}}) == "e");
  CHECK(scan_keys(storage, {{note::kSize, Eq, 2.5}}) == "");
  CHECK(scan_keys(storage, {{note::kSize, Ne, 2.5}}) == "a b c d e");
  CHECK(scan_keys(storage, {{note::kSize, Lt, -std::numeric_limits<double>::infinity()}}) == "");
  CHECK(scan_keys(storage, {{note::kSize, Gt, -std::numeric_limits<double>::infinity()}}) ==
        "a b c d e");
  // 2^53 + 1 lies between two neighbouring reals.
  CHECK(scan_keys(storage, {{note::kScore, Eq, num(kTwo53 + 1)}}) == "");
  CHECK(scan_keys(storage, {{note::kScore, Le, num(kTwo53 + 1)}}) == "a d e");
  CHECK(scan_keys(storage, {{note::kScore, Ge, num(kTwo53 + 1)}}) == "b c");
  CHECK(scan_keys(storage, {{note::kScore, Gt, num(high)}}) == "c");
  CHECK(scan_keys(storage, {{note::kScore, Eq, num(kTwo53)}}) == "a");
  CHECK(scan_keys(storage, {{note::kScore, Gt, num(2)}, {note::kScore, Lt, num(3)}}) == "e");
}

void prefixes_are_bytes(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  put(storage, kNotes,
      {note_row("1", text("\xED\x95\x9C")), note_row("2", text("\xED\x95\x9D")),
       note_row("3", text("a%b")), note_row("4", text("a_b")), note_row("5", text("aXb")),
       note_row("6", text("\xF4\x8F\xBF\xBF"
                          "end")),
       note_row("7", text("A%B"))});
  const auto with = [&](std::string prefix) {
    return scan_keys(storage, {{note::kOwner, Compare::Prefix, text(std::move(prefix))}});
  };
  CHECK(with("a%") == "3");
  CHECK(with("a_") == "4");
  CHECK(with("a") == "3 4 5");
  CHECK(with("\xED\x95") == "1 2");
  CHECK(with("\xED\x95\x9C") == "1");
  CHECK(with("\xF4\x8F\xBF\xBF") == "6");
  CHECK(with("\xFF") == "");
  CHECK(with("a%b!") == "");
}

void rows_come_in_order(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  fill_notes(storage);
  CHECK(scan_keys(storage, {}, {{note::kSize, false}}) == "c b e f a d");
  CHECK(scan_keys(storage, {}, {{note::kSize, true}}) == "a d f e b c");
  CHECK(scan_keys(storage, {}, {{note::kOwner, false}}) == "d f a c e b");
  CHECK(scan_keys(storage, {}, {{note::kOwner, true}, {note::kSize, true}}) == "b e a c f d");
  CHECK(scan_keys(storage, {}, {{note::kOwner, false}, {note::kSize, false}}) == "d f c a e b");
  CHECK(scan_keys(storage, {}, {{note::kScore, false}}) == "d b a c f e");
  CHECK(scan_keys(storage, {}, {{note::kId, true}}) == "f e d c b a");
  CHECK(scan_keys(storage, {}, {{note::kSize, false}, {note::kSize, true}}) == "c b e f a d");
  put(storage, kNotes,
      {note_row("g", null(), null(), null(), Bytes{1, 0}),
       note_row("h", null(), null(), null(), Bytes{}),
       note_row("i", null(), null(), null(), Bytes{200}),
       note_row("j", null(), null(), null(), Bytes{1})});
  CHECK(scan_keys(storage, {{note::kId, Compare::Ge, text("g")}}, {{note::kBody, false}}) ==
        "h j g i");
}

// Every page of every size, in every order, must together be the whole scan.
void pages_join_without_gap(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  fill_notes(storage);
  const std::vector<std::vector<OrderBy>> orders = {
      {},
      {{note::kSize, false}},
      {{note::kSize, true}},
      {{note::kOwner, true}, {note::kScore, false}},
      {{note::kOwner, false}, {note::kSize, true}},
      {{note::kScore, true}, {note::kOwner, true}, {note::kId, true}},
  };
  for (const auto& order : orders) {
    const std::string whole = scan_keys(storage, {}, order);
    for (std::uint32_t limit = 1; limit <= 7; ++limit) {
      Scan scan{kNotes, {}, order, {}, limit};
      std::string joined;
      for (int pages = 0; pages < 10; ++pages) {
        const auto page = storage.scan(scan);
        REQUIRE(page.has_value());
        if (page->empty()) break;
        CHECK(page->size() <= limit);
        joined += (joined.empty() ? "" : " ") + keys_of(page);
        scan.after = Row{};
        for (const OrderBy& by : order) scan.after->push_back(page->back().row[by.column]);
        scan.after->push_back(page->back().row.front());
      }
      CHECK(joined == whole);
    }
  }
  // The row behind which a page starts need not exist any more.
  CHECK(keys_of(storage.scan({kNotes, {}, {}, Row{text("bb")}, 2})) == "c d");
  CHECK(keys_of(storage.scan({kNotes, {}, {{note::kSize, false}}, Row{num(9), text("")}, 9})) ==
        "a d");
  CHECK(keys_of(storage.scan({kNotes, {}, {}, {}, 0})) == "");
}

void bad_scans_are_refused(StorageFixture& fixture) {
  Storage& storage = opened(fixture);
  using enum Compare;
  const std::vector<Condition> wrong = {
      {99, Eq, num(1)},
      {note::kOwner, Eq, num(1)},
      {note::kSize, Eq, text("1")},
      {note::kBody, Eq, text("1")},
      {note::kSize, Prefix, num(1)},
      {note::kSize, Prefix, null()},
      {note::kOwner, Prefix, num(1)},
      {note::kScore, Lt, std::numeric_limits<double>::quiet_NaN()},
      {note::kSize, Lt, std::numeric_limits<double>::quiet_NaN()},
  };
  for (const Condition& condition : wrong) {
    CHECK(code_of(storage.scan({kNotes, {condition}, {}, {}, 1})) == ErrorCode::InvalidArgument);
    CHECK(code_of(storage.count(kNotes, {condition})) == ErrorCode::InvalidArgument);
  }
  const auto refused = [&](const Scan& scan) {
    return code_of(storage.scan(scan)) == ErrorCode::InvalidArgument;
  };
  CHECK(refused({5, {}, {}, {}, 1}));
  CHECK(code_of(storage.count(5, {})) == ErrorCode::InvalidArgument);
  CHECK(refused({kNotes, {}, {{99, false}}, {}, 1}));
  CHECK(refused({kNotes, {}, {}, Row{}, 1}));
  CHECK(refused({kNotes, {}, {}, Row{num(1)}, 1}));
  CHECK(refused({kNotes, {}, {}, Row{null()}, 1}));
  CHECK(refused({kNotes, {}, {{note::kSize, false}}, Row{text("a")}, 1}));
  CHECK(refused({kNotes, {}, {{note::kSize, false}}, Row{text("a"), text("a")}, 1}));
  CHECK(refused({kNotes, {}, std::vector<OrderBy>(17), {}, 1}));
  CHECK(refused({kNotes, std::vector<Condition>(257, {note::kSize, Gt, num(0)}), {}, {}, 1}));
  CHECK(storage
            .scan({kNotes,
                   std::vector<Condition>(256, {note::kSize, Gt, num(0)}),
                   std::vector<OrderBy>(16, {note::kScore, true}),
                   {},
                   1})
            .has_value());
}

// ---- restart and schema -------------------------------------------------------------------------

void rows_survive_a_restart(StorageFixture& fixture) {
  put(opened(fixture), kNotes, {note_row("a", text("x"))});
  put(fixture.storage(), kNotes, {note_row("a", text("y")), note_row("b")});
  fixture.restart();
  Storage& storage = opened(fixture);
  CHECK(scan_keys(storage, {}) == "a b");
  CHECK(revision_of(storage, kNotes, text("a")) == 2);
  CHECK(code_of(storage.commit({{Expect{kNotes, text("a"), 1}}, {}})) == ErrorCode::Conflict);
  put(storage, kNotes, {note_row("a")});
  CHECK(revision_of(storage, kNotes, text("a")) == 3);
}

Schema grown_schema() {
  Schema schema = suite_schema();
  schema.version = 5;
  TableSpec& notes = schema.tables[kNotes];
  // In the middle, so that rows must be matched by name and not by position.
  notes.columns.insert(notes.columns.begin() + 1, {"pinned", ColumnType::Int, false, num(1)});
  notes.columns.push_back({"label", ColumnType::Text, true, text("it's new")});
  notes.columns.push_back({"weight", ColumnType::Real, false, {}});
  notes.columns.push_back({"hash", ColumnType::Blob, false, Bytes{1, 2}});
  notes.columns.push_back({"remark", ColumnType::Text, true, {}});
  notes.indexes = {{"by_owner", {2}, false}, {"by_label", {6}, false}};
  schema.tables.insert(schema.tables.begin(),
                       {"tags", {{"name", ColumnType::Text, false, {}}}, {}});
  schema.tables[2].indexes.erase(schema.tables[2].indexes.begin());  // emails may repeat now
  return schema;
}

void older_schemas_grow(StorageFixture& fixture) {
  put(opened(fixture), kNotes, {note_row("a", text("x"), num(3)), note_row("b")});
  put(fixture.storage(), kAccounts, {account_row(1, text("e"), "d", "n")});
  fixture.restart();
  Storage& storage = fixture.storage();
  REQUIRE(storage.open(grown_schema()).has_value());
  const auto record = storage.get(1, text("a"));
  REQUIRE(record.has_value());
  REQUIRE(record->has_value());
  CHECK((*record)->row == Row{text("a"), num(1), text("x"), num(3), null(), null(),
                              text("it's new"), 0.0, Bytes{1, 2}, null()});
  CHECK((*record)->revision == 1);
  put(storage, 0, {{text("tag")}});
  put(storage, 2, {account_row(2, text("e"), "d", "m")});
  CHECK(code_of(storage.commit(puts(2, {account_row(3, text("f"), "d", "m")}))) ==
        ErrorCode::AlreadyExists);
  CHECK(storage.count(1, {{6, Compare::Eq, text("it's new")}}) == 2);
  fixture.restart();
  REQUIRE(fixture.storage().open(grown_schema()).has_value());
  CHECK(fixture.storage().count(2, {}) == 2);
}

void other_schemas_are_refused(StorageFixture& fixture) {
  put(opened(fixture), kNotes, {note_row("a", text("same")), note_row("b", text("same"))});
  const auto refused = [&](const Schema& schema) {
    fixture.restart();
    return code_of(fixture.storage().open(schema));
  };
  Schema grown = grown_schema();
  grown.version = 1;
  CHECK(refused(grown) == ErrorCode::Unsupported);
  Schema changed = suite_schema();
  changed.version = 2;
  changed.tables[kNotes].columns[note::kSize].type = ColumnType::Text;
  CHECK(refused(changed) == ErrorCode::Unsupported);
  changed = suite_schema();
  changed.version = 2;
  changed.tables[kNotes].columns[note::kSize].nullable = false;
  CHECK(refused(changed) == ErrorCode::Unsupported);
  changed = suite_schema();
  changed.version = 2;
  std::swap(changed.tables[kAccounts].columns[0], changed.tables[kAccounts].columns[2]);
  changed.tables[kAccounts].columns[0].type = ColumnType::Text;
  CHECK(refused(changed) == ErrorCode::Unsupported);
  // A unique index that the rows do not obey: nothing of the migration stays.
  changed = suite_schema();
  changed.version = 2;
  changed.tables.push_back({"extra", {{"id", ColumnType::Int, false, {}}}, {}});
  changed.tables[kNotes].indexes.push_back({"one_owner", {note::kOwner}, true});
  CHECK(refused(changed) == ErrorCode::AlreadyExists);
  fixture.restart();
  Storage& storage = opened(fixture);
  CHECK(storage.count(kNotes, {}) == 2);
  Schema newer = suite_schema();
  newer.version = 2;
  CHECK(storage.open(newer).has_value());
  CHECK(refused(suite_schema()) == ErrorCode::Unsupported);
}

void malformed_schemas_are_refused(StorageFixture& fixture) {
  const auto refused = [&](auto change) {
    Schema schema = suite_schema();
    change(schema);
    return code_of(fixture.storage().open(schema)) == ErrorCode::InvalidArgument;
  };
  CHECK(refused([](Schema& s) { s.version = 0; }));
  CHECK(refused([](Schema& s) { s.tables[0].name = "no\"tes"; }));
  CHECK(refused([](Schema& s) { s.tables[0].name = "_schema"; }));
  CHECK(refused([](Schema& s) { s.tables[0].name = "sqlite_x"; }));
  CHECK(refused([](Schema& s) { s.tables[0].name = "Accounts"; }));
  CHECK(refused([](Schema& s) { s.tables[0].columns[1].name = "ID"; }));
  CHECK(refused([](Schema& s) { s.tables[0].columns[1].name = "_revision"; }));
  CHECK(refused([](Schema& s) { s.tables[0].columns[1].name = ""; }));
  CHECK(refused([](Schema& s) { s.tables[0].columns[0].nullable = true; }));
  CHECK(refused([](Schema& s) { s.tables[0].columns[0].type = ColumnType::Real; }));
  CHECK(refused([](Schema& s) { s.tables[0].columns.clear(); }));
  CHECK(refused([](Schema& s) { s.tables[0].columns[2].fallback = text("1"); }));
  CHECK(refused([](Schema& s) { s.tables[0].columns[1].fallback = text(std::string(1, '\0')); }));
  CHECK(refused([](Schema& s) { s.tables[0].indexes[0].columns = {}; }));
  CHECK(refused([](Schema& s) { s.tables[0].indexes[0].columns = {1, 1}; }));
  CHECK(refused([](Schema& s) { s.tables[0].indexes[0].columns = {5}; }));
  CHECK(refused([](Schema& s) { s.tables[0].indexes[1].name = "BY_OWNER"; }));
  CHECK(refused([](Schema& s) {
    for (int i = 0; i < 500; ++i) {
      s.tables[0].columns.push_back({"c" + std::to_string(i), ColumnType::Int, true, {}});
    }
  }));
  CHECK(fixture.storage().open(suite_schema()).has_value());
}

void the_widest_table_works(StorageFixture& fixture) {
  Schema schema{1, {{"wide", {{"id", ColumnType::Int, false, {}}}, {}}}};
  Row row = {num(1)};
  for (int i = 1; i < 500; ++i) {
    schema.tables[0].columns.push_back({"c" + std::to_string(i), ColumnType::Int, true, {}});
    row.push_back(num(i));
  }
  Storage& storage = fixture.storage();
  REQUIRE(storage.open(schema).has_value());
  put(storage, 0, {row});
  put(storage, 0, {row});
  CHECK((*storage.get(0, num(1)))->row == row);
}

constexpr StorageCase kCases[] = {
    {"values come back as they went", values_come_back_as_they_went},
    {"keys can be numbers", keys_can_be_numbers},
    {"rows must fit their table", rows_must_fit_their_table},
    {"revisions grow by one", revisions_grow_by_one},
    {"expectations guard the batch", expectations_guard_the_batch},
    {"unique indexes refuse the whole batch", unique_indexes_refuse_the_whole_batch},
    {"unique indexes look at the end of the batch", unique_indexes_look_at_the_end_of_the_batch},
    {"conditions compare", conditions_compare},
    {"numbers compare exactly", numbers_compare_exactly},
    {"prefixes are bytes", prefixes_are_bytes},
    {"rows come in order", rows_come_in_order},
    {"pages join without gap", pages_join_without_gap},
    {"bad scans are refused", bad_scans_are_refused},
    {"rows survive a restart", rows_survive_a_restart},
    {"older schemas grow", older_schemas_grow},
    {"other schemas are refused", other_schemas_are_refused},
    {"malformed schemas are refused", malformed_schemas_are_refused},
    {"the widest table works", the_widest_table_works},
};

}  // namespace

std::span<const StorageCase> storage_cases() { return kCases; }

}  // namespace bai::conformance

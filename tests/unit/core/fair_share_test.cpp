// Usage records: what is written when kernels end.
#include "core/fair_share.hpp"

#include "harness.hpp"
#include "sched/fair_share.hpp"

namespace bai::test {

namespace {

constexpr Duration kHour = seconds(3600);

// Rows of the resource group "default", by kind.
const FairShare& row(const World& w, const Session& session, ScopeKind kind) {
  const std::string scope = kind == ScopeKind::Domain    ? session.domain.str()
                            : kind == ScopeKind::Project ? to_string(session.project)
                                                         : to_string(session.user);
  const FairShare* found = w.state().find<FairShare>("default/" + usage_key(kind, scope));
  REQUIRE(found != nullptr);
  return *found;
}

constexpr ScopeKind kKinds[] = {ScopeKind::Domain, ScopeKind::Project, ScopeKind::User};

}  // namespace

TEST_CASE("whoever asks for a session has a fair share of its resource group") {
  World w;
  w.add_agent("a1");
  const Session session = w.session(w.create(World::request("sess")));
  for (const ScopeKind kind : kKinds) {
    const FairShare& share = row(w, session, kind);
    CHECK(share.resource_group == session.resource_group);
    CHECK(share.scope_kind == kind);
    CHECK(share.buckets.size() == 0);
    CHECK_FALSE(share.weight_milli.has_value());
  }
  w.create(World::request("another"));
  CHECK(w.state().table<FairShare>().size() == 3);
}

TEST_CASE("a kernel's use is recorded when it ends, day by day") {
  World w;
  w.add_agent("a1");
  w.now = w.now + kHour * 22;  // of 2026-01-01
  const SessionId id = w.run(World::request("sess"), {"a1"});
  const Session session = w.session(id);
  const SlotMap held = w.kernel(id).occupied_slots;
  REQUIRE_FALSE(held.empty());
  CHECK(row(w, session, ScopeKind::User).buckets.size() == 0);  // it runs
  w.now = w.now + kHour * 3;
  w.terminate(id, true);
  for (const ScopeKind kind : kKinds) {
    const Json& buckets = row(w, session, kind).buckets;
    CHECK(buckets.size() == 2);
    CHECK(buckets["2026-01-01"]["cpu"] == Json(held.get("cpu").units * 2 * 3600));
    CHECK(buckets["2026-01-02"]["cpu"] == Json(held.get("cpu").units * 1 * 3600));
    CHECK(buckets["2026-01-01"]["mem"] == Json((held.get("mem").units >> 20) * 2 * 3600));
  }
  // More of the same day adds up; a second end of the same kernel does not.
  w.terminate(id, true);
  const SessionId second = w.run(World::request("second"), {"a1"});
  w.now = w.now + kHour;
  w.terminate(second, true);
  const Json& buckets = row(w, session, ScopeKind::User).buckets;
  CHECK(buckets["2026-01-02"]["cpu"] == Json(held.get("cpu").units * 2 * 3600));
  w.restart();
  CHECK(row(w, session, ScopeKind::User).buckets["2026-01-02"]["cpu"] ==
        Json(held.get("cpu").units * 2 * 3600));
}

TEST_CASE("a kernel that never ran has used nothing, nor has one whose clock went back") {
  World w;
  w.add_agent("a1");
  const SessionId creating = w.creating(World::request("creating"), {"a1"});
  const Session session = w.session(creating);
  w.now = w.now + kHour;
  w.terminate(creating, true);
  const SessionId back = w.run(World::request("back"), {"a1"});
  w.now = w.now - kHour;
  w.terminate(back, true);
  for (const ScopeKind kind : kKinds) CHECK(row(w, session, kind).buckets.size() == 0);
}

TEST_CASE("days beyond the lookback are dropped, as long as it is set to be") {
  for (const std::int64_t lookback : {28, 40}) {
    CAPTURE(lookback);
    World w;
    w.add_agent("a1");
    w.input([&](core::Context& ctx) {
      ctx.changes.update<ResourceGroup>(ResourceGroupName("default"), [&](ResourceGroup& group) {
        group.policy_options =
            Json::object({{"sequencer", Json::object({{"lookback_days", lookback}})}});
      });
    });
    const SessionId first = w.run(World::request("first"), {"a1"});
    const Session session = w.session(first);
    w.now = w.now + kHour;
    w.terminate(first, true);
    const auto run_at = [&](std::int64_t day) {
      w.now = Timestamp{day * sched::kDayNs};
      const SessionId id = w.run(World::request("on-day-" + std::to_string(day)), {"a1"});
      w.now = w.now + kHour;
      w.terminate(id, true);
    };
    const std::int64_t start = sched::day_of(w.now);
    run_at(start + lookback - 1);
    CHECK(row(w, session, ScopeKind::User).buckets.size() == 2);
    run_at(start + lookback);
    const Json& buckets = row(w, session, ScopeKind::User).buckets;
    CHECK(buckets.size() == 2);
    CHECK(buckets.find(sched::day_text(start)) == nullptr);
  }
}

TEST_CASE("a kernel that ran longer than the lookback counts for its days only") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(World::request("long"), {"a1"});
  const Session session = w.session(id);
  w.now = w.now + kHour * 24 * 100;
  w.terminate(id, true);
  CHECK(row(w, session, ScopeKind::User).buckets.size() == 27);  // the last day has just begun
}

}  // namespace bai::test

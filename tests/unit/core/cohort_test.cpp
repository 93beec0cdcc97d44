// A placement is checked against what the projects of a cohort have together.
#include "harness.hpp"

namespace bai::test {

namespace {

// The default project has 2 cpu, its cohort `own` more.
World lenders(const std::string& own, const std::string& borrowing_limit = "{}") {
  World w;
  w.add_agent("a1", "16");
  w.load(R"({"projects": [
    {"id": "00000000-0000-0000-0000-0000000000a1", "cohort": "c",
     "total_resource_slots": {"cpu": "2"}, "borrowing_limit": )" +
         borrowing_limit + R"(},
    {"id": "00000000-0000-0000-0000-0000000000a2", "name": "lender", "domain_name": "default",
     "cohort": "c", "total_resource_slots": {"cpu": ")" +
         own + R"("}}]})");
  return w;
}

bool is_placed(World& w, std::int64_t cpu, bool is_preemptible = true) {
  static int number = 0;
  CreateSession request = World::request("sess-" + std::to_string(++number));
  request.slots.set("cpu", Amount{cpu * 1000});
  request.is_preemptible = is_preemptible;
  return w.place(w.create(request), {"a1"}).placed == 1;
}

}  // namespace

TEST_CASE("a placement may borrow what the cohort has left") {
  World w = lenders("3");
  CHECK_FALSE(is_placed(w, 6));
  CHECK(is_placed(w, 5));
  CHECK_FALSE(is_placed(w, 1));
}

TEST_CASE("a placement that is not preemptible keeps to its project's own") {
  World w = lenders("3");
  CHECK_FALSE(is_placed(w, 3, false));
  CHECK(is_placed(w, 2, false));
  CHECK_FALSE(is_placed(w, 1, false));
  CHECK(is_placed(w, 1));
}

TEST_CASE("a placement keeps to the borrowing limit") {
  World w = lenders("8", R"({"cpu": "1"})");
  CHECK_FALSE(is_placed(w, 4));
  CHECK(is_placed(w, 3));
}

TEST_CASE("a placement that its cohort refuses says of which limit and by how much") {
  const auto refusal = [](World& w, std::int64_t cpu, bool is_preemptible) {
    CHECK_FALSE(is_placed(w, cpu, is_preemptible));
    std::shared_ptr<const PendingReason> reason;
    w.state().table<Session>().for_each([&](const Session& s) {
      if (s.status == SessionStatus::Pending && s.pending_reason) reason = s.pending_reason;
      return true;
    });
    REQUIRE(reason != nullptr);
    CHECK(reason->kind == "group_check-limit_forbidden");
    return reason;
  };
  World own = lenders("3"), more = lenders("8", R"({"cpu": "1"})"), all = lenders("3");
  const auto not_borrowed = refusal(own, 3, false), too_much = refusal(more, 4, true),
             exhausted = refusal(all, 6, true);
  CHECK(not_borrowed->code == "quota");
  CHECK(
      not_borrowed->message.starts_with("A limit is reached: project: cpu: used 0 + requested 3"));
  CHECK(not_borrowed->missing == SlotMap{{"cpu", Amount{1000}}});
  CHECK(too_much->message.starts_with("A limit is reached: project with what it may borrow: cpu:"));
  CHECK(too_much->missing == SlotMap{{"cpu", Amount{1000}}});
  CHECK(exhausted->code == "quota");
  CHECK(exhausted->message.starts_with("A limit is reached: cohort"));
}

}  // namespace bai::test

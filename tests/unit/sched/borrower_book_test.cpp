// Who has borrowed quota, followed from pass to pass.
#include "sched/borrower_book.hpp"

#include "sched/preemption.hpp"
#include "site.hpp"

namespace bai::test {

namespace {

// Project 2 holds more than its own of what project 1 wants back; project 3 holds what is its own.
struct Lending {
  static constexpr int kSessions = 200;  // of each

  Lending() {
    ResourceGroup row;
    row.name = ResourceGroupName("default");
    s.w.changes.insert(row);
    for (std::uint64_t project : {1U, 2U, 3U}) {
      Project p;
      p.id = numbered<ProjectId>(project);
      p.name = "p" + std::to_string(project);
      p.cohort = "c";
      p.total_resource_slots = slots({{"cpu", project == 3 ? "200" : "100"}});
      s.w.changes.insert(std::move(p));
    }
    for (int i = 0; i < kSessions; ++i) {
      s.w.agent("a" + std::to_string(1000 + i), {{"cpu", "2"}});
      first.push_back(run(2, i));
      run(3, i);
    }
    for (std::uint64_t project : {2U, 3U}) {
      s.w.usage(ScopeKind::Project, to_string(numbered<ProjectId>(project)), {{"cpu", "200"}});
    }
    wants = s.wants({"1"});
    feed();
  }

  SessionId run(std::uint64_t project, int number) {
    return s.running(kNow - 1000 + number, "a" + std::to_string(1000 + number % kSessions), "1",
                     [&](Session& row) { row.project = numbered<ProjectId>(project); });
  }
  void feed() { mirror.feed({++version}, coalesce(s.w.changes.take())); }
  sched::Group& group() { return mirror.group(mirror.groups().at(ResourceGroupName("default"))); }

  const sched::BorrowerBook::Sessions& sessions(sched::BorrowerBook& book) {
    book.follow(mirror, rules, {});
    return book.sessions(mirror, numbered<ProjectId>(2), *mirror.slots().find("cpu"));
  }

  // What it takes to find who gives back one core, in a pass that looks for nothing else.
  std::uint64_t steps_of_reclaim(const SessionId& victim) {
    sched::Ledger ledger(mirror);
    const sched::ViewSource source{mirror, group(), ledger, at_second(kNow), 7};
    sched::Preemption preemption(source, group(), ledger, rules);
    const PendingSession& session = mirror.waiting(*mirror.find_waiting(wants)).session;
    const CohortShare share = *SchedView(source).cohort(session);
    Timestamp due;
    CHECK(preemption.consider(session, {}, &share, false, due));
    const auto victims = preemption.cover_quota(session, share);
    REQUIRE(victims.has_value());
    REQUIRE(victims->size() == 1);
    CHECK(preemption.id(victims->front()) == victim);
    const auto choice =
        preemption.choose(mirror.request(session.request).requirements[0], {}, *victims);
    REQUIRE(choice.has_value());
    return preemption.take_steps();
  }

  Site s;
  sched::Mirror mirror;
  sched::PreemptionRules rules;
  std::uint64_t version = 0;
  std::vector<SessionId> first;
  SessionId wants;
};

}  // namespace

TEST_CASE("borrowers' sessions are looked at once, and then those that change") {
  Lending l;
  sched::BorrowerBook book;
  CHECK(l.sessions(book).size() == Lending::kSessions);
  CHECK(l.sessions(book).begin()->id == l.first[0]);
  CHECK(book.looked_at() == Lending::kSessions);
  l.s.w.changes.update<Session>(l.first[0],
                                [](Session& r) { r.status = SessionStatus::Terminating; });
  l.s.w.changes.update<Session>(l.first[2], [](Session& r) { r.starts_at = at_second(5); });
  l.run(3, 7);
  l.feed();
  CHECK(l.sessions(book).size() == Lending::kSessions - 1);
  CHECK(l.sessions(book).begin()->id == l.first[2]);
  CHECK(book.looked_at() == Lending::kSessions + 1);
  l.s.w.changes.update<Session>(l.first[2], [](Session& r) { r.project = numbered<ProjectId>(3); });
  l.feed();
  CHECK(l.sessions(book).size() == Lending::kSessions - 2);
  CHECK(book.size() == Lending::kSessions - 2);
  CHECK(book.looked_at() == Lending::kSessions + 1);
  l.rules.order = sched::PreemptionRules::Order::Newest;
  CHECK(l.sessions(book).begin()->id == l.first.back());
}

TEST_CASE("who gives back quota is found without a look at all who run") {
  Lending l;
  CHECK(l.steps_of_reclaim(l.first[0]) > Lending::kSessions);  // nobody was known
  for (int pass = 0; pass < 3; ++pass) {
    l.s.w.changes.update<Session>(l.first[static_cast<std::size_t>(pass)],
                                  [](Session& r) { r.is_preemptible = false; });
    l.feed();
    CHECK(l.steps_of_reclaim(l.first[static_cast<std::size_t>(pass) + 1]) < 60);
  }
}

}  // namespace bai::test

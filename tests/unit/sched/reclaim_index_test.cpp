// Who gives back quota, found without looking at everybody, against a walk over all who run.
#include "crowd.hpp"

using namespace bai;
using namespace bai::test;

namespace {

struct Counts {
  std::size_t covered = 0, several = 0, short_of = 0, roomed = 0, refused = 0, claims = 0;
};

// One pass: sessions whose projects take back what they have lent.
void compare_reclaims(Crowd& load, Counts& counts) {
  sched::Group& group = load.group();
  sched::Ledger ledger(load.mirror);
  const sched::ViewSource source{load.mirror, group, ledger, at_second(load.now), 7};
  const SchedView view(source);
  sched::PlainPreemption plain(source, group, ledger, load.rules, load.sessions());
  sched::Preemption quick(source, group, ledger, load.rules);
  for (int question = 0; question < 6; ++question) {
    CAPTURE(question);
    const auto at =
        load.mirror.find_waiting(load.waiting[load.draw.random() % load.waiting.size()]);
    const PendingSession& session = load.mirror.waiting(*at).session;
    const Request& request = load.mirror.request(session.request);
    const auto share = view.cohort(session);
    const bool by_priority = load.draw(0, 1) == 0;
    const sched::AgentFilter filter = filter_of(load, session);
    for (const Requirement& r : request.requirements) {
      group.agents.prepare_rule(r.labels, load.mirror.label_rule(r.labels));
    }
    Timestamp due, plain_due;
    bool any = false, plain_any = false;
    if (share) {
      any = quick.consider(session, filter, &*share, by_priority, due);
      plain_any = plain.consider_lender(session, *share, by_priority, plain_due);
    } else {
      any = quick.consider(session, filter, nullptr, true, due);
      plain_any = plain.consider(session, plain_due);
    }
    CHECK((plain_any || !any));
    const std::size_t before = ledger.checkpoint();
    quick.release_leaving();
    Rivals rivals{quick, plain, ledger, group};
    if (share) {
      auto victims = quick.cover_quota(session, *share);
      auto others = plain.cover_quota(session, *share);
      REQUIRE(victims.has_value() == others.has_value());
      if (!victims) {
        ++counts.short_of;
        ledger.rollback(before);
        continue;
      }
      REQUIRE(ids(quick, *victims) == ids(plain, *others));
      counts.covered += victims->empty() ? 0 : 1;
      counts.several += victims->size() > 1 ? 1 : 0;
      if (!victims->empty()) CHECK(any);
      for (const auto victim : *victims) quick.shift(victim, -1);
      rivals.claimed = std::move(*victims);
      rivals.plain_claimed = std::move(*others);
    }
    const bool all = rivals.make_room(request, filter);
    if (rivals.roomed > 0) CHECK(any);
    counts.roomed += rivals.roomed;
    counts.refused += all ? 0 : 1;
    ledger.rollback(before);
    if (!all || load.draw(0, 1) == 0) continue;
    ++counts.claims;
    rivals.claim();
  }
  CHECK(group.victims.is_sound());
}

}  // namespace

TEST_CASE("who gives back quota is who a walk over everybody finds") {
  Counts counts;
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    CAPTURE(seed);
    Crowd load(seed, 5);
    for (int step = 0; step < 30; ++step) {
      CAPTURE(step);
      load.step();
      compare_reclaims(load, counts);
    }
  }
  CHECK(counts.covered > 700);
  CHECK(counts.several > 300);
  CHECK(counts.short_of > 300);
  CHECK(counts.roomed > 1000);
  CHECK(counts.refused > 1000);
  CHECK(counts.claims > 400);
}

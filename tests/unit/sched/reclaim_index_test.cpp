// Who gives back quota, found without looking at everybody, against a walk over all who run.
#include "crowd.hpp"
#include "plain_preemption.hpp"

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
    std::vector<std::size_t> claimed, plain_claimed;
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
      claimed = std::move(*victims);
      plain_claimed = std::move(*others);
    }
    bool all = true;
    std::vector<std::pair<AgentIndex, const Requirement*>> took;
    for (const Requirement& requirement : request.requirements) {
      const auto choice = quick.choose(requirement, filter, claimed);
      const auto other = plain.choose(requirement, filter, plain_claimed);
      REQUIRE(choice.has_value() == other.has_value());
      if (!choice) {
        all = false;
        ++counts.refused;
        break;
      }
      CHECK(any);
      CHECK(choice->agent == other->agent);
      REQUIRE(ids(quick, choice->victims) == ids(plain, other->victims));
      ++counts.roomed;
      for (const auto victim : choice->victims) quick.shift(victim, -1);
      claimed.insert(claimed.end(), choice->victims.begin(), choice->victims.end());
      plain_claimed.insert(plain_claimed.end(), other->victims.begin(), other->victims.end());
      ledger.shift(group.agents, choice->agent, requirement, {}, 1);
      took.emplace_back(choice->agent, &requirement);
    }
    ledger.rollback(before);
    if (!all || load.draw(0, 1) == 0) continue;
    ++counts.claims;
    for (const auto& [agent, requirement] : took) {
      ledger.shift(group.agents, agent, *requirement, {}, 1);
    }
    quick.claim(claimed);
    plain.claim(plain_claimed);
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

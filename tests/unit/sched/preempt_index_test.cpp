// Where the least has to go, found without looking at everybody, against a walk over all who run.
#include "crowd.hpp"

using namespace bai;
using namespace bai::test;

namespace {

struct Counts {
  std::size_t chosen = 0, several = 0, refused = 0, due = 0, claims = 0;
  std::uint64_t questions = 0, builds = 0;
};

// One pass: sessions that ask one after the other, and some of them get what they ask for.
void compare_pass(Crowd& load, Counts& counts) {
  sched::Group& group = load.group();
  sched::Ledger ledger(load.mirror);
  const sched::ViewSource source{load.mirror, group, ledger, at_second(load.now), 7};
  sched::PlainPreemption plain(source, group, ledger, load.rules, load.sessions());
  sched::Preemption quick(source, group, ledger, load.rules);
  for (int question = 0; question < 6; ++question) {
    CAPTURE(question);
    const auto at =
        load.mirror.find_waiting(load.waiting[load.draw.random() % load.waiting.size()]);
    const PendingSession& session = load.mirror.waiting(*at).session;
    const Request& request = load.mirror.request(session.request);
    sched::AgentFilter filter = filter_of(load, session);
    std::vector<AgentIndex> within;
    for (AgentIndex a = 0; a < group.agents.size(); ++a) {
      if (load.draw(0, 1) == 0) within.push_back(a);
      if (load.draw(0, 9) == 0) filter.barred.push_back(a);
    }
    if (load.draw(0, 5) == 0) filter.within = &within;
    for (const Requirement& r : request.requirements) {
      group.agents.prepare_rule(r.labels, load.mirror.label_rule(r.labels));
    }
    Timestamp due, plain_due;
    const bool any = quick.consider(session, filter, nullptr, true, due);
    const bool plain_any = plain.consider(session, plain_due);
    CHECK((plain_any || !any));
    counts.questions += 1 + request.requirements.size();
    if (!filter.strict) CHECK(due == plain_due);
    counts.due += due == Timestamp{} ? 0 : 1;
    const std::size_t before = ledger.checkpoint();
    plain.release_leaving();
    const auto amounts = free_amounts(group.agents);
    ledger.rollback(before);
    quick.release_leaving();
    REQUIRE(amounts == free_amounts(group.agents));
    Rivals rivals{quick, plain, ledger, group};
    const bool all = rivals.make_room(request, filter);
    if (rivals.roomed > 0) CHECK(any);
    counts.chosen += rivals.roomed;
    counts.several += rivals.several;
    counts.refused += all ? 0 : 1;
    ledger.rollback(before);
    if (!all || load.draw(0, 1) == 0) continue;
    ++counts.claims;
    rivals.claim();
  }
  CHECK(group.victims.is_sound());
}

}  // namespace

TEST_CASE("victims found by the index are those that a walk over everybody finds") {
  Counts counts;
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    CAPTURE(seed);
    Crowd load(seed);
    for (int step = 0; step < 30; ++step) {
      CAPTURE(step);
      load.step();
      compare_pass(load, counts);
    }
    counts.builds += load.group().victims.builds();
  }
  CHECK(counts.chosen > 1000);
  CHECK(counts.several > 300);
  CHECK(counts.refused > 1000);
  CHECK(counts.due > 300);
  CHECK(counts.claims > 400);
  CHECK(counts.builds < counts.questions / 2);
}

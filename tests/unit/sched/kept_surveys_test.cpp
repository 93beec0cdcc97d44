// What stands against a requirement: what is kept from pass to pass against a look at every agent.
#include "sched/kept_surveys.hpp"

#include "growing.hpp"
#include "sched/explain.hpp"
#include "sched/ledger.hpp"

using namespace bai;
using namespace bai::test;

namespace {

bool operator==(const sched::Survey& a, const sched::Survey& b) {
  return a.agents == b.agents && a.compatible == b.compatible && a.large_enough == b.large_enough &&
         a.amounts_free == b.amounts_free && a.tallies == b.tallies && a.closest == b.closest &&
         a.closest_total == b.closest_total && a.closest_containers == b.closest_containers;
}

std::string text(const sched::Failure& failure) {
  std::string text = failure.code + "|" + failure.coarse + "|" + failure.hopeless;
  for (const auto& [name, count] : failure.rejected) text += "|" + name + std::to_string(count);
  return text;
}

// A pass that takes and gives back amounts between its questions.
struct Asking {
  Asking(Growing& of, sched::KeptSurveys& by, sched::CoarseMemo& and_by)
      : load(of), kept(by), coarse(and_by), group(load.mirror.group(0)), ledger(load.mirror) {
    kept.begin_pass();
    coarse.begin_pass(group.agents);
  }

  const Request& request() {
    const auto& waiting = load.waiting;
    const auto at = load.mirror.find_waiting(waiting[load.draw.random() % waiting.size()]);
    const PendingSession& session = load.mirror.waiting(*at).session;
    const Request& request = load.mirror.request(session.request);
    for (const Requirement& one : request.requirements) {
      group.agents.prepare_rule(one.labels, load.mirror.label_rule(one.labels));
    }
    return request;
  }

  void take() {
    const auto agent = static_cast<AgentIndex>(load.draw.random() % group.agents.size());
    const auto pick = [](SlotIndex, std::int64_t units, std::span<const std::int64_t> free) {
      return sched::tightest_device(units, free);
    };
    ledger.take(group.agents, agent, request().requirements.back(), load.container_limit, pick);
  }

  void ask() {
    sched::AgentFilter filter;
    filter.container_limit = load.container_limit;
    if (load.draw(0, 9) == 0) filter.container_limit = 3;
    if (load.draw(0, 3) == 0) {
      for (AgentIndex a = 0; a < group.agents.size(); ++a) {
        if (load.draw(0, 2) == 0) filter.barred.push_back(a);
      }
    }
    std::vector<AgentIndex> within{0};
    if (load.draw(0, 9) == 0) filter.within = &within;
    const auto otherwise =
        load.draw(0, 1) == 0 ? sched::Rejection::Reserved : sched::Rejection::Selector;
    const sched::ViewSource source{load.mirror, group, ledger, at_second(load.now), 1};
    const Request& asked = request();
    const std::size_t which = asked.requirements.size() - 1;
    const Requirement& wanted = asked.requirements[which];
    const sched::Survey survey = kept.survey(source, wanted, filter, otherwise);
    REQUIRE(survey == sched::survey_agents(source, wanted, filter, otherwise));
    sched::CoarseMemo fresh;
    sched::KeptSurveys none(0);
    REQUIRE(text(explain_coarsely(source, asked, which, filter, coarse, kept)) ==
            text(explain_coarsely(source, asked, which, filter, fresh, none)));
    closest += survey.closest ? 1 : 0;
    too_small += survey.compatible > 0 && !survey.large_enough ? 1 : 0;
    classes += survey.tallies.size();
  }

  Growing& load;
  sched::KeptSurveys& kept;
  sched::CoarseMemo& coarse;
  sched::Group& group;
  sched::Ledger ledger;
  std::size_t closest = 0, too_small = 0, classes = 0;
};

}  // namespace

TEST_CASE("kept surveys and counts say what a look at every agent says") {
  std::size_t closest = 0, too_small = 0, classes = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Growing load(seed, true);
    // Some have no room for all that is asked for in a pass, so that others go or are not kept.
    sched::KeptSurveys kept = seed % 2 == 0 ? sched::KeptSurveys() : sched::KeptSurveys(40);
    sched::CoarseMemo coarse;
    for (int step = 0; step < 40; ++step) {
      CAPTURE(step);
      load.step();
      Asking pass(load, kept, coarse);
      for (int question = 0; question < 12; ++question) {
        if (load.draw(0, 2) == 0) pass.take();
        const std::size_t before = pass.ledger.checkpoint();
        if (load.draw(0, 3) == 0) pass.take();
        pass.ask();
        if (load.draw(0, 1) == 0) pass.ledger.rollback(before);
      }
      closest += pass.closest;
      too_small += pass.too_small;
      classes += pass.classes;
      CHECK(kept.agents() <= (seed % 2 == 0 ? 500'000 : 40));
    }
  }
  CHECK(closest > 20'000);
  CHECK(too_small > 100);
  CHECK(classes > 50'000);
}

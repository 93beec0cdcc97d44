// Policies by name, their options, and what becomes of those that break their contract.
#include <stdexcept>

#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

Texts cpu(const char* amount) { return {{"cpu", amount}}; }

// What an embedder writes: the candidate with the fewest containers.
class FewestContainers final : public Selector {
 public:
  std::optional<AgentIndex> select(const SchedView& view, const Demand&,
                                   const Candidates& candidates) const override {
    std::optional<AgentIndex> best;
    for (const AgentIndex agent : candidates.list()) {
      if (!best || view.containers(agent) < view.containers(*best)) best = agent;
    }
    return best;
  }
};

class Shortest final : public BandSorter {
 public:
  void sort(const SchedView& view, std::vector<PendingIndex>& band) const override {
    std::ranges::stable_sort(band, {}, [&](PendingIndex at) {
      const auto& total = view.request(view.session(at)).total;
      return total.empty() ? 0 : total.front().units;
    });
  }
};

template <class F>
class SelectorOf final : public Selector {
 public:
  explicit SelectorOf(F f) : f_(std::move(f)) {}
  std::optional<AgentIndex> select(const SchedView& view, const Demand& demand,
                                   const Candidates& candidates) const override {
    return f_(view, demand, candidates);
  }

 private:
  F f_;
};

template <class F>
std::shared_ptr<PolicyRegistry> with_selector(F f) {
  auto registry = builtin_policies();
  REQUIRE(registry
              ->add_selector("mine",
                             [f](PolicyOptions&) -> std::unique_ptr<const Selector> {
                               return std::make_unique<SelectorOf<F>>(f);
                             })
              .has_value());
  return registry;
}

class Repeating final : public Sequencer {
 public:
  std::unique_ptr<Ordering> start(const SchedView& view) const override {
    struct Same final : Ordering {
      PendingIndex at;
      std::optional<PendingIndex> next() override { return at; }
    };
    auto order = std::make_unique<Same>();
    order->at = view.band(view.bands().front()).front();
    return order;
  }
};

class OnlyFirst final : public BandSorter {
 public:
  void sort(const SchedView&, std::vector<PendingIndex>& band) const override { band.resize(1); }
};

std::string error_of(const Status& status) {
  REQUIRE_FALSE(status.has_value());
  return status.error().message;
}

}  // namespace

TEST_CASE("names are taken once and must not be empty") {
  auto registry = builtin_policies();
  const auto make = [](PolicyOptions&) { return std::make_unique<FewestContainers>(); };
  CHECK(contains(error_of(registry->add_selector("dispersed", make)), "already a selector"));
  CHECK(registry->add_selector("dispersed", make).error().code == ErrorCode::AlreadyExists);
  CHECK(registry->add_selector("", make).error().code == ErrorCode::InvalidArgument);
  CHECK(add_builtin_policies(*registry).error().code == ErrorCode::AlreadyExists);
  CHECK(registry->validators() ==
        std::vector<std::string>{"dependencies", "reserved-start", "resource-policy", "cohort",
                                 "session-types", "images", "container-count"});
}

TEST_CASE("settings of a resource group are checked before anyone relies on them") {
  const auto registry = builtin_policies();
  ResourceGroup group;
  group.name = ResourceGroupName("g");
  CHECK(registry->check(group).has_value());
  const auto check = [&](const char* options) {
    group.policy_options = *Json::parse(options);
    return error_of(registry->check(group));
  };
  CHECK(contains(check(R"({"agent_selection_policy": "near"})"), "one of preferred, strict"));
  CHECK(contains(check(R"({"max_container_count": 0})"), "from 1 to"));
  CHECK(contains(check(R"({"max_container_count": "3"})"), "integer"));
  CHECK(contains(check(R"({"colour": 1})"), "unknown option \"colour\""));
  CHECK(
      contains(check(R"({"colour": 1})"), ", sequencer, selector, validator_options, preemption"));
  CHECK(contains(check(R"({"sequencer": {"shares": "live"}})"), "unknown option \"shares\""));
  CHECK(contains(check(R"({"selector": 5})"), "must be an object"));
  CHECK(contains(check(R"({"validators": ["nope"]})"), "no validator named \"nope\""));
  CHECK(contains(check(R"({"validators": [7]})"), "list of texts"));
  CHECK(contains(check(R"({"validator_options": {"nope": {}}})"), "no validator of this group"));
  CHECK(contains(check(R"({"validators": ["images", "images"]})"), "names \"images\" twice"));
  CHECK(contains(check(R"({"validator_options": []})"), "must be an object"));
  CHECK(contains(check(R"({"scheduler_fallback": "nope"})"), "no sequencer named \"nope\""));
  CHECK(contains(check(R"({"topology": ["rack", "rack"]})"), "names \"rack\" twice"));
  group.policy_options = *Json::parse(R"({"sequencer": {"shares": "sometimes"}})");
  group.scheduler = "drf";
  CHECK(contains(error_of(registry->check(group)), "one of live, per-pass"));
  group.policy_options = Json::object();
  group.selector = "best";
  CHECK(registry->check(group).error().code == ErrorCode::NotFound);
}

TEST_CASE("bad settings stop one resource group, with the reason") {
  World world;
  world.group().policy_options = Json::object({{"colour", 1}});
  world.agent("a", cpu("4"));
  const auto id = world.session(cpu("1"));
  const Plan plan = world.plan();
  CHECK(plan.placements.empty());
  REQUIRE(plan.errors.size() == 1);
  CHECK(contains(plan.errors[0], "Resource group \"default\": policy_options: unknown option"));
  CHECK(world.reason(id).code == "policy-error");
}

TEST_CASE("validators can be narrowed") {
  World world;
  world.agent("a", cpu("64"));
  KeypairPolicy policy;
  policy.name = PolicyName("p");
  policy.total_resource_slots = slots(cpu("2"));
  world.user_policy(policy);
  world.session(cpu("4"));
  CHECK(world.plan().placements.empty());
  world.group().policy_options = *Json::parse(R"({"validators": ["dependencies"]})");
  CHECK(world.plan().placements.size() == 1);
  world.group().policy_options = *Json::parse(R"({"validators": null})");  // as if left out
  CHECK(world.plan().placements.empty());
}

TEST_CASE("classes of a workload are read strictly") {
  const auto registry = builtin_policies();
  ResourceGroup group;
  group.name = ResourceGroupName("g");
  group.selector = "fgd";
  const auto check = [&](const std::string& one) {
    group.policy_options = *Json::parse(R"({"selector": {"workload": [)" + one + "]}}");
    return registry->check(group);
  };
  CHECK(check(R"({"count": 2, "cpu": "1.5"})").has_value());
  CHECK(check(R"({"count": 2, "cpu": 1, "devices": 1, "device": "0.5", "labels": ["A"]})"));
  for (const char* wrong :
       {R"(5)", R"({"cpu": "1"})", R"({"count": 0, "cpu": "1"})", R"({"count": 1})",
        R"({"count": 1, "cpu": "-1"})", R"({"count": 1, "cpu": "1", "devices": 1})",
        R"({"count": 1, "cpu": "1", "device": "0.5"})",
        R"({"count": 1, "cpu": "1", "devices": "1", "device": "0.5"})",
        R"({"count": 1, "cpu": "1", "devices": 1, "device": "1.5"})",
        R"({"count": 1, "cpu": "1", "labels": "A"})",
        R"({"count": 1, "cpu": "1", "labels": [5]})"}) {
    CAPTURE(wrong);
    CHECK(contains(error_of(check(wrong)), "is no class of a workload"));
  }
  CHECK(contains(error_of(check(R"({"count": 1, "cpu": "1", "gpu": 1})")), "option \"gpu\""));
}

TEST_CASE("a selector of an embedder's own") {
  auto registry = builtin_policies();
  REQUIRE(registry
              ->add_selector("fewest",
                             [](PolicyOptions&) { return std::make_unique<FewestContainers>(); })
              .has_value());
  World world(registry);
  world.group().selector = "fewest";
  world.agent("a", cpu("64"));
  world.agent("b", cpu("4"));
  world.hold("a", cpu("1"));
  for (int i = 0; i < 3; ++i) world.session(cpu("1"));
  std::vector<std::string> chosen;
  for (const Placement& p : world.plan().placements) chosen.push_back(agents_of(p).front());
  CHECK(chosen == std::vector<std::string>{"b", "a", "b"});
}

TEST_CASE("a sequencer of an embedder's own sorts within bands") {
  auto registry = builtin_policies();
  REQUIRE(
      registry
          ->add_sequencer("shortest", [](PolicyOptions&) { return std::make_unique<Shortest>(); })
          .has_value());
  World world(registry);
  world.group().scheduler = "shortest";
  world.agent("a", cpu("64"));
  const auto low = world.session(cpu("1"), 1), big = world.session(cpu("9"), 5);
  const auto small = world.session(cpu("2"), 5);
  CHECK(placed(world.plan()) == std::vector{small, big, low});
}

TEST_CASE("who is left out by a sequencer of an embedder's own is told so") {
  auto registry = builtin_policies();
  REQUIRE(
      registry->add_sequencer("first", [](PolicyOptions&) { return std::make_unique<OnlyFirst>(); })
          .has_value());
  World world(registry);
  world.group().scheduler = "first";
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  world.agent("a", cpu("4"));
  const auto first = world.session(cpu("9")), second = world.session(cpu("8"));
  CHECK(world.plan().placements.empty());
  CHECK(world.reason(first).code == "never");
  CHECK(world.reason(second).code == "left-out");
  CHECK(
      contains(world.reason(second).message, "sequencer of resource group default leaves it out"));
  world.group().scheduler = "fifo";
  world.plan();
  CHECK(world.reason(second).code == "never");
  world.group().scheduler = "first";
  world.plan();
  CHECK(world.reason(second).code == "left-out");
}

TEST_CASE("a selector that leaves a session waiting does not hold up the others") {
  World world(with_selector([](const SchedView& view, const Demand& demand,
                               const Candidates& candidates) -> std::optional<AgentIndex> {
    if (demand.requirement.slots.front().units > 4000) return std::nullopt;
    CHECK(view.takes_sessions(candidates.list().front()));
    return candidates.list().front();
  }));
  world.group().selector = "mine";
  world.agent("a", cpu("64"));
  const auto big = world.session(cpu("8")), small = world.session(cpu("1"));
  const Plan plan = world.plan();
  CHECK(plan.errors.empty());
  CHECK(placed(plan) == std::vector{small});
  CHECK(contains(world.reason(big).message, "left it waiting, although 1 agent has room"));
}

TEST_CASE(
    "a policy that breaks its contract costs its own group the pass, and nothing stays taken") {
  const auto nonsense = [](const SchedView& view, const Demand& demand,
                           const Candidates& candidates) -> std::optional<AgentIndex> {
    if (demand.requirement.slots.front().units < 4000) return candidates.list().front();
    if (demand.requirement.slots.front().units == 4000) return 77;
    if (view.agent_count() > 0) throw std::runtime_error("division by cucumber");
    return std::nullopt;
  };
  for (const char* second : {"4", "5"}) {
    World world(with_selector(nonsense));
    world.group().selector = "mine";
    world.group("other");
    world.agent("a", cpu("64"));
    world.agent("b", cpu("64"), {}, "other");
    const auto fine = world.session(cpu("1")), bad = world.session(cpu(second));
    Session row = world.draft();
    row.resource_group = ResourceGroupName("other");
    const auto elsewhere = world.add(row, {{cpu("1")}});
    world.group();
    world.feed();
    const std::string before = world.planner.mirror().dump();
    const Plan plan = world.plan();
    CHECK(placed(plan) == std::vector{elsewhere});
    REQUIRE(plan.errors.size() == 1);
    CHECK(contains(plan.errors[0],
                   std::string(second) == "4" ? "which is no candidate" : "division by cucumber"));
    CHECK(world.reason(fine).code == "policy-error");
    CHECK(world.reason(bad).code == "policy-error");
    // Nothing else might change, and what the pass would have waited for is not known.
    CHECK(plan.wake_at == at_second(kNow + 10));
    CHECK(before.substr(before.find('\n')) ==
          world.planner.mirror().dump().substr(world.planner.mirror().dump().find('\n')));
  }
}

TEST_CASE("a resource group gets another selector while one that rates agents is in use") {
  World world;
  world.agent("a", cpu("8"));
  world.agent("b", cpu("64"));
  const auto place = [&](const std::string& selector) {
    world.group().selector = selector;
    world.session(cpu("1"));
    const Plan plan = world.plan();
    REQUIRE(plan.errors.empty());
    REQUIRE(!plan.placements.empty());
    return plan.placements.front().kernels.front().second.str();
  };
  for (int turn = 0; turn < 2; ++turn) {
    CHECK(place("bestfit") == "a");
    CHECK(place("worstfit") == "b");
    CHECK(place("bestfitx") == "a");
    CHECK(place("gpupacking") != "");
    CHECK(place("worstfitx") == "b");
  }
}

TEST_CASE("a sequencer that draws a session twice is stopped") {
  auto registry = builtin_policies();
  REQUIRE(
      registry
          ->add_sequencer("repeating", [](PolicyOptions&) { return std::make_unique<Repeating>(); })
          .has_value());
  World world(registry);
  world.group().scheduler = "repeating";
  world.agent("a", cpu("64"));
  world.session(cpu("1"));
  const Plan plan = world.plan();
  CHECK(plan.placements.empty());
  REQUIRE(plan.errors.size() == 1);
  CHECK(contains(plan.errors[0], "twice"));
}

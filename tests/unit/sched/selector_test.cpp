// Where a session runs.
#include "sched/policies/policies.hpp"
#include "sched/search.hpp"
#include "sched/view_source.hpp"
#include "timeline.hpp"

using namespace bai;
using namespace bai::test;

namespace {

struct AgentSpec {
  std::string id;
  Texts capacity, used = {};
};

std::string choose(const std::string& selector, const std::vector<AgentSpec>& agents,
                   const Texts& request, std::vector<std::string> priority = {}) {
  World world;
  world.group().selector = selector;
  world.group().selector_priority = std::move(priority);
  for (const AgentSpec& a : agents) world.agent(a.id, a.capacity, a.used);
  world.session(request);
  return only_agent(world.plan());
}

Texts of(const char* cpu, const char* mem) { return {{"cpu", cpu}, {"mem", mem}}; }
Texts of(const char* cpu, const char* mem, const char* slot, const char* amount) {
  return {{"cpu", cpu}, {"mem", mem}, {slot, amount}};
}

// Successive agents of `count` equal sessions planned in one pass.
std::vector<std::string> rotation(const std::vector<AgentSpec>& agents, int count) {
  World world;
  world.group().selector = "roundrobin";
  for (const AgentSpec& a : agents) world.agent(a.id, a.capacity, a.used);
  for (int i = 0; i < count; ++i) world.session(of("0.1", "1"));
  std::vector<std::string> chosen;
  for (const Placement& p : world.plan().placements) chosen.push_back(agents_of(p).front());
  return chosen;
}

using Agents = std::vector<std::string>;

}  // namespace

TEST_CASE("B1 concentrated takes the fullest agent, dispersed and legacy the emptiest") {
  const std::vector<AgentSpec> agents = {{"low", of("8", "16384"), of("6", "12288")},
                                         {"medium", of("8", "16384"), of("4", "8192")},
                                         {"high", of("8", "16384"), of("2", "4096")}};
  CHECK(choose("concentrated", agents, of("1", "2048"), {"cpu", "mem"}) == "low");
  CHECK(choose("dispersed", agents, of("1", "2048"), {"cpu", "mem"}) == "high");
  CHECK(choose("legacy", agents, of("1", "2048"), {"cpu", "mem"}) == "high");
}

TEST_CASE("B2 an agent whose accelerators would idle comes last") {
  const std::vector<AgentSpec> agents = {
      {"cpuonly", of("8", "16384"), of("4", "8192")},
      {"gpu", of("8", "16384", "cuda.shares", "4"), of("4", "8192")}};
  for (const char* selector : {"concentrated", "dispersed", "legacy"}) {
    CHECK(choose(selector, agents, of("1", "2048", "cuda.shares", "0")) == "cpuonly");
  }
}

TEST_CASE("B4 ties go by the view's agent order") {
  World world;
  world.agent("only", of("8", "16384"));
  world.session(of("1", "2048"));
  world.group();
  world.feed();
  // The planner's views are ordered by id; this one is not.
  sched::Mirror& mirror = const_cast<sched::Mirror&>(world.planner.mirror());
  sched::Group& group = mirror.group(0);
  const SlotIndex cpu = *mirror.slots().find("cpu"), mem = *mirror.slots().find("mem");
  const std::uint32_t x86 = *mirror.architectures().find("x86_64");
  group.agents.erase(0);
  for (const char* id : {"b", "a", "c"}) {
    const auto at = static_cast<AgentIndex>(group.agents.size());
    group.agents.insert(at, AgentId(id));
    sched::AgentFacts facts;
    facts.architecture = x86;
    facts.takes_sessions = true;
    facts.capacity = {{cpu, 8000}, {mem, 16384}};
    group.agents.set(at, facts);
  }
  const sched::Ledger ledger(mirror);
  const sched::ViewSource source{mirror, group, ledger, at_second(kNow), 1};
  const SchedView view(source);
  const PendingSession& session = view.session(view.band(10).front());
  const Requirement& requirement = view.request(session).requirements.front();
  const auto registry = builtin_policies();
  for (const char* name : {"concentrated", "dispersed"}) {
    const auto selector = registry->make_selector(name, {});
    REQUIRE(selector.has_value());
    for (int i = 0; i < 3; ++i) {
      const sched::AgentFilter filter;
      std::vector<AgentIndex> buffer;
      sched::ScoreCache scores;
      sched::AgentSearch search(group.agents, requirement, filter, buffer, scores);
      const auto chosen = (*selector)->select(view, {session, requirement, 0}, Candidates(search));
      REQUIRE(chosen.has_value());
      CHECK(view.agent_id(*chosen).str() == "b");
    }
  }
}

TEST_CASE("B5 concentrated by the configured priority of slots") {
  const std::vector<AgentSpec> agents = {
      {"gpu-busy", of("16", "32768", "cuda.shares", "8"), of("8", "16384", "cuda.shares", "6")},
      {"gpu-free", of("16", "32768", "cuda.shares", "8"), of("4", "8192", "cuda.shares", "2")}};
  CHECK(choose("concentrated", agents, of("2", "4096", "cuda.shares", "1"),
               {"cuda.shares", "cpu", "mem"}) == "gpu-busy");
}

TEST_CASE("B7 the fewest unused capabilities win") {
  const std::vector<AgentSpec> agents = {
      {"cpu-agent", of("32", "65536"), of("16", "32768")},
      {"gpu-agent", of("16", "32768", "cuda.shares", "8"), of("8", "16384", "cuda.shares", "4")},
      {"tpu-agent", of("16", "32768", "tpu.device", "4"), of("4", "8192", "tpu.device", "1")}};
  const Texts request = {{"cpu", "2"}, {"mem", "4096"}, {"cuda.shares", "0"}, {"tpu.device", "0"}};
  CHECK(choose("concentrated", agents, request) == "cpu-agent");
  CHECK(choose("dispersed", agents, request) == "cpu-agent");
}

TEST_CASE("B8 nearly full against nearly empty") {
  const std::vector<AgentSpec> agents = {{"agent-1", of("8", "16384"), of("7", "14336")},
                                         {"agent-2", of("8", "16384"), of("1", "2048")}};
  CHECK(choose("dispersed", agents, of("0.5", "1024")) == "agent-2");
  CHECK(choose("concentrated", agents, of("0.5", "1024")) == "agent-1");
}

TEST_CASE("B10 after equal counts the free amounts decide") {
  const std::vector<AgentSpec> agents = {
      {"gpu-partial", of("16", "32768", "cuda.shares", "4"), of("8", "16384", "cuda.shares", "2")},
      {"gpu-unused", of("16", "32768", "cuda.shares", "4"), of("8", "16384")}};
  CHECK(choose("legacy", agents, of("2", "4096", "cuda.shares", "0")) == "gpu-unused");
}

TEST_CASE("B11 legacy by the configured priority of slots") {
  const std::vector<AgentSpec> agents = {
      {"custom-poor", of("16", "32768", "cuda.shares", "4"), of("4", "8192", "cuda.shares", "3")},
      {"custom-rich", of("8", "16384", "cuda.shares", "10"), of("4", "8192", "cuda.shares", "2")}};
  CHECK(choose("legacy", agents, of("2", "4096", "cuda.shares", "1"),
               {"cuda.shares", "cpu", "mem"}) == "custom-rich");
}

TEST_CASE("B13 roundrobin in turn, and on in the next pass") {
  CHECK(rotation({{"a", of("8", "8")}, {"b", of("8", "8")}, {"c", of("8", "8")}}, 5) ==
        Agents{"a", "b", "c", "a", "b"});
  World world;
  world.group().selector = "roundrobin";
  for (const char* id : {"a", "b", "c"}) world.agent(id, of("8", "8"));
  Agents chosen;
  for (int i = 0; i < 5; ++i) {
    world.session(of("0.1", "1"));
    const Plan plan = world.plan();
    chosen.push_back(only_agent(plan));
    world.apply(plan);
  }
  CHECK(chosen == Agents{"a", "b", "c", "a", "b"});
}

TEST_CASE("B13 roundrobin goes on when sessions end in between") {
  Timeline line;
  World& world = line.world;
  world.group().selector = "roundrobin";
  for (const char* id : {"a", "b", "c"}) world.agent(id, of("8", "8"));
  Agents chosen;
  for (int i = 0; i < 7; ++i) {
    const auto id = world.batch({{of("1", "1")}}, 10);
    chosen.push_back(only_agent(line.pass()));
    line.finish(id);  // one out, one in
  }
  CHECK(chosen == Agents{"a", "b", "c", "a", "b", "c", "a"});
}

TEST_CASE("B13 what a gang takes back, and what is only asked, moves no rotation") {
  World world;
  world.group().selector = "roundrobin";
  world.group().queue_discipline = QueueDiscipline::SkipAhead;
  for (const char* id : {"a", "b", "c"}) world.agent(id, of("8", "8"));
  world.batch({{of("1", "1")}, {of("9", "1")}}, 10);
  const auto id = world.session(of("1", "1"));
  world.feed();
  for (int i = 0; i < 3; ++i) {
    const auto prospect = world.planner.what_if({}, id, at_second(kNow), 7);
    REQUIRE(prospect.placement.has_value());
    CHECK(agents_of(*prospect.placement) == Agents{"a"});
  }
  world.apply(world.plan());
  world.session(of("1", "1"));
  Plan plan = world.plan();
  CHECK(only_agent(plan) == "b");
  // Refused when it was applied: still a choice.
  plan = world.plan();
  CHECK(only_agent(plan) == "c");
  world.feed();
  const auto next = plan.placements.front().session;
  const auto prospect = world.planner.what_if({}, next, at_second(kNow), 7);
  REQUIRE(prospect.placement.has_value());
  CHECK(agents_of(*prospect.placement) == Agents{"a"});
}

TEST_CASE("B14 roundrobin goes by agent id") {
  CHECK(rotation({{"zebra", of("8", "8")}, {"alpha", of("8", "8")}, {"beta", of("8", "8")}}, 4) ==
        Agents{"alpha", "beta", "zebra", "alpha"});
}

TEST_CASE("B16 roundrobin ignores free amounts") {
  World world;
  world.group().selector = "roundrobin";
  world.agent("a", of("8", "16384"));
  world.agent("b", of("8", "16384"));
  world.hold("a", of("3.5", "8192"));
  world.hold("a", of("3.5", "4096"));
  world.session(of("0.1", "1"));
  world.session(of("0.1", "1"));
  const Plan plan = world.plan();
  REQUIRE(plan.placements.size() == 2);
  CHECK(agents_of(plan.placements[0]) == Agents{"a"});
  CHECK(agents_of(plan.placements[1]) == Agents{"b"});
}

TEST_CASE("B17 the only agent that fits") {
  for (const char* selector : {"concentrated", "dispersed", "legacy", "roundrobin"}) {
    CHECK(choose(selector, {{"full", of("4", "4"), of("4", "4")}, {"free", of("4", "4")}},
                 of("2", "2")) == "free");
  }
}

TEST_CASE("B19 a slot that an agent lacks is not an unused capability") {
  const std::vector<AgentSpec> agents = {{"A", of("8", "16384")},
                                         {"B", of("8", "16384", "cuda.device", "3")}};
  for (const char* selector : {"concentrated", "dispersed", "legacy"}) {
    CHECK(choose(selector, agents, of("1", "1", "cuda.device", "0"), {"cuda.device"}) == "A");
  }
}

TEST_CASE("B20 a fully used slot is not an unused capability") {
  const std::vector<AgentSpec> agents = {
      {"A", of("8", "8", "cuda.device", "2"), of("1", "1", "cuda.device", "2")},
      {"B", of("8", "8"), of("2", "2")}};
  // Equal counts: the free amounts of cpu decide.
  CHECK(choose("concentrated", agents, of("1", "1", "cuda.device", "0")) == "B");
  CHECK(choose("dispersed", agents, of("1", "1", "cuda.device", "0")) == "A");
}

TEST_CASE("what this pass has taken does not make a capability used") {
  World world;
  world.group().selector = "concentrated";
  world.agent("gpu", {{"cpu", "8"}, {"cuda.device", "1"}});
  world.agent("plain", {{"cpu", "16"}});
  world.session({{"cpu", "1"}, {"cuda.device", "1"}});  // uses up the device
  world.session({{"cpu", "1"}, {"cuda.device", "0"}});
  const Plan plan = world.plan();
  REQUIRE(plan.placements.size() == 2);
  CHECK(agents_of(plan.placements[0]) == Agents{"gpu"});
  CHECK(agents_of(plan.placements[1]) == Agents{"plain"});
}

TEST_CASE("an agent without a prioritised slot comes last in both directions") {
  World world;
  world.agent("with", {{"cpu", "8"}, {"cuda.device", "1"}}, {{"cuda.device", "1"}});
  world.agent("without", {{"cpu", "8"}});
  world.group().selector_priority = {"cuda.device"};
  world.session({{"cpu", "1"}, {"cuda.device", "0"}});
  for (const char* selector : {"concentrated", "dispersed"}) {
    world.group().selector = selector;
    CHECK(only_agent(world.plan()) == "with");
  }
}

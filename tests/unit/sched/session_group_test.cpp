// Members of a session group, apart or together.
#include <set>

#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

using Direction = PlacementDirection;
using Enforcement = PlacementEnforcement;

Texts cpu(const std::string& amount) { return {{"cpu", amount}}; }

struct Groups {
  World world;
  explicit Groups(Direction direction, Enforcement enforcement = Enforcement::Preferred,
                  const std::string& selector = "dispersed") {
    world.group().selector = selector;
    world.group().queue_discipline = QueueDiscipline::SkipAhead;
    SessionGroup row;
    row.id = "g1";
    row.direction = direction;
    row.enforcement = enforcement;
    world.changes.insert(row);
  }
  Session draft() {
    Session row = world.draft();
    row.session_group = "g1";
    return row;
  }
  // A member with a kernel that holds `amounts` on the agent.
  SessionId member(const std::string& agent, const Texts& amounts = cpu("1")) {
    Session row = draft();
    row.status = SessionStatus::Running;
    const SessionId id = world.add(row, {{amounts}});
    for (const auto& kernel : world.state.kernels_of(id)) {
      world.changes.update<Kernel>(kernel->id, [&](Kernel& k) {
        k.status = KernelStatus::Running;
        k.agent = AgentId(agent);
        k.occupied_slots = k.requested_slots;
      });
    }
    return id;
  }
  SessionId pending(const Texts& amounts = cpu("1")) { return world.add(draft(), {{amounts}}); }
};

}  // namespace

TEST_CASE("C22 preferred spread: the agent with the fewest members") {
  Groups g(Direction::Spread, Enforcement::Preferred, "concentrated");
  g.world.agent("a", cpu("8"));
  g.world.agent("b", cpu("16"));
  g.member("a");
  g.pending();
  CHECK(only_agent(g.world.plan()) == "b");
}

TEST_CASE("C23 preferred spread gives way where there is no room") {
  Groups g(Direction::Spread);
  g.world.agent("a", cpu("8"));
  g.world.agent("b", cpu("1"));
  g.member("a");
  g.pending(cpu("4"));
  CHECK(only_agent(g.world.plan()) == "a");
}

TEST_CASE("what a strict group forbids is no wish's to give: a preferred agent that has a member") {
  for (const auto direction : {Direction::Spread, Direction::Pack}) {
    Groups g(direction, Enforcement::Strict);
    g.world.agent("a", cpu("8"));
    g.world.agent("b", cpu("8"));
    g.member(direction == Direction::Spread ? "a" : "b");
    Session row = g.draft();
    row.designated_agents = {"a"};
    g.world.add(std::move(row), {{cpu("1")}});
    CHECK(only_agent(g.world.plan()) == "b");
  }
}

TEST_CASE("C25 strict spread: no agent that has a member, and the reason names the group") {
  Groups g(Direction::Spread, Enforcement::Strict);
  g.world.agent("a", cpu("8"));
  g.world.agent("b", cpu("8"));
  g.member("a");
  const auto gone = g.member("b");
  g.member("b");
  const auto id = g.pending();
  const auto other = g.world.session(cpu("1"));  // with the same request, in no group
  CHECK(placed(g.world.plan()) == std::vector<SessionId>{other});
  CHECK(g.world.reason(id).code == "no-compatible-agent");
  CHECK(contains(g.world.reason(id).message, "g1"));
  CHECK(contains(g.world.reason(id).message, "spread"));
  // One of two members leaves: still one there. The other does too: room.
  const auto leave = [&](const SessionId& member) {
    g.world.changes.update<Session>(member,
                                    [](Session& row) { row.status = SessionStatus::Terminated; });
    for (const auto& kernel : g.world.state.kernels_of(member)) {
      g.world.changes.update<Kernel>(kernel->id, [](Kernel& row) {
        row.status = KernelStatus::Terminated;
        row.occupied_slots = {};
      });
    }
  };
  leave(gone);
  CHECK(placed(g.world.plan()) == std::vector<SessionId>{other});
  std::vector<SessionId> members;
  g.world.state.table<Session>().for_each([&](const Session& row) {
    if (row.status == SessionStatus::Running) members.push_back(row.id);
    return true;
  });
  for (const SessionId& member : members) leave(member);
  CHECK(g.world.plan().placements.size() == 2);
}

TEST_CASE("C26 strict pack without members takes any agent, then only that one") {
  Groups g(Direction::Pack, Enforcement::Strict);
  g.world.agent("a", cpu("4"));
  g.world.agent("b", cpu("8"));
  const auto first = g.pending(cpu("4")), second = g.pending(cpu("4")), third = g.pending(cpu("4"));
  const Plan plan = g.world.plan();
  CHECK(placed(plan) == std::vector<SessionId>{first, second});
  for (const Placement& placement : plan.placements) {
    CHECK(agents_of(placement) == std::vector<std::string>{"b"});
  }
  CHECK(g.world.reason(third).code == "capacity");
}

TEST_CASE("preferred pack: where most members are") {
  Groups g(Direction::Pack);
  for (const char* agent : {"a", "b", "c"}) g.world.agent(agent, cpu("8"));
  g.member("a");
  g.member("b");
  g.member("b");
  g.pending();
  CHECK(only_agent(g.world.plan()) == "b");
}

TEST_CASE("C28 without a direction members are like all others") {
  Groups g(Direction::None);
  g.world.agent("a", cpu("8"));
  g.world.agent("b", cpu("16"));
  g.member("b");
  g.pending();
  CHECK(only_agent(g.world.plan()) == "b");
}

TEST_CASE("C29 members placed in one pass are apart") {
  for (const auto enforcement : {Enforcement::Preferred, Enforcement::Strict}) {
    Groups g(Direction::Spread, enforcement, "concentrated");
    for (const char* agent : {"a", "b", "c"}) g.world.agent(agent, cpu("8"));
    for (int i = 0; i < 3; ++i) g.pending();
    const Plan plan = g.world.plan();
    std::set<std::string> agents;
    for (const Placement& placement : plan.placements) agents.insert(agents_of(placement).front());
    CHECK(plan.placements.size() == 3);
    CHECK(agents.size() == 3);
  }
}

TEST_CASE("a failed gang leaves no members behind") {
  Groups g(Direction::Spread, Enforcement::Strict);
  g.world.agent("a", cpu("8"));
  g.world.agent("b", cpu("2"));
  Session gang = g.draft();
  gang.cluster_mode = ClusterMode::MultiNode;
  g.world.add(gang, {{cpu("1")}, {cpu("4")}, {cpu("4")}});  // three agents would be needed
  const auto single = g.pending(), another = g.pending();
  CHECK(placed(g.world.plan()) == std::vector<SessionId>{single, another});
}

TEST_CASE("the kernels of a gang spread or pack among themselves") {
  for (const auto direction : {Direction::Spread, Direction::Pack}) {
    Groups g(direction, Enforcement::Strict);
    for (const char* agent : {"a", "b", "c"}) g.world.agent(agent, cpu("8"));
    Session gang = g.draft();
    gang.cluster_mode = ClusterMode::MultiNode;
    g.world.add(gang, {{cpu("1")}, {cpu("1")}, {cpu("1")}});
    const Plan plan = g.world.plan();
    REQUIRE(plan.placements.size() == 1);
    const auto agents = agents_of(plan.placements.front());
    CHECK(std::set<std::string>(agents.begin(), agents.end()).size() ==
          (direction == Direction::Spread ? 3 : 1));
  }
}

TEST_CASE("designated agents come before a session group's wish") {
  Groups g(Direction::Spread);
  g.world.agent("a", cpu("8"));
  g.world.agent("b", cpu("8"));
  g.member("a");
  Session row = g.draft();
  row.designated_agents = {"a"};
  g.world.add(row, {{cpu("1")}});
  CHECK(only_agent(g.world.plan()) == "a");
}

TEST_CASE("a session group that does not exist binds nobody") {
  Groups g(Direction::Spread, Enforcement::Strict);
  g.world.agent("a", cpu("8"));
  g.member("a");
  g.world.feed();
  g.world.changes.erase<SessionGroup>("g1");
  g.pending();
  CHECK(only_agent(g.world.plan()) == "a");
}

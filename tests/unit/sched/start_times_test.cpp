// When there is room: what is kept from pass to pass against a look at every agent.
#include "growing.hpp"
#include "sched/domain_starts.hpp"
#include "sched/future.hpp"
#include "sched/ledger.hpp"
#include "sched/reserved.hpp"

using namespace bai;
using namespace bai::test;

namespace {

std::string text(const sched::Reserved& reserved) {
  std::string text;
  for (const auto& [from, agent] : reserved.kept().by_start()) {
    text += std::to_string(from) + " on " + std::to_string(agent) + ":";
    std::vector<std::string> keeps;
    for (const auto& keep : reserved.kept().on(agent)) {
      std::string& one =
          keeps.emplace_back(std::to_string(keep.from) + "-" + std::to_string(keep.to));
      for (const SlotRequest& r : keep.what->left) {
        one += " " + std::to_string(r.slot) + "=" + std::to_string(r.units);
      }
      one += " containers=" + std::to_string(keep.what->containers);
    }
    std::ranges::sort(keeps);
    for (const std::string& one : keeps) text += " " + one;
    text += "\n";
  }
  return text;
}

// It starts there, or may be promised to; each of the futures is told. True: it has started.
bool settle(Growing& load, sched::Ledger& ledger, const sched::Future::Start& start,
            const PendingSession& session, bool at_once,
            std::initializer_list<sched::Future*> futures) {
  sched::AgentTable& agents = load.mirror.group(0).agents;
  const Request& request = load.mirror.request(session.request);
  if (!at_once || agents.has_devices()) {
    if (load.draw(0, 1) != 0) return false;
    for (sched::Future* future : futures) future->promise(start, request, session.estimate);
    return false;
  }
  for (std::size_t i = 0; i < request.requirements.size(); ++i) {
    const Requirement& requirement = request.requirements[i];
    REQUIRE(ledger.take(agents, start.agents[i], requirement, load.container_limit, {}));
    for (sched::Future* future : futures) {
      future->placed(start.agents[i], requirement, session.estimate);
    }
  }
  return true;
}

}  // namespace

TEST_CASE("the earliest start by what is kept is the one that a look at every agent finds") {
  std::size_t found = 0, later = 0, taken = 0;
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    CAPTURE(seed);
    Growing load(seed);
    sched::StartTimesCache kept;
    sched::ReservedMemory known;
    for (int step = 0; step < 40; ++step) {
      CAPTURE(step);
      load.step();
      sched::Group& group = load.mirror.group(0);
      std::vector<AgentIndex> all;
      for (AgentIndex a = 0; a < group.agents.size(); ++a) all.push_back(a);
      sched::StartTimesCache fresh;
      sched::ReservedMemory nothing;
      const Timestamp now = at_second(load.now);
      sched::Ledger ledger(load.mirror);
      const std::uint32_t limit = load.container_limit;
      sched::Reserved reserved(load.mirror, group, now, known, limit),
          read_anew(load.mirror, group, now, nothing, limit);
      CHECK(text(reserved) == text(read_anew));
      sched::Future future(load.mirror, group, now, kept, reserved.kept(), limit);
      sched::Future naive(load.mirror, group, now, fresh, read_anew.kept(), limit);
      for (int question = 0; question < 8; ++question) {
        CAPTURE(question);
        const auto at =
            load.mirror.find_waiting(load.waiting[load.draw.random() % load.waiting.size()]);
        const PendingSession& session = load.mirror.waiting(*at).session;
        const Request& request = load.mirror.request(session.request);
        sched::Future::Bounds bounds;
        if (load.draw(0, 3) == 0) bounds.from = at_second(load.now + load.draw(0, 60)).ns;
        if (load.draw(0, 3) == 0) bounds.limit = at_second(load.now + load.draw(0, 90)).ns;
        std::vector<AgentIndex> within;
        const Requirement& front = request.requirements.front();
        const auto* record = load.mirror.reservations().find("default/r");
        if (record != nullptr && record->is_active(now)) {
          reserved.candidates("default/r", front, within);
        }
        if (load.draw(0, 2) == 0 && !within.empty() && !group.agents.has_devices() &&
            ledger.take(group.agents, within.back(), front, limit, {})) {
          const auto beyond = reserved.take("default/r", within.back(), front, 1);
          REQUIRE(read_anew.take("default/r", within.back(), front, 1) == beyond);
          future.placed_in_kept(within.back(), front, beyond, reserved.end_of("default/r"), 1);
          naive.placed_in_kept(within.back(), front, beyond, reserved.end_of("default/r"), 1);
          ++taken;
          continue;
        }
        sched::AgentFilter anywhere, everywhere;
        sched::Neighbours neighbours;
        if (load.draw(0, 2) == 0) {
          neighbours.strict = true;
          neighbours.direction =
              load.draw(0, 1) == 0 ? PlacementDirection::Spread : PlacementDirection::Pack;
          for (std::int64_t i = load.draw(0, 3); i > 0; --i) {
            neighbours.count(all[load.draw.random() % all.size()], 1);
          }
          anywhere.neighbours = everywhere.neighbours = &neighbours;
        }
        everywhere.within = &all;
        std::uint64_t steps = 0;
        const auto start = future.earliest(request, session.estimate, anywhere, bounds, steps);
        const auto wanted = naive.earliest(request, session.estimate, everywhere, bounds, steps);
        REQUIRE(start.has_value() == wanted.has_value());
        if (!start) continue;
        ++found;
        later += start->at > now.ns ? 1 : 0;
        REQUIRE(start->at == wanted->at);
        REQUIRE(start->agents == wanted->agents);
        const bool at_once = start->at == now.ns && bounds.from == 0;
        settle(load, ledger, *start, session, at_once, {&future, &naive});
      }
    }
  }
  CHECK(found > 10'000);
  CHECK(later > 5'000);
  CHECK(taken > 50);
}

TEST_CASE("the earliest start within a domain is the one that a look at every domain finds") {
  const std::vector<std::string> levels{"rack", "hall"};
  std::size_t found = 0, later = 0, placed = 0, never = 0;
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    CAPTURE(seed);
    Growing load(seed);
    for (std::int64_t i = load.draw(0, 12); i > 0; --i) load.add_agent();
    sched::StartTimesCache kept;
    sched::DomainStartsCache starts;
    sched::ReservedMemory known;
    sched::Topology topology;
    for (int step = 0; step < 40; ++step) {
      CAPTURE(step);
      load.step();
      if (load.draw(0, 9) == 0) {
        load.world.changes.update<Agent>(
            load.agents[load.draw.random() % load.agents.size()],
            [&](Agent& a) { a.labels.set("rack", Json(std::to_string(load.draw(1, 4)))); });
        load.feed();
      }
      sched::Group& group = load.mirror.group(0);
      const Timestamp now = at_second(load.now);
      const std::uint32_t limit = load.container_limit;
      sched::Ledger ledger(load.mirror);
      sched::Reserved reserved(load.mirror, group, now, known, limit);
      sched::Future future(load.mirror, group, now, kept, reserved.kept(), limit);
      starts.begin_pass();
      for (int question = 0; question < 8; ++question) {
        CAPTURE(question);
        const auto at =
            load.mirror.find_waiting(load.waiting[load.draw.random() % load.waiting.size()]);
        const PendingSession& session = load.mirror.waiting(*at).session;
        const Request& request = load.mirror.request(session.request);
        if (request.requirements.size() < 2) continue;
        sched::Future::Bounds bounds;
        if (load.draw(0, 3) == 0) bounds.from = at_second(load.now + load.draw(0, 60)).ns;
        if (load.draw(0, 3) == 0) bounds.limit = at_second(load.now + load.draw(0, 90)).ns;
        const auto level = static_cast<std::size_t>(load.draw(0, 1));
        topology.follow(group.agents, levels);
        std::uint64_t steps = 0;
        const auto start = future.earliest_within(topology, level, starts, request,
                                                  session.estimate, {}, bounds, steps);
        std::optional<sched::Future::Start> wanted;
        sched::Future::Bounds earlier = bounds;
        for (const auto& domain : topology.domains(level)) {
          sched::AgentFilter filter;
          filter.within = &domain.agents;
          auto here = future.earliest(request, session.estimate, filter, earlier, steps);
          if (!here) continue;
          earlier.limit = here->at;
          wanted = std::move(here);
        }
        REQUIRE(start.has_value() == wanted.has_value());
        never += start ? 0 : 1;
        if (!start) continue;
        ++found;
        later += start->at > now.ns ? 1 : 0;
        REQUIRE(start->at == wanted->at);
        REQUIRE(start->agents == wanted->agents);
        const bool at_once = start->at == now.ns && bounds.from == 0;
        placed += settle(load, ledger, *start, session, at_once, {&future}) ? 1 : 0;
      }
    }
  }
  CHECK(found > 1'000);
  CHECK(later > 500);
  CHECK(placed > 50);
  CHECK(never > 100);
}

TEST_CASE("a promise may come before what devices are free on an agent changes otherwise") {
  World world;
  for (const char* id : {"a", "b", "c", "d"}) {
    const bool is_early = id[0] >= 'c';
    world.agent(id, {{"cpu", "8"}, {"cuda.shares", "2"}});
    world.changes.update<Agent>(AgentId(id), [&](Agent& row) {
      row.devices.set("cuda.shares", *Json::parse(R"(["1", "1"])"));
      row.labels.set("rack", is_early ? "2" : "1");
    });
    Session session = world.draft();
    session.status = SessionStatus::Running;
    session.starts_at = at_second(kNow);
    session.batch_timeout = seconds(is_early ? 30 : 50);
    Kernel kernel;
    kernel.id = numbered<KernelId>(1'000'000 + static_cast<std::uint64_t>(id[0]));
    kernel.session = session.id;
    kernel.agent = AgentId(id);
    kernel.status = KernelStatus::Running;
    kernel.occupied_slots = slots({{"cpu", "1"}, {"cuda.shares", "1"}});
    kernel.devices = *Json::parse(R"({"cuda.shares": {"0": "0.5", "1": "0.5"}})");
    world.changes.insert(kernel);
    world.changes.insert(session);
  }
  const KernelSpec promised{{{"cpu", "1"}}}, wants{{{"cpu", "1"}, {"cuda.shares", "0.8"}}};
  const auto first = world.batch({promised, promised}, 10);
  const auto gang = world.batch({wants, wants}, 10);
  world.group();
  world.feed();
  auto& mirror = const_cast<sched::Mirror&>(world.planner.mirror());
  const sched::Group& group = mirror.group(0);
  sched::StartTimesCache times;
  sched::DomainStartsCache starts;
  sched::Topology topology;
  topology.follow(group.agents, {"rack"});
  const sched::KeptAmounts kept;
  sched::Future future(mirror, group, at_second(kNow), times, kept);
  const auto request = [&](const SessionId& id) -> const Request& {
    return mirror.request(mirror.waiting(*mirror.find_waiting(id)).session.request);
  };
  const auto expected = [&] {
    std::uint64_t steps = 0;
    const auto start = future.earliest_within(topology, 0, starts, request(gang), seconds(10), {},
                                              sched::Future::Bounds{}, steps);
    REQUIRE(start.has_value());
    return start->at;
  };
  CHECK(expected() == at_second(kNow + 30).ns);
  future.promise({at_second(kNow + 5).ns, {0, 1}}, request(first), seconds(10));
  CHECK(expected() == at_second(kNow + 5).ns);
}

TEST_CASE("a gang that is kept together is foreseen without a look at every domain") {
  World world;
  constexpr int kRacks = 100;
  for (int a = 0; a < 4 * kRacks; ++a) {
    const std::string id = "a" + std::to_string(1000 + a);
    const std::string rack = std::to_string(1000 + a / 4);
    world.agent(id, {{"cpu", "8"}});
    world.changes.update<Agent>(AgentId(id), [&](Agent& row) { row.labels.set("rack", rack); });
    world.running(id, {{"cpu", "8"}}, kNow - 10, 4 * kRacks - a + 10);
  }
  const auto gang = world.batch({{{{"cpu", "8"}}}, {{{"cpu", "8"}}}, {{{"cpu", "8"}}}}, 10);
  world.group();
  world.feed();
  auto& mirror = const_cast<sched::Mirror&>(world.planner.mirror());
  const sched::Group& group = mirror.group(0);
  sched::StartTimesCache times;
  sched::DomainStartsCache starts;
  sched::Topology topology;
  const sched::KeptAmounts kept;
  topology.follow(group.agents, {"rack"});
  const PendingSession& session = mirror.waiting(*mirror.find_waiting(gang)).session;
  for (const bool is_first : {true, false}) {
    sched::Future future(mirror, group, at_second(kNow), times, kept);
    starts.begin_pass();
    std::uint64_t steps = 0, looked_at = starts.looked_at();
    const auto start = future.earliest_within(topology, 0, starts, mirror.request(session.request),
                                              session.estimate, {}, sched::Future::Bounds{}, steps);
    REQUIRE(start.has_value());
    CHECK(start->at == at_second(kNow + 3).ns);
    CHECK(steps < 20);
    CHECK((starts.looked_at() == looked_at) == !is_first);
  }
}

TEST_CASE("different kernels and strict groups are foreseen without a look at every agent") {
  World world;
  constexpr int kAgents = 500;
  for (int a = 0; a < kAgents; ++a) {
    const std::string id = "a" + std::to_string(1000 + a);
    world.agent(id, {{"cpu", "8"}});
    world.running(id, {{"cpu", "8"}}, kNow - 10, 500 - a + 10);
  }
  const auto gang = world.batch({{{{"cpu", "3"}}}, {{{"cpu", "6"}}}, {{{"cpu", "6"}}}}, 10);
  const auto single = world.batch({{{{"cpu", "3"}}}}, 10);
  world.group();
  world.feed();
  auto& mirror = const_cast<sched::Mirror&>(world.planner.mirror());
  const sched::Group& group = mirror.group(0);
  sched::StartTimesCache times;
  const sched::KeptAmounts kept;
  sched::Future future(mirror, group, at_second(kNow), times, kept);
  const auto ask = [&](const SessionId& id, const sched::AgentFilter& filter) {
    const PendingSession& session = mirror.waiting(*mirror.find_waiting(id)).session;
    std::uint64_t steps = 0;
    const auto start = future.earliest(mirror.request(session.request), session.estimate, filter,
                                       sched::Future::Bounds{}, steps);
    CHECK(steps < 100);
    return start ? start->at : 0;
  };
  CHECK(ask(gang, {}) == at_second(kNow + 3).ns);
  sched::Neighbours neighbours;
  neighbours.strict = true;
  for (const AgentIndex agent : {kAgents - 1, kAgents - 3}) neighbours.count(agent, 1);
  sched::AgentFilter filter;
  filter.neighbours = &neighbours;
  neighbours.direction = PlacementDirection::Spread;
  CHECK(ask(single, filter) == at_second(kNow + 2).ns);
  neighbours.direction = PlacementDirection::Pack;
  CHECK(ask(single, filter) == at_second(kNow + 1).ns);
  CHECK(ask(gang, filter) == 0);  // two agents are too few
}

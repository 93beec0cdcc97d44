// A cluster where everything changes, for what has to agree with a walk over everybody.
#pragma once

#include "plain_preemption.hpp"
#include "sched/preemption.hpp"
#include "timeline.hpp"

namespace bai::test {

using Order = sched::PreemptionRules::Order;
using Scope = sched::PreemptionRules::Scope;

// Agents that come and go, with sessions that do.
struct Crowd {
  // `in_cohort`: so many projects lend each other what they do not use.
  explicit Crowd(std::uint64_t seed, std::int64_t in_cohort = 0) : draw(seed), projects(in_cohort) {
    ResourceGroup row;
    for (const char* name : {"default", "other"}) {
      row.name = ResourceGroupName(name);
      world.changes.insert(row);
    }
    rules.enabled = true;
    rules.order = static_cast<Order>(draw(0, 3));
    rules.victim_scope = static_cast<Scope>(draw(0, 3));
    if (draw(0, 1) == 0) rules.min_runtime = seconds(draw(1, 60));
    if (draw(0, 3) == 0) container_limit = static_cast<std::uint32_t>(draw(2, 6));
    with_devices = draw(0, 2) == 0;
    with_memory = draw(0, 1) == 0;
    alike = draw(0, 3) == 0;
    if (projects > 0) found_projects();
    for (std::int64_t i = draw(1, 40); i > 0; --i) add_agent();
    for (std::int64_t i = draw(0, 120); i > 0; --i) run_one();
    feed();
  }

  void add_agent() {
    Agent row;
    row.id = AgentId("a" + std::to_string(draw(10, 99)));
    if (world.state.find<Agent>(row.id) != nullptr) return;
    row.resource_group = ResourceGroupName(draw(0, 9) == 0 ? "other" : "default");
    row.architecture = draw(0, 5) == 0 ? "aarch64" : "x86_64";
    row.available_slots = slots({{"cpu", alike || draw(0, 2) > 0 ? "8" : "16"}});
    if (with_memory) row.available_slots.set("mem", Amount{32});
    if (with_devices && draw(0, 1) == 0) {
      row.available_slots.set("cuda.shares", Amount{2000});
      row.devices.set("cuda.shares", *Json::parse(R"(["1", "1"])"));
    }
    if (draw(0, 2) == 0) row.labels.set("zone", "a");
    world.changes.insert(row);
    agents.push_back(row.id);
  }

  void remove_agent() {
    if (agents.empty()) return;
    const auto at = static_cast<std::size_t>(draw.random() % agents.size());
    world.changes.erase<Agent>(agents[at]);  // its kernels stay
    agents.erase(agents.begin() + static_cast<std::ptrdiff_t>(at));
  }

  Session owned() {
    Session session = world.draft();
    session.user = numbered<UserId>(static_cast<std::uint64_t>(draw(1, 3)));
    session.project = numbered<ProjectId>(
        static_cast<std::uint64_t>(draw(1, std::max<std::int64_t>(2, projects))));
    session.domain = DomainName(draw(0, 3) == 0 ? "d" : "default");
    return session;
  }

  void run_one() {
    if (agents.empty()) return;
    Session session = owned();
    session.status = draw(0, 5) == 0 ? SessionStatus::Creating : SessionStatus::Running;
    session.starts_at = draw(0, 9) == 0 ? Timestamp{} : at_second(now - draw(0, alike ? 1 : 80));
    session.job_priority = draw(0, 3);
    session.is_preemptible = draw(0, 5) > 0;
    if (draw(0, 9) == 0) session.resource_group = ResourceGroupName("other");
    auto& kernels = running[session.id];
    for (std::int64_t k = draw(0, 3) == 0 ? draw(2, 4) : 1; k > 0; --k) {
      Kernel kernel;
      kernel.id = numbered<KernelId>(++last_kernel);
      kernel.session = session.id;
      kernel.agent = agents[static_cast<std::size_t>(draw.random() % agents.size())];
      kernel.status = KernelStatus::Running;
      kernel.occupied_slots = slots({{"cpu", std::to_string(alike ? 2 : draw(0, 5))}});
      if (with_memory) kernel.occupied_slots.set("mem", Amount{draw(0, 9)});
      if (with_devices && draw(0, 1) == 0) {
        kernel.occupied_slots.set("cuda.shares", Amount{500});
        kernel.devices = Json::object(
            {{"cuda.shares", Json::object({{std::to_string(draw(0, 1)), Json("0.5")}})}});
      }
      kernels.push_back(kernel.id);
      world.changes.insert(kernel);
    }
    world.changes.insert(session);
  }

  void change_one() {
    if (running.empty()) return;
    auto it = running.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(draw.random() % running.size()));
    const auto edit = [&](auto&& change) { world.changes.update<Session>(it->first, change); };
    switch (draw(0, 7)) {
      case 0:
        return edit([&](Session& s) { s.job_priority = draw(0, 3); });
      case 1:
        return edit([&](Session& s) { s.is_preemptible = !s.is_preemptible; });
      case 2:
        return edit([&](Session& s) { s.status = SessionStatus::Terminating; });
      case 3:
        return edit([&](Session& s) { s.status = SessionStatus::Running; });
      case 4:
        return edit([&](Session& s) { s.starts_at = at_second(now - draw(0, 9)); });
      case 5:
        return edit([&](Session& s) { s.user = numbered<UserId>(1); });
      case 6:  // one kernel less
        if (it->second.empty()) return;
        world.changes.erase<Kernel>(it->second.back());
        it->second.pop_back();
        return;
      default:
        for (const KernelId& kernel : it->second) world.changes.erase<Kernel>(kernel);
        world.changes.erase<Session>(it->first);
        running.erase(it);
    }
  }

  SessionId wants() {
    Session session = owned();
    session.job_priority = draw(0, 4);
    if (draw(0, 5) == 0) {
      session.resource_opts.set("agent_labels", *Json::parse(R"({"zone": "a"})"));
    }
    if (draw(0, 9) == 0 && !agents.empty()) {
      for (std::int64_t i = draw(1, 3); i > 0; --i) {
        session.designated_agents.push_back(agents[draw.random() % agents.size()].str());
      }
    }
    session.cluster_mode = draw(0, 4) == 0 ? ClusterMode::SingleNode : ClusterMode::MultiNode;
    std::vector<KernelSpec> kernels;
    for (std::int64_t k = draw(0, 2) == 0 ? draw(2, 4) : 1; k > 0; --k) {
      KernelSpec spec{{{"cpu", std::to_string(draw(alike ? 1 : 0, 9))}},
                      draw(0, 5) == 0 ? "aarch64" : "x86_64"};
      if (session.cluster_mode == ClusterMode::SingleNode) spec.architecture = "x86_64";
      if (with_memory) spec.slots.emplace_back("mem", std::to_string(draw(0, 20)));
      if (with_devices && draw(0, 1) == 0) {
        spec.slots.emplace_back("cuda.shares", draw(0, 1) == 0 ? "1" : "0.4");
      }
      kernels.push_back(std::move(spec));
    }
    return world.add(std::move(session), kernels);
  }

  void step() {
    now += draw(0, 19) == 0 ? -draw(1, 30) : draw(0, 9);
    for (std::int64_t i = draw(0, 3); i > 0; --i) run_one();
    for (std::int64_t i = draw(0, 4); i > 0; --i) change_one();
    if (draw(0, 5) == 0) add_agent();
    if (draw(0, 7) == 0) remove_agent();
    if (draw(0, 5) == 0 && !agents.empty()) {
      world.changes.update<Agent>(agents[draw.random() % agents.size()], [&](Agent& a) {
        if (draw(0, 2) == 0) a.schedulable = !a.schedulable;
        if (draw(0, 3) == 0) a.architecture = a.architecture == "x86_64" ? "aarch64" : "x86_64";
        if (draw(0, 3) == 0) a.available_slots.set("cpu", Amount{draw(4, 16) * 1000});
        if (with_memory && draw(0, 3) == 0) {  // whatever its sessions hold of it
          if (a.available_slots.contains("mem")) {
            a.available_slots.erase("mem");
          } else {
            a.available_slots.set("mem", Amount{32});
          }
        }
        if (draw(0, 5) == 0) {
          a.resource_group =
              ResourceGroupName(a.resource_group.str() == "other" ? "default" : "other");
        }
      });
    }
    if (draw(0, 39) == 0) rules.order = static_cast<Order>(draw(0, 3));
    if (draw(0, 39) == 0) rules.min_runtime = seconds(draw(0, 60));
    for (std::int64_t i = draw(1, 2); i > 0; --i) waiting.push_back(wants());
    feed();
  }

  std::vector<SessionId> sessions() const {  // that have run, and are not forgotten
    std::vector<SessionId> all;
    for (const auto& [session, kernels] : running) all.push_back(session);
    return all;
  }

  sched::Group& group() { return mirror.group(mirror.groups().at(ResourceGroupName("default"))); }

  // The last one is in no cohort.
  void found_projects() {
    for (std::int64_t p = 1; p <= projects; ++p) {
      Project row;
      row.id = numbered<ProjectId>(static_cast<std::uint64_t>(p));
      row.name = "p" + std::to_string(p);
      row.cohort = p < projects ? "c" : "";
      row.total_resource_slots = slots({{"cpu", std::to_string(draw(0, 60))}});
      if (draw(0, 2) > 0) row.total_resource_slots.set("mem", Amount{draw(0, 100)});
      world.changes.insert(std::move(row));
    }
  }

  // What projects hold: what their sessions do.
  void count_usage() {
    std::map<ProjectId, SlotMap> used;
    for (const auto& [session, kernels] : running) {
      const Session* row = world.state.find<Session>(session);
      for (const KernelId& kernel : kernels) {
        used[row->project] += world.state.find<Kernel>(kernel)->occupied_slots;
      }
    }
    for (std::int64_t p = 1; p <= projects; ++p) {
      const auto id = numbered<ProjectId>(static_cast<std::uint64_t>(p));
      Usage row;
      row.id = usage_key(ScopeKind::Project, to_string(id));
      row.slots = used[id];
      if (world.state.find<Usage>(row.id) == nullptr) {
        world.changes.insert(row);
      } else {
        world.changes.update<Usage>(row.id, [&](Usage& u) { u.slots = row.slots; });
      }
    }
  }

  void feed() {
    if (projects > 0) count_usage();
    const auto fed = coalesce(world.changes.take());
    mirror.feed({++version}, fed);
  }

  Draw draw;
  std::int64_t projects;
  World world;
  sched::Mirror mirror;
  sched::PreemptionRules rules;
  std::uint32_t container_limit = sched::kNoContainerLimit;
  std::uint64_t version = 0, last_kernel = 1'000'000;
  std::int64_t now = kNow;
  bool with_devices = false, with_memory = false, alike = false;
  std::vector<AgentId> agents;
  std::map<SessionId, std::vector<KernelId>> running;
  std::vector<SessionId> waiting;
};

template <class Finder, class Victims>
std::vector<SessionId> ids(const Finder& finder, const Victims& victims) {
  std::vector<SessionId> ids;
  for (const auto victim : victims) ids.push_back(finder.id(victim));
  return ids;
}

// Also whether an agent has a slot at all.
inline std::vector<std::int64_t> free_amounts(const sched::AgentTable& agents) {
  std::vector<std::int64_t> amounts;
  for (AgentIndex a = 0; a < agents.size(); ++a) {
    for (SlotIndex s = 0; s < agents.column_count(); ++s) {
      amounts.push_back(agents.free_row(a)[s]);
    }
    amounts.push_back(agents.containers(a));
  }
  return amounts;
}

// Of a session that wishes nothing but agents.
inline sched::AgentFilter filter_of(const Crowd& load, const PendingSession& session) {
  sched::AgentFilter filter;
  filter.container_limit = load.container_limit;
  if (session.details != nullptr && !session.details->designated_agents.empty()) {
    filter.strict = true;
    for (const AgentId& id : session.details->designated_agents) {
      const auto& agents =
          load.mirror.group(load.mirror.groups().at(ResourceGroupName("default"))).agents;
      if (const auto agent = agents.find(id)) filter.designated.push_back(*agent);
    }
    std::ranges::sort(filter.designated);
  }
  return filter;
}

// The index and the walk, in the same pass.
struct Rivals {
  sched::Preemption& quick;
  sched::PlainPreemption& plain;
  sched::Ledger& ledger;
  sched::Group& group;
  std::vector<std::size_t> claimed{}, plain_claimed{};  // victims of the session so far
  std::size_t roomed = 0, several = 0;                  // its kernels that found room so far
  std::vector<std::pair<AgentIndex, const Requirement*>> took{};  // by them

  // Room for one kernel after the other, where both have to choose the same. False: not for all.
  bool make_room(const Request& request, const sched::AgentFilter& filter) {
    for (const Requirement& requirement : request.requirements) {
      const auto choice = quick.choose(requirement, filter, claimed);
      const auto other = plain.choose(requirement, filter, plain_claimed);
      REQUIRE(choice.has_value() == other.has_value());
      if (!choice) return false;
      CHECK(choice->agent == other->agent);
      REQUIRE(ids(quick, choice->victims) == ids(plain, other->victims));
      ++roomed;
      several += choice->victims.size() > 1 ? 1 : 0;
      for (const auto victim : choice->victims) quick.shift(victim, -1);
      claimed.insert(claimed.end(), choice->victims.begin(), choice->victims.end());
      plain_claimed.insert(plain_claimed.end(), other->victims.begin(), other->victims.end());
      const bool taken =
          ledger.take(group.agents, choice->agent, requirement, filter.container_limit,
                      [](SlotIndex, std::int64_t units, std::span<const std::int64_t> free) {
                        return sched::tightest_device(units, free);
                      });
      REQUIRE(taken);
      took.emplace_back(choice->agent, &requirement);
    }
    return true;
  }
  // The session gets what it has found; `ledger` has been rolled back.
  void claim() {
    for (const auto& [agent, requirement] : took) {
      ledger.shift(group.agents, agent, *requirement, {}, 1);
    }
    quick.claim(claimed);
    plain.claim(plain_claimed);
  }
};

}  // namespace bai::test

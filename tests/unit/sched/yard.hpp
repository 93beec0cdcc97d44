// Racks on which sessions run and gangs that want to be together, and whom trying every domain
// ends: each as if only its agents were designated, by a planner that knows nothing of domains.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "site.hpp"
#include "timeline.hpp"

namespace bai::test {

using Ids = std::vector<SessionId>;
using Amounts = std::array<std::int64_t, 2>;  // cores, memory

struct Rows {
  std::map<AgentId, Agent> agents;
  std::map<SessionId, Session> sessions;
  std::map<KernelId, Kernel> kernels;
  std::optional<SessionGroup> group;
};

struct Found {
  Ids victims;
  std::vector<std::string> agents;
  std::int64_t room = 0;  // in the domain, when all have left who may be ended
};

// Racks with agents that come, go and move, on which sessions run; gangs want to be in one rack or
// row.
struct Yard {
  // `lends`: projects share what they own, and gangs take back what is theirs.
  explicit Yard(std::uint64_t seed, bool lends = false) : draw(seed) {
    if (lends) {
      own.push_back({draw(50, 120), draw(60, 300)});  // of who lends most
      for (int p = 0; p < 2; ++p) own.push_back({draw(20, 80), draw(40, 200)});
    }
    selector = draw(0, 1) == 0 ? "concentrated" : "dispersed";
    const char* orders[] = {"oldest", "newest", "fewest-sessions", "smallest-resources"};
    rules = Json::object({{"order", orders[draw(0, 3)]}, {"enabled", true}});
    if (draw(0, 1) == 0) rules.set("min_runtime_s", draw(1, 30));
    if (draw(0, 1) == 0) rules.set("victim_scope", "resource-group");
    if (draw(0, 2) == 0) containers = draw(2, 6);
    if (draw(0, 3) == 0) {
      rows.group.emplace();
      rows.group->id = "g1";
      rows.group->direction = PlacementDirection::Spread;
      rows.group->enforcement = PlacementEnforcement::Strict;
      world.changes.insert(*rows.group);
    }
    for (int i = 0; i < 22; ++i) add_agent();
    for (int i = 0; i < (lends ? 44 : 60); ++i) run_one();
    set_up(world, true);
  }

  void set_up(World& to, bool in_racks) const {
    ResourceGroup& group = to.group();
    group.selector = selector;
    group.queue_discipline = QueueDiscipline::SkipAhead;
    group.policy_options = Json::object({{"preemption", rules}});
    if (containers > 0) group.policy_options.set("max_container_count", containers);
    if (in_racks) {
      group.policy_options.set("topology", Json(Json::Array{Json("rack"), Json("row")}));
    }
    for (std::size_t p = 0; p < own.size(); ++p) {
      Project row;
      row.id = numbered<ProjectId>(p + 1);
      row.name = "p" + std::to_string(p + 1);
      row.cohort = "c";
      row.total_resource_slots = slots(texts(own[p]));
      to.changes.insert(std::move(row));
    }
  }

  static Texts texts(const Amounts& amounts) {
    return {{"cpu", std::to_string(amounts[0])}, {"mem", std::to_string(amounts[1])}};
  }
  static Amounts amounts_of(const SlotMap& slots) {
    return {slots.get("cpu").units / 1000, slots.get("mem").units};
  }
  static Amounts total_of(const Rows& on, const SessionId& session) {
    Amounts total{};
    for (const auto& [id, kernel] : on.kernels) {
      if (kernel.session == session) add(total, amounts_of(kernel.occupied_slots));
    }
    return total;
  }
  static void add(Amounts& to, const Amounts& more) {
    for (std::size_t s = 0; s < 2; ++s) to[s] += more[s];
  }

  // What each project holds.
  std::vector<Amounts> used(const Rows& on, const std::set<SessionId>& without = {}) const {
    std::vector<Amounts> used(own.size());
    if (own.empty()) return used;
    for (const auto& [id, kernel] : on.kernels) {
      if (without.contains(kernel.session)) continue;
      const ProjectId project = on.sessions.at(kernel.session).project;
      for (std::size_t p = 0; p < own.size(); ++p) {
        if (project == numbered<ProjectId>(p + 1)) add(used[p], amounts_of(kernel.occupied_slots));
      }
    }
    return used;
  }
  void tell_usage(World& to, const Rows& on, const std::set<SessionId>& without = {}) const {
    const auto held = used(on, without);
    for (std::size_t p = 0; p < own.size(); ++p) {
      Usage row;
      row.id = usage_key(ScopeKind::Project, to_string(numbered<ProjectId>(p + 1)));
      row.slots = slots(texts(held[p]));
      if (to.changes.state().find<Usage>(row.id) == nullptr) {
        to.changes.insert(row);
      } else {
        to.changes.update<Usage>(row.id, [&](Usage& known) { known = row; });
      }
    }
  }

  void label(Agent& agent) {
    agent.labels = Json::object();
    if (draw(0, 9) == 0) return;
    const auto rack = draw(0, 8);
    agent.labels.set("rack", "r" + std::to_string(rack));
    if (draw(0, 9) > 0) agent.labels.set("row", rack < 5 ? "w0" : "w1");
  }
  void add_agent() {
    Agent row;
    row.id = AgentId("a" + std::to_string(draw(10, 99)));
    if (rows.agents.contains(row.id)) return;
    row.resource_group = ResourceGroupName("default");
    row.architecture = "x86_64";
    row.available_slots = slots({{"cpu", "8"}, {"mem", "32"}});
    label(row);
    world.changes.insert(row);
    rows.agents[row.id] = row;
  }
  AgentId any_agent() {
    auto it = rows.agents.begin();
    std::advance(it, draw(0, static_cast<std::int64_t>(rows.agents.size()) - 1));
    return it->first;
  }

  SlotMap amounts(std::int64_t cpu_max) {
    return slots({{"cpu", std::to_string(draw(1, cpu_max))},
                  {"mem", std::to_string(draw(0, 2) == 0 ? draw(1, 16) : 1)}});
  }

  void run_one() {
    Session session = world.draft();
    session.status = draw(0, 9) == 0 ? SessionStatus::Terminating : SessionStatus::Running;
    session.starts_at = at_second(now - draw(0, 80));
    session.job_priority = draw(0, 3);
    session.is_preemptible = draw(0, 5) > 0;
    session.user = numbered<UserId>(static_cast<std::uint64_t>(draw(1, 4) / 4 + 1));
    if (!own.empty())
      session.project =
          numbered<ProjectId>(draw(0, 5) == 0 ? 1U : static_cast<std::uint64_t>(draw(2, 3)));
    if (rows.group && draw(0, 9) == 0) session.session_group = "g1";
    for (std::int64_t k = draw(0, 3) == 0 ? draw(2, 3) : 1; k > 0; --k) {
      Kernel kernel;
      kernel.id = numbered<KernelId>(++last_kernel);
      kernel.session = session.id;
      kernel.agent = any_agent();
      kernel.status = KernelStatus::Running;
      kernel.occupied_slots = amounts(5);
      world.changes.insert(kernel);
      rows.kernels[kernel.id] = kernel;
    }
    world.changes.insert(session);
    rows.sessions[session.id] = session;
  }

  void end_one() {
    auto it = rows.sessions.begin();
    std::advance(it, draw(0, static_cast<std::int64_t>(rows.sessions.size()) - 1));
    std::erase_if(rows.kernels, [&](const auto& kernel) {
      if (kernel.second.session != it->first) return false;
      world.changes.erase<Kernel>(kernel.first);
      return true;
    });
    world.changes.erase<Session>(it->first);
    rows.sessions.erase(it);
  }

  // A session that waits, with its kernels; not among the rows.
  struct Gang {
    Session session;
    std::vector<Kernel> kernels;
  };
  Gang gang() {
    Gang gang{world.draft(), {}};
    Session& row = gang.session;
    row.cluster_mode = ClusterMode::MultiNode;
    row.job_priority = draw(1, 4);
    if (!own.empty())
      row.project =
          numbered<ProjectId>(draw(0, 4) > 0 ? 1U : static_cast<std::uint64_t>(draw(2, 3)));
    if (draw(0, 1) == 0) row.resource_opts.set("topology", draw(0, 1) == 0 ? "rack" : "row");
    if (rows.group && draw(0, 2) == 0) row.session_group = "g1";
    if (draw(0, 7) == 0) {
      row.resource_opts.set("agent_selection_policy", "strict");
      for (const auto& [id, agent] : rows.agents) {
        if (draw(0, 1) == 0) row.designated_agents.push_back(id.str());
      }
      if (row.designated_agents.empty()) row.designated_agents.push_back(any_agent().str());
    }
    const bool alike = draw(0, 2) > 0;
    SlotMap one = amounts(8);
    const std::int64_t count = draw(2, draw(2, 5));
    for (std::int64_t rank = 0; rank < count; ++rank) {
      Kernel kernel;
      kernel.id = numbered<KernelId>(++last_kernel);
      kernel.session = row.id;
      kernel.local_rank = rank;
      kernel.architecture = "x86_64";
      kernel.requested_slots = alike ? one : amounts(8);
      gang.kernels.push_back(kernel);
    }
    row.cluster_size = count;
    return gang;
  }

  void step() {
    now += draw(0, 9);
    for (std::int64_t i = draw(0, 4); i > 0; --i) run_one();
    for (std::int64_t i = draw(0, 4); i > 0 && rows.sessions.size() > 5; --i) end_one();
    if (draw(0, 5) == 0) add_agent();
    if (draw(0, 5) == 0 && rows.agents.size() > 4) {
      const AgentId gone = any_agent();  // its kernels stay
      world.changes.erase<Agent>(gone);
      rows.agents.erase(gone);
    }
    if (draw(0, 3) == 0) {
      const AgentId moves = any_agent();
      label(rows.agents[moves]);
      if (draw(0, 3) == 0) rows.agents[moves].schedulable = draw(0, 3) > 0;
      world.changes.update<Agent>(moves, [&](Agent& a) { a = rows.agents[moves]; });
    }
  }

  static Found found_of(const Placement& placement) {
    return {placement.victims, agents_of(placement)};
  }

  // What becomes of the gang on these agents alone, when it may end somebody or when those have
  // left who leave.
  std::optional<Found> alone(const Rows& on, const Gang& gang, const std::set<std::string>& agents,
                             bool ends) const {
    World other;
    set_up(other, false);
    if (!ends) other.group().policy_options.set("preemption", Json::object());
    if (on.group) other.changes.insert(*on.group);
    for (const auto& [id, row] : on.agents) other.changes.insert(row);
    const auto has_left = [&](const SessionId& id) {
      return !ends && on.sessions.at(id).status == SessionStatus::Terminating;
    };
    std::set<SessionId> left;
    for (const auto& [id, row] : on.sessions) {
      if (has_left(id)) {
        left.insert(id);
      } else {
        other.changes.insert(row);
      }
    }
    tell_usage(other, on, left);
    for (const auto& [id, row] : on.kernels) {
      if (!has_left(row.session)) other.changes.insert(row);
    }
    Session session = gang.session;
    std::vector<std::string> designated(agents.begin(), agents.end());
    if (!session.designated_agents.empty()) {
      std::erase_if(designated, [&](const std::string& agent) {
        return std::ranges::find(session.designated_agents, agent) ==
               session.designated_agents.end();
      });
    }
    if (designated.empty()) return std::nullopt;
    session.designated_agents = designated;
    session.resource_opts = Json::object({{"agent_selection_policy", "strict"}});
    other.changes.insert(session);
    for (const Kernel& kernel : gang.kernels) other.changes.insert(kernel);
    const Plan plan = other.plan(now);
    if (plan.placements.empty()) return std::nullopt;
    Found found = found_of(plan.placements.front());
    if (!ends && !found.victims.empty()) return std::nullopt;
    return found;
  }

  // In the order of the rules.
  bool is_less(const Rows& on, const Ids& a, const Ids& b) const {
    const std::string order(rules.find("order")->as_string());
    const auto cost = [&](const Ids& ids) -> std::int64_t {
      if (order == "fewest-sessions") return static_cast<std::int64_t>(ids.size());
      std::int64_t sum = 0;
      if (order == "smallest-resources") {
        for (const SessionId& id : ids) sum += weight(on, id);
      }
      return sum;
    };
    if (cost(a) != cost(b)) return cost(a) < cost(b);
    const auto key = [&](const SessionId& id) {
      const Session& row = on.sessions.at(id);
      const std::int64_t began = row.starts_at.ns;
      if (order == "newest") return std::tuple(row.job_priority, -began, std::int64_t{0}, id);
      const std::int64_t first = order == "smallest-resources" ? weight(on, id) : 0;
      return std::tuple(row.job_priority, first, began, id);
    };
    return std::ranges::lexicographical_compare(
        a, b, [&](const SessionId& x, const SessionId& y) { return key(x) < key(y); });
  }
  static std::int64_t weight(const Rows& on, const SessionId& session) {
    std::map<std::string, std::int64_t> all;
    for (const auto& [id, agent] : on.agents) {
      for (const auto& [slot, amount] : agent.available_slots) {
        if (agent.schedulable) all[slot] += amount.units;
      }
    }
    std::int64_t weight = 0;
    for (const auto& [id, kernel] : on.kernels) {
      if (kernel.session != session) continue;
      for (const auto& [slot, amount] : kernel.occupied_slots) {
        if (all[slot] == 0) continue;
        const double whole = std::exp2(std::round(std::log2(static_cast<double>(all[slot]))));
        weight += static_cast<std::int64_t>(static_cast<double>(amount.units) / whole * 0x1p60);
      }
    }
    return weight;
  }

  // Agents by domain, of each level that it may be in; all of them where it demands nothing.
  static std::vector<std::vector<std::set<std::string>>> domains(const Rows& on, const Gang& gang) {
    std::map<std::string, std::set<std::string>> racks, spans;
    std::set<std::string> all;
    for (const auto& [id, agent] : on.agents) {
      const Json* rack = agent.labels.find("rack");
      const Json* span = agent.labels.find("row");
      const std::string outer(span != nullptr ? span->as_string() : "");
      if (rack != nullptr) racks[outer + "/" + std::string(rack->as_string())].insert(id.str());
      if (span != nullptr) spans[outer].insert(id.str());
      all.insert(id.str());
    }
    const Json* level = gang.session.resource_opts.find("topology");
    std::vector<std::vector<std::set<std::string>>> levels(1);
    for (const auto& [name, agents] : racks) levels[0].push_back(agents);
    if (level != nullptr && level->as_string() == "rack") return levels;
    levels.emplace_back();
    for (const auto& [name, agents] : spans) levels[1].push_back(agents);
    if (level == nullptr) levels.push_back({all});
    return levels;
  }

  // Whether the quota that the gang's project has lent is missing.
  bool takes_back(const Rows& on, const Gang& gang) const {
    Amounts together{}, all{};
    for (const Amounts& amounts : used(on)) add(together, amounts);
    for (const Amounts& amounts : own) add(all, amounts);
    for (const Kernel& kernel : gang.kernels) add(together, amounts_of(kernel.requested_slots));
    return !own.empty() && (together[0] > all[0] || together[1] > all[1]);
  }

  // Who leaves, or may be ended for the gang.
  std::set<SessionId> may_go(const Rows& on, const Gang& gang) const {
    std::set<SessionId> leave, go;
    for (const auto& [id, row] : on.sessions) {
      if (row.status == SessionStatus::Terminating) leave.insert(id);
    }
    const auto held = used(on, leave);
    const bool reclaims = takes_back(on, gang);
    const Json* scope = rules.find("victim_scope");
    const Json* runtime = rules.find("min_runtime_s");
    for (const auto& [id, row] : on.sessions) {
      if (row.status != SessionStatus::Running || !row.is_preemptible) continue;
      const std::int64_t ran = now - row.starts_at.ns / 1'000'000'000;
      const bool yields = row.job_priority < gang.session.job_priority &&
                          (scope != nullptr || row.user == gang.session.user) &&
                          (runtime == nullptr || ran >= runtime->as_int());
      bool lends_back = false;
      for (std::size_t p = 0; p < own.size() && reclaims; ++p) {
        if (row.project != numbered<ProjectId>(p + 1) || row.project == gang.session.project) {
          continue;
        }
        const Amounts total = total_of(on, id);
        for (std::size_t s = 0; s < 2; ++s) {
          lends_back = lends_back || (total[s] > 0 && held[p][s] > own[p][s]);
        }
      }
      if (yields || lends_back) go.insert(id);
    }
    go.insert(leave.begin(), leave.end());
    return go;
  }

  // Kernels like each of the gang's that find room on these agents when those have left.
  std::int64_t room(const Rows& on, const Gang& gang, const std::set<std::string>& agents) const {
    const auto gone = may_go(on, gang);
    const bool spreads = !gang.session.session_group.empty();
    std::set<Amounts> kinds;
    for (const Kernel& kernel : gang.kernels) kinds.insert(amounts_of(kernel.requested_slots));
    const auto& named = gang.session.designated_agents;
    std::int64_t room = 0;
    for (const std::string& name : agents) {
      const Agent& agent = on.agents.at(AgentId(name));
      bool takes =
          agent.schedulable && (named.empty() || std::ranges::find(named, name) != named.end());
      Amounts free = amounts_of(agent.available_slots);
      std::int64_t places = containers > 0 ? containers : 1'000'000;
      for (const auto& [id, kernel] : on.kernels) {
        if (kernel.agent != agent.id) continue;
        const Session& row = on.sessions.at(kernel.session);
        takes = takes && !(spreads && row.session_group == gang.session.session_group);
        if (gone.contains(row.id)) continue;
        const Amounts held = amounts_of(kernel.occupied_slots);
        add(free, {-held[0], -held[1]});
        --places;
      }
      for (const Amounts& kind : kinds) {
        const std::int64_t copies = std::min({places, free[0] / kind[0], free[1] / kind[1]});
        if (takes) room += std::max<std::int64_t>(0, copies);
      }
    }
    return room;
  }

  // The best there is, of equals in the domain with the least room; nothing: it waits.
  std::optional<Found> expected(const Rows& on, const Gang& gang) const {
    const auto levels = domains(on, gang);
    const bool demands = gang.session.resource_opts.find("topology") != nullptr;
    for (const auto& level : levels) {
      for (const auto& agents : level) {
        const auto now_free = alone(on, gang, agents, true);
        if (now_free && now_free->victims.empty()) return now_free;
      }
    }
    // Room that comes free anyway is waited for.
    if (!demands && alone(on, gang, levels.back().front(), false)) return std::nullopt;
    std::optional<Found> best;
    for (const auto& level : levels) {
      for (const auto& agents : level) {
        if (alone(on, gang, agents, false)) return std::nullopt;
        auto made = alone(on, gang, agents, true);
        if (!made) continue;
        made->room = room(on, gang, agents);
        if (!best || is_less(on, made->victims, best->victims) ||
            (!is_less(on, best->victims, made->victims) && made->room < best->room)) {
          best = std::move(made);
        }
      }
      if (best) return best;
    }
    return best;
  }

  // Whoever got agents holds them, and whoever is ended for it leaves.
  static void apply(Rows& on, Gang gang, const Found& found) {
    gang.session.status = SessionStatus::Scheduled;
    for (std::size_t i = 0; i < gang.kernels.size(); ++i) {
      Kernel& kernel = gang.kernels[i];
      kernel.status = KernelStatus::Scheduled;
      kernel.agent = AgentId(found.agents[i]);
      kernel.occupied_slots = kernel.requested_slots;
      on.kernels[kernel.id] = kernel;
    }
    on.sessions[gang.session.id] = gang.session;
    for (const SessionId& victim : found.victims) {
      on.sessions.at(victim).status = SessionStatus::Terminating;
    }
  }

  Draw draw;
  World world;
  Rows rows;
  std::string selector;
  Json rules;
  std::vector<Amounts> own;  // of projects; empty: sessions are in none
  std::int64_t containers = 0, now = kNow;
  std::uint64_t last_kernel = 1'000'000;
};

}  // namespace bai::test

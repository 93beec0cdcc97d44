// What must hold for every plan, and a naive planner that must agree.
#include <random>

#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

std::string units(const std::string& slot, std::uint64_t amount) {
  return slot == "mem" ? std::to_string(amount) + "g" : std::to_string(amount);
}

// A random cluster with a random queue.
class RandomWorld {
 public:
  RandomWorld(std::uint64_t seed, const std::string& selector, QueueDiscipline discipline)
      : random_(seed) {
    world.group().selector = selector;
    world.group().queue_discipline = discipline;
    if (pick(2) == 0) world.group().selector_priority = {"cuda.device", "mem"};
    if (pick(2) == 0) world.group().policy_options = Json::object({{"max_container_count", 5}});
    const std::size_t agents = 1 + pick(12);
    for (std::size_t i = 0; i < agents; ++i) add_agent("agent" + std::to_string(i));
    const std::size_t sessions = pick(40);
    for (std::size_t i = 0; i < sessions; ++i) add_session();
  }

  World world;

 private:
  std::size_t pick(std::size_t n) { return static_cast<std::size_t>(random_() % n); }

  void add_agent(const std::string& id) {
    Texts capacity = {{"cpu", units("cpu", pick(16))}, {"mem", units("mem", pick(64))}};
    Texts used = {{"cpu", units("cpu", pick(4))}};
    if (pick(3) == 0) {
      capacity.emplace_back("cuda.device", units("", pick(5)));
      used.emplace_back("cuda.device", units("", pick(2)));
    }
    world.agent(id, capacity, pick(2) == 0 ? used : Texts{}, "default",
                pick(4) == 0 ? "aarch64" : "x86_64");
    if (pick(8) == 0) {
      world.changes.update<Agent>(AgentId(id), [](Agent& row) { row.schedulable = false; });
    }
  }

  void add_session() {
    Session row = world.draft();
    row.priority = static_cast<std::int64_t>(pick(3));
    row.cluster_mode = pick(3) == 0 ? ClusterMode::MultiNode : ClusterMode::SingleNode;
    if (pick(5) == 0) row.designated_agents = {"agent" + std::to_string(pick(12))};
    if (pick(5) == 0) row.failed_agents = {"agent" + std::to_string(pick(12))};
    if (pick(2) == 0) row.resource_opts = Json::object({{"agent_selection_policy", "strict"}});
    std::vector<KernelSpec> kernels(1 + pick(3));
    const std::string architecture = pick(5) == 0 ? "aarch64" : "x86_64";
    for (KernelSpec& kernel : kernels) {
      kernel.architecture = pick(20) == 0 ? "aarch64" : architecture;
      kernel.slots = {{"cpu", units("cpu", pick(5))}, {"mem", units("mem", pick(12))}};
      if (pick(3) == 0) kernel.slots.emplace_back("cuda.device", units("", pick(3)));
    }
    world.add(std::move(row), kernels);
  }

  std::mt19937_64 random_;
};

// Written from the definitions alone, with maps and loops.
class NaivePlanner {
 public:
  NaivePlanner(const State& state, std::string selector)
      : selector_(std::move(selector)),
        group_(*state.find<ResourceGroup>(ResourceGroupName("default"))) {
    if (const Json* limit = group_.policy_options.find("max_container_count")) {
      container_limit_ = limit->as_int();
    }
    state.table<Agent>().for_each([&](const Agent& row) {
      if (row.schedulable && row.status == AgentStatus::Alive) {
        agents_.push_back({row, row.available_slots, row.available_slots, 0});
      }
      return true;
    });
    state.table<Kernel>().for_each([&](const Kernel& row) {
      if (!holds_resources(row.status)) return true;
      for (Node& node : agents_) {
        if (node.row.id != row.agent) continue;
        node.free -= row.occupied_slots;
        ++node.containers;
      }
      return true;
    });
    for (Node& node : agents_) node.observed = node.free;
    state.table<Session>().for_each([&](const Session& row) {
      sessions_.push_back(row);
      return true;
    });
    std::ranges::stable_sort(sessions_, [](const Session& a, const Session& b) {
      return std::tuple(-a.priority, a.created_at, a.id) <
             std::tuple(-b.priority, b.created_at, b.id);
    });
    for (const Session& session : sessions_) {
      if (!plan(session, state.kernels_of(session.id))) break;
    }
  }

  std::vector<Placement> placements;

 private:
  struct Node {
    Agent row;
    SlotMap free, observed;
    std::int64_t containers;
  };
  struct Need {
    SlotMap slots;
    std::string architecture;
    std::int64_t containers;
  };

  // False when the rest of the queue is not attempted.
  bool plan(const Session& session, std::vector<std::shared_ptr<const Kernel>> kernels) {
    std::ranges::sort(kernels, {}, [](const auto& k) { return std::pair(k->local_rank, k->id); });
    std::vector<Need> needs;
    for (const auto& kernel : kernels) {
      if (session.cluster_mode == ClusterMode::SingleNode && !needs.empty()) {
        if (needs[0].architecture != kernel->architecture) return true;
        needs[0].slots += kernel->requested_slots;
        ++needs[0].containers;
      } else {
        needs.push_back({kernel->requested_slots, kernel->architecture, 1});
      }
    }
    const std::vector<Node> before = agents_;
    const std::size_t picks = picks_;
    std::vector<AgentId> chosen;
    for (const Need& need : needs) {
      const auto candidates = tiers(session, filter(session, need));
      if (candidates.empty()) {
        const bool shortage = could_run(session, need);
        agents_ = before;
        picks_ = picks;
        return !shortage || group_.queue_discipline == QueueDiscipline::SkipAhead;
      }
      Node& node = agents_[choose(need, candidates)];
      for (const auto& [slot, amount] : need.slots) {
        if (amount.units != 0) node.free.set(slot, node.free.get(slot) - amount);
      }
      node.containers += need.containers;
      chosen.push_back(node.row.id);
    }
    Placement& placement = placements.emplace_back();
    placement.session = session.id;
    for (std::size_t i = 0; i < kernels.size(); ++i) {
      placement.kernels.emplace_back(kernels[i]->id, chosen[chosen.size() == 1 ? 0 : i]);
    }
    return true;
  }

  bool hard(const Session& session, const Need& need, const Node& node) const {
    const bool strict = session.resource_opts.find("agent_selection_policy") != nullptr;
    const auto& wanted = session.designated_agents;
    if (strict && !wanted.empty() && std::ranges::find(wanted, node.row.id.str()) == wanted.end()) {
      return false;
    }
    return node.row.architecture == need.architecture;
  }
  bool could_run(const Session& session, const Need& need) const {
    return std::ranges::any_of(agents_,
                               [&](const Node& node) { return hard(session, need, node); });
  }
  std::vector<std::size_t> filter(const Session& session, const Need& need) const {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < agents_.size(); ++i) {
      const Node& node = agents_[i];
      const bool fits = std::ranges::all_of(need.slots, [&](const auto& slot) {
        return slot.second.units == 0 || slot.second <= node.free.get(slot.first);
      });
      if (hard(session, need, node) && fits &&
          node.containers + need.containers <= container_limit_) {
        found.push_back(i);
      }
    }
    return found;
  }
  std::vector<std::size_t> tiers(const Session& session, std::vector<std::size_t> found) const {
    const auto keep = [&](const std::vector<std::string>& names, bool listed) {
      std::vector<std::size_t> kept;
      for (const std::size_t i : found) {
        if ((std::ranges::find(names, agents_[i].row.id.str()) != names.end()) == listed) {
          kept.push_back(i);
        }
      }
      if (!kept.empty()) found = kept;
    };
    keep(session.designated_agents, true);
    keep(session.failed_agents, false);
    return found;
  }
  std::size_t choose(const Need& need, const std::vector<std::size_t>& candidates) {
    if (selector_ == "roundrobin") return candidates[picks_++ % candidates.size()];
    std::vector<std::string> order;
    const std::vector<std::string> standard = {"cuda", "rocm", "tpu", "cpu", "mem"};
    for (const std::string& slot :
         group_.selector_priority.empty() ? standard : group_.selector_priority) {
      if (need.slots.contains(slot)) order.push_back(slot);
    }
    for (const auto& [slot, amount] : need.slots) {
      if (std::ranges::find(order, slot) == order.end()) order.push_back(slot);
    }
    const bool least = selector_ == "concentrated";
    const auto key = [&](std::size_t i) {
      const Node& node = agents_[i];
      std::vector<std::int64_t> parts(1, 0);
      for (const auto& [slot, amount] : need.slots) {
        if (amount.units == 0 && node.observed.get(slot).units > 0) ++parts[0];
      }
      for (const std::string& slot : order) {
        const std::int64_t free = node.free.get(slot).units;
        parts.push_back(node.row.available_slots.contains(slot) ? (least ? free : -free)
                                                                : kInfiniteAmount.units);
      }
      return parts;
    };
    return *std::ranges::min_element(candidates, {}, key);
  }

  std::string selector_;
  ResourceGroup group_;
  std::vector<Node> agents_;
  std::vector<Session> sessions_;
  std::int64_t container_limit_ = 1'000'000;
  std::size_t picks_ = 0;
};

void check_no_overcommit(const State& state, const Plan& plan) {
  std::map<AgentId, SlotMap> free;
  state.table<Agent>().for_each([&](const Agent& row) {
    if (row.schedulable) free[row.id] = row.available_slots;
    return true;
  });
  state.table<Kernel>().for_each([&](const Kernel& row) {
    if (free.contains(row.agent)) free[row.agent] -= row.occupied_slots;
    return true;
  });
  for (const Placement& placement : plan.placements) {
    CHECK(placement.kernels.size() == state.kernels_of(placement.session).size());
    for (const auto& [id, agent] : placement.kernels) {
      const Kernel& kernel = *state.find<Kernel>(id);
      CHECK(kernel.session == placement.session);
      REQUIRE(free.contains(agent));
      CHECK(state.find<Agent>(agent)->architecture == kernel.architecture);
      for (const auto& [slot, amount] : kernel.requested_slots) {
        if (amount.units == 0) continue;
        free[agent].set(slot, free[agent].get(slot) - amount);
        CHECK(free[agent].get(slot).units >= 0);
      }
    }
  }
}

}  // namespace

TEST_CASE("every plan is what the definitions say, and grants no more than is free") {
  std::size_t placements = 0, waiting = 0;
  for (const char* selector : {"concentrated", "dispersed", "roundrobin"}) {
    for (const auto discipline : {QueueDiscipline::HeadOfLine, QueueDiscipline::SkipAhead}) {
      for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        CAPTURE(std::string(selector));
        CAPTURE(seed);
        RandomWorld random(seed, selector, discipline);
        World& world = random.world;
        world.feed();
        const std::string before = world.planner.mirror().dump();
        const Plan plan = world.planner.plan(at_second(kNow), 7);
        REQUIRE(world.planner.mirror().dump() == before);
        REQUIRE(plan.errors.empty());
        check_no_overcommit(world.state, plan);
        const NaivePlanner naive(world.state, selector);
        REQUIRE(plan.placements == naive.placements);
        placements += plan.placements.size();
        waiting += plan.explained.size();
        // Everyone is placed or knows why not.
        CHECK(plan.placements.size() + plan.explained.size() ==
              world.state.table<Session>().size());
      }
    }
  }
  CHECK(placements > 1000);
  CHECK(waiting > 1000);
}

TEST_CASE("the order in which rows arrive does not matter, nor does the number of passes before") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    RandomWorld random(seed, "dispersed", QueueDiscipline::SkipAhead);
    World& world = random.world;
    const auto changes = [&] {
      std::vector<Change> rows;
      for (const EntityInfo* info : all_entities()) {
        if (info->residence == Residence::Cold) continue;
        world.state.any_table(info->kind).for_each_row([&](const RowPtr& row) {
          rows.push_back({info->kind, nullptr, row, false});
          return true;
        });
      }
      return rows;
    };
    world.feed();
    const std::string expected = dump(world.planner.plan(at_second(kNow), 7));
    std::mt19937_64 shuffle(seed);
    for (int round = 0; round < 3; ++round) {
      auto rows = changes();
      std::ranges::shuffle(rows, shuffle);
      Planner planner(builtin_policies(), {});
      // In two feeds: half of the rows are not there yet when the first plan is made.
      const std::span<const Change> all(rows);
      planner.feed({0}, all.first(all.size() / 2));
      if (round == 2) planner.plan(at_second(kNow), 7);
      planner.feed({world.version}, all.subspan(all.size() / 2));
      const Plan plan = planner.plan(at_second(kNow), 7);
      if (round < 2) {
        CHECK(dump(plan) == expected);
      } else {
        CHECK(placed(plan) == placed(world.planner.plan(at_second(kNow), 7)));
      }
    }
  }
}

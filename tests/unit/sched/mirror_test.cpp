// The mirror equals, at every version, one that is built from that version's rows alone.
#include <random>

#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

std::vector<Change> rows_of(const State& state) {
  std::vector<Change> rows;
  for (const EntityInfo* info : all_entities()) {
    if (info->residence == Residence::Cold) continue;
    state.any_table(info->kind).for_each_row([&](const RowPtr& row) {
      rows.push_back({info->kind, nullptr, row, false});
      return true;
    });
  }
  return rows;
}

std::string fresh_dump(const State& state, StateVersion version, std::mt19937_64& random) {
  auto rows = rows_of(state);
  std::ranges::shuffle(rows, random);
  sched::Mirror mirror;
  mirror.feed(version, rows);
  return mirror.dump();
}

// Random edits of everything that the mirror looks at, and of much that it does not.
class Chaos {
 public:
  explicit Chaos(std::uint64_t seed) : random(seed) {}

  void step() {
    switch (pick(16)) {
      case 0:
        return add_agent();
      case 1:
        return edit_agent();
      case 2:
        return erase_one<Agent>();
      case 3:
      case 4:
      case 5:
        return add_session();
      case 6:
        return edit_session();
      case 7:
      case 8:
        return start_session();
      case 9:
      case 10:
        return end_session();
      case 11:
        return edit_kernel();
      case 12:
        return add_tenant();
      case 13:
        return edit_usage();
      case 14:
        return edit_group();
      default:
        return erase_session();
    }
  }

  State state;
  Changeset changes{state};
  std::mt19937_64 random;

 private:
  std::size_t pick(std::size_t n) { return static_cast<std::size_t>(random() % n); }
  std::int64_t small(std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  }
  std::string name(const char* kind, std::size_t n) { return kind + std::to_string(pick(n)); }
  ResourceGroupName group() { return ResourceGroupName(name("g", 3)); }
  SlotMap amounts() {
    SlotMap map;
    for (const char* slot : {"cpu", "mem", "cuda.device", "odd:slot"}) {
      if (pick(3) != 0) map.set(slot, Amount{small(4) * 1000});
    }
    return map;
  }
  template <Entity E>
  std::vector<KeyOf<E>> keys() const {
    std::vector<KeyOf<E>> all;
    state.table<E>().for_each([&](const E& row) {
      all.push_back(Table<E>::key_of(row));
      return true;
    });
    return all;
  }
  template <Entity E>
  std::optional<KeyOf<E>> any() {
    const auto all = keys<E>();
    if (all.empty()) return std::nullopt;
    return all[pick(all.size())];
  }
  template <Entity E>
  void erase_one() {
    if (const auto key = any<E>()) changes.erase<E>(*key);
  }

  void add_agent() {
    Agent row;
    row.id = AgentId(name("agent", 12));
    if (state.find<Agent>(row.id) != nullptr) return;
    row.resource_group = group();
    row.architecture = name("arch", 2);
    row.available_slots = amounts();
    changes.insert(row);
  }
  void edit_agent() {
    const auto id = any<Agent>();
    if (!id) return;
    changes.update<Agent>(*id, [&](Agent& row) {
      switch (pick(6)) {
        case 0:
          row.resource_group = group();
          break;
        case 1:
          row.status = pick(2) == 0 ? AgentStatus::Alive : AgentStatus::Lost;
          break;
        case 2:
          row.schedulable = pick(2) == 0;
          break;
        case 3:
          row.available_slots = amounts();
          break;
        case 4:
          row.architecture = name("arch", 2);
          break;
        default:
          row.last_seen = at_second(small(1000));
          break;
      }
    });
  }
  void add_session() {
    Session row;
    row.id = numbered<SessionId>(++last_id_);
    row.resource_group = group();
    row.priority = small(3);
    row.job_priority = small(3);
    row.is_preemptible = small(2) == 0;
    if (small(3) == 0) row.batch_timeout = seconds(1 + small(3));
    if (small(4) == 0) row.status_data.set("preempted_by", "somebody");
    row.created_at = at_second(small(5));
    row.cluster_mode = pick(2) == 0 ? ClusterMode::SingleNode : ClusterMode::MultiNode;
    row.type = static_cast<SessionType>(pick(4));
    row.user = numbered<UserId>(pick(3));
    row.project = numbered<ProjectId>(pick(2));
    row.domain = DomainName(name("d", 2));
    if (pick(4) == 0) row.dependencies = {to_string(numbered<SessionId>(pick(last_id_)))};
    if (pick(4) == 0) row.designated_agents = {name("agent", 12)};
    const std::size_t kernels = pick(4);
    for (std::size_t i = 0; i < kernels; ++i) {
      Kernel kernel;
      kernel.id = numbered<KernelId>(++last_id_);
      kernel.session = row.id;
      kernel.local_rank = small(3);
      kernel.architecture = name("arch", 2);
      kernel.requested_slots = amounts();
      changes.insert(kernel);
    }
    changes.insert(row);
  }
  void edit_session() {
    const auto id = any<Session>();
    if (!id) return;
    changes.update<Session>(*id, [&](Session& row) {
      switch (pick(9)) {
        case 0:
          row.priority = small(3);
          row.job_priority = small(3);
          break;
        case 1:
          row.resource_group = group();
          break;
        case 2:
          row.retry_at = at_second(small(3));
          break;
        case 3:
          row.failed_agents.push_back(name("agent", 12));
          break;
        case 4:
          row.cluster_mode = ClusterMode::MultiNode;
          break;
        case 5:
          row.resource_opts =
              pick(2) == 0 ? Json::object() : Json::object({{"agent_selection_policy", "strict"}});
          break;
        case 6:
          row.status = static_cast<SessionStatus>(pick(EnumText<SessionStatus>::names.size()));
          break;
        case 7:
          row.result = static_cast<SessionResult>(pick(3));
          break;
        default:
          row.num_queries += 1;
          break;
      }
    });
  }
  template <class Edit>
  void edit_kernels_of(const SessionId& id, Edit edit) {
    for (const auto& kernel : state.kernels_of(id)) changes.update<Kernel>(kernel->id, edit);
  }
  void start_session() {
    const auto id = any<Session>();
    if (!id) return;
    changes.update<Session>(*id, [](Session& row) { row.status = SessionStatus::Scheduled; });
    edit_kernels_of(*id, [&](Kernel& row) {
      row.status = KernelStatus::Scheduled;
      row.agent = AgentId(name("agent", 12));
      row.occupied_slots = row.requested_slots;
    });
  }
  void end_session() {
    const auto id = any<Session>();
    if (!id) return;
    changes.update<Session>(*id, [&](Session& row) {
      row.status = SessionStatus::Terminated;
      row.result = pick(2) == 0 ? SessionResult::Success : SessionResult::Failure;
    });
    edit_kernels_of(*id, [](Kernel& row) {
      row.status = KernelStatus::Terminated;
      row.occupied_slots = {};
    });
  }
  void edit_kernel() {
    const auto id = any<Kernel>();
    if (!id) return;
    changes.update<Kernel>(*id, [&](Kernel& row) {
      switch (pick(5)) {
        case 0:
          row.agent = AgentId(name("agent", 12));
          break;
        case 1:
          row.occupied_slots = amounts();
          break;
        case 2:
          row.requested_slots = amounts();
          break;
        case 3:
          row.status = static_cast<KernelStatus>(pick(EnumText<KernelStatus>::names.size()));
          break;
        default:
          row.local_rank = small(3);
          break;
      }
    });
  }
  void erase_session() {
    const auto id = any<Session>();
    if (!id) return;
    for (const auto& kernel : state.kernels_of(*id)) {
      if (pick(4) != 0) changes.erase<Kernel>(kernel->id);
    }
    changes.erase<Session>(*id);
  }
  template <Entity E>
  void put(E row) {
    const KeyOf<E> key = Table<E>::key_of(row);
    if (state.find<E>(key) != nullptr) {
      changes.update<E>(key, [&](E& present) { present = std::move(row); });
    } else {
      changes.insert(std::move(row));
    }
  }
  void add_tenant() {
    switch (pick(6)) {
      case 0: {
        User row;
        row.id = numbered<UserId>(pick(3));
        row.main_access_key = AccessKey(name("AK", 3));
        return put(row);
      }
      case 1: {
        Keypair row;
        row.access_key = AccessKey(name("AK", 3));
        row.resource_policy = PolicyName(name("p", 2));
        return put(row);
      }
      case 2: {
        KeypairPolicy row;
        row.name = PolicyName(name("p", 2));
        row.total_resource_slots = amounts();
        row.max_concurrent_sessions = small(5);
        row.max_session_lifetime_s = small(3);
        return put(row);
      }
      case 3: {
        Project row;
        row.id = numbered<ProjectId>(pick(2));
        row.total_resource_slots = amounts();
        return put(row);
      }
      case 4: {
        Domain row;
        row.name = DomainName(name("d", 2));
        row.total_resource_slots = amounts();
        return put(row);
      }
      default:
        switch (pick(4)) {
          case 0:
            return erase_one<User>();
          case 1:
            return erase_one<Keypair>();
          case 2:
            return erase_one<KeypairPolicy>();
          default:
            return erase_one<Domain>();
        }
    }
  }
  void edit_usage() {
    if (pick(4) == 0) return erase_one<Usage>();
    Usage row;
    row.id = usage_key(static_cast<ScopeKind>(pick(4)), name("scope", 3));
    row.slots = amounts();
    row.sessions = small(3);
    put(row);
  }
  void edit_group() {
    if (pick(3) == 0) return erase_one<ResourceGroup>();
    if (pick(3) == 0) {
      SlotDeclaration row;
      row.name = name("slot", 3);
      row.type = static_cast<SlotType>(pick(2));
      return put(row);
    }
    ResourceGroup row;
    row.name = group();
    if (pick(2) == 0) row.policy_options = Json::object({{"default_runtime_s", 1 + small(3)}});
    if (pick(2) == 0) row.policy_options.set("backfill_order", "shortest");
    put(row);
  }

  std::uint64_t last_id_ = 1;
};

}  // namespace

TEST_CASE("an incrementally fed mirror equals a fresh one after every version") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    Chaos chaos(seed);
    sched::Mirror mirror;
    for (std::uint64_t version = 1; version <= 150; ++version) {
      const std::size_t edits = 1 + chaos.random() % 6;
      for (std::size_t i = 0; i < edits; ++i) chaos.step();
      auto fed = coalesce(chaos.changes.take());
      if (chaos.random() % 2 == 0) std::ranges::shuffle(fed, chaos.random);
      mirror.feed({version}, fed);
      if (version % 5 != 0) continue;
      const std::string incremental = mirror.dump();
      const std::string fresh = fresh_dump(chaos.state, {version}, chaos.random);
      CHECK(incremental == fresh);
      if (incremental != fresh) return;
    }
  }
}

TEST_CASE("what kernels hold agrees with the agents' own account") {
  World world;
  world.agent("a", {{"cpu", "8"}, {"mem", "8g"}}, {{"cpu", "3"}});
  const KernelId id = world.hold("a", {{"cpu", "2"}, {"mem", "1g"}});
  world.changes.update<Agent>(AgentId("a"), [](Agent& row) {
    row.occupied_slots = slots({{"cpu", "5"}, {"mem", "1g"}});
    row.kernel_count = 2;
  });
  world.group();
  world.feed();
  const auto compare = [&] {
    const sched::Mirror& mirror = world.planner.mirror();
    const sched::AgentTable& agents = mirror.group(0).agents;
    const Agent& row = *world.state.find<Agent>(AgentId("a"));
    CHECK(agents.containers(0) == row.kernel_count);
    for (const auto& [name, capacity] : row.available_slots) {
      CHECK(agents.free(0, *mirror.slots().find(name)) ==
            (capacity - row.occupied_slots.get(name)).units);
    }
  };
  compare();
  world.changes.update<Kernel>(id, [](Kernel& row) {
    row.status = KernelStatus::Terminated;
    row.occupied_slots = {};
  });
  world.changes.update<Agent>(AgentId("a"), [](Agent& row) {
    row.occupied_slots = slots({{"cpu", "3"}});
    row.kernel_count = 1;
  });
  world.feed();
  compare();
}

TEST_CASE("what is held on an agent is found under its number, whoever comes together or goes") {
  World world;
  world.group();
  const auto id = [](int number) { return "a" + std::to_string(100 + number); };
  const auto check = [&](std::size_t count) {
    world.feed();
    const sched::Group& group = world.planner.mirror().group(0);
    REQUIRE(group.agents.size() == count);
    for (AgentIndex a = 0; a < count; ++a) {
      const auto held = group.held_on(a);
      REQUIRE(held.size() == 1);
      CHECK(held.front().held->agent == group.agents.id(a));
    }
  };
  const auto come = [&](int from, int to, int step) {
    for (int number = from; number < to; number += step) {
      world.agent(id(number), {{"cpu", "8"}});
      world.hold(id(number), {{"cpu", "1"}});
    }
  };
  come(1, 60, 3);  // many at once
  check(20);
  come(0, 60, 3);  // in between those that are there
  check(40);
  come(50, 51, 3);  // alone
  check(41);
  world.changes.erase<Agent>(AgentId(id(30)));
  check(40);
}

TEST_CASE("requests that nobody makes any more are forgotten") {
  World world;
  for (int round = 0; round < 50; ++round) {
    const auto id = world.session({{"cpu", std::to_string(round + 1)}});
    world.plan();
    for (const auto& kernel : world.state.kernels_of(id)) world.changes.erase<Kernel>(kernel->id);
    world.changes.erase<Session>(id);
    world.plan();
  }
  CHECK(contains(world.planner.mirror().dump(), "shared requests=0 requirements=0"));
  CHECK(world.planner.mirror().waiting_places() == 1);
}

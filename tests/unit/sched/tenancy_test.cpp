// Who is where: the same whatever order rows come in, and nothing left when they are gone.
#include "sched/tenancy.hpp"

#include <random>

#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

class Chaos {
 public:
  explicit Chaos(std::uint64_t seed) : random(seed) {}

  void step() {
    switch (pick(8)) {
      case 0:
      case 1:
        return add_session();
      case 2:
        return edit_session();
      case 3:
      case 4:
        return edit_kernel();
      case 5:
        return erase_session();
      case 6:
        return edit_share();
      default:
        return edit_group();
    }
  }
  std::vector<Change> all_rows() {
    std::vector<Change> rows;
    for (const EntityKind kind : {EntityKind::Session, EntityKind::Kernel, EntityKind::FairShare,
                                  EntityKind::SessionGroup}) {
      state.any_table(kind).for_each_row([&](const RowPtr& row) {
        rows.push_back({kind, nullptr, row, false});
        return true;
      });
    }
    std::ranges::shuffle(rows, random);
    return rows;
  }

  State state;
  Changeset changes{state};
  std::mt19937_64 random;

 private:
  std::uint64_t pick(std::uint64_t n) { return random() % n; }
  std::string name(const char* prefix, std::uint64_t n) { return prefix + std::to_string(pick(n)); }
  SlotMap amounts() {
    return {{name("slot", 2), Amount{static_cast<std::int64_t>(1 + pick(9)) * 1000}}};
  }
  template <Entity E>
  std::optional<KeyOf<E>> any() {
    std::vector<KeyOf<E>> keys;
    state.table<E>().for_each([&](const E& row) {
      keys.push_back(Table<E>::key_of(row));
      return true;
    });
    if (keys.empty()) return std::nullopt;
    return keys[pick(keys.size())];
  }

  void add_session() {
    Session row;
    row.id = numbered<SessionId>(++last_id_);
    row.resource_group = ResourceGroupName(name("g", 2));
    row.user = numbered<UserId>(pick(3));
    row.project = numbered<ProjectId>(pick(2));
    row.domain = DomainName(name("d", 2));
    if (pick(2) == 0) row.session_group = name("sg", 2);
    row.status = pick(2) == 0 ? SessionStatus::Running : SessionStatus::Pending;
    for (std::uint64_t i = 0; i <= pick(3); ++i) {
      Kernel kernel;
      kernel.id = numbered<KernelId>(++last_id_);
      kernel.session = row.id;
      if (row.status == SessionStatus::Running) run(kernel);
      changes.insert(kernel);
    }
    changes.insert(row);
  }
  void run(Kernel& kernel) {
    kernel.status = KernelStatus::Running;
    kernel.agent = AgentId(name("agent", 3));
    kernel.occupied_slots = amounts();
    if (pick(3) != 0) {
      kernel.starts_at = at_second(static_cast<std::int64_t>(pick(4)) * 86'400 + 100);
    }
  }
  void edit_session() {
    const auto id = any<Session>();
    if (!id) return;
    changes.update<Session>(*id, [&](Session& row) {
      switch (pick(4)) {
        case 0:
          row.session_group = pick(2) == 0 ? "" : name("sg", 2);
          break;
        case 1:
          row.resource_group = ResourceGroupName(name("g", 2));
          break;
        case 2:
          row.user = numbered<UserId>(pick(3));
          break;
        default:
          row.status = static_cast<SessionStatus>(pick(EnumText<SessionStatus>::names.size()));
      }
    });
  }
  void edit_kernel() {
    const auto id = any<Kernel>();
    if (!id) return;
    changes.update<Kernel>(*id, [&](Kernel& row) {
      switch (pick(3)) {
        case 0:
          run(row);
          break;
        case 1:
          row.status = KernelStatus::Terminated;
          break;
        default:
          row.occupied_slots = amounts();
      }
    });
  }
  void erase_session() {
    const auto id = any<Session>();
    if (!id) return;
    for (const auto& kernel : state.kernels_of(*id)) changes.erase<Kernel>(kernel->id);
    changes.erase<Session>(*id);
  }
  void edit_share() {
    FairShare row;
    row.resource_group = ResourceGroupName(name("g", 2));
    row.scope_kind = ScopeKind::Domain;
    row.scope = name("d", 2);
    row.id = row.resource_group.str() + "/" + usage_key(row.scope_kind, row.scope);
    row.buckets = Json::object({{"2026-01-0" + std::to_string(1 + pick(3)),
                                 Json::object({{"cpu", static_cast<std::int64_t>(pick(9))}})}});
    if (state.find<FairShare>(row.id) == nullptr) return void(changes.insert(row));
    if (pick(3) == 0) return changes.erase<FairShare>(row.id);
    changes.update<FairShare>(row.id, [&](FairShare& present) { present = row; });
  }
  void edit_group() {
    SessionGroup row;
    row.id = name("sg", 2);
    row.direction = static_cast<PlacementDirection>(pick(3));
    if (state.find<SessionGroup>(row.id) == nullptr) return void(changes.insert(row));
    if (pick(3) == 0) return changes.erase<SessionGroup>(row.id);
    changes.update<SessionGroup>(row.id, [&](SessionGroup& present) { present = row; });
  }

  std::uint64_t last_id_ = 0;
};

void feed(sched::Tenancy& tenancy, std::span<const Change> changes) {
  for (const Change& change : changes) {
    switch (change.entity) {
      case EntityKind::Session:
        tenancy.on_session(change);
        break;
      case EntityKind::Kernel:
        tenancy.on_kernel(change);
        break;
      case EntityKind::FairShare:
        tenancy.on_fair_share(change);
        break;
      case EntityKind::SessionGroup:
        tenancy.on_session_group(change);
        break;
      default:
        break;
    }
  }
}

}  // namespace

TEST_CASE("who is where follows changes in any order") {
  std::size_t lines = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Chaos chaos(seed);
    sched::Names slots;
    sched::Tenancy tenancy(slots);
    for (int version = 0; version < 100; ++version) {
      for (std::uint64_t i = 0; i <= chaos.random() % 5; ++i) chaos.step();
      auto fed = coalesce(chaos.changes.take());
      std::ranges::shuffle(fed, chaos.random);
      feed(tenancy, fed);
      sched::Names fresh_slots;
      sched::Tenancy fresh(fresh_slots);
      feed(fresh, chaos.all_rows());
      REQUIRE(tenancy.dump() == fresh.dump());
      lines += static_cast<std::size_t>(std::ranges::count(tenancy.dump(), '\n'));
    }
    std::vector<Change> gone;
    for (const Change& row : chaos.all_rows()) {
      gone.push_back({row.entity, row.after, nullptr, false});
    }
    feed(tenancy, gone);
    CHECK(tenancy.dump().empty());
  }
  CHECK(lines > 10'000);
}

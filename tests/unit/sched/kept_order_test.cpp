// Orders by owner that are kept from pass to pass, against a sequencer that looks at everybody
// before each choice, in a planner that has seen nothing before.
#include <random>
#include <set>

#include "sched/fair_share.hpp"
#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

__extension__ using Wide = __int128;
constexpr std::int64_t kDay = 86'400;

// Every session that is left is compared before each draw, by the view's own numbers.
class Literal final : public Sequencer {
 public:
  enum class By : std::uint8_t { LiveShares, Shares, Usage };
  Literal(By by, FairShareSettings settings) : by_(by), settings_(std::move(settings)) {}

  std::unique_ptr<Ordering> start(const SchedView& view) const override {
    return std::make_unique<Draw>(view, *this);
  }

 private:
  class Draw final : public Ordering {
   public:
    Draw(const SchedView& view, const Literal& rule) : view_(view), rule_(rule) {
      for (const std::int32_t priority : view.bands()) bands_.push_back(view.band(priority));
    }
    std::optional<PendingIndex> next() override {
      for (auto& band : bands_) {
        if (band.empty()) continue;
        const auto first = std::ranges::min_element(
            band, [&](PendingIndex a, PendingIndex b) { return goes_before(a, b); });
        const PendingIndex drawn = *first;
        band.erase(first);
        return drawn;
      }
      return std::nullopt;
    }

   private:
    bool goes_before(PendingIndex a, PendingIndex b) const {
      const PendingSession &x = view_.session(a), &y = view_.session(b);
      if (rule_.by_ == By::Usage) {
        const auto one = view_.fair_share(x.owner, rule_.settings_),
                   other = view_.fair_share(y.owner, rule_.settings_);
        if (one != other) return one > other;
      } else {
        const bool live = rule_.by_ == By::LiveShares;
        const auto one = view_.dominant_share(x.owner, live),
                   other = view_.dominant_share(y.owner, live);
        const Wide left = Wide{one.held} * other.capacity, right = Wide{other.held} * one.capacity;
        if (left != right) return left < right;
      }
      return std::tuple(x.created_at, x.id) < std::tuple(y.created_at, y.id);
    }

    const SchedView& view_;
    const Literal& rule_;
    std::vector<std::vector<PendingIndex>> bands_;
  };

  By by_;
  FairShareSettings settings_;
};

struct Rule {
  const char* scheduler = "drf";
  Json options = Json::object();
  Literal::By by = Literal::By::LiveShares;
  FairShareSettings settings = {};
};

std::vector<Rule> rules() {
  std::vector<Rule> all(4);
  all[1] = {"drf", Json::object({{"shares", "per-pass"}}), Literal::By::Shares, {}};
  all[2] = {"fair-share", Json::object(), Literal::By::Usage, {}};
  all[3] = {"fair-share",
            Json::object({{"half_life_days", 1}, {"decay_unit_days", 2}, {"lookback_days", 5}}),
            Literal::By::Usage,
            {}};
  all[3].settings.half_life_days = 1;
  all[3].settings.decay_unit_days = 2;
  all[3].settings.lookback_days = 5;
  return all;
}

class Changing {
 public:
  explicit Changing(std::uint64_t seed) : random(seed), world(builtin_policies(), limits(random)) {
    world.agent("a0", {{"cpu", "400"}, {"mem", "400g"}});
    for (int i = 0; i < 30; ++i) add_session();
  }

  void step() {
    switch (pick(14)) {
      case 0:
      case 1:
      case 2:
        return add_session();
      case 3:
        return drop_session();
      case 4:
        return edit_session();
      case 5:
        return start_session();
      case 6:
        return end_session();
      case 7:
        return edit_usage();
      case 8:
      case 9:
        return edit_fair_share();
      case 10:
        if (pick(3) == 0) edit_agent();
        return;
      case 11:
        now += pick(4) == 0 ? pick(2 * kDay) : pick(4000);
        return;
      case 12:
        if (pick(8) == 0) now -= pick(kDay);  // a clock that was set back
        return;
      default:
        return ask();
    }
  }

  void use(const Rule& rule) {
    world.group().scheduler = rule.scheduler;
    world.group().queue_discipline = QueueDiscipline::SkipAhead;
    world.group().policy_options = Json::object({{"sequencer", rule.options}});
  }

  // Of the same rows, of which a new planner has seen none before.
  std::vector<SessionId> literally(const Rule& rule) {
    auto registry = builtin_policies();
    REQUIRE(registry
                ->add_sequencer("literal",
                                [&](PolicyOptions&) {
                                  return std::make_unique<Literal>(rule.by, rule.settings);
                                })
                .has_value());
    std::vector<Change> rows;
    for (const EntityInfo* info : all_entities()) {
      if (info->residence == Residence::Cold) continue;
      world.state.any_table(info->kind).for_each_row([&](const RowPtr& row) {
        rows.push_back({info->kind, nullptr, row, false});
        return true;
      });
    }
    for (Change& change : rows) {
      if (change.entity != EntityKind::ResourceGroup) continue;
      ResourceGroup other = *change.new_row<ResourceGroup>();
      other.scheduler = "literal";
      other.policy_options = Json::object();
      change.after = std::make_shared<const ResourceGroup>(other);
    }
    Planner fresh(registry, limits_);
    fresh.feed({world.version}, rows);
    const Plan plan = fresh.plan(at_second(now), 7);
    CHECK(plan.errors.empty());
    return placed(plan);
  }

  std::int64_t pick(std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  }

 private:
  PlanLimits limits(std::mt19937_64& source) {
    limits_.sessions_max = source() % 2 == 0 ? 1000 : 4;
    return limits_;
  }

 public:
  PlanLimits limits_;
  std::mt19937_64 random;
  World world;
  std::int64_t now = 20'000 * kDay;

 private:
  Session owned() {
    Session row = world.draft();
    row.created_at = at_second(pick(20));
    row.user = numbered<UserId>(static_cast<std::uint64_t>(1 + pick(7)));
    row.project = numbered<ProjectId>(static_cast<std::uint64_t>(1 + pick(3)));
    row.domain = DomainName(pick(2) == 0 ? "d0" : "d1");
    row.access_key = AccessKey("AK" + std::to_string(pick(2)));
    row.priority = pick(3);
    return row;
  }
  Texts amounts() {
    return {{"cpu", std::to_string(pick(6))}, {"mem", std::to_string(pick(6)) + "g"}};
  }
  void add_session() { pending_.push_back(world.add(owned(), {{amounts()}})); }
  SessionId take(std::vector<SessionId>& ids) {
    const auto at = ids.begin() + pick(static_cast<std::int64_t>(ids.size()));
    const SessionId id = *at;
    ids.erase(at);
    return id;
  }
  void drop_session() {
    if (pending_.empty()) return;
    const SessionId id = take(pending_);
    for (const auto& kernel : world.state.kernels_of(id)) world.changes.erase<Kernel>(kernel->id);
    world.changes.erase<Session>(id);
  }
  void edit_session() {
    if (pending_.empty()) return;
    const SessionId id =
        pending_[static_cast<std::size_t>(pick(static_cast<std::int64_t>(pending_.size())))];
    const Session other = owned();
    world.changes.update<Session>(id, [&](Session& row) {
      if (pick(2) == 0) row.priority = other.priority;
      if (pick(2) == 0) row.created_at = other.created_at;
      if (pick(4) == 0) row.user = other.user;
    });
  }
  void start_session() {
    if (pending_.empty()) return;
    const SessionId id = take(pending_);
    running_.push_back(id);
    for (const auto& kernel : world.state.kernels_of(id)) {
      world.changes.update<Kernel>(kernel->id, [&](Kernel& row) {
        row.status = KernelStatus::Running;
        row.agent = AgentId("a0");
        row.starts_at = at_second(now - pick(3 * kDay));
        row.occupied_slots = row.requested_slots;
      });
    }
    world.changes.update<Session>(id, [&](Session& row) { row.status = SessionStatus::Running; });
  }
  void end_session() {
    if (running_.empty()) return;
    const SessionId id = take(running_);
    for (const auto& kernel : world.state.kernels_of(id)) {
      world.changes.update<Kernel>(kernel->id,
                                   [&](Kernel& row) { row.status = KernelStatus::Terminated; });
    }
    world.changes.update<Session>(id,
                                  [&](Session& row) { row.status = SessionStatus::Terminated; });
  }
  void edit_usage() {
    const auto user = numbered<UserId>(static_cast<std::uint64_t>(1 + pick(7)));
    const std::string id = usage_key(ScopeKind::User, to_string(user));
    const Texts held = amounts();
    if (world.state.find<Usage>(id) == nullptr) {
      world.usage(ScopeKind::User, to_string(user), held);
    } else if (pick(4) == 0) {
      world.changes.erase<Usage>(id);
    } else {
      world.changes.update<Usage>(id, [&](Usage& row) { row.slots = slots(held); });
    }
  }
  void edit_fair_share() {
    FairShare row;
    row.resource_group = ResourceGroupName("default");
    row.scope_kind = std::array{ScopeKind::User, ScopeKind::User, ScopeKind::Project,
                                ScopeKind::Domain}[static_cast<std::size_t>(pick(4))];
    const std::uint64_t number = static_cast<std::uint64_t>(1 + pick(7));
    row.scope = row.scope_kind == ScopeKind::User      ? to_string(numbered<UserId>(number))
                : row.scope_kind == ScopeKind::Project ? to_string(numbered<ProjectId>(number))
                                                       : "d" + std::to_string(number % 2);
    row.id = "default/" + usage_key(row.scope_kind, row.scope);
    if (pick(3) == 0) row.weight_milli = 500 + pick(3) * 500;
    for (int i = 0; i < 3; ++i) {
      row.buckets.set(sched::day_text(now / kDay - pick(8)),
                      Json::object({{"cpu", pick(3) * 10'000'000}}));
    }
    if (world.state.find<FairShare>(row.id) == nullptr) {
      world.changes.insert(row);
    } else if (pick(6) == 0) {
      world.changes.erase<FairShare>(row.id);
    } else {
      world.changes.update<FairShare>(row.id, [&](FairShare& present) { present = row; });
    }
  }
  void edit_agent() {
    world.changes.update<Agent>(AgentId("a0"), [&](Agent& row) {
      row.available_slots.set("cpu", Amount{(300 + pick(200)) * 1000});
    });
  }
  // Nothing of a question may show in the plans after it.
  void ask() {
    if (pending_.empty() || pick(3) != 0) return;
    world.feed();
    const SessionId id = world.add(owned(), {{amounts()}});
    const std::vector<Change> changes(world.changes.changes().begin(),
                                      world.changes.changes().end());
    world.changes.rollback(0);
    world.planner.what_if(changes, id, at_second(now + pick(3) * 1000), 7);
  }

  std::vector<SessionId> pending_, running_;
};

}  // namespace

TEST_CASE(
    "orders by owner that are kept between passes equal those of whoever looks at everybody") {
  std::size_t placements = 0;
  const auto all = rules();
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    Changing changing(seed);
    const Rule* rule = &all[seed % all.size()];
    for (int pass = 0; pass < 40; ++pass) {
      CAPTURE(pass);
      if (changing.pick(20) == 0) {
        rule = &all[static_cast<std::size_t>(changing.pick(static_cast<std::int64_t>(all.size())))];
      }
      changing.use(*rule);
      for (std::int64_t i = changing.pick(12); i > 0; --i) changing.step();
      const Plan plan = changing.world.plan(changing.now);
      REQUIRE(plan.errors.empty());
      REQUIRE(placed(plan) == changing.literally(*rule));
      placements += plan.placements.size();
    }
  }
  CHECK(placements > 10'000);
}

TEST_CASE("an order by owner is right again after more changes than anybody remembers") {
  Changing changing(7);
  World& world = changing.world;
  const Rule rule = rules().front();
  changing.use(rule);
  world.plan(changing.now);
  std::vector<SessionId> ids;
  world.state.table<Session>().for_each([&](const Session& row) {
    ids.push_back(row.id);
    return true;
  });
  const auto& log = world.planner.mirror().group(0).owner_changes;
  const std::uint64_t epoch = log.epoch();
  for (int i = 0; i < 10'000 && log.epoch() == epoch; ++i) {
    for (const SessionId& id : ids) {
      world.changes.update<Session>(id, [](Session& row) { row.priority ^= 1; });
    }
    world.feed();
  }
  CHECK(log.epoch() != epoch);
  CHECK(placed(world.plan(changing.now)) == changing.literally(rule));
}

TEST_CASE("fair-share: who has been rated later than now is rated again") {
  PlanLimits limits;
  limits.sessions_max = 1;  // who comes after the second is not looked at
  World world(builtin_policies(), limits);
  world.group().scheduler = "fair-share";
  world.agent("a", {{"cpu", "100"}});
  for (const std::uint64_t user : {1, 2, 3}) {
    FairShare row;
    row.resource_group = ResourceGroupName("default");
    row.scope = to_string(numbered<UserId>(user));
    row.id = "default/" + usage_key(ScopeKind::User, row.scope);
    row.buckets.set(sched::day_text(kNow / kDay),
                    Json::object({{"cpu", user == 1 ? 0 : 50 * 1000}}));
    world.changes.insert(row);
  }
  world.running("a", {{"cpu", "1"}}, kNow - 10, 1000);  // user 1's
  world.state.table<Kernel>().for_each([&](const Kernel& kernel) {
    world.changes.update<Kernel>(kernel.id,
                                 [](Kernel& row) { row.starts_at = at_second(kNow - 10); });
    return false;
  });
  const auto one = world.session({{"cpu", "1"}});
  std::vector<SessionId> others;
  for (const std::uint64_t user : {2, 3}) {
    Session row = world.draft();
    row.user = numbered<UserId>(user);
    others.push_back(world.add(row, {{{{"cpu", "1"}}}}));
  }
  using Ids = std::vector<SessionId>;
  CHECK(placed(world.plan(kNow)) == Ids{one});              // 10 core-seconds against 50
  CHECK(placed(world.plan(kNow + 100)) == Ids{others[0]});  // 110
  CHECK(placed(world.plan(kNow + 200)) == Ids{others[0]});
  CHECK(placed(world.plan(kNow)) == Ids{one});
}

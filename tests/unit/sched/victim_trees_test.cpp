// What the index of victims keeps, and for how long.
#include <limits>
#include <span>

#include "sched/preemption.hpp"
#include "sched/victim_index_tree.hpp"
#include "timeline.hpp"

namespace bai::test {

namespace {

// Users each of whom runs three sessions on agents that all share, and may end his own.
struct Users {
  explicit Users(std::uint64_t count) : users(count) {
    ResourceGroup row;
    row.name = ResourceGroupName("default");
    w.changes.insert(row);
    for (int a = 0; a < kAgents; ++a)
      w.agent("a" + std::to_string(100 + a), {{"cpu", "80"}, {"mem", "80g"}});
    for (std::uint64_t i = 0; i < 3 * users; ++i) run(i % users, i);
    for (std::uint64_t user = 0; user < users; ++user) {
      owners.push_back({numbered<UserId>(user + 1), {}, DomainName("default"), {}});
    }
    rules.enabled = true;
    rules.victim_scope = sched::PreemptionRules::Scope::User;
    feed();
  }

  void run(std::uint64_t user, std::uint64_t agent) {
    run(user, "a" + std::to_string(100 + agent % kAgents), {{"cpu", "1"}, {"mem", "1g"}});
  }
  void run(std::uint64_t user, const std::string& agent, const Texts& amounts) {
    Session row = w.draft();
    row.user = numbered<UserId>(user + 1);
    row.status = SessionStatus::Running;
    Kernel kernel;
    kernel.id = numbered<KernelId>(1'000'000 + ++last_kernel);
    kernel.session = row.id;
    kernel.agent = AgentId(agent);
    kernel.status = KernelStatus::Running;
    kernel.occupied_slots = slots(amounts);
    w.changes.insert(std::move(kernel));
    w.changes.insert(std::move(row));
  }

  void feed() { mirror.feed({++version}, coalesce(w.changes.take())); }

  // Every user from the first one on asks for some of the slots.
  void ask(sched::VictimIndex& index, const std::vector<std::string>& names = {"cpu"},
           std::size_t first = 0) {
    sched::Group& group = mirror.group(mirror.groups().at(ResourceGroupName("default")));
    sched::Ledger ledger(mirror);
    const sched::ViewSource source{mirror, group, ledger, at_second(kNow), 7};
    Requirement requirement;
    for (const std::string& name : names) {
      requirement.slots.push_back({*mirror.slots().find(name), 1000});
    }
    for (const Owner& owner : std::span(owners).subspan(first)) {
      CHECK(index.outlook({source, rules, owner, 5, requirement, 100}).anybody);
      most_entries = std::max(most_entries, index.entries());
    }
    CHECK(index.is_sound());
  }

  static constexpr int kAgents = 40;
  std::uint64_t users, version = 0, last_kernel = 0;
  World w;
  sched::Mirror mirror;
  sched::PreemptionRules rules;
  std::vector<Owner> owners;
  std::size_t most_entries = 0;
};

}  // namespace

TEST_CASE("a thousand users who preempt among their own sessions have a tree each that stays") {
  Users u(1000);
  sched::VictimIndex index;
  u.ask(index);
  CHECK(index.builds() == 1000);
  CHECK(index.entries() <= 1000 * (3 + sched::kEntriesPerTree));
  for (int pass = 0; pass < 3; ++pass) {
    for (std::uint64_t user = 0; user < 1000; user += 100) u.run(user, user + 7);
    u.feed();
    u.ask(index);
  }
  CHECK(index.builds() == 1000);
}

TEST_CASE("of trees those go that were not asked for the longest when they take too much") {
  Users u(20);
  const std::size_t tree = 3 + sched::kEntriesPerTree;
  const std::size_t most = 60 * sched::VictimIndex::kEntriesPerVictim;
  sched::VictimIndex index(most - 1);
  u.ask(index, {"cpu"});
  u.ask(index, {"mem"});
  u.ask(index, {"cpu", "mem"});
  CHECK(index.builds() == 60);
  CHECK(u.most_entries <= most);
  CHECK(u.most_entries + tree > most);
  const std::size_t kept = most / tree;
  u.ask(index, {"cpu", "mem"}, 20 - kept);
  CHECK(index.builds() == 60);
  u.ask(index, {"mem"}, 19);
  CHECK(index.builds() == 61);
  sched::VictimIndex larger(60 * tree);
  for (const auto& names : {std::vector<std::string>{"cpu"}, {"mem"}, {"cpu", "mem"}, {"cpu"}}) {
    u.ask(larger, names);
  }
  CHECK(larger.builds() == 60);
}

TEST_CASE("magnitudes are the nearest powers of two") {
  const std::vector<std::pair<std::int64_t, int>> expected = {
      {1, 0},
      {2, 1},
      {3, 2},
      {5, 2},
      {6, 3},
      {11, 3},
      {12, 4},
      {64'000, 16},
      {90'509, 16},
      {92'682, 17},
      {std::int64_t{3} << 40, 42},
      {std::numeric_limits<std::int64_t>::max(), 63}};
  for (const auto& [units, magnitude] : expected) {
    CAPTURE(units);
    CHECK(sched::magnitude_of(units) == magnitude);
  }
  CHECK(sched::magnitude_of(0) == sched::Magnitudes::kNone);
  CHECK(sched::magnitude_of(-5) == sched::Magnitudes::kNone);
}

TEST_CASE("what units weigh at a session's price is never more than the session") {
  Draw draw(1);
  std::size_t exact = 0;
  for (int i = 0; i < 20'000; ++i) {
    const auto magnitude = static_cast<std::uint8_t>(draw(0, 60));
    const std::int64_t units = draw(1, std::int64_t{1} << draw(0, 50));
    const std::int64_t weight = draw(0, 1) == 0
                                    ? draw(0, std::int64_t{1} << 60)
                                    : static_cast<std::int64_t>(std::min<sched::Int128>(
                                          sched::kMost, sched::Int128{units} << 60 >> magnitude));
    const std::int64_t price = sched::price_of(weight, units, magnitude);
    CHECK(sched::weight_at(price, units, magnitude) <= weight);
    exact += sched::weight_at(price, units, magnitude) == weight ? 1 : 0;
    const std::int64_t some = draw(0, units);
    CHECK(sched::Int128{sched::weight_at(price, some, magnitude)} * units <=
          sched::Int128{weight} * some + units);
  }
  CHECK(exact > 4000);
}

TEST_CASE("trees stay when the resource group has more or less, and read again whom it concerns") {
  Users u(30);
  u.rules.victim_scope = sched::PreemptionRules::Scope::ResourceGroup;
  u.rules.order = sched::PreemptionRules::Order::SmallestResources;
  u.w.agent("b", {{"cpu", "80"}, {"mem", "80g"}, {"cuda.device", "1"}});
  u.run(1, "b", {{"cpu", "1"}, {"cuda.device", "1"}});
  u.feed();
  sched::VictimIndex index;
  u.ask(index, {"cpu"}, 29);
  CHECK(index.builds() == 1);
  const auto change = [&](const std::string& agent, bool takes_sessions) {
    u.w.changes.update<Agent>(AgentId(agent), [&](Agent& a) { a.schedulable = takes_sessions; });
    u.feed();
    const std::uint64_t before = index.looked_at();
    u.ask(index, {"cpu"}, 29);
    CHECK(index.builds() == 1);
    return index.looked_at() - before;
  };
  CHECK(change("a100", false) == 0);
  CHECK(change("a100", true) == 0);
  CHECK(change("b", false) == 1);  // nobody has the device any more
  CHECK(change("b", true) == 1);
  for (int a = 0; a < 20; ++a) change("a" + std::to_string(100 + a), false);
  CHECK(change("a120", false) < 42);
}

}  // namespace bai::test

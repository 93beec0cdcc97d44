// What the index of victims keeps, and for how long.
#include <span>

#include "sched/preemption.hpp"
#include "sched/victim_index_tree.hpp"
#include "world.hpp"

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
    Session row = w.draft();
    row.user = numbered<UserId>(user + 1);
    row.status = SessionStatus::Running;
    Kernel kernel;
    kernel.id = numbered<KernelId>(1'000'000 + ++last_kernel);
    kernel.session = row.id;
    kernel.agent = AgentId("a" + std::to_string(100 + agent % kAgents));
    kernel.status = KernelStatus::Running;
    kernel.occupied_slots = slots({{"cpu", "1"}, {"mem", "1g"}});
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

}  // namespace bai::test

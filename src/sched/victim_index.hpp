// Where the least has to go for a session that preempts, without looking at all agents.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

#include "sched/agent_log.hpp"
#include "sched/borrower_book.hpp"
#include "sched/change_log.hpp"
#include "sched/policy_set.hpp"
#include "sched/victim_tree.hpp"
#include "sched/victims.hpp"

namespace bai::sched {

class Mirror;
struct Tenant;
struct ViewSource;
class AgentTable;

// One resource group's. Keeps, for each kind of question (whose sessions yield, who gives back
// quota, slots that are asked for), a tree over the agents that have such sessions; it follows the
// logs of the group when it is asked. What it says of an agent is a bound: whoever asks looks at
// the agents. A tree has an entry for each agent with such sessions, so where everybody looks among
// his own all trees of one kind together have no more than there are kernels of such sessions.
// Those that were not asked for the longest are dropped when all have more than kEntriesKept
// entries, and more than kEntriesPerVictim for each session that may be ended. Belongs to the
// thread that plans the group.
class VictimIndex {
 public:
  static constexpr std::size_t kEntriesKept = 1 << 16, kEntriesPerVictim = 4;

  struct Question {
    const ViewSource& source;
    const PreemptionRules& rules;
    const Owner& owner;  // of the session that preempts
    std::int64_t job_priority = 0;
    const Requirement& requirement;
    std::uint32_t container_limit = 0;
    bool by_priority = true;  // those with a lower job priority yield
    // These give back what they hold of what they have borrowed; ordered, and of nobody twice.
    std::span<const Borrower> borrowers{};
  };
  struct Outlook {
    bool anybody = false;          // may be ended, and has something of what is asked for
    std::optional<Timestamp> due;  // when the next one will have run long enough
  };
  // An agent. Whoever leaves there costs at least that: how many go, or how much they hold, where
  // the rules look at that; and nobody before `first` goes.
  struct Bound {
    AgentIndex agent = 0;
    std::int64_t cost = 0;
    VictimKey first;
  };

  explicit VictimIndex(std::size_t entries_kept = kEntriesKept);
  ~VictimIndex();
  VictimIndex(const VictimIndex&) = delete;
  VictimIndex& operator=(const VictimIndex&) = delete;

  Outlook outlook(const Question& question);
  // Agents that may have room when sessions have left, the lowest bound first. As of this call;
  // until the next one of any kind.
  class Search;
  Search search(const Question& question);

  // What can come free on each agent, for who keeps something that follows from it. As of this
  // call; until the next one of any kind.
  class Stakes;
  Stakes stakes(const Question& question);

  // Nobody else's in this pass; and the end of that.
  void claim(const SessionId& session) { claimed_.insert(session); }
  void forget_claims() { claimed_.clear(); }

  // Nodes and agents that it has looked at, so far.
  std::uint64_t looked_at() const noexcept { return looked_at_; }
  std::uint64_t builds() const noexcept { return builds_; }  // of trees, so far
  std::size_t entries() const noexcept;                      // of trees
  bool is_sound() const;                                     // for tests

 private:
  struct Kind;
  struct Tree;
  struct Trees;

  Tree* refreshed(const Question& question);  // null: nobody yields
  void catch_up(Tree& tree, const Question& question);
  void build(Tree& tree, const Question& question);
  std::vector<AgentIndex> where_victims_are(const Kind& kind, const Question& question) const;
  void ripened(const Tree& tree, std::vector<AgentIndex>& agents) const;
  void reweighed(const Tree& tree, std::vector<AgentIndex>& agents) const;
  bool follow_agents(Tree& tree, const AgentTable& agents, std::vector<std::uint32_t>& changed);
  static bool gives_back(const Kind& kind, const Tenant& tenant, const Mirror& mirror);
  void read(Tree& tree, const Question& question, AgentIndex agent);
  void read_amounts(Tree& tree, const AgentTable& agents, std::uint32_t place);

  struct Stake {  // what a session has of the needed slots on an agent
    const Tenant* tenant = nullptr;
    std::vector<std::int64_t> units;
  };

  std::size_t entries_kept_;
  PreemptionRules rules_;
  Magnitudes magnitudes_;  // that sessions are weighed by, where they are
  std::unique_ptr<Trees> trees_;
  std::unordered_set<SessionId> claimed_;
  std::vector<Stake> stakes_;  // working space
  std::uint64_t looked_at_ = 0, builds_ = 0;
};

class VictimIndex::Stakes {
 public:
  bool any() const noexcept { return tree_ != nullptr; }  // else nothing below may be asked
  // Whose sessions yield, and which slots are looked at; and when everything was looked at last.
  std::uint64_t kind() const noexcept;
  std::uint64_t built() const noexcept;
  // Agents on which sessions have come, gone, changed or run long enough, by their numbers now;
  // unless it was built anew, or agents have come or gone.
  const ChangeLog<AgentIndex>& changed() const noexcept;
  class On;
  On on(AgentIndex agent) const noexcept;

 private:
  friend class VictimIndex;
  explicit Stakes(const Tree* tree) : tree_(tree) {}
  const Tree* tree_;
};

class VictimIndex::Search {
 public:
  std::optional<Bound> next();

 private:
  friend class VictimIndex;
  struct Item {
    std::int64_t cost = 0;
    VictimKey first;
    VictimTree::Node node;
  };
  static auto order(const Item& item) noexcept { return std::tie(item.cost, item.first); }
  Search(VictimIndex& index, const Tree* tree, const Question& question);
  void push(VictimTree::Node node);

  VictimIndex& index_;
  const Tree* tree_;
  std::vector<std::int64_t> needs_;
  std::int64_t containers_ = 0;  // places for them, as the tree counts those
  std::vector<Item> heap_;
};

// Of one agent.
class VictimIndex::Stakes::On {
 public:
  // What ending all who may be ended there gives back, of a slot that is asked for.
  std::int64_t units(SlotIndex slot) const noexcept;
  std::int64_t containers() const noexcept;
  // Of those who have something of what is asked for, the first who would go; or kNobody.
  const VictimKey& first() const noexcept;

 private:
  friend class Stakes;
  On(const Tree& tree, std::uint32_t place) : tree_(tree), place_(place) {}
  const Tree& tree_;
  std::uint32_t place_;
};

}  // namespace bai::sched

// Whom to end so that a session that finds no room starts.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/search.hpp"
#include "sched/victims.hpp"
#include "sched/view_source.hpp"

namespace bai::sched {

// One resource group's, for one pass. Sessions that run and may be ended, in the order in which
// they are taken: those with the lowest job priority first, then as the rules say. They are looked
// at when it comes to them.
class Preemption {
 public:
  using Victim = std::size_t;  // in no order
  struct Choice {
    AgentIndex agent = 0;
    std::vector<Victim> victims;  // in order
  };

  // Everything outlives it.
  Preemption(const ViewSource& source, Group& group, Ledger& ledger, const PreemptionRules& rules);
  ~Preemption();  // whoever was claimed is anybody's again
  Preemption(const Preemption&) = delete;
  Preemption& operator=(const Preemption&) = delete;

  // For whom the questions below are asked. `reclaims`: the cohort of a project that wants back
  // what it has lent; null: none. `by_priority`: those with a lower job priority yield to it.
  // False: nobody may be ended for it who would help. `due` becomes the time at which somebody will
  // have run long enough, if that is what is missing.
  bool consider(const PendingSession& session, const AgentFilter& filter,
                const CohortShare* reclaims, bool by_priority, Timestamp& due);

  // In the ledger: what sessions hold that are leaving, and those claimed before, is given back.
  // Room that is about to come is no reason to end anybody else. The ledger has to be rolled back
  // before this ends.
  void release_leaving();
  void shift(Victim victim, int sign);  // given back (-1), or held again (1)
  // All that may be ended on these agents, except those.
  void release_eligible_on(std::span<const AgentIndex> agents, std::span<const Victim> except);
  // What can come free.
  VictimIndex::Stakes stakes(const Requirement& requirement, std::uint32_t container_limit) {
    return group_.victims.stakes(question(requirement, container_limit));
  }

  // Who gives back the quota that the cohort lacks. Nothing: it cannot be had.
  std::optional<std::vector<Victim>> cover_quota(const PendingSession& session,
                                                 const CohortShare& cohort);
  // The agent on which the least has to go, of those that then have room: by the first who would
  // go, by how many, or by how much they hold. `claimed`: whom the session has already.
  std::optional<Choice> choose(const Requirement& requirement, const AgentFilter& filter,
                               std::span<const Victim> claimed);
  // Whether the quota would do if this one of the victims stayed.
  bool quota_allows(const PendingSession& session, const CohortShare& cohort,
                    std::span<const Victim> victims, Victim without);
  void sort(std::vector<Victim>& victims) const;
  // Whether less goes with the first, each in order.
  bool is_less(std::span<const Victim> a, std::span<const Victim> b) const;
  // They are somebody's now; nobody else's in this pass.
  void claim(std::span<const Victim> victims);

  const VictimKey& key(Victim victim) const { return candidates_[victim].key; }
  SessionId id(Victim victim) const { return candidates_[victim].row->id; }
  std::span<const AgentIndex> agents(Victim victim) const { return candidates_[victim].where; }
  // Sessions, agents and nodes of trees over agents that have been looked at since it was last
  // asked.
  std::uint64_t take_steps();

 private:
  struct Part {  // what a session holds by one kernel on an agent of the resource group
    AgentIndex agent = 0;
    Requirement amounts;
    std::vector<DeviceGrant> devices;
  };
  struct Candidate {
    const Session* row = nullptr;
    VictimKey key;
    std::vector<Part> parts;
    std::vector<AgentIndex> where;    // of its parts, each once
    std::vector<std::int64_t> units;  // by slot, of all its kernels
    std::int64_t weight = 0;          // how much of the resource group it holds, where asked
    bool leaving = false, claimed = false;
  };
  using Amounts = std::vector<std::int64_t>;  // by slot
  // A project of the cohort that is looked at.
  struct Lent {
    Borrower who;
    Amounts used;  // without who leaves
    const std::vector<std::pair<SlotIndex, std::int64_t>>* own = nullptr;
  };

  std::optional<Victim> candidate(const SessionId& session);
  void add_parts(Candidate& candidate, const Tenant& tenant);
  const std::vector<Victim>& victims_on(AgentIndex agent);
  const std::vector<Victim>& leaving();
  void note(const Candidate& candidate);
  bool may_be_taken(const Candidate& candidate) const;
  bool yields(const Session& row, Timestamp& due) const;
  bool consider_on(std::span<const AgentIndex> agents, Timestamp& due);
  // preemption_quota.cpp
  bool consider_borrowers(const CohortShare& reclaims, std::span<const Requirement> requirements,
                          std::uint32_t container_limit, Timestamp& due);
  bool gives_back(const Candidate& candidate) const;
  const std::map<ProjectId, Amounts>& going();
  void count_going(const Candidate& candidate);
  std::optional<Victim> next_of(const ProjectId& project, SlotIndex slot,
                                const std::optional<VictimKey>& after);
  Amounts missing_quota(const PendingSession& session, const CohortShare& cohort);
  std::int64_t cost_of(std::span<const Victim> victims) const;
  VictimIndex::Question question(const Requirement& requirement,
                                 std::uint32_t container_limit) const;
  std::int64_t relief(const Candidate& candidate, AgentIndex agent, const Amounts& deficit,
                      std::int64_t containers) const;
  std::optional<std::vector<Victim>> make_room(AgentIndex agent, const Requirement& requirement,
                                               std::uint32_t container_limit,
                                               std::span<const Victim> claimed);
  void try_agent(AgentIndex agent, const Requirement& requirement, const AgentFilter& filter,
                 std::span<const Victim> claimed, std::optional<Choice>& best);

  const ViewSource& source_;
  SchedView view_;
  Group& group_;
  Ledger& ledger_;
  const PreemptionRules& rules_;
  Magnitudes magnitudes_;  // where sessions are weighed
  std::vector<Candidate> candidates_;
  std::unordered_map<SessionId, std::optional<Victim>> known_;  // sessions looked at
  std::unordered_map<AgentIndex, std::vector<Victim>> on_agent_;
  std::optional<std::vector<Victim>> leaving_;
  std::vector<Victim> claimed_;
  const PendingSession* session_ = nullptr;  // for whom
  bool by_priority_ = false;
  std::uint64_t steps_ = 0, taken_steps_ = 0;
  std::optional<std::map<ProjectId, Amounts>> going_;  // once asked for
  std::vector<Lent> borrowers_;                        // ordered; those with more than their own
  std::vector<Borrower> asked_;                        // the same
};

}  // namespace bai::sched

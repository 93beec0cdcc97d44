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

#include "sched/policy_set.hpp"
#include "sched/search.hpp"
#include "sched/view_source.hpp"

namespace bai::sched {

// One resource group's, for one pass. Sessions that run and may be ended, in the order in which
// they are taken: those with the lowest job priority first, then as the rules say.
class Preemption {
 public:
  using Victim = std::size_t;  // by rank
  struct Choice {
    AgentIndex agent = 0;
    std::vector<Victim> victims;  // in order
  };

  // Everything outlives it.
  Preemption(const ViewSource& source, Group& group, Ledger& ledger, const PreemptionRules& rules);

  // For whom the questions below are asked. `reclaims`: the cohort of a project that wants back
  // what it has lent; null: none. `by_priority`: those with a lower job priority yield to it.
  // False: nobody may be ended for it. `due` becomes the time at which somebody will have run long
  // enough, if that is what is missing.
  bool consider(const PendingSession& session, const CohortShare* reclaims, bool by_priority,
                Timestamp& due);

  // In the ledger: what sessions hold that are leaving, and those claimed before, is given back.
  // Room that is about to come is no reason to end anybody else. The ledger has to be rolled back
  // before this ends.
  void release_leaving();
  void shift(Victim victim, int sign);  // given back (-1), or held again (1)
  // All that may be ended, except these.
  void release_eligible(std::span<const Victim> except);

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
  // Whether less goes with the first, each in order.
  bool is_less(std::span<const Victim> a, std::span<const Victim> b) const;
  // They are somebody's now; nobody else's in this pass.
  void claim(std::span<const Victim> victims);

  SessionId id(Victim victim) const { return candidates_[victim].row->id; }
  std::span<const AgentIndex> agents(Victim victim) const { return candidates_[victim].where; }
  std::uint64_t size() const noexcept { return candidates_.size(); }

 private:
  struct Part {  // what a session holds by one kernel on an agent of the resource group
    AgentIndex agent = 0;
    Requirement amounts;
    std::vector<DeviceGrant> devices;
  };
  struct Candidate {
    const Session* row = nullptr;
    std::vector<Part> parts;
    std::vector<AgentIndex> where;    // of its parts, each once
    std::vector<std::int64_t> units;  // by slot, of all its kernels
    std::int64_t weight = 0;          // how much of the resource group it holds
    bool leaving = false, claimed = false, eligible = false;
  };
  using Amounts = std::vector<std::int64_t>;  // by slot

  void collect(const Group& group, bool with_parts);
  void add_parts(Candidate& candidate, const Tenant& tenant, bool with_parts);
  void rank();
  bool yields_to(const Candidate& candidate, const PendingSession& session, Timestamp& due) const;
  bool is_borrower(const Candidate& candidate) const;
  Amounts missing_quota(const PendingSession& session, const CohortShare& cohort) const;
  std::int64_t relief(const Candidate& candidate, AgentIndex agent, const Amounts& deficit,
                      std::int64_t containers) const;
  std::optional<std::vector<Victim>> make_room(AgentIndex agent, const Requirement& requirement,
                                               std::uint32_t container_limit,
                                               std::span<const Victim> claimed);

  const ViewSource& source_;
  SchedView view_;
  Group& group_;
  Ledger& ledger_;
  const PreemptionRules& rules_;
  std::vector<Candidate> candidates_;
  std::map<AgentIndex, std::vector<Victim>> on_agent_;
  bool has_others_ = false;  // candidates of other resource groups are among them
  // Of the projects of the cohort that is looked at: what they use, without who leaves.
  std::map<ProjectId, std::pair<Amounts, const Cohorts::Member*>> borrowers_;
};

}  // namespace bai::sched

// Whom to end, found by a walk over everybody who runs: what the index has to agree with.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <vector>

#include "sched/policy_set.hpp"
#include "sched/search.hpp"
#include "sched/view_source.hpp"

namespace bai::sched {

class PlainPreemption {
 public:
  using Victim = std::size_t;  // by rank
  struct Choice {
    AgentIndex agent = 0;
    std::vector<Victim> victims;
  };

  // `sessions`: all that there are.
  PlainPreemption(const ViewSource& source, Group& group, Ledger& ledger,
                  const PreemptionRules& rules, const std::vector<SessionId>& sessions);

  bool consider(const PendingSession& session, Timestamp& due);
  // The same where its project takes back what it has lent.
  bool consider_lender(const PendingSession& session, const CohortShare& cohort, bool by_priority,
                       Timestamp& due);
  std::optional<std::vector<Victim>> cover_quota(const PendingSession& session,
                                                 const CohortShare& cohort);
  void release_leaving();
  void shift(Victim victim, int sign);
  std::optional<Choice> choose(const Requirement& requirement, const AgentFilter& filter,
                               std::span<const Victim> claimed);
  void claim(std::span<const Victim> victims) {
    for (const Victim v : victims) candidates_[v].claimed = true;
  }
  SessionId id(Victim victim) const { return candidates_[victim].row->id; }

 private:
  struct Part {
    AgentIndex agent = 0;
    Requirement amounts;
    std::vector<DeviceGrant> devices;
  };
  struct Candidate {
    const Session* row = nullptr;
    std::vector<Part> parts;
    std::vector<AgentIndex> where;
    std::vector<std::int64_t> units;  // by slot
    std::int64_t weight = 0;
    bool leaving = false, claimed = false, eligible = false;
  };
  using Amounts = std::vector<std::int64_t>;

  void add_parts(Candidate& candidate, const Tenant& tenant);
  void rank();
  bool gives_back(const Candidate& candidate) const;
  bool yields_to(const Candidate& candidate, const PendingSession& session, Timestamp& due) const;
  std::int64_t relief(const Candidate& candidate, AgentIndex agent, const Amounts& deficit,
                      std::int64_t containers) const;
  std::optional<std::vector<Victim>> make_room(AgentIndex agent, const Requirement& requirement,
                                               std::uint32_t container_limit,
                                               std::span<const Victim> claimed);
  bool is_less(std::span<const Victim> a, std::span<const Victim> b) const;

  const ViewSource& source_;
  SchedView view_;
  Group& group_;
  Ledger& ledger_;
  const PreemptionRules& rules_;
  std::vector<Candidate> candidates_;
  std::map<AgentIndex, std::vector<Victim>> on_agent_;
  std::map<ProjectId, Amounts> used_;  // of projects of the cohort, without who leaves
  const Cohorts::Members* members_ = nullptr;
};

}  // namespace bai::sched

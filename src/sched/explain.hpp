// Texts that tell the owner of a session why it waits.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bai_manager/entities.hpp"
#include "sched/feasibility.hpp"
#include "sched/kept_surveys.hpp"
#include "sched/search.hpp"
#include "sched/topology.hpp"
#include "sched/view_source.hpp"

namespace bai::sched {

// Code of who was not attempted, whatever stands against it by itself.
inline constexpr const char* kBehindHead = "behind-head";
// Code of everybody in a resource group that is not planned.
inline constexpr const char* kPolicyError = "policy-error";
// Why no start is expected, where nothing else is known.
inline constexpr const char* kEndless =
    "what holds the room says no end: no limit declared, no lifetime by policy, no "
    "default_runtime_s of the resource group";

// Why a requirement got no agent.
struct Failure {
  std::string code;              // of the rule; told as "never" when it is one
  bool blocks = false;           // a shortage: what head-of-line blocking waits for
  bool promised = false;         // there is room, but others are promised it
  bool never = false;            // no agent that there is has room for it, even when empty
  std::string hopeless;          // why nothing that ends makes room for it; empty: it may
  std::string detailed, coarse;  // `coarse` has no numbers that change with every pass
  SlotMap missing;
  std::vector<std::pair<std::string, std::int64_t>> rejected;  // PendingReason::rejected
  Timestamp expected_start;                                    // 0: unknown
  std::string expected_basis;                   // empty: what is promised to those before it
  std::shared_ptr<const PendingReason> shared;  // for all that are too far behind for details
};

// `which` of `request`'s requirements failed, in the state of `source` (what the session's earlier
// requirements took is still taken).
Failure explain_failure(const ViewSource& source, const Request& request, std::size_t which,
                        const AgentFilter& filter, KeptSurveys& surveys);

// `coarse`, and what follows from its being infeasible.
void say_infeasible(const ViewSource& source, const Requirement& requirement,
                    const std::optional<Infeasible>& hopeless, Failure& failure);

// What explanations without numbers rest on. Belongs to one resource group.
class CoarseMemo {
 public:
  // What changes from pass to pass, but with none of a pass's placements.
  void begin_pass(const AgentTable& agents);
  void follow(const AgentTable& agents);

  struct Compatible {  // agents that take sessions: all, and those of another kind
    std::size_t agents = 0, other_architecture = 0, other_labels = 0;
  };
  std::map<std::pair<std::uint32_t, LabelRule>, Compatible> compatible;  // architecture, labels
  std::vector<std::int64_t> largest;  // capacity of one agent, by slot; empty: not asked for yet
  // The most of the slot that is free on one agent, by block of kBlock agents, whatever the pass
  // takes and gives back. There is an agent that has the slot.
  const std::vector<std::int64_t>& most_by_block(const AgentTable& agents, SlotIndex slot);

  static constexpr std::size_t kBlock = 16;  // agents that are passed over together

 private:
  static constexpr std::size_t kKindsMax = 1000;  // kept before all are forgotten
  std::uint64_t kinds_version_ = 0, settings_epoch_ = 0;
  std::vector<std::vector<std::int64_t>> most_;  // by slot; empty: not asked for yet
  std::uint64_t agents_epoch_ = 0;               // of AgentTable::changed(), which `most_` follows
  std::size_t followed_ = 0;
};
// The same without what differs from agent to agent (`detailed`, `missing`): far behind in the
// queue nobody is told. Looks at few agents where most are short of amounts.
Failure explain_coarsely(const ViewSource& source, const Request& request, std::size_t which,
                         const AgentFilter& filter, CoarseMemo& memo, KeptSurveys& surveys);

// The same without texts and numbers: only what it means for others.
Failure classify_failure(const ViewSource& source, const Request& request, std::size_t which,
                         const AgentFilter& filter);
// There is room, but it is promised; `filter.barred` are the agents where it is. `in_full`: with
// counts of agents.
Failure explain_backfill(const ViewSource& source, const Request& request, std::size_t which,
                         const AgentFilter& filter, bool in_full, KeptSurveys& surveys);
// There is room, but reservations keep it; `filter.barred` are the agents where they do.
Failure explain_reserved(const ViewSource& source, const Request& request, std::size_t which,
                         const AgentFilter& filter, KeptSurveys& surveys);
// The session's own reservation has no room left; `filter.within` are the agents where it has.
Failure explain_used_up(const ViewSource& source, const Request& request, std::size_t which,
                        const AgentFilter& filter, const std::string& reservation);
// No domain of the level that it demands has room; `roomiest` is the one with the most, if any.
// `hopeless`: none would have when empty. `in_full`: with counts of agents.
Failure explain_topology(const ViewSource& source, const Request& request, const std::string& level,
                         const Topology::Domain* roomiest,
                         const std::optional<Infeasible>& hopeless, AgentFilter filter,
                         bool in_full);
Failure explain_selector_refusal(const ViewSource& source, const Request& request,
                                 std::size_t which, const AgentFilter& filter,
                                 std::size_t candidates, KeptSurveys& surveys);

// "cpu 2, cuda.device 1 and mem 4g"
std::string slots_text(const Mirror& mirror, std::span<const SlotRequest> amounts);

// Why no start is expected, where nothing more is known.
void say_unforeseen(PendingReason& reason);
PendingReason reason_of(const Failure& failure, std::string message);
// The reason with its place in the queue; beyond `positions_max` without a number.
std::shared_ptr<const PendingReason> make_reason(PendingReason reason, std::uint64_t position,
                                                 std::uint32_t positions_max);

}  // namespace bai::sched

// Scheduling policies: who goes first (Sequencer), may it run now (Validator), where does it run
// (Selector). Each is a pure function of a view of one resource group: same view, options, `now`
// and `seed` give the same answer. Amounts are integers; whatever is iterated is ordered.
//
// Policies are shared by all passes and may run on several threads at once: no mutable members. A
// policy that throws, names an agent that was no candidate or hands out a session twice fails its
// resource group's pass; the others go on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bai_manager/entities.hpp"
#include "bai_manager/fair_share.hpp"
#include "bai_manager/ids.hpp"
#include "bai_manager/json.hpp"
#include "bai_manager/resources.hpp"
#include "bai_manager/result.hpp"
#include "bai_manager/time.hpp"

namespace bai {

class SchedView;

namespace sched {
class AgeQueue;
class AgentSearch;
struct ViewSource;
const ViewSource& source_of(const SchedView& view) noexcept;
}  // namespace sched

using AgentIndex = std::uint32_t;    // an agent of the view; ties go to the smaller one
using PendingIndex = std::uint32_t;  // a pending session of the view
using SlotIndex = std::uint32_t;     // a slot name; valid for one view

struct SlotRequest {
  SlotIndex slot = 0;
  std::int64_t units = 0;  // 0: asked for explicitly as none
  friend bool operator==(const SlotRequest&, const SlotRequest&) = default;
};

// What goes onto one agent: one kernel, or all kernels of a single-node session together.
struct Requirement {
  std::uint64_t id = 0;            // equal requirements of a request share it, for one view
  std::uint32_t architecture = 0;  // SchedView::architecture_name
  std::uint32_t labels = 0;        // SchedView::label_rule; 0: any agent
  std::uint32_t containers = 1;
  std::vector<SlotRequest> slots;  // in the order of slot names
  // The amounts of each kernel where there are several: what devices are handed out by.
  std::vector<std::vector<SlotRequest>> parts;
  friend bool operator==(const Requirement&, const Requirement&) = default;
};

// What an agent's labels must be: for each name one of the texts.
using LabelRule = std::vector<std::pair<std::string, std::vector<std::string>>>;

// A part of one device, or a whole one, given to a kernel.
struct DeviceGrant {
  std::uint32_t part = 0;  // which kernel of the requirement
  SlotIndex slot = 0;
  std::uint32_t device = 0;
  std::int64_t units = 0;
  friend bool operator==(const DeviceGrant&, const DeviceGrant&) = default;
};
inline constexpr std::uint32_t kDevicesMax = 64;       // of one slot on one agent
inline constexpr std::int64_t kUnitsPerDevice = 1000;  // of a whole one
inline constexpr std::size_t kHostedClasses = 5;       // part of a device, 1, 2, 3-4, 5 and more

inline constexpr Duration kUnknownEstimate{std::numeric_limits<std::int64_t>::max()};

// What a session asks for. Sessions that ask for exactly the same share one object.
struct Request {
  ClusterMode mode = ClusterMode::SingleNode;
  bool mixed_architectures = false;       // on a single node: can never be placed
  std::vector<Requirement> requirements;  // placed all together or not at all
  std::vector<SlotRequest> total;         // in the order of slot names
};

// Rare wishes and bounds of a session; most have none.
struct PendingDetails {
  std::vector<std::string> dependencies;  // session ids
  std::vector<AgentId> designated_agents, failed_agents;
  std::string agent_selection_policy;       // "", "strict" or "preferred"; the session's own
  std::string session_group;                // id of a SessionGroup
  LabelRule preferred_labels;               // of agents to take before others
  std::string reservation;                  // id of the Reservation that it runs in
  bool was_preempted = false;               // waits again, so it preempts nobody
  Timestamp retry_at, requested_starts_at;  // 0: none
};

struct PendingSession {
  SessionId id;
  Timestamp created_at;
  std::int32_t priority = 0;
  std::int32_t job_priority = 0;  // it may preempt sessions whose own is lower
  SessionType type = SessionType::Interactive;
  bool is_preemptible = true;
  std::uint32_t owner = 0;    // SchedView::owner
  std::uint32_t request = 0;  // SchedView::request
  std::uint32_t image = 0;    // SchedView::image
  // How long it runs at most: its own limit, else the lifetime that its owner's policy allows, else
  // the resource group's default.
  Duration estimate = kUnknownEstimate;
  const PendingDetails* details = nullptr;  // may be null
};

struct Owner {
  UserId user;
  ProjectId project;
  DomainName domain;
  AccessKey access_key;
};

// What a scope holds, with what this pass has granted so far.
struct Holding {
  std::vector<std::int64_t> units;  // by slot; shorter than the slots means zeros
  std::int64_t sessions = 0;        // without private (system) sessions
  std::int64_t sftp_sessions = 0;   // private ones
  std::int64_t of(SlotIndex slot) const noexcept { return slot < units.size() ? units[slot] : 0; }
};

// The same without a copy, for one moment.
struct HeldAmounts {
  std::span<const std::int64_t> before, granted;  // by slot: before this pass, and by it
  std::int64_t sessions = 0, sftp_sessions = 0;
  std::int64_t before_of(SlotIndex slot) const noexcept {
    return slot < before.size() ? before[slot] : 0;
  }
  std::int64_t of(SlotIndex slot) const noexcept {
    return before_of(slot) + (slot < granted.size() ? granted[slot] : 0);
  }
  std::size_t slots() const noexcept { return std::max(before.size(), granted.size()); }
};

// What the projects of a cohort hold together, and may hold together.
struct CohortShare {
  static constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();
  std::string name;
  // By slot: of all its projects, and the sum of their own slots (kUnlimited where one of them has
  // no limit).
  std::vector<std::int64_t> held, nominal;
  const SlotMap* borrowing_limit = nullptr;  // of the session's project
};

struct DominantShare {
  std::int64_t held = 0, capacity = 1;
};

// An owner of pending sessions in one band, with the oldest of them.
struct OwnerHead {
  Timestamp created_at;
  PendingIndex session = 0;
  std::uint32_t owner = 0;
};

// Its sessions in that band, oldest first.
class OwnerQueue {
 public:
  OwnerQueue() = default;                                                // of nobody
  explicit OwnerQueue(const sched::AgeQueue& queue) : queue_(&queue) {}  // made by the planner
  bool is_null() const noexcept { return queue_ == nullptr; }
  std::optional<PendingIndex> front() const noexcept;
  void pop() noexcept;  // from this copy only

 private:
  const sched::AgeQueue* queue_ = nullptr;
  std::uint32_t block_ = 0, entry_ = 0;
};

enum class DependencyState : std::uint8_t { Unknown, Waiting, Succeeded, Failed };
// ShortestFirst: by estimate, then by age; those without one last.
enum class QueueOrder : std::uint8_t { OldestFirst, NewestFirst, ShortestFirst };

// One pass's order of sessions, drawn one by one.
class Ordering {
 public:
  virtual ~Ordering() = default;
  // Every pending session of the view at most once; nothing at the end.
  virtual std::optional<PendingIndex> next() = 0;
  // The session drawn last got its agents: its owner's holding has grown.
  virtual void placed(PendingIndex) {}
  // For the rest of the pass no session of `request` (SchedView::request) that runs longer than
  // `longest` can start; a negative one: none at all. The ordering may leave them out.
  virtual void narrow(std::uint32_t request, Duration longest) {
    static_cast<void>(request);
    static_cast<void>(longest);
  }
};

// One resource group as a pass sees it. `free`, `containers` and `holding` follow the plan as it
// grows. Valid during the call that gets it (an Ordering may keep it while it lives).
class SchedView {
 public:
  explicit SchedView(const sched::ViewSource& source) : source_(&source) {}  // made by the planner

  StateVersion version() const noexcept;
  Timestamp now() const noexcept;
  std::uint64_t seed() const noexcept;  // the only randomness a policy may use
  const ResourceGroupName& resource_group() const noexcept;

  // Slots.
  std::size_t slot_count() const noexcept;
  const std::string& slot_name(SlotIndex slot) const noexcept;
  SlotType slot_type(SlotIndex slot) const noexcept;
  std::optional<SlotIndex> find_slot(std::string_view name) const noexcept;
  // Requested slots in the order in which selectors look at them: those of the resource group's
  // priority list (exact names), then the others by name.
  std::vector<SlotIndex> selection_order(const Requirement& requirement) const;

  // Agents, ordered by id, also those that take nothing now.
  std::size_t agent_count() const noexcept;
  const AgentId& agent_id(AgentIndex agent) const noexcept;
  const std::string& architecture_name(std::uint32_t architecture) const noexcept;
  std::uint32_t architecture(AgentIndex agent) const noexcept;
  bool takes_sessions(AgentIndex agent) const noexcept;  // alive and schedulable
  std::uint32_t containers(AgentIndex agent) const noexcept;
  bool has_slot(AgentIndex agent, SlotIndex slot) const noexcept;
  // Amounts in the slot's units; 0 where the agent does not have the slot. Free is negative where
  // more is granted than there is (capacity that shrank).
  std::int64_t capacity(AgentIndex agent, SlotIndex slot) const noexcept;
  std::int64_t free(AgentIndex agent, SlotIndex slot) const noexcept;
  std::int64_t observed_free(AgentIndex agent, SlotIndex slot) const noexcept;  // before this pass
  // The same for all agents at once, as of this call; empty when no agent of the group has the
  // slot.
  std::span<const std::int64_t> free_column(SlotIndex slot) const noexcept;
  std::int64_t group_capacity(SlotIndex slot) const noexcept;  // of agents that take sessions
  // What each device of the slot has free; empty where the slot is not made of devices.
  std::span<const std::int64_t> devices(AgentIndex agent, SlotIndex slot) const noexcept;
  // Containers on the agent by how many devices of the slot they have.
  std::span<const std::uint32_t> hosted(AgentIndex agent, SlotIndex slot) const noexcept;
  std::string_view label(AgentIndex agent, std::string_view name) const noexcept;  // or empty
  const LabelRule& label_rule(std::uint32_t labels) const noexcept;

  // Pending sessions.
  std::size_t pending_count() const noexcept;
  const PendingSession& session(PendingIndex session) const noexcept;
  const Request& request(const PendingSession& session) const noexcept;
  const Owner& owner(const PendingSession& session) const noexcept;
  // Priority bands, highest first; within a band in the given order, in the end by id.
  std::unique_ptr<Ordering> queue(QueueOrder order) const;
  std::vector<std::int32_t> bands() const;
  std::vector<PendingIndex> band(std::int32_t priority) const;  // oldest first; O(its size)
  // A band apart by owner, the owners in no particular order; O(1). The queue of one of them.
  std::span<const OwnerHead> owner_heads(std::int32_t priority) const noexcept;
  OwnerQueue owner_queue(std::int32_t priority, std::uint32_t owner) const noexcept;
  const std::string& image(const PendingSession& session) const noexcept;
  DependencyState dependency(std::string_view session_id) const noexcept;
  // The pending sessions of a ring of dependencies that this one waits for, or is in; usually none.
  // When the ring is not closed within kRingShown steps, those on the way to it.
  static constexpr std::size_t kRingShown = 8;
  std::vector<SessionId> dependency_ring(const PendingSession& session) const;
  const ResourceGroup& settings() const noexcept;  // of the resource group

  // Holdings and limits; null: no such row, thus no limit.
  Holding holding(ScopeKind kind, const PendingSession& session) const;
  HeldAmounts held(ScopeKind kind, std::uint32_t owner) const noexcept;
  // The largest of the user's shares of the resource group's slots, as a fraction; with or without
  // what this pass has granted.
  DominantShare dominant_share(std::uint32_t owner, bool with_granted) const;
  // How little the owner has used of the resource group.
  FairShareFactors fair_share(std::uint32_t owner, const FairShareSettings& settings) const;
  // Of the keypair that asked for it, unless that is its user's main one.
  const KeypairPolicy* other_key_policy(const PendingSession& session) const noexcept;
  const KeypairPolicy* user_policy(const PendingSession& session) const noexcept;  // main keypair's
  const SlotMap* project_limits(const PendingSession& session) const noexcept;
  const SlotMap* domain_limits(const PendingSession& session) const noexcept;
  // Of the session's project, with what this pass has granted; nothing when it is in none.
  std::optional<CohortShare> cohort(const PendingSession& session) const;

 private:
  friend const sched::ViewSource& sched::source_of(const SchedView& view) noexcept;
  const sched::ViewSource* source_;
};

class Sequencer {
 public:
  virtual ~Sequencer() = default;
  virtual std::unique_ptr<Ordering> start(const SchedView& view) const = 0;
};

// For sequencers that sort: priority bands are kept, each band is sorted when it is reached.
class BandSorter : public Sequencer {
 public:
  std::unique_ptr<Ordering> start(const SchedView& view) const final;
  // Reorders `band`, which comes oldest first. Must keep its members.
  virtual void sort(const SchedView& view, std::vector<PendingIndex>& band) const = 0;
};

struct Refusal {
  std::string code;     // of the PendingReason: "quota", "concurrency", "dependency", ...
  std::string kind;     // error code of the reference system, e.g. "user_check-limit_forbidden"
  std::string message;  // whole sentence(s) for the session's owner
  bool never = false;   // waiting will not help
  Timestamp due;        // when time alone lifts it; 0: something else must change
  SlotMap over = {};    // by how much it would exceed limits
};

class Validator {
 public:
  virtual ~Validator() = default;
  // Appends every reason why `session` may not start now. A refused session never holds up those
  // behind it.
  virtual void check(const SchedView& view, const PendingSession& session,
                     std::vector<Refusal>& refusals) const = 0;
};

// One part of a lexicographic key; the smallest key wins, the first agent among equals.
struct KeyPart {
  enum class What : std::uint8_t {
    UnusedCapabilities,  // slots requested as 0 of which the agent had some free before this pass
    LeastFree,           // free amount of `slot`; agents without the slot come last
    MostFree,            // the same descending; agents without the slot come last
  };
  What what = What::LeastFree;
  SlotIndex slot = 0;
};

class Rater;
class ScoreSelector;

// The agents that a requirement may go to: they fit, and belong to the best class (designated
// before others, those where this session failed before last).
class Candidates {
 public:
  explicit Candidates(sched::AgentSearch& search) : search_(&search) {}  // made by the planner

  bool empty() const;
  // All of them in view order. O(agents of the group) once per requirement.
  std::span<const AgentIndex> list() const;
  // How many they are, and the one at that place (below count()) of the list, without the list.
  std::size_t count() const;
  AgentIndex at(std::size_t place) const;
  // The one with the smallest key. Does not need the list: the planner's indexes answer it.
  std::optional<AgentIndex> best(std::span<const KeyPart> key) const;
  // The one with the highest score, the first among equals. Scores for what is asked for often are
  // kept until the agent changes.
  std::optional<AgentIndex> highest(const SchedView& view, const ScoreSelector& scores) const;

 private:
  sched::AgentSearch* search_;
};

struct Demand {
  const PendingSession& session;
  const Requirement& requirement;
  // How many agents have been chosen for this group before, in this pass and those before it, from
  // the planner's start. What a rotation needs. `fractions` counts those that got a part of a
  // device.
  std::uint64_t pick = 0, fractions = 0;
  const Rater* rater = nullptr;  // of a ScoreSelector, when devices are chosen
};

class Selector {
 public:
  virtual ~Selector() = default;
  // One of `candidates` (there is at least one), or nothing to leave the session waiting.
  virtual std::optional<AgentIndex> select(const SchedView& view, const Demand& demand,
                                           const Candidates& candidates) const = 0;
  // Which of the agent's devices gives `units` (less than a whole one). `free` is what each has;
  // at least one has enough. The first of those that have the least, unless overridden.
  virtual std::uint32_t device(const SchedView& view, const Demand& demand, AgentIndex agent,
                               SlotIndex slot, std::int64_t units,
                               std::span<const std::int64_t> free) const;
};

// Scores for the agents of one view. What it prepares may rest on which agents there are and on
// their labels and capacity, and on nothing that a pass changes.
class Rater {
 public:
  virtual ~Rater() = default;
  // Depends on nothing but the requirement and what the agent has now (free amounts and devices,
  // containers): kept until that changes.
  virtual std::int64_t score(const SchedView& view, const Requirement& requirement,
                             AgentIndex agent) const = 0;

  // For large clusters, so that not every agent has to be rated for what nobody has asked for
  // before: the numbers that a score depends on besides the requirement, those first ...
  virtual std::size_t traits() const { return 0; }  // how many; none: all that fit are rated
  // By how many of them, the first ones, agents are set apart; the others only make bounds closer.
  virtual std::size_t splits() const { return traits(); }
  virtual void describe(const SchedView&, AgentIndex, std::span<std::int64_t>) const {}
  // ... and what no agent scores more than that fits and whose traits are all at least `least` and
  // at most `most`; also where a requirement has parts. The closer, the fewer agents are rated.
  virtual std::int64_t bound(const Requirement&, std::span<const std::int64_t> least,
                             std::span<const std::int64_t> most) const {
    static_cast<void>(least);
    static_cast<void>(most);
    return std::numeric_limits<std::int64_t>::max();
  }
};

// For selectors that rate agents: the highest score wins, the first agent among equals.
class ScoreSelector : public Selector {
 public:
  // Never null. Kept while the agents stay the same.
  virtual std::unique_ptr<const Rater> rater(const SchedView& view) const = 0;
  std::optional<AgentIndex> select(const SchedView& view, const Demand& demand,
                                   const Candidates& candidates) const final;
};

// Options of one policy, read by its factory. A wrong type or value, and a member that nobody has
// read, are errors that the registry reports with the name of policy and option.
class PolicyOptions {
 public:
  explicit PolicyOptions(const Json& object);
  std::int64_t integer(std::string_view name, std::int64_t fallback, std::int64_t min,
                       std::int64_t max);
  bool flag(std::string_view name, bool fallback);
  std::string text(std::string_view name, std::string_view fallback);
  std::string choice(std::string_view name, std::initializer_list<std::string_view> allowed,
                     std::string_view fallback);
  std::vector<std::string> texts(std::string_view name);  // absent: empty
  const Json& raw(std::string_view name);  // absent: null; for the policy to check itself
  void refuse(std::string problem);        // what finish() reports unless something came before
  Status finish() const;                   // the first problem

 private:
  const Json* read(std::string_view name);
  void problem(std::string text);

  const Json* object_;
  std::vector<std::string> read_;
  std::string problem_;
};

// Names and how to make what they name. Fill it before the manager opens; const and thread-safe
// afterwards.
class PolicyRegistry {
 public:
  template <class P>
  using Factory = std::function<std::unique_ptr<const P>(PolicyOptions&)>;

  // AlreadyExists for a name that is taken, InvalidArgument for an empty one.
  Status add_sequencer(std::string name, Factory<Sequencer> factory);
  Status add_validator(std::string name, Factory<Validator> factory);
  Status add_selector(std::string name, Factory<Selector> factory);

  // NotFound (with the names there are) for an unknown name, InvalidArgument for bad options
  // (`options` is an object or null).
  Result<std::unique_ptr<const Sequencer>> make_sequencer(std::string_view name,
                                                          const Json& options) const;
  Result<std::unique_ptr<const Validator>> make_validator(std::string_view name,
                                                          const Json& options) const;
  Result<std::unique_ptr<const Selector>> make_selector(std::string_view name,
                                                        const Json& options) const;
  std::vector<std::string> sequencers() const;  // by name
  std::vector<std::string> validators() const;  // as added: the order in which they check
  std::vector<std::string> selectors() const;   // by name

  // Whether a resource group with these settings can be planned: InvalidArgument or NotFound that
  // says which setting is wrong. For whoever lets users write them.
  Status check(const ResourceGroup& group) const;

 private:
  template <class P>
  using Table = std::vector<std::pair<std::string, Factory<P>>>;
  Table<Sequencer> sequencers_;
  Table<Validator> validators_;
  Table<Selector> selectors_;
};

// Every policy of src/sched/policies. Explicit: nothing registers itself. AlreadyExists when one of
// the names is taken.
Status add_builtin_policies(PolicyRegistry& registry);

}  // namespace bai

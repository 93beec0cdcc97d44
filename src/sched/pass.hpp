// One pass over one resource group: draw sessions, check them, place them, say why not.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/domain_rooms.hpp"
#include "sched/domain_starts.hpp"
#include "sched/explain.hpp"
#include "sched/future.hpp"
#include "sched/ledger.hpp"
#include "sched/planner.hpp"
#include "sched/policy_set.hpp"
#include "sched/preemption.hpp"
#include "sched/promises.hpp"
#include "sched/reserved.hpp"
#include "sched/timetable.hpp"
#include "sched/topology.hpp"

namespace bai::sched {

// A policy broke its contract. Never leaves the planner.
struct PolicyFault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The reference system's error code when several rules refuse a session.
inline constexpr const char* kManyRules = "backendai_schedule_forbidden";

struct Telling {
  PendingIndex session;
  std::shared_ptr<const PendingReason> reason;
};

// Agents chosen so far, and how many of those choices got a part of a device. Choices that were
// taken back in the pass that made them do not count; those that were refused when the plan was
// applied do.
struct Choices {
  std::uint64_t picks = 0, fractions = 0;
};

// How far the logs of a resource group's agents, and of what ends on them, have come.
struct Noted {
  std::uint64_t epoch = 0, facts = 0;          // AgentTable::epoch, facts_epoch
  std::size_t changes = 0;                     // AgentTable::changed
  std::pair<std::uint64_t, std::size_t> ends;  // Group::ends
  friend bool operator==(const Noted&, const Noted&) = default;
};
Noted noted_of(const Group& group);

// What the planner remembers of a resource group between passes.
struct GroupMemory {
  // A pass that has used up its steps without starting anybody. Those that it has seen would fail
  // again as long as nothing changes on agents; the next pass goes on behind them.
  struct Stopped {
    std::vector<Arrival> seen;         // also by passes that it went on from
    PendingIndex head = kNone;         // of those: whose start easy backfill has promised
    bool is_blocked = false;           // one of those holds up the queue
    std::optional<Timestamp> wake_at;  // when something is due for them
    Noted noted;
    std::uint64_t kept = 0;  // ReservedMemory::edits
    StateVersion version;    // that the first of those passes saw
    Timestamp since;         // when that was
  };
  std::shared_ptr<const ResourceGroup> settings;  // that `policies` were made from
  std::optional<Result<PolicySet>> policies;
  std::vector<Arrival> walked;      // sessions whose last reason was their own
  std::vector<Arrival> arrivals;    // not looked at yet
  std::string notice;               // said last about `settings`
  std::string told_to_all;          // the message that everyone in the queue got; usually empty
  ScoreCache scores;                // of the policies' selector
  PromiseMemory promises;           // of conservative backfill
  Timetable timetable;              // of what it has laid; nothing while a pass goes on
  std::optional<KeptPromise> head;  // of easy backfill, where its kernels are several
  Choices choices;
  StartTimesCache start_times;
  KeptSurveys surveys;
  CoarseMemo coarse;
  ReservedMemory reserved;
  FitSets fits;
  Stopped stopped;  // usually empty
  Topology topology;
  RoomsCache rooms;
  DomainStartsCache domain_starts;
  std::vector<std::shared_ptr<const PendingReason>>
      shared;  // by request: Failure::shared, the last

  // Whatever was noted since `before` has been taken back: agents are as they were then, under the
  // same numbers.
  void pass_over(const Noted& before, const Noted& now);
};

struct PassResult {
  std::vector<Placement> placements;
  std::vector<Telling> tellings;
  std::optional<Timestamp> wake_at;
  std::vector<PendingIndex> placed = {};  // whose placements these are
};

class GroupPass {
 public:
  // `stamps` (by pending place) and `stamp` mark the sessions that were drawn in this pass.
  GroupPass(const ViewSource& source, Group& group, Ledger& ledger, const PolicySet& policies,
            GroupMemory& memory, const PlanLimits& limits, std::uint32_t placements_left,
            std::vector<std::uint64_t>& stamps, std::uint64_t stamp);

  PassResult run();  // throws what a policy throws, and PolicyFault
  // inquiry.cpp, instead of run(): what becomes of one session, in full, whatever its place. Alone:
  // as if nobody waited before it; then it may get a placement that others would have got.
  PassResult ask_alone(PendingIndex asked);
  PassResult ask(PendingIndex asked);

 private:
  enum class End : std::uint8_t { Drawn, Blocked, PlacementsFull, StepsFull };

  // pass_resume.cpp
  void resume();
  void skip_seen(PendingIndex at);
  bool is_overtaken() const;
  void remember_where();
  bool is_whole() const;
  void walk();
  void walk_to(PendingIndex asked);
  void walk_beside_to(PendingIndex asked);
  void reorder_behind_promise();
  std::uint64_t queue_place(PendingIndex asked) const;
  void forecast_before(PendingIndex asked);
  // Sessions that have not been drawn and that nobody before them in the queue holds up.
  std::vector<PendingIndex> beside() const;
  void walk_beside();
  void draw(PendingIndex at);
  void undraw(PendingIndex at);  // the last one drawn
  bool attempt(PendingIndex at);
  // Everybody gets a turn some time: a pass looks at one session at least.
  bool is_tired() const { return steps_ >= limits_.steps_max && attempts_ > 0; }
  // `made_room`: it got its agents although a validator refused it for now.
  bool refused(PendingIndex at, const Waiting& waiting, bool& made_room);
  bool place(PendingIndex at, const Waiting& waiting);
  // Why a session got no agents.
  struct Miss {
    std::shared_ptr<Failure> failure;
    std::size_t candidates = 0;  // that the selector did not want
    bool barred = false;         // there is room, but it is promised
  };
  bool place_kernels(const Waiting& waiting, AgentFilter& filter, Neighbours* neighbours,
                     Miss* miss);
  // pass_preempt.cpp: places the session where others are to leave. `reclaims`: see Preemption.
  bool preempt(const Waiting& waiting, const CohortShare* reclaims);
  struct Unhelped {  // for whom nobody can be ended
    std::uint32_t request, owner;
    std::int32_t job_priority;
    std::uint32_t topology;
    bool reclaims, by_priority;
    std::int64_t estimate;  // where there are promises
    friend auto operator<=>(const Unhelped&, const Unhelped&) = default;
  };
  struct Evicting {
    std::vector<AgentIndex> agents;                 // one for each requirement
    std::vector<std::vector<DeviceGrant>> devices;  // the same
    std::vector<Preemption::Victim> victims;
  };
  std::optional<Evicting> make_room(const Waiting& waiting, const CohortShare* reclaims,
                                    bool by_priority);
  std::optional<Evicting> make_room_close(const Waiting& waiting, const CohortShare* reclaims,
                                          AgentFilter& filter,
                                          const std::vector<Preemption::Victim>& claimed);
  // By requirement, how many have room on some agents.
  using KnownRooms = std::map<std::uint64_t, std::vector<std::pair<AgentIndex, std::uint32_t>>>;
  GangRooms rooms_at_most(const Waiting& waiting, const AgentFilter& filter,
                          const std::vector<Preemption::Victim>& claimed, std::size_t levels,
                          bool& is_bounded);
  KnownRooms rooms_where_they_leave(const Waiting& waiting, const AgentFilter& filter,
                                    const std::vector<Preemption::Victim>& claimed);
  std::optional<Evicting> make_room_within(const Waiting& waiting, const CohortShare* reclaims,
                                           AgentFilter& filter,
                                           const std::vector<Preemption::Victim>& claimed);
  std::optional<AgentIndex> find_room(const PendingSession& session, const Requirement& requirement,
                                      AgentFilter& filter,
                                      std::vector<Preemption::Victim>& victims);
  bool take_on(const PendingSession& session, const Requirement& requirement, AgentIndex agent,
               std::uint32_t container_limit);
  void drop_unneeded(const Waiting& waiting, const CohortShare* reclaims, const AgentFilter& filter,
                     Evicting& evicting);
  void find_reserved(const std::string& own, const PendingSession& session,
                     const Requirement& requirement);
  void count_choice(const std::vector<DeviceGrant>& devices);
  bool is_barred(const Requirement& requirement, AgentFilter& filter);
  std::shared_ptr<Failure> failure_of(const PendingSession& session, std::size_t which,
                                      const AgentFilter& filter, std::size_t candidates,
                                      bool barred);
  bool may_narrow() const;
  void after_failure(PendingIndex at, const Waiting& waiting, const AgentFilter& filter, Miss miss);
  // A start for a session that has no room now, as far as the queue discipline gives one.
  std::optional<Future::Start> promise(PendingIndex at, const Waiting& waiting,
                                       const AgentFilter& filter);
  void stand_by_promise(PendingIndex at, const Waiting& waiting, const AgentFilter& filter,
                        std::optional<Future::Start>& start);
  std::optional<Future::Start> promise_for_good(PendingIndex at, const Waiting& waiting,
                                                const AgentFilter& filter);
  std::optional<Future::Start> expect(const Waiting& waiting, const AgentFilter& filter,
                                      std::int64_t before);
  std::optional<Future::Start> expect_within(std::size_t level, const Waiting& waiting,
                                             const AgentFilter& filter,
                                             const Future::Bounds& bounds, std::uint64_t& steps);
  // pass_promises.cpp: conservative backfill from pass to pass.
  void lay_promises();
  bool lay_all(const std::vector<KeptPromise>& old);
  void lay_one(KeptPromise promise);
  void keep_timetable();
  void drop_promise(PendingIndex at);
  bool place_or_promise(PendingIndex at, const Waiting& waiting);
  bool may_stay(const KeptPromise& promise, const Waiting& waiting) const;
  bool is_best(const KeptPromise& promise, const Waiting& waiting);
  bool stays(PendingIndex at, const Waiting& waiting);
  void prepare(const Requirement& requirement);
  // pass_redeem.cpp
  bool redeem(PendingIndex at, const Waiting& waiting, const AgentFilter& filter,
              Neighbours* neighbours);
  bool start_by(const std::vector<AgentIndex>& known, const Waiting& waiting,
                const AgentFilter& filter, Neighbours* neighbours);
  const std::vector<AgentIndex>* domain_of(std::size_t level,
                                           const std::vector<AgentIndex>& agents);
  bool take_beside(const Waiting& waiting, const AgentFilter& ahead, Neighbours* neighbours,
                   std::vector<AgentIndex>& taken, std::vector<AgentIndex>& rest);
  bool find_rest(const Waiting& waiting, const Request& others, const AgentFilter& ahead,
                 std::vector<AgentIndex>& rest);
  bool start_on(const std::vector<AgentIndex>& agents, const Waiting& waiting,
                const AgentFilter& filter, Neighbours* neighbours);
  // pass_topology.cpp: the kernels of a gang near each other. A failure in `miss`: it demands what
  // is not there.
  std::optional<std::vector<AgentIndex>> only_on(const Waiting& waiting,
                                                 const Requirement& requirement,
                                                 const AgentFilter& filter) const;
  bool place_close(const Waiting& waiting, AgentFilter& filter, Neighbours* neighbours, Miss& miss);
  std::optional<std::size_t> demanded_level(const Waiting& waiting) const;
  std::optional<Infeasible> infeasible_within(std::size_t level, const Request& request,
                                              AgentFilter filter) const;
  GangRooms rooms_for(const Waiting& waiting, const AgentFilter& filter, std::size_t levels,
                      bool at_most = false, const KnownRooms& known = {});
  bool tells_start(const Failure& failure) const;
  std::optional<AgentIndex> place_one(const PendingSession& session, const Requirement& requirement,
                                      AgentFilter& filter, std::size_t& candidates);
  void accept(const Waiting& waiting, const Request& request, const std::vector<AgentIndex>& agents,
              std::size_t first_entry);
  void give_up(PendingIndex at, const std::shared_ptr<Failure>& failure);
  AgentFilter filter_of(const Waiting& waiting);
  // Null: the session is in no group that has a wish.
  Neighbours* neighbours_of(const Waiting& waiting);
  void count_members(const std::vector<AgentIndex>& agents, Neighbours* neighbours, int sign);
  // pass_tell.cpp
  void tell(PendingIndex at, std::string code, std::string message, std::string rule = {});
  // Of a requirement that got its agent, and of one whose session did not start after all.
  void took(const Waiting& waiting, const Requirement& requirement, AgentIndex agent);
  void gave_back(const Waiting& waiting, const Requirement& requirement, AgentIndex agent);
  // The first of its requirements, which got these agents.
  void gave_back(const Waiting& waiting, const std::vector<AgentIndex>& agents,
                 Neighbours* neighbours);
  std::string why_unforeseen() const;
  void tell(PendingIndex at, const Failure& failure);
  void tell_refused(PendingIndex at, const Waiting& waiting, const std::vector<Refusal>& refusals);
  std::vector<std::pair<std::string, std::int64_t>> count_behind_quota(const Waiting& waiting);
  std::shared_ptr<const PendingReason> why_undrawn() const;
  void tell_rest();
  void wake(Timestamp at);
  // forecast.cpp: starts that are expected and bind nobody.
  struct Forecast {
    PendingIndex session;
    std::uint64_t position;
    std::shared_ptr<Failure> failure;
  };
  // True: the session is told when the pass is over.
  bool awaits_forecast(PendingIndex at, const std::shared_ptr<Failure>& failure);
  void tell_behind(PendingIndex at);
  bool may_run(PendingIndex at) const;
  void follow_placements();
  std::optional<Future::Start> expected(const Waiting& waiting, const Future::Bounds& bounds,
                                        std::uint64_t& steps);
  std::string hopeless_of(const Forecast& one, const Waiting& waiting);
  bool is_endless() const;
  bool may_survey();
  void expect_in_reservation(const Waiting& waiting, Failure& failure);
  std::string basis_of(const Future::Start& start, std::size_t known_before) const;
  void forecast();
  void tell_forecast(const Forecast& forecast, Timestamp start, std::string basis);

  const ViewSource& source_;
  SchedView view_;
  Group& group_;
  Ledger& ledger_;
  const PolicySet& policies_;
  GroupMemory& memory_;
  PlanLimits limits_;
  std::uint32_t placements_left_;
  std::vector<std::uint64_t>& stamps_;
  std::uint64_t stamp_;

  struct Placed {
    const Waiting* waiting;
    std::vector<AgentIndex> agents;  // one for each requirement
  };
  PassResult result_;
  std::vector<Placed> placed_;  // `result_.placements`, in numbers
  std::vector<Arrival> walked_;
  // By topology that is demanded, and request.
  std::unordered_map<std::uint64_t, std::shared_ptr<Failure>> failures_;
  std::unordered_map<std::uint32_t, std::vector<std::pair<std::string, std::int64_t>>>
      behind_quota_;  // by request
  std::vector<AgentIndex> buffer_;
  std::unique_ptr<Ordering> ordering_;
  std::unordered_map<std::string, std::unique_ptr<Neighbours>> neighbours_;  // by session group
  Reserved reserved_;
  std::vector<AgentIndex> within_;
  const std::vector<AgentIndex>* domain_ = nullptr;  // that is being tried
  Future future_;
  bool looks_ahead_;                      // the queue discipline makes promises
  std::optional<Promises> promised_;      // conservative only
  std::optional<KeptPromise> lifted_;     // of the session that is being looked at
  bool has_future_;                       // there may be promises: what starts is to be followed
  std::optional<Preemption> preemption_;  // when somebody has asked
  std::set<Unhelped> unhelped_;
  PendingIndex asked_ = kNone;  // by ask()
  std::vector<Forecast> forecasts_;
  std::size_t expected_in_reservations_ = 0;
  std::uint32_t promises_ = 0;
  std::optional<std::pair<PendingIndex, Future::Start>> head_;  // promised for ever
  bool reordered_ = false;
  PendingIndex easy_head_ = kNone;  // promised a start in this pass
  std::optional<GroupMemory::Stopped> resumed_;
  bool left_beside_ = false;  // steps were used up before everybody beside the queue had a turn
  Choices choices_;
  std::uint64_t surveyed_ = 0;  // agents, for reasons in full
  std::uint64_t steps_ = 0, position_ = 0, attempts_ = 0;
  End end_ = End::Drawn;
};

// The id of the reservation that it runs in; null: in none.
inline const std::string* own_reservation(const PendingSession& session) {
  if (session.details == nullptr || session.details->reservation.empty()) return nullptr;
  return &session.details->reservation;
}

// Tells everyone in the queue, once, why the group is not planned.
std::vector<Telling> tell_everyone(const Mirror& mirror, const Group& group, GroupMemory& memory,
                                   std::string message);

}  // namespace bai::sched

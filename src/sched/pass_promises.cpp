// Sessions that wait for room: what they are promised, and what that means for those behind them.
#include <algorithm>
#include <unordered_map>

#include "sched/pass.hpp"

namespace bai::sched {

// What was promised in earlier passes comes first.
void GroupPass::lay_promises() {
  if (group_.row->queue_discipline != QueueDiscipline::Conservative) {
    memory_.promises = {};
    memory_.timetable = {};
    return;
  }
  promised_.emplace(source_.mirror, group_, memory_.promises, future_, reserved_.any());
  Timetable& known = memory_.timetable;
  known.follow(group_, source_.now);
  std::vector<KeptPromise> old;
  for (KeptPromise& promise : promised_->take_old()) {
    if (!promised_->is_valid(promise)) continue;
    steps_ += promise.start.agents.size();
    if (promise.start.at <= source_.now.ns) {  // and ends later than it would have
      promise.start.at = source_.now.ns;
      known.drop(promise.start.agents);
    }
    old.push_back(std::move(promise));
  }
  known.drop(promised_->freed());
  if (lay_all(old)) {
    for (KeptPromise& promise : old) promised_->lay_known(std::move(promise));
  } else {
    future_.forget();
    known.drop_all();
    for (KeptPromise& promise : old) lay_one(std::move(promise));
  }
  promises_ = static_cast<std::uint32_t>(promised_->size());
}

// Where agents have room for all that was promised on them, every promise stands, in whatever order
// they are laid; and where nothing has changed they have. False: one of them may not stand.
bool GroupPass::lay_all(const std::vector<KeptPromise>& old) {
  struct Known {
    std::uint32_t count = 0;
    std::int64_t first = kNeverEnds;
  };
  std::unordered_map<AgentIndex, Known> known;
  std::unordered_map<AgentIndex, std::vector<Profile::Take>> anew;
  for (const KeptPromise& promise : old) {
    const Waiting& waiting = source_.mirror.waiting(promise.session);
    const auto& [at, agents] = promise.start;
    const Request& request = view_.request(waiting.session);
    bool may_differ = waiting.details != nullptr;
    for (std::size_t i = 0; i < agents.size(); ++i) {
      if (memory_.timetable.has(agents[i])) {
        Known& one = known[agents[i]];
        ++one.count;
        one.first = std::min(one.first, at);
      } else {
        anew[agents[i]].push_back({at, end_after(at, promise.estimate), &request.requirements[i]});
        may_differ = true;
      }
    }
    if (!may_differ) continue;
    for (const Requirement& requirement : request.requirements) prepare(requirement);
    if (!future_.admits(promise.start, request, filter_of(waiting))) return false;
  }
  for (const auto& [agent, takes] : anew) {
    if (!future_.promise_all(agent, takes)) return false;
  }
  for (auto& [agent, profile] : memory_.timetable.take()) {
    const auto promises = known.find(agent);
    if (promises == known.end()) continue;
    future_.promise_known(agent, std::move(profile), promises->second.count,
                          promises->second.first);
  }
  return true;
}

// Where the agents have no room for it any more the session is promised the next time at which they
// have, before those after it.
void GroupPass::lay_one(KeptPromise promise) {
  const Waiting& waiting = source_.mirror.waiting(promise.session);
  const Request& request = view_.request(waiting.session);
  const AgentFilter filter = filter_of(waiting);
  for (const Requirement& requirement : request.requirements) prepare(requirement);
  if (!future_.holds(promise.start, request, promise.estimate, filter)) {
    promised_->free(promise);
    const auto start = expect(waiting, filter, kNeverEnds);
    if (!start) return;
    promise = promised_->make(promise.session, *start);
  }
  promised_->lay(std::move(promise));
}

// What the next pass may go on with. Where amounts are kept for reservations, or victims' are given
// back for a while, profiles may rest on more than the timetable follows.
void GroupPass::keep_timetable() {
  Timetable& known = memory_.timetable;
  if (!promised_ || !source_.mirror.reservations().empty() || policies_.preemption.enabled) return;
  for (auto& [agent, profile] : future_.take_promised()) known.put(agent, std::move(profile));
  known.drop(promised_->freed());
}

void GroupPass::drop_promise(PendingIndex at) {
  if (!promised_) return;
  if (const auto lifted = promised_->lift(at)) promised_->free(*lifted);
}

void GroupPass::prepare(const Requirement& requirement) {
  group_.agents.prepare_rule(requirement.labels, source_.mirror.label_rule(requirement.labels));
}

bool GroupPass::place_or_promise(PendingIndex at, const Waiting& waiting) {
  if (!promised_) return place(at, waiting);
  if (const KeptPromise* known = promised_->find(at);
      known != nullptr && may_stay(*known, waiting) && is_best(*known, waiting)) {
    promised_->stand(at);
    return false;
  }
  lifted_ = promised_->lift(at);
  if (lifted_ && stays(at, waiting)) return false;
  const bool placed = place(at, waiting);
  if (lifted_ && placed) promised_->started(std::move(*lifted_));
  if (lifted_ && !placed) promised_->free(*lifted_);
  lifted_.reset();
  return placed;
}

// Only where nobody asks why.
bool GroupPass::may_stay(const KeptPromise& promise, const Waiting& waiting) const {
  return !limits_.explain && !promised_->improves_all() && promise.start.at > source_.now.ns &&
         waiting.session.details == nullptr && !policies_.preemption.enabled;
}

// Whether no agent has changed so that the session could start earlier. Not known where its own
// promise is in the way.
bool GroupPass::is_best(const KeptPromise& promise, const Waiting& waiting) {
  const std::vector<AgentIndex>& improved = promised_->improved();
  if (improved.empty()) return true;
  for (const AgentIndex agent : promise.start.agents) {
    if (std::ranges::binary_search(improved, agent)) return false;
  }
  const AgentFilter filter = filter_of(waiting);
  for (const Requirement& requirement : view_.request(waiting.session).requirements) {
    prepare(requirement);
    if (future_.earliest_among(improved, requirement, waiting.session.estimate, filter,
                               {.limit = promise.start.at}, steps_)) {
      return false;
    }
  }
  return true;
}

// Whether no agent has changed so that the session could start now; then it keeps its promise, or
// gets an earlier one.
bool GroupPass::stays(PendingIndex at, const Waiting& waiting) {
  if (!may_stay(*lifted_, waiting)) return false;
  const Request& request = view_.request(waiting.session);
  const AgentFilter filter = filter_of(waiting);
  std::int64_t first = lifted_->start.at;
  std::optional<Future::Start> start;
  for (const Requirement& requirement : request.requirements) {
    prepare(requirement);
    const auto better =
        future_.earliest_among(promised_->improved(), requirement, waiting.session.estimate, filter,
                               {.limit = first}, steps_);
    if (!better) continue;
    start = better;
    first = better->at;
    if (first == source_.now.ns) return false;
  }
  if (start && request.requirements.size() > 1) {
    start = future_.earliest(request, waiting.session.estimate, filter,
                             {.from = first, .limit = lifted_->start.at}, steps_);
  }
  if (start) {
    promised_->free(*lifted_);
    lifted_ = promised_->make(at, std::move(*start));
  }
  promised_->lay(std::move(*lifted_));
  lifted_.reset();
  return true;
}

// Whether sessions that ask for the same need not be looked at when one of them finds no room:
// nobody asks why, and none of them could have others' room.
bool GroupPass::may_narrow() const {
  return !limits_.explain && !promised_ && !policies_.preemption.enabled &&
         group_.in_reservations.empty() && !source_.mirror.cohorts().any();
}

// What the session's failure means for those behind it: room that is kept, or sessions that need
// not be looked at.
void GroupPass::after_failure(PendingIndex at, const Waiting& waiting, const AgentFilter& filter,
                              Miss miss) {
  auto failure = std::move(miss.failure);
  if (failure->code == "reservation") expect_in_reservation(waiting, *failure);
  if ((failure->blocks || miss.barred) && (looks_ahead_ || tells_start(*failure))) {
    if (const auto start =
            looks_ahead_ ? promise(at, waiting, filter) : expect(waiting, filter, kNeverEnds)) {
      auto own = std::make_shared<Failure>(*failure);
      own->expected_start = Timestamp{start->at};
      failure = std::move(own);
    }
  }
  if (may_narrow() && miss.candidates == 0 && !filter.may_exclude() && waiting.topology == 0) {
    if (miss.barred) {
      // Who runs longer breaks the same promises.
      const Duration longest = promises_ == 1 && !reserved_.any()
                                   ? future_.before_first_promise()
                                   : Duration{waiting.session.estimate.ns - 1};
      ordering_->narrow(waiting.session.request, longest);
    } else {
      ordering_->narrow(waiting.session.request, Duration{-1});
    }
  }
  give_up(at, failure);
}

// Where the queue discipline promises nothing only those who wait for a reservation's end are told.
bool GroupPass::tells_start(const Failure& failure) const {
  return limits_.explain && position_ <= limits_.positions_max && failure.code == "reserved";
}

std::optional<Future::Start> GroupPass::expect(const Waiting& waiting, const AgentFilter& filter,
                                               std::int64_t before) {
  const Request& request = view_.request(waiting.session);
  if (const auto level = demanded_level(waiting); level && request.requirements.size() > 1) {
    return expect_within(*level, waiting, filter, {.limit = before}, steps_);
  }
  return future_.earliest(request, waiting.session.estimate, filter, before, steps_);
}

std::optional<Future::Start> GroupPass::promise(PendingIndex at, const Waiting& waiting,
                                                const AgentFilter& filter) {
  if (promised_) return promise_for_good(at, waiting, filter);
  if (promises_ > 0) return std::nullopt;
  auto start = expect(waiting, filter, kNeverEnds);
  stand_by_promise(at, waiting, filter, start);
  if (!start) return std::nullopt;
  const Request& request = view_.request(waiting.session);
  if (reserved_.any()) {
    future_.promise(*start, request, waiting.session.estimate);
  } else {
    future_.promise_once(*start, request);
    head_.emplace(at, *start);
  }
  ++promises_;
  easy_head_ = at;
  return start;
}

// Easy backfill looks for a start anew in each pass. For kernels that differ it may not find again
// what is there: then what was promised before stands.
void GroupPass::stand_by_promise(PendingIndex at, const Waiting& waiting, const AgentFilter& filter,
                                 std::optional<Future::Start>& start) {
  auto kept = std::exchange(memory_.head, {});
  const Request& request = view_.request(waiting.session);
  if (request.requirements.size() < 2) return;
  if (kept && kept->session == at && is_wanted(source_.mirror, group_, *kept) &&
      kept->start.at > source_.now.ns && (!start || kept->start.at < start->at) &&
      renumber(group_, *kept) &&
      future_.holds(kept->start, request, waiting.session.estimate, filter)) {
    start = kept->start;
  }
  if (start) memory_.head = keep_promise(source_.mirror, group_, at, *start);
}

std::optional<Future::Start> GroupPass::promise_for_good(PendingIndex at, const Waiting& waiting,
                                                         const AgentFilter& filter) {
  if (!lifted_ && promised_->size() >= policies_.backfill_depth) {
    // Whoever is not promised a start waits behind all who are.
    end_ = End::Blocked;
    return std::nullopt;
  }
  auto start = expect(waiting, filter, lifted_ ? lifted_->start.at : kNeverEnds);
  if (!start && !lifted_) return std::nullopt;
  if (start && lifted_) promised_->free(*lifted_);
  KeptPromise kept = start ? promised_->make(at, std::move(*start)) : std::move(*lifted_);
  lifted_.reset();
  Future::Start at_last = kept.start;
  promised_->lay(std::move(kept));
  promises_ = static_cast<std::uint32_t>(promised_->size());
  return at_last;
}

}  // namespace bai::sched

#include "sched/planner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <map>

#include "sched/pass.hpp"

namespace bai {

using sched::Group;
using sched::GroupMemory;
using sched::Telling;

struct Planner::Impl {
  struct Told {
    std::uint32_t generation = 0;
    std::shared_ptr<const PendingReason> reason;
  };

  std::shared_ptr<const PolicyRegistry> registry;
  PlanLimits limits;
  sched::Mirror mirror;
  std::vector<Told> told;             // by pending place
  std::vector<std::uint64_t> stamps;  // by pending place: the pass that drew the session last
  std::uint64_t stamp = 0;
  std::vector<GroupMemory> memories;  // by group
  std::vector<GroupMemory> asked;     // the same for questions: those must not show in plans
  std::uint64_t questions = 0;

  JobRunner runner;

  // Of one resource group, on whatever thread. What it writes is the group's alone.
  void plan_group(std::uint32_t at, Timestamp now, std::uint64_t seed, Plan& plan);
  void run_pass(Group& group, GroupMemory& memory, Timestamp now, std::uint64_t seed, Plan& plan);
  bool has_policies(const Group& group, GroupMemory& memory, Plan& plan);
  sched::PassResult ask(PendingIndex session, Timestamp now, std::uint64_t seed);
  sched::PassResult ask_once(Group& group, GroupMemory& memory, PendingIndex session, bool alone,
                             Timestamp now, std::uint64_t seed);
  void emit(const std::vector<Telling>& tellings, Plan& plan);
  void fail_group(const Group& group, GroupMemory& memory, std::string error, Plan& plan);
};

namespace {

// A pass that was abandoned has not said when the next one is due.
constexpr Duration kAbandonedRetry = seconds(10);

void one_after_the_other(std::size_t count, const std::function<void(std::size_t)>& job) {
  for (std::size_t i = 0; i < count; ++i) job(i);
}

void append(Plan& plan, Plan&& more) {
  const auto move = [](auto& to, auto& from) {
    if (to.empty()) {
      to = std::move(from);
    } else {
      std::ranges::move(from, std::back_inserter(to));
    }
  };
  move(plan.placements, more.placements);
  move(plan.explained, more.explained);
  move(plan.errors, more.errors);
  move(plan.notices, more.notices);
  if (more.wake_at && (!plan.wake_at || *more.wake_at < *plan.wake_at)) plan.wake_at = more.wake_at;
}

}  // namespace

Planner::Planner(std::shared_ptr<const PolicyRegistry> policies, PlanLimits limits,
                 JobRunner runner)
    : impl_(std::make_unique<Impl>()) {
  BAI_ASSERT(policies != nullptr, "a planner has policies");
  impl_->registry = std::move(policies);
  impl_->limits = limits;
  impl_->runner = runner ? std::move(runner) : one_after_the_other;
}

Planner::~Planner() = default;

void Planner::feed(StateVersion version, std::span<const Change> changes) {
  impl_->mirror.feed(version, changes);
}

const sched::Mirror& Planner::mirror() const noexcept { return impl_->mirror; }

Plan Planner::plan(Timestamp now, std::uint64_t seed) {
  Impl& impl = *impl_;
  Plan plan;
  plan.based_on = impl.mirror.version();
  impl.told.resize(impl.mirror.waiting_places());
  impl.stamps.resize(impl.mirror.waiting_places(), 0);
  ++impl.stamp;
  std::vector<std::uint32_t> groups;  // by name
  for (const auto& [name, at] : impl.mirror.groups()) {
    groups.push_back(at);
    if (at >= impl.memories.size()) impl.memories.resize(at + 1);
  }
  std::vector<Plan> plans(groups.size());
  impl.runner(groups.size(),
              [&](std::size_t i) { impl.plan_group(groups[i], now, seed, plans[i]); });
  for (Plan& one : plans) append(plan, std::move(one));
  return plan;
}

namespace {

sched::PassResult not_planned(PendingIndex session, std::string message) {
  auto reason = std::make_shared<PendingReason>();
  reason->code = sched::kPolicyError;
  reason->message = std::move(message);
  sched::say_unforeseen(*reason);
  return {{}, {{session, std::move(reason)}}, {}};
}

std::vector<Change> inverse_of(std::span<const Change> changes) {
  std::vector<Change> inverse(changes.rbegin(), changes.rend());
  for (Change& change : inverse) std::swap(change.before, change.after);
  return inverse;
}

}  // namespace

Prospect Planner::what_if(std::span<const Change> changes, const SessionId& session, Timestamp now,
                          std::uint64_t seed) {
  Impl& impl = *impl_;
  const StateVersion version = impl.mirror.version();
  Prospect prospect{version, {}, {}};
  struct Before {
    std::size_t arrivals = 0;
    sched::Noted noted;
  };
  std::map<std::uint32_t, Before> known;  // by group
  for (const auto& [name, at] : impl.mirror.groups()) {
    const Group& group = impl.mirror.group(at);
    known[at] = {group.arrivals.size(), sched::noted_of(group)};
  }
  // A version that never comes, so that nothing that is kept by version outlives the question.
  constexpr std::uint64_t kNeverComes = std::uint64_t{1} << 63;
  if (!changes.empty()) impl.mirror.feed({kNeverComes + ++impl.questions}, changes);
  impl.stamps.resize(impl.mirror.waiting_places(), 0);
  if (const auto at = impl.mirror.find_waiting(session); at && impl.mirror.waiting(*at).queued) {
    sched::PassResult result = impl.ask(*at, now, seed);
    if (!result.placements.empty()) {
      prospect.placement = std::move(result.placements.front());
    } else if (!result.tellings.empty()) {
      prospect.reason = std::move(result.tellings.back().reason);
    }
  }
  if (!changes.empty()) impl.mirror.feed(version, inverse_of(changes));
  for (const auto& [name, at] : impl.mirror.groups()) {
    Group& group = impl.mirror.group(at);
    const Before& before = known[at];
    group.arrivals.resize(std::min(group.arrivals.size(), before.arrivals), {0, 0});
    if (at < impl.memories.size()) {
      impl.memories[at].pass_over(before.noted, sched::noted_of(group));
    }
  }
  return prospect;
}

sched::PassResult Planner::Impl::ask(PendingIndex session, Timestamp now, std::uint64_t seed) {
  const std::uint32_t at = mirror.waiting(session).group;
  Group& group = mirror.group(at);
  if (at >= asked.size()) asked.resize(at + 1);
  GroupMemory& memory = asked[at];
  Plan notices;  // plans say them
  if (group.row == nullptr) {
    return not_planned(session, fmt::format("Resource group {} does not exist.", group.name.str()));
  }
  if (at < memories.size()) memory.choices = memories[at].choices;
  std::string error;
  try {
    if (!has_policies(group, memory, notices)) {
      return not_planned(session, memory.policies->error().message);
    }
    // Those before it only take room: where there is none without them there is none.
    const bool conservative = group.row->queue_discipline == QueueDiscipline::Conservative;
    if (!conservative || group.pending == 1) {
      auto alone = ask_once(group, memory, session, true, now, seed);
      if (alone.placements.empty() || group.pending == 1) return alone;
    }
    if (at < memories.size()) {
      memory.promises = memories[at].promises;
      memory.head = memories[at].head;
    }
    return ask_once(group, memory, session, false, now, seed);
  } catch (const std::exception& thrown) {
    error = thrown.what();
  } catch (...) {
    error = "a policy threw something that is no exception";
  }
  return not_planned(session,
                     fmt::format("Resource group {} is not planned: {}.", group.name.str(), error));
}

sched::PassResult Planner::Impl::ask_once(Group& group, GroupMemory& memory, PendingIndex session,
                                          bool alone, Timestamp now, std::uint64_t seed) {
  sched::Ledger ledger(mirror);
  const sched::ViewSource source{mirror, group, ledger, now, seed};
  sched::GroupPass pass(source, group, ledger, **memory.policies, memory, limits,
                        std::numeric_limits<std::uint32_t>::max(), stamps, ++stamp);
  return alone ? pass.ask_alone(session) : pass.ask(session);
}

bool Planner::Impl::has_policies(const Group& group, GroupMemory& memory, Plan& plan) {
  if (memory.settings != group.row || !memory.policies) {
    memory.settings = group.row;
    memory.scores.clear();
    memory.stopped = {};
    memory.policies = sched::make_policy_set(*registry, *group.row);
    const std::string notice = memory.policies->has_value() ? (*memory.policies)->notice : "";
    if (!notice.empty() && notice != memory.notice) plan.notices.push_back(notice);
    memory.notice = notice;
  }
  return memory.policies->has_value();
}

void Planner::Impl::plan_group(std::uint32_t at, Timestamp now, std::uint64_t seed, Plan& plan) {
  GroupMemory& memory = memories[at];
  Group& group = mirror.group(at);
  auto arrivals = std::exchange(group.arrivals, {});
  if (memory.arrivals.empty()) {
    memory.arrivals = std::move(arrivals);
  } else {
    memory.arrivals.insert(memory.arrivals.end(), arrivals.begin(), arrivals.end());
  }
  if (group.pending == 0) {
    memory.walked.clear();
    memory.arrivals.clear();
    return;
  }
  if (group.row == nullptr) {
    return fail_group(group, memory,
                      fmt::format("Resource group {} does not exist.", group.name.str()), plan);
  }
  std::string error;
  try {
    return run_pass(group, memory, now, seed, plan);
  } catch (const std::exception& thrown) {
    error = thrown.what();
  } catch (...) {
    error = "a policy threw something that is no exception";
  }
  auto notices = std::exchange(plan.notices, {});
  plan = {};
  plan.notices = std::move(notices);
  fail_group(group, memory,
             fmt::format("Resource group {} is not planned: {}.", group.name.str(), error), plan);
  plan.wake_at = now + kAbandonedRetry;
}

void Planner::Impl::run_pass(Group& group, GroupMemory& memory, Timestamp now, std::uint64_t seed,
                             Plan& plan) {
  if (!has_policies(group, memory, plan)) {
    return fail_group(group, memory, memory.policies->error().message, plan);
  }
  sched::Ledger ledger(mirror);
  const sched::ViewSource source{mirror, group, ledger, now, seed};
  sched::PassResult result = sched::GroupPass(source, group, ledger, **memory.policies, memory,
                                              limits, limits.sessions_max, stamps, stamp)
                                 .run();
  plan.placements = std::move(result.placements);
  // Should a placement be refused when it is applied, the session is told anew.
  for (const PendingIndex at : result.placed) told[at] = {};
  emit(result.tellings, plan);
  plan.wake_at = result.wake_at;
}

void Planner::Impl::fail_group(const Group& group, GroupMemory& memory, std::string error,
                               Plan& plan) {
  emit(sched::tell_everyone(mirror, group, memory, error), plan);
  plan.errors.push_back(std::move(error));
}

void Planner::Impl::emit(const std::vector<Telling>& tellings, Plan& plan) {
  for (const Telling& telling : tellings) {
    const sched::Waiting& waiting = mirror.waiting(telling.session);
    Told& last = told[telling.session];
    const bool same_session = last.generation == waiting.generation && last.reason != nullptr;
    if (same_session && (last.reason == telling.reason || *last.reason == *telling.reason))
      continue;
    last = {waiting.generation, telling.reason};
    plan.explained.push_back({waiting.session.id, telling.reason});
  }
}

}  // namespace bai

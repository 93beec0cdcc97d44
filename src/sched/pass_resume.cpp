// Passes that use up their steps, and those that go on from there.
#include "sched/pass.hpp"

namespace bai::sched {

namespace {

constexpr Duration kResumeAfter = milliseconds(1);

}  // namespace

Noted noted_of(const Group& group) {
  return {group.agents.epoch(),
          group.agents.facts_epoch(),
          group.agents.changed().size(),
          {group.ends.epoch(), group.ends.agents().size()}};
}

void GroupMemory::pass_over(const Noted& before, const Noted& now) {
  if (stopped.noted.facts == before.facts) stopped.noted.facts = now.facts;
  if (stopped.noted.ends == before.ends) stopped.noted.ends = now.ends;
  if (reserved.epoch == before.epoch) reserved.epoch = now.epoch;
  if (promises.epoch == before.epoch && promises.changes_seen == before.changes) {
    promises.epoch = now.epoch;
    promises.changes_seen = now.changes;
  }
}

void GroupPass::resume() {
  GroupMemory::Stopped stopped = std::exchange(memory_.stopped, {});
  const Noted noted = noted_of(group_);
  if (stopped.seen.empty() || stopped.noted.facts != noted.facts ||
      stopped.kept != memory_.reserved.edits || (has_future_ && stopped.noted.ends != noted.ends)) {
    return;
  }
  std::vector<Arrival> seen;
  for (const Arrival& arrival : stopped.seen) {
    const Waiting& waiting = source_.mirror.waiting(arrival.session);
    if (waiting.queued && waiting.generation == arrival.generation) {
      seen.push_back(arrival);
    } else if (arrival.session == stopped.head) {
      return;  // those behind it were held back for it
    }
  }
  for (const Arrival& arrival : seen) stamps_[arrival.session] = stamp_;
  walked_ = seen;
  stopped.seen = std::move(seen);
  if (stopped.is_blocked) end_ = End::Blocked;
  if (stopped.wake_at) wake(*stopped.wake_at);
  resumed_ = std::move(stopped);
}

// Its turn has come once more.
void GroupPass::skip_seen(PendingIndex at) {
  ++position_;
  if (at != resumed_->head) return;
  const Waiting& waiting = source_.mirror.waiting(at);
  for (const Requirement& requirement : view_.request(waiting.session).requirements) {
    prepare(requirement);
  }
  promise(at, waiting, filter_of(waiting));
  reorder_behind_promise();
  if (reordered_) position_ = resumed_->seen.size();
}

// Whether those that were seen first might start now although nothing has changed on agents.
bool GroupPass::is_overtaken() const {
  if (resumed_->version != source_.mirror.version()) return true;
  if (resumed_->wake_at && *resumed_->wake_at <= source_.now) return true;
  if (!has_future_) return false;
  const auto end = group_.held.lower_bound({resumed_->since.ns + 1, KernelId{}});
  return end != group_.held.end() && end->first.first <= source_.now.ns;
}

void GroupPass::remember_where() {
  if (end_ != End::StepsFull && !left_beside_) {
    if (resumed_ && is_overtaken()) wake(source_.now + kResumeAfter);
    return;
  }
  if (result_.placements.empty()) {
    GroupMemory::Stopped& stopped = memory_.stopped;
    stopped.seen = walked_;
    stopped.head = easy_head_ == kNone && resumed_ ? resumed_->head : easy_head_;
    stopped.is_blocked = end_ == End::Blocked;
    stopped.wake_at = result_.wake_at;
    stopped.noted = noted_of(group_);
    stopped.kept = memory_.reserved.edits;
    stopped.version = resumed_ ? resumed_->version : source_.mirror.version();
    stopped.since = resumed_ ? resumed_->since : source_.now;
  }
  wake(source_.now + kResumeAfter);
}

// Whether everybody has had a turn who may have one.
bool GroupPass::is_whole() const {
  return !resumed_ && !left_beside_ && (end_ == End::Drawn || end_ == End::Blocked);
}

}  // namespace bai::sched

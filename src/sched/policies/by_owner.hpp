// Orders in which owners take turns by rank: within a priority band the owner with the smallest
// rank goes first, with its oldest session; equal ranks go by age.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "bai_manager/policy.hpp"

namespace bai::sched {

// `Ranks` gives `Rank rank(std::uint32_t owner)`, ordered by <, and says whether ranks may grow
// while the pass places sessions (`moves()`); they never shrink. A rank is looked at again only
// when its owner is about to be drawn.
template <class Ranks>
class ByOwner final : public Ordering {
 public:
  ByOwner(const SchedView& view, Ranks ranks)
      : view_(view), ranks_(std::move(ranks)), bands_(view.bands()) {}

  std::optional<PendingIndex> next() override {
    if (drawn_) advance();
    while (true) {
      while (heap_.empty()) {
        if (band_ == bands_.size()) return std::nullopt;
        enter(bands_[band_++]);
      }
      if (settle_top()) {
        drawn_ = true;
        return heap_.front().session;
      }
    }
  }

  void narrow(std::uint32_t request, Duration longest) override {
    if (request >= longest_.size()) longest_.resize(request + 1, kUnknownEstimate);
    longest_[request] = std::min(longest_[request], longest);
  }

 private:
  using Rank = decltype(std::declval<Ranks&>().rank(0U));
  struct Head {
    Rank rank;
    Timestamp created_at;
    PendingIndex session;
    std::uint32_t owner, queue;
  };

  auto later() const {
    return [this](const Head& a, const Head& b) {
      if (b.rank < a.rank) return true;
      if (a.rank < b.rank) return false;
      if (a.created_at != b.created_at) return b.created_at < a.created_at;
      return view_.session(b.session).id < view_.session(a.session).id;
    };
  }

  bool is_out(PendingIndex at) const {
    if (longest_.empty()) return false;
    const PendingSession& session = view_.session(at);
    if (session.request >= longest_.size()) return false;
    const Duration longest = longest_[session.request];
    return longest < Duration{} || (longest != kUnknownEstimate && session.estimate > longest);
  }

  OwnerQueue& queue_of(const Head& head) {
    OwnerQueue& queue = queues_[head.queue];
    if (queue.is_null()) queue = view_.owner_queue(priority_, head.queue);
    return queue;
  }

  // The queue's first session that can still start becomes its head.
  bool settle(Head& head) {
    OwnerQueue& queue = queue_of(head);
    auto session = queue.front();
    while (session && is_out(*session)) {
      queue.pop();
      session = queue.front();
    }
    if (!session) return false;
    head.session = *session;
    head.created_at = view_.session(*session).created_at;
    return true;
  }

  // The top's queue has moved on. It is taken out of the heap before it changes.
  void replace_top() {
    std::ranges::pop_heap(heap_, later());
    if (settle(heap_.back())) {
      std::ranges::push_heap(heap_, later());
    } else {
      heap_.pop_back();
    }
  }

  void advance() {
    drawn_ = false;
    queue_of(heap_.front()).pop();
    replace_top();
  }

  // False when the top was not what it said; the heap is in order again.
  bool settle_top() {
    if (is_out(heap_.front().session)) {
      replace_top();
      return false;
    }
    if (!ranks_.moves()) return true;
    const Rank now = ranks_.rank(heap_.front().owner);
    if (!(heap_.front().rank < now)) return true;
    std::ranges::pop_heap(heap_, later());
    heap_.back().rank = now;
    std::ranges::push_heap(heap_, later());
    return false;
  }

  void enter(std::int32_t priority) {
    priority_ = priority;
    const auto heads = view_.owner_heads(priority);
    queues_.assign(heads.size(), OwnerQueue());
    heap_.clear();
    heap_.reserve(heads.size());
    for (std::uint32_t i = 0; i < heads.size(); ++i) {
      const OwnerHead& first = heads[i];
      heap_.push_back({ranks_.rank(first.owner), first.created_at, first.session, first.owner, i});
    }
    std::ranges::make_heap(heap_, later());
  }

  const SchedView& view_;
  Ranks ranks_;
  std::vector<std::int32_t> bands_;
  std::size_t band_ = 0;
  std::int32_t priority_ = 0;       // of the band that was entered last
  std::vector<OwnerQueue> queues_;  // of those that moved on from their head
  std::vector<Head> heap_;
  bool drawn_ = false;             // the top was given out and has not moved on yet
  std::vector<Duration> longest_;  // by request: what `narrow` said
};

}  // namespace bai::sched

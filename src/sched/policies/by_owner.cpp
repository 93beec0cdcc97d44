#include "sched/policies/by_owner.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "sched/view_source.hpp"

namespace bai::sched {

namespace {

// Walks the order that is kept and leaves it as it is: who has been drawn, or has risen in rank,
// goes into a heap of this pass, together with those of the kept heap that are next behind it. A
// rank is looked at again only when its owner is about to be drawn.
class ByOwner final : public Ordering {
 public:
  ByOwner(const SchedView& view, std::unique_ptr<OwnerRanks> ranks)
      : view_(view),
        ranks_(std::move(ranks)),
        order_(source_of(view).group.order),
        bands_(view.bands()) {
    order_.follow(source_of(view).mirror, source_of(view).group, *ranks_);
  }

  std::optional<PendingIndex> next() override {
    if (std::exchange(drawn_, false)) {
      replace_first([&](Candidate& candidate) {
        queue_of(candidate).pop();
        candidate.place.rank = ranks_->rank(candidate.place.owner);  // it may have been placed
        return settle(candidate);
      });
    }
    while (true) {
      while (turns_.empty()) {
        if (band_ == bands_.size()) return std::nullopt;
        enter(bands_[band_++]);
      }
      if (is_first_settled()) {
        drawn_ = true;
        return first(walks_[turns_.front()]).session;
      }
    }
  }

  void narrow(std::uint32_t request, Duration longest) override {
    if (request >= longest_.size()) longest_.resize(request + 1, kUnknownEstimate);
    longest_[request] = std::min(longest_[request], longest);
  }

 private:
  using Place = OwnerOrder::Place;
  struct Candidate {
    Place place;
    std::uint32_t at = kNone;  // in the kept heap; kNone: it has left its place there
    OwnerQueue queue;          // null: it is at its head
  };
  struct Walk {  // of one team
    TeamRank rank;
    const std::vector<Place>* kept = nullptr;
    bool begun = false;                 // before that only the first of `kept` counts
    std::vector<Candidate> candidates;  // a heap
  };

  static const Place& first(const Walk& walk) {
    return walk.begun ? walk.candidates.front().place : walk.kept->front();
  }
  static bool later(const Candidate& a, const Candidate& b) { return b.place < a.place; }
  // The first one of the heap is another one now.
  static void sink_first(std::vector<Candidate>& heap) {
    const Candidate sinking = heap.front();
    std::size_t at = 0;
    for (std::size_t child = 1; child < heap.size(); child = 2 * at + 1) {
      if (child + 1 < heap.size() && heap[child + 1].place < heap[child].place) ++child;
      if (!(heap[child].place < sinking.place)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = sinking;
  }
  auto later_turn() const {
    return [this](std::uint32_t a, std::uint32_t b) {
      const Walk &x = walks_[a], &y = walks_[b];
      return x.rank != y.rank ? y.rank < x.rank : first(y) < first(x);
    };
  }

  bool is_out(PendingIndex at) const {
    if (longest_.empty()) return false;
    const PendingSession& session = view_.session(at);
    if (session.request >= longest_.size()) return false;
    const Duration longest = longest_[session.request];
    return longest < Duration{} || (longest != kUnknownEstimate && session.estimate > longest);
  }

  OwnerQueue& queue_of(Candidate& candidate) {
    OwnerQueue& queue = candidate.queue;
    if (queue.is_null()) queue = view_.owner_queue(priority_, candidate.place.owner);
    return queue;
  }

  // The queue's first session that can still start becomes its head.
  bool settle(Candidate& candidate) {
    OwnerQueue& queue = queue_of(candidate);
    auto session = queue.front();
    while (session && is_out(*session)) {
      queue.pop();
      session = queue.front();
    }
    if (!session) return false;
    const PendingSession& head = view_.session(*session);
    candidate.place.session = *session;
    candidate.place.created_at = head.created_at;
    candidate.place.id = head.id;
    return true;
  }

  static void push(Walk& walk, const Candidate& candidate) {
    walk.candidates.push_back(candidate);
    std::ranges::push_heap(walk.candidates, later);
  }

  // The first one, which leaves its place in the kept heap to those that are next behind it.
  static Candidate& detach_first(Walk& walk) {
    if (!std::exchange(walk.begun, true)) push(walk, {walk.kept->front(), 0, {}});
    const std::uint32_t at = std::exchange(walk.candidates.front().at, kNone);
    if (at != kNone) {
      for (const std::uint32_t child : {2 * at + 1, 2 * at + 2}) {
        if (child < walk.kept->size()) push(walk, {(*walk.kept)[child], child, {}});
      }
    }
    return walk.candidates.front();
  }

  // `change` puts who is first further back, or says that nothing of it is left.
  template <class Change>
  void replace_first(Change&& change) {
    std::ranges::pop_heap(turns_, later_turn());
    Walk& walk = walks_[turns_.back()];
    if (change(detach_first(walk))) {
      sink_first(walk.candidates);
    } else {
      std::ranges::pop_heap(walk.candidates, later);
      walk.candidates.pop_back();
    }
    if (walk.candidates.empty()) {
      turns_.pop_back();
    } else {
      std::ranges::push_heap(turns_, later_turn());
    }
  }

  // False when the first one was not what it said; the heaps are in order again.
  bool is_first_settled() {
    const Place& place = first(walks_[turns_.front()]);
    if (is_out(place.session)) {
      replace_first([&](Candidate& candidate) { return settle(candidate); });
      return false;
    }
    const OwnerRank now = ranks_->rank(place.owner);
    if (!(place.rank < now)) return true;
    if (ranks_->rises()) order_.rate_again(place.owner);
    replace_first([&](Candidate& candidate) {
      candidate.place.rank = now;
      return true;
    });
    return false;
  }

  void enter(std::int32_t priority) {
    priority_ = priority;
    walks_.clear();
    turns_.clear();
    const OwnerOrder::Band* band = order_.band(priority);
    if (band == nullptr) return;
    for (const auto& [number, team] : band->teams) {
      turns_.push_back(static_cast<std::uint32_t>(walks_.size()));
      walks_.push_back({ranks_->team_rank(number), &team.places, false, {}});
    }
    std::ranges::make_heap(turns_, later_turn());
  }

  const SchedView& view_;
  std::unique_ptr<OwnerRanks> ranks_;
  OwnerOrder& order_;
  std::vector<std::int32_t> bands_;
  std::size_t band_ = 0;
  std::int32_t priority_ = 0;         // of the band that was entered last
  std::vector<Walk> walks_;           // of its teams
  std::vector<std::uint32_t> turns_;  // of those that are not through, as a heap
  bool drawn_ = false;                // the first was given out and has not moved on yet
  std::vector<Duration> longest_;     // by request: what `narrow` said
};

}  // namespace

std::unique_ptr<Ordering> order_by_owner(const SchedView& view, std::unique_ptr<OwnerRanks> ranks) {
  return std::make_unique<ByOwner>(view, std::move(ranks));
}

}  // namespace bai::sched

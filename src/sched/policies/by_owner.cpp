#include "sched/policies/by_owner.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <tuple>
#include <unordered_map>
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
        return first(turns_.front()).session;
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
  struct Walk {  // of one team that has been first
    const std::vector<Place>* kept = nullptr;
    std::vector<Candidate> candidates;  // a heap
  };
  struct Turn {     // of one team
    TeamRank rank;  // or less
    const OwnerOrder::Team* team = nullptr;
    std::uint32_t walk = kNone;  // before it has begun only the first of what is kept counts
    bool is_rated = false;
  };

  const Place& first(const Turn& turn) const {
    return turn.walk != kNone ? walks_[turn.walk].candidates.front().place
                              : turn.team->places.front();
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
    return [this](const Turn& a, const Turn& b) {
      return a.rank != b.rank ? b.rank < a.rank : first(b) < first(a);
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
    Turn& turn = turns_.back();
    if (turn.walk == kNone) {
      turn.walk = static_cast<std::uint32_t>(walks_.size());
      walks_.push_back({&turn.team->places, {}});
      push(walks_.back(), {turn.team->places.front(), 0, {}});
    }
    Walk& walk = walks_[turn.walk];
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

  // The team's rank is looked at when its turn has come.
  bool is_first_rated() {
    if (turns_.front().is_rated) return true;
    std::ranges::pop_heap(turns_, later_turn());
    Turn& turn = turns_.back();
    const TeamRank rank = ranks_->team_rank(turn.team->number);
    if (turn.rank < rank) order_.rate_team_again(turn.team->number);
    turn.rank = rank;
    turn.is_rated = true;
    std::ranges::push_heap(turns_, later_turn());
    return false;
  }

  // False when the first one was not what it said; the heaps are in order again.
  bool is_first_settled() {
    if (!is_first_rated()) return false;
    const Place& place = first(turns_.front());
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
    std::unordered_map<std::uint64_t, std::int32_t> upper;
    std::uint64_t last = ~std::uint64_t{0};
    std::int32_t rank = 0;
    turns_.reserve(band->floors.size());
    for (const OwnerOrder::TeamFloor& floor : band->floors) {
      const std::uint64_t half = floor.number >> 32;
      if (std::exchange(last, half) != half) {
        const auto [known, is_new] = upper.try_emplace(half);
        if (is_new) known->second = ranks_->upper_rank(floor.number);
        rank = known->second;
      }
      turns_.push_back({{rank, floor.floor}, floor.team, kNone, false});
    }
    std::ranges::make_heap(turns_, later_turn());
  }

  const SchedView& view_;
  std::unique_ptr<OwnerRanks> ranks_;
  OwnerOrder& order_;
  std::vector<std::int32_t> bands_;
  std::size_t band_ = 0;
  std::int32_t priority_ = 0;      // of the band that was entered last
  std::vector<Walk> walks_;        // of its teams
  std::vector<Turn> turns_;        // of those that are not through, as a heap
  bool drawn_ = false;             // the first was given out and has not moved on yet
  std::vector<Duration> longest_;  // by request: what `narrow` said
};

}  // namespace

std::unique_ptr<Ordering> order_by_owner(const SchedView& view, std::unique_ptr<OwnerRanks> ranks) {
  return std::make_unique<ByOwner>(view, std::move(ranks));
}

}  // namespace bai::sched

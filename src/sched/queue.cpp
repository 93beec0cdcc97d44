#include "sched/queue.hpp"

#include <algorithm>
#include <limits>

#include "base/assert.hpp"

namespace bai::sched {

namespace {

constexpr std::size_t kBlockMax = 128;  // entries of a block before it is split

std::int64_t shortest_of(const std::vector<QueueEntry>& entries) {
  std::int64_t shortest = std::numeric_limits<std::int64_t>::max();
  for (const QueueEntry& entry : entries) shortest = std::min(shortest, entry.estimate);
  return shortest;
}

// One band, its requests merged by a tournament of their heads: a pass over a long queue does
// little else than to compare them.
class BandWalk {
  static constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

  struct Cursor {
    const RequestQueue* queue;
    RequestQueue::Place place;
    std::uint32_t request;
    bool is_done;  // nobody is left
    std::int64_t longest;
    // What is at `place`, and how many there are behind it in its block: who reads on from there
    // need not look at the queue, which is likely to be far away.
    const QueueEntry* head = nullptr;
    std::size_t left = 0;
  };

 public:
  BandWalk(const BandQueue& band, bool newest_first,
           const std::map<std::uint32_t, std::int64_t>& limits)
      : order_(band.order()), newest_first_(newest_first) {
    cursors_.reserve(band.requests().size());
    heads_.reserve(band.requests().size());
    ranks_.reserve(band.requests().size());
    for (const auto& [request, queue] : band.requests()) {
      const auto limit = limits.find(request);
      cursors_.push_back({&queue, newest_first ? queue.back() : queue.front(), request, false,
                          limit == limits.end() ? kNoLimit : limit->second});
      heads_.emplace_back();
      ranks_.emplace_back();
      look(cursors_.back());
      take_up(cursors_.size() - 1, settle(cursors_.back()));
    }
    play_all();
  }

  std::optional<PendingIndex> next() {
    if (drawn_) advance();
    if (cursors_.empty() || cursors_[first()].is_done) return std::nullopt;
    drawn_ = true;
    return heads_[first()].session;
  }

  void narrow(std::uint32_t request, std::int64_t longest) {
    if (cursors_.empty()) return;
    // Nearly always the request that was drawn last, which moves on before anyone is compared.
    if (drawn_ && cursors_[first()].request == request) {
      cursors_[first()].longest = std::min(cursors_[first()].longest, longest);
      return;
    }
    const auto found = std::ranges::lower_bound(cursors_, request, {}, &Cursor::request);
    if (found == cursors_.end() || found->request != request || found->is_done) return;
    found->longest = std::min(found->longest, longest);
    take_up(static_cast<std::size_t>(found - cursors_.begin()), settle(*found));
    play_all();  // who was drawn last stays the first
  }

 private:
  std::uint32_t first() const noexcept { return losers_[0]; }

  void look(Cursor& cursor) const {
    const auto [block, entry] = cursor.place;
    cursor.head = &cursor.queue->at(cursor.place);
    cursor.left = newest_first_ ? entry : cursor.queue->entries(block) - entry - 1;
  }
  bool step(Cursor& cursor) const {
    if (cursor.left > 0) {
      --cursor.left;
      cursor.head += newest_first_ ? -1 : 1;
      cursor.place.entry += newest_first_ ? std::size_t(-1) : 1;
      return true;
    }
    const auto place =
        newest_first_ ? cursor.queue->before(cursor.place) : cursor.queue->after(cursor.place);
    if (!place) return false;
    cursor.place = *place;
    look(cursor);
    return true;
  }
  // The head of the cursor is where it is now, or there is none.
  void take_up(std::size_t at, bool has_head) {
    Cursor& cursor = cursors_[at];
    cursor.is_done = !has_head;
    ranks_[at] = std::numeric_limits<std::int64_t>::max();
    if (!has_head) return;
    heads_[at] = *cursor.head;
    const std::int64_t rank = order_.rank(heads_[at]);
    ranks_[at] = newest_first_ ? ~rank : rank;
    // Needed long after this, when the others have been drawn.
    if (cursor.left > 0) {
      const QueueEntry* next = cursor.head + (newest_first_ ? -1 : 1);
      __builtin_prefetch(next);
      __builtin_prefetch(&next->session);  // it may be on two lines
    }
    order_.fetch(heads_[at]);
  }
  // Of two whose ranks are equal.
  bool comes_first(std::uint32_t a, std::uint32_t b) const {
    if (cursors_[a].is_done || cursors_[b].is_done) return cursors_[b].is_done;
    return newest_first_ ? order_(heads_[b], heads_[a]) : order_(heads_[a], heads_[b]);
  }
  // Moves on to the first session that is short enough, its present one included.
  bool settle(Cursor& cursor) const {
    if (cursor.longest == kNoLimit) return true;
    if (cursor.longest < 0) return false;
    if (!newest_first_) {
      const auto place = cursor.queue->next_within(cursor.place, cursor.longest);
      if (!place) return false;
      cursor.place = *place;
      look(cursor);
      return true;
    }
    while (cursor.head->estimate > cursor.longest) {
      if (!step(cursor)) return false;
    }
    return true;
  }
  void advance() {
    drawn_ = false;
    const std::uint32_t moved = first();
    take_up(moved, step(cursors_[moved]) && settle(cursors_[moved]));
    replay(moved);
  }
  // The tournament is a binary tree: cursor i enters it at node size + i, and the two that meet in
  // a node come from 2 * node and the one after it. Who loses stays there; node 0 has the winner.
  void play_all() {
    const auto size = static_cast<std::uint32_t>(cursors_.size());
    losers_.assign(std::max<std::size_t>(1, size), 0);
    std::vector<std::uint32_t> winners(2 * std::size_t{size});
    for (std::uint32_t i = 0; i < size; ++i) winners[size + i] = i;
    for (std::uint32_t node = size; node-- > 1;) {
      const std::uint32_t a = winners[2 * node], b = winners[2 * node + 1];
      const bool wins = ranks_[a] != ranks_[b] ? ranks_[a] < ranks_[b] : comes_first(a, b);
      winners[node] = wins ? a : b;
      losers_[node] = wins ? b : a;
    }
    if (size > 1) losers_[0] = winners[1];
  }
  // Where the head of one has changed: it meets those on its way again. Without branches where
  // ranks differ: who wins is hard to foretell.
  void replay(std::uint32_t cursor) {
    std::uint32_t winner = cursor;
    std::int64_t rank = ranks_[cursor];
    for (std::size_t node = (cursors_.size() + cursor) / 2; node > 0; node /= 2) {
      const std::uint32_t other = losers_[node];
      const std::int64_t its = ranks_[other];
      bool loses = its < rank;
      if (its == rank) [[unlikely]] {
        loses = comes_first(other, winner);
      }
      const std::uint32_t change = (winner ^ other) & (0U - static_cast<std::uint32_t>(loses));
      losers_[node] = other ^ change;
      winner ^= change;
      rank = std::min(rank, its);
    }
    losers_[0] = winner;
  }

  EntryOrder order_;
  bool newest_first_;
  bool drawn_ = false;                 // the first one was given out and has not moved on yet
  std::vector<Cursor> cursors_;        // by request
  std::vector<QueueEntry> heads_;      // by cursor
  std::vector<std::int64_t> ranks_;    // of heads, the first thing that the order compares
  std::vector<std::uint32_t> losers_;  // by node
};

class BandsWalk final : public Ordering {
 public:
  BandsWalk(const BandQueues& bands, bool newest_first)
      : bands_(bands), newest_first_(newest_first), band_(bands.begin()) {}

  std::optional<PendingIndex> next() override {
    while (true) {
      if (!walk_) {
        if (band_ == bands_.end()) return std::nullopt;
        walk_.emplace(band_->second, newest_first_, limits_);
      }
      if (const auto session = walk_->next()) return session;
      walk_.reset();
      ++band_;
    }
  }

  void narrow(std::uint32_t request, Duration longest) override {
    const auto [it, is_new] = limits_.try_emplace(request, longest.ns);
    if (!is_new) it->second = std::min(it->second, longest.ns);
    if (walk_) walk_->narrow(request, longest.ns);
  }

 private:
  const BandQueues& bands_;
  bool newest_first_;
  BandQueues::const_iterator band_;
  std::optional<BandWalk> walk_;
  std::map<std::uint32_t, std::int64_t> limits_;  // by request
};

}  // namespace

std::size_t RequestQueue::block_of(const QueueEntry& entry,
                                   const EntryOrder& order) const noexcept {
  const auto it = std::ranges::upper_bound(
      blocks_, entry, order,
      [](const Block& block) -> const QueueEntry& { return block.entries.front(); });
  return it == blocks_.begin() ? 0 : static_cast<std::size_t>(it - blocks_.begin()) - 1;
}

void RequestQueue::insert(const QueueEntry& entry, const EntryOrder& order) {
  if (blocks_.empty()) {
    blocks_.push_back({entry.estimate, {entry}});
    return;
  }
  const std::size_t at = block_of(entry, order);
  Block& block = blocks_[at];
  block.entries.insert(std::ranges::upper_bound(block.entries, entry, order), entry);
  block.shortest = std::min(block.shortest, entry.estimate);
  if (block.entries.size() > kBlockMax) split(at);
}

void RequestQueue::split(std::size_t at) {
  Block upper;
  auto& lower = blocks_[at].entries;
  // What arrives last mostly stays last: a full block at the end is left full.
  const std::size_t keep = at + 1 == blocks_.size() ? kBlockMax : lower.size() / 2;
  upper.entries.assign(lower.begin() + static_cast<std::ptrdiff_t>(keep), lower.end());
  lower.resize(keep);
  lower.shrink_to_fit();  // a block at the end of the queue will not grow again
  blocks_[at].shortest = shortest_of(lower);
  upper.shortest = shortest_of(upper.entries);
  blocks_.insert(blocks_.begin() + static_cast<std::ptrdiff_t>(at) + 1, std::move(upper));
}

void RequestQueue::erase(const QueueEntry& entry, const EntryOrder& order) {
  const std::size_t at = block_of(entry, order);
  BAI_ASSERT(at < blocks_.size(), "what leaves the queue is in it");
  Block& block = blocks_[at];
  const auto it = std::ranges::lower_bound(block.entries, entry, order);
  BAI_ASSERT(it != block.entries.end() && it->session == entry.session,
             "what leaves the queue is in it");
  const std::int64_t estimate = it->estimate;
  block.entries.erase(it);
  if (block.entries.empty()) {
    blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(at));
  } else if (estimate == block.shortest) {
    block.shortest = shortest_of(block.entries);
  }
}

std::optional<RequestQueue::Place> RequestQueue::after(Place place) const noexcept {
  if (++place.entry < blocks_[place.block].entries.size()) return place;
  if (++place.block < blocks_.size()) return Place{place.block, 0};
  return std::nullopt;
}

std::optional<RequestQueue::Place> RequestQueue::before(Place place) const noexcept {
  if (place.entry > 0) return Place{place.block, place.entry - 1};
  if (place.block == 0) return std::nullopt;
  return Place{place.block - 1, blocks_[place.block - 1].entries.size() - 1};
}

std::optional<RequestQueue::Place> RequestQueue::next_within(Place place,
                                                             std::int64_t longest) const noexcept {
  for (; place.block < blocks_.size(); ++place.block, place.entry = 0) {
    const Block& block = blocks_[place.block];
    if (block.shortest > longest) continue;
    for (; place.entry < block.entries.size(); ++place.entry) {
      if (block.entries[place.entry].estimate <= longest) return place;
    }
  }
  return std::nullopt;
}

std::size_t RequestQueue::count_before(const QueueEntry& entry,
                                       const EntryOrder& order) const noexcept {
  std::size_t count = 0;
  for (const Block& block : blocks_) {
    if (order(block.entries.back(), entry)) {
      count += block.entries.size();
      continue;
    }
    const auto first = std::ranges::lower_bound(block.entries, entry, order);
    return count + static_cast<std::size_t>(first - block.entries.begin());
  }
  return count;
}

std::size_t BandQueue::count_before(const QueueEntry& entry) const noexcept {
  std::size_t count = 0;
  for (const auto& [request, queue] : requests_) count += queue.count_before(entry, order_);
  return count;
}

void BandQueue::insert(std::uint32_t request, const QueueEntry& entry) {
  requests_[request].insert(entry, order_);
  ++size_;
}

void BandQueue::erase(std::uint32_t request, const QueueEntry& entry) {
  const auto it = requests_.find(request);
  BAI_ASSERT(it != requests_.end(), "what leaves the queue is in it");
  it->second.erase(entry, order_);
  if (it->second.empty()) requests_.erase(it);
  --size_;
}

std::unique_ptr<Ordering> walk_bands(const BandQueues& bands, bool newest_first) {
  return std::make_unique<BandsWalk>(bands, newest_first);
}

std::vector<PendingIndex> list_band(const BandQueue& band) {
  std::vector<PendingIndex> sessions;
  sessions.reserve(band.size());
  BandWalk walk(band, false, {});
  while (const auto session = walk.next()) sessions.push_back(*session);
  return sessions;
}

}  // namespace bai::sched

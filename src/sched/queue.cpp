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

// One band, its requests merged. Only the head of each request is in the heap, with a copy of its
// entry: a pass over a long queue does little else than to compare them.
class BandWalk {
  static constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

  struct Cursor {
    const RequestQueue* queue;
    RequestQueue::Place place;
    std::uint32_t request;
    std::int64_t longest;
  };
  struct Head {
    std::int64_t rank;  // the first thing that the order compares; the smallest is drawn first
    QueueEntry entry;
    std::uint32_t cursor;
  };

  bool is_later(const Head& a, const Head& b) const {
    if (a.rank != b.rank) return a.rank > b.rank;
    return newest_first_ ? order_(a.entry, b.entry) : order_(b.entry, a.entry);
  }
  auto later() const {
    return [this](const Head& a, const Head& b) { return is_later(a, b); };
  }

 public:
  BandWalk(const BandQueue& band, bool newest_first,
           const std::map<std::uint32_t, std::int64_t>& limits)
      : order_(band.order()), newest_first_(newest_first) {
    cursors_.reserve(band.requests().size());
    heads_.reserve(band.requests().size());
    for (const auto& [request, queue] : band.requests()) {
      const auto limit = limits.find(request);
      cursors_.push_back({&queue, newest_first ? queue.back() : queue.front(), request,
                          limit == limits.end() ? kNoLimit : limit->second});
      const auto at = static_cast<std::uint32_t>(cursors_.size() - 1);
      if (settle(cursors_.back())) heads_.push_back(head_of(at));
    }
    std::ranges::make_heap(heads_, later());
  }

  std::optional<PendingIndex> next() {
    if (drawn_) advance();
    if (heads_.empty()) return std::nullopt;
    drawn_ = true;
    return heads_.front().entry.session;
  }

  void narrow(std::uint32_t request, std::int64_t longest) {
    // Nearly always the request that was drawn last.
    if (drawn_ && cursors_[heads_.front().cursor].request == request) {
      std::int64_t& limit = cursors_[heads_.front().cursor].longest;
      limit = std::min(limit, longest);
      return;
    }
    for (std::size_t i = 0; i < heads_.size(); ++i) {
      Cursor& cursor = cursors_[heads_[i].cursor];
      if (cursor.request != request) continue;
      cursor.longest = std::min(cursor.longest, longest);
      if (settle(cursor)) {
        heads_[i] = head_of(heads_[i].cursor);
      } else {
        heads_.erase(heads_.begin() + static_cast<std::ptrdiff_t>(i));
      }
      std::ranges::make_heap(heads_, later());  // who was drawn last stays its top
      return;
    }
  }

 private:
  Head head_of(std::uint32_t cursor) const {
    const QueueEntry& entry = cursors_[cursor].queue->at(cursors_[cursor].place);
    const std::int64_t rank = order_.rank(entry);
    return {newest_first_ ? ~rank : rank, entry, cursor};
  }
  // Moves on to the first session that is short enough, its present one included.
  bool settle(Cursor& cursor) const {
    if (cursor.longest == kNoLimit) return true;
    if (cursor.longest < 0) return false;
    if (!newest_first_) {
      const auto place = cursor.queue->next_within(cursor.place, cursor.longest);
      if (place) cursor.place = *place;
      return place.has_value();
    }
    while (cursor.queue->at(cursor.place).estimate > cursor.longest) {
      const auto place = cursor.queue->before(cursor.place);
      if (!place) return false;
      cursor.place = *place;
    }
    return true;
  }
  void advance() {
    drawn_ = false;
    Head& top = heads_.front();
    Cursor& cursor = cursors_[top.cursor];
    const auto place =
        newest_first_ ? cursor.queue->before(cursor.place) : cursor.queue->after(cursor.place);
    if (place) cursor.place = *place;
    if (place && settle(cursor)) {
      top = head_of(top.cursor);
    } else {
      top = heads_.back();
      heads_.pop_back();
      if (heads_.empty()) return;
    }
    sink_top();
  }
  // Restores the heap after its top has changed: what pop_heap and push_heap do in two walks.
  void sink_top() {
    const Head top = heads_.front();
    std::size_t hole = 0;
    for (std::size_t child = 1; child < heads_.size(); child = 2 * hole + 1) {
      if (child + 1 < heads_.size()) {
        child += static_cast<std::size_t>(is_later(heads_[child], heads_[child + 1]));
      }
      if (!is_later(top, heads_[child])) break;
      heads_[hole] = heads_[child];
      hole = child;
    }
    heads_[hole] = top;
  }

  EntryOrder order_;
  bool newest_first_;
  bool drawn_ = false;  // the heap's top was given out and has not moved on yet
  std::vector<Cursor> cursors_;
  std::vector<Head> heads_;
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

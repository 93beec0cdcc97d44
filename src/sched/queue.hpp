// The pending sessions of one priority band in one order, kept apart by what they ask for: a pass
// leaves out at once all that ask for what is not there.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "bai_manager/policy.hpp"
#include "sched/waiting.hpp"

namespace bai::sched {

struct QueueEntry {
  std::int64_t created = 0;
  std::int64_t estimate = 0;
  PendingIndex session = 0;
};

// By age, or by estimate and then by age; in the end by id, which the mirror knows.
class EntryOrder {
 public:
  EntryOrder(const WaitingSessions& sessions, bool by_estimate)
      : sessions_(&sessions), by_estimate_(by_estimate) {}

  bool operator()(const QueueEntry& a, const QueueEntry& b) const noexcept {
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    if (a.created != b.created) return a.created < b.created;
    return (*sessions_)[a.session].session.id < (*sessions_)[b.session].session.id;
  }
  // Soon somebody will look at the session.
  void fetch(const QueueEntry& entry) const noexcept {
    __builtin_prefetch(&(*sessions_)[entry.session]);
  }
  // What is compared first.
  std::int64_t rank(const QueueEntry& entry) const noexcept {
    return by_estimate_ ? entry.estimate : entry.created;
  }

 private:
  const WaitingSessions* sessions_;
  bool by_estimate_;
};

// Sessions with one request, ordered. Blocks, so that both a change and the search for a session
// that is short enough cost little however many there are. `order` is the same in every call.
class RequestQueue {
 public:
  struct Place {
    std::size_t block = 0, entry = 0;
  };

  void insert(const QueueEntry& entry, const EntryOrder& order);
  void erase(const QueueEntry& entry, const EntryOrder& order);
  bool empty() const noexcept { return blocks_.empty(); }

  const QueueEntry& at(Place place) const { return blocks_[place.block].entries[place.entry]; }
  std::size_t entries(std::size_t block) const noexcept { return blocks_[block].entries.size(); }
  Place front() const noexcept { return {0, 0}; }
  Place back() const noexcept { return {blocks_.size() - 1, blocks_.back().entries.size() - 1}; }
  std::optional<Place> after(Place place) const noexcept;
  std::optional<Place> before(Place place) const noexcept;
  // The first one from `place` on (itself too) with an estimate of at most `longest`.
  std::optional<Place> next_within(Place place, std::int64_t longest) const noexcept;
  std::size_t count_before(const QueueEntry& entry, const EntryOrder& order) const noexcept;

 private:
  struct Block {
    std::int64_t shortest = 0;
    std::vector<QueueEntry> entries;  // never empty
  };
  std::size_t block_of(const QueueEntry& entry, const EntryOrder& order) const noexcept;
  void split(std::size_t block);

  std::vector<Block> blocks_;
};

class BandQueue {
 public:
  explicit BandQueue(const EntryOrder& order) : order_(order) {}
  void insert(std::uint32_t request, const QueueEntry& entry);
  void erase(std::uint32_t request, const QueueEntry& entry);
  std::size_t size() const noexcept { return size_; }
  std::size_t count_before(const QueueEntry& entry) const noexcept;
  const std::map<std::uint32_t, RequestQueue>& requests() const noexcept { return requests_; }
  const EntryOrder& order() const noexcept { return order_; }

 private:
  EntryOrder order_;
  std::map<std::uint32_t, RequestQueue> requests_;  // none is empty
  std::size_t size_ = 0;
};

using BandQueues = std::map<std::int32_t, BandQueue, std::greater<>>;  // highest priority first

// Walks bands in order. `newest_first` turns the order within each band around.
std::unique_ptr<Ordering> walk_bands(const BandQueues& bands, bool newest_first);
// The same over one band.
std::vector<PendingIndex> list_band(const BandQueue& band);

}  // namespace bai::sched

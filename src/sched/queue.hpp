// The pending sessions of one priority band in one order, kept apart by what they ask for: a pass
// leaves out at once all that ask for what is not there.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "bai_manager/policy.hpp"

namespace bai::sched {

struct QueueEntry {
  std::int64_t primary = 0;  // 0, or the estimate where the shortest goes first
  std::int64_t created = 0;
  std::int64_t estimate = 0;
  SessionId id;
  PendingIndex session = 0;

  friend auto operator<=>(const QueueEntry& a, const QueueEntry& b) {
    return std::tie(a.primary, a.created, a.id) <=> std::tie(b.primary, b.created, b.id);
  }
  friend bool operator==(const QueueEntry& a, const QueueEntry& b) { return a <=> b == 0; }
};

// Sessions with one request, ordered. Blocks, so that both a change and the search for a session
// that is short enough cost little however many there are.
class RequestQueue {
 public:
  struct Place {
    std::size_t block = 0, entry = 0;
  };

  void insert(const QueueEntry& entry);
  void erase(const QueueEntry& entry);
  bool empty() const noexcept { return blocks_.empty(); }

  const QueueEntry& at(Place place) const { return blocks_[place.block].entries[place.entry]; }
  Place front() const noexcept { return {0, 0}; }
  Place back() const noexcept { return {blocks_.size() - 1, blocks_.back().entries.size() - 1}; }
  std::optional<Place> after(Place place) const noexcept;
  std::optional<Place> before(Place place) const noexcept;
  // The first one from `place` on (itself too) with an estimate of at most `longest`.
  std::optional<Place> next_within(Place place, std::int64_t longest) const noexcept;
  std::size_t count_before(const QueueEntry& entry) const noexcept;

 private:
  struct Block {
    std::int64_t shortest = 0;
    std::vector<QueueEntry> entries;  // never empty
  };
  std::size_t block_of(const QueueEntry& entry) const noexcept;
  void split(std::size_t block);

  std::vector<Block> blocks_;
};

class BandQueue {
 public:
  void insert(std::uint32_t request, const QueueEntry& entry);
  void erase(std::uint32_t request, const QueueEntry& entry);
  std::size_t size() const noexcept { return size_; }
  std::size_t count_before(const QueueEntry& entry) const noexcept;
  const std::map<std::uint32_t, RequestQueue>& requests() const noexcept { return requests_; }

 private:
  std::map<std::uint32_t, RequestQueue> requests_;  // none is empty
  std::size_t size_ = 0;
};

using BandQueues = std::map<std::int32_t, BandQueue, std::greater<>>;  // highest priority first

// Walks bands in order. `newest_first` turns the order within each band around.
std::unique_ptr<Ordering> walk_bands(const BandQueues& bands, bool newest_first);
// The same over one band.
std::vector<PendingIndex> list_band(const BandQueue& band);

}  // namespace bai::sched

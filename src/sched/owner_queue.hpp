// The pending sessions of a band apart by owner, oldest first: for orders that are made of owners
// and look only at the sessions that they draw. About five bytes a session.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "bai_manager/policy.hpp"
#include "base/assert.hpp"

namespace bai::sched {

// Sessions in the order of `less`, which every call is given. Blocks, so that a change in the
// middle of a million costs as little as one at the end.
class AgeQueue {
 public:
  template <class Less>
  void insert(PendingIndex session, Less&& less) {
    if (blocks_.empty()) {
      blocks_.push_back({session});
      return;
    }
    const std::size_t at = block_of(session, less);
    auto& block = blocks_[at];
    block.insert(std::upper_bound(block.begin(), block.end(), session, less), session);
    if (block.size() > kBlockMax) split(at);
  }
  // What has its place by `less`; it must be there.
  template <class Less>
  void erase(PendingIndex session, Less&& less) {
    const std::size_t at = block_of(session, less);
    auto& block = blocks_[at];
    const auto it = std::lower_bound(block.begin(), block.end(), session, less);
    BAI_ASSERT(it != block.end() && *it == session, "who leaves the queue is in it");
    block.erase(it);
    if (block.empty()) blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  bool empty() const noexcept { return blocks_.empty(); }

  struct Place {
    std::uint32_t block = 0, entry = 0;
  };
  std::optional<PendingIndex> at(Place place) const noexcept {
    if (place.block >= blocks_.size()) return std::nullopt;
    return blocks_[place.block][place.entry];
  }
  Place after(Place place) const noexcept {
    if (++place.entry < blocks_[place.block].size()) return place;
    return {place.block + 1, 0};
  }

 private:
  static constexpr std::size_t kBlockMax = 512;

  template <class Less>
  std::size_t block_of(PendingIndex session, Less&& less) const {
    const auto it =
        std::upper_bound(blocks_.begin(), blocks_.end(), session,
                         [&](PendingIndex a, const auto& block) { return less(a, block.front()); });
    return it == blocks_.begin() ? 0 : static_cast<std::size_t>(it - blocks_.begin()) - 1;
  }
  // What arrives last mostly stays last: a full block at the end is left full.
  void split(std::size_t at) {
    const std::size_t keep = at + 1 == blocks_.size() ? kBlockMax : kBlockMax / 2;
    std::vector<PendingIndex> upper(blocks_[at].begin() + static_cast<std::ptrdiff_t>(keep),
                                    blocks_[at].end());
    blocks_[at].resize(keep);
    blocks_[at].shrink_to_fit();
    blocks_.insert(blocks_.begin() + static_cast<std::ptrdiff_t>(at) + 1, std::move(upper));
  }

  std::vector<std::vector<PendingIndex>> blocks_;  // none is empty
};

// What one owner has in one band may be something else now.
struct OwnerChange {
  std::int32_t priority = 0;
  std::uint32_t owner = 0;
};

// Heads lie side by side: who ranks owners reads them all and few of the queues.
class OwnerBand {
 public:
  // `created(session)` is when it was; `less` begins with that. Both say whether the owner's oldest
  // session is another one now.
  template <class Less, class Created>
  bool insert(std::uint32_t owner, PendingIndex session, Less&& less, Created&& created) {
    const auto [it, is_new] = index_.try_emplace(owner, heads_.size());
    if (is_new) {
      heads_.push_back({{}, 0, owner});
      queues_.emplace_back();
    }
    queues_[it->second].insert(session, less);
    const bool was_first = !is_new && heads_[it->second].session == *queues_[it->second].at({});
    refresh_head(it->second, created);
    return !was_first;
  }
  template <class Less, class Created>
  bool erase(std::uint32_t owner, PendingIndex session, Less&& less, Created&& created) {
    const auto it = index_.find(owner);
    BAI_ASSERT(it != index_.end(), "who leaves the queue is in it");
    const std::size_t at = it->second;
    queues_[at].erase(session, less);
    if (!queues_[at].empty()) {
      if (heads_[at].session != session) return false;
      refresh_head(at, created);
      return true;
    }
    index_.erase(it);
    if (at + 1 < heads_.size()) {
      heads_[at] = heads_.back();
      queues_[at] = std::move(queues_.back());
      index_[heads_[at].owner] = at;
    }
    heads_.pop_back();
    queues_.pop_back();
    return true;
  }
  bool empty() const noexcept { return heads_.empty(); }
  const std::vector<OwnerHead>& heads() const noexcept { return heads_; }
  // Null: nothing of the owner's waits in this band.
  const OwnerHead* head(std::uint32_t owner) const noexcept {
    const auto it = index_.find(owner);
    return it == index_.end() ? nullptr : &heads_[it->second];
  }
  const AgeQueue* queue(std::uint32_t owner) const noexcept {
    const auto it = index_.find(owner);
    return it == index_.end() ? nullptr : &queues_[it->second];
  }

 private:
  template <class Created>
  void refresh_head(std::size_t at, Created&& created) {
    const PendingIndex first = *queues_[at].at({});
    heads_[at].session = first;
    heads_[at].created_at = created(first);
  }

  std::vector<OwnerHead> heads_;  // in no order that means anything
  std::vector<AgeQueue> queues_;  // of each; none is empty
  std::unordered_map<std::uint32_t, std::size_t> index_;
};

// The users' dominant shares as far as they are known. An entry lives until the user's holding or
// the resource group's capacity changes.
struct ShareCache {
  struct Entry {
    DominantShare share;
    std::uint32_t version = 0;  // of the scope; 0: nothing is known
  };
  std::uint64_t capacity_version = ~std::uint64_t{0};          // of the mirror
  std::uint64_t revision = 0;                                  // differs when `capacities` do
  std::vector<std::pair<SlotIndex, std::int64_t>> capacities;  // without zeros
  std::vector<Entry> by_owner;
};

}  // namespace bai::sched

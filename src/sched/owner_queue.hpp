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
    blocks_.insert(blocks_.begin() + static_cast<std::ptrdiff_t>(at) + 1, std::move(upper));
  }

  std::vector<std::vector<PendingIndex>> blocks_;  // none is empty
};

class OwnerBand {
 public:
  struct Entry {
    std::uint32_t owner = 0;
    AgeQueue queue;
  };

  template <class Less>
  void insert(std::uint32_t owner, PendingIndex session, Less&& less) {
    const auto [it, is_new] = index_.try_emplace(owner, entries_.size());
    if (is_new) entries_.push_back({owner, {}});
    entries_[it->second].queue.insert(session, less);
  }
  template <class Less>
  void erase(std::uint32_t owner, PendingIndex session, Less&& less) {
    const auto it = index_.find(owner);
    BAI_ASSERT(it != index_.end(), "who leaves the queue is in it");
    const std::size_t at = it->second;
    entries_[at].queue.erase(session, less);
    if (!entries_[at].queue.empty()) return;
    index_.erase(it);
    if (at + 1 < entries_.size()) {
      entries_[at] = std::move(entries_.back());
      index_[entries_[at].owner] = at;
    }
    entries_.pop_back();
  }
  bool empty() const noexcept { return entries_.empty(); }
  const std::vector<Entry>& entries() const noexcept { return entries_; }

 private:
  std::vector<Entry> entries_;  // none is empty; in no order that means anything
  std::unordered_map<std::uint32_t, std::size_t> index_;
};

}  // namespace bai::sched

// What has changed, in order, for who keeps something that follows from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace bai::sched {

template <class T>
class ChangeLog {
 public:
  struct Place {  // where somebody stopped reading; at first nowhere
    std::uint64_t epoch = 0;
    std::size_t at = 0;
  };

  // Differs when the log has begun anew: everything may have changed.
  std::uint64_t epoch() const noexcept { return epoch_; }
  const std::vector<T>& entries() const noexcept { return entries_; }
  // What has come since, the same thing possibly several times; nothing: everything may have
  // changed. `place` moves to the end.
  std::optional<std::span<const T>> since(Place& place) const {
    const Place from = std::exchange(place, {epoch_, entries_.size()});
    if (from.epoch != epoch_) return std::nullopt;
    return std::span(entries_).subspan(from.at);
  }
  void note(const T& what) {
    if (entries_.size() >= kEntriesMax) {
      entries_.clear();
      ++epoch_;
    }
    entries_.push_back(what);
  }

 private:
  static constexpr std::size_t kEntriesMax = 1 << 16;
  std::vector<T> entries_;
  std::uint64_t epoch_ = 1;
};

}  // namespace bai::sched

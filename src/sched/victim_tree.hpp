// Agents with sessions that may be ended, as a tree whose nodes know what ending them gives at most
// and whom it takes at least: an agent that is better than all others is found without looking at
// the parts of the tree where none can be.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "bai_manager/entities.hpp"

namespace bai::sched {

// The order in which sessions are ended: the smallest first.
struct VictimKey {
  std::int64_t job_priority = 0;
  std::int64_t first = 0, began = 0;  // as the rules say
  SessionId id;
  friend auto operator<=>(const VictimKey&, const VictimKey&) = default;
};
inline constexpr VictimKey kNobody{std::numeric_limits<std::int64_t>::max(),
                                   std::numeric_limits<std::int64_t>::max(),
                                   std::numeric_limits<std::int64_t>::max(),
                                   {}};

// A place holds numbers, of which nodes know the largest ones below them, and a key, of which they
// know the smallest.
class VictimTree {
 public:
  static constexpr std::int64_t kNothing = std::numeric_limits<std::int64_t>::min();
  struct Node {
    std::uint32_t level = 0, at = 0;  // level 0: a place
  };

  explicit VictimTree(std::size_t width) : width_(width) {}

  void clear() { levels_.clear(); }
  std::size_t places() const noexcept { return levels_.empty() ? 0 : levels_[0].firsts.size(); }
  std::uint32_t add();  // a new place, behind all others, with nothing in it
  std::span<std::int64_t> numbers(std::uint32_t place) { return numbers_of({0, place}); }
  VictimKey& first(std::uint32_t place) { return levels_[0].firsts[place]; }
  void empty(std::uint32_t place);
  // After every change of a place: of this one, or of any.
  void follow(std::uint32_t place);
  void follow_all();

  bool has_root() const noexcept { return !levels_.empty(); }
  Node root() const noexcept { return {static_cast<std::uint32_t>(levels_.size() - 1), 0}; }
  const std::int64_t* numbers(Node node) const noexcept {
    return levels_[node.level].numbers.data() + node.at * width_;
  }
  const VictimKey& first(Node node) const noexcept { return levels_[node.level].firsts[node.at]; }
  // Calls `visit` with each node right below one that is no place.
  template <class Visit>
  void below(Node node, Visit&& visit) const {
    const auto end = static_cast<std::uint32_t>(
        std::min((node.at + std::size_t{1}) * kFanout, levels_[node.level - 1].firsts.size()));
    for (std::uint32_t at = node.at * kFanout; at < end; ++at) visit(Node{node.level - 1, at});
  }

  bool is_sound() const;  // for tests

 private:
  static constexpr std::uint32_t kFanout = 8;
  struct Level {
    std::vector<std::int64_t> numbers;
    std::vector<VictimKey> firsts;
  };

  std::span<std::int64_t> numbers_of(Node node) {
    return std::span(levels_[node.level].numbers).subspan(node.at * width_, width_);
  }
  void sum_up(Node node, std::span<std::int64_t> numbers, VictimKey& first) const;
  bool refresh(Node node);  // whether it has changed

  std::size_t width_;
  std::vector<Level> levels_;  // places first, the root last
  std::vector<std::int64_t> scratch_;
};

}  // namespace bai::sched

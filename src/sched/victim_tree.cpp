#include "sched/victim_tree.hpp"

namespace bai::sched {

std::uint32_t VictimTree::add() {
  const std::size_t place = places();
  bool is_higher = false;
  std::size_t count = place + 1;
  for (std::size_t level = 0;; ++level) {
    if (level == levels_.size()) {
      levels_.emplace_back();
      is_higher = true;
    }
    levels_[level].numbers.resize(count * width_, kNothing);
    levels_[level].firsts.resize(count, kNobody);
    if (count == 1 && level + 1 == levels_.size()) break;
    count = (count + kFanout - 1) / kFanout;
  }
  if (is_higher) follow_all();
  return static_cast<std::uint32_t>(place);
}

void VictimTree::empty(std::uint32_t place) {
  std::ranges::fill(numbers(place), kNothing);
  first(place) = kNobody;
}

void VictimTree::sum_up(Node node, std::span<std::int64_t> numbers, VictimKey& first) const {
  std::ranges::fill(numbers, kNothing);
  first = kNobody;
  below(node, [&](Node child) {
    const std::int64_t* more = this->numbers(child);
    for (std::size_t i = 0; i < width_; ++i) numbers[i] = std::max(numbers[i], more[i]);
    first = std::min(first, this->first(child));
  });
}

bool VictimTree::refresh(Node node) {
  scratch_.resize(width_);
  VictimKey first;
  sum_up(node, scratch_, first);
  VictimKey& known = levels_[node.level].firsts[node.at];
  const auto numbers = numbers_of(node);
  if (first == known && std::ranges::equal(numbers, scratch_)) return false;
  known = first;
  std::ranges::copy(scratch_, numbers.begin());
  return true;
}

void VictimTree::follow(std::uint32_t place) {
  for (std::uint32_t level = 1; level < levels_.size(); ++level) {
    place /= kFanout;
    if (!refresh({level, place})) return;
  }
}

void VictimTree::follow_all() {
  for (std::uint32_t level = 1; level < levels_.size(); ++level) {
    for (std::uint32_t at = 0; at < levels_[level].firsts.size(); ++at) refresh({level, at});
  }
}

bool VictimTree::is_sound() const {
  std::vector<std::int64_t> numbers(width_);
  for (std::uint32_t level = 1; level < levels_.size(); ++level) {
    for (std::uint32_t at = 0; at < levels_[level].firsts.size(); ++at) {
      VictimKey first;
      sum_up({level, at}, numbers, first);
      if (first != this->first({level, at}) ||
          !std::equal(numbers.begin(), numbers.end(), this->numbers(Node{level, at}))) {
        return false;
      }
    }
  }
  return levels_.empty() || levels_.back().firsts.size() == 1;
}

}  // namespace bai::sched

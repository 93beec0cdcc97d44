// The least of many values that change one at a time.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <vector>

namespace bai::sched {

// A node holds the lesser of the two below it, the root is number 1, leaf `i` is width() + i.
template <class T>
class LeastTree {
 public:
  void assign(std::size_t leaves, const T& value) {
    width_ = std::bit_ceil(std::max<std::size_t>(1, leaves));
    nodes_.assign(2 * width_, value);
  }
  // Leaves alone, many at a time: settle() follows.
  void put(std::size_t leaf, const T& value) { nodes_[width_ + leaf] = value; }
  void settle() {
    for (std::size_t number = width_; --number > 0;) {
      nodes_[number] = std::min(nodes_[2 * number], nodes_[2 * number + 1]);
    }
  }
  void set(std::size_t leaf, const T& value) {
    std::size_t number = width_ + leaf;
    nodes_[number] = value;
    while (number > 1) {
      number /= 2;
      const T& least = std::min(nodes_[2 * number], nodes_[2 * number + 1]);
      if (nodes_[number] == least) return;
      nodes_[number] = least;
    }
  }

  std::size_t width() const noexcept { return width_; }  // leaves: a power of two
  const T& operator[](std::size_t number) const noexcept { return nodes_[number]; }
  // The first leaf that has the least value.
  std::size_t first_least() const noexcept {
    std::size_t number = 1;
    while (number < width_) {
      number *= 2;
      if (nodes_[number + 1] < nodes_[number]) ++number;
    }
    return number - width_;
  }

 private:
  std::size_t width_ = 0;
  std::vector<T> nodes_;
};

}  // namespace bai::sched

// A persistent, ordered map with subtree sizes: the one container behind tables and indexes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/assert.hpp"

namespace bai {

// A B+tree whose nodes are shared between versions. `freeze()` hands out an immutable version for
// the price of a pointer; afterwards the first write to a node copies it (and its path), later
// writes of the same epoch happen in place. One writer; frozen versions may be read by any thread.
template <class K, class V>
class CowTree {
  static constexpr std::size_t kFanout = 32;

  struct Node {
    std::uint64_t epoch = 0;
    std::size_t size = 0;                         // entries below
    std::vector<K> keys;                          // leaf: its keys; inner: least key of each child
    std::vector<V> values;                        // leaf only
    std::vector<std::shared_ptr<Node>> children;  // inner only
    bool is_leaf() const noexcept { return children.empty(); }
  };
  using NodePtr = std::shared_ptr<Node>;

 public:
  CowTree() = default;
  CowTree(CowTree&&) = default;
  CowTree& operator=(CowTree&&) = default;
  CowTree(const CowTree&) = delete;
  CowTree& operator=(const CowTree&) = delete;

  // An immutable version of what is here now; writing to the result is an error.
  CowTree freeze() {
    CowTree frozen;
    frozen.root_ = root_;
    frozen.epoch_ = kFrozen;
    ++epoch_;
    return frozen;
  }
  // Goes back to an earlier version of this same tree.
  void restore(const CowTree& frozen) {
    root_ = frozen.root_;
    ++epoch_;
  }

  std::size_t size() const noexcept { return root_ ? root_->size : 0; }
  bool empty() const noexcept { return size() == 0; }

  const V* find(const K& key) const {
    const Node* node = root_.get();
    if (node == nullptr) return nullptr;
    while (!node->is_leaf()) node = node->children[child_for(*node, key)].get();
    const auto at = std::lower_bound(node->keys.begin(), node->keys.end(), key);
    if (at == node->keys.end() || key < *at) return nullptr;
    return &node->values[static_cast<std::size_t>(at - node->keys.begin())];
  }

  // Inserts or replaces; true when the key was new.
  bool put(const K& key, V value) {
    BAI_ASSERT(epoch_ != kFrozen, "a frozen tree is never written");
    if (!root_) {
      root_ = std::make_shared<Node>();
      root_->epoch = epoch_;
    }
    own(root_);
    bool added = false;
    NodePtr right = put_into(*root_, key, std::move(value), added);
    if (right) {
      auto top = std::make_shared<Node>();
      top->epoch = epoch_;
      top->size = root_->size + right->size;
      top->keys = {root_->keys.front(), right->keys.front()};
      top->children = {root_, std::move(right)};
      root_ = std::move(top);
    }
    return added;
  }

  // True when the key was there.
  bool erase(const K& key) {
    BAI_ASSERT(epoch_ != kFrozen, "a frozen tree is never written");
    if (find(key) == nullptr) return false;
    own(root_);
    erase_from(*root_, key);
    while (!root_->is_leaf() && root_->children.size() == 1) root_ = NodePtr(root_->children[0]);
    if (root_->size == 0) root_.reset();
    return true;
  }

  // Entries with keys not below `from`, in order, until `visit(key, value)` returns false.
  template <class Visit>
  void for_each_from(const K& from, Visit&& visit) const {
    if (root_) walk(*root_, &from, visit);
  }
  template <class Visit>
  void for_each(Visit&& visit) const {
    if (root_) walk(*root_, nullptr, visit);
  }

  // Number of entries with keys below `key`.
  std::size_t rank(const K& key) const {
    std::size_t below = 0;
    const Node* node = root_.get();
    if (node == nullptr) return 0;
    while (!node->is_leaf()) {
      const std::size_t child = child_for(*node, key);
      for (std::size_t i = 0; i < child; ++i) below += node->children[i]->size;
      node = node->children[child].get();
    }
    const auto at = std::lower_bound(node->keys.begin(), node->keys.end(), key);
    return below + static_cast<std::size_t>(at - node->keys.begin());
  }

 private:
  static constexpr std::uint64_t kFrozen = ~std::uint64_t{0};

  static std::size_t child_for(const Node& node, const K& key) {
    const auto after = std::upper_bound(node.keys.begin(), node.keys.end(), key);
    return after == node.keys.begin() ? 0 : static_cast<std::size_t>(after - node.keys.begin()) - 1;
  }

  void own(NodePtr& node) {
    if (node->epoch == epoch_) return;
    node = std::make_shared<Node>(*node);
    node->epoch = epoch_;
  }

  // Splits off and returns the right half of a node that has grown too large. Appends are the
  // common case (time-ordered keys): the left side stays nearly full then.
  NodePtr split(Node& node, bool appended) {
    if (node.keys.size() <= kFanout) return nullptr;
    const std::size_t half = appended ? kFanout - kFanout / 8 : node.keys.size() / 2;
    const auto cut = static_cast<std::ptrdiff_t>(half);
    auto right = std::make_shared<Node>();
    right->epoch = epoch_;
    right->keys.assign(std::make_move_iterator(node.keys.begin() + cut),
                       std::make_move_iterator(node.keys.end()));
    node.keys.resize(half);
    if (node.is_leaf()) {
      right->values.assign(std::make_move_iterator(node.values.begin() + cut),
                           std::make_move_iterator(node.values.end()));
      node.values.resize(half);
      right->size = right->keys.size();
    } else {
      right->children.assign(std::make_move_iterator(node.children.begin() + cut),
                             std::make_move_iterator(node.children.end()));
      node.children.resize(half);
      for (const auto& child : right->children) right->size += child->size;
    }
    node.size -= right->size;
    return right;
  }

  NodePtr put_into(Node& node, const K& key, V value, bool& added) {
    if (node.is_leaf()) {
      const auto at = std::lower_bound(node.keys.begin(), node.keys.end(), key);
      const auto offset = at - node.keys.begin();
      if (at != node.keys.end() && !(key < *at)) {
        node.values[static_cast<std::size_t>(offset)] = std::move(value);
        return nullptr;
      }
      const bool appended = at == node.keys.end();
      node.keys.insert(at, key);
      node.values.insert(node.values.begin() + offset, std::move(value));
      ++node.size;
      added = true;
      return split(node, appended);
    }
    const std::size_t at = child_for(node, key);
    own(node.children[at]);
    NodePtr right = put_into(*node.children[at], key, std::move(value), added);
    if (added) ++node.size;
    node.keys[at] = node.children[at]->keys.front();
    if (!right) return nullptr;
    const bool appended = at + 1 == node.keys.size();
    node.keys.insert(node.keys.begin() + static_cast<std::ptrdiff_t>(at) + 1, right->keys.front());
    node.children.insert(node.children.begin() + static_cast<std::ptrdiff_t>(at) + 1,
                         std::move(right));
    return split(node, appended);
  }

  void erase_from(Node& node, const K& key) {
    --node.size;
    if (node.is_leaf()) {
      const auto at = std::lower_bound(node.keys.begin(), node.keys.end(), key);
      node.values.erase(node.values.begin() + (at - node.keys.begin()));
      node.keys.erase(at);
      return;
    }
    const std::size_t at = child_for(node, key);
    own(node.children[at]);
    Node& child = *node.children[at];
    erase_from(child, key);
    if (child.size == 0) {
      drop_child(node, at);
      return;
    }
    node.keys[at] = child.keys.front();
    if (child.keys.size() >= kFanout / 4) return;
    if (at + 1 < node.children.size() && fits_together(child, *node.children[at + 1])) {
      merge(child, *node.children[at + 1]);
      drop_child(node, at + 1);
    } else if (at > 0 && fits_together(*node.children[at - 1], child)) {
      own(node.children[at - 1]);
      merge(*node.children[at - 1], child);
      drop_child(node, at);
    }
  }

  static bool fits_together(const Node& a, const Node& b) {
    return a.keys.size() + b.keys.size() <= kFanout;
  }
  static void merge(Node& left, const Node& right) {
    left.keys.insert(left.keys.end(), right.keys.begin(), right.keys.end());
    left.values.insert(left.values.end(), right.values.begin(), right.values.end());
    left.children.insert(left.children.end(), right.children.begin(), right.children.end());
    left.size += right.size;
  }
  static void drop_child(Node& node, std::size_t at) {
    node.keys.erase(node.keys.begin() + static_cast<std::ptrdiff_t>(at));
    node.children.erase(node.children.begin() + static_cast<std::ptrdiff_t>(at));
  }

  template <class Visit>
  static bool walk(const Node& node, const K* from, Visit& visit) {
    if (node.is_leaf()) {
      auto at =
          from ? std::lower_bound(node.keys.begin(), node.keys.end(), *from) : node.keys.begin();
      for (; at != node.keys.end(); ++at) {
        if (!visit(*at, node.values[static_cast<std::size_t>(at - node.keys.begin())]))
          return false;
      }
      return true;
    }
    std::size_t child = from ? child_for(node, *from) : 0;
    for (; child < node.children.size(); ++child, from = nullptr) {
      if (!walk(*node.children[child], from, visit)) return false;
    }
    return true;
  }

  NodePtr root_;
  std::uint64_t epoch_ = 1;
};

}  // namespace bai

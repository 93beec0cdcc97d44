// The agents of a tree, the lowest bound first.
#include <algorithm>
#include <functional>

#include "sched/victim_index_tree.hpp"

namespace bai::sched {

VictimIndex::Outlook VictimIndex::outlook(const Question& question) {
  Outlook outlook;
  const Tree* tree = refreshed(question);
  if (tree == nullptr || !tree->bounds.has_root()) return outlook;
  const VictimTree::Node root = tree->bounds.root();
  outlook.anybody = tree->bounds.first(root) != kNobody;
  if (const std::int64_t ripe = tree->bounds.numbers(root)[tree->ripe()]; ripe != kNothing) {
    outlook.due = Timestamp{-ripe};
  }
  return outlook;
}

VictimIndex::Search VictimIndex::search(const Question& question) {
  return Search(*this, refreshed(question), question);
}

VictimIndex::Search::Search(VictimIndex& index, const Tree* tree, const Question& question)
    : index_(index), tree_(tree) {
  if (tree_ == nullptr) return;
  needs_.resize(tree_->slots, 0);
  for (const SlotRequest& r : question.requirement.slots) {
    if (r.units <= 0) continue;
    const auto slot = std::ranges::lower_bound(tree_->kind.needed, r.slot);
    auto& need = needs_[static_cast<std::size_t>(slot - tree_->kind.needed.begin())];
    need = std::max(need, r.units);
  }
  containers_ = tree_->kind.counts_containers
                    ? std::int64_t{question.requirement.containers} - question.container_limit
                    : kNothing;
  if (tree_->bounds.has_root()) push(tree_->bounds.root());
}

void VictimIndex::Search::push(VictimTree::Node node) {
  const VictimKey& first = tree_->bounds.first(node);
  const std::int64_t* numbers = tree_->bounds.numbers(node);
  if (first == kNobody || numbers[tree_->containers()] < containers_) return;
  for (std::size_t i = 0; i < tree_->slots; ++i) {
    if (numbers[i] < needs_[i]) return;
  }
  std::int64_t cost = 0;
  if (counts_cost(index_.rules_)) {
    for (std::size_t i = 0; i < tree_->slots; ++i) {
      const std::int64_t missing = needs_[i] - std::max(numbers[tree_->free(i)], kAbsent);
      if (missing <= 0) continue;
      cost = std::max(cost, tree_->least_cost(numbers, i, missing, weighs(index_.rules_)));
    }
  }
  heap_.push_back({cost, first, node});
  std::ranges::push_heap(heap_, std::greater<>(), order);
}

std::optional<VictimIndex::Bound> VictimIndex::Search::next() {
  while (!heap_.empty()) {
    std::ranges::pop_heap(heap_, std::greater<>(), order);
    const Item item = heap_.back();
    heap_.pop_back();
    ++index_.looked_at_;
    if (item.node.level == 0) return Bound{tree_->agents[item.node.at], item.cost, item.first};
    tree_->bounds.below(item.node, [&](VictimTree::Node child) { push(child); });
  }
  return std::nullopt;
}

}  // namespace bai::sched

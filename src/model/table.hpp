// One entity's rows with their indexes, typed and type-erased.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/schema.hpp"
#include "model/cow_tree.hpp"
#include "model/index_key.hpp"

namespace bai {

using RowPtr = std::shared_ptr<const void>;

// What code needs that works on any entity: loading, rolling back, comparing states.
class AnyTable {
 public:
  virtual ~AnyTable() = default;
  virtual std::size_t size() const noexcept = 0;
  virtual void put_row(RowPtr row) = 0;
  virtual void erase_row(const void* row) = 0;  // by the key of `row`
  virtual void for_each_row(const std::function<bool(const RowPtr&)>& visit) const = 0;
};

// Rows are immutable and shared between versions; to change one, put another in its place.
template <Entity E>
class Table final : public AnyTable {
 public:
  using Key = KeyOf<E>;
  using Ptr = std::shared_ptr<const E>;

  Table() : info_(&entity_info<E>()), indexes_(info_->indexes.size()) {}

  Table freeze() {
    Table frozen;
    frozen.rows_ = rows_.freeze();
    for (std::size_t i = 0; i < indexes_.size(); ++i) frozen.indexes_[i] = indexes_[i].freeze();
    return frozen;
  }
  void restore(const Table& frozen) {
    rows_.restore(frozen.rows_);
    for (std::size_t i = 0; i < indexes_.size(); ++i) indexes_[i].restore(frozen.indexes_[i]);
  }

  std::size_t size() const noexcept override { return rows_.size(); }

  const E* find(const Key& key) const {
    const Ptr* row = rows_.find(key);
    return row ? row->get() : nullptr;
  }
  Ptr share(const Key& key) const {
    const Ptr* row = rows_.find(key);
    return row ? *row : nullptr;
  }

  void put(Ptr row) {
    const Key key = key_of(*row);
    const Ptr* old = rows_.find(key);
    for (std::size_t i = 0; i < indexes_.size(); ++i) {
      std::string now = index_key(*info_, info_->indexes[i], row.get());
      if (old != nullptr) {
        const std::string before = index_key(*info_, info_->indexes[i], old->get());
        if (before == now) continue;
        if (!before.empty()) indexes_[i].erase(before);
      }
      if (!now.empty()) indexes_[i].put(now, key);
    }
    rows_.put(key, std::move(row));
  }

  void erase(const Key& key) {
    const Ptr old = share(key);
    if (!old) return;
    for (std::size_t i = 0; i < indexes_.size(); ++i) {
      const std::string before = index_key(*info_, info_->indexes[i], old.get());
      if (!before.empty()) indexes_[i].erase(before);
    }
    rows_.erase(key);
  }

  template <class Visit>  // bool(const E&): false stops
  void for_each(Visit&& visit) const {
    rows_.for_each([&](const Key&, const Ptr& row) { return visit(*row); });
  }

  // Rows whose first index fields encode to `prefix` (see IndexPrefix), in index order.
  template <class Visit>
  void for_each_in(std::size_t index, const std::string& prefix, Visit&& visit) const {
    indexes_[index].for_each_from(prefix, [&](const std::string& at, const Key& key) {
      if (!at.starts_with(prefix)) return false;
      return static_cast<bool>(visit(*find(key)));
    });
  }
  std::size_t count_in(std::size_t index, const std::string& prefix) const {
    return indexes_[index].rank(index_prefix_end(prefix)) - indexes_[index].rank(prefix);
  }

  void put_row(RowPtr row) override { put(std::static_pointer_cast<const E>(std::move(row))); }
  void erase_row(const void* row) override { erase(key_of(*static_cast<const E*>(row))); }
  void for_each_row(const std::function<bool(const RowPtr&)>& visit) const override {
    rows_.for_each([&](const Key&, const Ptr& row) { return visit(row); });
  }

  static const Key& key_of(const E& row);  // defined per entity in state.cpp

 private:
  const EntityInfo* info_;
  CowTree<Key, Ptr> rows_;
  std::vector<CowTree<std::string, Key>> indexes_;
};

}  // namespace bai

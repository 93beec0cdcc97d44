// Edits to the state, recorded. One structure serves undo, persistence, events, snapshots, the
// planner's mirror and tests.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "model/state.hpp"

namespace bai {

struct Change {
  EntityKind entity{};
  RowPtr before;  // null: inserted
  RowPtr after;   // null: erased
  // Differs in volatile fields only: nothing to store, nothing to plan. Of an erased row: it leaves
  // the memory and stays in storage.
  bool is_volatile = false;

  template <Entity E>
  const E* old_row() const {
    return static_cast<const E*>(before.get());
  }
  template <Entity E>
  const E* new_row() const {
    return static_cast<const E*>(after.get());
  }
};

// Loop thread only. Every edit acts on the state at once.
class Changeset {
 public:
  explicit Changeset(State& state) : state_(state) {}

  const State& state() const noexcept { return state_; }

  template <Entity E>
  const E& insert(E row) {
    const KeyOf<E>& key = Table<E>::key_of(row);
    BAI_ASSERT(state_.find<E>(key) == nullptr, "a row is inserted once");
    auto after = std::make_shared<const E>(std::move(row));
    const E& inserted = *after;
    record(EntityTraits<E>::kind, nullptr, std::move(after), false);
    return inserted;
  }

  // `edit(E&)` works on a copy that replaces the row; the key must stay as it is.
  template <Entity E, class Edit>
  const E& update(const KeyOf<E>& key, Edit&& edit) {
    return replace<E>(key, std::forward<Edit>(edit), false);
  }
  // The same for an edit that touches volatile fields only.
  template <Entity E, class Edit>
  const E& update_volatile(const KeyOf<E>& key, Edit&& edit) {
    return replace<E>(key, std::forward<Edit>(edit), true);
  }

  template <Entity E>
  void erase(const KeyOf<E>& key) {
    auto before = state_.table<E>().share(key);
    BAI_ASSERT(before != nullptr, "a row that is erased exists");
    record(EntityTraits<E>::kind, std::move(before), nullptr, false);
  }

  // The row leaves the memory and stays in storage; nothing is done to it afterwards.
  template <Entity E>
  void evict(const KeyOf<E>& key) {
    auto before = state_.table<E>().share(key);
    BAI_ASSERT(before != nullptr, "a row that is evicted exists");
    record(EntityTraits<E>::kind, std::move(before), nullptr, true);
  }

  // A row of a cold entity: goes to storage only.
  template <Entity E>
  void append(E row) {
    changes_.push_back(
        {EntityTraits<E>::kind, nullptr, std::make_shared<const E>(std::move(row)), false});
  }

  // Everything recorded since `to` is undone.
  std::size_t checkpoint() const noexcept { return changes_.size(); }
  void rollback(std::size_t to);

  std::span<const Change> changes() const noexcept { return changes_; }
  std::vector<Change> take() { return std::exchange(changes_, {}); }

 private:
  template <Entity E, class Edit>
  const E& replace(const KeyOf<E>& key, Edit&& edit, bool is_volatile) {
    auto before = state_.table<E>().share(key);
    BAI_ASSERT(before != nullptr, "a row that is updated exists");
    auto after = std::make_shared<E>(*before);
    edit(*after);
    BAI_ASSERT(Table<E>::key_of(*after) == key, "an update keeps the key");
    const E& updated = *after;
    record(EntityTraits<E>::kind, std::move(before), std::move(after), is_volatile);
    return updated;
  }
  void record(EntityKind entity, RowPtr before, RowPtr after, bool is_volatile);

  State& state_;
  std::vector<Change> changes_;
};

// One change per row: the first `before`, the last `after`, in order of the first edit. Rows that
// were inserted and erased again are left out.
std::vector<Change> coalesce(std::vector<Change> changes);

// One line per field that differs, for tests and logs: "session 0190...: status PENDING ->
// RUNNING".
std::string print(std::span<const Change> changes, const SlotTypes& slots);

}  // namespace bai

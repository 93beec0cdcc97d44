// What a manager that started now would see, kept in step with storage: the proof after every step
// that restart(state) == state, for the price of what the step has changed.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "bai_manager/storage.hpp"
#include "model/changeset.hpp"

namespace bai::sim {

// One thread. Nothing of the running manager's memory goes in: after each commit the rows that it
// wrote are read back from storage, decoded as a start does it, and their sums moved on.
class Shadow {
 public:
  // Passes calls through to `rows` and tells the shadow what was committed.
  std::shared_ptr<Storage> watch(std::shared_ptr<Storage> rows);

  // Commits up to this version are taken in; later ones are not published yet.
  Status follow(StateVersion version);

  // The first difference to what is published at the version that was followed, or empty. Compares
  // only rows that are not the same on both sides as before. Sessions that ended before
  // `ended_before` and that `running` has let go are not loaded by a start either.
  std::string first_difference(const State& running, Timestamp ended_before);

 private:
  class Watch;
  struct Written {
    EntityKind kind{};
    Value key;
    std::optional<Row> row;  // nothing: erased
  };
  struct Commit {
    StateVersion version;
    std::vector<Written> written;
  };

  Status committed(Storage& rows, const WriteBatch& batch);
  Status apply(const Written& written);
  void put(EntityKind kind, std::shared_ptr<void> row);
  void erase(EntityKind kind, const Value& key);
  void forget_ended(const State& running, Timestamp ended_before);
  std::string difference_in(EntityKind kind, const State& running);

  State state_;
  Changeset changes_{state_};
  std::deque<Commit> ahead_;  // committed, not followed yet
  Status read_back_;          // what was committed

  struct Pair {
    RowPtr running, stored;
  };
  std::unordered_map<const void*, Pair> equal_;  // by the running row
};

}  // namespace bai::sim

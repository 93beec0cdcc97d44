// The world in memory: one table per entity that lives there. Written by the loop only; its frozen
// versions are what snapshots are made of.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "bai_manager/entities.hpp"
#include "model/table.hpp"

namespace bai {

// Positions of the indexes that code uses by name, in the order of the descriptions.
namespace index {
inline constexpr std::size_t kProjectByDomainName = 0, kProjectByCohort = 1;
inline constexpr std::size_t kUserByEmail = 0, kUserByUsername = 1;
inline constexpr std::size_t kKeypairByUser = 0;
inline constexpr std::size_t kGrantByScope = 0;
inline constexpr std::size_t kAgentByGroup = 0;
inline constexpr std::size_t kImageByCanonical = 0;
inline constexpr std::size_t kSessionByOwnerName = 0, kSessionByStatus = 1, kSessionByGroup = 2;
inline constexpr std::size_t kKernelBySession = 0, kKernelByAgent = 1;
inline constexpr std::size_t kOperationByStatus = 0;
}  // namespace index

// Instantiated once, in state.cpp: these classes are large and everybody includes them.
#define BAI_EXTERN_TABLE(E)                       \
  template <>                                     \
  const KeyOf<E>& Table<E>::key_of(const E& row); \
  extern template class Table<E>;
BAI_ENTITIES(BAI_EXTERN_TABLE)
#undef BAI_EXTERN_TABLE

class State {
 public:
  State();
  ~State();

  State freeze();
  void restore(const State& frozen);

  StateVersion version;

  template <Entity E>
  const Table<E>& table() const {
    return std::get<static_cast<std::size_t>(EntityTraits<E>::kind)>(tables_);
  }
  template <Entity E>
  const E* find(const KeyOf<E>& key) const {
    return table<E>().find(key);
  }
  const AnyTable& any_table(EntityKind kind) const;

  const SlotTypes& slot_types() const noexcept { return *slot_types_; }

  // Look-ups used by more than one handler.
  std::vector<std::shared_ptr<const Kernel>> kernels_of(const SessionId& session) const;
  std::vector<const Session*> live_members(std::string_view session_group) const;  // oldest first
  const Session* find_live_session(const AccessKey& owner, std::string_view name) const;
  const Usage& usage(ScopeKind kind, std::string_view scope) const;  // zeros when nothing is held

  // For Changeset and for loading; nothing else writes.
  void put_row(EntityKind kind, RowPtr row);
  void erase_row(EntityKind kind, const void* row);

 private:
#define BAI_STATE_TABLE(E) , Table<E>
  template <class, class... T>
  struct Tables {
    using Tuple = std::tuple<T...>;
  };
  using Tuple = Tables<void BAI_ENTITIES(BAI_STATE_TABLE)>::Tuple;
#undef BAI_STATE_TABLE

  AnyTable& writable(EntityKind kind);
  void refresh_slot_types();

  Tuple tables_;
  std::vector<AnyTable*> by_kind_;
  std::shared_ptr<const SlotTypes> slot_types_;

 public:
  // `by_kind_` points into the object: moving re-points it.
  State(State&& other) noexcept;
  State& operator=(State&&) = delete;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

std::string usage_key(ScopeKind kind, std::string_view scope);

// The first row that differs between two states in stored or derived fields (`kernel: "<id>": agent
// "a" / "b"`), or empty when they are equal. Volatile heartbeat times are left out.
std::string first_difference(const State& a, const State& b);
// The same of two rows of one entity; null: there is none.
std::string row_difference(const EntityInfo& info, const void* a, const void* b);

}  // namespace bai

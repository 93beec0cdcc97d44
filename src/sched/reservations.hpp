// The reservations that the mirror knows of, and what the sessions in them hold.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/policy.hpp"
#include "model/changeset.hpp"
#include "model/reservation.hpp"
#include "sched/intern.hpp"

namespace bai::sched {

struct ReservationRecord {
  struct OnAgent {
    AgentId agent;
    std::vector<SlotRequest> slots;
  };
  std::string id;
  std::shared_ptr<const Reservation> row;  // null: there is none of that id (any more)
  std::vector<OnAgent> agents;             // by id
  std::set<KernelId> held;                 // that hold amounts, of sessions in it
  std::uint32_t users = 0;                 // sessions that name it
  std::uint64_t version = 0;               // differs when row or agents do, also from others'
  std::uint64_t held_version = 0;          // differs when `held` does

  void hold(const KernelId& kernel) {
    held.insert(kernel);
    ++held_version;
  }
  void release(const KernelId& kernel) {
    held.erase(kernel);
    ++held_version;
  }
  bool is_active(Timestamp now) const noexcept {
    return row != nullptr && row->starts_at <= now && now < row->ends_at;
  }
};

class ReservationBook {
 public:
  void on_reservation(const Change& change);
  // Amounts are read when all changes of a feed are known: they rest on types of slots.
  void settle(const SlotTypes& types, Names& slots, bool types_changed);

  // A session that names it. The record lives until everybody has left and its row is gone.
  ReservationRecord& join(const std::string& id);
  void leave(ReservationRecord& record);

  bool empty() const noexcept { return records_.empty(); }
  const ReservationRecord* find(const std::string& id) const noexcept;  // with a row
  // Those of a resource group, by id.
  std::span<const ReservationRecord* const> of_group(const ResourceGroupName& group) const noexcept;

  std::string dump(const Names& slots) const;

 private:
  void drop_if_unused(const std::string& id);

  std::map<std::string, ReservationRecord> records_;
  std::uint64_t versions_ = 0;
  std::map<ResourceGroupName, std::vector<const ReservationRecord*>> by_group_;
  std::set<std::string> stale_;  // whose amounts are to be read
};

}  // namespace bai::sched

#include "sched/reservations.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace bai::sched {

void ReservationBook::on_reservation(const Change& change) {
  const Reservation *before = change.old_row<Reservation>(), *after = change.new_row<Reservation>();
  const std::string& id = after != nullptr ? after->id : before->id;
  ReservationRecord& record = records_[id];
  record.id = id;
  if (record.row != nullptr) std::erase(by_group_[record.row->resource_group], &record);
  record.row =
      after != nullptr ? std::static_pointer_cast<const Reservation>(change.after) : nullptr;
  record.agents.clear();
  record.version = ++versions_;
  stale_.insert(id);
  if (after == nullptr) return;
  auto& group = by_group_[after->resource_group];
  group.insert(
      std::ranges::lower_bound(
          group, id, {}, [](const ReservationRecord* r) -> const std::string& { return r->id; }),
      &record);
}

void ReservationBook::settle(const SlotTypes& types, Names& slots, bool types_changed) {
  if (types_changed) {
    for (const auto& [id, record] : records_) stale_.insert(id);
  }
  for (const std::string& id : std::exchange(stale_, {})) {
    const auto it = records_.find(id);
    if (it == records_.end()) continue;
    ReservationRecord& record = it->second;
    if (record.row == nullptr) {
      drop_if_unused(id);
      continue;
    }
    record.agents.clear();
    record.version = ++versions_;
    for (const auto& [agent, amounts] : record.row->agents.members()) {
      const auto parsed = parse_slots(types, amounts);
      if (!parsed) continue;  // refused where rows are written
      ReservationRecord::OnAgent& on = record.agents.emplace_back();
      on.agent = AgentId(agent);
      for (const auto& [name, amount] : *parsed) {
        if (amount.units > 0) on.slots.push_back({slots.intern(name), amount.units});
      }
    }
    std::ranges::sort(record.agents, {}, &ReservationRecord::OnAgent::agent);
  }
}

ReservationRecord& ReservationBook::join(const std::string& id) {
  ReservationRecord& record = records_[id];
  record.id = id;
  ++record.users;
  return record;
}

void ReservationBook::leave(ReservationRecord& record) {
  --record.users;
  drop_if_unused(std::string(record.id));
}

void ReservationBook::drop_if_unused(const std::string& id) {
  const auto it = records_.find(id);
  if (it != records_.end() && it->second.row == nullptr && it->second.users == 0) {
    records_.erase(it);
  }
}

const ReservationRecord* ReservationBook::find(const std::string& id) const noexcept {
  const auto it = records_.find(id);
  return it == records_.end() || it->second.row == nullptr ? nullptr : &it->second;
}

std::span<const ReservationRecord* const> ReservationBook::of_group(
    const ResourceGroupName& group) const noexcept {
  const auto it = by_group_.find(group);
  if (it == by_group_.end()) return {};
  return it->second;
}

std::string ReservationBook::dump(const Names& slots) const {
  std::string text;
  for (const auto& [id, record] : records_) {
    text += fmt::format("reservation {} row={} users={}", id, record.row != nullptr, record.users);
    if (record.row != nullptr) {
      text += fmt::format(" from={} to={}", record.row->starts_at.ns, record.row->ends_at.ns);
    }
    for (const auto& on : record.agents) {
      text += fmt::format(" {}:", on.agent.str());
      for (const SlotRequest& r : on.slots) text += fmt::format(" {}={}", slots[r.slot], r.units);
    }
    for (const KernelId& kernel : record.held) text += fmt::format(" held={}", to_string(kernel));
    text += '\n';
  }
  return text;
}

}  // namespace bai::sched

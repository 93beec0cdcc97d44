#include "sched/reserved.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace bai::sched {

namespace {

std::int64_t units_of(const std::vector<SlotRequest>& amounts, SlotIndex slot) {
  const auto it = std::ranges::find(amounts, slot, &SlotRequest::slot);
  return it == amounts.end() ? 0 : it->units;
}

bool covers(const std::vector<SlotRequest>& amounts, const Requirement& requirement) {
  return std::ranges::all_of(requirement.slots, [&](const SlotRequest& r) {
    return r.units == 0 || units_of(amounts, r.slot) >= r.units;
  });
}

void give(std::vector<SlotRequest>& amounts, const std::vector<SlotRequest>& more, int sign) {
  for (const SlotRequest& r : more) {
    const auto it = std::ranges::find(amounts, r.slot, &SlotRequest::slot);
    if (it != amounts.end()) it->units += sign * r.units;
  }
}

Refusal never(std::string message) {
  return {"never", "reservation", "Can never start: " + std::move(message), true, {}};
}

}  // namespace

Reserved::Reserved(const Mirror& mirror, const Group& group, Timestamp now)
    : mirror_(mirror), now_(now) {
  for (const ReservationRecord* record : mirror.reservations().of_group(group.name)) {
    if (now < record->row->ends_at) add(mirror, group, *record);
  }
}

void Reserved::add(const Mirror& mirror, const Group& group, const ReservationRecord& record) {
  Entry& entry = entries_[record.id];
  entry.record = &record;
  for (const auto& on : record.agents) {
    if (const auto agent = group.agents.find(on.agent)) {
      entry.agents.push_back({*agent, on.slots, on.slots});
    }
  }
  std::ranges::sort(entry.agents, {}, &OnAgent::agent);
  if (!record.is_active(now_)) return;
  for (const KernelId& kernel : record.held) {
    const Held& held = *mirror.held(kernel).first;
    const auto agent = group.agents.find(held.agent);
    if (!agent) continue;
    const auto on = std::ranges::lower_bound(entry.agents, *agent, {}, &OnAgent::agent);
    if (on != entry.agents.end() && on->agent == *agent) give(on->left, held.slots, -1);
  }
}

void Reserved::keep(Future& future) const {
  for (const auto& [id, entry] : entries_) {
    const Reservation& row = *entry.record->row;
    for (const OnAgent& on : entry.agents) {
      std::vector<SlotRequest> left = on.left;  // more may be held than is reserved
      for (SlotRequest& r : left) r.units = std::max<std::int64_t>(0, r.units);
      future.keep(on.agent, left, std::max(now_, row.starts_at).ns, row.ends_at.ns);
    }
  }
}

std::optional<Refusal> Reserved::check(const PendingSession& session,
                                       const Request& request) const {
  const std::string& id = session.details->reservation;
  const auto it = entries_.find(id);
  if (it == entries_.end()) {
    const ReservationRecord* over = mirror_.reservations().find(id);
    return never(over != nullptr ? fmt::format("its reservation {} ended at {}.", id,
                                               to_iso8601(over->row->ends_at))
                                 : fmt::format("there is no reservation {} any more.", id));
  }
  const Reservation& row = *it->second.record->row;
  if (session.estimate == kUnknownEstimate) {
    return never(
        fmt::format("it declares no limit to how long it runs, and reservation {} ends at {}.", id,
                    to_iso8601(row.ends_at)));
  }
  if (end_after(std::max(now_, row.starts_at).ns, session.estimate) > row.ends_at.ns) {
    return never(fmt::format("it runs longer than reservation {} lasts, which ends at {}.", id,
                             to_iso8601(row.ends_at)));
  }
  for (const Requirement& requirement : request.requirements) {
    const bool somewhere = std::ranges::any_of(
        it->second.agents, [&](const OnAgent& on) { return covers(on.reserved, requirement); });
    if (!somewhere) {
      return never(fmt::format("reservation {} keeps on no agent as much as it asks for.", id));
    }
  }
  if (now_ < row.starts_at) {
    return Refusal{"reservation", "reservation",
                   fmt::format("Reservation {} begins at {}.", id, to_iso8601(row.starts_at)),
                   false, row.starts_at};
  }
  return std::nullopt;
}

void Reserved::candidates(const std::string& id, const Requirement& requirement,
                          std::vector<AgentIndex>& agents) const {
  agents.clear();
  const auto it = entries_.find(id);
  if (it == entries_.end()) return;
  for (const OnAgent& on : it->second.agents) {
    if (covers(on.left, requirement)) agents.push_back(on.agent);
  }
}

void Reserved::take(const std::string& id, AgentIndex agent, const Requirement& requirement,
                    int sign) {
  auto& agents = entries_.find(id)->second.agents;
  const auto on = std::ranges::lower_bound(agents, agent, {}, &OnAgent::agent);
  give(on->left, requirement.slots, -sign);
}

std::optional<Timestamp> Reserved::next_edge() const {
  std::optional<Timestamp> next;
  for (const auto& [id, entry] : entries_) {
    const Reservation& row = *entry.record->row;
    const Timestamp edge = now_ < row.starts_at ? row.starts_at : row.ends_at;
    if (!next || edge < *next) next = edge;
  }
  return next;
}

}  // namespace bai::sched

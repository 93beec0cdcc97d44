#include "sched/reserved.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sched/profile.hpp"

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

// ": cpu 8, of which it keeps 6 at most", of the slots of which it keeps too little wherever it
// keeps something; nothing where each of them is enough somewhere, but not together.
std::string too_little(const Mirror& mirror, const std::vector<KeptOnAgent>& agents,
                       const Requirement& requirement) {
  std::string text;
  for (const SlotRequest& r : requirement.slots) {
    std::int64_t most = 0;
    for (const KeptOnAgent& on : agents) most = std::max(most, units_of(*on.reserved, r.slot));
    if (r.units <= most) continue;
    const std::string& name = mirror.slots()[r.slot];
    const SlotType type = mirror.slot_types().type_of(name);
    text += fmt::format("{} {} {}, of which it keeps {} at most", text.empty() ? ":" : ";", name,
                        format_amount_humanized(type, Amount{r.units}),
                        format_amount_humanized(type, Amount{most}));
  }
  return text;
}

void give(std::vector<SlotRequest>& amounts, const std::vector<SlotRequest>& more, int sign) {
  for (const SlotRequest& r : more) {
    const auto it = std::ranges::find(amounts, r.slot, &SlotRequest::slot);
    if (it != amounts.end()) it->units += sign * r.units;
  }
}

Refusal never(std::string message) {
  return {"reservation", "", "Can never start: " + std::move(message), true, {}};
}

}  // namespace

Reserved::Reserved(const Mirror& mirror, const Group& group, Timestamp now, ReservedMemory& memory,
                   std::uint32_t container_limit)
    : mirror_(mirror),
      group_(group),
      now_(now),
      container_limit_(container_limit),
      memory_(memory) {
  const bool renumbered = std::exchange(memory.epoch, group.agents.epoch()) != group.agents.epoch();
  const auto records = mirror.reservations().of_group(group.name);
  std::erase_if(memory.entries, [&](const auto& known) {
    const auto& [id, entry] = known;
    const auto record = std::ranges::lower_bound(
        records, id, {}, [](const ReservationRecord* r) -> const std::string& { return r->id; });
    const bool stays = !renumbered && record != records.end() && (*record)->id == id &&
                       (*record)->version == entry.version && now < (*record)->row->ends_at;
    if (!stays) {
      drop(entry);
      ++memory_.edits;
    }
    return !stays;
  });
  for (const ReservationRecord* record : records) {
    if (now < record->row->ends_at) refresh(*record);
  }
}

void Reserved::drop(const ReservedMemory::Entry& entry) {
  for (const KeptOnAgent& on : entry.agents) {
    memory_.kept.remove(on.agent, {entry.from, entry.to, &on});
  }
}

void Reserved::refresh(const ReservationRecord& record) {
  auto& entry = memory_.entries[record.id];
  if (entry.version != record.version) {  // a new one
    ++memory_.edits;
    entry.record = &record;
    entry.version = record.version;
    entry.from = record.row->starts_at.ns;
    entry.to = record.row->ends_at.ns;
    for (const auto& on : record.agents) {
      if (const auto agent = group_.agents.find(on.agent)) {
        entry.agents.push_back({*agent, &on.slots, on.slots, 0});
      }
    }
    std::ranges::sort(entry.agents, {}, &KeptOnAgent::agent);
    for (const KeptOnAgent& on : entry.agents) {
      memory_.kept.add(on.agent, {entry.from, entry.to, &on});
    }
  } else {
    const bool is_same = entry.is_active == record.is_active(now_) &&
                         (!entry.is_active || entry.held_version == record.held_version);
    if (is_same && !entry.is_taken) return;
    if (!is_same) ++memory_.edits;
    for (KeptOnAgent& on : entry.agents) {
      on.left = *on.reserved;
      on.containers = 0;
    }
  }
  entry.is_active = record.is_active(now_);
  entry.is_taken = false;
  entry.held_version = record.held_version;
  if (!entry.is_active) return;
  for (const KernelId& kernel : record.held) {
    const Held& held = *mirror_.held(kernel).first;
    const auto agent = group_.agents.find(held.agent);
    if (!agent) continue;
    const auto on = std::ranges::lower_bound(entry.agents, *agent, {}, &KeptOnAgent::agent);
    if (on == entry.agents.end() || on->agent != *agent) continue;
    give(on->left, held.slots, -1);
    ++on->containers;
  }
}

std::optional<Refusal> Reserved::check(const PendingSession& session,
                                       const Request& request) const {
  const std::string& id = session.details->reservation;
  const auto it = memory_.entries.find(id);
  if (it == memory_.entries.end()) {
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
    const bool somewhere = std::ranges::any_of(it->second.agents, [&](const KeptOnAgent& on) {
      return covers(*on.reserved, requirement);
    });
    if (!somewhere) {
      return never(fmt::format("reservation {} keeps on no agent as much as it asks for{}.", id,
                               too_little(mirror_, it->second.agents, requirement)));
    }
  }
  if (now_ < row.starts_at) {
    return Refusal{"reservation", "",
                   fmt::format("Reservation {} begins at {}.", id, to_iso8601(row.starts_at)),
                   false, row.starts_at};
  }
  return std::nullopt;
}

void Reserved::candidates(const std::string& id, const Requirement& requirement,
                          std::vector<AgentIndex>& agents) const {
  agents.clear();
  const auto it = memory_.entries.find(id);
  if (it == memory_.entries.end()) return;
  for (const KeptOnAgent& on : it->second.agents) {
    if (covers(on.left, requirement)) agents.push_back(on.agent);
  }
}

std::int64_t Reserved::take(const std::string& id, AgentIndex agent, const Requirement& requirement,
                            int sign) {
  auto& entry = memory_.entries.find(id)->second;
  entry.is_taken = true;
  const auto on = std::ranges::lower_bound(entry.agents, agent, {}, &KeptOnAgent::agent);
  give(on->left, requirement.slots, -sign);
  std::int64_t beyond = sign > 0 ? places_beyond(id, agent, requirement) : 0;
  on->containers += sign * std::int64_t{requirement.containers};
  if (sign < 0) beyond = places_beyond(id, agent, requirement);
  return beyond;
}

std::int64_t Reserved::places_beyond(const std::string& id, AgentIndex agent,
                                     const Requirement& requirement) const {
  const auto& entry = memory_.entries.find(id)->second;
  const auto on = std::ranges::lower_bound(entry.agents, agent, {}, &KeptOnAgent::agent);
  return std::max<std::int64_t>(
      0, std::int64_t{requirement.containers} - places_left(group_.agents, *on, container_limit_));
}

std::optional<Timestamp> Reserved::next_edge() const {
  std::optional<Timestamp> next;
  for (const auto& [id, entry] : memory_.entries) {
    const Reservation& row = *entry.record->row;
    const Timestamp edge = now_ < row.starts_at ? row.starts_at : row.ends_at;
    if (!next || edge < *next) next = edge;
  }
  return next;
}

}  // namespace bai::sched

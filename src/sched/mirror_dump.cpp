// The mirror as text: two mirrors know the same exactly when their dumps are equal.
#include <fmt/format.h>

#include <algorithm>

#include "sched/mirror.hpp"

namespace bai::sched {

namespace {

using Out = std::back_insert_iterator<std::string>;

std::string amounts_text(const Names& slots, const std::vector<std::int64_t>& units) {
  std::vector<std::string> parts;
  for (SlotIndex i = 0; i < units.size(); ++i) {
    if (units[i] != 0) parts.push_back(fmt::format("{}={}", slots[i], units[i]));
  }
  std::ranges::sort(parts);
  return fmt::format("{{{}}}", fmt::join(parts, " "));
}

std::string requested_text(const Names& slots, const std::vector<SlotRequest>& requested) {
  std::string out;
  for (const SlotRequest& r : requested) out += fmt::format(" {}={}", slots[r.slot], r.units);
  return out;
}

void dump_agents(Out out, const Mirror& mirror, const AgentTable& table) {
  for (AgentIndex a = 0; a < table.size(); ++a) {
    fmt::format_to(out, "  agent {} arch={} takes={} containers={}", table.id(a).str(),
                   mirror.architectures()[table.architecture(a)], table.takes_sessions(a),
                   table.containers(a));
    std::vector<std::string> parts;
    for (SlotIndex s = 0; s < table.column_count(); ++s) {
      if (!table.has_slot(a, s)) continue;
      const SlotColumn& column = *table.column(s);
      parts.push_back(fmt::format(" {}={}/{}/{}", mirror.slots()[s], column.free[a],
                                  column.observed[a], column.capacity[a]));
    }
    for (SlotIndex s = 0; s < table.column_count(); ++s) {
      const DeviceSet* set = table.devices(a, s);
      if (set == nullptr) continue;
      parts.push_back(fmt::format(" {}=[{}]/[{}] hosted=[{}]", mirror.slots()[s],
                                  fmt::join(set->free, " "), fmt::join(set->capacity, " "),
                                  fmt::join(set->hosted, " ")));
    }
    for (const auto& [name, value] : table.labels(a)) {
      parts.push_back(fmt::format(" {}:{}", name, value));
    }
    std::ranges::sort(parts);
    fmt::format_to(out, "{}\n", fmt::join(parts, ""));
  }
  std::vector<std::string> totals;
  for (SlotIndex s = 0; s < table.column_count(); ++s) {
    const SlotColumn* column = table.column(s);
    if (column == nullptr || column->total == 0) continue;
    totals.push_back(
        fmt::format(" {}={}", mirror.slots()[s], static_cast<std::int64_t>(column->total)));
  }
  std::ranges::sort(totals);
  fmt::format_to(out, "  agents={} taking={} capacity{}\n", table.size(), table.taking(),
                 fmt::join(totals, ""));
}

std::string rule_text(const LabelRule& rule) {
  std::string text;
  for (const auto& [name, values] : rule) {
    text += fmt::format(" {}:{}", name, fmt::join(values, "|"));
  }
  return text;
}

void dump_details(Out out, const PendingDetails& details) {
  fmt::format_to(out, " retry={} start={} policy={}", details.retry_at.ns,
                 details.requested_starts_at.ns, details.agent_selection_policy);
  for (const std::string& id : details.dependencies) fmt::format_to(out, " after={}", id);
  for (const AgentId& id : details.designated_agents) fmt::format_to(out, " on={}", id.str());
  for (const AgentId& id : details.failed_agents) fmt::format_to(out, " failed={}", id.str());
  fmt::format_to(out, " group={} prefers{} reservation={} was preempted={}", details.session_group,
                 rule_text(details.preferred_labels), details.reservation, details.was_preempted);
}

void dump_waiting(Out out, const Mirror& mirror, const Waiting& waiting) {
  const PendingSession& session = waiting.session;
  const Owner& owner = mirror.owner(session.owner).owner;
  fmt::format_to(out, "    {} at={} for={} type={} owner={}/{}/{}/{}", to_string(session.id),
                 session.created_at.ns, session.estimate.ns, to_string(session.type),
                 to_string(owner.user), to_string(owner.project), owner.domain.str(),
                 owner.access_key.str());
  const Request& request = mirror.request(session.request);
  fmt::format_to(out, " job priority={} preemptible={}", session.job_priority,
                 session.is_preemptible);
  fmt::format_to(out, " {} mixed={}", to_string(request.mode), request.mixed_architectures);
  for (const Requirement& r : request.requirements) {
    fmt::format_to(out, " [{} x{}{}{}", mirror.architectures()[r.architecture], r.containers,
                   requested_text(mirror.slots(), r.slots), rule_text(mirror.label_rule(r.labels)));
    for (const auto& part : r.parts) {
      fmt::format_to(out, " +{}", requested_text(mirror.slots(), part));
    }
    fmt::format_to(out, "]");
  }
  fmt::format_to(out, " total{}", requested_text(mirror.slots(), request.total));
  if (waiting.topology != 0) {
    fmt::format_to(out, " within={}", mirror.topology_name(waiting.topology));
  }
  for (const PendingKernel& kernel : waiting.kernels) {
    fmt::format_to(out, " {}:{}", kernel.local_rank, to_string(kernel.id));
  }
  if (session.details != nullptr) dump_details(out, *session.details);
  *out++ = '\n';
}

// One line for every value, ordered by text.
template <class Map, class Line>
void dump_sorted(Out out, const Map& map, Line&& line) {
  std::vector<std::string> lines;
  for (const auto& entry : map) lines.push_back(line(entry.first, entry.second));
  std::ranges::sort(lines);
  for (const std::string& text : lines) fmt::format_to(out, "{}\n", text);
}

std::string limits_text(const SlotMap& slots) {
  std::string out;
  for (const auto& [name, amount] : slots) out += fmt::format(" {}={}", name, amount.units);
  return out;
}

}  // namespace

std::string Mirror::dump() const {
  std::string text;
  const Out out(text);
  fmt::format_to(out, "version {}\n", version_.value);
  for (const auto& [name, type] : declared_) {
    fmt::format_to(out, "slot {} {}\n", name, to_string(type));
  }
  for (const auto& [name, at] : group_index_) {
    const Group& group = groups_[at];
    if (!group.row && group.agents.size() == 0 && group.pending == 0) continue;
    fmt::format_to(out, "group {} row={} pending={}\n", name.str(), group.row != nullptr,
                   group.pending);
    dump_agents(out, *this, group.agents);
    for (const auto& [priority, band] : group.bands) {
      fmt::format_to(out, "  band {}\n", priority);
      for (const PendingIndex waits : list_band(band)) dump_waiting(out, *this, waiting_[waits]);
    }
    for (const auto& [priority, band] : group.shortest) {
      for (const PendingIndex waits : list_band(band)) {
        fmt::format_to(out, "  shortest {} {}\n", priority, to_string(waiting_[waits].session.id));
      }
    }
    for (const auto& [key, held] : group.held) {
      fmt::format_to(out, "  held {} {} on {} until {}{}\n", to_string(key.second),
                     to_string(held->session), held->agent.str(), key.first,
                     requested_text(slots_, held->slots));
    }
  }
  dump_sorted(out, agents_, [&](const AgentId& id, const AgentRecord& record) {
    return fmt::format("granted {} row={} containers={} {}", id.str(), record.has_row,
                       record.facts.containers, amounts_text(slots_, record.facts.granted));
  });
  dump_sorted(out, sessions_, [&](const SessionId& id, const SessionRecord& record) {
    return fmt::format("session {} row={} as-dependency={} waits={}", to_string(id), record.has_row,
                       static_cast<int>(record.as_dependency), record.waiting != kNone);
  });
  std::map<std::string, const Scope*> held;
  for (std::uint32_t i = 0; i < scopes_.size(); ++i) {
    const Scope& scope = scopes_[i];
    const bool none = std::ranges::all_of(scope.units, [](std::int64_t u) { return u == 0; });
    if (!none || scope.sessions != 0 || scope.sftp_sessions != 0) held[scope_names_[i]] = &scope;
  }
  dump_sorted(out, held, [&](const std::string& name, const Scope* scope) {
    return fmt::format("usage {} sessions={} sftp={} {}", name, scope->sessions,
                       scope->sftp_sessions, amounts_text(slots_, scope->units));
  });
  dump_sorted(out, main_keys_, [](const UserId& user, const AccessKey& key) {
    return fmt::format("user {} {}", to_string(user), key.str());
  });
  dump_sorted(out, key_policies_, [](const AccessKey& key, const PolicyName& policy) {
    return fmt::format("keypair {} {}", key.str(), policy.str());
  });
  dump_sorted(out, policies_, [](const PolicyName& name, const auto& policy) {
    return fmt::format("policy {} {} {} {}{}", name.str(),
                       to_string(policy->default_for_unspecified), policy->max_concurrent_sessions,
                       policy->max_concurrent_sftp_sessions,
                       limits_text(policy->total_resource_slots));
  });
  dump_sorted(out, projects_, [](const ProjectId& id, const auto& project) {
    return fmt::format("project {}{} cohort={}{}", to_string(id),
                       limits_text(project->total_resource_slots), project->cohort,
                       limits_text(project->borrowing_limit));
  });
  dump_sorted(out, domains_, [](const DomainName& name, const auto& domain) {
    return fmt::format("domain {}{}", name.str(), limits_text(domain->total_resource_slots));
  });
  text += tenancy_.dump();
  text += reservations_.dump(slots_);
  fmt::format_to(out, "shared requests={} requirements={} label rules={}\n", requests_.live(),
                 kernel_requirements_.live(), label_rules_.live());
  return text;
}

}  // namespace bai::sched

#include "service/reservations.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "core/reservations.hpp"
#include "model/reservation.hpp"
#include "service/service.hpp"

namespace bai::service {

namespace {

using core::Context;

constexpr std::size_t kNameMax = 64;
constexpr std::size_t kAgentsMax = 10'000, kOwnersMax = 1'000;
constexpr Duration kWindowMax = seconds(366LL * 24 * 3600);

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorCode::InvalidArgument, std::move(message), "invalid-api-parameters");
}
std::unexpected<Error> missing(std::string message, std::string kind) {
  return fail(ErrorCode::NotFound, std::move(message), std::move(kind));
}

bool is_valid_name(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !name.empty() && name.size() <= kNameMax && std::ranges::all_of(name, fits);
}

bool overlap(const Reservation& a, const Reservation& b) {
  return a.starts_at < b.ends_at && b.starts_at < a.ends_at;
}

Status check_owner(const State& state, const std::string& owner) {
  const auto slash = owner.find('/');
  const auto kind = parse_enum<ScopeKind>(std::string_view(owner).substr(0, slash));
  const std::string scope = slash == std::string::npos ? "" : owner.substr(slash + 1);
  bool is_there = false;
  std::string written = scope;  // ids are compared as text
  if (kind && !scope.empty()) {
    switch (*kind) {
      case ScopeKind::Domain:
        is_there = state.find<Domain>(DomainName(scope)) != nullptr;
        break;
      case ScopeKind::Project: {
        const auto id = parse_uuid<ProjectId>(scope);
        is_there = id && state.find<Project>(*id) != nullptr;
        if (is_there) written = to_string(*id);
        break;
      }
      case ScopeKind::Keypair:
        is_there = state.find<Keypair>(AccessKey(scope)) != nullptr;
        break;
      case ScopeKind::User: {
        const auto id = parse_uuid<UserId>(scope);
        is_there = id && state.find<User>(*id) != nullptr;
        if (is_there) written = to_string(*id);
        break;
      }
    }
    if (is_there && written != scope) {
      return invalid(
          fmt::format("owners: \"{}\" should be written \"{}\"", owner, usage_key(*kind, written)));
    }
    if (is_there) return {};
    return missing(fmt::format("owners: there is no {} \"{}\"", to_string(*kind), scope),
                   "object-not-found");
  }
  return invalid(fmt::format(
      "owners: \"{}\" should be like \"user/<id>\", \"project/<id>\", \"domain/<name>\" or "
      "\"keypair/<access key>\"",
      owner));
}

Status check_owners(const State& state, const std::vector<std::string>& owners) {
  if (owners.empty() || owners.size() > kOwnersMax) {
    return invalid(fmt::format("owners: must be 1 to {}", kOwnersMax));
  }
  std::set<std::string> seen;
  for (const std::string& owner : owners) {
    if (auto ok = check_owner(state, owner); !ok) return ok;
    if (!seen.insert(owner).second) {
      return invalid(fmt::format("owners: \"{}\" stands twice; name each owner once", owner));
    }
  }
  return {};
}

// The most that reservations of the slot on the agent keep at any time of `row`'s window. It can
// only be when one of them begins.
Amount most_kept(const State& state, const Reservation& row, const std::string& agent,
                 const std::string& slot) {
  std::vector<std::pair<const Reservation*, Amount>> others;
  std::vector<Timestamp> begins{row.starts_at};
  core::for_each_reservation(state, row.resource_group, [&](const Reservation& other) {
    const Json* amounts = other.agents.find(agent);
    if (amounts == nullptr || !overlap(row, other)) return true;
    const auto parsed = parse_slots(state.slot_types(), *amounts);
    if (!parsed) return true;
    others.emplace_back(&other, parsed->get(slot));
    begins.push_back(std::max(row.starts_at, other.starts_at));
    return true;
  });
  Amount most{};
  for (const Timestamp at : begins) {
    Amount sum{};
    for (const auto& [other, amount] : others) {
      if (other->starts_at <= at && at < other->ends_at) sum = sum + amount;
    }
    most = std::max(most, sum);
  }
  return most;
}

Status check_amounts(const State& state, const Reservation& row, const std::string& agent_id,
                     const Json& amounts) {
  const Agent* agent = state.find<Agent>(AgentId(agent_id));
  if (agent == nullptr || agent->resource_group != row.resource_group) {
    return missing(fmt::format("agents: there is no agent \"{}\" in resource group \"{}\"",
                               agent_id, row.resource_group.view()),
                   "agent-not-found");
  }
  const auto slots = parse_slots(state.slot_types(), amounts);
  if (!slots) return invalid(fmt::format("agents: {}: {}", agent_id, slots.error().message));
  if (slots->empty()) return invalid(fmt::format("agents: {}: names no slot", agent_id));
  for (const auto& [name, amount] : *slots) {
    const Amount capacity = agent->available_slots.get(name);
    const auto text = [&](Amount a) {
      return format_amount_humanized(state.slot_types().type_of(name), a);
    };
    if (amount.units <= 0 || amount.is_infinite()) {
      return invalid(
          fmt::format("agents: {}: {}: an amount must be positive and finite", agent_id, name));
    }
    if (capacity.units <= 0) {
      return invalid(fmt::format("agents: agent {} has no slot \"{}\"", agent_id, name));
    }
    const Amount kept = amount > capacity ? amount : most_kept(state, row, agent_id, name);
    if (kept > capacity) {
      return invalid(fmt::format(
          "agents: {}: reservations of that time would keep {} of {} together; it has {}", agent_id,
          text(kept), name, text(capacity)));
    }
  }
  return {};
}

Status check_window(const Reservation& row, Timestamp now) {
  if (row.ends_at <= row.starts_at) {
    return invalid(fmt::format("ends_at: {} is not after starts_at, {}", to_iso8601(row.ends_at),
                               to_iso8601(row.starts_at)));
  }
  if (row.ends_at <= now) {
    return invalid(fmt::format("ends_at: {} is over", to_iso8601(row.ends_at)));
  }
  // From the later end, so that no time can be too far away to count with.
  if (row.starts_at < row.ends_at - kWindowMax) {
    return invalid("ends_at: a reservation can last 366 days at most");
  }
  return {};
}

// The row is in the state.
Status check_reservation(const State& state, const Reservation& row, Timestamp now) {
  if (!is_valid_name(row.name)) {
    return invalid(
        fmt::format("name: \"{}\" must have 1 to {} characters out of letters, digits, '-', '_' "
                    "and '.'",
                    row.name, kNameMax));
  }
  if (row.id != row.resource_group.str() + "/" + row.name) {
    return invalid(fmt::format("id: \"{}\" must be \"<resource group>/<name>\"", row.id));
  }
  if (state.find<ResourceGroup>(row.resource_group) == nullptr) {
    return missing(fmt::format("There is no resource group \"{}\"", row.resource_group.view()),
                   "resource-group-not-found");
  }
  if (auto ok = check_window(row, now); !ok) return ok;
  if (auto ok = check_owners(state, row.owners); !ok) return ok;
  if (!row.agents.is_object() || row.agents.size() == 0 || row.agents.size() > kAgentsMax) {
    return invalid(
        fmt::format("agents: must be an object of 1 to {} agents, like {{\"a1\": {{\"cpu\": 4}}}}",
                    kAgentsMax));
  }
  for (const auto& [agent, amounts] : row.agents.members()) {
    if (auto ok = check_amounts(state, row, agent, amounts); !ok) return ok;
  }
  return {};
}

bool keeps_the_same(const Reservation& a, const Reservation& b) {
  return a.resource_group == b.resource_group && a.name == b.name && a.agents == b.agents &&
         a.owners == b.owners && a.starts_at == b.starts_at && a.ends_at == b.ends_at;
}

bool is_owner(const Reservation& row, const Session& session) {
  const std::array scopes{usage_key(ScopeKind::User, to_string(session.user)),
                          usage_key(ScopeKind::Project, to_string(session.project)),
                          usage_key(ScopeKind::Domain, session.domain.view()),
                          usage_key(ScopeKind::Keypair, session.access_key.view())};
  return std::ranges::any_of(row.owners, [&](const std::string& owner) {
    return std::ranges::find(scopes, owner) != scopes.end();
  });
}

}  // namespace

Status check_reservations(const State& state, std::span<const Change> changes, Timestamp now) {
  for (const Change& change : changes) {
    if (change.entity != EntityKind::Reservation || change.after == nullptr) continue;
    const Reservation& row = *change.new_row<Reservation>();
    if (change.before != nullptr && keeps_the_same(*change.old_row<Reservation>(), row)) continue;
    if (auto ok = check_reservation(state, row, now); !ok) {
      ok.error().message = fmt::format("reservation {}: {}", row.id, ok.error().message);
      return ok;
    }
  }
  return {};
}

Status check_own_reservation(const State& state, const Session& session, Timestamp now) {
  const Json* named = session.resource_opts.find("reservation");
  if (named == nullptr || named->is_null()) return {};
  if (!named->is_string() || named->as_string().empty()) {
    return invalid("resource_opts.reservation: must be the name of a reservation");
  }
  const std::string id = session_reservation(session);
  const Reservation* row = state.find<Reservation>(id);
  if (row == nullptr || row->resource_group != session.resource_group) {
    return missing(fmt::format("There is no reservation \"{}\" in resource group \"{}\"",
                               named->as_string(), session.resource_group.view()),
                   "reservation-not-found");
  }
  if (!is_owner(*row, session)) {
    return fail(ErrorCode::PermissionDenied,
                fmt::format("Reservation \"{}\" is not yours to use", id), "generic-forbidden");
  }
  if (row->ends_at <= now) {
    return invalid(fmt::format("Reservation \"{}\" ended at {}", id, to_iso8601(row->ends_at)));
  }
  return {};
}

Result<CreateReservation::Result> handle(Context& ctx, const Caller&,
                                         const CreateReservation& action) {
  core::drop_over_reservations(ctx);
  Reservation row;
  row.id = action.resource_group.str() + "/" + action.name;
  row.resource_group = action.resource_group;
  row.name = action.name;
  row.agents = action.agents;
  row.owners = action.owners;
  row.starts_at = action.starts_at;
  row.ends_at = action.ends_at;
  row.created_at = ctx.now;
  if (ctx.state().find<Reservation>(row.id) != nullptr) {
    return fail(ErrorCode::AlreadyExists,
                fmt::format("There is already a reservation \"{}\" in resource group \"{}\"",
                            row.name, row.resource_group.view()),
                "reservation-already-exists");
  }
  const std::string id = row.id;
  ctx.changes.insert(std::move(row));
  if (auto ok = check_reservation(ctx.state(), *ctx.state().find<Reservation>(id), ctx.now); !ok) {
    return std::unexpected(ok.error());
  }
  return CreateReservation::Result{id};
}

Result<DeleteReservation::Result> handle(Context& ctx, const Caller&,
                                         const DeleteReservation& action) {
  if (ctx.state().find<Reservation>(action.id) == nullptr) {
    return missing(fmt::format("There is no reservation \"{}\"", action.id),
                   "reservation-not-found");
  }
  ctx.changes.erase<Reservation>(action.id);
  return DeleteReservation::Result{};
}

}  // namespace bai::service

// Ours: advance reservations. Operators make and delete them; their owners see theirs.
#include <fmt/format.h>

#include <algorithm>

#include "rest/context.hpp"
#include "rest/fields.hpp"
#include "rest/group_access.hpp"
#include "rest/session_view.hpp"

namespace bai::server {
namespace {

bool is_owner(const Snapshot& snapshot, const Caller& caller, std::string_view owner) {
  const auto slash = owner.find('/');
  if (slash == std::string_view::npos) return false;
  const auto kind = parse_enum<ScopeKind>(owner.substr(0, slash));
  const std::string_view scope = owner.substr(slash + 1);
  if (!kind) return false;
  switch (*kind) {
    case ScopeKind::User:
      return scope == to_string(caller.user);
    case ScopeKind::Keypair:
      return scope == caller.access_key.view();
    case ScopeKind::Domain:
      return scope == caller.domain.view();
    case ScopeKind::Project: {
      const auto id = parse_uuid<ProjectId>(scope);
      return id && snapshot.is_member(*id, caller.user);
    }
  }
  return false;
}

bool may_see(const Snapshot& snapshot, const Caller& caller, const Reservation& row) {
  return caller.role == UserRole::Superadmin ||
         std::ranges::any_of(row.owners, [&](const std::string& owner) {
           return is_owner(snapshot, caller, owner);
         });
}

// What agents do not have, or no longer, of what it keeps: agent -> {slot -> amount}.
Json missing_of(const Snapshot& snapshot, const Reservation& row,
                const std::vector<ReservationGap>& gaps) {
  Json missing = Json::object();
  for (const ReservationGap& gap : gaps) {
    if (gap.reservation != &row) continue;
    missing.set(gap.agent.str(), slots_to_json_humanized(snapshot.slot_types(), gap.missing));
  }
  return missing;
}

Json reservation_item(const Snapshot& snapshot, const Reservation& row,
                      const std::vector<ReservationGap>& gaps) {
  Json owners = Json::array();
  for (const std::string& owner : row.owners) owners.push_back(owner);
  return Json::object({{"id", row.id},
                       {"name", row.name},
                       {"resource_group", row.resource_group.str()},
                       {"agents", row.agents},
                       {"missing", missing_of(snapshot, row, gaps)},
                       {"owners", std::move(owners)},
                       {"starts_at", time_or_null(row.starts_at)},
                       {"ends_at", time_or_null(row.ends_at)},
                       {"created_at", time_or_null(row.created_at)}});
}

Error unknown(std::string_view id) {
  return {ErrorCode::NotFound,
          fmt::format("There is no reservation '{}'", id),
          "reservation-not-found",
          {}};
}

std::string id_of(const ExchangePtr& exchange) {
  return fmt::format("{}/{}", exchange->params.get("group"), exchange->params.get("name"));
}

// Of resource groups that they can do nothing in callers learn as little as of those there are not.
bool knows_group(const Snapshot& snapshot, const Caller& caller, const ResourceGroupName& group) {
  if (snapshot.find<ResourceGroup>(group) == nullptr) return false;
  return caller.role == UserRole::Superadmin || groups_of(snapshot, caller).contains(group);
}

void list_reservations(RestContext&, ExchangePtr exchange) {
  const Snapshot& snapshot = *exchange->snapshot;
  const std::string_view group = exchange->params.get("group");
  const ResourceGroupName name(group);
  const auto gaps = snapshot.reservation_gaps(name);
  Json items = Json::array();
  snapshot.for_each<Reservation>([&](const Reservation& row) {
    if (row.resource_group.view() == group && may_see(snapshot, exchange->caller, row)) {
      items.push_back(reservation_item(snapshot, row, gaps));
    }
    return true;
  });
  if (items.size() == 0 && !knows_group(snapshot, exchange->caller, name)) {
    return exchange->fail({ErrorCode::NotFound,
                           fmt::format("There is no resource group \"{}\"", group),
                           "resource-group-not-found",
                           {}});
  }
  const auto total = static_cast<std::int64_t>(items.size());
  exchange->ok(Json::object({{"items", std::move(items)}, {"total", total}}));
}

void show_reservation(RestContext&, ExchangePtr exchange) {
  const Snapshot& snapshot = *exchange->snapshot;
  const std::string id = id_of(exchange);
  const Reservation* row = snapshot.find<Reservation>(id);
  if (row == nullptr || !may_see(snapshot, exchange->caller, *row)) {
    return exchange->fail(unknown(id));
  }
  exchange->ok(reservation_item(snapshot, *row, snapshot.reservation_gaps(row->resource_group)));
}

// Users may be named by their email, projects of the caller's domain by their name.
std::string resolve_owner(const Snapshot& snapshot, const Caller& caller, std::string owner) {
  if (owner.starts_with("user/")) {
    const User* user = snapshot.find_user_by_email(std::string_view(owner).substr(5));
    if (user != nullptr) return "user/" + to_string(user->id);
  } else if (owner.starts_with("project/")) {
    const Project* project =
        snapshot.find_project(caller.domain, std::string_view(owner).substr(8));
    if (project != nullptr) return "project/" + to_string(project->id);
  }
  return owner;
}

Timestamp read_time(Fields& fields, std::string_view name) {
  const auto time = parse_time(fields.required_text({name}));
  if (!time && fields.complaints().empty()) {
    fields.complain("should be a time like 2026-08-01T12:00:00Z, of the years 1678 to 2261");
  }
  return time ? time->at : Timestamp{};
}

void create_reservation(RestContext& api, ExchangePtr exchange) {
  const auto body = parse_body(exchange->request());
  if (!body) return exchange->fail(body.error());
  Fields fields(*body);
  CreateReservation action;
  action.resource_group = ResourceGroupName(exchange->params.get("group"));
  action.name = fields.required_text({"name"});
  action.agents = fields.object_or_empty({"agents"});
  for (std::string& owner : fields.texts({"owners"})) {
    action.owners.push_back(resolve_owner(*exchange->snapshot, exchange->caller, std::move(owner)));
  }
  action.starts_at = read_time(fields, "starts_at");
  action.ends_at = read_time(fields, "ends_at");
  fields.refuse_unread();
  if (auto ok = fields.status(); !ok) return exchange->fail(ok.error());
  api.manager.submit(
      exchange->caller, std::move(action), [exchange](Result<CreateReservation::Result> result) {
        if (!result) return exchange->fail(result.error());
        exchange->respond(http::Response::json(201, Json::object({{"id", result->id}})));
      });
}

void delete_reservation(RestContext& api, ExchangePtr exchange) {
  DeleteReservation action;
  action.id = id_of(exchange);
  api.manager.submit(exchange->caller, std::move(action),
                     [exchange](Result<DeleteReservation::Result> result) {
                       if (!result) return exchange->fail(result.error());
                       exchange->respond(http::Response::empty());
                     });
}

}  // namespace

void add_reservation_routes(RouteList& routes) {
  constexpr std::string_view kAll = "/resource-groups/{group}/reservations",
                             kOne = "/resource-groups/{group}/reservations/{name}";
  routes.insert(routes.end(), {{"GET", kAll, Guard::User, list_reservations},
                               {"POST", kAll, Guard::Superadmin, create_reservation},
                               {"GET", kOne, Guard::User, show_reservation},
                               {"DELETE", kOne, Guard::Superadmin, delete_reservation}});
}

}  // namespace bai::server

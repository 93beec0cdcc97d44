// Ours: groups of sessions that are to be apart or together.
#include <fmt/format.h>

#include "rest/context.hpp"
#include "rest/fields.hpp"
#include "rest/session_view.hpp"

namespace bai::server {
namespace {

Json group_item(const Snapshot& snapshot, const SessionGroup& row) {
  const Project* project = snapshot.find<Project>(row.project);
  const User* owner = snapshot.find<User>(row.owner);
  return Json::object({{"id", row.id},
                       {"domain", row.domain.str()},
                       {"project", project != nullptr ? Json(project->name) : Json()},
                       {"owner", to_string(row.owner)},
                       {"owner_email", owner != nullptr ? Json(owner->email) : Json()},
                       {"placement_direction", to_string(row.direction)},
                       {"placement_enforcement", to_string(row.enforcement)},
                       {"created_at", time_or_null(row.created_at)}});
}

void list_groups(RestContext&, ExchangePtr exchange) {
  const Snapshot& snapshot = *exchange->snapshot;
  Json items = Json::array();
  snapshot.for_each<SessionGroup>([&](const SessionGroup& row) {
    if (may_access(exchange->caller, row)) items.push_back(group_item(snapshot, row));
    return true;
  });
  const auto total = static_cast<std::int64_t>(items.size());
  exchange->ok(Json::object({{"items", std::move(items)}, {"total", total}}));
}

// Those of its live sessions that the caller may see: superadmins may have put in others'.
Json live_sessions(const Exchange& exchange, const SessionGroup& row) {
  Json sessions = Json::array();
  for (const Session* session : exchange.snapshot->live_members(row.id)) {
    if (!may_access(exchange.caller, *session)) continue;
    sessions.push_back(Json::object({{"id", to_string(session->id)},
                                     {"name", session->name},
                                     {"status", to_string(session->status)}}));
  }
  return sessions;
}

void show_group(RestContext& api, ExchangePtr exchange) {
  const std::string id(exchange->params.get("id"));
  const SessionGroup* row = exchange->snapshot->find<SessionGroup>(id);
  if (row == nullptr || !may_access(exchange->caller, *row)) {
    return exchange->fail({ErrorCode::NotFound,
                           fmt::format("There is no session group \"{}\"", id),
                           "session-group-not-found",
                           {}});
  }
  run_in_background(api, exchange, [exchange, row] {
    Json item = group_item(*exchange->snapshot, *row);
    item.set("sessions", live_sessions(*exchange, *row));
    exchange->ok(item);
  });
}

// Owners are named by their id or their email.
std::optional<UserId> read_owner(Fields& fields, const Snapshot& snapshot) {
  const auto named = fields.text({"owner"});
  if (!named) return std::nullopt;
  if (const auto id = parse_uuid<UserId>(*named)) return id;
  if (const User* user = snapshot.find_user_by_email(*named)) return user->id;
  return UserId{};  // nobody's
}

void create_group(RestContext& api, ExchangePtr exchange) {
  const auto body = parse_body(exchange->request(), true);
  if (!body) return exchange->fail(body.error());
  Fields fields(*body);
  CreateSessionGroup action;
  action.id = fields.text_or({"id"}, "");
  action.domain = DomainName(fields.text_or({"domain"}, exchange->caller.domain.view()));
  action.project = fields.text_or({"project", "group"}, action.project);
  action.owner = read_owner(fields, *exchange->snapshot);
  action.direction = fields.choice_or({"placement_direction"}, action.direction);
  action.enforcement = fields.choice_or({"placement_enforcement"}, action.enforcement);
  fields.refuse_unread();
  if (auto ok = fields.status(); !ok) return exchange->fail(ok.error());
  api.manager.submit(
      exchange->caller, std::move(action), [exchange](Result<CreateSessionGroup::Result> result) {
        if (!result) return exchange->fail(result.error());
        exchange->respond(http::Response::json(201, Json::object({{"id", result->id}})));
      });
}

template <NamedEnum E>
std::optional<E> read_choice(Fields& fields, std::string_view name) {
  if (!fields.has({name})) return std::nullopt;
  return fields.choice_or({name}, E{});
}

// Answers 204 when it is done.
template <Action A>
void submit(RestContext& api, const ExchangePtr& exchange, A action) {
  api.manager.submit(exchange->caller, std::move(action),
                     [exchange](Result<typename A::Result> result) {
                       if (!result) return exchange->fail(result.error());
                       exchange->respond(http::Response::empty());
                     });
}

void modify_group(RestContext& api, ExchangePtr exchange) {
  const auto body = parse_body(exchange->request());
  if (!body) return exchange->fail(body.error());
  Fields fields(*body);
  ModifySessionGroup action;
  action.id = exchange->params.get("id");
  action.direction = read_choice<PlacementDirection>(fields, "placement_direction");
  action.enforcement = read_choice<PlacementEnforcement>(fields, "placement_enforcement");
  fields.refuse_unread();
  if (auto ok = fields.status(); !ok) return exchange->fail(ok.error());
  submit(api, exchange, std::move(action));
}

void delete_group(RestContext& api, ExchangePtr exchange) {
  submit(api, exchange, DeleteSessionGroup{std::string(exchange->params.get("id"))});
}

}  // namespace

void add_session_group_routes(RouteList& routes) {
  constexpr std::string_view kAll = "/session-groups", kOne = "/session-groups/{id}";
  routes.insert(routes.end(), {{"GET", kAll, Guard::User, list_groups},
                               {"POST", kAll, Guard::User, create_group},
                               {"GET", kOne, Guard::User, show_group},
                               {"PATCH", kOne, Guard::User, modify_group},
                               {"DELETE", kOne, Guard::User, delete_group}});
}

}  // namespace bai::server

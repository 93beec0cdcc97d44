// Creating, showing, renaming and ending sessions.
#include <fmt/format.h>

#include "http/text.hpp"
#include "rest/context.hpp"
#include "rest/create_request.hpp"
#include "rest/fields.hpp"
#include "rest/session_view.hpp"

namespace bai::server {
namespace {

constexpr std::size_t kMaxMatches = 100;  // of GET /session/_/match

void answer_created(Exchange& exchange, const Snapshot& snapshot, const Session& session,
                    bool created, std::string_view status) {
  const bool running = session.status == SessionStatus::Running;
  Json ports = running || !created ? service_ports(snapshot, session) : Json::array();
  Json body = Json::object({{"sessionId", to_string(session.id)},
                            {"sessionName", session.name},
                            {"status", status},
                            {"created", created}});
  if (!created) body.set("service_ports", ports);
  body.set("servicePorts", std::move(ports));
  exchange.respond(http::Response::json(201, body));
}

// The end of a creation that waited for the session to run.
void answer_waited(RestContext& api, Exchange& exchange, SessionId id, Result<SnapshotPtr> waited) {
  const bool timed_out = !waited && waited.error().code == ErrorCode::DeadlineExceeded;
  if (!waited && !timed_out) return exchange.fail(waited.error());
  const SnapshotPtr snapshot = waited ? *waited : api.manager.snapshot();
  const Session* session = snapshot->find<Session>(id);
  if (!session) return exchange.fail({ErrorCode::NotFound, "", "session-not-found", {}});
  if (session->status == SessionStatus::Terminated || session->status == SessionStatus::Cancelled) {
    std::string message = "Session terminated during scheduling";
    if (!session->status_info.empty()) message += ": " + session->status_info;
    return exchange.fail({ErrorCode::NotFound, std::move(message), "session-not-found", {}});
  }
  answer_created(exchange, *snapshot, *session, true,
                 timed_out ? "TIMEOUT" : to_string(session->status));
}

void on_created(RestContext& api, const ExchangePtr& exchange, std::string name, bool enqueue_only,
                Duration max_wait, Result<CreateSession::Result> result) {
  if (!result) return exchange->fail(result.error());
  const SessionId id = result->id;
  if (result->created && enqueue_only) {
    const Json body = Json::object({{"sessionId", to_string(id)},
                                    {"sessionName", std::move(name)},
                                    {"status", "PENDING"},
                                    {"servicePorts", Json::array()},
                                    {"created", true}});
    return exchange->respond(http::Response::json(201, body));
  }
  if (!result->created) {
    const auto snapshot = api.manager.snapshot();
    const Session* session = snapshot->find<Session>(id);
    if (!session) return exchange->fail({ErrorCode::NotFound, "", "session-not-found", {}});
    return answer_created(*exchange, *snapshot, *session, false, to_string(session->status));
  }
  api.manager.await_session(id, max_wait, [&api, exchange, id](Result<SnapshotPtr> waited) {
    answer_waited(api, *exchange, id, std::move(waited));
  });
}

void create_session(RestContext& api, ExchangePtr exchange) {
  const auto body = parse_body(exchange->request());
  if (!body) return exchange->fail(body.error());
  auto request =
      parse_create_request(*body, exchange->snapshot->slot_types(), exchange->request().arrival);
  if (!request) return exchange->fail(request.error());
  if (request->names_agents && api.options.hide_agents &&
      exchange->caller.role != UserRole::Superadmin) {
    return exchange->fail({ErrorCode::PermissionDenied,
                           "Agents are hidden here: only superadmins may choose them",
                           "insufficient-privilege",
                           {}});
  }
  std::string name = request->action.name;
  api.manager.submit(exchange->caller, std::move(request->action),
                     [&api, exchange, name = std::move(name), enqueue_only = request->enqueue_only,
                      max_wait = request->max_wait](Result<CreateSession::Result> result) mutable {
                       on_created(api, exchange, std::move(name), enqueue_only, max_wait,
                                  std::move(result));
                     });
}

void get_session(RestContext&, ExchangePtr exchange) {
  const Session* session = find_session(exchange);
  if (!session) return;
  exchange->ok(session_info(*exchange->snapshot, *session, exchange->request().arrival));
}

void get_status_history(RestContext&, ExchangePtr exchange) {
  const Session* session = find_session(exchange, true);
  if (!session) return;
  Json body = Json::object(), lower = Json::object();
  for (const auto& [status, time] : session->status_times) {
    body.set(status, to_iso8601(time));
    lower.set(http::to_lower(status), to_iso8601(time));
  }
  body.set("result", std::move(lower));
  exchange->ok(body);
}

// Ours: the scheduling phases that storage remembers.
void get_history(RestContext& api, ExchangePtr exchange) {
  const Session* session = find_session(exchange);
  if (!session) return;
  run_in_background(api, exchange, [&api, exchange, id = session->id] {
    const auto rows = api.manager.history(id);
    if (!rows) return exchange->fail(rows.error());
    Json items = Json::array();
    for (const auto& row : *rows) {
      items.push_back(Json::object({{"phase", row->phase},
                                    {"from_status", row->from_status},
                                    {"to_status", row->to_status},
                                    {"result", to_string(row->result)},
                                    {"error_code", row->error_code},
                                    {"message", row->message},
                                    {"attempts", row->attempts},
                                    {"created_at", to_iso8601(row->created_at)},
                                    {"updated_at", time_or_null(row->updated_at)}}));
    }
    exchange->ok(Json::object({{"items", std::move(items)}}));
  });
}

void match_sessions(RestContext&, ExchangePtr exchange) {
  const Snapshot& snapshot = *exchange->snapshot;
  const std::string prefix(exchange->request().query.get("id"));
  if (prefix.empty()) {
    return exchange->fail(
        {ErrorCode::InvalidArgument, "id: is required in the query", "body-invalid", {}});
  }
  Json matches = Json::array();
  const auto add = [&](const Session& session) {
    matches.push_back(Json::object({{"id", to_string(session.id)},
                                    {"name", session.name},
                                    {"status", to_string(session.status)}}));
  };
  const auto whole_id = parse_uuid<SessionId>(prefix);
  if (whole_id) {  // reaches ended sessions too
    const Session* session = snapshot.find<Session>(*whole_id);
    if (session && session->access_key == exchange->caller.access_key) add(*session);
  } else {
    for (const Session* session : snapshot.live_sessions(exchange->caller.access_key)) {
      if (matches.size() >= kMaxMatches) break;
      if (session->name.starts_with(prefix) || to_string(session->id).starts_with(prefix)) {
        add(*session);
      }
    }
  }
  exchange->ok(Json::object({{"matches", std::move(matches)}}));
}

// A flag of the query; complains by answering.
std::optional<bool> query_flag(Exchange& exchange, std::string_view name) {
  const std::string* text = exchange.request().query.find(name);
  if (!text || text->empty()) return false;
  const auto flag = parse_flag(*text);
  if (!flag) {
    exchange.fail({ErrorCode::InvalidArgument,
                   fmt::format("{}: should be true or false, is '{}'", name, text->substr(0, 64)),
                   "body-invalid",
                   {}});
  }
  return flag;
}

void destroy_session(RestContext& api, ExchangePtr exchange) {
  const auto forced = query_flag(*exchange, "forced");
  const auto recursive = forced ? query_flag(*exchange, "recursive") : std::nullopt;
  if (!recursive) return;
  const Session* session = find_session(exchange, true);
  if (!session) return;
  DestroySession action;
  action.id = session->id;
  action.forced = *forced;
  action.recursive = *recursive;
  action.reason = *forced ? "force-terminated" : "user-requested";
  api.manager.submit(exchange->caller, std::move(action),
                     [exchange, id = session->id](Result<DestroySession::Result> result) {
                       if (!result) return exchange->fail(result.error());
                       Json stats = Json::object();
                       for (const auto& [ended, how] : result->ended) {
                         if (ended == id) stats.set("status", how);
                       }
                       exchange->ok(Json::object({{"stats", std::move(stats)}}));
                     });
}

// The name comes in the query (as clients send it) or in the body (as the contract has it).
Result<std::string> new_name(const http::Request& request) {
  for (const std::string_view key : {"name", "session_name", "clientSessionToken"}) {
    if (const std::string* name = request.query.find(key)) return *name;
  }
  const auto body = parse_body(request);
  if (!body) return std::unexpected(body.error());
  Fields fields(*body);
  auto name = fields.required_text({"session_name", "name", "clientSessionToken"});
  if (auto ok = fields.status(); !ok) return std::unexpected(ok.error());
  return name;
}

void rename_session(RestContext& api, ExchangePtr exchange) {
  auto name = new_name(exchange->request());
  if (!name) return exchange->fail(name.error());
  const Session* session = find_session(exchange);
  if (!session) return;
  api.manager.submit(exchange->caller, RenameSession{session->id, std::move(*name)},
                     [exchange](Result<RenameSession::Result> result) {
                       if (!result) return exchange->fail(result.error());
                       exchange->respond(http::Response::empty());
                     });
}

void not_implemented(RestContext&, ExchangePtr exchange) {
  exchange->fail({ErrorCode::Unsupported, "", "not-implemented", {}});
}

}  // namespace

void add_session_routes(RouteList& routes) {
  routes.insert(routes.end(),
                {{"POST", "/session", Guard::User, create_session},
                 {"POST", "/session/_/create", Guard::User, create_session},
                 {"GET", "/session/_/match", Guard::User, match_sessions},
                 {"POST", "/session/_/transit-status", Guard::User, not_implemented},
                 {"GET", "/session/{session}", Guard::User, get_session},
                 {"PATCH", "/session/{session}", Guard::User, not_implemented},
                 {"DELETE", "/session/{session}", Guard::User, destroy_session},
                 {"POST", "/session/{session}/rename", Guard::User, rename_session},
                 {"GET", "/session/{session}/status-history", Guard::User, get_status_history},
                 {"GET", "/session/{session}/history", Guard::User, get_history}});
}

}  // namespace bai::server

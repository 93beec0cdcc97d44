// Hello, authentication tests, health and the manager's own state; the internal port.
#include <fmt/format.h>

#include "auth/version.hpp"
#include "rest/context.hpp"
#include "rest/fields.hpp"
#include "rest/session_view.hpp"

namespace bai::server {
namespace {

void hello(RestContext&, ExchangePtr exchange) {
  exchange->ok(
      Json::object({{"version", auth::kCurrentVersion}, {"manager", kWireManagerVersion}}));
}

void test_auth(RestContext&, ExchangePtr exchange) {
  Json echo;
  if (exchange->request().method == "POST") {
    const auto body = parse_body(exchange->request());
    if (!body) return exchange->fail(body.error());
    Fields fields(*body);
    echo = fields.text_or({"echo"}, "");
    if (auto ok = fields.status(); !ok) return exchange->fail(ok.error());
  } else if (const auto body = parse_body(exchange->request(), true)) {
    echo = (*body)["echo"];
  }
  Json answer = Json::object({{"authorized", "yes"}});
  if (!echo.is_null()) answer.set("echo", std::move(echo));
  exchange->ok(answer);
}

void get_role(RestContext&, ExchangePtr exchange) {
  const Caller& caller = exchange->caller;
  Json answer =
      Json::object({{"global_role", caller.role == UserRole::Superadmin ? "superadmin" : "user"},
                    {"domain_role", caller.role == UserRole::User ? "user" : "admin"}});
  const auto group = exchange->request().query.get("group");
  if (!group.empty()) {
    const auto id = parse_uuid<ProjectId>(group);
    if (!id) {
      return exchange->fail({ErrorCode::InvalidArgument,
                             fmt::format("group: '{}' is no UUID", group.substr(0, 64)),
                             "body-invalid",
                             {}});
    }
    if (!exchange->snapshot->is_member(*id, caller.user)) {
      return exchange->fail({ErrorCode::NotFound, "", "group-membership-not-found", {}});
    }
    answer.set("group_role", "user");
  }
  exchange->ok(answer);
}

void get_my_ip(RestContext&, ExchangePtr exchange) {
  exchange->ok(Json::object({{"client_ip", exchange->client_ip}}));
}

std::int64_t active_sessions(const Snapshot& snapshot) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < EnumText<SessionStatus>::names.size(); ++i) {
    const auto status = static_cast<SessionStatus>(i);
    if (occupies_resources(status)) count += snapshot.count_sessions(status);
  }
  return static_cast<std::int64_t>(count);
}

void manager_status(RestContext& api, ExchangePtr exchange) {
  const auto active = active_sessions(*exchange->snapshot);
  const auto statistics = api.manager.statistics();
  Json node = Json::object({{"id", api.options.manager_id},
                            {"num_proc", 1},
                            {"service_addr", api.options.service_addr},
                            {"ssl_enabled", exchange->request().secure},
                            {"active_sessions", active},
                            {"status", statistics.storage_down ? "storage-down" : "running"},
                            {"version", kServerVersion},
                            {"api_version", auth::kCurrentVersion}});
  exchange->ok(Json::object({{"nodes", Json(Json::Array{std::move(node)})},
                             {"status", "running"},
                             {"active_sessions", active}}));
}

// Open to all, because every client asks for it at its start.
void announcement(RestContext&, ExchangePtr exchange) {
  exchange->ok(Json::object({{"enabled", false}, {"message", ""}}));
}

// ---- health -------------------------------------------------------------------------------------

void health(RestContext&, ExchangePtr exchange) {
  exchange->ok(Json::object({{"status", "ok"}, {"version", kServerVersion}}));
}

void livez(RestContext&, ExchangePtr exchange) { exchange->respond(http::Response::empty(200)); }

void readyz(RestContext& api, ExchangePtr exchange) {
  const bool down = api.manager.statistics().storage_down;
  exchange->respond(http::Response::empty(down ? 503 : 200));
}

Json full_health(RestContext& api, const Exchange& exchange, bool& healthy) {
  healthy = !api.manager.statistics().storage_down;
  const auto now = to_iso8601(exchange.request().arrival);
  Json check = Json::object(
      {{"service_group", "database"},
       {"component_id", "storage"},
       {"is_healthy", healthy},
       {"last_checked_at", now},
       {"error_message", healthy ? Json() : Json("the last commit was refused; it is retried")}});
  return Json::object(
      {{"status", healthy ? "ok" : "degraded"},
       {"version", kServerVersion},
       {"component", "manager"},
       {"connectivity", Json::object({{"overall_healthy", healthy},
                                      {"connectivity_checks", Json(Json::Array{std::move(check)})},
                                      {"timestamp", now}})}});
}

void internal_health(RestContext& api, ExchangePtr exchange) {
  bool healthy = true;
  exchange->ok(full_health(api, *exchange, healthy));
}

void internal_livez(RestContext& api, ExchangePtr exchange) {
  bool healthy = true;
  exchange->ok(full_health(api, *exchange, healthy));
}

void internal_readyz(RestContext& api, ExchangePtr exchange) {
  bool healthy = true;
  const Json body = full_health(api, *exchange, healthy);
  exchange->respond(http::Response::json(healthy ? 200 : 503, body));
}

// What there is to scrape, in the form of Prometheus' http_sd: this server, where it was asked.
void service_discovery(RestContext& api, ExchangePtr exchange) {
  const Json labels = Json::object({{"service_id", api.options.manager_id},
                                    {"service_group", "manager"},
                                    {"display_name", "manager-" + api.options.manager_id},
                                    {"version", kServerVersion}});
  const std::string_view here = exchange->request().headers.get("Host");
  Json target = Json::object({{"targets", Json(Json::Array{Json(here)})}, {"labels", labels}});
  exchange->ok(Json(Json::Array{std::move(target)}));
}

void metrics(RestContext& api, ExchangePtr exchange) {
  run_in_background(api, exchange, [&api, exchange] {
    http::Response response{200, {}, api.metrics.expose()};
    response.headers.add("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    exchange->respond(std::move(response));
  });
}

}  // namespace

void add_system_routes(RouteList& routes) {
  routes.insert(routes.end(), {{"GET", "/", Guard::Public, hello},
                               {"GET", "/auth", Guard::User, test_auth},
                               {"POST", "/auth", Guard::User, test_auth},
                               {"GET", "/auth/test", Guard::User, test_auth},
                               {"POST", "/auth/test", Guard::User, test_auth},
                               {"GET", "/auth/role", Guard::User, get_role},
                               {"GET", "/auth/my-ip", Guard::User, get_my_ip},
                               {"GET", "/manager/status", Guard::Superadmin, manager_status},
                               {"GET", "/manager/announcement", Guard::User, announcement},
                               {"GET", "/health", Guard::Public, health},
                               {"GET", "/health/livez", Guard::Public, livez},
                               {"GET", "/health/readyz", Guard::Public, readyz}});
}

void add_internal_routes(RouteList& routes) {
  routes.insert(routes.end(),
                {{"GET", "/metrics", Guard::Public, metrics},
                 {"GET", "/metrics/service_discovery", Guard::Public, service_discovery},
                 {"GET", "/health", Guard::Public, internal_health},
                 {"GET", "/health/livez", Guard::Public, internal_livez},
                 {"GET", "/health/readyz", Guard::Public, internal_readyz}});
}

}  // namespace bai::server

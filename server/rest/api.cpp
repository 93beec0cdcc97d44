// Middleware, in the order of the wire contract: authentication (not on public routes), version
// check, method override, guards, rate limit.
#include "rest/api.hpp"

#include <fmt/format.h>

#include "auth/version.hpp"
#include "http/text.hpp"
#include "rest/context.hpp"

namespace bai::server {
namespace {

std::unexpected<Error> unauthorized(std::string message) {
  return fail(ErrorCode::Unauthenticated, std::move(message), "auth-failed");
}

std::optional<std::string_view> header(const http::Request& request, std::string_view name) {
  const std::string* value = request.headers.find(name);
  if (!value) return std::nullopt;
  return std::string_view(*value);
}

Status check_client_ip(const Snapshot& snapshot, const Caller& caller, std::string_view ip) {
  const User* user = snapshot.find<User>(caller.user);
  if (!user || user->allowed_client_ip.empty()) return {};
  const auto allowed = auth::AddressList::parse(user->allowed_client_ip);
  if (allowed && allowed->contains(ip)) return {};
  return unauthorized(fmt::format("'{}' is not an allowed IP address", ip));
}

// Superadmins may act as another user: X-BackendAI-Act-As.
Status act_as(const Snapshot& snapshot, std::string_view text, Caller& caller) {
  if (caller.role != UserRole::Superadmin) {
    return fail(ErrorCode::PermissionDenied, "Only superadmins may act as another user",
                "insufficient-privilege");
  }
  const auto id = parse_uuid<UserId>(text);
  if (!id) {
    return fail(ErrorCode::InvalidArgument, "X-BackendAI-Act-As should be a user's UUID",
                "generic-bad-request");
  }
  const User* user = snapshot.find<User>(*id);
  if (!user) {
    return fail(ErrorCode::NotFound, fmt::format("There is no user {}", text), "user-not-found");
  }
  auto other = identify(snapshot, user->main_access_key);
  if (!other) return std::unexpected(std::move(other.error()));
  other->request_id = std::move(caller.request_id);
  caller = std::move(*other);
  return {};
}

Status authenticate(RestContext& api, Exchange& exchange) {
  const http::Request& request = exchange.request();
  const Snapshot& snapshot = *exchange.snapshot;
  const auto input =
      auth::collect(request.method, request.target, request.body,
                    [&](std::string_view name) { return request.headers.find(name); });
  const auto lookup = [&](std::string_view key) -> std::optional<std::string> {
    const Keypair* keypair = snapshot.find<Keypair>(AccessKey(key));
    if (!keypair || !keypair->is_active) return std::nullopt;
    return keypair->secret_key;
  };
  auto identity = api.verifier.verify(input, request.arrival, lookup,
                                      auth::trusts_forwarded(request.peer_ip, api.proxies));
  if (!identity) return std::unexpected(std::move(identity.error()));
  if (identity->scheme == auth::Scheme::Anonymous) return unauthorized("Unauthorized access");
  auto caller = identify(snapshot, AccessKey(std::move(identity->access_key)));
  if (!caller) return unauthorized(std::move(caller.error().message));
  exchange.caller = std::move(*caller);
  exchange.client_ip =
      auth::client_ip(header(request, "X-Forwarded-For"), request.peer_ip, api.proxies);
  if (auto ok = check_client_ip(snapshot, exchange.caller, exchange.client_ip); !ok) return ok;
  exchange.caller.request_id = std::string(request.headers.get("X-BackendAI-RequestID"));
  if (const auto other = header(request, "X-BackendAI-Act-As")) {
    return act_as(snapshot, *other, exchange.caller);
  }
  return {};
}

Status limit_rate(RestContext& api, Exchange& exchange) {
  auto& headers = exchange.rate_headers;
  const std::string window = std::to_string(RateLimiter::kWindowSeconds);
  if (exchange.caller.access_key.empty()) {
    headers = {{"X-RateLimit-Limit", "1000"},
               {"X-RateLimit-Remaining", "1000"},
               {"X-RateLimit-Window", window}};
    return {};
  }
  const auto count = api.rates.hit(exchange.caller.access_key.view(), exchange.request().arrival);
  const Keypair* keypair = exchange.snapshot->find<Keypair>(exchange.caller.access_key);
  const auto limit = keypair ? keypair->rate_limit : std::nullopt;
  const auto used = static_cast<std::int64_t>(count);
  if (limit && used > *limit) {
    return fail(ErrorCode::QuotaExceeded,
                fmt::format("At most {} requests within {} seconds", *limit, window),
                "rate-limit-exceeded");
  }
  headers = {{"X-RateLimit-Limit", limit ? std::to_string(*limit) : "None"},
             {"X-RateLimit-Remaining", std::to_string(limit ? *limit - used : used)},
             {"X-RateLimit-Window", window}};
  return {};
}

Status check_guard(const Route& route, const Caller& caller) {
  if (route.guard == Guard::Public) return {};
  if (caller.access_key.empty()) return unauthorized("Unauthorized access");
  if (route.guard == Guard::Superadmin && caller.role != UserRole::Superadmin) {
    return fail(ErrorCode::PermissionDenied, "Insufficient privileges", "generic-forbidden");
  }
  return {};
}

void answer_unmatched(Exchange& exchange, std::string_view method,
                      const std::vector<std::string>& allowed) {
  const auto& request = exchange.request();
  if (allowed.empty()) {
    auto response = http::problem(404, "url-not-found", "Unknown URL path.", "api_read_not-found",
                                  {}, Json(request.path));
    return exchange.respond(std::move(response), "api_read_not-found");
  }
  Json names = Json::array();
  std::string list;
  for (const auto& name : allowed) {
    names.push_back(name);
    list += (list.empty() ? "" : ", ") + name;
  }
  auto response = http::problem(
      405, "method-not-allowed", "HTTP Method Not Allowed.", "api_access_forbidden",
      fmt::format("{} has no {}; there is {}", request.path, method, list),
      Json::object({{"method", std::string(method)}, {"allowed_methods", std::move(names)}}));
  response.headers.add("Allow", list);
  exchange.respond(std::move(response), "api_access_forbidden");
}

bool origin_allowed(std::string_view allowed, std::string_view origin) {
  if (allowed == "*") return true;
  while (!allowed.empty()) {
    const auto comma = allowed.find(',');
    if (http::trim(allowed.substr(0, comma)) == origin) return true;
    if (comma == std::string_view::npos) break;
    allowed.remove_prefix(comma + 1);
  }
  return false;
}

// A browser asking whether it may; answered without authentication.
void answer_preflight(RestContext& api, const ExchangePtr& exchange) {
  const auto& request = exchange->request();
  const auto refuse = [&](std::string why) {
    exchange->fail({ErrorCode::PermissionDenied,
                    "CORS preflight request failed: " + why,
                    "generic-forbidden",
                    {}});
  };
  const auto origin = request.headers.get("Origin");
  const auto method = request.headers.get("Access-Control-Request-Method");
  if (origin.empty()) return refuse("there is no Origin header");
  if (method.empty()) return refuse("there is no Access-Control-Request-Method header");
  if (!exchange->shares_with_origin) {
    return refuse(fmt::format("origin '{}' is not allowed", origin));
  }
  const auto match = api.router.find(method, request.raw_path);
  if (match.not_found()) return answer_unmatched(*exchange, method, {});
  if (!match.route) return refuse(fmt::format("method '{}' is not allowed here", method));
  http::Response response{200, {}, {}};
  response.headers.add("Access-Control-Allow-Methods", std::string(method));
  if (const auto names = request.headers.get("Access-Control-Request-Headers"); !names.empty()) {
    response.headers.add("Access-Control-Allow-Headers", std::string(names));
  }
  exchange->endpoint = match.route->pattern;
  exchange->respond(std::move(response));
}

void dispatch(RestContext& api, ExchangePtr exchange) {
  const http::Request& request = exchange->request();
  if (const auto origin = header(request, "Origin")) {
    exchange->shares_with_origin = origin_allowed(api.options.allow_origins, *origin);
  }
  if (request.method == "OPTIONS") return answer_preflight(api, exchange);
  auto match = api.router.find(request.method, request.raw_path);
  const Route* route = match.route;
  if (!route) return answer_unmatched(*exchange, request.method, match.allowed);
  exchange->endpoint = route->pattern;
  exchange->snapshot = api.manager.snapshot();
  if (route->guard != Guard::Public) {
    if (auto ok = authenticate(api, *exchange); !ok) return exchange->fail(ok.error());
  }
  const auto version = auth::requested_version(header(request, "X-BackendAI-Version"),
                                               header(request, "X-Sorna-Version"));
  if (!version) return exchange->fail(version.error());
  if (const auto method = header(request, "X-Method-Override")) {
    match = api.router.find(*method, request.raw_path);
    if (!match.route) return answer_unmatched(*exchange, *method, match.allowed);
    route = match.route;
    exchange->endpoint = route->pattern;
  }
  if (auto ok = check_guard(*route, exchange->caller); !ok) return exchange->fail(ok.error());
  if (auto ok = limit_rate(api, *exchange); !ok) return exchange->fail(ok.error());
  exchange->params = std::move(match.params);
  route->handle(api, std::move(exchange));
}

}  // namespace

void run_in_background(RestContext& api, const ExchangePtr& exchange, Task task) {
  if (api.offload.run(std::move(task))) return;
  exchange->fail(
      {ErrorCode::Unavailable, "Too many requests are waiting; try again later", "", {}});
}

const Session* find_session(const ExchangePtr& exchange, bool honour_owner) {
  const Snapshot& snapshot = *exchange->snapshot;
  const std::string_view name = exchange->params.get("session");
  const std::string_view owner =
      honour_owner ? exchange->request().query.get("owner_access_key") : std::string_view{};
  Result<const Session*> found = nullptr;
  if (owner.empty() || owner == exchange->caller.access_key.view()) {
    found = resolve_session(snapshot, exchange->caller, name);
  } else if (exchange->caller.role == UserRole::User) {
    found = fail(ErrorCode::PermissionDenied,
                 "Only administrators may name another owner_access_key", "generic-forbidden");
  } else {
    const auto other = identify(snapshot, AccessKey(owner));
    found = other
                ? resolve_session(snapshot, *other, name)
                : fail(ErrorCode::InvalidArgument, other.error().message, "invalid-api-parameters");
    if (found && !may_access(exchange->caller, **found)) {
      found = fail(ErrorCode::PermissionDenied, "That session is out of your reach",
                   "generic-forbidden");
    }
  }
  if (found) return *found;
  exchange->fail(found.error());
  return nullptr;
}

Result<std::unique_ptr<RestApi>> RestApi::create(RestOptions options, Manager& manager,
                                                 Metrics& metrics) {
  auto proxies = auth::AddressList::parse(options.trusted_proxies);
  if (!proxies) return std::unexpected(std::move(proxies.error()));
  auto context =
      std::make_unique<RestContext>(std::move(options), manager, metrics, std::move(*proxies));
  RouteList routes, internal;
  add_system_routes(routes);
  add_what_if_routes(routes);
  add_session_routes(routes);
  add_session_call_routes(routes);
  add_session_file_routes(routes);
  add_search_routes(routes);
  add_cluster_routes(routes);
  add_reservation_routes(routes);
  add_session_group_routes(routes);
  add_internal_routes(internal);
  for (auto* list : {&routes, &internal}) {
    auto& router = list == &routes ? context->router : context->internal;
    for (auto& route : *list) {
      if (auto ok = router.add(route.method, route.pattern, route); !ok) {
        return std::unexpected(std::move(ok.error()));
      }
    }
  }
  return std::unique_ptr<RestApi>(new RestApi(std::move(context)));
}

RestApi::RestApi(std::unique_ptr<RestContext> context) : context_(std::move(context)) {}
RestApi::~RestApi() = default;

void RestApi::handle(std::shared_ptr<http::Request> request, http::Responder responder) {
  dispatch(*context_,
           std::make_shared<Exchange>(std::move(request), std::move(responder), context_->metrics));
}

void RestApi::handle_internal(std::shared_ptr<http::Request> request, http::Responder responder) {
  auto exchange =
      std::make_shared<Exchange>(std::move(request), std::move(responder), context_->metrics);
  auto match = context_->internal.find(exchange->request().method, exchange->request().raw_path);
  if (!match.route) {
    return answer_unmatched(*exchange, exchange->request().method, match.allowed);
  }
  exchange->endpoint = match.route->pattern;
  match.route->handle(*context_, std::move(exchange));
}

}  // namespace bai::server

#include "ctl/client.hpp"

#include <fmt/format.h>
#include <httplib.h>

#include <chrono>

#include "auth/signature.hpp"

namespace bai::ctl {

namespace {

Timestamp wall_clock() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {std::chrono::duration_cast<std::chrono::nanoseconds>(now).count()};
}

ErrorCode code_of(int status) {
  switch (status) {
    case 400:
      return ErrorCode::InvalidArgument;
    case 401:
      return ErrorCode::Unauthenticated;
    case 403:
      return ErrorCode::PermissionDenied;
    case 404:
      return ErrorCode::NotFound;
    case 409:
      return ErrorCode::Conflict;
    case 412:
    case 429:
      return ErrorCode::QuotaExceeded;
    case 503:
      return ErrorCode::Unavailable;
    case 504:
      return ErrorCode::DeadlineExceeded;
    default:
      return ErrorCode::Internal;
  }
}

// "https://api.backend.ai/probs/session-not-found" -> "session-not-found".
std::string slug(std::string_view type) {
  const auto slash = type.rfind('/');
  return std::string(slash == std::string_view::npos ? type : type.substr(slash + 1));
}

Error problem(int status, const std::string& body) {
  const auto json = Json::parse(body);
  Error error{code_of(status), fmt::format("the server answered {}", status), {}, {}};
  if (!json || !json->is_object()) return error;
  const std::string_view title = (*json)["title"].as_string(), msg = (*json)["msg"].as_string();
  error.kind = slug((*json)["type"].as_string());
  error.data = {{"error_code", std::string((*json)["error_code"].as_string())}};
  if (!msg.empty() && msg != title) {
    error.message = title.empty() ? std::string(msg) : fmt::format("{} {}", title, msg);
  } else if (!title.empty()) {
    error.message = title;
  }
  return error;
}

struct Endpoint {
  std::string origin, authority, base;
};

Result<Endpoint> parse_endpoint(std::string_view text) {
  const auto wrong = [&] {
    return fail(
        ErrorCode::InvalidArgument,
        fmt::format("endpoint \"{}\": should be http://host:port or https://host:port", text));
  };
  const std::string_view scheme = text.starts_with("https://") ? "https://" : "http://";
  if (!text.starts_with(scheme)) return wrong();
  const std::string_view rest = text.substr(scheme.size());
  const auto slash = rest.find('/');
  Endpoint endpoint;
  endpoint.authority = rest.substr(0, slash);
  if (endpoint.authority.empty()) return wrong();
  endpoint.origin = std::string(scheme) + endpoint.authority;
  if (slash != std::string_view::npos) endpoint.base = rest.substr(slash);
  while (endpoint.base.ends_with('/')) endpoint.base.pop_back();
  return endpoint;
}

}  // namespace

struct Client::Impl {
  Impl(Profile p, Endpoint e)
      : profile(std::move(p)), endpoint(std::move(e)), http(endpoint.origin) {
    http.set_keep_alive(true);
    http.set_tcp_nodelay(true);  // header and body are two writes
    http.set_url_encode(false);  // the target is signed as it is sent
    if (!profile.ca_cert.empty()) http.set_ca_cert_path(profile.ca_cert);
  }
  Profile profile;
  Endpoint endpoint;
  httplib::Client http;
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;
Client::~Client() = default;

Result<Client> Client::open(Profile profile) {
  auto endpoint = parse_endpoint(profile.endpoint);
  if (!endpoint) return std::unexpected(endpoint.error());
  return Client(std::make_unique<Impl>(std::move(profile), std::move(*endpoint)));
}

Result<Json> Client::call(std::string_view method, std::string_view target, const Json& body,
                          Duration timeout) {
  Impl& self = *impl_;
  httplib::Request request;
  request.method = method;
  request.path = self.endpoint.base + std::string(target);
  const std::string_view type = body.is_null() ? "text/plain" : "application/json";
  if (!body.is_null()) request.body = body.dump();
  const auth::SignRequest to_sign{.method = method,
                                  .target = request.path,
                                  .host = self.endpoint.authority,
                                  .access_key = self.profile.access_key,
                                  .secret_key = self.profile.secret_key,
                                  .content_type = type,
                                  .body = request.body};
  for (auto& [name, value] : auth::sign(to_sign, wall_clock())) request.set_header(name, value);
  request.set_header("Content-Type", std::string(type));
  request.set_header("Host", self.endpoint.authority);
  request.set_header("User-Agent", "baictl");
  self.http.set_connection_timeout(std::chrono::seconds(5));
  self.http.set_read_timeout(std::chrono::nanoseconds(timeout.ns));
  const httplib::Result result = self.http.send(request);
  if (!result) {
    const bool distrusted = result.error() == httplib::Error::SSLServerVerification ||
                            result.error() == httplib::Error::SSLLoadingCerts;
    return fail(ErrorCode::Unavailable,
                fmt::format("Cannot reach {} ({}). {}", self.endpoint.origin,
                            httplib::to_string(result.error()),
                            distrusted ? "Say whom to trust with: baictl login --ca-cert FILE"
                                       : "Is the server running? Is the endpoint right?"),
                std::string(kUnreachableKind));
  }
  if (result->status < 200 || result->status >= 300) {
    return std::unexpected(problem(result->status, result->body));
  }
  if (result->body.empty()) return Json();
  return Json::parse(result->body);
}

std::string encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    plain ? void(out += c) : void(out += fmt::format("%{:02X}", static_cast<unsigned char>(c)));
  }
  return out;
}

}  // namespace bai::ctl

#include "auth/jwt.hpp"

#include "auth/digest.hpp"
#include "bai_manager/json.hpp"

namespace bai::auth {
namespace {

std::unexpected<Error> denied(std::string message) {
  return fail(ErrorCode::Unauthenticated, std::move(message), "auth-failed");
}

struct Pieces {
  std::string_view signed_part;  // header.payload
  std::string_view signature;
  Json header;
  Json payload;
};

Result<Pieces> split(std::string_view token) {
  if (token.size() > kMaxTokenBytes) return denied("The token is too long");
  const auto first = token.find('.');
  const auto last = token.rfind('.');
  if (first == std::string_view::npos || first == last || token.find('.', first + 1) != last) {
    return denied("The token is not a JWT of three parts");
  }
  const auto header = base64url_decode(token.substr(0, first));
  const auto payload = base64url_decode(token.substr(first + 1, last - first - 1));
  auto header_json = header ? Json::parse(*header) : denied("header");
  auto payload_json = payload ? Json::parse(*payload) : denied("payload");
  if (!header_json || !payload_json || !header_json->is_object() || !payload_json->is_object()) {
    return denied("The token's header and payload must be base64url JSON objects");
  }
  return Pieces{token.substr(0, last), token.substr(last + 1), std::move(*header_json),
                std::move(*payload_json)};
}

}  // namespace

Result<std::string> claimed_access_key(std::string_view token) {
  const auto pieces = split(token);
  if (!pieces) return std::unexpected(pieces.error());
  const Json& key = pieces->payload["access_key"];
  if (!key.is_string() || key.as_string().empty()) {
    return denied("The token has no access_key claim");
  }
  return std::string(key.as_string());
}

Result<TokenClaims> verify_token(std::string_view token, std::string_view secret, Timestamp now) {
  const auto pieces = split(token);
  if (!pieces) return std::unexpected(pieces.error());
  // The token must not choose its own algorithm.
  if (pieces->header["alg"].as_string() != "HS256") return denied("The token must use HS256");
  const auto signature = base64url_decode(pieces->signature);
  const Digest expected = hmac(HashAlgorithm::Sha256, secret, pieces->signed_part);
  if (!signature || !equal_in_constant_time(*signature, expected.view())) {
    return denied("Token signature mismatch");
  }
  const Json& payload = pieces->payload;
  const std::string_view role = payload["role"].as_string();
  if (!payload["access_key"].is_string() || !payload["exp"].is_int() || !payload["iat"].is_int() ||
      (role != "user" && role != "admin" && role != "superadmin")) {
    return denied("The token needs the claims access_key, role, iat and exp");
  }
  TokenClaims claims{std::string(payload["access_key"].as_string()), std::string(role),
                     payload["iat"].as_int(), payload["exp"].as_int()};
  constexpr std::int64_t kNsPerSecond = 1'000'000'000;
  if (now.ns / kNsPerSecond >= claims.expires_s) return denied("The token has expired");
  return claims;
}

std::string make_token(std::string_view access_key, std::string_view role, std::string_view secret,
                       Timestamp now, Duration lifetime) {
  const std::int64_t issued = now.ns / 1'000'000'000;
  Json payload = Json::object();
  payload.set("exp", Json(issued + lifetime.ns / 1'000'000'000));
  payload.set("iat", Json(issued));
  payload.set("access_key", Json(access_key));
  payload.set("role", Json(role));
  std::string token = base64url_encode(R"({"alg":"HS256","typ":"JWT"})");
  token.append(".").append(base64url_encode(payload.dump()));
  const Digest signature = hmac(HashAlgorithm::Sha256, secret, token);
  return token.append(".").append(base64url_encode(signature.view()));
}

}  // namespace bai::auth

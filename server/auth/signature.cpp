#include "auth/signature.hpp"

#include <algorithm>
#include <array>

#include "auth/jwt.hpp"

namespace bai::auth {
namespace {

constexpr std::string_view kBodyUnsignedSince = "v4.20181215";
constexpr std::string_view kDefaultType = "application/octet-stream";

std::unexpected<Error> bad_params(std::string message) {
  return fail(ErrorCode::InvalidArgument, std::move(message), std::string(kInvalidAuthParams));
}

std::unexpected<Error> denied(std::string message) {
  return fail(ErrorCode::Unauthenticated, std::move(message), std::string(kAuthFailed));
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

struct Presented {
  std::string_view sign_method;
  std::string_view access_key;
  std::string_view signature;
};

// "BackendAI signMethod=HMAC-SHA256, credential=KEY:SIGNATURE"
Result<Presented> parse_authorization(std::string_view header) {
  const auto space = header.find(' ');
  const std::string_view scheme = header.substr(0, space);
  if (space == std::string_view::npos || (scheme != "BackendAI" && scheme != "Sorna")) {
    return bad_params("Authorization must be 'BackendAI signMethod=..., credential=...'");
  }
  Presented out;
  std::optional<std::string_view> method;
  std::optional<std::string_view> credential;
  std::string_view rest = header.substr(space + 1);
  for (bool more = true; more;) {
    const auto comma = rest.find(',');
    const std::string_view part = rest.substr(0, comma);
    more = comma != std::string_view::npos;
    if (more) rest.remove_prefix(comma + 1);
    const auto equals = part.find('=');
    if (equals == std::string_view::npos) {
      return bad_params("Authorization parameters must be of the form key=value");
    }
    const std::string_view name = trim(part.substr(0, equals));
    const std::string_view value = trim(part.substr(equals + 1));
    if (name == "signMethod") method = value;
    if (name == "credential") credential = value;
  }
  if (!method || !credential) {
    return bad_params("Authorization needs the parameters signMethod and credential");
  }
  const auto colon = credential->find(':');
  if (colon == std::string_view::npos) {
    return bad_params("The credential must be 'access key:signature'");
  }
  return Presented{*method, credential->substr(0, colon), credential->substr(colon + 1)};
}

Result<HashAlgorithm> parse_sign_method(std::string_view text) {
  const std::string method = lower(text);
  const auto dash = method.find('-');
  if (dash == std::string::npos || method.find('-', dash + 1) != std::string::npos) {
    return denied("Invalid signature");
  }
  const auto algorithm = parse_hash(std::string_view(method).substr(dash + 1));
  if (method.substr(0, dash) != "hmac" || !algorithm) {
    return bad_params("Unsupported request signing method: " + std::string(text));
  }
  return *algorithm;
}

struct Presence {
  std::string_view raw;
  ParsedTime parsed;
};

Result<Presence> check_date(const AuthInput& input, Timestamp now, Duration window) {
  const auto raw = input.date             ? input.date
                   : input.backendai_date ? input.backendai_date
                                          : input.sorna_date;
  auto parsed = raw ? parse_time(*raw) : std::nullopt;
  if (!parsed || parsed->at <= now - window || parsed->at >= now + window) {
    return bad_params("Date/time sync error");
  }
  return Presence{*raw, std::move(*parsed)};
}

// Path and authority of X-Forwarded-URL; the query is not part of what the client then signs.
void apply_forwarded_url(std::string_view url, std::string_view& target, std::string_view& host) {
  const auto scheme = url.find("://");
  if (scheme == std::string_view::npos) return;
  const std::string_view rest = url.substr(scheme + 3);
  const auto path = std::min(rest.find_first_of("/?#"), rest.size());
  std::string_view authority = rest.substr(0, path);
  if (const auto at = authority.rfind('@'); at != std::string_view::npos) {
    authority.remove_prefix(at + 1);
  }
  host = authority;
  target = rest.substr(path);
  target = target.substr(0, target.find_first_of("?#"));
  if (target.empty()) target = "/";
}

const std::string& empty_hash(HashAlgorithm algorithm) {
  static const auto kHashes = [] {
    std::array<std::string, kHashAlgorithmCount> hashes;
    for (std::size_t i = 0; i < kHashAlgorithmCount; ++i) {
      hashes[i] = hash(static_cast<HashAlgorithm>(i), {}).hex();
    }
    return hashes;
  }();
  return kHashes[static_cast<std::size_t>(algorithm)];
}

std::string cache_name(HashAlgorithm algorithm, std::string_view secret, std::string_view date,
                       std::string_view host) {
  std::string name;
  name.reserve(secret.size() + date.size() + host.size() + 4);
  name += static_cast<char>(algorithm);
  for (const std::string_view part : {date, host, secret}) name.append(part).push_back('\0');
  return name;
}

}  // namespace

std::string canonical_string(const SigningText& text) {
  std::string out;
  out.reserve(256 + text.target.size());
  out.append(text.method).append("\n").append(text.target).append("\n").append(text.date);
  out.append("\nhost:").append(text.host);
  out.append("\ncontent-type:").append(text.content_type).append("\n");
  out.append(text.version_header).append(":").append(text.version).append("\n");
  return out.append(text.body_hash);
}

std::string media_type(std::optional<std::string_view> content_type) {
  if (!content_type) return std::string(kDefaultType);
  const std::string_view type = trim(content_type->substr(0, content_type->find(';')));
  return type.empty() ? std::string(kDefaultType) : lower(type);
}

std::string body_hash(HashAlgorithm algorithm, std::string_view version, std::string_view type,
                      std::string_view body) {
  if (version >= kBodyUnsignedSince || type.starts_with("multipart/")) {
    return empty_hash(algorithm);
  }
  return hash(algorithm, body).hex();
}

Digest signing_key(HashAlgorithm algorithm, std::string_view secret, std::string_view date,
                   std::string_view host) {
  return hmac(algorithm, hmac(algorithm, secret, date).view(), host);
}

std::optional<Digest> SigningKeyCache::find(std::string_view name) const {
  std::scoped_lock lock(mutex_);
  if (const auto young = young_.find(name); young != young_.end()) return young->second;
  if (const auto old = old_.find(name); old != old_.end()) return old->second;
  return std::nullopt;
}

void SigningKeyCache::put(std::string name, const Digest& key) {
  if (capacity_ == 0) return;
  std::scoped_lock lock(mutex_);
  if (young_.size() >= capacity_) {  // whoever is still around comes back by itself
    old_ = std::move(young_);
    young_.clear();
  }
  young_.insert_or_assign(std::move(name), key);
}

std::size_t SigningKeyCache::size() const {
  std::scoped_lock lock(mutex_);
  return young_.size() + old_.size();
}

Result<Identity> Verifier::verify(const AuthInput& input, Timestamp now, const SecretLookup& lookup,
                                  bool trust_forwarded) {
  if (input.token) {
    auto access_key = claimed_access_key(*input.token);
    if (!access_key) return std::unexpected(access_key.error());
    const auto secret = lookup(*access_key);
    if (!secret) return denied("Access key not found");
    auto claims = verify_token(*input.token, *secret, now);
    if (!claims) return std::unexpected(claims.error());
    return Identity{Scheme::Token, std::move(claims->access_key)};
  }
  if (!input.authorization) return Identity{};
  return verify_signature(input, now, lookup, trust_forwarded);
}

// The order of the checks is part of the wire contract: it decides which error a client sees.
Result<Identity> Verifier::verify_signature(const AuthInput& input, Timestamp now,
                                            const SecretLookup& lookup, bool trust_forwarded) {
  const auto date = check_date(input, now, options_.clock_window);
  if (!date) return std::unexpected(date.error());
  const auto presented = parse_authorization(*input.authorization);
  if (!presented) return std::unexpected(presented.error());
  const auto secret = lookup(presented->access_key);
  if (!secret) return denied("Access key not found");
  const auto algorithm = parse_sign_method(presented->sign_method);
  if (!algorithm) return std::unexpected(algorithm.error());
  const auto version = input.version ? input.version : input.sorna_version;
  if (!version) return bad_params("API version missing in request headers");

  std::string_view target = input.target;
  std::string_view host = input.host.value_or(std::string_view{});
  if (input.forwarded_url && trust_forwarded) {
    apply_forwarded_url(*input.forwarded_url, target, host);
  }
  const std::string type = media_type(input.content_type);
  const std::string content_hash = body_hash(*algorithm, *version, type, input.body);
  const std::string text = canonical_string(
      {input.method, target, date->raw, host, type,
       input.version ? "x-backendai-version" : "x-sorna-version", *version, content_hash});

  std::string name = cache_name(*algorithm, *secret, date->parsed.local_date, host);
  const auto cached = cache_.find(name);
  const Digest key =
      cached ? *cached : signing_key(*algorithm, *secret, date->parsed.local_date, host);
  if (!equal_in_constant_time(hmac(*algorithm, key.view(), text).hex(), presented->signature)) {
    return denied("HMAC signature mismatch");
  }
  if (!cached) cache_.put(std::move(name), key);
  return Identity{Scheme::Signature, std::string(presented->access_key)};
}

HeaderList sign(const SignRequest& request, Timestamp now) {
  const std::string date = to_iso8601(now);
  const std::string type = media_type(request.content_type);
  const std::string day = date.substr(0, 4) + date.substr(5, 2) + date.substr(8, 2);
  const std::string content_hash =
      body_hash(request.algorithm, request.version, type, request.body);
  const std::string text =
      canonical_string({request.method, request.target, date, request.host, type,
                        "x-backendai-version", request.version, content_hash});
  const Digest key = signing_key(request.algorithm, request.secret_key, day, request.host);
  std::string method(to_string(request.algorithm));
  for (char& c : method) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  std::string authorization = "BackendAI signMethod=HMAC-" + method + ", credential=";
  authorization.append(request.access_key).append(":");
  authorization.append(hmac(request.algorithm, key.view(), text).hex());
  return {{"Date", date},
          {"X-BackendAI-Version", std::string(request.version)},
          {"Authorization", std::move(authorization)}};
}

}  // namespace bai::auth

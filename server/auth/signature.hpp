// Request signatures of the client wire: the server verifies with the code that the client signs
// with.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "auth/digest.hpp"
#include "auth/version.hpp"
#include "bai_manager/result.hpp"
#include "bai_manager/time.hpp"

namespace bai::auth {

// What of a request takes part in authentication. Views into the request; absent headers are
// empty optionals.
struct AuthInput {
  using Text = std::optional<std::string_view>;
  std::string_view method;
  std::string_view target;  // exactly as on the request line
  std::string_view body;    // read only for versions before v4.20181215
  Text host;
  Text content_type;
  Text authorization;
  Text token;  // X-BackendAI-Token
  Text date;
  Text backendai_date;
  Text sorna_date;
  Text version;  // X-BackendAI-Version
  Text sorna_version;
  Text forwarded_url;
};

// `find(name)` returns a `const std::string*`, null when the header is absent.
template <class Find>
AuthInput collect(std::string_view method, std::string_view target, std::string_view body,
                  Find&& find) {
  const auto text = [&](std::string_view name) -> AuthInput::Text {
    const std::string* value = find(name);
    if (!value) return std::nullopt;
    return std::string_view(*value);
  };
  return {method,
          target,
          body,
          text("Host"),
          text("Content-Type"),
          text("Authorization"),
          text("X-BackendAI-Token"),
          text("Date"),
          text("X-BackendAI-Date"),
          text("X-Sorna-Date"),
          text("X-BackendAI-Version"),
          text("X-Sorna-Version"),
          text("X-Forwarded-URL")};
}

// The text under the signature, its pieces already chosen and normalised.
struct SigningText {
  std::string_view method;
  std::string_view target;
  std::string_view date;  // literal
  std::string_view host;
  std::string_view content_type;  // media type in lower case, no parameters
  std::string_view version_header = "x-backendai-version";
  std::string_view version;
  std::string_view body_hash;  // hexadecimal
};
std::string canonical_string(const SigningText& text);

// "text/plain; charset=utf-8" gives "text/plain"; "application/octet-stream" when there is none.
std::string media_type(std::optional<std::string_view> content_type);
// What `body_hash` must be: of the empty string since v4.20181215 (compared as text) and for
// multipart bodies.
std::string body_hash(HashAlgorithm algorithm, std::string_view version, std::string_view type,
                      std::string_view body);
// HMAC(HMAC(secret, YYYYMMDD), host).
Digest signing_key(HashAlgorithm algorithm, std::string_view secret, std::string_view date,
                   std::string_view host);

// Derived keys of recent requests. Thread-safe. At most two generations of `capacity` keys; keys
// enter only with a signature that was right, so that a stranger cannot wash it out.
class SigningKeyCache {
 public:
  explicit SigningKeyCache(std::size_t capacity = 4096) : capacity_(capacity) {}
  std::optional<Digest> find(std::string_view name) const;
  void put(std::string name, const Digest& key);
  std::size_t size() const;

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  using Map = std::unordered_map<std::string, Digest, Hash, std::equal_to<>>;
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  Map young_;
  Map old_;
};

enum class Scheme {
  Anonymous,  // nothing was presented: the route decides
  Signature,
  Token,
};

struct Identity {
  Scheme scheme = Scheme::Anonymous;
  std::string access_key;  // empty when anonymous
};

// The kinds of the errors below.
inline constexpr std::string_view kInvalidAuthParams = "invalid-auth-params";  // 400
inline constexpr std::string_view kAuthFailed = "auth-failed";                 // 401

struct VerifierOptions {
  Duration clock_window = seconds(15 * 60);  // both ways, exclusive
  std::size_t cached_keys = 4096;
};

// Verifies signatures and tokens. Thread-safe.
class Verifier {
 public:
  // The secret of an active keypair, or nothing.
  using SecretLookup = std::function<std::optional<std::string>(std::string_view access_key)>;

  explicit Verifier(VerifierOptions options = {})
      : options_(options), cache_(options.cached_keys) {}

  // `trust_forwarded` says whether this peer's X-Forwarded-URL counts (see client_ip.hpp).
  // InvalidArgument with kind `invalid-auth-params`: date, header syntax, algorithm or version.
  // Unauthenticated with kind `auth-failed`: unknown key, wrong signature, bad token.
  Result<Identity> verify(const AuthInput& input, Timestamp now, const SecretLookup& lookup,
                          bool trust_forwarded = true);

  std::size_t cached_keys() const { return cache_.size(); }

 private:
  Result<Identity> verify_signature(const AuthInput& input, Timestamp now,
                                    const SecretLookup& lookup, bool trust_forwarded);
  VerifierOptions options_;
  SigningKeyCache cache_;
};

// What a client adds to a request.
struct SignRequest {
  std::string_view method{};
  std::string_view target{};  // path and query as they will be on the request line
  std::string_view host{};    // as in the Host header, with the port when there is one
  std::string_view access_key{};
  std::string_view secret_key{};
  std::optional<std::string_view> content_type{};  // none for requests without the header
  std::string_view version = kCurrentVersion;
  HashAlgorithm algorithm = HashAlgorithm::Sha256;
  std::string_view body{};  // read only for versions before v4.20181215
};
using HeaderList = std::vector<std::pair<std::string, std::string>>;

// Date (ISO-8601 with microseconds), X-BackendAI-Version and Authorization.
HeaderList sign(const SignRequest& request, Timestamp now);

}  // namespace bai::auth

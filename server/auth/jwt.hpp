// The token variant of authentication: a JWT signed with the user's own secret key.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bai_manager/result.hpp"
#include "bai_manager/time.hpp"

namespace bai::auth {

struct TokenClaims {
  std::string access_key;
  std::string role;           // user, admin or superadmin
  std::int64_t issued_s = 0;  // seconds since the epoch
  std::int64_t expires_s = 0;
};

inline constexpr Duration kTokenLifetime = seconds(900);
inline constexpr std::size_t kMaxTokenBytes = 8 * 1024;

// All failures are Unauthenticated with kind "auth-failed".
// The access key that the token claims, nothing verified: only for finding the secret.
Result<std::string> claimed_access_key(std::string_view token);
// HS256 only; signature, claims and expiry.
Result<TokenClaims> verify_token(std::string_view token, std::string_view secret, Timestamp now);

std::string make_token(std::string_view access_key, std::string_view role, std::string_view secret,
                       Timestamp now, Duration lifetime = kTokenLifetime);

}  // namespace bai::auth

// CURVE key pairs as agents and managers store them: certificate files of pyzmq.
#pragma once

#include <string>
#include <string_view>

#include "bai_manager/result.hpp"

namespace bai::server {

inline constexpr std::size_t kCurveKeyChars = 40;  // Z85 text of 32 bytes

struct CurveKeyPair {
  std::string public_key, secret_key;  // Z85; both empty: no CURVE
  bool empty() const noexcept { return public_key.empty(); }
};

bool is_curve_key(std::string_view text) noexcept;

// Text with `public-key = "..."` and, in *.key_secret files, `secret-key = "..."`; `#` starts a
// comment. InvalidArgument names the line or the key that is missing or malformed.
Result<CurveKeyPair> parse_curve_certificate(std::string_view text, bool need_secret);
// Unavailable when the file cannot be read; its size is limited to 64 KiB.
Result<CurveKeyPair> load_curve_certificate(const std::string& path, bool need_secret);
// Internal when libzmq was built without CURVE.
Result<CurveKeyPair> generate_curve_key_pair();

}  // namespace bai::server

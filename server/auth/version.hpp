// API versions of the client wire: which ones are accepted and which one two sides agree on.
#pragma once

#include <compare>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "bai_manager/result.hpp"

namespace bai::auth {

inline constexpr std::string_view kCurrentVersion = "v9.20250722";

struct ApiVersion {
  int major = 0;
  int date = 0;  // YYYYMMDD
  friend auto operator<=>(const ApiVersion&, const ApiVersion&) = default;
};

// What a request without any version header is treated as.
inline constexpr ApiVersion kUnnamedVersion{5, 20191215};

// "v<major>.<YYYYMMDD>" and nothing else.
std::optional<ApiVersion> parse_version(std::string_view text);
std::string to_string(ApiVersion version);

// Oldest first.
std::span<const std::string_view> accepted_versions() noexcept;

// The version a request asks for: X-BackendAI-Version, else X-Sorna-Version, else the unnamed one.
// InvalidArgument with kind "generic-bad-request" when it is not an accepted one.
Result<ApiVersion> requested_version(std::optional<std::string_view> backendai,
                                     std::optional<std::string_view> sorna);

// What both sides speak: the older of the two.
ApiVersion negotiate(ApiVersion ours, ApiVersion theirs) noexcept;

}  // namespace bai::auth

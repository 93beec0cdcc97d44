#include "auth/version.hpp"

#include <algorithm>
#include <cstdio>

namespace bai::auth {
namespace {

constexpr std::string_view kAccepted[] = {
    "v4.20181215", "v4.20190115", "v4.20190315", "v4.20190615",   "v5.20191215",
    "v6.20200815", "v6.20220315", "v6.20220615", "v6.20221201",   "v6.20230315",
    "v7.20230615", "v8.20240315", "v8.20240915", kCurrentVersion,
};

std::optional<int> parse_digits(std::string_view text) {
  if (text.empty() || text.size() > 8) return std::nullopt;
  int value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

}  // namespace

std::optional<ApiVersion> parse_version(std::string_view text) {
  if (!text.starts_with('v')) return std::nullopt;
  const auto dot = text.find('.');
  if (dot == std::string_view::npos || text.size() - dot - 1 != 8) return std::nullopt;
  const auto major = parse_digits(text.substr(1, dot - 1));
  const auto date = parse_digits(text.substr(dot + 1));
  if (!major || !date) return std::nullopt;
  return ApiVersion{*major, *date};
}

std::string to_string(ApiVersion version) {
  char text[32];
  std::snprintf(text, sizeof text, "v%d.%08d", version.major, version.date);
  return text;
}

std::span<const std::string_view> accepted_versions() noexcept { return kAccepted; }

Result<ApiVersion> requested_version(std::optional<std::string_view> backendai,
                                     std::optional<std::string_view> sorna) {
  const auto text = backendai ? backendai : sorna;
  if (!text) return kUnnamedVersion;
  if (std::ranges::find(kAccepted, *text) == std::end(kAccepted)) {
    return fail(ErrorCode::InvalidArgument, "Unsupported API version.", "generic-bad-request");
  }
  return *parse_version(*text);
}

ApiVersion negotiate(ApiVersion ours, ApiVersion theirs) noexcept { return std::min(ours, theirs); }

}  // namespace bai::auth

// Small pieces of HTTP text handling.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.hpp"

namespace bai::http {

bool iequals(std::string_view a, std::string_view b) noexcept;  // ASCII case
std::string to_lower(std::string_view text);                    // ASCII case
std::string_view trim(std::string_view text) noexcept;          // spaces and tabs
bool is_token(std::string_view text) noexcept;                  // RFC 9110 token, not empty
bool is_utf8(std::string_view text) noexcept;
std::string replace_invalid_utf8(std::string text);  // by U+FFFD

// Strict: empty for a '%' without two hex digits.
std::optional<std::string> percent_decode(std::string_view text);
// As browsers and Python do for queries: '+' is a space, a broken escape stays as it is.
std::string query_decode(std::string_view text);
// Everything but unreserved characters as %XX.
std::string percent_encode(std::string_view text);
Query parse_query(std::string_view text);

std::string_view status_text(int status) noexcept;
// By file extension; "application/octet-stream" when unknown.
std::string content_type_of(std::string_view path);
// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string http_date(std::int64_t unix_seconds);

struct ByteRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;  // inclusive
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};
// One range of a `Range: bytes=...` header against a body of `size` bytes. Unsatisfiable when the
// range lies behind the end; Whole when there is no header, or one to be ignored (other units,
// several ranges, bad syntax).
enum class RangeKind { Whole, Part, Unsatisfiable };
RangeKind parse_range(std::string_view header, std::uint64_t size, ByteRange& out);

}  // namespace bai::http

// Points in time and lengths of time. The library never reads a clock except through `Clock`.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bai {

struct Duration {
  std::int64_t ns = 0;
  friend constexpr auto operator<=>(Duration, Duration) = default;
  constexpr std::int64_t ms() const noexcept { return ns / 1'000'000; }
  constexpr double seconds() const noexcept { return static_cast<double>(ns) / 1e9; }
};

constexpr Duration nanoseconds(std::int64_t n) noexcept { return {n}; }
constexpr Duration microseconds(std::int64_t n) noexcept { return {n * 1'000}; }
constexpr Duration milliseconds(std::int64_t n) noexcept { return {n * 1'000'000}; }
constexpr Duration seconds(std::int64_t n) noexcept { return {n * 1'000'000'000}; }

struct Timestamp {  // UTC, nanoseconds since the Unix epoch; 0 means "never"
  std::int64_t ns = 0;
  friend constexpr auto operator<=>(Timestamp, Timestamp) = default;
};

constexpr Timestamp operator+(Timestamp t, Duration d) noexcept { return {t.ns + d.ns}; }
constexpr Timestamp operator-(Timestamp t, Duration d) noexcept { return {t.ns - d.ns}; }
constexpr Duration operator-(Timestamp a, Timestamp b) noexcept { return {a.ns - b.ns}; }
constexpr Duration operator+(Duration a, Duration b) noexcept { return {a.ns + b.ns}; }
constexpr Duration operator-(Duration a, Duration b) noexcept { return {a.ns - b.ns}; }
constexpr Duration operator*(Duration a, std::int64_t n) noexcept { return {a.ns * n}; }

// "2026-08-01T12:34:56.789012+00:00": always UTC with microseconds.
std::string to_iso8601(Timestamp t);

struct ParsedTime {
  Timestamp at;
  std::string local_date;  // "YYYYMMDD" in the zone that was written
};
// ISO-8601 (with `T` or a space, optional fraction, `Z` or an offset; no zone means UTC) and
// RFC 1123 ("Sat, 01 Aug 2026 12:34:56 GMT").
std::optional<ParsedTime> parse_time(std::string_view text);

}  // namespace bai

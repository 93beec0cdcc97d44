#include "bai_manager/time.hpp"

using namespace bai;

namespace {

std::string utc(std::string_view text) {
  const auto parsed = parse_time(text);
  return parsed ? to_iso8601(parsed->at) : "refused";
}

}  // namespace

TEST_CASE("points in time are written in UTC with microseconds") {
  CHECK(to_iso8601({0}) == "1970-01-01T00:00:00.000000+00:00");
  CHECK(to_iso8601({1'785'587'696'789'012'999}) == "2026-08-01T12:34:56.789012+00:00");
  CHECK(to_iso8601({-1}) == "1969-12-31T23:59:59.999999+00:00");
  CHECK(to_iso8601({951'782'400'000'000'000}) == "2000-02-29T00:00:00.000000+00:00");
  CHECK(to_iso8601({std::numeric_limits<std::int64_t>::max()}).starts_with("2262-04-11T"));
  CHECK(to_iso8601({std::numeric_limits<std::int64_t>::min()}).starts_with("1677-09-21T"));
}

TEST_CASE("ISO 8601 in its usual forms") {
  const std::string expected = "2026-08-01T12:34:56.000000+00:00";
  CHECK(utc("2026-08-01T12:34:56") == expected);
  CHECK(utc("2026-08-01 12:34:56Z") == expected);
  CHECK(utc("2026-08-01t12:34:56z") == expected);
  CHECK(utc("20260801T123456Z") == expected);
  CHECK(utc("20260801T12:34:56Z") == expected);
  CHECK(utc("2026-08-01T21:34:56+09:00") == expected);
  CHECK(utc("2026-08-01 21:34:56 +0900") == expected);
  CHECK(utc("2026-08-01T05:34:56-07") == expected);
  CHECK(utc(" 2026-08-01T12:34:56.000+00:00 ") == expected);
  CHECK(utc("2026-08-01T12:34Z") == "2026-08-01T12:34:00.000000+00:00");
  CHECK(utc("2026-08-01T12:34:56.7890129999Z") == "2026-08-01T12:34:56.789012+00:00");
  CHECK(parse_time("2026-08-01T00:00:00.123456789Z")->at.ns % 1'000'000'000 == 123'456'789);
}

TEST_CASE("RFC 1123") {
  CHECK(utc("Sat, 01 Aug 2026 12:34:56 GMT") == "2026-08-01T12:34:56.000000+00:00");
  CHECK(utc("Sat, 1 Aug 2026 12:34:56 +0900") == "2026-08-01T03:34:56.000000+00:00");
}

TEST_CASE("the local date is that of the zone that was written") {
  CHECK(parse_time("2026-08-01T01:00:00+09:00")->local_date == "20260801");
  CHECK(parse_time("2026-08-01T01:00:00+09:00")->at < parse_time("2026-08-01T00:00:00Z")->at);
  CHECK(parse_time("Fri, 31 Jul 2026 23:30:00 -0100")->local_date == "20260731");
}

TEST_CASE("what is no time is refused") {
  for (const char* text : {"",
                           "now",
                           "2026",
                           "2026-08-01",
                           "2026-13-01T00:00:00Z",
                           "2026-02-29T00:00:00Z",
                           "2026-00-10T00:00:00Z",
                           "2026-08-01T24:00:00Z",
                           "2026-08-01T12:60:00Z",
                           "2026-08-01T12:34:60Z",
                           "2026-08-01T12:34:56.Z",
                           "2026-08-01T12:34:56+9",
                           "2026-08-01T12:34:56+24:00",
                           "2026-08-01T12:34:56 EST",
                           "2026-08-01T12:34:56Zjunk",
                           "2026-0801T12:34:56Z",
                           "1500-01-01T00:00:00Z",
                           "9999-01-01T00:00:00Z",
                           "Xyz, 01 Aug 2026 12:34:56 GMT",
                           "Sat, 01 Foo 2026 12:34:56 GMT",
                           "01/08/2026 12:34"}) {
    INFO(text);
    CHECK(!parse_time(text).has_value());
  }
}

TEST_CASE("every day of the range reads back") {
  for (std::int64_t day = -106'000; day < 106'000; day += 37) {
    const Timestamp t{day * 86'400'000'000'000 + 3'723'000'001'000};
    CHECK(parse_time(to_iso8601(t))->at == t);
  }
}

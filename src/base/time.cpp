#include "bai_manager/time.hpp"

#include <array>
#include <chrono>

#include "base/text.hpp"

namespace bai {

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kSecondsPerDay = 86'400;
constexpr int kFirstYear = 1678;  // int64 nanoseconds reach from 1677-09 to 2262-04
constexpr int kLastYear = 2261;
constexpr std::array<std::string_view, 12> kMonths = {"jan", "feb", "mar", "apr", "may", "jun",
                                                      "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::array<std::string_view, 7> kWeekdays = {"mon", "tue", "wed", "thu",
                                                       "fri", "sat", "sun"};

struct Fields {
  int year = 0, month = 0, day = 0;
  int hour = 0, minute = 0, second = 0;
  std::int64_t nanosecond = 0;
  int offset_minutes = 0;  // east of UTC is positive
};

// Reads `text` from the left; every call either consumes what it names or leaves the cursor alone.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}
  bool done() const noexcept { return rest_.empty(); }
  bool at_digit() const noexcept { return !rest_.empty() && base::is_digit(rest_.front()); }
  bool take(char c) noexcept {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void skip_spaces() noexcept {
    while (take(' ')) {
    }
  }
  // Exactly `width` digits.
  bool number(std::size_t width, int& out) noexcept {
    if (rest_.size() < width) return false;
    int value = 0;
    for (char c : rest_.substr(0, width)) {
      if (!base::is_digit(c)) return false;
      value = value * 10 + (c - '0');
    }
    rest_.remove_prefix(width);
    out = value;
    return true;
  }
  std::string letters() {
    std::string out;
    while (!rest_.empty()) {
      const char c = base::to_lower(rest_.front());
      if (c < 'a' || c > 'z') break;
      out += c;
      rest_.remove_prefix(1);
    }
    return out;
  }
  // Digits behind the decimal point, as nanoseconds; finer ones are dropped.
  bool fraction(std::int64_t& ns) noexcept {
    if (!at_digit()) return false;
    std::int64_t unit = kSecond / 10;
    ns = 0;
    while (at_digit()) {
      ns += unit * (rest_.front() - '0');
      unit /= 10;
      rest_.remove_prefix(1);
    }
    return true;
  }

 private:
  std::string_view rest_;
};

template <std::size_t N>
int index_of(const std::array<std::string_view, N>& names, std::string_view name) {
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<int>(i);
  }
  return -1;
}

// "", "Z", "UTC", "GMT", "+09:00", "+0900", "+09"
bool parse_zone(Cursor& in, Fields& f) {
  in.skip_spaces();
  if (in.done()) return true;
  int sign = 0;
  if (in.take('+')) sign = 1;
  if (sign == 0 && in.take('-')) sign = -1;
  if (sign == 0) {
    const std::string name = in.letters();
    return (name == "z" || name == "utc" || name == "gmt") && in.done();
  }
  int hours = 0, minutes = 0;
  if (!in.number(2, hours)) return false;
  const bool colon = in.take(':');
  if ((colon || !in.done()) && !in.number(2, minutes)) return false;
  if (hours > 23 || minutes > 59) return false;
  f.offset_minutes = sign * (hours * 60 + minutes);
  return in.done();
}

// "12:34", "12:34:56", "12:34:56.789", "123456"
bool parse_clock(Cursor& in, Fields& f) {
  if (!in.number(2, f.hour)) return false;
  const bool colon = in.take(':');
  if (!in.number(2, f.minute)) return false;
  if (colon ? in.take(':') : in.at_digit()) {
    if (!in.number(2, f.second)) return false;
    if ((in.take('.') || in.take(',')) && !in.fraction(f.nanosecond)) return false;
  }
  return true;
}

bool parse_iso(Cursor in, Fields& f) {
  if (!in.number(4, f.year)) return false;
  const bool hyphen = in.take('-');
  if (!in.number(2, f.month) || (hyphen && !in.take('-')) || !in.number(2, f.day)) return false;
  if (!in.take('T') && !in.take('t') && !in.take(' ')) return false;
  return parse_clock(in, f) && parse_zone(in, f);
}

bool parse_rfc1123(Cursor in, Fields& f) {
  if (!in.at_digit()) {
    if (index_of(kWeekdays, in.letters()) < 0 || !in.take(',')) return false;
    in.skip_spaces();
  }
  if (!in.number(2, f.day) && !in.number(1, f.day)) return false;
  if (!in.take(' ')) return false;
  f.month = index_of(kMonths, in.letters()) + 1;
  if (!in.take(' ') || !in.number(4, f.year) || !in.take(' ')) return false;
  return parse_clock(in, f) && parse_zone(in, f);
}

std::string two(unsigned value) {
  return {static_cast<char>('0' + value / 10), static_cast<char>('0' + value % 10)};
}

std::string date_text(std::chrono::year_month_day date, std::string_view separator) {
  std::string out = std::to_string(static_cast<int>(date.year()));
  out += separator;
  out += two(static_cast<unsigned>(date.month()));
  out += separator;
  return out + two(static_cast<unsigned>(date.day()));
}

std::optional<ParsedTime> resolve(const Fields& f) {
  const std::chrono::year_month_day date{std::chrono::year{f.year},
                                         std::chrono::month{static_cast<unsigned>(f.month)},
                                         std::chrono::day{static_cast<unsigned>(f.day)}};
  if (!date.ok() || f.year < kFirstYear || f.year > kLastYear) return std::nullopt;
  if (f.hour > 23 || f.minute > 59 || f.second > 59) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days{date}.time_since_epoch().count();
  const std::int64_t seconds =
      days * kSecondsPerDay + f.hour * 3600 + (f.minute - f.offset_minutes) * 60 + f.second;
  return ParsedTime{Timestamp{seconds * kSecond + f.nanosecond}, date_text(date, "")};
}

}  // namespace

std::string to_iso8601(Timestamp t) {
  std::int64_t seconds = t.ns / kSecond;
  std::int64_t rest = t.ns % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --seconds;
  }
  std::int64_t days = seconds / kSecondsPerDay;
  std::int64_t clock = seconds % kSecondsPerDay;
  if (clock < 0) {
    clock += kSecondsPerDay;
    --days;
  }
  const std::chrono::year_month_day date{std::chrono::sys_days{std::chrono::days{days}}};
  std::string out = date_text(date, "-");
  out += 'T';
  out += two(static_cast<unsigned>(clock / 3600));
  out += ':';
  out += two(static_cast<unsigned>(clock / 60 % 60));
  out += ':';
  out += two(static_cast<unsigned>(clock % 60));
  const std::string micros = std::to_string(rest / 1000);
  out += '.';
  out.append(6 - micros.size(), '0');
  return out + micros + "+00:00";
}

std::optional<ParsedTime> parse_time(std::string_view text) {
  const Cursor cursor(base::trim(text));
  Fields iso;
  if (parse_iso(cursor, iso)) return resolve(iso);
  Fields http;
  if (parse_rfc1123(cursor, http)) return resolve(http);
  return std::nullopt;
}

}  // namespace bai

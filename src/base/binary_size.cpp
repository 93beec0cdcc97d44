// Sizes as people write them. Integers only: "1.1k" is exact arithmetic, cut at the byte.
#include <algorithm>
#include <array>
#include <optional>

#include "bai_manager/resources.hpp"
#include "base/text.hpp"

namespace bai {

namespace {

__extension__ typedef unsigned __int128 Wide;  // NOLINT(modernize-use-using): no such extension

constexpr std::int64_t kInfinite = std::numeric_limits<std::int64_t>::max();
constexpr std::string_view kUnits = "kmgtpezy";  // 1024^1 and up
constexpr std::array<std::string_view, 4> kEndings = {"b", "byte", "bytes", ""};
constexpr std::size_t kLargestFormatUnit = 6;  // an int64 stays below 8 e

constexpr Wide unit_size(std::size_t power) noexcept { return Wide{1} << (10 * power); }

std::unexpected<Error> bad_size(std::string_view text, std::string_view why) {
  return fail(ErrorCode::InvalidArgument,
              "Cannot convert " + base::quoted(text) + " to a size: " + std::string(why) +
                  "; right would be \"4g\", \"512m\", \"1.5k\" or a number of bytes",
              "invalid-size");
}

struct Number {
  std::string whole, fraction;  // digits
};

// Digits with `_` between them and an optional fraction; moves `at` behind them.
std::optional<Number> read_number(std::string_view text, std::size_t& at) {
  Number out;
  bool point = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (base::is_digit(c)) {
      (point ? out.fraction : out.whole) += c;
    } else if (c == '.' && !point) {
      point = true;
    } else if (c == '_') {
      const bool inside = at > 0 && base::is_digit(text[at - 1]) && at + 1 < text.size() &&
                          base::is_digit(text[at + 1]);
      if (!inside) return std::nullopt;
    } else {
      break;
    }
  }
  if (out.whole.empty() && out.fraction.empty()) return std::nullopt;
  return out;
}

// "k", "kb", "kib", "kibytes", "b", "bytes", "": the power of 1024, 0 for plain bytes.
std::optional<std::size_t> read_unit(std::string_view unit) {
  const auto is_ending = [](std::string_view rest) {
    return std::find(kEndings.begin(), kEndings.end(), rest) != kEndings.end();
  };
  if (is_ending(unit)) return 0;
  const std::size_t found = kUnits.find(unit.front());
  if (found == std::string_view::npos) return std::nullopt;
  unit.remove_prefix(1);
  const bool binary = !unit.empty() && unit.front() == 'i';
  if (binary) unit.remove_prefix(1);
  if ((binary && unit.empty()) || !is_ending(unit)) return std::nullopt;
  return found + 1;
}

// floor(whole.fraction * size), or nothing when it is not below `kInfinite`.
std::optional<std::int64_t> scale(const Number& number, Wide size) {
  Wide whole = 0;
  for (char c : number.whole) {
    whole = whole * 10 + static_cast<unsigned>(c - '0');
    if (whole >= static_cast<Wide>(kInfinite)) return std::nullopt;
  }
  // Flooring at each digit gives the same as flooring once at the end, and cannot overflow.
  Wide part = 0;
  for (std::size_t i = number.fraction.size(); i-- > 0;) {
    part = (part + size * static_cast<unsigned>(number.fraction[i] - '0')) / 10;
  }
  if (whole != 0 && whole > (Wide{1} << 64) / size) return std::nullopt;
  const Wide total = whole * size + part;
  if (total >= static_cast<Wide>(kInfinite)) return std::nullopt;
  return static_cast<std::int64_t>(total);
}

std::uint64_t magnitude(std::int64_t bytes) noexcept {
  return bytes < 0 ? std::uint64_t{0} - static_cast<std::uint64_t>(bytes)
                   : static_cast<std::uint64_t>(bytes);
}

// value / size with two decimals, rounded half to even, without trailing zeros.
std::string two_decimals(std::uint64_t value, Wide size) {
  const Wide scaled = Wide{value} * 100;
  Wide hundredths = scaled / size;
  const Wide twice = scaled % size * 2;
  if (twice > size || (twice == size && hundredths % 2 == 1)) ++hundredths;
  std::string out = std::to_string(static_cast<std::uint64_t>(hundredths / 100));
  const auto rest = static_cast<unsigned>(hundredths % 100);
  if (rest == 0) return out;
  out += '.';
  out += static_cast<char>('0' + rest / 10);
  if (rest % 10 != 0) out += static_cast<char>('0' + rest % 10);
  return out;
}

std::optional<std::string> infinite_text(std::int64_t value) {
  if (value == kInfinite) return "Infinity";
  if (value == std::numeric_limits<std::int64_t>::min()) return "-Infinity";
  return std::nullopt;
}

}  // namespace

Result<std::int64_t> parse_binary_size(std::string_view text) {
  const std::string expr = base::lower(base::trim(text));
  if (expr == "inf" || expr == "infinite" || expr == "infinity") return kInfinite;
  if (expr.empty()) return bad_size(text, "it is empty");
  std::size_t at = expr.front() == '+' ? 1 : 0;
  if (expr.front() == '-') {
    return fail(ErrorCode::InvalidArgument,
                "The size " + base::quoted(text) + " cannot be negative", "negative-quantity");
  }
  const auto number = read_number(expr, at);
  if (!number) return bad_size(text, "it does not begin with a number");
  const auto power = read_unit(base::trim(std::string_view(expr).substr(at)));
  if (!power) return bad_size(text, "the unit is unknown");
  if (*power == 0 && number->fraction.find_first_not_of('0') != std::string::npos) {
    return bad_size(text, "fractions of a byte are not allowed");
  }
  const auto bytes = scale(*number, unit_size(*power));
  if (!bytes) return bad_size(text, "it is too large (below 8e)");
  return *bytes;
}

std::string format_binary_size(std::int64_t bytes) {
  if (auto text = infinite_text(bytes)) return *text;
  const std::uint64_t value = magnitude(bytes);
  const std::string sign = bytes < 0 ? "-" : "";
  for (std::size_t power = kLargestFormatUnit; power > 0 && value > 0; --power) {
    const auto size = static_cast<std::uint64_t>(unit_size(power));
    if (value % size == 0) return sign + std::to_string(value / size) + kUnits[power - 1];
  }
  return sign + std::to_string(value);
}

std::string format_binary_size_long(std::int64_t bytes) {
  if (auto text = infinite_text(bytes)) return *text;
  const std::uint64_t value = magnitude(bytes);
  const std::string sign = bytes < 0 ? "-" : "";
  if (value < 1024) return sign + std::to_string(value) + (value == 1 ? " byte" : " bytes");
  std::size_t power = 1;
  while (power < kLargestFormatUnit && Wide{value} >= unit_size(power + 1)) ++power;
  std::string unit = " KiB";
  unit[1] = static_cast<char>(kUnits[power - 1] - 'a' + 'A');
  return sign + two_decimals(value, unit_size(power)) + unit;
}

Result<std::string> format_binary_size_as(std::int64_t bytes, char unit) {
  const char letter = base::to_lower(unit);
  const std::size_t found = kUnits.find(letter);
  if (found == std::string_view::npos) {
    return fail(ErrorCode::InvalidArgument,
                "Unknown size unit " + base::quoted(std::string_view(&unit, 1)) +
                    "; right would be one of k, m, g, t, p, e, z, y",
                "invalid-size");
  }
  if (auto text = infinite_text(bytes)) return *text;
  std::string out = bytes < 0 ? "-" : "";
  out += two_decimals(magnitude(bytes), unit_size(found + 1));
  return out + letter;
}

}  // namespace bai

#include "bai_manager/resources.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"

namespace bai {

namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
constexpr int kDecimals = 3;         // of a counted amount
constexpr int kMaxExponent = 1'000;  // "1E+1000000" must not make us loop

constexpr std::array<std::string_view, 4> kTypeNames = {"count", "bytes", "unique", "unified"};

std::unexpected<Error> bad_amount(std::string_view text, std::string_view why) {
  return fail(ErrorCode::InvalidArgument,
              "Cannot convert " + base::quoted(text) + " to an amount: " + std::string(why) +
                  "; right would be \"4\" or \"0.5\"",
              "invalid-amount");
}

// A decimal number as digits times ten to the power of `exponent`.
struct Decimal {
  bool negative = false;
  std::string digits;  // without leading zeros; empty means zero
  int exponent = 0;
};

bool read_exponent(std::string_view text, int& out) {
  bool negative = false;
  if (!text.empty() && (text.front() == '+' || text.front() == '-')) {
    negative = text.front() == '-';
    text.remove_prefix(1);
  }
  if (text.empty()) return false;
  int value = 0;
  for (char c : text) {
    if (!base::is_digit(c)) return false;
    value = std::min(value * 10 + (c - '0'), kMaxExponent);
  }
  out += negative ? -value : value;
  return true;
}

bool read_decimal(std::string_view text, Decimal& out) {
  std::size_t i = 0;
  if (i < text.size() && (text[i] == '+' || text[i] == '-')) out.negative = text[i++] == '-';
  bool point = false, any = false;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    if (base::is_digit(c)) {
      any = true;
      if (c != '0' || !out.digits.empty()) out.digits += c;
      if (point) --out.exponent;
    } else if (c == '.' && !point) {
      point = true;
    } else if (c != '_' || !any || i + 1 >= text.size() || !base::is_digit(text[i + 1])) {
      break;
    }
  }
  if (!any) return false;
  if (i < text.size()) {
    if (base::to_lower(text[i]) != 'e' || !read_exponent(text.substr(i + 1), out.exponent)) {
      return false;
    }
  }
  while (!out.digits.empty() && out.digits.back() == '0') {
    out.digits.pop_back();
    ++out.exponent;
  }
  return true;
}

bool is_infinite_word(std::string_view text) {
  return base::equals_ignoring_case(text, "inf") || base::equals_ignoring_case(text, "infinity") ||
         base::equals_ignoring_case(text, "infinite");
}

std::unexpected<Error> negative_amount(std::string_view text) {
  return fail(ErrorCode::InvalidArgument,
              "The amount " + base::quoted(text) + " cannot be negative", "negative-quantity");
}

Result<Amount> parse_counted(std::string_view text) {
  const std::string_view expr = base::trim(text);
  if (is_infinite_word(expr)) return kInfiniteAmount;
  if (!expr.empty() && expr.front() == '-' && is_infinite_word(expr.substr(1))) {
    return negative_amount(text);
  }
  Decimal number;
  if (!read_decimal(expr, number)) return bad_amount(text, "it is not a number");
  if (number.digits.empty()) return Amount{0};
  if (number.negative) return negative_amount(text);
  if (number.exponent < -kDecimals) return bad_amount(text, "it has more than three decimals");
  std::int64_t units = 0;
  const int shift = number.exponent + kDecimals;
  const auto zeros = static_cast<std::size_t>(shift);
  if (number.digits.size() + zeros > 19) return bad_amount(text, "it is too large");
  for (char c : number.digits + std::string(zeros, '0')) {
    const int digit = c - '0';
    if (units > (kMax - digit) / 10) return bad_amount(text, "it is too large");
    units = units * 10 + digit;
  }
  if (units == kMax) return bad_amount(text, "it is too large");
  return Amount{units};
}

}  // namespace

Amount operator+(Amount a, Amount b) noexcept {
  if (a.is_infinite() || b.is_infinite()) return kInfiniteAmount;
  if (!a.is_finite() || !b.is_finite()) return kMinusInfiniteAmount;
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a.units, b.units, &sum)) return {a.units > 0 ? kMax : kMin};
  return {sum};
}

Amount operator-(Amount a, Amount b) noexcept {
  if (a.is_infinite()) return kInfiniteAmount;
  if (b.is_infinite() || !a.is_finite()) return kMinusInfiniteAmount;
  if (!b.is_finite()) return kInfiniteAmount;
  std::int64_t difference = 0;
  if (__builtin_sub_overflow(a.units, b.units, &difference)) return {b.units < 0 ? kMax : kMin};
  return {difference};
}

std::string_view to_string(SlotType type) noexcept {
  return kTypeNames[static_cast<std::size_t>(type)];
}

Result<SlotType> parse_slot_type(std::string_view text) {
  for (std::size_t i = 0; i < kTypeNames.size(); ++i) {
    if (kTypeNames[i] == text) return static_cast<SlotType>(i);
  }
  return fail(ErrorCode::InvalidArgument,
              "Unknown slot type " + base::quoted(text) +
                  "; right would be one of count, bytes, unique, unified",
              "unknown-slot-type");
}

Result<Amount> parse_amount(SlotType type, std::string_view text) {
  if (type != SlotType::Size) return parse_counted(text);
  auto bytes = parse_binary_size(text);
  if (!bytes) return std::unexpected(std::move(bytes.error()));
  return Amount{*bytes};
}

std::string format_amount(SlotType type, Amount amount) {
  if (!amount.is_finite()) return amount.is_infinite() ? "Infinity" : "-Infinity";
  if (type == SlotType::Size) return std::to_string(amount.units);
  const bool negative = amount.units < 0;
  const std::int64_t units = negative ? -amount.units : amount.units;
  std::string out = negative ? "-" : "";
  out += std::to_string(units / 1000);
  std::string fraction = std::to_string(units % 1000 + 1000).substr(1);
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  return fraction.empty() ? out : out + "." + fraction;
}

std::string format_amount_humanized(SlotType type, Amount amount) {
  return type == SlotType::Size ? format_binary_size(amount.units) : format_amount(type, amount);
}

SlotName split_slot_name(std::string_view name) noexcept {
  SlotName out;
  const std::size_t dot = name.find('.');
  out.device = name.substr(0, dot);
  if (dot == std::string_view::npos) return out;
  const std::string_view rest = name.substr(dot + 1);
  const std::size_t colon = rest.find(':');
  out.major = rest.substr(0, colon);
  if (colon != std::string_view::npos) out.minor = rest.substr(colon + 1);
  return out;
}

// ---- SlotMap ------------------------------------------------------------------------------------

namespace {

template <class Entries>
auto lower(Entries& entries, std::string_view name) {
  return std::lower_bound(entries.begin(), entries.end(), name,
                          [](const auto& entry, std::string_view n) { return entry.first < n; });
}

}  // namespace

SlotMap::SlotMap(std::initializer_list<Entry> entries) {
  for (const Entry& entry : entries) set(entry.first, entry.second);
}

Amount SlotMap::get(std::string_view name) const noexcept {
  const auto it = lower(entries_, name);
  return it != entries_.end() && it->first == name ? it->second : Amount{};
}

bool SlotMap::contains(std::string_view name) const noexcept {
  const auto it = lower(entries_, name);
  return it != entries_.end() && it->first == name;
}

void SlotMap::set(std::string_view name, Amount amount) {
  const auto it = lower(entries_, name);
  if (it != entries_.end() && it->first == name) {
    it->second = amount;
  } else {
    entries_.insert(it, Entry{std::string(name), amount});
  }
}

void SlotMap::erase(std::string_view name) {
  const auto it = lower(entries_, name);
  if (it != entries_.end() && it->first == name) entries_.erase(it);
}

void SlotMap::prune_zeros() {
  std::erase_if(entries_, [](const Entry& entry) { return entry.second == Amount{}; });
}

SlotMap& SlotMap::operator+=(const SlotMap& other) {
  if (&other == this) return *this = *this + SlotMap(other);
  for (const auto& [name, amount] : other) set(name, get(name) + amount);
  return *this;
}

SlotMap& SlotMap::operator-=(const SlotMap& other) {
  if (&other == this) return *this = *this - SlotMap(other);
  for (const auto& [name, amount] : other) set(name, get(name) - amount);
  return *this;
}

bool SlotMap::fits_in(const SlotMap& other) const noexcept {
  const auto fits = [&](const Entry& entry) { return entry.second <= other.get(entry.first); };
  // A negative amount on the other side is below our missing zero.
  const auto not_below = [&](const Entry& entry) { return get(entry.first) <= entry.second; };
  return std::all_of(begin(), end(), fits) && std::all_of(other.begin(), other.end(), not_below);
}

bool SlotMap::equivalent(const SlotMap& other) const noexcept {
  const auto same = [](const SlotMap& a, const SlotMap& b) {
    return std::all_of(a.begin(), a.end(),
                       [&](const Entry& entry) { return entry.second == b.get(entry.first); });
  };
  return same(*this, other) && same(other, *this);
}

bool SlotMap::equal_within(const SlotMap& other) const noexcept {
  return std::all_of(begin(), end(),
                     [&](const Entry& entry) { return entry.second == other.get(entry.first); });
}

// ---- SlotTypes ----------------------------------------------------------------------------------

SlotTypes::SlotTypes() {
  constexpr std::array<std::string_view, 13> kCounted = {
      "atom-max.device", "atom-plus.device", "atom.device",           "cpu",        "cuda.device",
      "cuda.shares",     "gaudi2.device",    "hyperaccel-lpu.device", "ipu.device", "rngd.device",
      "rocm.device",     "tpu.device",       "warboy.device"};
  for (std::string_view name : kCounted) types_.emplace_back(name, SlotType::Count);
  types_.insert(lower(types_, "mem"), {"mem", SlotType::Size});
}

Status SlotTypes::add(std::string_view name, SlotType type) {
  if (name.empty()) return fail(ErrorCode::InvalidArgument, "A slot needs a name");
  const auto it = lower(types_, name);
  if (it == types_.end() || it->first != name) {
    types_.insert(it, {std::string(name), type});
    return {};
  }
  if (it->second == type) return {};
  return fail(ErrorCode::Conflict,
              "The slot " + base::quoted(name) + " is already known as " +
                  std::string(to_string(it->second)) + ", it cannot become " +
                  std::string(to_string(type)),
              "slot-type-conflict");
}

bool SlotTypes::knows(std::string_view name) const noexcept {
  const auto it = lower(types_, name);
  return it != types_.end() && it->first == name;
}

SlotType SlotTypes::type_of(std::string_view name) const noexcept {
  const auto it = lower(types_, name);
  if (it != types_.end() && it->first == name) return it->second;
  return name == "mem" ? SlotType::Size : SlotType::Count;
}

}  // namespace bai

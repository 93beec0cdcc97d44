#include "base/text.hpp"

#include <cstdint>

namespace bai::base {

namespace {

constexpr std::size_t kQuotedMax = 64;

std::uint8_t byte_at(std::string_view text, std::size_t at) noexcept {
  return at < text.size() ? static_cast<std::uint8_t>(text[at]) : std::uint8_t{0};
}

bool is_continuation(std::uint8_t b) noexcept { return (b & 0xC0) == 0x80; }

}  // namespace

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = to_lower(c);
  return out;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (to_lower(a[i]) != to_lower(b[i])) return false;
  }
  return true;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text.substr(0, kQuotedMax)) {
    const auto b = static_cast<std::uint8_t>(c);
    out += b < 0x20 || b == 0x7F ? '?' : c;
  }
  if (text.size() > kQuotedMax) {
    // A cut must not leave half a character behind.
    while (out.size() > 1 && !is_utf8(std::string_view(out).substr(1))) {
      if (out.size() + 3 < kQuotedMax) break;
      out.pop_back();
    }
    out += "...";
  }
  return out + '"';
}

std::size_t utf8_length(std::string_view text, std::size_t at) noexcept {
  const std::uint8_t b0 = byte_at(text, at);
  if (b0 < 0x80) return 1;
  const std::uint8_t b1 = byte_at(text, at + 1);
  if (b0 < 0xC2 || !is_continuation(b1)) return 0;
  if (b0 < 0xE0) return 2;
  if (!is_continuation(byte_at(text, at + 2))) return 0;
  if (b0 < 0xF0) {
    if (b0 == 0xE0 && b1 < 0xA0) return 0;  // could be shorter
    if (b0 == 0xED && b1 > 0x9F) return 0;  // surrogate
    return 3;
  }
  if (!is_continuation(byte_at(text, at + 3))) return 0;
  if (b0 > 0xF4 || (b0 == 0xF0 && b1 < 0x90) || (b0 == 0xF4 && b1 > 0x8F)) return 0;
  return 4;
}

bool is_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t n = utf8_length(text, i);
    if (n == 0) return false;
    i += n;
  }
  return true;
}

}  // namespace bai::base

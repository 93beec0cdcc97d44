// Small text helpers. ASCII only: they never look at the locale.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bai::base {

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }
constexpr char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string_view trim(std::string_view text) noexcept;
std::string lower(std::string_view text);
bool equals_ignoring_case(std::string_view a, std::string_view b) noexcept;

// Text for an error message: in quotes, cut after 64 bytes, control bytes shown as '?'.
std::string quoted(std::string_view text);

// Length of the well-formed UTF-8 sequence at `text[at]` (1-4), or 0 when it is malformed.
std::size_t utf8_length(std::string_view text, std::size_t at) noexcept;
bool is_utf8(std::string_view text) noexcept;

}  // namespace bai::base

#include "bai_manager/ids.hpp"

#include <algorithm>

namespace bai {

namespace {

constexpr char kHex[] = "0123456789abcdef";

int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// A hyphen goes in front of these bytes.
constexpr bool hyphen_before(std::size_t byte) noexcept {
  return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

}  // namespace

std::string uuid_to_string(const std::array<std::uint8_t, 16>& bytes) {
  std::string out;
  out.reserve(36);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (hyphen_before(i)) out += '-';
    out += kHex[bytes[i] >> 4];
    out += kHex[bytes[i] & 0x0F];
  }
  return out;
}

std::optional<std::array<std::uint8_t, 16>> parse_uuid_bytes(std::string_view text) {
  const bool hyphenated = text.size() == 36;
  if (!hyphenated && text.size() != 32) return std::nullopt;
  std::array<std::uint8_t, 16> bytes{};
  std::size_t at = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (hyphenated && hyphen_before(i) && text[at++] != '-') return std::nullopt;
    const int high = hex_value(text[at]);
    const int low = hex_value(text[at + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
    at += 2;
  }
  return bytes;
}

std::array<std::uint8_t, 16> mint_uuid_bytes(Timestamp now, Entropy& entropy) {
  constexpr std::int64_t kMs = 1'000'000;
  const std::int64_t ns = std::max<std::int64_t>(now.ns, 0);
  const auto ms = static_cast<std::uint64_t>(ns / kMs);
  const auto rest = static_cast<std::uint64_t>(ns % kMs);  // 20 bits; 54 are random
  const std::uint64_t random = entropy.next();
  std::array<std::uint8_t, 16> bytes{};
  for (std::size_t i = 0; i < 6; ++i) bytes[i] = static_cast<std::uint8_t>(ms >> (40 - 8 * i));
  bytes[6] = static_cast<std::uint8_t>(0x70 | rest >> 16);
  bytes[7] = static_cast<std::uint8_t>(rest >> 8);
  for (std::size_t i = 0; i < 8; ++i)
    bytes[8 + i] = static_cast<std::uint8_t>(random >> (56 - 8 * i));
  bytes[8] = static_cast<std::uint8_t>(0x80 | (rest >> 2 & 0x3F));
  bytes[9] = static_cast<std::uint8_t>((rest & 0x03) << 6 | (bytes[9] & 0x3F));
  return bytes;
}

}  // namespace bai

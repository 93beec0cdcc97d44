// Frames of the event channel; see event_channel.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "agent/value.hpp"

namespace bai::server {

inline constexpr std::string_view kEventFrame = "EVENT", kAckFrame = "ACK";

using SeqBytes = std::array<std::uint8_t, 8>;

inline SeqBytes encode_seq(std::uint64_t seq) noexcept {
  SeqBytes out{};
  for (std::size_t i = out.size(); i-- > 0; seq >>= 8) out[i] = static_cast<std::uint8_t>(seq);
  return out;
}

inline std::optional<std::uint64_t> decode_seq(wire::ByteView bytes) noexcept {
  if (bytes.size() != SeqBytes{}.size()) return std::nullopt;
  std::uint64_t seq = 0;
  for (const std::uint8_t byte : bytes) seq = seq << 8 | byte;
  return seq;
}

}  // namespace bai::server

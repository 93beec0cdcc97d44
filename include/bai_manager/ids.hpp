// Identifier types. Two ids of different kinds never compare or convert.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "bai_manager/env.hpp"

namespace bai {

// 128-bit id. Those minted here are ordered by time, to the nanosecond (RFC 9562 version 7).
template <class Tag>
struct Uuid {
  std::array<std::uint8_t, 16> bytes{};
  friend auto operator<=>(const Uuid&, const Uuid&) = default;
  bool is_nil() const noexcept { return *this == Uuid{}; }
};

std::string uuid_to_string(const std::array<std::uint8_t, 16>& bytes);
// Accepts the hyphenated form and 32 plain hex digits, any case.
std::optional<std::array<std::uint8_t, 16>> parse_uuid_bytes(std::string_view text);
std::array<std::uint8_t, 16> mint_uuid_bytes(Timestamp now, Entropy& entropy);

template <class Tag>
std::string to_string(const Uuid<Tag>& id) {
  return uuid_to_string(id.bytes);
}
template <class Id>
std::optional<Id> parse_uuid(std::string_view text) {
  auto bytes = parse_uuid_bytes(text);
  if (!bytes) return std::nullopt;
  return Id{*bytes};
}
template <class Id>
Id mint(Timestamp now, Entropy& entropy) {
  return Id{mint_uuid_bytes(now, entropy)};
}

// Externally assigned name (agent id, resource group, access key).
template <class Tag>
class Name {
 public:
  Name() = default;
  explicit Name(std::string text) : text_(std::move(text)) {}
  explicit Name(std::string_view text) : text_(text) {}
  explicit Name(const char* text) : text_(text) {}
  const std::string& str() const noexcept { return text_; }
  std::string_view view() const noexcept { return text_; }
  bool empty() const noexcept { return text_.empty(); }
  friend auto operator<=>(const Name&, const Name&) = default;

 private:
  std::string text_;
};

using SessionId = Uuid<struct SessionTag>;
using KernelId = Uuid<struct KernelTag>;
using UserId = Uuid<struct UserTag>;
using ProjectId = Uuid<struct ProjectTag>;
using ImageId = Uuid<struct ImageTag>;
using OperationId = Uuid<struct OperationTag>;
using HistoryId = Uuid<struct HistoryTag>;
using AgentId = Name<struct AgentTag>;
using ResourceGroupName = Name<struct ResourceGroupTag>;
using DomainName = Name<struct DomainTag>;
using AccessKey = Name<struct AccessKeyTag>;
using PolicyName = Name<struct PolicyTag>;

// Increases by one with every published change of state.
struct StateVersion {
  std::uint64_t value = 0;
  friend auto operator<=>(StateVersion, StateVersion) = default;
};

}  // namespace bai

template <class Tag>
struct std::hash<bai::Uuid<Tag>> {
  std::size_t operator()(const bai::Uuid<Tag>& id) const noexcept {
    std::uint64_t low = 0;  // the random half of a version 7 id
    std::memcpy(&low, id.bytes.data() + 8, sizeof low);
    return static_cast<std::size_t>(low * 0x9e3779b97f4a7c15ULL);
  }
};
template <class Tag>
struct std::hash<bai::Name<Tag>> {
  std::size_t operator()(const bai::Name<Tag>& name) const noexcept {
    return std::hash<std::string_view>{}(name.view());
  }
};

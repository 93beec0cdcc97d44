// Resource slots and exact quantities.
#pragma once

#include <compare>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bai_manager/result.hpp"

namespace bai {

class Json;

// An amount in the slot's smallest unit: 1/1000 for counted slots (cores, devices, shares), 1 byte
// for sizes. Integers only, so sums do not depend on the order of addition.
struct Amount {
  std::int64_t units = 0;
  friend constexpr auto operator<=>(Amount, Amount) = default;
  constexpr bool is_infinite() const noexcept {  // no limit
    return units == std::numeric_limits<std::int64_t>::max();
  }
  constexpr bool is_finite() const noexcept {
    return !is_infinite() && units != std::numeric_limits<std::int64_t>::min();
  }
};
inline constexpr Amount kInfiniteAmount{std::numeric_limits<std::int64_t>::max()};
// A value of calculations; nothing that is read as text or asked for is negative.
inline constexpr Amount kMinusInfiniteAmount{std::numeric_limits<std::int64_t>::min()};

// Saturate at the ends of int64; infinity absorbs, minus infinity all but infinity.
Amount operator+(Amount a, Amount b) noexcept;
Amount operator-(Amount a, Amount b) noexcept;

enum class SlotType : std::uint8_t { Count, Size, Unique, Unified };
std::string_view to_string(SlotType type) noexcept;
Result<SlotType> parse_slot_type(std::string_view text);

constexpr std::int64_t units_per_one(SlotType type) noexcept {
  return type == SlotType::Size ? 1 : 1000;
}

// Sizes: "1g", "512k", "1.1k" (truncates), "12_345 bytes", "2 KiBytes", "inf"; powers of 1024.
// A fraction without a unit is refused unless it is zero. InvalidArgument otherwise.
Result<std::int64_t> parse_binary_size(std::string_view text);
std::string format_binary_size(std::int64_t bytes);  // "1g", "512k", "2000": the largest exact unit
std::string format_binary_size_long(std::int64_t bytes);                   // "103.45 KiB", "1 byte"
Result<std::string> format_binary_size_as(std::int64_t bytes, char unit);  // 'k': "1024k"

// Counted: "4", "0.5", "2E+1"; at most three decimals. Bytes: as parse_binary_size or a plain
// integer. "inf"/"Infinity" for limits. Negative amounts are refused.
Result<Amount> parse_amount(SlotType type, std::string_view text);
std::string format_amount(SlotType type, Amount amount);  // "0.5", "1073741824", "Infinity"
std::string format_amount_humanized(SlotType type, Amount amount);  // bytes as "1g"

// Slot names are `device[.major[:minor]]`.
struct SlotName {
  std::string_view device, major, minor;
  bool is_accelerator() const noexcept { return device != "cpu" && device != "mem"; }
};
SlotName split_slot_name(std::string_view name) noexcept;

// Amounts by slot name, ordered by name; a slot that is not listed is zero. A value type.
class SlotMap {
 public:
  using Entry = std::pair<std::string, Amount>;
  SlotMap() = default;
  SlotMap(std::initializer_list<Entry> entries);

  Amount get(std::string_view name) const noexcept;  // zero when absent
  bool contains(std::string_view name) const noexcept;
  void set(std::string_view name, Amount amount);
  void erase(std::string_view name);
  void prune_zeros();
  bool empty() const noexcept { return entries_.empty(); }
  std::size_t size() const noexcept { return entries_.size(); }
  auto begin() const noexcept { return entries_.begin(); }
  auto end() const noexcept { return entries_.end(); }

  SlotMap& operator+=(const SlotMap& other);
  SlotMap& operator-=(const SlotMap& other);
  friend SlotMap operator+(SlotMap a, const SlotMap& b) { return a += b; }
  friend SlotMap operator-(SlotMap a, const SlotMap& b) { return a -= b; }

  // No component of this is greater (missing = 0). A partial order: two maps can be incomparable.
  bool fits_in(const SlotMap& other) const noexcept;
  bool equivalent(const SlotMap& other) const noexcept;  // equal after filling in zeros
  // Every amount listed here is the same there (missing = 0); what only `other` lists is ignored.
  bool equal_within(const SlotMap& other) const noexcept;
  friend bool operator==(const SlotMap&, const SlotMap&) = default;  // same entries

 private:
  std::vector<Entry> entries_;
};

// The slot types a manager knows: those of the reference system's seed, and any that agents report.
class SlotTypes {
 public:
  SlotTypes();  // cpu, mem, cuda.device, cuda.shares, rocm.device, tpu.device, ...
  // The first report of a name decides; a later different type is a Conflict.
  Status add(std::string_view name, SlotType type);
  bool knows(std::string_view name) const noexcept;
  SlotType type_of(std::string_view name) const noexcept;  // unknown: Bytes for "mem", else Count
  auto begin() const noexcept { return types_.begin(); }
  auto end() const noexcept { return types_.end(); }

 private:
  std::vector<std::pair<std::string, SlotType>> types_;  // ordered by name
};

// {"cpu": "2", "mem": "4g"}: text or numbers; null members are dropped. InvalidArgument names the
// slot; kind "unknown-slot-type" for a name that `types` does not know.
Result<SlotMap> parse_slots(const SlotTypes& types, const Json& object);
// The same where no types are known: a name with "mem" in it is one of sizes, every other is
// counted.
Result<SlotMap> parse_untyped_slots(const Json& object);
Json slots_to_json(const SlotTypes& types, const SlotMap& slots);            // "4294967296"
Json slots_to_json_humanized(const SlotTypes& types, const SlotMap& slots);  // "4g"

}  // namespace bai

// A decoded msgpack document. Only for reading what peers sent; encoding streams (msgpack_io.hpp).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bai_manager/agent.hpp"  // Bytes
#include "bai_manager/json.hpp"
#include "bai_manager/result.hpp"

namespace bai::server::wire {

using ByteView = std::span<const std::uint8_t>;

// What one message may cost. Exceeding any of them is an error, never an allocation.
struct Limits {
  std::size_t max_frame_bytes = 64U << 20U;
  int max_depth = 64;                    // arrays and maps inside each other
  std::size_t max_elements = 1'000'000;  // values in one document, keys included
  std::size_t max_map_members = 4096;    // of one map (lookups and Json::set are linear)
};

class Value {
 public:
  struct Ext {
    std::int8_t type = 0;
    Bytes data;
  };
  using Array = std::vector<Value>;
  using Map = std::vector<std::pair<Value, Value>>;
  using Any =
      std::variant<std::monostate, bool, std::int64_t, double, std::string, Bytes, Ext, Array, Map>;

  Value() = default;
  explicit Value(Any value) : value_(std::move(value)) {}

  bool is_null() const noexcept { return value_.index() == 0; }
  // Null unless the value has that type.
  template <class T>
  const T* get() const noexcept {
    return std::get_if<T>(&value_);
  }
  template <class T>
  T* get() noexcept {
    return std::get_if<T>(&value_);
  }
  const Value* find(std::string_view key) const noexcept;  // null unless a map with that text key

 private:
  Any value_;
};

// Exactly one document; Corruption otherwise. Integers above int64 become doubles.
Result<Value> unpack(ByteView bytes, const Limits& limits);

// For people and handlers: bytes and invalid UTF-8 become text with U+FFFD, ids their text, pickled
// enumerators, decimals, sizes and slot names their plain value, other extensions null, and keys
// that are not text their JSON text.
Json to_json(const Value& value);

std::string valid_utf8(std::string_view text);  // invalid bytes replaced with U+FFFD

}  // namespace bai::server::wire

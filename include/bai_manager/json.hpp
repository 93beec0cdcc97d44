// A JSON document as a value: the vocabulary type for free-form data (environments, options,
// results).
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bai_manager/result.hpp"

namespace bai {

// Objects keep the order in which members were added; a repeated key replaces the earlier value.
// Not thread-safe; copying is deep.
class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;

  Json() = default;  // null
  Json(std::nullptr_t) {}
  Json(bool value) : value_(value) {}
  Json(int value) : value_(std::int64_t{value}) {}
  Json(unsigned value) : value_(std::int64_t{value}) {}
  Json(std::int64_t value) : value_(value) {}
  Json(double value) : value_(value) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(Array value) : value_(std::move(value)) {}
  static Json array() { return Json(Array{}); }
  static Json object() {
    Json j;
    j.value_ = Object{};
    return j;
  }
  static Json object(std::initializer_list<Member> members);
  static Json from_members(Object members);  // the keys must differ

  bool is_null() const noexcept { return value_.index() == 0; }
  bool is_bool() const noexcept { return std::holds_alternative<bool>(value_); }
  bool is_int() const noexcept { return std::holds_alternative<std::int64_t>(value_); }
  bool is_number() const noexcept { return is_int() || std::holds_alternative<double>(value_); }
  bool is_string() const noexcept { return std::holds_alternative<std::string>(value_); }
  bool is_array() const noexcept { return std::holds_alternative<Array>(value_); }
  bool is_object() const noexcept { return std::holds_alternative<Object>(value_); }

  // Typed reads: the fallback when the value has another type.
  bool as_bool(bool fallback = false) const noexcept;
  std::int64_t as_int(std::int64_t fallback = 0) const noexcept;  // doubles truncate towards zero
  double as_double(double fallback = 0) const noexcept;
  std::string_view as_string(std::string_view fallback = {}) const noexcept;
  const Array& items() const noexcept;     // empty unless an array
  const Object& members() const noexcept;  // empty unless an object

  const Json* find(std::string_view key) const noexcept;  // null unless an object with that key
  const Json& operator[](std::string_view key) const noexcept;  // the null value when absent
  Json& set(std::string key,
            Json value);  // turns null into an object; replaces; returns the member
  void erase(std::string_view key);
  void push_back(Json value);         // turns null into an array
  std::size_t size() const noexcept;  // elements or members

  friend bool operator==(const Json&, const Json&) = default;

  // Compact UTF-8 text. Doubles that are not finite are written as null.
  std::string dump() const;
  std::string dump_pretty() const;  // two-space indent
  void dump_to(std::string& out) const;

  // Strict RFC 8259, one document, depth at most `kMaxDepth`. InvalidArgument with the byte offset.
  // Integers beyond int64 become doubles. Invalid UTF-8 is refused.
  static constexpr int kMaxDepth = 128;
  static Result<Json> parse(std::string_view text);

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value_;
};

}  // namespace bai

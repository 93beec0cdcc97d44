// Text conditions of search requests: {"equals": ..., "i_contains": ..., "not_starts_with": ...}.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rest/fields.hpp"

namespace bai::server {

inline constexpr std::int64_t kSearchLimitMax = 1000;  // items of one page

class TextFilter {
 public:
  // Reads the object under the name; a plain string means "equals". Complains about operations
  // that do not exist.
  static TextFilter read(Fields& fields, Names names);
  static TextFilter any_of(std::vector<std::string> values);  // in any case; none: matches all

  bool matches(std::string_view text) const;  // every condition holds

 private:
  enum class Op : std::uint8_t { Equals, Contains, StartsWith, EndsWith, In };
  struct Condition {
    Op op = Op::Equals;
    bool negated = false, any_case = false;
    std::vector<std::string> values;  // lower case when any_case
  };
  bool add(std::string_view operation, const Json& value);
  static bool holds(const Condition& condition, std::string_view text);
  std::vector<Condition> conditions_;
};

}  // namespace bai::server

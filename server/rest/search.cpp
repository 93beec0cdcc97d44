#include "rest/search.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "http/text.hpp"

namespace bai::server {

bool TextFilter::add(std::string_view operation, const Json& value) {
  Condition condition;
  std::string_view rest = operation;
  // The wire has both orders: "i_not_contains" and "not_i_contains" never occur together.
  for (int i = 0; i < 2; ++i) {
    if (rest.starts_with("i_")) {
      condition.any_case = true;
      rest.remove_prefix(2);
    } else if (rest.starts_with("not_")) {
      condition.negated = true;
      rest.remove_prefix(4);
    }
  }
  if (rest == "equals") {
    condition.op = Op::Equals;
  } else if (rest == "contains") {
    condition.op = Op::Contains;
  } else if (rest == "starts_with") {
    condition.op = Op::StartsWith;
  } else if (rest == "ends_with") {
    condition.op = Op::EndsWith;
  } else if (rest == "in") {
    condition.op = Op::In;
  } else {
    return false;
  }
  const bool list = condition.op == Op::In;
  if (list ? !value.is_array() : !value.is_string()) return false;
  const auto take = [&](std::string_view text) {
    condition.values.push_back(condition.any_case ? http::to_lower(text) : std::string(text));
  };
  if (list) {
    for (const auto& item : value.items()) take(item.as_string());
  } else {
    take(value.as_string());
  }
  conditions_.push_back(std::move(condition));
  return true;
}

TextFilter TextFilter::read(Fields& fields, Names names) {
  TextFilter out;
  const Json* value = fields.find(names);
  if (!value) return out;
  if (value->is_string()) {
    out.add("equals", *value);
    return out;
  }
  if (!value->is_object()) {
    fields.complain("should be a string or an object of conditions");
    return out;
  }
  for (const auto& [operation, operand] : value->members()) {
    if (operand.is_null() || out.add(operation, operand)) continue;
    fields.complain(fmt::format(
        "'{}' is no condition: equals, contains, starts_with, ends_with or in with text, also "
        "with i_ and not_ in front",
        operation.substr(0, 64)));
  }
  return out;
}

TextFilter TextFilter::any_of(std::vector<std::string> values) {
  TextFilter out;
  if (values.empty()) return out;
  for (auto& value : values) value = http::to_lower(value);
  out.conditions_.push_back({Op::In, false, true, std::move(values)});
  return out;
}

bool TextFilter::holds(const Condition& condition, std::string_view text) {
  std::string lower;
  if (condition.any_case) text = lower = http::to_lower(text);
  const auto one = [&](const std::string& value) {
    switch (condition.op) {
      case Op::Contains:
        return text.find(value) != std::string_view::npos;
      case Op::StartsWith:
        return text.starts_with(value);
      case Op::EndsWith:
        return text.ends_with(value);
      case Op::Equals:
      case Op::In:
        break;
    }
    return text == value;
  };
  return std::ranges::any_of(condition.values, one) != condition.negated;
}

bool TextFilter::matches(std::string_view text) const {
  return std::ranges::all_of(conditions_,
                             [&](const Condition& condition) { return holds(condition, text); });
}

}  // namespace bai::server

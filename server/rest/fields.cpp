#include "rest/fields.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "http/text.hpp"

namespace bai::server {
namespace {

constexpr std::size_t kMaxComplaintBytes = 2000;

std::string_view type_name(const Json& value) noexcept {
  if (value.is_bool()) return "a boolean";
  if (value.is_int()) return "an integer";
  if (value.is_number()) return "a number";
  if (value.is_string()) return "a string";
  if (value.is_array()) return "an array";
  if (value.is_object()) return "an object";
  return "null";
}

template <class Number>
std::optional<Number> parse_number(std::string_view text) noexcept {
  text = http::trim(text);
  Number out{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return out;
}

std::optional<std::int64_t> as_integer(const Json& value) noexcept {
  if (value.is_int()) return value.as_int();
  if (value.is_number()) {
    const double number = value.as_double();
    if (number != std::floor(number) || std::fabs(number) > 9e15) return std::nullopt;
    return static_cast<std::int64_t>(number);
  }
  if (value.is_string()) return parse_number<std::int64_t>(value.as_string());
  return std::nullopt;
}

}  // namespace

Result<Json> parse_body(const http::Request& request, bool may_be_empty) {
  const auto bad = [](std::string message) {
    return fail(ErrorCode::InvalidArgument, std::move(message), "body-malformed");
  };
  if (request.body.empty()) {
    if (may_be_empty) return Json::object();
    return bad("A JSON object is expected as the request body; there is none");
  }
  auto body = Json::parse(request.body);
  if (!body) return bad("The request body is not JSON: " + body.error().message);
  if (body->is_null() && may_be_empty) return Json::object();
  if (!body->is_object()) {
    return bad(fmt::format("The request body must be a JSON object, is {}", type_name(*body)));
  }
  return body;
}

std::optional<bool> parse_flag(std::string_view text) noexcept {
  for (const std::string_view yes : {"true", "t", "yes", "y", "on", "1"}) {
    if (http::iequals(text, yes)) return true;
  }
  for (const std::string_view no : {"false", "f", "no", "n", "off", "0"}) {
    if (http::iequals(text, no)) return false;
  }
  return std::nullopt;
}

std::vector<std::string> Fields::unread() const {
  std::vector<std::string> unread;
  for (const auto& [name, value] : object_.members()) {
    if (std::ranges::find(names_, name) == names_.end()) unread.push_back(name);
  }
  return unread;
}

void Fields::refuse_unread() {
  for (const std::string& name : unread()) complain(name, "is unknown");
}

const Json* Fields::find(Names names) {
  names_.insert(names_.end(), names.begin(), names.end());
  for (const auto name : names) {
    const Json* value = object_.find(name);
    if (!value || value->is_null()) continue;
    current_ = name;
    return value;
  }
  current_ = *names.begin();
  return nullptr;
}

void Fields::complain(std::string_view field, std::string_view what) {
  if (complaints_.size() > kMaxComplaintBytes) return;
  if (!complaints_.empty()) complaints_ += "; ";
  complaints_.append(field).append(": ").append(what);
}

void Fields::complain_choice(std::string_view value, std::span<const std::string_view> names) {
  complain(fmt::format("'{}' is none of {}", value.substr(0, 64), fmt::join(names, ", ")));
}

void Fields::wrong_type(std::string_view wanted, const Json& value) {
  if (value.is_string()) {
    complain(
        fmt::format("should be {}, is the string '{}'", wanted, value.as_string().substr(0, 64)));
  } else {
    complain(fmt::format("should be {}, is {}", wanted, type_name(value)));
  }
}

std::optional<std::string> Fields::text(Names names) {
  const Json* value = find(names);
  if (!value) return std::nullopt;
  if (value->is_string()) return std::string(value->as_string());
  wrong_type("a string", *value);
  return std::nullopt;
}

std::string Fields::text_or(Names names, std::string_view fallback) {
  auto value = text(names);
  return value ? std::move(*value) : std::string(fallback);
}

std::string Fields::required_text(Names names) {
  const Json* value = find(names);
  if (!value) {
    complain("is required");
    return {};
  }
  auto out = text(names);
  if (out && out->empty()) complain("must not be empty");
  return out ? std::move(*out) : std::string{};
}

std::optional<std::int64_t> Fields::integer(Names names, std::int64_t min, std::int64_t max) {
  const Json* value = find(names);
  if (!value) return std::nullopt;
  const auto number = as_integer(*value);
  if (!number) {
    wrong_type("an integer", *value);
  } else if (*number < min) {
    complain(fmt::format("{} is less than {}", *number, min));
  } else if (*number > max) {
    complain(fmt::format("{} is more than {}", *number, max));
  } else {
    return number;
  }
  return std::nullopt;
}

std::optional<double> Fields::number(Names names) {
  const Json* value = find(names);
  if (!value) return std::nullopt;
  if (value->is_number()) return value->as_double();
  if (value->is_string()) {
    if (const auto parsed = parse_number<double>(value->as_string())) return parsed;
  }
  wrong_type("a number", *value);
  return std::nullopt;
}

bool Fields::flag_or(Names names, bool fallback) {
  const Json* value = find(names);
  if (!value) return fallback;
  if (value->is_bool()) return value->as_bool();
  if (value->is_int() && (value->as_int() == 0 || value->as_int() == 1)) {
    return value->as_int() == 1;
  }
  if (value->is_string()) {
    if (const auto flag = parse_flag(value->as_string())) return *flag;
  }
  wrong_type("true or false", *value);
  return fallback;
}

Json Fields::object_or_empty(Names names) {
  const Json* value = find(names);
  if (!value) return Json::object();
  if (value->is_object()) return *value;
  wrong_type("an object", *value);
  return Json::object();
}

std::vector<std::string> Fields::texts(Names names) {
  std::vector<std::string> out;
  const Json* value = find(names);
  if (!value) return out;
  if (!value->is_array()) {
    wrong_type("an array of strings", *value);
    return out;
  }
  for (const auto& item : value->items()) {
    if (!item.is_string()) {
      wrong_type("an array of strings; one element", item);
      return {};
    }
    out.emplace_back(item.as_string());
  }
  return out;
}

std::vector<std::int64_t> Fields::integers(Names names) {
  std::vector<std::int64_t> out;
  const Json* value = find(names);
  if (!value) return out;
  if (!value->is_array()) {
    wrong_type("an array of integers", *value);
    return out;
  }
  for (const auto& item : value->items()) {
    const auto number = as_integer(item);
    if (!number) {
      wrong_type("an array of integers; one element", item);
      return {};
    }
    out.push_back(*number);
  }
  return out;
}

Status Fields::status() const {
  if (complaints_.empty()) return {};
  return fail(ErrorCode::InvalidArgument, complaints_, "body-invalid");
}

}  // namespace bai::server

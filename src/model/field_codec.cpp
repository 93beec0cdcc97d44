#include "model/field_codec.hpp"

#include <fmt/format.h>

#include <cmath>

namespace bai::codec {

std::unexpected<Error> wrong_json(const Json& got, std::string_view wanted) {
  std::string shown = got.dump();
  constexpr std::size_t kShown = 80;
  if (shown.size() > kShown) shown = shown.substr(0, kShown) + "...";
  return fail(ErrorCode::InvalidArgument, fmt::format("is {}, but must be {}", shown, wanted));
}

std::unexpected<Error> wrong_value(std::string_view wanted) {
  return fail(ErrorCode::Corruption, fmt::format("does not hold {}", wanted));
}

std::string slots_to_text(const SlotMap& slots) {
  Json out = Json::object();
  for (const auto& [name, amount] : slots) out.set(name, amount.units);
  return out.dump();
}

Result<SlotMap> slots_from_text(std::string_view text) {
  const auto parsed = Json::parse(text);
  if (!parsed || !parsed->is_object()) return wrong_value("a JSON object of amounts");
  SlotMap slots;
  for (const auto& [name, units] : parsed->members()) {
    if (!units.is_int()) return wrong_value("integers as amounts");
    slots.set(name, Amount{units.as_int()});
  }
  return slots;
}

std::string times_to_text(const StatusTimes& times) {
  Json out = Json::object();
  for (const auto& [status, at] : times) out.set(status, at.ns);
  return out.dump();
}

Result<StatusTimes> times_from_text(std::string_view text) {
  const auto parsed = Json::parse(text);
  if (!parsed || !parsed->is_object()) return wrong_value("a JSON object of times");
  StatusTimes times;
  for (const auto& [status, at] : parsed->members()) {
    if (!at.is_int()) return wrong_value("integers as times");
    times.emplace_back(status, Timestamp{at.as_int()});
  }
  return times;
}

Json time_to_json(Timestamp at) { return at.ns == 0 ? Json() : Json(to_iso8601(at)); }

Result<Timestamp> time_from_json(const Json& json) {
  if (json.is_null()) return Timestamp{};
  const auto parsed = parse_time(json.as_string());
  if (!json.is_string() || !parsed) return wrong_json(json, "an ISO 8601 time");
  return parsed->at;
}

Result<Duration> duration_from_json(const Json& json) {
  constexpr double kSecondsMax = 9.2e9;  // what int64 nanoseconds can hold, about 292 years
  const double wanted = json.as_double(kSecondsMax);
  if (!json.is_number() || !(std::abs(wanted) < kSecondsMax)) {
    return wrong_json(json, "a number of seconds, below 9.2e9");
  }
  return Duration{std::llround(wanted * 1e9)};
}

}  // namespace bai::codec

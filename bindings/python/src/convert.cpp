#include "convert.hpp"

#include <datetime.h>

#include <chrono>
#include <cmath>
#include <limits>

namespace bai::python {

namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr double kSecondsMax = 9e9;  // 285 years, what an int64 of nanoseconds holds
constexpr double kInfinity = std::numeric_limits<double>::infinity();

void need_datetime() {
  if (PyDateTimeAPI == nullptr) PyDateTime_IMPORT;
  if (PyDateTimeAPI == nullptr) throw py::error_already_set();
}

Json json_at(py::handle value, const std::string& what, int depth);

Json object_from(py::handle value, const std::string& what, int depth) {
  Json::Object members;
  const auto items = py::reinterpret_steal<py::object>(PyMapping_Items(value.ptr()));
  if (!items) throw py::error_already_set();
  for (const py::handle item : items) {
    const py::tuple pair = py::reinterpret_borrow<py::tuple>(item);
    if (!py::isinstance<py::str>(pair[0])) {
      invalid(what + ": names must be texts, not " + type_name(pair[0]));
    }
    members.emplace_back(pair[0].cast<std::string>(), json_at(pair[1], what, depth + 1));
  }
  return Json::from_members(std::move(members));
}

Json int_from(py::handle value, const std::string& what) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow != 0) invalid(what + ": an integer is beyond 64 bits");
  if (number == -1 && PyErr_Occurred()) throw py::error_already_set();
  return std::int64_t{number};
}

Json json_at(py::handle value, const std::string& what, int depth) {
  if (depth > Json::kMaxDepth) invalid(what + ": is nested too deeply");
  if (value.is_none()) return {};
  if (PyBool_Check(value.ptr())) return value.ptr() == Py_True;
  if (PyLong_Check(value.ptr())) return int_from(value, what);
  if (PyFloat_Check(value.ptr())) return PyFloat_AsDouble(value.ptr());
  if (PyUnicode_Check(value.ptr())) return value.cast<std::string>();
  if (PyList_Check(value.ptr()) || PyTuple_Check(value.ptr())) {
    Json::Array items;
    for (const py::handle item : value) items.push_back(json_at(item, what, depth + 1));
    return items;
  }
  if (PyMapping_Check(value.ptr()) && py::hasattr(value, "items")) {
    return object_from(value, what, depth);
  }
  if (PyIndex_Check(value.ptr())) {  // NumPy's integers
    return int_from(py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr())), what);
  }
  invalid(what + ": " + type_name(value) + " cannot be told to the manager");
}

py::dict times_to(const Value& value) {
  py::dict times;
  const auto* text = std::get_if<std::string>(&value);
  const Json parsed = text ? must(Json::parse(*text)) : Json();
  for (const auto& [status, at] : parsed.members()) {
    times[py::str(status)] = time_to(Timestamp{at.as_int()});
  }
  return times;
}

py::object slots_field(const Value& value, const SlotTypes& types) {
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr) return py::none();
  py::dict slots;
  const Json parsed = must(Json::parse(*text));
  for (const auto& [name, units] : parsed.members()) {
    slots[py::str(name)] = amount_to(types.type_of(name), Amount{units.as_int()});
  }
  return slots;
}

py::object text_field(const Value& value) {
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr) return py::none();
  return py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(text->data(), static_cast<Py_ssize_t>(text->size()), "replace"));
}

}  // namespace

std::string type_name(py::handle value) { return Py_TYPE(value.ptr())->tp_name; }

Json json_from(py::handle value, const std::string& what) { return json_at(value, what, 0); }

py::object json_to(const Json& json) {
  if (json.is_null()) return py::none();
  if (json.is_bool()) return py::bool_(json.as_bool());
  if (json.is_int()) return py::int_(json.as_int());
  if (json.is_number()) return py::float_(json.as_double());
  if (json.is_string()) return text_field(std::string(json.as_string()));
  if (json.is_array()) {
    py::list items;
    for (const Json& item : json.items()) items.append(json_to(item));
    return items;
  }
  py::dict members;
  for (const auto& [name, value] : json.members()) members[py::str(name)] = json_to(value);
  return members;
}

py::object amount_to(SlotType type, Amount amount) {
  if (amount.is_infinite()) return py::float_(kInfinity);
  const std::int64_t one = units_per_one(type);
  if (amount.units % one == 0) return py::int_(amount.units / one);
  return py::float_(static_cast<double>(amount.units) / static_cast<double>(one));
}

py::dict slots_to(const SlotTypes& types, const SlotMap& slots) {
  py::dict out;
  for (const auto& [name, amount] : slots) {
    out[py::str(name)] = amount_to(types.type_of(name), amount);
  }
  return out;
}

SlotMap slots_from(const SlotTypes& types, py::handle value, const std::string& what) {
  Json object = json_from(value, what);
  if (!object.is_object())
    invalid(what + R"(: must be a dict of amounts, as {"cpu": 2, "mem": "4g"})");
  Json texts = Json::object();
  for (const auto& [name, amount] : object.members()) {
    const bool unlimited = amount.is_number() && amount.as_double() == kInfinity;
    if (amount.is_bool() ||
        (amount.is_number() && !unlimited && !std::isfinite(amount.as_double()))) {
      invalid(what + "." + name + ": must be an amount, as 2, 0.5 or \"4g\"");
    }
    texts.set(name, unlimited ? Json("Infinity") : amount);
  }
  auto slots = parse_slots(types, texts);
  if (!slots) {
    Error error = std::move(slots.error());
    error.message = what + ": " + error.message;
    throw Failure(std::move(error));
  }
  return std::move(*slots);
}

py::object time_to(Timestamp at) {
  if (at.ns == 0) return py::none();
  need_datetime();
  using namespace std::chrono;
  const sys_time<std::chrono::nanoseconds> instant{std::chrono::nanoseconds(at.ns)};
  const auto day = floor<days>(instant);
  const year_month_day date{day};
  const hh_mm_ss clock{floor<std::chrono::microseconds>(instant - day)};
  return py::reinterpret_steal<py::object>(PyDateTimeAPI->DateTime_FromDateAndTime(
      static_cast<int>(date.year()), static_cast<int>(static_cast<unsigned>(date.month())),
      static_cast<int>(static_cast<unsigned>(date.day())), static_cast<int>(clock.hours().count()),
      static_cast<int>(clock.minutes().count()), static_cast<int>(clock.seconds().count()),
      static_cast<int>(clock.subseconds().count()), PyDateTime_TimeZone_UTC,
      PyDateTimeAPI->DateTimeType));
}

py::object duration_to(Duration length) {
  need_datetime();
  const std::int64_t us = length.ns / 1000;
  return py::reinterpret_steal<py::object>(PyDelta_FromDSU(
      static_cast<int>(us / 86'400'000'000), static_cast<int>(us % 86'400'000'000 / 1'000'000),
      static_cast<int>(us % 1'000'000)));
}

Duration duration_from(py::handle value, const std::string& what) {
  need_datetime();
  if (PyDelta_Check(value.ptr())) {
    const std::int64_t length = (std::int64_t{PyDateTime_DELTA_GET_DAYS(value.ptr())} * 86'400 +
                                 PyDateTime_DELTA_GET_SECONDS(value.ptr()));
    if (length < 0) invalid(what + ": must not be negative");
    if (static_cast<double>(length) > kSecondsMax) invalid(what + ": is longer than 285 years");
    return Duration{length * kNsPerSecond +
                    std::int64_t{PyDateTime_DELTA_GET_MICROSECONDS(value.ptr())} * 1000};
  }
  if (PyBool_Check(value.ptr()) || PyNumber_Check(value.ptr()) == 0 ||
      PyUnicode_Check(value.ptr())) {
    invalid(what + ": must be seconds or a timedelta, not " + type_name(value));
  }
  const double length = PyFloat_AsDouble(value.ptr());
  if (length == -1.0 && PyErr_Occurred()) throw py::error_already_set();
  if (std::isnan(length)) invalid(what + ": must be a number of seconds, not nan");
  if (length < 0) invalid(what + ": must not be negative");
  if (length > kSecondsMax) invalid(what + ": is longer than 285 years");
  const double whole = std::floor(length);
  return Duration{static_cast<std::int64_t>(whole) * kNsPerSecond +
                  static_cast<std::int64_t>(std::llround((length - whole) * 1e9))};
}

Timestamp time_from(py::handle value, Timestamp start, const std::string& what) {
  need_datetime();
  if (!PyDateTime_Check(value.ptr())) return start + duration_from(value, what);
  if (value.attr("tzinfo").is_none()) {
    invalid(what + ": a datetime must have a time zone, as datetime.timezone.utc");
  }
  const auto epoch = py::reinterpret_steal<py::object>(PyDateTimeAPI->DateTime_FromDateAndTime(
      1970, 1, 1, 0, 0, 0, 0, PyDateTime_TimeZone_UTC, PyDateTimeAPI->DateTimeType));
  return Timestamp{} + duration_from(value - epoch, what);
}

Timestamp moment_from(py::handle value, const std::string& what) {
  need_datetime();
  if (!PyDateTime_Check(value.ptr())) {
    invalid(what + ": must be a datetime with a time zone, not " + type_name(value));
  }
  return time_from(value, Timestamp{}, what);
}

py::object field_to(const FieldInfo& field, const void* row, const SlotTypes& types) {
  if (field.type == FieldType::Json || field.type == FieldType::List) {
    return json_to(field.get_json(row, types));
  }
  const Value value = field.get(row);
  if (value.index() == 0) return py::none();
  const auto* number = std::get_if<std::int64_t>(&value);
  switch (field.type) {
    case FieldType::Bool:
      return py::bool_(number != nullptr && *number != 0);
    case FieldType::Int:
      return py::int_(number != nullptr ? *number : 0);
    case FieldType::Time:
      return time_to(Timestamp{number != nullptr ? *number : 0});
    case FieldType::Span:
      return duration_to(Duration{number != nullptr ? *number : 0});
    case FieldType::Slots:
      return slots_field(value, types);
    case FieldType::Times:
      return times_to(value);
    default:
      return text_field(value);
  }
}

}  // namespace bai::python

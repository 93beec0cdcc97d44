// Values between the library and Python. Everything here needs the GIL.
#pragma once

#include <optional>

#include "bai_manager/schema.hpp"
#include "common.hpp"

namespace bai::python {

// None, bool, int, float, str, list, tuple and mappings with text keys. InvalidArgument for
// anything else, naming `what`.
Json json_from(py::handle value, const std::string& what);
py::object json_to(const Json& json);

// Counted slots as int when whole, else float; sizes as int (bytes); unlimited as math.inf.
py::object amount_to(SlotType type, Amount amount);
py::dict slots_to(const SlotTypes& types, const SlotMap& slots);
SlotMap slots_from(const SlotTypes& types, py::handle value, const std::string& what);

// UTC, rounded down to microseconds; None for 0.
py::object time_to(Timestamp at);
py::object duration_to(Duration length);
// Seconds as int or float, or a timedelta; finite and not negative.
Duration duration_from(py::handle value, const std::string& what);
// An aware datetime, or seconds on the cluster's time line, which began at `start`.
Timestamp time_from(py::handle value, Timestamp start, const std::string& what);
// A datetime with a time zone, nothing else.
Timestamp moment_from(py::handle value, const std::string& what);

template <class Id>
Id uuid_from(const std::string& text, const std::string& what) {
  const auto id = parse_uuid<Id>(text);
  if (!id) invalid(what + ": \"" + text + "\" is no UUID");
  return *id;
}

// One field of a row.
py::object field_to(const FieldInfo& field, const void* row, const SlotTypes& types);

std::string type_name(py::handle value);

}  // namespace bai::python

// Tables as NumPy structured arrays. Amounts and times that are maps become one column per name.
#include <pybind11/numpy.h>

#include <cstring>
#include <limits>
#include <map>

#include "convert.hpp"
#include "snapshot.hpp"

namespace bai::python {

namespace {

constexpr std::int64_t kNotATime = std::numeric_limits<std::int64_t>::min();
constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

// Texts up to so many characters lie in the array itself, each as wide as the longest; a column
// with a longer one has objects.
constexpr std::size_t kInlineMax = 256;

struct Column {
  std::string name, format;
  std::size_t width = 0;           // bytes of one cell
  std::vector<std::byte> cells{};  // `width` bytes per row; none of a column of objects
  py::list objects{};

  template <class T>
  void put(std::size_t row, T value) {
    std::memcpy(cells.data() + row * width, &value, sizeof value);
  }
};

template <class T>
Column make_column(std::string name, std::string format, std::size_t rows, T fill) {
  Column column{std::move(name), std::move(format), sizeof(T)};
  column.cells.resize(rows * sizeof(T));
  for (std::size_t row = 0; row < rows; ++row) column.put(row, fill);
  return column;
}

// UTF-8 that the library has checked, as code points.
std::u32string code_points(const std::string& text) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    char32_t point = length == 1 ? lead : lead & (0x7fU >> length);
    for (std::size_t k = 1; k < length && i + k < text.size(); ++k) {
      point = (point << 6) | (static_cast<unsigned char>(text[i + k]) & 0x3fU);
    }
    out.push_back(point);
    i += length;
  }
  return out;
}

Column object_column(const FieldInfo& field, const std::vector<const void*>& rows) {
  Column column{std::string(field.name), "O", sizeof(PyObject*)};
  for (const void* row : rows) {
    const Value value = field.get(row);
    const auto* text = std::get_if<std::string>(&value);
    column.objects.append(py::str(text ? *text : std::string()));
  }
  return column;
}

Column text_column(const FieldInfo& field, const std::vector<const void*>& rows) {
  std::vector<std::u32string> texts;
  std::size_t longest = 1;
  for (const void* row : rows) {
    const Value value = field.get(row);
    const auto* text = std::get_if<std::string>(&value);
    texts.push_back(code_points(text ? *text : std::string()));
    longest = std::max(longest, texts.back().size());
    if (longest > kInlineMax) return object_column(field, rows);
  }
  Column column{std::string(field.name), "U" + std::to_string(longest), longest * 4};
  column.cells.resize(rows.size() * column.width);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    std::memcpy(column.cells.data() + row * column.width, texts[row].data(), texts[row].size() * 4);
  }
  return column;
}

Column number_column(const FieldInfo& field, const std::vector<const void*>& rows) {
  const std::string name(field.name);
  const bool is_time = field.type == FieldType::Time, is_span = field.type == FieldType::Span;
  Column column = field.type == FieldType::Bool ? make_column<bool>(name, "?", rows.size(), false)
                  : is_time || is_span
                      ? make_column(name, is_time ? "M8[ns]" : "m8[ns]", rows.size(), kNotATime)
                  : field.is(kOptional) ? make_column(name, "f8", rows.size(), kMissing)
                                        : make_column(name, "i8", rows.size(), std::int64_t{0});
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const Value value = field.get(rows[row]);
    const auto* number = std::get_if<std::int64_t>(&value);
    if (number == nullptr || (is_time && *number == 0)) continue;
    if (field.type == FieldType::Bool) {
      column.put(row, *number != 0);
    } else if (!is_time && !is_span && field.is(kOptional)) {
      column.put(row, static_cast<double>(*number));
    } else {
      column.put(row, *number);
    }
  }
  return column;
}

// "requested_slots" -> "requested_slots.cpu", ...; "status_history" -> "status_history.RUNNING",
// ...
void add_map_columns(const FieldInfo& field, const std::vector<const void*>& rows,
                     const SlotTypes& types, std::vector<Column>& columns) {
  std::map<std::string, Column> by_name;
  const bool is_times = field.type == FieldType::Times;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const Value value = field.get(rows[row]);
    const auto* text = std::get_if<std::string>(&value);
    if (text == nullptr) continue;
    const Json map = must(Json::parse(*text));
    for (const auto& [name, units] : map.members()) {
      auto at = by_name.find(name);
      if (at == by_name.end()) {
        std::string full = std::string(field.name) + "." + name;
        at = by_name
                 .emplace(name, is_times ? make_column(full, "M8[ns]", rows.size(), kNotATime)
                                         : make_column(full, "f8", rows.size(), 0.0))
                 .first;
      }
      if (is_times) {
        at->second.put(row, units.as_int());
        continue;
      }
      const Amount amount{units.as_int()};
      at->second.put(row, amount.is_infinite()
                              ? std::numeric_limits<double>::infinity()
                              : static_cast<double>(amount.units) /
                                    static_cast<double>(units_per_one(types.type_of(name))));
    }
  }
  for (auto& [name, column] : by_name) columns.push_back(std::move(column));
}

bool is_column(const FieldInfo& field) {
  return field.type != FieldType::Json && field.type != FieldType::List;
}

// Whole programs and one time per status are there for whoever asks for them.
bool is_usual(const FieldInfo& field) {
  return is_column(field) && !field.is(kSecret) && field.type != FieldType::Times &&
         field.name != "startup_command" && field.name != "bootstrap_script";
}

void add_columns(const EntityInfo& entity, const std::string& name,
                 const std::vector<const void*>& rows, const SlotTypes& types,
                 std::vector<Column>& columns) {
  const FieldInfo* field = entity.find(name);
  if (field == nullptr || !is_column(*field) || field->is(kSecret)) {
    std::string known;
    for (const FieldInfo& f : entity.fields) {
      if (is_column(f) && !f.is(kSecret)) known.append(known.empty() ? "" : ", ").append(f.name);
    }
    invalid("fields: \"" + name + "\" is no column of " + std::string(entity.name) +
            "; there are: " + known);
  }
  switch (field->type) {
    case FieldType::Slots:
    case FieldType::Times:
      return add_map_columns(*field, rows, types, columns);
    case FieldType::Bool:
    case FieldType::Int:
    case FieldType::Time:
    case FieldType::Span:
      columns.push_back(number_column(*field, rows));
      return;
    default:
      columns.push_back(text_column(*field, rows));
  }
}

}  // namespace

py::object make_array(const SnapshotPtr& snapshot, const EntityInfo& entity,
                      const std::vector<std::string>& fields,
                      const std::vector<const void*>& rows) {
  std::vector<Column> columns;
  if (fields.empty()) {
    for (const FieldInfo& field : entity.fields) {
      if (!is_usual(field)) continue;
      add_columns(entity, std::string(field.name), rows, snapshot->slot_types(), columns);
    }
  }
  for (const std::string& name : fields) {
    add_columns(entity, name, rows, snapshot->slot_types(), columns);
  }
  py::list description;
  for (const Column& column : columns) {
    description.append(py::make_tuple(column.name, column.format));
  }
  const py::dtype dtype = py::module_::import("numpy").attr("dtype")(description);
  py::array array(dtype, rows.size());
  auto* cell = static_cast<std::byte*>(array.mutable_data());
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (const Column& column : columns) {
      if (!column.cells.empty()) {
        std::memcpy(cell, column.cells.data() + row * column.width, column.width);
      }
      cell += column.width;
    }
  }
  for (const Column& column : columns) {
    if (column.format == "O") array[py::str(column.name)] = column.objects;
  }
  return array;
}

}  // namespace bai::python

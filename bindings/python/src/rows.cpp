#include "rows.hpp"

#include <array>
#include <deque>
#include <new>
#include <vector>

#include "convert.hpp"

namespace bai::python {

namespace {

struct RowObject {
  PyObject_HEAD SnapshotPtr snapshot;  // keeps `row` alive unless `stored` does
  std::shared_ptr<const void> stored;
  const EntityInfo* entity;
  const void* row;
};

struct RowType {
  std::string name, qualified_name, doc;
  std::vector<PyGetSetDef> attributes;
  PyTypeObject* type = nullptr;
};

constexpr std::size_t kEntityCount = 0
#define BAI_COUNT(E) +1
    BAI_ENTITIES(BAI_COUNT)
#undef BAI_COUNT
    ;

// Made once and never freed: the types refer to the texts.
std::array<RowType, kEntityCount>& row_types() {
  static auto* types = new std::array<RowType, kEntityCount>();
  return *types;
}
std::deque<std::string>& texts() {
  static auto* all = new std::deque<std::string>();
  return *all;
}
const char* keep(std::string text) { return texts().emplace_back(std::move(text)).c_str(); }

RowType& type_of(EntityKind kind) { return row_types()[static_cast<std::size_t>(kind)]; }
RowObject& row_of(PyObject* self) { return *reinterpret_cast<RowObject*>(self); }

// Runs `body` and turns what it throws into a Python error.
template <class Body>
PyObject* guarded(Body&& body) noexcept {
  try {
    return body().release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const Failure& failure) {
    const py::object exception = make_exception(failure.error());
    PyErr_SetObject(py::type::handle_of(exception).ptr(), exception.ptr());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyObject* new_row(PyTypeObject* type, SnapshotPtr snapshot, std::shared_ptr<const void> stored,
                  const EntityInfo& entity, const void* row) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) throw py::error_already_set();
  RowObject& object = row_of(self);
  new (&object.snapshot) SnapshotPtr(std::move(snapshot));
  new (&object.stored) std::shared_ptr<const void>(std::move(stored));
  object.entity = &entity;
  object.row = row;
  return self;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  RowObject& object = row_of(self);
  object.stored.~shared_ptr();
  object.snapshot.~shared_ptr();
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* get_field(PyObject* self, void* closure) {
  return guarded([&] {
    const RowObject& object = row_of(self);
    return field_to(*static_cast<const FieldInfo*>(closure), object.row,
                    object.snapshot->slot_types());
  });
}

PyObject* get_pending_reason(PyObject* self, void*) {
  return guarded([&] {
    const RowObject& object = row_of(self);
    return reason_to(static_cast<const Session*>(object.row)->pending_reason.get(),
                     object.snapshot->slot_types());
  });
}

py::list kernels_to(const SnapshotPtr& snapshot, const std::vector<const Kernel*>& kernels) {
  py::list list;
  for (const Kernel* kernel : kernels) list.append(make_row(snapshot, EntityKind::Kernel, kernel));
  return list;
}

PyObject* get_session_kernels(PyObject* self, void*) {
  return guarded([&] {
    const RowObject& object = row_of(self);
    const auto& id = static_cast<const Session*>(object.row)->id;
    return kernels_to(object.snapshot, object.snapshot->kernels_of(id));
  });
}

PyObject* get_agent_kernels(PyObject* self, void*) {
  return guarded([&] {
    const RowObject& object = row_of(self);
    const auto& id = static_cast<const Agent*>(object.row)->id;
    return kernels_to(object.snapshot, object.snapshot->kernels_on(id));
  });
}

PyObject* get_free_slots(PyObject* self, void*) {
  return guarded([&]() -> py::object {
    const RowObject& object = row_of(self);
    const auto& agent = *static_cast<const Agent*>(object.row);
    return slots_to(object.snapshot->slot_types(), agent.available_slots - agent.occupied_slots);
  });
}

PyObject* to_dict(PyObject* self, PyObject*) {
  return guarded([&]() -> py::object {
    const RowObject& object = row_of(self);
    py::dict all;
    for (const FieldInfo& field : object.entity->fields) {
      if (field.is(kSecret)) continue;
      all[py::str(std::string(field.name))] =
          field_to(field, object.row, object.snapshot->slot_types());
    }
    return all;
  });
}

std::string key_text(const RowObject& object) {
  const Value key = object.entity->fields[0].get(object.row);
  const auto* text = std::get_if<std::string>(&key);
  return text ? *text : std::string();
}

PyObject* repr(PyObject* self) {
  return guarded([&]() -> py::object {
    const RowObject& object = row_of(self);
    std::string text = "<" + type_of(object.entity->kind).name + " " + key_text(object);
    for (const char* shown : {"name", "status"}) {
      const FieldInfo* field = object.entity->find(shown);
      if (field == nullptr || field == &object.entity->fields[0]) continue;
      const Value value = field->get(object.row);
      if (const auto* part = std::get_if<std::string>(&value)) text += " " + *part;
    }
    return py::str(text + ">");
  });
}

// Equal when they are the same row with the same contents, in whichever snapshots.
PyObject* compare(PyObject* self, PyObject* other, int op) {
  if ((op != Py_EQ && op != Py_NE) || Py_TYPE(self) != Py_TYPE(other)) Py_RETURN_NOTIMPLEMENTED;
  return guarded([&]() -> py::object {
    const RowObject &a = row_of(self), &b = row_of(other);
    bool same = true;
    if (a.row != b.row) {
      for (const FieldInfo& field : a.entity->fields) {
        same = same && field.get(a.row) == field.get(b.row);
      }
    }
    return py::bool_(same == (op == Py_EQ));
  });
}

Py_hash_t hash(PyObject* self) {
  const auto value = std::hash<std::string>{}(key_text(row_of(self)));
  const auto signed_value = static_cast<Py_hash_t>(value);
  return signed_value == -1 ? -2 : signed_value;
}

std::string class_name(std::string_view entity) {
  std::string name;
  bool upper = true;
  for (const char c : entity) {
    if (c != '_') name.push_back(upper ? static_cast<char>(c - 'a' + 'A') : c);
    upper = c == '_';
  }
  return name;
}

std::string field_doc(const FieldInfo& field) {
  switch (field.type) {
    case FieldType::Bool:
      return "bool";
    case FieldType::Int:
      return "int";
    case FieldType::Time:
      return "datetime (UTC); None: never";
    case FieldType::Span:
      return "timedelta";
    case FieldType::Slots:
      return "dict of amounts by slot";
    case FieldType::Json:
      return "dict, list or scalar";
    case FieldType::List:
      return "list";
    case FieldType::Times:
      return "dict: status -> when it was last entered";
    case FieldType::Enum: {
      std::string names = "one of";
      for (const auto name : field.enum_names) names.append(" ").append(name);
      return names;
    }
    default:
      return "str";
  }
}

void add_attribute(RowType& made, const char* name, getter get, std::string doc, void* closure) {
  made.attributes.push_back({name, get, nullptr, keep(std::move(doc)), closure});
}

void add_attributes(RowType& made, const EntityInfo& entity) {
  for (const FieldInfo& field : entity.fields) {
    std::string doc = field_doc(field);
    if (field.is(kOptional)) doc += ", or None";
    add_attribute(made, keep(std::string(field.name)), get_field, std::move(doc),
                  const_cast<FieldInfo*>(&field));
  }
  if (entity.kind == EntityKind::Session) {
    add_attribute(made, "pending_reason", get_pending_reason,
                  "dict: why it waits; None unless it does", nullptr);
    add_attribute(made, "kernels", get_session_kernels, "list of Kernel, by local rank", nullptr);
  }
  if (entity.kind == EntityKind::Agent) {
    add_attribute(made, "kernels", get_agent_kernels, "list of Kernel that hold resources",
                  nullptr);
    add_attribute(made, "free_slots", get_free_slots, "dict: available minus occupied", nullptr);
  }
  made.attributes.push_back({nullptr, nullptr, nullptr, nullptr, nullptr});
}

void make_type(py::module_& m, const EntityInfo& entity) {
  static PyMethodDef methods[] = {
      {"to_dict", to_dict, METH_NOARGS, "All fields by name, secrets left out."},
      {nullptr, nullptr, 0, nullptr}};
  RowType& made = type_of(entity.kind);
  made.name = class_name(entity.name);
  made.qualified_name = "bai_manager._core." + made.name;
  made.doc = "A " + std::string(entity.name) + " as it was in one snapshot. Read-only.";
  add_attributes(made, entity);
  PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                         {Py_tp_repr, reinterpret_cast<void*>(repr)},
                         {Py_tp_hash, reinterpret_cast<void*>(hash)},
                         {Py_tp_richcompare, reinterpret_cast<void*>(compare)},
                         {Py_tp_getset, made.attributes.data()},
                         {Py_tp_methods, methods},
                         {Py_tp_doc, made.doc.data()},
                         {0, nullptr}};
  PyType_Spec spec = {made.qualified_name.c_str(), sizeof(RowObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  made.type = reinterpret_cast<PyTypeObject*>(type.ptr());
  py::list fields;
  for (const FieldInfo& field : entity.fields) fields.append(std::string(field.name));
  type.attr("fields") = py::tuple(fields);
  type.attr("entity") = std::string(entity.name);
  m.attr(made.name.c_str()) = type;
}

}  // namespace

py::object make_row(const SnapshotPtr& snapshot, EntityKind kind, const void* row) {
  return py::reinterpret_steal<py::object>(
      new_row(type_of(kind).type, snapshot, {}, entity_info(kind), row));
}

py::object make_stored_row(const SnapshotPtr& snapshot, EntityKind kind,
                           std::shared_ptr<const void> row) {
  const void* address = row.get();
  return py::reinterpret_steal<py::object>(
      new_row(type_of(kind).type, snapshot, std::move(row), entity_info(kind), address));
}

py::object reason_to(const PendingReason* reason, const SlotTypes& types) {
  if (reason == nullptr) return py::none();
  py::dict out;
  out["code"] = reason->code;
  out["message"] = reason->message;
  out["missing"] = slots_to(types, reason->missing);
  out["position"] = reason->position;
  py::dict rejected;
  for (const auto& [what, agents] : reason->rejected) rejected[py::str(what)] = agents;
  out["rejected"] = rejected;
  out["kind"] = reason->kind;
  py::list violations;
  for (const auto& [code, kind] : reason->violations) violations.append(py::make_tuple(code, kind));
  out["violations"] = violations;
  out["expected_start"] = time_to(reason->expected_start);
  out["expected_basis"] = reason->expected_basis;
  return out;
}

std::string key_of(py::handle value, EntityKind kind, const std::string& what) {
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  if (Py_TYPE(value.ptr()) == type_of(kind).type) return key_text(row_of(value.ptr()));
  invalid(what + ": must be an id or a " + type_of(kind).name + ", not " + type_name(value));
}

void define_rows(py::module_& m) {
  py::dict classes;
  for (const EntityInfo* entity : all_entities()) {
    make_type(m, *entity);
    classes[py::str(std::string(entity->name))] = m.attr(type_of(entity->kind).name.c_str());
  }
  m.attr("row_classes") = classes;
}

}  // namespace bai::python

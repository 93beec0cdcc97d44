// Snapshots: the last committed state, or an earlier one for as long as it is held.
#include "snapshot.hpp"

#include <pybind11/stl.h>

#include "convert.hpp"
#include "rows.hpp"

namespace bai::python {

namespace {

using Statuses = std::optional<std::vector<std::string>>;

std::vector<const Session*> sessions_of(const Snapshot& snapshot, const Statuses& statuses) {
  std::vector<const Session*> all;
  if (!statuses) {
    snapshot.for_each<Session>([&](const Session& session) {
      all.push_back(&session);
      return true;
    });
    return all;
  }
  for (const std::string& text : *statuses) {
    const auto status = parse_enum<SessionStatus>(text);
    if (!status) {
      std::string known;
      for (const auto name : EnumText<SessionStatus>::names) known.append(" ").append(name);
      invalid("There is no session status \"" + text + "\"; there are:" + known);
    }
    const auto some = snapshot.sessions_in(*status);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

py::list table(const SnapshotHandle& self, const std::string& name) {
  const EntityInfo& entity = entity_named(name);
  py::list rows;
  for_each_row(*self.snapshot, entity.kind,
               [&](const void* row) { rows.append(make_row(self.snapshot, entity.kind, row)); });
  return rows;
}

py::list sessions(const SnapshotHandle& self, const Statuses& statuses) {
  py::list rows;
  for (const Session* session : sessions_of(*self.snapshot, statuses)) {
    rows.append(make_row(self.snapshot, EntityKind::Session, session));
  }
  return rows;
}

py::object find(const SnapshotHandle& self, const std::string& name, const std::string& key) {
  const EntityInfo& entity = entity_named(name);
  const void* row = find_row(*self.snapshot, entity.kind, key);
  if (row == nullptr) return py::none();
  return make_row(self.snapshot, entity.kind, row);
}

py::object array(const SnapshotHandle& self, const std::string& name,
                 const std::vector<std::string>& fields, const Statuses& statuses) {
  const EntityInfo& entity = entity_named(name);
  std::vector<const void*> rows;
  if (statuses) {
    if (entity.kind != EntityKind::Session) invalid("status: only sessions are chosen by status");
    for (const Session* session : sessions_of(*self.snapshot, statuses)) rows.push_back(session);
  } else {
    rows.reserve(count_rows(*self.snapshot, entity.kind));
    for_each_row(*self.snapshot, entity.kind, [&](const void* row) { rows.push_back(row); });
  }
  return make_array(self.snapshot, entity, fields, rows);
}

py::object live_session(const SnapshotHandle& self, const std::string& key,
                        const std::string& name) {
  const Session* session = self.snapshot->find_live_session(AccessKey(key), name);
  if (session == nullptr) return py::none();
  return make_row(self.snapshot, EntityKind::Session, session);
}

std::size_t count_sessions(const SnapshotHandle& self, const std::string& text) {
  return sessions_of(*self.snapshot, std::vector{text}).size();
}

}  // namespace

void define_snapshot(py::module_& m) {
  py::class_<SnapshotHandle>(m, "Snapshot", "The committed state at one moment. Immutable.")
      .def_property_readonly(
          "version", [](const SnapshotHandle& self) { return self.snapshot->version().value; },
          "Increases by one with every published change.")
      .def("table", &table, py::arg("entity"), "All rows of an entity, in the order of keys.")
      .def("sessions", &sessions, py::arg("statuses") = py::none(),
           "Sessions in these statuses, oldest first in each; all of them by id without.")
      .def("find", &find, py::arg("entity"), py::arg("key"), "The row of that key, or None.")
      .def("live_session", &live_session, py::arg("access_key"), py::arg("name"),
           "The owner's session of that name that has not ended, or None.")
      .def(
          "count",
          [](const SnapshotHandle& self, const std::string& entity) {
            return count_rows(*self.snapshot, entity_named(entity).kind);
          },
          py::arg("entity"), "How many rows an entity has.")
      .def("count_sessions", &count_sessions, py::arg("status"))
      .def("array", &array, py::arg("entity"), py::arg("fields") = std::vector<std::string>(),
           py::arg("statuses") = py::none(), "Rows as a NumPy structured array.")
      .def("__repr__", [](const SnapshotHandle& self) {
        return "<Snapshot version " + std::to_string(self.snapshot->version().value) + ">";
      });
}

}  // namespace bai::python

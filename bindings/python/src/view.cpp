#include "view.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "convert.hpp"

namespace bai::python {

py::dict units_by_name(const SchedView& view, const std::vector<SlotRequest>& slots) {
  py::dict out;
  for (const SlotRequest& request : slots)
    out[py::str(view.slot_name(request.slot))] = request.units;
  return out;
}

namespace {

const SchedView& need(const std::shared_ptr<Pass>& pass) {
  if (pass->view == nullptr) {
    throw std::runtime_error("the scheduling pass that this object belongs to is over");
  }
  return *pass->view;
}

SlotIndex slot_of(const SchedView& view, const std::string& name) {
  if (const auto slot = view.find_slot(name)) return *slot;
  std::string known;
  for (SlotIndex slot = 0; slot < view.slot_count(); ++slot) {
    known.append(known.empty() ? "" : ", ").append(view.slot_name(slot));
  }
  throw Failure(ErrorCode::NotFound, "There is no slot \"" + name + "\" here; there are: " + known);
}

AgentIndex agent_of(const SchedView& view, std::int64_t agent) {
  if (agent < 0 || static_cast<std::uint64_t>(agent) >= view.agent_count()) {
    throw py::index_error("there is no agent " + std::to_string(agent) + "; there are " +
                          std::to_string(view.agent_count()));
  }
  return static_cast<AgentIndex>(agent);
}

template <class T, class Read>
py::array_t<T> column(const SchedView& view, Read&& read) {
  py::array_t<T> out(static_cast<py::ssize_t>(view.agent_count()));
  T* cell = out.mutable_data();
  for (AgentIndex agent = 0; agent < view.agent_count(); ++agent) cell[agent] = read(agent);
  return out;
}

py::array_t<std::int64_t> free_column(const ViewHandle& self, const std::string& name) {
  const SchedView& view = need(self.pass);
  const auto units = view.free_column(slot_of(view, name));
  if (units.size() >= view.agent_count()) {
    return py::array_t<std::int64_t>(static_cast<py::ssize_t>(view.agent_count()), units.data());
  }
  return column<std::int64_t>(view, [](AgentIndex) { return 0; });
}

py::list band(const ViewHandle& self, std::int32_t priority) {
  const SchedView& view = need(self.pass);
  py::list out;
  for (const PendingIndex at : view.band(priority)) {
    out.append(PendingHandle{self.pass, &view.session(at), at});
  }
  return out;
}

py::dict holding(const ViewHandle& self, const std::string& scope, const PendingHandle& session) {
  const SchedView& view = need(self.pass);
  need(session.pass);
  const auto kind = parse_enum<ScopeKind>(scope);
  if (!kind) invalid("scope: must be domain, project, keypair or user, not \"" + scope + "\"");
  const Holding held = view.holding(*kind, *session.session);
  py::dict slots;
  for (SlotIndex slot = 0; slot < view.slot_count(); ++slot) {
    if (held.of(slot) != 0) slots[py::str(view.slot_name(slot))] = held.of(slot);
  }
  py::dict out;
  out["slots"] = slots;
  out["sessions"] = held.sessions;
  out["sftp_sessions"] = held.sftp_sessions;
  return out;
}

std::string dependency_text(DependencyState state) {
  switch (state) {
    case DependencyState::Waiting:
      return "waiting";
    case DependencyState::Succeeded:
      return "succeeded";
    case DependencyState::Failed:
      return "failed";
    case DependencyState::Unknown:
      break;
  }
  return "unknown";
}

void define_slots_of_view(py::class_<ViewHandle>& type) {
  type.def_property_readonly("slots", [](const ViewHandle& self) {
    const SchedView& view = need(self.pass);
    py::list names;
    for (SlotIndex slot = 0; slot < view.slot_count(); ++slot) names.append(view.slot_name(slot));
    return names;
  });
  type.def("free_column", &free_column, py::arg("slot"),
           "What each agent has free, in units, as a NumPy array of its own.");
  type.def(
      "capacity_column",
      [](const ViewHandle& self, const std::string& name) {
        const SchedView& view = need(self.pass);
        const SlotIndex slot = slot_of(view, name);
        return column<std::int64_t>(view,
                                    [&](AgentIndex agent) { return view.capacity(agent, slot); });
      },
      py::arg("slot"));
  type.def("containers_column", [](const ViewHandle& self) {
    const SchedView& view = need(self.pass);
    return column<std::uint32_t>(view, [&](AgentIndex agent) { return view.containers(agent); });
  });
  type.def(
      "free",
      [](const ViewHandle& self, std::int64_t agent, const std::string& slot) {
        const SchedView& view = need(self.pass);
        return view.free(agent_of(view, agent), slot_of(view, slot));
      },
      py::arg("agent"), py::arg("slot"));
  type.def(
      "capacity",
      [](const ViewHandle& self, std::int64_t agent, const std::string& slot) {
        const SchedView& view = need(self.pass);
        return view.capacity(agent_of(view, agent), slot_of(view, slot));
      },
      py::arg("agent"), py::arg("slot"));
  type.def(
      "group_capacity",
      [](const ViewHandle& self, const std::string& slot) {
        const SchedView& view = need(self.pass);
        return view.group_capacity(slot_of(view, slot));
      },
      py::arg("slot"));
}

void define_agents_of_view(py::class_<ViewHandle>& type) {
  type.def_property_readonly("agent_count",
                             [](const ViewHandle& self) { return need(self.pass).agent_count(); });
  type.def_property_readonly("agent_ids", [](const ViewHandle& self) {
    const SchedView& view = need(self.pass);
    py::list ids;
    for (AgentIndex agent = 0; agent < view.agent_count(); ++agent) {
      ids.append(view.agent_id(agent).str());
    }
    return ids;
  });
  type.def(
      "agent_id",
      [](const ViewHandle& self, std::int64_t agent) {
        const SchedView& view = need(self.pass);
        return view.agent_id(agent_of(view, agent)).str();
      },
      py::arg("agent"));
  type.def(
      "containers",
      [](const ViewHandle& self, std::int64_t agent) {
        const SchedView& view = need(self.pass);
        return view.containers(agent_of(view, agent));
      },
      py::arg("agent"));
  type.def(
      "label",
      [](const ViewHandle& self, std::int64_t agent, const std::string& name) {
        const SchedView& view = need(self.pass);
        return std::string(view.label(agent_of(view, agent), name));
      },
      py::arg("agent"), py::arg("name"));
  type.def(
      "devices",
      [](const ViewHandle& self, std::int64_t agent, const std::string& slot) {
        const SchedView& view = need(self.pass);
        const auto free = view.devices(agent_of(view, agent), slot_of(view, slot));
        return std::vector<std::int64_t>(free.begin(), free.end());
      },
      py::arg("agent"), py::arg("slot"));
  type.def(
      "takes_sessions",
      [](const ViewHandle& self, std::int64_t agent) {
        const SchedView& view = need(self.pass);
        return view.takes_sessions(agent_of(view, agent));
      },
      py::arg("agent"));
  type.def(
      "architecture",
      [](const ViewHandle& self, std::int64_t agent) {
        const SchedView& view = need(self.pass);
        return view.architecture_name(view.architecture(agent_of(view, agent)));
      },
      py::arg("agent"));
}

QueueOrder queue_order(const std::string& name) {
  if (name == "oldest") return QueueOrder::OldestFirst;
  if (name == "newest") return QueueOrder::NewestFirst;
  if (name == "shortest") return QueueOrder::ShortestFirst;
  invalid("order: must be oldest, newest or shortest, not \"" + name + "\"");
}

py::object cohort(const ViewHandle& self, const PendingHandle& session) {
  const SchedView& view = need(self.pass);
  need(session.pass);
  const auto share = view.cohort(*session.session);
  if (!share) return py::none();
  const auto by_slot = [&](const std::vector<std::int64_t>& units, bool with_unlimited) {
    py::dict out;
    for (SlotIndex slot = 0; slot < units.size(); ++slot) {
      const bool unlimited = units[slot] == CohortShare::kUnlimited;
      if (units[slot] == 0 || (unlimited && !with_unlimited)) continue;
      out[py::str(view.slot_name(slot))] =
          unlimited ? py::object(py::none()) : py::object(py::int_(units[slot]));
    }
    return out;
  };
  py::dict out;
  out["name"] = share->name;
  out["held"] = by_slot(share->held, false);
  out["nominal"] = by_slot(share->nominal, true);
  return out;
}

py::dict limits(const ViewHandle& self, const std::string& scope, const PendingHandle& session) {
  const SchedView& view = need(self.pass);
  need(session.pass);
  const SlotMap* found = nullptr;
  if (scope == "project") {
    found = view.project_limits(*session.session);
  } else if (scope == "domain") {
    found = view.domain_limits(*session.session);
  } else if (scope == "user") {
    const KeypairPolicy* policy = view.user_policy(*session.session);
    found = policy != nullptr ? &policy->total_resource_slots : nullptr;
  } else {
    invalid("scope: must be user, project or domain, not \"" + scope + "\"");
  }
  py::dict out;
  if (found == nullptr) return out;
  for (const auto& [name, amount] : *found) out[py::str(name)] = amount.units;
  return out;
}

void define_more_of_view(py::class_<ViewHandle>& type) {
  type.def(
      "observed_free",
      [](const ViewHandle& self, std::int64_t agent, const std::string& slot) {
        const SchedView& view = need(self.pass);
        return view.observed_free(agent_of(view, agent), slot_of(view, slot));
      },
      py::arg("agent"), py::arg("slot"));
  type.def(
      "has_slot",
      [](const ViewHandle& self, std::int64_t agent, const std::string& slot) {
        const SchedView& view = need(self.pass);
        return view.has_slot(agent_of(view, agent), slot_of(view, slot));
      },
      py::arg("agent"), py::arg("slot"));
  type.def(
      "slot_type",
      [](const ViewHandle& self, const std::string& slot) {
        const SchedView& view = need(self.pass);
        return std::string(to_string(view.slot_type(slot_of(view, slot))));
      },
      py::arg("slot"));
  type.def(
      "hosted",
      [](const ViewHandle& self, std::int64_t agent, const std::string& slot) {
        const SchedView& view = need(self.pass);
        const auto hosted = view.hosted(agent_of(view, agent), slot_of(view, slot));
        return std::vector<std::uint32_t>(hosted.begin(), hosted.end());
      },
      py::arg("agent"), py::arg("slot"));
  type.def(
      "dependency_ring",
      [](const ViewHandle& self, const PendingHandle& session) {
        need(session.pass);
        std::vector<std::string> ids;
        for (const SessionId& id : need(self.pass).dependency_ring(*session.session)) {
          ids.push_back(to_string(id));
        }
        return ids;
      },
      py::arg("session"));
  type.def(
      "dominant_share",
      [](const ViewHandle& self, const PendingHandle& session, bool with_granted) {
        need(session.pass);
        const DominantShare share =
            need(self.pass).dominant_share(session.session->owner, with_granted);
        return py::make_tuple(share.held, share.capacity);
      },
      py::arg("session"), py::arg("with_granted") = true);
  type.def("cohort", &cohort, py::arg("session"));
  type.def("limits", &limits, py::arg("scope"), py::arg("session"));
}

void define_queue_of_view(py::class_<ViewHandle>& type) {
  type.def_property_readonly(
      "pending_count", [](const ViewHandle& self) { return need(self.pass).pending_count(); });
  type.def(
      "queue",
      [](const ViewHandle& self, const std::string& order) {
        return QueueHandle{self.pass, need(self.pass).queue(queue_order(order))};
      },
      py::arg("order") = "oldest");
  type.def("bands", [](const ViewHandle& self) { return need(self.pass).bands(); });
  type.def("band", &band, py::arg("priority"));
  type.def("holding", &holding, py::arg("scope"), py::arg("session"));
  type.def(
      "dependency",
      [](const ViewHandle& self, const std::string& id) {
        return dependency_text(need(self.pass).dependency(id));
      },
      py::arg("session_id"));
}

void define_view_class(py::module_& m) {
  py::class_<ViewHandle> type(m, "View", "One resource group as a pass sees it.");
  type.def_property_readonly("now",
                             [](const ViewHandle& self) { return time_to(need(self.pass).now()); });
  type.def_property_readonly("seed", [](const ViewHandle& self) { return need(self.pass).seed(); });
  type.def_property_readonly(
      "version", [](const ViewHandle& self) { return need(self.pass).version().value; });
  type.def_property_readonly("resource_group", [](const ViewHandle& self) {
    return need(self.pass).resource_group().str();
  });
  define_slots_of_view(type);
  define_agents_of_view(type);
  define_queue_of_view(type);
  define_more_of_view(type);
  py::class_<QueueHandle>(m, "Queue")
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", [](QueueHandle& self) {
        const SchedView& view = need(self.pass);
        const auto at = self.ordering->next();
        if (!at) throw py::stop_iteration();
        return PendingHandle{self.pass, &view.session(*at), *at};
      });
}

// Properties of a pending session: `read(view, session)`.
template <class Read>
void add(py::class_<PendingHandle>& type, const char* name, Read read) {
  type.def_property_readonly(
      name, [read](const PendingHandle& self) { return read(need(self.pass), *self.session); });
}

void define_pending(py::module_& m) {
  using View = const SchedView&;
  using Session = const PendingSession&;
  py::class_<PendingHandle> type(m, "PendingSession", "A session that waits, during one pass.");
  add(type, "id", [](View, Session s) { return to_string(s.id); });
  type.def("__repr__", [](const PendingHandle& self) {
    const bool over = self.pass->view == nullptr;
    return "<PendingSession " + (over ? "of a pass that is over" : to_string(self.session->id)) +
           ">";
  });
  add(type, "priority", [](View, Session s) { return s.priority; });
  add(type, "session_type", [](View, Session s) { return std::string(to_string(s.type)); });
  add(type, "created_at", [](View, Session s) { return time_to(s.created_at); });
  add(type, "estimate", [](View, Session s) -> py::object {
    if (s.estimate == kUnknownEstimate) return py::none();
    return py::float_(s.estimate.seconds());
  });
  add(type, "user", [](View v, Session s) { return to_string(v.owner(s).user); });
  add(type, "project", [](View v, Session s) { return to_string(v.owner(s).project); });
  add(type, "domain", [](View v, Session s) { return v.owner(s).domain.str(); });
  add(type, "access_key", [](View v, Session s) { return v.owner(s).access_key.str(); });
  add(type, "cluster_mode",
      [](View v, Session s) { return std::string(to_string(v.request(s).mode)); });
  add(type, "slots", [](View v, Session s) { return units_by_name(v, v.request(s).total); });
  add(type, "parts", [](View v, Session s) {
    py::list parts;
    for (const Requirement& part : v.request(s).requirements) {
      parts.append(units_by_name(v, part.slots));
    }
    return parts;
  });
  add(type, "request", [](View, Session s) { return s.request; });
  add(type, "image", [](View v, Session s) { return v.image(s); });
  add(type, "job_priority", [](View, Session s) { return s.job_priority; });
  add(type, "is_preemptible", [](View, Session s) { return s.is_preemptible; });
  add(type, "dependencies", [](View, Session s) {
    return s.details ? s.details->dependencies : std::vector<std::string>();
  });
  add(type, "designated_agents", [](View, Session s) {
    std::vector<std::string> ids;
    if (s.details == nullptr) return ids;
    for (const AgentId& id : s.details->designated_agents) ids.push_back(id.str());
    return ids;
  });
  type.def("__eq__", [](const PendingHandle& a, py::handle other) {
    if (!py::isinstance<PendingHandle>(other)) return false;
    const auto& b = other.cast<const PendingHandle&>();
    need(a.pass);
    need(b.pass);
    return a.session->id == b.session->id;
  });
  type.def("__hash__", [](const PendingHandle& self) {
    need(self.pass);
    return std::hash<SessionId>{}(self.session->id) >> 1;
  });
}

void define_demand(py::module_& m) {
  py::class_<DemandHandle>(m, "Demand", "What must go onto one agent.")
      .def_property_readonly("session",
                             [](const DemandHandle& self) {
                               need(self.pass);
                               return PendingHandle{self.pass, &self.demand->session, std::nullopt};
                             })
      .def_property_readonly("slots",
                             [](const DemandHandle& self) {
                               return units_by_name(need(self.pass),
                                                    self.demand->requirement.slots);
                             })
      .def_property_readonly(
          "selection_order",
          [](const DemandHandle& self) {
            const SchedView& view = need(self.pass);
            py::list names;
            for (const SlotIndex slot : view.selection_order(self.demand->requirement)) {
              names.append(view.slot_name(slot));
            }
            return names;
          })
      .def_property_readonly(
          "architecture",
          [](const DemandHandle& self) {
            return need(self.pass).architecture_name(self.demand->requirement.architecture);
          })
      .def_property_readonly("containers",
                             [](const DemandHandle& self) {
                               need(self.pass);
                               return self.demand->requirement.containers;
                             })
      .def_property_readonly("pick", [](const DemandHandle& self) {
        need(self.pass);
        return self.demand->pick;
      });
}

KeyPart key_part(const SchedView& view, const std::pair<std::string, std::string>& part) {
  if (part.first == "unused-capabilities") return {KeyPart::What::UnusedCapabilities, 0};
  const SlotIndex slot = slot_of(view, part.second);
  if (part.first == "least-free") return {KeyPart::What::LeastFree, slot};
  if (part.first == "most-free") return {KeyPart::What::MostFree, slot};
  invalid("key: must be least-free, most-free or unused-capabilities, not \"" + part.first + "\"");
}

void define_candidates(py::module_& m) {
  using Key = std::vector<std::pair<std::string, std::string>>;
  py::class_<CandidatesHandle>(m, "Candidates", "The agents that a demand may go to.")
      .def("__len__",
           [](const CandidatesHandle& self) {
             need(self.pass);
             return self.candidates->list().size();
           })
      .def("__contains__",
           [](const CandidatesHandle& self, std::int64_t agent) {
             need(self.pass);
             const auto all = self.candidates->list();
             return std::find(all.begin(), all.end(), agent) != all.end();
           })
      .def("__getitem__",
           [](const CandidatesHandle& self, std::int64_t at) {
             need(self.pass);
             const auto all = self.candidates->list();
             const auto size = static_cast<std::int64_t>(all.size());
             if (at < -size || at >= size) throw py::index_error("there are fewer candidates");
             return all[static_cast<std::size_t>(at < 0 ? at + size : at)];
           })
      .def("to_numpy",
           [](const CandidatesHandle& self) {
             need(self.pass);
             const auto all = self.candidates->list();
             return py::array_t<AgentIndex>(static_cast<py::ssize_t>(all.size()), all.data());
           })
      .def(
          "best",
          [](const CandidatesHandle& self, const Key& key) {
            const SchedView& view = need(self.pass);
            std::vector<KeyPart> parts;
            for (const auto& part : key) parts.push_back(key_part(view, part));
            return self.candidates->best(parts);
          },
          py::arg("key"));
}

}  // namespace

void define_view(py::module_& m) {
  define_view_class(m);
  define_pending(m);
  define_demand(m);
  define_candidates(m);
}

}  // namespace bai::python

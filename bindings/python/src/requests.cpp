#include "requests.hpp"

#include <pybind11/stl.h>

#include <limits>
#include <variant>

#include "convert.hpp"

namespace bai::python {

namespace {

// Calls `read(name, value)` for each member; it answers whether it knows the name.
template <class Read>
void each_member(const py::dict& given, const std::string& what, Read&& read) {
  for (const auto& [key, value] : given) {
    if (!py::isinstance<py::str>(key)) invalid(what + ": names must be texts");
    const auto name = py::cast<std::string>(key);
    if (!read(name, value)) invalid(what + ": there is no \"" + name + "\"");
  }
}

std::int64_t integer(py::handle value, const std::string& what, std::int64_t least,
                     std::int64_t most) {
  std::int64_t number = 0;
  const Json json = json_from(value, what);
  if (json.is_int()) number = json.as_int();
  if (!json.is_int() || number < least || number > most) {
    invalid(what + ": must be an integer from " + std::to_string(least) + " to " +
            std::to_string(most) + ", not " + json.dump());
  }
  return number;
}

double share(py::handle value, const std::string& what) {
  const Json json = json_from(value, what);
  if (!json.is_number() || !(json.as_double() >= 0 && json.as_double() <= 1)) {
    invalid(what + ": must be a share from 0 to 1, not " + json.dump());
  }
  return json.as_double();
}

std::string text(py::handle value, const std::string& what) {
  if (!py::isinstance<py::str>(value)) invalid(what + ": must be a text, not " + type_name(value));
  return value.cast<std::string>();
}

bool flag(py::handle value, const std::string& what) {
  if (!py::isinstance<py::bool_>(value)) invalid(what + ": must be True or False");
  return value.cast<bool>();
}

py::sequence list_of(py::handle value, const std::string& what, const std::string& kind) {
  if (!py::isinstance<py::list>(value) && !py::isinstance<py::tuple>(value)) {
    invalid(what + ": must be a list of " + kind + ", not " + type_name(value));
  }
  return py::reinterpret_borrow<py::sequence>(value);
}

std::vector<std::string> texts(py::handle value, const std::string& what) {
  std::vector<std::string> all;
  for (const py::handle item : list_of(value, what, "texts")) all.push_back(text(item, what));
  return all;
}

template <NamedEnum E>
E choice(py::handle value, const std::string& what) {
  const std::string given = text(value, what);
  if (const auto parsed = parse_enum<E>(given)) return *parsed;
  std::string known;
  for (const auto name : EnumText<E>::names) known.append(known.empty() ? "" : ", ").append(name);
  invalid(what + ": must be one of " + known + ", not \"" + given + "\"");
}

DelayRange range(py::handle value, const std::string& what) {
  if (!py::isinstance<py::tuple>(value) && !py::isinstance<py::list>(value)) {
    const Duration length = duration_from(value, what);
    return {length, length};
  }
  const auto pair = py::reinterpret_borrow<py::sequence>(value);
  if (pair.size() != 2) invalid(what + ": must be seconds or (least, most)");
  const DelayRange both{duration_from(pair[0], what), duration_from(pair[1], what)};
  if (both.most < both.least) invalid(what + ": the least is more than the most");
  return both;
}

using OptionMember = std::variant<Duration Options::*, std::uint32_t Options::*,
                                  std::size_t Options::*, std::int64_t Options::*>;
const std::pair<const char*, OptionMember> kOptions[] = {
    {"batch_max", &Options::batch_max},
    {"queue_max", &Options::queue_max},
    {"placements_max", &Options::placements_max},
    {"agent_timeout", &Options::agent_timeout},
    {"lost_grace", &Options::lost_grace},
    {"prepare_timeout", &Options::prepare_timeout},
    {"create_timeout", &Options::create_timeout},
    {"terminate_timeout", &Options::terminate_timeout},
    {"recheck_interval", &Options::recheck_interval},
    {"running_recheck", &Options::running_recheck},
    {"command_timeout", &Options::command_timeout},
    {"create_call_timeout", &Options::create_call_timeout},
    {"call_timeout", &Options::call_timeout},
    {"retry_backoff", &Options::retry_backoff},
    {"attempts_max", &Options::attempts_max},
    {"keep_ended", &Options::keep_ended},
    {"owed_destroy_timeout", &Options::owed_destroy_timeout},
    {"storage_backoff", &Options::storage_backoff},
    {"tag_max", &Options::tag_max},
    {"environ_max", &Options::environ_max},
    {"resource_opts_max", &Options::resource_opts_max},
    {"list_max", &Options::list_max},
    {"script_max", &Options::script_max},
    {"upload_max", &Options::upload_max},
    {"cluster_size_max", &Options::cluster_size_max},
    {"kernel_log_max", &Options::kernel_log_max},
};

void set_option(Options& options, const OptionMember& member, py::handle value,
                const std::string& what) {
  std::visit(
      [&](auto at) {
        using T = std::remove_reference_t<decltype(options.*at)>;
        if constexpr (std::is_same_v<T, Duration>) {
          options.*at = duration_from(value, what);
        } else {
          constexpr std::int64_t most =
              sizeof(T) == 4 ? std::int64_t{std::numeric_limits<std::uint32_t>::max()}
                             : std::numeric_limits<std::int64_t>::max();
          options.*at = static_cast<T>(integer(value, what, 1, most));
        }
      },
      member);
}

SlotTypes slot_types(py::handle value) {
  SlotTypes types;
  if (!py::isinstance<py::dict>(value)) invalid("slot_types: must be a dict of slot types");
  for (const auto& [name, type] : py::reinterpret_borrow<py::dict>(value)) {
    must(types.add(text(name, "slot_types"), must(parse_slot_type(text(type, "slot_types")))));
  }
  return types;
}

std::vector<SessionId> session_ids(py::handle value, const std::string& what) {
  std::vector<SessionId> ids;
  for (const std::string& id : texts(value, what)) ids.push_back(uuid_from<SessionId>(id, what));
  return ids;
}

// The members of a session that are plain texts.
std::string* text_member(CreateSession& session, const std::string& name) {
  if (name == "name") return &session.name;
  if (name == "image") return &session.image;
  if (name == "architecture") return &session.architecture;
  if (name == "project") return &session.project;
  if (name == "tag") return &session.tag;
  if (name == "startup_command") return &session.startup_command;
  if (name == "bootstrap_script") return &session.bootstrap_script;
  if (name == "callback_url") return &session.callback_url;
  return nullptr;
}

bool read_number(CreateSession& session, const std::string& name, py::handle value) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  if (name == "cluster_size") {
    session.cluster_size = integer(value, name, -most, most);
  } else if (name == "priority") {
    session.priority = integer(value, name, -most, most);
  } else if (name == "job_priority") {
    session.job_priority = integer(value, name, -most, most);
  } else if (name == "is_preemptible") {
    session.is_preemptible = flag(value, name);
  } else if (name == "reuse") {
    session.reuse = flag(value, name);
  } else {
    return false;
  }
  return true;
}

bool read_part(CreateSession& session, const std::string& name, py::handle value,
               const SlotTypes& types, Timestamp start) {
  if (std::string* member = text_member(session, name)) {
    *member = text(value, name);
  } else if (name == "session_type") {
    session.type = choice<SessionType>(value, name);
  } else if (name == "cluster_mode") {
    session.cluster_mode = choice<ClusterMode>(value, name);
  } else if (name == "domain") {
    session.domain = DomainName(text(value, name));
  } else if (name == "resource_group") {
    session.resource_group = ResourceGroupName(text(value, name));
  } else if (name == "owner") {
    session.owner = AccessKey(text(value, name));
  } else if (name == "slots") {
    session.slots = slots_from(types, value, name);
  } else if (name == "kernel_slots") {
    for (const py::handle one : list_of(value, name, "dicts of amounts")) {
      session.kernel_slots.push_back(slots_from(types, one, name));
    }
  } else if (name == "session_group") {
    session.session_group = text(value, name);
  } else if (name == "resource_opts") {
    session.resource_opts = json_from(value, name);
  } else if (name == "environ") {
    session.environ = json_from(value, name);
  } else if (name == "agents") {
    session.agents = texts(value, name);
  } else if (name == "dependencies") {
    session.dependencies = session_ids(value, name);
  } else if (name == "preopen_ports") {
    for (const py::handle port : list_of(value, name, "ports")) {
      session.preopen_ports.push_back(integer(port, name, 1, 65535));
    }
  } else if (name == "batch_timeout") {
    session.batch_timeout = duration_from(value, name);
  } else if (name == "starts_at") {
    session.starts_at = time_from(value, start, name);
  } else {
    return read_number(session, name, value);
  }
  return true;
}

}  // namespace

void read_options(const py::dict& given, Options& options) {
  each_member(given, "options", [&](const std::string& name, py::handle value) {
    for (const auto& [known, member] : kOptions) {
      if (name != known) continue;
      set_option(options, member, value, "options." + name);
      return true;
    }
    return false;
  });
}

SimBehaviour read_behaviour(const py::dict& given) {
  SimBehaviour behaviour;
  each_member(given, "behaviour", [&](const std::string& name, py::handle value) {
    const std::string what = "behaviour." + name;
    if (name == "heartbeat_interval") {
      behaviour.heartbeat_interval = duration_from(value, what);
      if (behaviour.heartbeat_interval.ns == 0) invalid(what + ": must be longer than 0");
    } else if (name == "answer") {
      behaviour.answer = range(value, what);
    } else if (name == "pull") {
      behaviour.pull = range(value, what);
    } else if (name == "create") {
      behaviour.create = range(value, what);
    } else if (name == "destroy") {
      behaviour.destroy = range(value, what);
    } else if (name == "batch") {
      behaviour.batch = range(value, what);
    } else if (name == "batch_failure") {
      behaviour.batch_failure = share(value, what);
    } else if (name == "create_failure") {
      behaviour.create_failure = share(value, what);
    } else if (name == "keeps_records") {
      behaviour.keeps_records = flag(value, what);
    } else {
      return false;
    }
    return true;
  });
  return behaviour;
}

SimAgentSpec read_agent(const py::dict& given) {
  SimAgentSpec spec;
  if (given.contains("slot_types")) spec.slot_types = slot_types(given["slot_types"]);
  each_member(given, "agent", [&](const std::string& name, py::handle value) {
    if (name == "id") {
      spec.id = AgentId(text(value, name));
    } else if (name == "slots") {
      spec.capacity = slots_from(spec.slot_types, value, name);
    } else if (name == "resource_group") {
      spec.resource_group = text(value, name);
    } else if (name == "architecture") {
      spec.architecture = text(value, name);
    } else if (name == "version") {
      spec.version = text(value, name);
    } else if (name == "accelerator_model") {
      spec.accelerator_model = text(value, name);
    } else if (name == "images") {
      spec.images = texts(value, name);
    } else {
      return name == "slot_types";
    }
    return true;
  });
  if (spec.id.empty()) invalid("agent: must have an id");
  return spec;
}

CreateSession read_session(const py::dict& given, const SlotTypes& types, Timestamp start) {
  CreateSession session;
  each_member(given, "session", [&](const std::string& name, py::handle value) {
    return read_part(session, name, value, types, start);
  });
  return session;
}

}  // namespace bai::python

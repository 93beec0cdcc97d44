// The engine as the Python class that bai_manager/cluster.py builds on.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "convert.hpp"
#include "engine.hpp"
#include "requests.hpp"
#include "rows.hpp"
#include "snapshot.hpp"

namespace bai::python {

namespace {

std::unique_ptr<Engine> make_engine(std::uint64_t seed, bool shuffle, const std::string& path,
                                    const py::dict& options) {
  EngineConfig config;
  config.seed = seed;
  config.shuffle = shuffle;
  config.path = path;
  read_options(options, config.options);
  return std::make_unique<Engine>(std::move(config));
}

// ---- actions

// Virtual time between two calls: sessions are as old as their calls are apart, so first come is
// first served. Too short to be seen elsewhere.
constexpr Duration kBetweenSubmissions = nanoseconds(1);

py::list create_sessions(Engine& engine, const std::string& access_key, const py::list& requests) {
  const SnapshotPtr snapshot = engine.snapshot();
  const Caller caller = engine.caller(access_key);
  std::vector<CreateSession> actions;
  std::vector<std::optional<Error>> refused;
  for (const py::handle request : requests) {
    try {
      actions.push_back(read_session(py::reinterpret_borrow<py::dict>(request),
                                     snapshot->slot_types(), engine.start()));
      refused.emplace_back();
    } catch (const Failure& failure) {
      refused.emplace_back(failure.error());
    }
  }
  engine.advance_until({}, kBetweenSubmissions);
  const auto answers = engine.ask(caller, std::move(actions));
  py::list out;
  auto answer = answers.begin();
  for (const auto& error : refused) {
    if (error) {
      out.append(make_exception(*error));
    } else if (const auto& given = *answer++) {
      out.append(to_string(given->id));
    } else {
      out.append(make_exception(given.error()));
    }
  }
  return out;
}

template <Action A>
typename A::Result ask_one(Engine& engine, const Caller& caller, A action) {
  std::vector<A> actions;
  actions.push_back(std::move(action));
  return must(std::move(engine.ask(caller, std::move(actions)).front()));
}

// About a session of `access_key` that is described, or about the one that waits (an id).
py::dict what_if(Engine& engine, const std::string& access_key, const py::object& request,
                 const py::object& waiting, const py::object& agents) {
  const SnapshotPtr snapshot = engine.snapshot();
  WhatIf action;
  if (!request.is_none()) {
    action.session = read_session(py::reinterpret_borrow<py::dict>(request), snapshot->slot_types(),
                                  engine.start());
    action.session->owner = AccessKey(access_key);
  }
  if (!waiting.is_none()) {
    action.waiting = uuid_from<SessionId>(waiting.cast<std::string>(), "session");
  }
  if (!agents.is_none()) action.agents = json_from(agents, "agents");
  const auto result = ask_one(engine, Caller::system(), std::move(action));
  py::dict where;
  for (const auto& [host, agent] : result.agents) where[py::str(host)] = agent.str();
  py::list victims;
  for (const SessionId& id : result.victims) victims.append(to_string(id));
  py::dict out;
  out["starts_now"] = result.starts_now;
  out["agents"] = where;
  out["victims"] = victims;
  out["reason"] = reason_to(result.starts_now ? nullptr : &result.reason, snapshot->slot_types());
  return out;
}

py::list destroy_session(Engine& engine, const std::string& access_key, const std::string& id,
                         bool forced, bool recursive, const std::string& reason) {
  DestroySession action;
  action.id = uuid_from<SessionId>(id, "session");
  action.forced = forced;
  action.recursive = recursive;
  action.reason = reason;
  const auto result = ask_one(engine, engine.caller(access_key), std::move(action));
  py::list ended;
  for (const auto& [session, how] : result.ended) {
    ended.append(py::make_tuple(to_string(session), how));
  }
  return ended;
}

py::tuple load(Engine& engine, const py::dict& document) {
  const auto result =
      ask_one(engine, Caller::system(), LoadFixture{json_from(document, "fixture")});
  return py::make_tuple(result.inserted, result.replaced);
}

void modify_agent(Engine& engine, const std::string& id, bool schedulable) {
  ModifyAgent action;
  action.id = AgentId(id);
  action.schedulable = schedulable;
  ask_one(engine, Caller::system(), std::move(action));
}

py::object execute(Engine& engine, const std::string& access_key, const std::string& id,
                   const std::string& code) {
  ExecuteCode action;
  action.id = uuid_from<SessionId>(id, "session");
  action.code = code;
  return json_to(ask_one(engine, engine.caller(access_key), std::move(action)));
}

// ---- reads

py::list history(const Engine& engine, const std::string& id) {
  const auto session = uuid_from<SessionId>(id, "session");
  const auto manager = engine.manager();
  const SnapshotPtr snapshot = manager->snapshot();
  auto rows = [&] {
    const py::gil_scoped_release released;
    return manager->history(session);
  }();
  if (!rows) throw Failure(std::move(rows.error()));
  py::list out;
  for (auto& row : *rows) {
    out.append(make_stored_row(snapshot, EntityKind::History, std::move(row)));
  }
  return out;
}

py::dict statistics(const Engine& engine) {
  const Statistics s = engine.statistics();
  py::dict out;
  out["version"] = s.version;
  out["turns"] = s.turns;
  out["inputs"] = s.inputs;
  out["commits"] = s.commits;
  out["commit_failures"] = s.commit_failures;
  out["rows_written"] = s.rows_written;
  out["passes"] = s.passes;
  out["placements"] = s.placements;
  out["placements_refused"] = s.placements_refused;
  out["events_accepted"] = s.events_accepted;
  out["events_ignored"] = s.events_ignored;
  out["queue_length"] = s.queue_length;
  return out;
}

std::string check_invariants(const Engine& engine) {
  const auto manager = engine.manager();
  const py::gil_scoped_release released;
  return manager->check_invariants();
}

// ---- time

bool run_until(Engine& engine, const py::function& predicate, Duration within) {
  // Asked again only when the state or the time has changed.
  std::uint64_t version = 0;
  Timestamp at{-1};
  bool value = false;
  const auto manager = engine.manager();
  const auto ask = [&] {
    const std::uint64_t present = manager->snapshot()->version().value;
    if (present == version && engine.world().now() == at) return value;
    version = present;
    at = engine.world().now();
    const py::gil_scoped_acquire gil;
    try {
      value = py::bool_(predicate());
    } catch (py::error_already_set& error) {
      engine.host().keep(error);
    }
    return value;
  };
  return engine.advance_until(ask, within);
}

// ---- agents

SimAgent& agent_named(Engine& engine, const std::string& id) {
  if (SimAgent* agent = engine.cluster().find(AgentId(id))) return *agent;
  throw Failure(ErrorCode::NotFound, "There is no simulated agent \"" + id + "\"",
                "agent-not-found");
}

void add_agent(Engine& engine, const py::dict& spec, const py::dict& behaviour) {
  SimAgentSpec agent = read_agent(spec);
  SimBehaviour manner = read_behaviour(behaviour);
  for (const char* slot : {"cpu", "mem"}) {
    if (!agent.capacity.contains(slot)) {
      invalid("agent " + agent.id.str() + ": slots must list cpu and mem");
    }
  }
  engine.exclusively([&] {
    if (engine.cluster().find(agent.id) != nullptr) {
      throw Failure(ErrorCode::AlreadyExists,
                    "There is already an agent \"" + agent.id.str() + "\"");
    }
    static_cast<void>(engine.manager());
    engine.cluster().add(std::move(agent), std::move(manner));
  });
}

void fail_agent(Engine& engine, const std::string& id, bool kernels_survive, bool hang) {
  engine.exclusively([&] {
    SimAgent& agent = agent_named(engine, id);
    if (!agent.is_up()) {
      throw Failure(ErrorCode::Conflict, "Agent \"" + id + "\" has failed already");
    }
    if (hang) {
      engine.cluster().hang(AgentId(id));
    } else {
      engine.cluster().crash(AgentId(id), kernels_survive);
    }
  });
}

void restore_agent(Engine& engine, const std::string& id) {
  engine.exclusively([&] {
    SimAgent& agent = agent_named(engine, id);
    if (agent.is_up() && !agent.is_hanging()) {
      throw Failure(ErrorCode::Conflict, "Agent \"" + id + "\" has not failed");
    }
    engine.cluster().come_back(AgentId(id));
  });
}

void set_capacity(Engine& engine, const std::string& id, const py::dict& slots) {
  const SlotTypes types =
      engine.exclusively([&] { return agent_named(engine, id).spec().slot_types; });
  const SlotMap capacity = slots_from(types, slots, "slots");
  engine.exclusively([&] { agent_named(engine, id).set_capacity(capacity); });
}

void kill_kernel(Engine& engine, const std::string& id, std::int64_t exit_code) {
  const auto kernel = uuid_from<KernelId>(id, "kernel");
  engine.exclusively([&] {
    const auto places = engine.cluster().where_live();
    const auto place = places.find(kernel);
    if (place == places.end() || place->second.empty()) {
      throw Failure(ErrorCode::NotFound, "No agent runs kernel " + id);
    }
    for (const AgentId& agent : place->second) {
      must(agent_named(engine, agent.str()).kill_kernel(kernel, exit_code));
    }
  });
}

void fail_creates(Engine& engine, const std::string& id, const std::string& kind,
                  std::uint32_t count, bool late) {
  engine.exclusively([&] { agent_named(engine, id).fail_next_creates(kind, count, late); });
}

// What an agent itself holds: the truth that the manager's bookkeeping can be compared with.
py::dict agent_truth(Engine& engine, const std::string& id) {
  SlotMap held;
  SlotTypes types;
  std::vector<KernelId> running;
  engine.exclusively([&] {
    const SimAgent& agent = agent_named(engine, id);
    held = agent.held();
    types = agent.spec().slot_types;
    running = agent.running_kernels();
  });
  py::list ids;
  for (const KernelId& kernel : running) ids.append(to_string(kernel));
  py::dict out;
  out["held"] = slots_to(types, held);
  out["running"] = ids;
  return out;
}

using EngineClass = py::class_<Engine>;

void define_actions(EngineClass& type) {
  type.def("create_sessions", &create_sessions, py::arg("access_key"), py::arg("requests"),
           "Ids, and exceptions in place of those that were refused.")
      .def("what_if", &what_if, py::arg("access_key"), py::arg("request"), py::arg("waiting"),
           py::arg("agents"))
      .def("destroy_session", &destroy_session, py::arg("access_key"), py::arg("id"),
           py::arg("forced"), py::arg("recursive"), py::arg("reason"))
      .def("execute", &execute, py::arg("access_key"), py::arg("id"), py::arg("code"))
      .def("load", &load, py::arg("document"))
      .def("modify_agent", &modify_agent, py::arg("id"), py::arg("schedulable"));
}

void define_agents(EngineClass& type) {
  type.def("add_agent", &add_agent, py::arg("spec"), py::arg("behaviour"))
      .def("fail_agent", &fail_agent, py::arg("id"), py::arg("kernels_survive"), py::arg("hang"))
      .def("restore_agent", &restore_agent, py::arg("id"))
      .def("set_capacity", &set_capacity, py::arg("id"), py::arg("slots"))
      .def("kill_kernel", &kill_kernel, py::arg("id"), py::arg("exit_code"))
      .def("fail_creates", &fail_creates, py::arg("id"), py::arg("kind"), py::arg("count"),
           py::arg("late"))
      .def("agent_truth", &agent_truth, py::arg("id"));
}

void define_time(EngineClass& type) {
  type.def_property_readonly("now", [](const Engine& engine) { return time_to(engine.now()); })
      .def_property_readonly("elapsed",
                             [](const Engine& engine) {
                               const Duration passed = engine.now() - engine.start();
                               return static_cast<double>(passed.ns / 1000) / 1e6;
                             })
      .def(
          "advance",
          [](Engine& engine, py::handle by) {
            engine.advance_until({}, duration_from(by, "seconds"));
          },
          py::arg("by"))
      .def(
          "run_until",
          [](Engine& engine, const py::function& predicate, py::handle within) {
            return run_until(engine, predicate, duration_from(within, "within"));
          },
          py::arg("predicate"), py::arg("within"))
      .def(
          "run_until_idle",
          [](Engine& engine, py::handle within) {
            return engine.run_until_idle(duration_from(within, "within"));
          },
          py::arg("within"));
}

void define_reads(EngineClass& type) {
  type.def("snapshot", [](const Engine& engine) { return SnapshotHandle{engine.snapshot()}; })
      .def("history", &history, py::arg("id"))
      .def("statistics", &statistics)
      .def("check_invariants", &check_invariants)
      .def("policy_errors", [](Engine& engine) { return engine.host().errors(); })
      .def("log_lines", [](Engine& engine) {
        return engine.exclusively([&] { return engine.world().log_lines(); });
      });
}

}  // namespace

void define_engine(py::module_& m) {
  EngineClass type(m, "Engine", "A control plane on virtual time; bai_manager.Cluster wraps it.");
  type.def(py::init(&make_engine), py::arg("seed"), py::arg("shuffle"), py::arg("path"),
           py::arg("options"))
      .def("add_policy", &Engine::add_policy, py::arg("kind"), py::arg("name"), py::arg("policy"))
      .def(
          "check_group",
          [](const Engine& engine, const py::dict& row) {
            engine.check_group(json_from(row, "resource_group"));
          },
          py::arg("row"))
      .def("open", &Engine::open)
      .def("close", &Engine::close)
      .def(
          "restart",
          [](Engine& engine, py::handle outage) {
            engine.restart(duration_from(outage, "outage"));
          },
          py::arg("outage"));
  define_actions(type);
  define_agents(type);
  define_time(type);
  define_reads(type);
}

}  // namespace bai::python

#include "engine.hpp"

#include <algorithm>

#include "bai_manager/schema.hpp"
#include "bai_manager/storage_sqlite.hpp"

namespace bai::python {

namespace {

constexpr std::uint64_t kTasksPerSignalCheck = 512;
constexpr std::chrono::milliseconds kTurnWait{50};  // between looks for signals

bool is_busy(const Session& session) {
  if (session.status == SessionStatus::Pending || is_terminal(session.status)) return false;
  return session.status != SessionStatus::Running || session.type == SessionType::Batch;
}

// The latest time that a stored state knows of.
Timestamp latest_time(const Snapshot& snapshot) {
  Timestamp latest;
  const auto see = [&](const EntityInfo& entity, const void* row) {
    for (const FieldInfo& field : entity.fields) {
      if (field.name == "created_at" || field.name == "starts_at" ||
          field.name == "terminated_at" || field.name == "first_contact" ||
          field.name == "lost_at") {
        const Value value = field.get(row);
        if (const auto* ns = std::get_if<std::int64_t>(&value))
          latest.ns = std::max(latest.ns, *ns);
      }
    }
  };
  const auto see_all = [&]<Entity E>(const E*) {
    snapshot.for_each<E>([&](const E& row) {
      see(entity_info<E>(), &row);
      if constexpr (requires { row.status_times; }) {
        for (const auto& [status, at] : row.status_times) latest = std::max(latest, at);
      }
      return true;
    });
  };
  see_all(static_cast<const Session*>(nullptr));
  see_all(static_cast<const Kernel*>(nullptr));
  see_all(static_cast<const Agent*>(nullptr));
  see_all(static_cast<const Domain*>(nullptr));
  return latest;
}

}  // namespace

// ---- what is still to come

void BusySessions::follow(std::function<SnapshotPtr()> read) {
  read_ = std::move(read);
  busy_.clear();
  read_()->for_each<Session>([&](const Session& session) {
    note(session);
    return true;
  });
}

void BusySessions::note(const Session& session) {
  if (is_busy(session)) {
    busy_.insert(session.id);
  } else {
    busy_.erase(session.id);
  }
}

void BusySessions::publish(std::span<const StatusEvent> events) noexcept {
  if (!read_) return;
  const SnapshotPtr snapshot = read_();
  for (const StatusEvent& event : events) {
    if (event.kernel) continue;
    const Session* session = snapshot->find<Session>(event.session);
    if (session == nullptr) {
      busy_.erase(event.session);
    } else {
      note(*session);
    }
  }
}

// ---- turns

Engine::Turn::Turn(Engine& engine) : engine_(engine) {
  if (engine.driver_.load() == std::this_thread::get_id()) {
    throw Failure(ErrorCode::Conflict,
                  "The cluster is being driven by this very call; a policy or a predicate can only "
                  "read");
  }
  for (;;) {
    auto released = std::make_unique<py::gil_scoped_release>();
    if (engine.turn_.try_lock_for(kTurnWait)) {
      released_ = std::move(released);
      break;
    }
    released.reset();
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
  engine.driver_.store(std::this_thread::get_id());
}

Engine::Turn::~Turn() {
  engine_.now_ns_.store(engine_.world_.now().ns);
  engine_.driver_.store(std::thread::id());
  engine_.turn_.unlock();
  released_.reset();
}

// ---- life

Engine::Engine(EngineConfig config)
    : config_(std::move(config)),
      host_(PolicyHost::make()),
      registry_(std::make_shared<PolicyRegistry>()),
      world_(config_.seed, config_.shuffle),
      start_(world_.now()),
      now_ns_(start_.ns),
      cluster_(std::make_shared<SimulatedCluster>(world_.env().clock, world_.outside(),
                                                  config_.seed + 1)),
      busy_(std::make_shared<BusySessions>()) {
  must(add_builtin_policies(*registry_));
}

Engine::~Engine() {
  const py::gil_scoped_release released;
  open_ = false;
  cluster_->set_sink({});
  if (manager_) manager_->abandon();  // what was answered is stored already
  set_manager({});
  world_.forget_all();
}

void Engine::add_policy(const std::string& kind, const std::string& name, py::object policy) {
  if (open_) {
    throw Failure(ErrorCode::Conflict,
                  "Policies are known before the manager opens: give them to Cluster()");
  }
  add_python_policy(*registry_, kind, name, std::move(policy), host_);
}

void Engine::check_group(const Json& row) const {
  ResourceGroup group;
  must(row_from_json(entity_info<ResourceGroup>(), &group, row, SlotTypes()));
  must(registry_->check(group));
}

void Engine::open_manager() {
  Ports ports;
  ports.storage = storage_;
  ports.agents = cluster_;
  ports.events = busy_;
  ports.policies = registry_;
  set_manager(must(Manager::open(config_.options, world_.env(), std::move(ports))));
  busy_->follow([manager = manager_.get()] { return manager->snapshot(); });
  cluster_->set_sink([manager = manager_.get()](AgentEvent event, auto done) {
    manager->deliver(std::move(event), std::move(done));
  });
}

// Time goes on from where a stored state left it, in a new world.
void Engine::resume_time() {
  const Timestamp latest = latest_time(*manager_->snapshot());
  if (latest < world_.now()) return;
  cluster_->set_sink({});
  manager_->abandon();
  set_manager({});
  world_.forget_all();
  world_.advance(latest - world_.now() + seconds(1));
  start_ = world_.now();
  open_manager();
}

void Engine::open() {
  exclusively([&] {
    if (config_.path.empty()) {
      storage_ = make_memory_storage();
    } else {
      SqliteOptions sqlite;
      sqlite.path = config_.path;
      sqlite.synchronous_full = false;  // virtual agents do not survive a power failure either
      storage_ = must(open_sqlite_storage(std::move(sqlite)));
    }
    open_manager();
    resume_time();
    open_ = true;
  });
}

void Engine::close() {
  if (!open_) return;
  exclusively([&] {
    open_ = false;
    const Status closed = manager_->close(seconds(5));
    cluster_->set_sink({});
    set_manager({});
    world_.forget_all();
    storage_.reset();
    must(closed);
  });
}

void Engine::restart(Duration outage) {
  exclusively([&] {
    manager()->abandon();
    cluster_->disconnect();
    cluster_->set_sink({});
    set_manager({});
    world_.forget_all();
    world_.advance(outage);
    open_manager();
  });
}

void Engine::set_manager(std::shared_ptr<Manager> manager) {
  const std::lock_guard lock(manager_mutex_);
  manager_.swap(manager);
}

std::shared_ptr<Manager> Engine::manager() const {
  const std::lock_guard lock(manager_mutex_);
  if (!open_ || !manager_) throw Failure(ErrorCode::Unavailable, "The cluster is closed");
  return manager_;
}

SnapshotPtr Engine::snapshot() const { return manager()->snapshot(); }
Statistics Engine::statistics() const { return manager()->statistics(); }

Caller Engine::caller(const std::string& access_key) const {
  if (access_key.empty()) return Caller::system();
  return must(identify(*snapshot(), AccessKey(access_key)));
}

// ---- driving

bool Engine::drive(const Predicate& done, Duration within) {
  std::uint64_t tasks = 0;
  const bool met = world_.advance_until(
      [&] {
        if (host_->is_interrupted()) return true;
        if (++tasks % kTasksPerSignalCheck == 0) {
          now_ns_.store(world_.now().ns);
          const py::gil_scoped_acquire gil;
          if (PyErr_CheckSignals() != 0) {
            py::error_already_set error;
            host_->keep(error);
            return true;
          }
        }
        return done && done();
      },
      within);
  return met && !host_->is_interrupted();
}

bool Engine::advance_until(const Predicate& done, Duration within) {
  return exclusively([&] {
    static_cast<void>(manager());
    return drive(done, within);
  });
}

// Nothing is on its way and whatever waits has been told that time alone will not help.
bool Engine::is_idle() const {
  if (!busy_->empty()) return false;
  const SnapshotPtr snapshot = manager_->snapshot();
  for (const Session* session : snapshot->sessions_in(SessionStatus::Pending)) {
    if (!session->pending_reason || session->pending_reason->code == "start-time") return false;
  }
  return true;
}

bool Engine::run_until_idle(Duration within) {
  return exclusively([&] {
    static_cast<void>(manager());
    const Timestamp until = world_.now() + within;
    for (;;) {
      // What is due at this instant may change the picture.
      if (!drive([&] { return is_idle(); }, until - world_.now())) return false;
      drive({}, Duration{});
      if (is_idle() || host_->is_interrupted()) return true;
    }
  });
}

}  // namespace bai::python

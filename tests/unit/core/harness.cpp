#include "harness.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace bai::test {

namespace {

constexpr std::string_view kBase = R"({
  "domains": [{"name": "default"}],
  "projects": [{"id": "00000000-0000-0000-0000-0000000000a1", "name": "default",
                "domain_name": "default"}],
  "keypair_resource_policies": [{"name": "default", "max_containers_per_session": 0}],
  "resource_groups": [{"name": "default", "is_default": true}],
  "resource_group_grants": [{"resource_group": "default", "scope_kind": "domain", "scope": "default"}],
  "images": [
    {"id": "00000000-0000-0000-0000-0000000000b1", "canonical": "cr.test/stable/python:3",
     "registry": "cr.test", "is_local": true, "aliases": ["python"],
     "min_slots": {"cpu": "1", "mem": "256m"}},
    {"id": "00000000-0000-0000-0000-0000000000b2", "canonical": "cr.test/stable/remote:3",
     "registry": "cr.test", "min_slots": {"cpu": "1", "mem": "256m"}},
    {"id": "00000000-0000-0000-0000-0000000000b3", "canonical": "cr.test/stable/other:1",
     "registry": "cr.test", "is_local": true, "min_slots": {"cpu": "1", "mem": "256m"}}]
})";

constexpr const char* kProject = "00000000-0000-0000-0000-0000000000a1";

}  // namespace

SlotMap slots(std::initializer_list<std::pair<const char*, const char*>> amounts) {
  const SlotTypes types;
  SlotMap map;
  for (const auto& [name, text] : amounts) {
    const auto amount = parse_amount(types.type_of(name), text);
    REQUIRE(amount.has_value());
    map.set(name, *amount);
  }
  return map;
}

World::World() {
  REQUIRE(add_builtin_policies(policies).has_value());
  REQUIRE(storage_->open(repo::make_schema()).has_value());
  load(kBase);
  add_user("user");
  history.clear();
}

const Session& World::session(const SessionId& id) const {
  const Session* found = state_->find<Session>(id);
  REQUIRE(found != nullptr);
  return *found;
}

const Kernel& World::kernel(const SessionId& id, std::size_t rank) const {
  const auto all = state_->kernels_of(id);
  REQUIRE(rank < all.size());
  return *all[rank];
}

const Agent& World::agent(const char* id) const {
  const Agent* found = state_->find<Agent>(AgentId(id));
  REQUIRE(found != nullptr);
  return *found;
}

std::vector<Operation> World::operations() const {
  std::vector<Operation> rows;
  state_->table<Operation>().for_each([&](const Operation& row) {
    rows.push_back(row);
    return true;
  });
  return rows;
}

void World::load(std::string_view fixture) {
  const auto document = Json::parse(fixture);
  REQUIRE(document.has_value());
  const auto result = input([&](core::Context& ctx) {
    return service::handle(ctx, Caller::system(), LoadFixture{*document});
  });
  REQUIRE_MESSAGE(result.has_value(), result.error().message);
}

std::string World::id_of(std::string_view user) {
  std::array<std::uint8_t, 16> bytes{};
  for (std::size_t i = 0; i < std::min(user.size(), bytes.size()); ++i) {
    bytes[i] = static_cast<std::uint8_t>(user[i]);
  }
  return uuid_to_string(bytes);
}

namespace {

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::toupper(c));
  return out;
}

}  // namespace

void World::add_user(const char* name, const char* role, const char* policy) {
  load(fmt::format(
      R"({{"users": [{{"uuid": "{0}", "email": "{1}@x", "username": "{1}", "domain_name": "default",
                       "role": "{2}", "main_access_key": "{3}"}}],
           "keypairs": [{{"access_key": "{3}", "user": "{0}", "resource_policy": "{4}"}}],
           "project_members": [{{"project": "{5}", "user": "{0}"}}]}})",
      id_of(name), name, role, upper(name), policy, kProject));
}

Caller World::caller(const char* user) const {
  if (std::string_view(user) == "system") return Caller::system();
  const User* row = state_->find<User>(*parse_uuid<UserId>(id_of(user)));
  REQUIRE(row != nullptr);
  Caller caller;
  caller.user = row->id;
  caller.access_key = row->main_access_key;
  caller.domain = row->domain;
  caller.role = row->role;
  return caller;
}

void World::set_policy(std::string_view fields) {
  load(fmt::format(R"({{"keypair_resource_policies": [{{"name": "default", {}}}]}})", fields));
}

AgentHeartbeat World::beat(const char* id, const char* cpu, const char* mem) {
  AgentInfo info;
  info.addr = fmt::format("tcp://{}:6001", id);
  info.resource_group = "default";
  info.architecture = "x86_64";
  info.version = "26.8.0";
  info.slots = {{"cpu", cpu}, {"mem", mem}};
  info.slot_types = {{"cpu", "count"}, {"mem", "bytes"}};
  return {info};
}

void World::add_agent(const char* id, const char* cpu, const char* mem) {
  REQUIRE(event(id, beat(id, cpu, mem)));
}

CreateSession World::request(std::string name, std::string image, std::int64_t cluster_size) {
  CreateSession request;
  request.name = std::move(name);
  request.image = std::move(image);
  request.slots = slots({{"cpu", "1"}, {"mem", "1g"}});
  request.cluster_size = cluster_size;
  if (cluster_size > 1) request.cluster_mode = ClusterMode::MultiNode;
  return request;
}

CreateSession World::batch(std::string name, std::string command) {
  CreateSession made = request(std::move(name));
  made.type = SessionType::Batch;
  made.startup_command = std::move(command);
  return made;
}

SessionId World::create(const CreateSession& request, const char* user) {
  const auto result = ask(request, user);
  REQUIRE_MESSAGE(result.has_value(), result.error().message);
  CHECK(result->created);
  return result->id;
}

bool World::event(const AgentId& agent, AgentEventBody body) {
  return input([&](core::Context& ctx) {
    return core::on_agent_event(ctx, AgentEvent{agent, std::move(body)});
  });
}

Placement World::placement(const SessionId& session, std::vector<const char*> agents) const {
  Placement placement{session, {}};
  for (const auto& kernel : kernels(session)) {
    const std::size_t at = std::min(placement.kernels.size(), agents.size() - 1);
    placement.kernels.emplace_back(kernel->id, AgentId(agents[at]));
  }
  return placement;
}

core::PlanOutcome World::plan(const Plan& plan) {
  return input([&](core::Context& ctx) { return core::on_plan(ctx, plan); });
}

core::PlanOutcome World::place(const SessionId& session, std::vector<const char*> agents) {
  Plan one;
  one.placements.push_back(placement(session, std::move(agents)));
  return plan(one);
}

std::string World::terminate(const SessionId& session, bool forced, std::string_view reason) {
  return input([&](core::Context& ctx) {
    return std::string(core::terminate(ctx, session, reason, forced));
  });
}

void World::answer(const core::Command& command, Result<AgentReply> reply) {
  input([&](core::Context& ctx) { core::on_answer(ctx, command.agent.id, command.errand, reply); });
}

void World::advance(Duration by) {
  const Timestamp until = now + by;
  while (!timers.empty() && timers.begin()->at <= until) {
    const core::Timer timer = *timers.begin();
    timers.erase(timers.begin());
    now = std::max(now, timer.at);
    input([&](core::Context& ctx) { core::on_timer(ctx, timer); });
  }
  now = until;
}

std::vector<std::shared_ptr<const History>> World::stored_history(const SessionId& session) const {
  auto rows = repo::load_history(*storage_, session);
  REQUIRE(rows.has_value());
  return std::move(*rows);
}

void World::restart() {
  REQUIRE(is_stored);
  auto fresh = std::make_unique<State>();
  const Status loaded = repo::load(*storage_, *fresh);
  REQUIRE_MESSAGE(loaded.has_value(), loaded.error().message);
  auto changes = std::make_unique<Changeset>(*fresh);
  core::rebuild_sums(*changes);
  changes->take();
  REQUIRE(core::check_invariants(*fresh) == "");
  REQUIRE(first_difference(*state_, *fresh) == "");
  changes_ = std::move(changes);
  state_ = std::move(fresh);
  timers.clear();
  commands.clear();
  const auto stored = repo::stored_version(*storage_);
  REQUIRE(stored.has_value());
  CHECK(stored->version == stored_.version);
  const auto recorded = repo::last_recorded(*storage_);
  REQUIRE(recorded.has_value());
  last_recorded_ = *recorded;
  for (const EntityInfo* info : all_entities()) {
    if (info->residence == Residence::Cold) continue;
    state_->any_table(info->kind).for_each_row([&](const RowPtr& row) {
      std::vector<core::Timer> due;
      core::collect_timers({info->kind, nullptr, row, false}, options, due);
      timers.insert(due.begin(), due.end());
      return true;
    });
  }
  input([&](core::Context& ctx) { core::on_resume(ctx); });
}

void World::started(const SessionId& session) {
  for (const auto& kernel : kernels(session)) {
    if (!is_pre_running(kernel->status)) continue;
    KernelStarted body;
    body.kernel = kernel->id;
    body.session = session;
    body.container_id = "container";
    event(kernel->agent, body);
  }
}

SessionId World::preparing(const CreateSession& request, std::vector<const char*> agents) {
  CreateSession remote = request;
  remote.image = kRemoteImage;
  const SessionId id = create(remote);
  REQUIRE(place(id, std::move(agents)).placed == 1);
  REQUIRE(status(id) == SessionStatus::Preparing);
  return id;
}

SessionId World::creating(const CreateSession& request, std::vector<const char*> agents) {
  const SessionId id = create(request);
  REQUIRE(place(id, std::move(agents)).placed == 1);
  REQUIRE(status(id) == SessionStatus::Creating);
  return id;
}

SessionId World::run(const CreateSession& request, std::vector<const char*> agents) {
  const SessionId id = creating(request, std::move(agents));
  started(id);
  REQUIRE(status(id) == SessionStatus::Running);
  return id;
}

void World::go_back(const State& to) {
  state_->restore(to);
  commands.clear();
  timers.clear();
}

void World::put_session(const SessionId& id, const std::function<void(Session&)>& edit) {
  REQUIRE_FALSE(is_stored);
  core::update_session(*changes_, id, edit);
  changes_->take();
}
void World::put_kernel(const KernelId& id, const std::function<void(Kernel&)>& edit) {
  REQUIRE_FALSE(is_stored);
  core::update_kernel(*changes_, id, edit);
  changes_->take();
}

void World::begin() {
  if (changes_->checkpoint() == 0) before_ = std::make_unique<State>(state_->freeze());
}

void World::finish(bool keep) {
  if (!keep) {
    changes_->rollback(0);
    outbox_.rollback({0, 0, 0});
    REQUIRE(first_difference(*state_, *before_) == "");
    return;
  }
  const auto merged = coalesce(changes_->take());
  const std::string wrong = core::check_invariants(*state_);
  REQUIRE_MESSAGE(wrong == "", (wrong.empty() ? "" : print(merged, state_->slot_types())));
  std::vector<core::Timer> due = std::move(outbox_.timers);
  for (const Change& change : merged) {
    core::collect_timers(change, options, due);
    if (change.entity == EntityKind::History) history.push_back(*change.new_row<History>());
    if (change.entity == EntityKind::KernelLog) logs.push_back(*change.new_row<KernelLog>());
  }
  timers.insert(due.begin(), due.end());
  for (core::Command& command : outbox_.commands) {
    const Agent* target = state_->find<Agent>(command.agent.id);
    REQUIRE(target != nullptr);
    CHECK(command.agent.addr == target->addr);
    CHECK(command.timeout.ns > 0);
    if (const auto* destroy = std::get_if<DestroyKernel>(&command.request)) {
      CHECK(core::agent_reason(destroy->reason) == destroy->reason);
    }
    commands.push_back(std::move(command));
  }
  for (AgentId& agent : outbox_.forget) forgotten.push_back(std::move(agent));
  outbox_ = {};
  state_->version.value += merged.empty() ? 0 : 1;
  if (!is_stored) return;
  const WriteBatch batch = repo::make_batch(merged, stored_, state_->version);
  if (batch.writes.empty()) return;
  const Status committed = storage_->commit(batch);
  REQUIRE_MESSAGE(committed.has_value(), committed.error().message);
  stored_ = {state_->version, stored_.revision + 1};
}

}  // namespace bai::test

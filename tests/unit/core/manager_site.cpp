#include "manager_site.hpp"

#include "harness.hpp"

namespace bai::test {

namespace {

constexpr std::string_view kTenants = R"({
  "domains": [{"name": "default"}],
  "projects": [{"id": "00000000-0000-0000-0000-0000000000a1", "name": "default",
                "domain_name": "default"}],
  "keypair_resource_policies": [{"name": "default", "max_containers_per_session": 0}],
  "users": [{"uuid": "75736572-0000-0000-0000-000000000000", "email": "user@x", "username": "user",
             "domain_name": "default", "main_access_key": "USER"}],
  "keypairs": [{"access_key": "USER", "user": "75736572-0000-0000-0000-000000000000",
                "resource_policy": "default"}],
  "project_members": [{"project": "00000000-0000-0000-0000-0000000000a1",
                       "user": "75736572-0000-0000-0000-000000000000"}],
  "resource_groups": [{"name": "default", "is_default": true}],
  "resource_group_grants": [{"resource_group": "default", "scope_kind": "domain", "scope": "default"}],
  "images": [
    {"id": "00000000-0000-0000-0000-0000000000b1", "canonical": "cr.test/stable/python:3",
     "is_local": true, "min_slots": {"cpu": "1", "mem": "256m"}},
    {"id": "00000000-0000-0000-0000-0000000000b2", "canonical": "cr.test/stable/remote:3",
     "min_slots": {"cpu": "1", "mem": "256m"}}]
})";

}  // namespace

void Site::Recorder::publish(std::span<const StatusEvent> batch) noexcept {
  events.insert(events.end(), batch.begin(), batch.end());
  const StateVersion now = *manager ? (*manager)->snapshot()->version() : StateVersion{};
  seen.insert(seen.end(), batch.size(), now);
}

Site::Site(Options wanted, bool with_agent, std::uint64_t seed, bool shuffle)
    : env(seed, shuffle), cluster(env.env().clock, env.outside(), seed), options(wanted) {
  recorder->manager = &current_;
  open();
  const auto loaded = [&] {
    auto answer = std::make_shared<std::optional<Result<LoadFixture::Result>>>();
    manager->submit<LoadFixture>(Caller::system(), LoadFixture{*Json::parse(kTenants)},
                                 [answer](auto result) { *answer = std::move(result); });
    env.run();
    REQUIRE(answer->has_value());
    return **answer;
  }();
  REQUIRE_MESSAGE(loaded.has_value(), loaded.error().message);
  if (with_agent) add_agent("a1");
}

Site::~Site() {
  if (manager) crash();
}

void Site::open() {
  Ports ports;
  ports.storage = used;
  ports.agents = std::shared_ptr<AgentGateway>(std::shared_ptr<void>(), &cluster);
  ports.events = recorder;
  ports.metrics = metrics;
  const Env own = env.env();
  const Env logged{own.clock,   own.entropy, own.loop,
                   own.planner, own.storage, log ? *log : own.log};
  auto opened = Manager::open(options, logged, std::move(ports));
  REQUIRE_MESSAGE(opened.has_value(), opened.error().message);
  manager = std::move(*opened);
  current_ = manager.get();
  cluster.set_sink([this](AgentEvent event, std::move_only_function<void(bool)> done) {
    manager->deliver(std::move(event), std::move(done));
  });
}

void Site::crash() {
  cluster.set_sink({});
  cluster.disconnect();
  manager->abandon();
  env.forget_all();
  current_ = nullptr;
  manager.reset();
}

void Site::add_agent(const char* id, std::int64_t cores, SimBehaviour behaviour,
                     std::string version) {
  SimAgentSpec spec;
  spec.id = AgentId(id);
  spec.version = std::move(version);
  spec.capacity.set("cpu", Amount{cores * 1000});
  spec.capacity.set("mem", Amount{std::int64_t{64} << 30});
  cluster.add(std::move(spec), behaviour);
  const bool joined = env.advance_until(
      [&] { return manager->snapshot()->find<Agent>(AgentId(id)) != nullptr; }, seconds(30));
  REQUIRE(joined);
}

Caller Site::caller() const {
  auto caller = identify(*manager->snapshot(), AccessKey("USER"));
  REQUIRE(caller.has_value());
  return *caller;
}

SessionId Site::create(const char* name, const char* image, SessionType type, std::string command) {
  CreateSession request = World::request(name, image);
  request.type = type;
  request.startup_command = std::move(command);
  const auto result = ask(request);
  REQUIRE_MESSAGE(result.has_value(), result.error().message);
  return result->id;
}

SessionStatus Site::status(const SessionId& id) const {
  const Session* session = manager->snapshot()->find<Session>(id);
  REQUIRE(session != nullptr);
  return session->status;
}

bool Site::becomes(const SessionId& id, SessionStatus wanted, Duration within) {
  return env.advance_until([&] { return status(id) == wanted; }, within);
}

std::vector<std::string> Site::story(const SessionId& id) const {
  std::vector<std::string> steps;
  for (const StatusEvent& event : recorder->events) {
    if (event.session == id && !event.kernel) steps.push_back(event.from + ">" + event.to);
  }
  return steps;
}

}  // namespace bai::test

// A whole control plane inside one program, on virtual time: two simulated agents, one user, three
// sessions. Nothing is stored, nothing waits: a minute of the cluster's life takes milliseconds.
#include <cstdio>
#include <memory>
#include <string>

#include "bai_manager/manager.hpp"
#include "bai_manager/manual_env.hpp"
#include "bai_manager/sim_agents.hpp"

using namespace bai;

namespace {

constexpr const char* kFixture = R"({
  "domains": [{"name": "default"}],
  "projects": [{"id": "11111111-0000-0000-0000-000000000001", "name": "default", "domain_name": "default"}],
  "keypair_resource_policies": [{"name": "default"}],
  "users": [{"uuid": "22222222-0000-0000-0000-000000000001", "email": "ada@example.com", "username": "ada",
             "domain_name": "default", "main_access_key": "AKIAADA"}],
  "keypairs": [{"access_key": "AKIAADA", "secret_key": "secret", "resource_policy": "default",
                "user": "22222222-0000-0000-0000-000000000001"}],
  "project_members": [{"project": "11111111-0000-0000-0000-000000000001",
                       "user": "22222222-0000-0000-0000-000000000001"}],
  "resource_groups": [{"name": "default", "is_default": true, "agent_selection_strategy": "concentrated"}],
  "resource_group_grants": [{"resource_group": "default", "scope_kind": "domain", "scope": "default"}],
  "images": [{"id": "33333333-0000-0000-0000-000000000001", "canonical": "example.org/lab/python:3.11",
              "registry": "example.org"}]
})";

int failures = 0;

template <class T>
T must(Result<T> result) {
  if (result) return std::move(*result);
  std::printf("error: %s\n", result.error().message.c_str());
  ++failures;
  return {};
}

// Submits an action and runs the world until its answer is there.
template <Action A>
Result<typename A::Result> ask(Manager& manager, ManualEnv& world, Caller caller, A action) {
  Result<typename A::Result> answer = fail(ErrorCode::Internal, "no answer");
  manager.submit<A>(std::move(caller), std::move(action),
                    [&](auto result) { answer = std::move(result); });
  world.run();
  return answer;
}

void print_sessions(const Manager& manager) {
  manager.snapshot()->for_each<Session>([&](const Session& session) {
    const Kernel* kernel = manager.snapshot()->kernels_of(session.id).front();
    std::printf("  %-10s %-11s %-6s %s\n", session.name.c_str(),
                std::string(to_string(session.status)).c_str(), kernel->agent.str().c_str(),
                session.pending_reason ? session.pending_reason->message.c_str() : "");
    return true;
  });
}

}  // namespace

int main() {
  ManualEnv world;
  auto cluster = std::make_shared<SimulatedCluster>(world.env().clock, world.env().loop, 1);
  auto manager = must(Manager::open({}, world.env(), {make_memory_storage(), cluster}));
  if (!manager) return 1;
  cluster->set_sink(
      [&](AgentEvent event, auto done) { manager->deliver(std::move(event), std::move(done)); });

  must(ask(*manager, world, Caller::system(), LoadFixture{must(Json::parse(kFixture))}));
  for (const char* name : {"node-1", "node-2"}) {
    SimAgentSpec agent;
    agent.id = AgentId(name);
    agent.capacity = {{"cpu", Amount{8'000}}, {"mem", Amount{32LL << 30}}};
    cluster->add(std::move(agent));
  }
  world.advance(seconds(1));

  const Caller ada = must(identify(*manager->snapshot(), AccessKey("AKIAADA")));
  std::vector<SessionId> sessions;
  for (const char* name : {"train-1", "train-2", "train-3"}) {
    CreateSession request;
    request.name = name;
    request.image = "example.org/lab/python:3.11";
    request.slots = {{"cpu", Amount{6'000}}, {"mem", Amount{8LL << 30}}};
    sessions.push_back(must(ask(*manager, world, ada, std::move(request))).id);
  }
  world.advance(seconds(10));
  std::printf("After ten seconds:\n");
  print_sessions(*manager);
  const auto running = [&] { return manager->snapshot()->count_sessions(SessionStatus::Running); };
  failures += running() == 2 ? 0 : 1;

  must(ask(*manager, world, ada, DestroySession{sessions[0]}));
  world.advance(seconds(10));
  std::printf("One is removed, the one that waited takes its place:\n");
  print_sessions(*manager);
  failures += running() == 2 ? 0 : 1;

  const std::string broken = manager->check_invariants();
  std::printf("%s\n", broken.empty() ? "Every amount is accounted for." : broken.c_str());
  return failures == 0 && broken.empty() ? 0 : 1;
}

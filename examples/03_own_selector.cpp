// A scheduling policy of one's own: the ten lines of `QuietestAgent` decide where sessions run.
// Four simulated agents, one of them far bigger than the others; the built-in "dispersed" selector
// would send everything there, ours spreads by the number of containers.
#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "bai_manager/manager.hpp"
#include "bai_manager/manual_env.hpp"
#include "bai_manager/policy.hpp"
#include "bai_manager/sim_agents.hpp"

using namespace bai;

namespace {

// The candidates all have room: architecture, amounts, designated agents are settled before. A
// policy is a pure function of the view, so it needs no locks and its plans can be repeated.
class QuietestAgent final : public Selector {
 public:
  std::optional<AgentIndex> select(const SchedView& view, const Demand&,
                                   const Candidates& candidates) const override {
    std::optional<AgentIndex> best;
    for (const AgentIndex agent : candidates.list()) {
      if (!best || view.containers(agent) < view.containers(*best)) best = agent;
    }
    return best;
  }
};

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
  "resource_groups": [{"name": "default", "is_default": true, "agent_selection_strategy": "quietest"}],
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

std::shared_ptr<const PolicyRegistry> policies() {
  auto registry = std::make_shared<PolicyRegistry>();
  const bool ok =
      add_builtin_policies(*registry).has_value() &&
      registry
          ->add_selector("quietest",
                         [](PolicyOptions&) { return std::make_unique<QuietestAgent>(); })
          .has_value();
  failures += ok ? 0 : 1;
  return registry;
}

void add_agent(SimulatedCluster& cluster, const char* name, std::int64_t cores) {
  SimAgentSpec agent;
  agent.id = AgentId(name);
  agent.capacity = {{"cpu", Amount{cores * 1000}}, {"mem", Amount{256LL << 30}}};
  cluster.add(std::move(agent));
}

}  // namespace

int main() {
  ManualEnv world;
  auto cluster = std::make_shared<SimulatedCluster>(world.env().clock, world.env().loop, 1);
  Ports ports;
  ports.storage = make_memory_storage();
  ports.agents = cluster;
  ports.policies = policies();
  auto manager = must(Manager::open({}, world.env(), std::move(ports)));
  if (!manager) return 1;
  cluster->set_sink(
      [&](AgentEvent event, auto done) { manager->deliver(std::move(event), std::move(done)); });
  must(ask(*manager, world, Caller::system(), LoadFixture{must(Json::parse(kFixture))}));
  add_agent(*cluster, "big", 64);
  for (const char* name : {"small-1", "small-2", "small-3"}) add_agent(*cluster, name, 4);
  world.advance(seconds(1));

  const Caller ada = must(identify(*manager->snapshot(), AccessKey("AKIAADA")));
  for (int i = 1; i <= 8; ++i) {
    CreateSession request;
    request.name = "work-" + std::to_string(i);
    request.image = "example.org/lab/python:3.11";
    request.slots = {{"cpu", Amount{1'000}}, {"mem", Amount{2LL << 30}}};
    must(ask(*manager, world, ada, std::move(request)));
  }
  world.advance(seconds(10));

  std::map<std::string, int> running;
  manager->snapshot()->for_each<Kernel>([&](const Kernel& kernel) {
    if (kernel.status == KernelStatus::Running) ++running[kernel.agent.str()];
    return true;
  });
  for (const auto& [agent, kernels] : running) std::printf("%-8s %d\n", agent.c_str(), kernels);
  const std::map<std::string, int> expected = {
      {"big", 2}, {"small-1", 2}, {"small-2", 2}, {"small-3", 2}};
  return failures == 0 && running == expected ? 0 : 1;
}

// Sessions outlive the program that accepted them: the manager stops in the middle of everything, a
// second one opens the same SQLite file and goes on where the first one was.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "bai_manager/manager.hpp"
#include "bai_manager/manual_env.hpp"
#include "bai_manager/sim_agents.hpp"
#include "bai_manager/storage_sqlite.hpp"

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
  "resource_groups": [{"name": "default", "is_default": true}],
  "resource_group_grants": [{"resource_group": "default", "scope_kind": "domain", "scope": "default"}],
  "images": [{"id": "33333333-0000-0000-0000-000000000001", "canonical": "example.org/lab/python:3.11",
              "registry": "example.org"}]
})";

struct Control {  // one manager over the file
  std::unique_ptr<Manager> manager;

  Control(ManualEnv& world, const std::string& path, std::shared_ptr<SimulatedCluster> cluster) {
    auto storage = open_sqlite_storage({.path = path});
    if (!storage) {
      std::printf("error: %s\n", storage.error().message.c_str());
      return;
    }
    auto opened =
        Manager::open({}, world.env(), {std::shared_ptr<Storage>(std::move(*storage)), cluster});
    if (!opened) {
      std::printf("error: %s\n", opened.error().message.c_str());
      return;
    }
    manager = std::move(*opened);
    cluster->set_sink([this](AgentEvent event, auto done) {
      manager->deliver(std::move(event), std::move(done));
    });
  }
  std::size_t count(SessionStatus status) const {
    return manager->snapshot()->count_sessions(status);
  }
};

}  // namespace

int main() {
  const auto directory = std::filesystem::temp_directory_path() / "bai_manager_example_02";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  const std::string path = directory / "manager.sqlite";

  ManualEnv world;
  auto cluster = std::make_shared<SimulatedCluster>(world.env().clock, world.outside(), 1);
  SimAgentSpec agent;
  agent.id = AgentId("node-1");
  agent.capacity = {{"cpu", Amount{8'000}}, {"mem", Amount{32LL << 30}}};
  SimBehaviour slow;
  slow.create = {seconds(5), seconds(5)};
  cluster->add(std::move(agent), slow);

  SessionId id;
  {
    Control first(world, path, cluster);
    if (!first.manager) return 1;
    first.manager->submit<LoadFixture>(Caller::system(), {*Json::parse(kFixture)}, [](auto) {});
    world.advance(seconds(5));
    const auto ada = identify(*first.manager->snapshot(), AccessKey("AKIAADA"));
    if (!ada) return 1;
    CreateSession request;
    request.name = "survivor";
    request.image = "example.org/lab/python:3.11";
    request.slots = {{"cpu", Amount{2'000}}, {"mem", Amount{4LL << 30}}};
    first.manager->submit<CreateSession>(*ada, std::move(request), [&](auto created) {
      if (created) id = created->id;
    });
    world.advance(seconds(2));  // the agent is creating its kernel now
    std::printf("before: %zu creating\n", first.count(SessionStatus::Creating));
    first.manager->abandon();  // as if the power had failed
    cluster->disconnect();
    cluster->set_sink({});
  }
  world.forget_all();
  world.advance(seconds(30));

  Control second(world, path, cluster);
  if (!second.manager) return 1;
  world.advance(seconds(30));
  const Session* session = second.manager->snapshot()->find<Session>(id);
  std::printf("after:  %s is %s, created once: %s\n", session ? session->name.c_str() : "(lost)",
              session ? std::string(to_string(session->status)).c_str() : "",
              cluster->find(AgentId("node-1"))->running_kernels().size() == 1 ? "yes" : "no");
  const bool good = session != nullptr && session->status == SessionStatus::Running &&
                    cluster->find(AgentId("node-1"))->running_kernels().size() == 1 &&
                    second.manager->check_invariants().empty();
  return good ? 0 : 1;
}

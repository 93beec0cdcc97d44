#include <bai_manager/manager.hpp>
#include <bai_manager/manual_env.hpp>
#include <bai_manager/sim_agents.hpp>
#include <bai_manager/storage_sqlite.hpp>
#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  bai::ManualEnv world;
  auto storage = bai::open_sqlite_storage({.path = argv[1]});
  if (!storage) return 1;
  auto cluster = std::make_shared<bai::SimulatedCluster>(world.env().clock, world.env().loop, 1);
  auto manager = bai::Manager::open({}, world.env(),
                                    {std::shared_ptr<bai::Storage>(std::move(*storage)), cluster});
  if (!manager) return 1;
  world.run();
  std::printf("version %llu\n",
              static_cast<unsigned long long>((*manager)->snapshot()->version().value));
  return (*manager)->check_invariants().empty() ? 0 : 1;
}

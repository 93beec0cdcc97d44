// Every status of a session and its kernels with everything that can happen: nothing asserts, every
// invariant holds (the harness looks after each input), and no kernel is forgotten on its agent.
#include <fmt/format.h>

#include <random>

#include "inputs.hpp"

namespace bai::test {

namespace {

struct Stage {
  World world;
  SessionId session;
  KernelId kernel;

  // Two kernels on these agents, of a session that waits.
  Stage(SessionType type, const char* image) {
    world.is_stored = false;
    for (const char* agent : {"a1", "a2", "a3"}) world.add_agent(agent);
    CreateSession request =
        type == SessionType::Batch ? World::batch("subject") : World::request("subject");
    request.image = image;
    request.cluster_size = 2;
    request.cluster_mode = ClusterMode::MultiNode;
    session = world.create(request);
    kernel = world.kernel(session).id;
    // Somebody whose session it waits for is there too, and one that waits for it.
    CreateSession dependent = World::request("dependent");
    dependent.dependencies = {session};
    world.create(dependent);
  }
};

bool has_operation(const World& world, const KernelId& kernel) {
  for (const Operation& operation : world.operations()) {
    if (operation.subject == to_string(kernel)) return true;
  }
  return false;
}

// Kernels that an agent may run were all either reported gone, or somebody still cares for them.
void check_nothing_forgotten(const World& world, const State& before, const SessionId& session,
                             const KernelId& subject, const Input& input) {
  for (const auto& kernel : before.kernels_of(session)) {
    if (!kernel->create_sent || is_terminal(kernel->status)) continue;
    const Kernel* now = world.state().find<Kernel>(kernel->id);
    if (now != nullptr && !is_terminal(now->status)) continue;
    if (input.testifies && kernel->id == subject) continue;
    CHECK_MESSAGE(has_operation(world, kernel->id), "a kernel is left behind by: " << input.name);
  }
}

void run_all(SessionType type, const char* image, std::vector<const char*> agents,
             std::int64_t attempts) {
  Stage stage(type, image);
  World& world = stage.world;
  const State idle = world.freeze();
  const auto inputs = all_inputs(stage.session, stage.kernel, agents[0]);
  const Timestamp start = world.now;
  std::size_t count = 0;
  for (const Situation& situation : all_situations()) {
    world.go_back(idle);
    arrange(world, stage.session, situation, agents);
    world.put_session(stage.session, [&](Session& session) { session.attempts = attempts; });
    REQUIRE(core::check_invariants(world.state()) == "");
    const State before = world.freeze();
    for (const Input& input : inputs) {
      world.go_back(before);
      world.now = start + seconds(1);
      INFO(name_of(situation), ": ", input.name);
      input.run(world);
      check_nothing_forgotten(world, before, stage.session, stage.kernel, input);
      ++count;
    }
  }
  CHECK(count == inputs.size() * all_situations().size());
}

}  // namespace

TEST_CASE("every status takes every input: kernels on two agents") {
  run_all(SessionType::Interactive, kRemoteImage, {"a1", "a2"}, 0);
}
TEST_CASE("every status takes every input: both kernels on one agent") {
  run_all(SessionType::Interactive, kRemoteImage, {"a1", "a1"}, 0);
}
TEST_CASE("every status takes every input: the last attempt") {
  run_all(SessionType::Interactive, kLocalImage, {"a1", "a2"}, 4);
  run_all(SessionType::Interactive, kRemoteImage, {"a2", "a2"}, 4);
}
TEST_CASE("every status takes every input: batch sessions") {
  run_all(SessionType::Batch, kLocalImage, {"a1", "a2"}, 0);
}

TEST_CASE("random sequences of inputs from every status") {
  constexpr int kWalks = 6, kSteps = 25;
  Stage stage(SessionType::Batch, kRemoteImage);
  World& world = stage.world;
  const State idle = world.freeze();
  const auto inputs = all_inputs(stage.session, stage.kernel, "a1");
  std::mt19937_64 dice(7);
  for (const Situation& situation : all_situations()) {
    for (int walk = 0; walk < kWalks; ++walk) {
      world.go_back(idle);
      arrange(world, stage.session, situation, {"a1", walk % 2 == 0 ? "a2" : "a1"});
      std::string story = name_of(situation);
      for (int step = 0; step < kSteps; ++step) {
        const Input& input = inputs[dice() % inputs.size()];
        story += "; " + input.name;
        INFO(story);
        input.run(world);
        // Whatever was asked of an agent is sometimes answered, in some way.
        while (!world.commands.empty()) {
          const core::Command command = std::move(world.commands.back());
          world.commands.pop_back();
          switch (dice() % 5) {
            case 0:
              world.accept(command, true);
              break;
            case 1:
              world.accept(command, false);
              break;
            case 2:
              world.refuse(command, dice() % 2 == 0 ? "KeyError" : "ResourceError");
              break;
            case 3:
              world.lose(command);
              break;
            default:
              break;
          }
        }
      }
    }
  }
}

}  // namespace bai::test

// A simulated cluster on virtual time with a recording sink in a manager's place.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bai_manager/manual_env.hpp"
#include "bai_manager/sim_agents.hpp"

namespace bai::test {

inline KernelId kernel_id(std::uint8_t n) {
  KernelId id;
  id.bytes[15] = n;
  return id;
}
inline SessionId session_id(std::uint8_t n) {
  SessionId id;
  id.bytes[15] = n;
  return id;
}

inline SimAgentSpec agent_spec(const char* name, std::int64_t cores = 8, std::int64_t gib = 16) {
  SimAgentSpec spec;
  spec.id = AgentId(name);
  spec.capacity.set("cpu", Amount{cores * 1000});
  spec.capacity.set("mem", Amount{gib << 30});
  return spec;
}

inline KernelSpec kernel_spec(std::uint8_t n, const char* cores = "1") {
  KernelSpec spec;
  spec.id = kernel_id(n);
  spec.image.canonical = "cr.backend.ai/stable/python:3";
  spec.image.architecture = "x86_64";
  spec.image.is_local = true;
  spec.slots = {{"cpu", cores}, {"mem", "1073741824"}};
  return spec;
}

struct SimWorld {
  explicit SimWorld(std::uint64_t seed = 1)
      : world(seed), cluster(world.env().clock, world.outside(), seed) {
    cluster.set_sink([this](AgentEvent event, std::move_only_function<void(bool)> done) {
      ++deliveries;
      events.push_back(std::move(event));
      if (done && accept) done(true);
    });
  }

  AgentEndpoint endpoint(const char* name) {
    return {AgentId(name), std::string("tcp://") + name + ":6001", ""};
  }

  // The answer, or nothing when there was none within `patience`.
  std::optional<Result<AgentReply>> ask(const char* agent, AgentRequest request,
                                        Duration patience = seconds(60),
                                        Duration timeout = seconds(30)) {
    auto answer = std::make_shared<std::optional<Result<AgentReply>>>();
    cluster.request(endpoint(agent), std::move(request), timeout,
                    [answer](Result<AgentReply> result) { *answer = std::move(result); });
    world.advance_until([&] { return answer->has_value(); }, patience);
    return *answer;
  }
  std::optional<Result<AgentReply>> create(const char* agent, std::uint8_t n,
                                           const char* cores = "1") {
    CreateKernels request;
    request.session = session_id(n);
    request.kernels.push_back(kernel_spec(n, cores));
    return ask(agent, std::move(request));
  }

  template <class E>
  std::vector<E> all() const {
    std::vector<E> found;
    for (const auto& event : events) {
      if (const auto* body = std::get_if<E>(&event.body)) found.push_back(*body);
    }
    return found;
  }

  ManualEnv world;
  SimulatedCluster cluster;
  std::vector<AgentEvent> events;
  std::size_t deliveries = 0;
  bool accept = true;
};

}  // namespace bai::test

// Slots that a session does without, and the agents that have them.
#include "harness.hpp"
#include "manager_site.hpp"

namespace bai::test {

namespace {

void add_gpu_agent(Site& site, const char* id) {
  SimAgentSpec spec;
  spec.id = AgentId(id);
  spec.capacity.set("cpu", Amount{64'000});
  spec.capacity.set("mem", Amount{std::int64_t{256} << 30});
  spec.capacity.set("cuda.device", Amount{4'000});
  site.cluster.add(std::move(spec), {});
  const bool joined = site.env.advance_until(
      [&] { return site.manager->snapshot()->find<Agent>(AgentId(id)) != nullptr; }, seconds(30));
  REQUIRE(joined);
}

AgentId agent_of(const Site& site, const SessionId& id) {
  return site.manager->snapshot()->kernels_of(id).front()->agent;
}

}  // namespace

TEST_CASE("a session without a GPU leaves the agent that has them alone") {
  Site site({}, false);
  add_gpu_agent(site, "a-gpu");  // more of everything, and the first one
  site.add_agent("b-cpu");
  const SessionId plain = site.create("plain", kLocalImage);
  REQUIRE(site.becomes(plain, SessionStatus::Running));
  CHECK(agent_of(site, plain) == AgentId("b-cpu"));

  CreateSession request = World::request("zero");
  request.slots.set("cuda.device", Amount{0});
  const auto zero = site.ask(request);
  REQUIRE(zero.has_value());
  REQUIRE(site.becomes(zero->id, SessionStatus::Running));
  CHECK(agent_of(site, zero->id) == AgentId("b-cpu"));

  request = World::request("gpus");
  request.slots.set("cuda.device", Amount{1000});
  const auto gpus = site.ask(request);
  REQUIRE(gpus.has_value());
  REQUIRE(site.becomes(gpus->id, SessionStatus::Running));
  CHECK(agent_of(site, gpus->id) == AgentId("a-gpu"));
}

TEST_CASE(
    "what a resource group serves and nobody asked for is asked for as 0, and holds nothing") {
  World w;
  AgentHeartbeat beat = World::beat("a1");
  beat.info.slots.emplace_back("cuda.device", "2");
  beat.info.slots.emplace_back("tpu.device", "0");  // not served
  w.event("a1", beat);
  const SessionId id = w.create(World::request("sess"));
  CHECK(w.session(id).requested_slots ==
        slots({{"cpu", "1"}, {"mem", "1g"}, {"cuda.device", "0"}}));
  CHECK(w.kernel(id).requested_slots == w.session(id).requested_slots);
  w.place(id, {"a1"});
  CHECK(w.kernel(id).occupied_slots == slots({{"cpu", "1"}, {"mem", "1g"}}));
  CHECK(w.user_usage().slots == slots({{"cpu", "1"}, {"mem", "1g"}}));
  const auto request = std::get<CreateKernels>(w.take_one<CreateKernels>().request);
  CHECK(request.kernels.front().slots.size() == 2);
}

}  // namespace bai::test

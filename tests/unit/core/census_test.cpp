// Running kernels are asked about from time to time: their end may have been reported to nobody.
#include "harness.hpp"
#include "manager_site.hpp"

namespace bai::test {

TEST_CASE("the census asks for what runs on an agent, agents at times of their own") {
  World w;
  for (const char* agent : {"a1", "a2", "a3"}) w.add_agent(agent);
  const SessionId running = w.run(World::request("sess", kLocalImage, 2), {"a1", "a2"});
  w.creating(World::request("starts"), {"a1"});
  w.commands.clear();
  const Duration period = w.options.running_recheck;
  std::map<AgentId, Timestamp> due;
  for (const core::Timer& timer : w.timers) {
    if (timer.kind == core::TimerKind::Census) due[AgentId(timer.id)] = timer.at;
  }
  REQUIRE(due.size() == 3);
  CHECK(due[AgentId("a1")] != due[AgentId("a2")]);
  for (const auto& [agent, at] : due) {
    CHECK(at > w.now);
    CHECK(at <= w.now + period);
    CHECK(core::next_census(agent, at, period) == at + period);
  }
  w.input([&](core::Context& ctx) { core::take_census(ctx, AgentId("a1")); });
  const auto asked = w.take_one<CheckRunning>();
  CHECK(std::get<CheckRunning>(asked.request).kernel == w.kernel(running).id);
  w.accept(asked, true);
  CHECK(w.status(running) == SessionStatus::Running);

  w.event("a3", AgentTerminated{"agent-lost"});
  w.event("a2", AgentTerminated{"agent-lost"});
  w.input([&](core::Context& ctx) { core::take_census(ctx, AgentId("a2")); });
  CHECK(w.take<CheckRunning>().empty());  // asked when it is back
}

TEST_CASE("an agent that comes and goes, and a restart, leave one time for each agent") {
  World w;
  w.add_agent("a1");
  for (int i = 0; i < 3; ++i) {
    w.event("a1", AgentTerminated{"shutdown"});
    w.event("a1", World::beat("a1"));
  }
  w.restart();
  std::size_t times = 0;
  for (const core::Timer& timer : w.timers) times += timer.kind == core::TimerKind::Census;
  CHECK(times == 1);
}

TEST_CASE("the end of a kernel that was told to nobody is found out") {
  Options options;
  options.running_recheck = seconds(300);
  Site site(options);
  const SessionId id = site.create("sess", kLocalImage);
  REQUIRE(site.becomes(id, SessionStatus::Running));
  site.cluster.set_sink([&](AgentEvent event, std::move_only_function<void(bool)> done) {
    if (std::holds_alternative<KernelTerminated>(event.body)) return done(true);
    site.manager->deliver(std::move(event), std::move(done));
  });
  const KernelId kernel = site.manager->snapshot()->kernels_of(id).front()->id;
  REQUIRE(site.cluster.find(AgentId("a1"))->kill_kernel(kernel).has_value());
  const auto commits = site.storage->commits();
  REQUIRE(site.becomes(id, SessionStatus::Terminated, seconds(320)));
  CHECK(site.manager->snapshot()->kernels_of(id).front()->status_info == "container-not-found");
  CHECK(site.storage->commits() <= commits + 3);  // asking writes nothing
}

}  // namespace bai::test

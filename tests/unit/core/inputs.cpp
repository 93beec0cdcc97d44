#include "inputs.hpp"

namespace bai::test {

namespace {

using S = SessionStatus;
using K = KernelStatus;
using core::Errand;
using core::Purpose;

void add_events(std::vector<Input>& inputs, const SessionId& session, const KernelId& kernel,
                const std::string& from, bool is_home) {
  const auto add = [&](const std::string& name, AgentEventBody body, bool testifies = false) {
    inputs.push_back({name + " from '" + from + "'",
                      [from, body](World& w) { w.event(AgentId(from), body); }, testifies});
  };
  add("agent started", AgentStarted{"self-started"});
  for (const char* reason : {"shutdown", "agent-restart", "agent-lost"}) {
    add(std::string("agent terminated, ") + reason, AgentTerminated{reason});
  }
  add("heartbeat", World::beat(from.c_str()));
  add("heartbeat with less", World::beat(from.c_str(), "1", "1g"));
  for (const char* image : {kLocalImage, kRemoteImage, "unknown"}) {
    const std::string of = std::string(" of ") + image;
    add("pull started" + of, ImagePullStarted{image});
    add("pull finished" + of, ImagePullFinished{image});
    add("pull failed" + of, ImagePullFailed{image, "no space"});
  }
  KernelId unknown;
  unknown.bytes[0] = 0xee;
  for (const KernelId& id : {kernel, unknown, KernelId{}}) {
    const std::string of = id == kernel ? "" : " of an unknown kernel";
    add("preparing" + of, KernelPreparing{id, session});
    add("pulling" + of, KernelPulling{id, session});
    add("creating" + of, KernelCreating{id, session});
    KernelStarted started;
    started.kernel = id;
    started.session = session;
    add("started" + of, started);
    started.used_slots.emplace();
    *started.used_slots = {{"cpu", "2"}, {"mem", "inf"}, {"cuda.shares", "x"}, {"odd", "1"}};
    add("started with used slots" + of, started);
    add("terminated" + of, KernelTerminated{id, session, "self-terminated", 3, "log"},
        is_home && id == kernel);
    add("cancelled" + of, KernelCancelled{id, session, "no more room"});
  }
  add("batch succeeded", BatchFinished{session, true, "task-finished", 0});
  add("batch failed", BatchFinished{session, false, "", 2});
  add("batch of an unknown session", BatchFinished{SessionId{}, true, "", 0});
}

void add_answers(std::vector<Input>& inputs, const SessionId& session, const KernelId& kernel,
                 const std::string& agent, bool is_home) {
  const std::vector<std::pair<std::string, Result<AgentReply>>> replies = {
      {"nothing", AgentReply{}},
      {"yes", AgentReply{true, {}}},
      {"no", AgentReply{false, {}}},
      {"nonsense", AgentReply{"maybe", {}}},
      {"a refusal", fail(ErrorCode::Internal, "no", "ResourceError")},
      {"an unknown kernel", fail(ErrorCode::Internal, "x", "KeyError")},
      {"unavailable", fail(ErrorCode::Unavailable, "x")},
      {"no answer in time", fail(ErrorCode::DeadlineExceeded, "x")}};
  const std::vector<std::pair<std::string, Purpose>> purposes = {
      {"prepare", Purpose::PrepareImages},    {"create", Purpose::CreateKernels},
      {"destroy", Purpose::DestroyKernel},    {"destroy superseded", Purpose::DestroySuperseded},
      {"ask running", Purpose::AskRunning},   {"ask started", Purpose::AskStarted},
      {"ask creating", Purpose::AskCreating}, {"trigger", Purpose::TriggerBatch}};
  for (const auto& [what, purpose] : purposes) {
    for (const auto& [said, reply] : replies) {
      for (const bool repeat : {false, true}) {
        if (repeat && purpose != Purpose::TriggerBatch) continue;
        Errand errand{purpose, session, {kernel}, {}, repeat};
        const bool gone =
            (purpose == Purpose::DestroyKernel && (reply || said == "an unknown kernel")) ||
            (purpose == Purpose::AskRunning && said == "no");
        inputs.push_back({what + (repeat ? " (again): " : ": ") + said + ", from '" + agent + "'",
                          [agent, errand, reply](World& w) {
                            w.input([&](core::Context& ctx) {
                              core::on_answer(ctx, AgentId(agent), errand, reply);
                            });
                          },
                          is_home && gone});
      }
    }
  }
}

void add_times(std::vector<Input>& inputs, const SessionId& session) {
  const auto timer = [&](const std::string& name, Duration later, core::TimerKind kind,
                         std::string id) {
    inputs.push_back({name, [=](World& w) {
                        w.now = w.now + later;
                        w.input(
                            [&](core::Context& ctx) { core::on_timer(ctx, {ctx.now, kind, id}); });
                      }});
  };
  timer("a look at once", {}, core::TimerKind::Session, to_string(session));
  timer("a look in a while", seconds(60), core::TimerKind::Session, to_string(session));
  timer("the deadline", seconds(100'000), core::TimerKind::Session, to_string(session));
  timer("a timer of nobody", {}, core::TimerKind::Session, "nonsense");
  for (const char* agent : {"a1", "nobody"}) {
    timer(std::string("census of ") + agent, {}, core::TimerKind::Census, agent);
  }
  timer("an operation's timer of nobody", {}, core::TimerKind::Operation, to_string(session));
  for (const char* agent : {"a1", "a2", "nobody"}) {
    timer(std::string("silence of ") + agent, seconds(50), core::TimerKind::Agent, agent);
    inputs.push_back({std::string("the loss of ") + agent, [agent](World& w) {
                        const core::Timer due{{}, core::TimerKind::Agent, agent};
                        for (const Duration wait : {seconds(50), seconds(70)}) {
                          w.now = w.now + wait;
                          w.input([&](core::Context& ctx) { core::on_timer(ctx, due); });
                        }
                      }});
  }
}

void add_requests(std::vector<Input>& inputs, const SessionId& session) {
  for (const bool forced : {false, true}) {
    inputs.push_back(
        {forced ? "forced end" : "end", [=](World& w) { w.terminate(session, forced); }});
    inputs.push_back({forced ? "forced recursive destroy" : "recursive destroy", [=](World& w) {
                        (void)w.ask(DestroySession{session, forced, true, "user-requested"},
                                    "system");
                      }});
  }
  inputs.push_back({"rename", [=](World& w) { (void)w.ask(RenameSession{session, "renamed"}); }});
  inputs.push_back({"plan", [=](World& w) { w.place(session, {"a1", "a2"}); }});
  inputs.push_back({"plan on an unknown agent", [=](World& w) { w.place(session, {"nobody"}); }});
  inputs.push_back(
      {"explanation", [=](World& w) {
         Plan plan;
         plan.explained.push_back(
             {session, std::make_shared<PendingReason>(PendingReason{"capacity", "full", {}, 1})});
         w.plan(plan);
       }});
  inputs.push_back(
      {"resume", [](World& w) { w.input([](core::Context& ctx) { core::on_resume(ctx); }); }});
  inputs.push_back({"advance", [=](World& w) {
                      w.input([&](core::Context& ctx) { core::advance(ctx, session); });
                    }});
  inputs.push_back({"drive", [=](World& w) {
                      w.input([&](core::Context& ctx) { core::drive(ctx, session); });
                    }});
}

}  // namespace

std::vector<Input> all_inputs(const SessionId& session, const KernelId& kernel, const char* home) {
  std::vector<Input> inputs;
  for (const char* agent : {"a1", "a2", "a3", "nobody", ""}) {
    add_events(inputs, session, kernel, agent, std::string_view(agent) == home);
    const bool is_ours =
        std::string_view(agent).starts_with("a") && std::string_view(agent) != "a3";
    if (is_ours) add_answers(inputs, session, kernel, agent, std::string_view(agent) == home);
  }
  add_times(inputs, session);
  add_requests(inputs, session);
  return inputs;
}

const std::vector<Situation>& all_situations() {
  static const std::vector<Situation> kAll = {
      {S::Pending, {K::Pending, K::Pending}},
      {S::Deprioritizing, {K::Pending, K::Pending}},
      {S::Reserved, {K::Reserved, K::Reserved}},
      {S::Scheduled, {K::Scheduled, K::Scheduled}},
      {S::Preparing, {K::Scheduled, K::Scheduled}},
      {S::Preparing, {K::Preparing, K::Preparing}},
      {S::Preparing, {K::Pulling, K::Preparing}},
      {S::Preparing, {K::Prepared, K::Pulling}},
      {S::Preparing, {K::Pulling, K::Prepared}},
      {S::Preparing, {K::Creating, K::Pulling}},
      {S::Pulling, {K::Pulling, K::Pulling}},
      {S::Prepared, {K::Prepared, K::Prepared}},
      {S::Creating, {K::Prepared, K::Prepared}},
      {S::Creating, {K::Creating, K::Prepared}},
      {S::Creating, {K::Running, K::Prepared}},
      {S::Creating, {K::Prepared, K::Running}},
      {S::Running, {K::Running, K::Running}},
      {S::Restarting, {K::Running, K::Running}},
      {S::RunningDegraded, {K::Running, K::Running}},
      {S::Preempted, {K::Running, K::Running}},
      {S::Rescheduling, {K::Terminating, K::Running}},
      {S::Terminating, {K::Terminating, K::Terminating}},
      {S::Terminating, {K::Terminated, K::Terminating}},
      {S::Terminating, {K::Terminating, K::Cancelled}},
      {S::Terminated, {K::Terminated, K::Terminated}},
      {S::Error, {K::Error, K::Error}},
      {S::Cancelled, {K::Cancelled, K::Cancelled}},
  };
  return kAll;
}

void arrange(World& world, const SessionId& id, const Situation& situation,
             const std::vector<const char*>& agents) {
  const auto kernels = world.kernels(id);
  const S status = situation.session;
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    world.put_kernel(kernels[i]->id, [&](Kernel& kernel) {
      kernel.status = situation.kernels[i];
      if (kernel.status == K::Pending) return;
      kernel.agent = AgentId(agents[i]);
      if (holds_resources(kernel.status)) kernel.occupied_slots = kernel.requested_slots;
      kernel.create_sent = status == S::Creating || kernel.status == K::Running ||
                           kernel.status == K::Terminating || kernel.status == K::Terminated;
    });
  }
  world.put_session(id, [&](Session& session) {
    session.status = status;
    session.batch_triggered = session.type == SessionType::Batch && status == S::Running;
    const bool passing = !is_terminal(status) && status != S::Pending && status != S::Running;
    session.deadline = passing ? world.now + seconds(1000) : Timestamp{};
  });
}

std::string name_of(const Situation& situation) {
  std::string name(to_string(situation.session));
  for (const K kernel : situation.kernels) name.append(" ").append(to_string(kernel));
  return name;
}

}  // namespace bai::test

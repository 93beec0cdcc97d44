// Granting, giving back, limits: conformance group G, and that check_invariants sees what is wrong.
#include "harness.hpp"

namespace bai::test {

namespace {

std::int64_t cores(const SlotMap& map) { return map.get("cpu").units; }

CreateSession wanting(const char* name, const char* cpu) {
  CreateSession request = World::request(name);
  request.slots.set("cpu", *parse_amount(SlotType::Count, cpu));
  return request;
}

}  // namespace

TEST_CASE("G1: what is placed twice is granted once") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.create(wanting("sess", "2"));
  Plan plan;
  plan.placements.push_back(w.placement(id, {"a1"}));
  plan.placements.push_back(plan.placements[0]);
  const auto outcome = w.plan(plan);
  CHECK(outcome.placed == 1);
  CHECK(cores(w.agent("a1").occupied_slots) == 2000);
  CHECK(w.plan(plan).placed == 0);
  CHECK(cores(w.agent("a1").occupied_slots) == 2000);
  CHECK(w.agent("a1").kernel_count == 1);
}

TEST_CASE("G2: what does not fit any more is refused and goes on waiting") {
  World w;
  w.add_agent("a1", "4");
  w.run(wanting("held", "3"), {"a1"});
  const SessionId id = w.create(wanting("sess", "2"));
  const auto outcome = w.place(id, {"a1"});
  CHECK(outcome.placed == 0);
  CHECK(outcome.refused == 1);
  CHECK(w.status(id) == SessionStatus::Pending);
  CHECK(w.kernel(id).agent.empty());
  CHECK(cores(w.agent("a1").occupied_slots) == 3000);
}

TEST_CASE("G4: what the agent says it has really taken counts, even beyond its capacity") {
  World w;
  w.add_agent("a1", "4");
  w.run(wanting("other", "1"), {"a1"});
  const SessionId id = w.creating(wanting("sess", "2"), {"a1"});
  KernelStarted body;
  body.kernel = w.kernel(id).id;
  body.session = id;
  body.used_slots.emplace();
  *body.used_slots = {{"cpu", "4"}};
  CHECK(w.event("a1", body));
  CHECK(w.status(id) == SessionStatus::Running);
  CHECK(cores(w.agent("a1").occupied_slots) == 5000);
  CHECK(cores(w.user_usage().slots) == 5000);
  // It admits nothing new, and all of it is given back.
  const SessionId next = w.create(wanting("next", "1"));
  CHECK(w.place(next, {"a1"}).refused == 1);
  w.terminate(id, true);
  CHECK(cores(w.agent("a1").occupied_slots) == 1000);
}

TEST_CASE("an agent that reports less than was granted, or nonsense, changes nothing") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.creating(wanting("sess", "2"), {"a1"});
  KernelStarted body;
  body.kernel = w.kernel(id).id;
  body.session = id;
  body.used_slots.emplace();
  *body.used_slots = {{"cpu", "1"}, {"mem", "inf"}, {"cuda.shares", "-1"}, {"odd", "9e300"}};
  CHECK(w.event("a1", body));
  CHECK(w.kernel(id).occupied_slots == w.kernel(id).requested_slots);
}

TEST_CASE("G5: ending twice gives back once") {
  World w;
  w.add_agent("a1");
  w.run(wanting("other", "1"), {"a1"});
  const SessionId id = w.run(wanting("sess", "2"), {"a1"});
  const KernelTerminated ended{w.kernel(id).id, id, "self-terminated", 0, ""};
  w.event("a1", ended);
  w.event("a1", ended);
  w.terminate(id);
  w.terminate(id, true);
  CHECK(cores(w.agent("a1").occupied_slots) == 1000);
  CHECK(w.agent("a1").kernel_count == 1);
  CHECK(w.user_usage().sessions == 1);
}

TEST_CASE("G10: after the event of a kernel that has ended here already nothing is held for it") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(wanting("sess", "2"), {"a1"});
  w.terminate(id);
  w.accept(w.take_one<DestroyKernel>());
  CHECK(w.status(id) == SessionStatus::Terminated);
  CHECK_FALSE(w.kernel(id).exit_code.has_value());
  CHECK(w.event("a1", KernelTerminated{w.kernel(id).id, id, "user-requested", 137, "bye\n"}));
  CHECK(w.kernel(id).occupied_slots.empty());
  CHECK(w.agent("a1").occupied_slots.empty());
  CHECK(w.agent("a1").kernel_count == 0);
  CHECK(w.kernel(id).exit_code == 137);
  REQUIRE(w.logs.size() == 1);
  CHECK(w.logs[0].text == "bye\n");
}

TEST_CASE("G11, G13, G14: what ending means for PENDING, PULLING and TERMINATED") {
  World w;
  w.add_agent("a1");
  const SessionId waiting = w.create(wanting("pending", "1"));
  CHECK(w.terminate(waiting) == "cancelled");
  CHECK(w.status(waiting) == SessionStatus::Cancelled);
  CHECK(w.kernel_status(waiting) == KernelStatus::Cancelled);

  const SessionId pulling = w.preparing(wanting("pulling", "2"), {"a1"});
  w.event("a1", ImagePullStarted{kRemoteImage});
  CHECK(w.kernel_status(pulling) == KernelStatus::Pulling);
  CHECK(w.terminate(pulling, true) == "terminated");
  CHECK(w.status(pulling) == SessionStatus::Terminated);
  CHECK(w.kernel_status(pulling) == KernelStatus::Terminated);
  CHECK(w.agent("a1").occupied_slots.empty());
  CHECK(w.operations().empty());  // nobody has been asked to create it

  const std::size_t rows = w.history.size();
  const Session before = w.session(pulling);
  CHECK(w.terminate(pulling) == "");
  CHECK(w.terminate(pulling, true) == "");
  CHECK(w.session(pulling).status_times == before.status_times);
  CHECK(w.history.size() == rows);
  CHECK(w.take<DestroyKernel>().empty());
}

TEST_CASE("G13: a forced end queues the cleanup of what may exist") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.creating(wanting("sess", "2"), {"a1"});
  const KernelId kernel = w.kernel(id).id;
  CHECK(w.terminate(id, true) == "terminated");
  CHECK(w.status(id) == SessionStatus::Terminated);
  CHECK(w.agent("a1").occupied_slots.empty());
  REQUIRE(w.operations().size() == 1);
  CHECK(w.operations()[0].kind == "destroy-kernel");
  CHECK(w.operations()[0].subject == to_string(kernel));
  const auto destroy = w.take_one<DestroyKernel>();
  CHECK(std::get<DestroyKernel>(destroy.request).kernel == kernel);
  w.accept(destroy);
  CHECK(w.operations().empty());
}

TEST_CASE("usage is kept for user, project, domain and keypair, private sessions apart") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.create(wanting("sess", "2"));
  const std::string project = to_string(w.session(id).project);
  const auto scopes = {w.user_usage(), w.usage(ScopeKind::Project, project),
                       w.usage(ScopeKind::Domain, "default"), w.usage(ScopeKind::Keypair, "USER")};
  for (const Usage& usage : scopes) {
    CHECK(usage.pending_sessions == 1);
    CHECK(cores(usage.pending_slots) == 2000);
    CHECK(usage.sessions == 0);
  }
  w.place(id, {"a1"});
  CHECK(w.user_usage().pending_sessions == 0);
  CHECK(w.user_usage().pending_slots.empty());
  CHECK(w.user_usage().sessions == 1);
  CHECK(cores(w.usage(ScopeKind::Project, project).slots) == 2000);

  CreateSession sftp = wanting("sftp-1", "1");
  sftp.type = SessionType::System;
  const SessionId system = w.create(sftp);
  w.place(system, {"a1"});
  CHECK(w.user_usage().sftp_sessions == 1);
  CHECK(w.user_usage().sessions == 1);
  CHECK(cores(w.user_usage().slots) == 2000);
  CHECK(cores(w.agent("a1").occupied_slots) == 3000);  // but the agent holds it all

  w.terminate(id, true);
  w.terminate(system, true);
  CHECK(w.state().table<Usage>().size() == 0);  // nobody holds anything: no rows
}

// ---- limits: the validators' cases, as the plan's application sees them
// ---------------------------

std::string limit_text(World& w, const SessionId& id) {
  const auto broken = core::broken_limit(w.state(), w.session(id));
  return broken ? broken->text : "";
}

TEST_CASE("a quota that shrank refuses a placement, and its sentence says by how much (E1, E2)") {
  World w;
  w.add_agent("a1", "64", "64g");
  const SessionId held = w.run(wanting("held", "7"), {"a1"});
  const SessionId id = w.create(wanting("sess", "4"));
  w.set_policy(R"("total_resource_slots": {"cpu": "10"})");
  CHECK(limit_text(w, id) == "user: cpu: used 7 + requested 4 > limit 10 (over by 1)");
  CHECK(w.place(id, {"a1"}).refused == 1);
  CHECK(w.status(id) == SessionStatus::Pending);
  const auto reason = w.session(id).pending_reason;
  REQUIRE(reason != nullptr);
  CHECK(reason->code == "quota");
  CHECK(reason->kind == "user_check-limit_forbidden");
  CHECK(reason->missing == SlotMap{{"cpu", Amount{1000}}});
  CHECK(w.status(held) == SessionStatus::Running);  // what is over the limit goes on
  w.set_policy(R"("total_resource_slots": {"cpu": "11"})");
  CHECK(w.place(id, {"a1"}).placed == 1);
}

TEST_CASE("a limit says by how much each slot exceeds it") {
  World w;
  w.add_agent("a1", "64", "64g");
  const SessionId id = w.create(wanting("sess", "4"));
  w.set_policy(R"("total_resource_slots": {"cpu": "3", "mem": "512m"})");
  const auto broken = core::broken_limit(w.state(), w.session(id));
  REQUIRE(broken);
  CHECK(broken->text ==
        "user: cpu: used 0 + requested 4 > limit 3 (over by 1); "
        "mem: used 0 + requested 1g > limit 512m (over by 512m)");
  CHECK(broken->over == SlotMap{{"cpu", Amount{1000}}, {"mem", Amount{std::int64_t{512} << 20}}});
}

TEST_CASE("slots that a policy does not list are free or forbidden, as it says") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.create(wanting("sess", "1"));
  w.set_policy(R"("total_resource_slots": {"cpu": "4"}, "default_for_unspecified": "UNLIMITED")");
  CHECK(limit_text(w, id) == "");
  w.set_policy(R"("default_for_unspecified": "LIMITED")");
  CHECK(limit_text(w, id).starts_with("user: mem: used 0 + requested 1g"));
  w.set_policy(R"("total_resource_slots": {"cpu": "4", "mem": "Infinity"})");
  CHECK(limit_text(w, id) == "");
}

TEST_CASE("concurrency is limited, private sessions by a limit of their own (E5, E7, E8)") {
  World w;
  w.add_agent("a1", "64", "64g");
  w.set_policy(R"("max_concurrent_sessions": 1, "max_concurrent_sftp_sessions": 1)");
  w.run(wanting("first", "1"), {"a1"});
  const SessionId second = w.create(wanting("second", "1"));
  CHECK(w.place(second, {"a1"}).refused == 1);
  CreateSession sftp = wanting("sftp-1", "1");
  sftp.type = SessionType::System;
  CHECK(w.place(w.create(sftp), {"a1"}).placed == 1);
  sftp.name = "sftp-2";
  const SessionId other = w.create(sftp);
  CHECK(w.place(other, {"a1"}).refused == 1);
  REQUIRE(w.session(other).pending_reason != nullptr);
  CHECK(w.session(other).pending_reason->code == "concurrency");
  CHECK(w.session(other).pending_reason->kind == "session_check-limit_forbidden");
  CHECK(limit_text(w, other) == "user: 1 of 1 concurrent SFTP sessions are in use");
  w.set_policy(R"("max_concurrent_sessions": 0)");  // no limit
  CHECK(w.place(second, {"a1"}).placed == 1);
}

TEST_CASE("project and domain limits count everybody in them") {
  World w;
  w.add_agent("a1", "64", "64g");
  w.add_user("other");
  w.run(wanting("mine", "3"), {"a1"});
  const auto request = wanting("theirs", "2");
  const SessionId id = w.create(request, "other");
  w.load(R"({"projects": [{"id": "00000000-0000-0000-0000-0000000000a1",
                           "total_resource_slots": {"cpu": "4"}}]})");
  CHECK(limit_text(w, id).starts_with("project: cpu: used 3 + requested 2"));
  CHECK(core::broken_limit(w.state(), w.session(id))->kind == "group_check-limit_forbidden");
  w.load(R"({"projects": [{"id": "00000000-0000-0000-0000-0000000000a1",
                           "total_resource_slots": {}}],
             "domains": [{"name": "default", "total_resource_slots": {"cpu": "4"}}]})");
  CHECK(limit_text(w, id).starts_with("domain: cpu: used 3 + requested 2"));
  CHECK(core::broken_limit(w.state(), w.session(id))->kind == "domain_check-limit_forbidden");
  CHECK(w.place(id, {"a1"}).refused == 1);
}

TEST_CASE("a keypair's owner is limited by the policy of its main keypair") {
  World w;
  w.add_agent("a1");
  w.load(R"({"keypair_resource_policies": [{"name": "tight", "max_concurrent_sessions": 1}]})");
  w.load(R"({"keypairs": [{"access_key": "SECOND", "user": ")" + World::id_of("user") +
         R"(", "resource_policy": "tight"}]})");
  const State& state = w.state();
  const UserId user = w.caller().user;
  REQUIRE(core::limiting_policy(state, user, AccessKey("SECOND")) != nullptr);
  CHECK(core::limiting_policy(state, user, AccessKey("SECOND"))->name == PolicyName("default"));
  CHECK(core::limiting_policy(state, UserId{}, AccessKey("SECOND"))->name == PolicyName("tight"));
  CHECK(core::limiting_policy(state, UserId{}, AccessKey("NONE")) == nullptr);
}

TEST_CASE("a keypair that is not the main one keeps its own limits over resource groups, too") {
  World w;
  w.add_agent("a1");
  w.add_agent("a2");
  w.load(R"({"resource_groups": [{"name": "other"}],
             "resource_group_grants": [{"resource_group": "other", "scope_kind": "domain",
                                        "scope": "default"}],
             "agents": [{"id": "a2", "resource_group": "other"}]})");
  const auto second_key = [&](std::string_view policy) {
    w.load(R"({"keypair_resource_policies": [{"name": "own", )" + std::string(policy) + R"(}],
               "keypairs": [{"access_key": "SECOND", "user": ")" +
           World::id_of("user") + R"(", "resource_policy": "own"}]})");
  };
  const auto create = [&](const char* name, const char* group, AccessKey key) {
    CreateSession request = wanting(name, "4");
    request.resource_group = ResourceGroupName(group);
    Caller caller = w.caller();
    caller.access_key = std::move(key);
    const auto created =
        w.input([&](core::Context& ctx) { return service::handle(ctx, caller, request); });
    REQUIRE(created.has_value());
    return created->id;
  };
  second_key(R"("max_concurrent_sessions": 0)");
  const SessionId here = create("here", "default", AccessKey("SECOND"));
  const SessionId there = create("there", "other", AccessKey("SECOND"));
  const SessionId main = create("main", "other", AccessKey("USER"));
  Plan plan;
  plan.placements = {w.placement(here, {"a1"}), w.placement(there, {"a2"})};

  std::string broken;
  SUBCASE("amounts") {
    second_key(R"("total_resource_slots": {"cpu": "4"})");
    broken = "keypair: cpu: used 4 + requested 4 > limit 4 (over by 4)";
  }
  SUBCASE("concurrent sessions") {
    second_key(R"("max_concurrent_sessions": 1)");
    broken = "keypair: 1 of 1 concurrent sessions are in use";
  }
  const auto outcome = w.plan(plan);
  CHECK(outcome.placed == 1);
  CHECK(outcome.refused == 1);
  CHECK(w.status(there) == SessionStatus::Pending);
  CHECK(limit_text(w, there) == broken);
  CHECK(limit_text(w, main) == "");
}

// ---- invariants
// ----------------------------------------------------------------------------------

TEST_CASE("check_invariants sees every planted inconsistency") {
  World w;
  w.add_agent("a1");
  const SessionId id = w.run(wanting("sess", "2"), {"a1"});
  const SessionId waiting = w.create(wanting("waiting", "1"));
  REQUIRE(core::check_invariants(w.state()) == "");
  const KernelId kernel = w.kernel(id).id;

  // Edits rows behind the accounting's back, looks, and takes it back.
  const auto planted = [&](auto plant) {
    core::Context ctx = w.context();
    plant(ctx.changes);
    const std::string wrong = core::check_invariants(w.state());
    ctx.changes.rollback(0);
    REQUIRE(core::check_invariants(w.state()) == "");
    return wrong;
  };
  const auto in_agent = [&](auto edit) {
    return planted([&](Changeset& c) { c.update<Agent>(AgentId("a1"), edit); });
  };
  const auto in_kernel = [&](auto edit) {
    return planted([&](Changeset& c) { c.update<Kernel>(kernel, edit); });
  };
  const auto in_session = [&](const SessionId& which, auto edit) {
    return planted([&](Changeset& c) { c.update<Session>(which, edit); });
  };
  const auto in_usage = [&](auto edit) {
    const std::string key = usage_key(ScopeKind::User, World::id_of("user"));
    return planted([&](Changeset& c) { c.update<Usage>(key, edit); });
  };

  CHECK(in_agent([](Agent& a) { a.occupied_slots.set("cpu", Amount{1}); }) != "");
  CHECK(in_agent([](Agent& a) { a.kernel_count = 2; }) != "");
  CHECK(in_kernel([](Kernel& k) { k.occupied_slots.set("cpu", Amount{1}); }) != "");
  CHECK(in_kernel([](Kernel& k) { k.agent = AgentId("a2"); }) != "");
  CHECK(in_kernel([](Kernel& k) { k.agent = AgentId(); }).ends_with("without an agent"));
  CHECK(in_kernel([](Kernel& k) { k.create_sent = false; }).ends_with("was never created"));
  CHECK(
      in_kernel([](Kernel& k) { k.status = KernelStatus::Terminated; }).ends_with("holds amounts"));
  CHECK(in_kernel([](Kernel& k) { k.status = KernelStatus::Pending; }).ends_with("holds amounts"));
  CHECK(in_session(id, [](Session& s) {
          s.status = SessionStatus::Terminated;
        }).find("is RUNNING although its session") != std::string::npos);
  CHECK(in_session(id, [](Session& s) { s.status = SessionStatus::Pending; }) != "");
  CHECK(in_session(id, [](Session& s) {
          s.status = SessionStatus::Creating;
        }).ends_with("CREATING without a deadline"));
  CHECK(in_session(id, [](Session& s) { s.cluster_size = 2; }).ends_with("1 of 2 kernels"));
  CHECK(in_session(waiting, [](Session& s) { s.name = "sess"; }).ends_with("are named sess"));
  CHECK(in_session(waiting, [](Session& s) { s.status = SessionStatus::Scheduled; }) != "");
  CHECK(planted([&](Changeset& c) { c.erase<Session>(id); }).ends_with("has no session"));
  CHECK(planted([&](Changeset& c) {
          c.erase<Kernel>(w.kernel(waiting).id);
        }).ends_with("0 of 1 kernels"));
  CHECK(planted([&](Changeset& c) {
          Session lonely;
          lonely.cluster_size = 0;
          c.insert(lonely);
        }).ends_with("0 of 0 kernels"));
  CHECK(in_usage([](Usage& u) { u.slots.set("cpu", Amount{1}); }) != "");
  CHECK(in_usage([](Usage& u) { u.sessions = 0; }) != "");
  CHECK(in_usage([](Usage& u) { u.sftp_sessions = 1; }) != "");
  CHECK(in_usage([](Usage& u) { u.pending_sessions = 0; }) != "");
  CHECK(in_usage([](Usage& u) { u.pending_slots.set("cpu", Amount{1}); }) != "");
  CHECK(planted([](Changeset& c) {
          Usage nobody;
          nobody.id = "user/nobody";
          c.insert(nobody);
        }) == "a usage of nobody is left over");
  CHECK(planted([&](Changeset& c) { c.erase<Usage>(usage_key(ScopeKind::Keypair, "USER")); }) !=
        "");
  CHECK(planted([](Changeset& c) {
          Operation row;
          row.kind = "destroy-kernel";
          c.insert(row);
        }).ends_with("does not say what to do"));
}

TEST_CASE("sums that were lost are rebuilt from rows") {
  World w;
  w.add_agent("a1");
  w.run(wanting("sess", "2"), {"a1"});
  w.create(wanting("waiting", "1"));
  State bare;
  for (const EntityInfo* info : all_entities()) {
    if (info->residence != Residence::Memory) continue;
    w.state().any_table(info->kind).for_each_row([&](const RowPtr& row) {
      if (info->kind != EntityKind::Agent) bare.put_row(info->kind, row);
      return true;
    });
  }
  Agent agent = w.agent("a1");
  agent.occupied_slots = {};
  agent.kernel_count = 0;
  bare.put_row(EntityKind::Agent, std::make_shared<const Agent>(agent));
  CHECK(core::check_invariants(bare) != "");
  Changeset changes(bare);
  core::rebuild_sums(changes);
  CHECK(core::check_invariants(bare) == "");
  CHECK(first_difference(bare, w.state()) == "");
}

}  // namespace bai::test

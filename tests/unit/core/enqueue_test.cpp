// What may be queued: conformance group I, names, ownership, dependencies.
#include <fmt/format.h>

#include <algorithm>

#include "harness.hpp"

namespace bai::test {

namespace {

// Refused with this code, and a sentence that holds `part`.
void refused(World& w, const CreateSession& request, ErrorCode code, std::string_view part,
             const char* user = "user") {
  const auto result = w.ask(request, user);
  REQUIRE_FALSE(result.has_value());
  CHECK(result.error().code == code);
  CHECK_MESSAGE(result.error().message.find(part) != std::string::npos, result.error().message);
}
void invalid(World& w, const CreateSession& request, std::string_view part) {
  refused(w, request, ErrorCode::InvalidArgument, part);
}
void over_quota(World& w, const CreateSession& request, std::string_view part) {
  refused(w, request, ErrorCode::QuotaExceeded, part);
}

struct Ready {
  World w;
  CreateSession request = World::request("sess");
  Ready() { w.add_agent("a1"); }

  void set_image(std::string_view fields) {
    w.load(fmt::format(R"({{"images": [{{"id": "00000000-0000-0000-0000-0000000000b1", {}}}]}})",
                       fields));
  }
};

}  // namespace

TEST_CASE("sessions of one instant keep the order in which they were asked for") {
  World w;
  w.add_agent("a1", "4");
  std::vector<Timestamp> created;
  for (int i = 0; i < 20; ++i) {
    const SessionId id = w.create(World::request(fmt::format("sess-{}", i)));
    created.push_back(w.session(id).created_at);
  }
  CHECK(created.front() == w.now);
  CHECK(std::ranges::is_sorted(created));
  CHECK(std::ranges::adjacent_find(created) == created.end());
}

TEST_CASE("what is queued is what was asked for") {
  Ready r;
  r.request.tag = "a tag";
  r.request.priority = 7;
  r.request.job_priority = 3;
  r.request.is_preemptible = false;
  r.request.environ.set("A", "b");
  r.request.preopen_ports = {8888};
  r.request.agents = {"a1"};
  r.request.bootstrap_script = "true";
  const SessionId id = r.w.create(r.request);
  const Session& s = r.w.session(id);
  CHECK(s.name == "sess");
  CHECK(s.image == kLocalImage);
  CHECK(s.architecture == "x86_64");
  CHECK(s.tag == "a tag");
  CHECK(s.priority == 7);
  CHECK(s.job_priority == 3);
  CHECK_FALSE(s.is_preemptible);
  CHECK(s.environ["A"].as_string() == "b");
  CHECK(s.preopen_ports == std::vector<std::int64_t>{8888});
  CHECK(s.designated_agents == std::vector<std::string>{"a1"});
  CHECK(s.bootstrap_script == "true");
  CHECK(s.domain == DomainName("default"));
  CHECK(s.access_key == AccessKey("USER"));
  CHECK(s.resource_group == ResourceGroupName("default"));
  CHECK(s.created_at == r.w.now);
  CHECK(s.requested_slots == slots({{"cpu", "1"}, {"mem", "1g"}}));
  CHECK(r.w.kernel(id).requested_slots == s.requested_slots);
  CHECK(r.w.kernel(id).occupied_slots.empty());
}

TEST_CASE("I1, I2: containers of one session") {
  Ready r;
  r.w.set_policy(R"("max_containers_per_session": 2)");
  over_quota(r.w, World::request("sess", kLocalImage, 3), "more than 2 containers");
  r.w.create(World::request("sess", kLocalImage, 2));
}

TEST_CASE("I4, I5: pending sessions") {
  Ready r;
  r.w.set_policy(R"("max_pending_session_count": 5)");
  for (int i = 0; i < 5; ++i) r.w.create(World::request(fmt::format("sess-{}", i)));
  over_quota(r.w, World::request("sess-5"), "more than 5 pending sessions");
  r.w.set_policy(R"("max_pending_session_count": 0)");  // off
  r.w.create(World::request("sess-5"));
  r.w.set_policy(R"("max_pending_session_count": null)");
  r.w.create(World::request("sess-6"));
}

TEST_CASE("I7, I8: priorities") {
  Ready r;
  r.w.set_policy(R"("max_priority": 10)");
  r.w.create(World::request("sess-1"));
  r.w.set_policy(R"("max_priority": 5)");
  r.request.priority = 5;
  r.request.job_priority = 100;
  r.w.create(r.request);
  over_quota(r.w, World::request("sess-2"), "at most 5");
  for (const std::int64_t wrong : {-1, 101}) {
    r.request.name = "other";
    r.request.priority = wrong;
    invalid(r.w, r.request, "priority: must be 0 to 100");
  }
}

TEST_CASE("I10, I11: what pending sessions ask for together") {
  Ready r;
  CreateSession two = World::request("two-1");
  two.slots.set("cpu", Amount{2000});
  r.w.create(two);
  r.w.set_policy(R"("max_pending_session_resource_slots": {"cpu": "4"})");
  r.w.create(World::request("one-1"));
  two.name = "three";
  over_quota(r.w, two, "more than 4 of cpu");
  r.w.set_policy(R"("max_pending_session_resource_slots": {"cpu": "10"})");
  r.request.slots.set("mem", Amount{1LL << 40});
  r.w.create(r.request);  // only what the cap names is capped
}

TEST_CASE("I13: what the image needs at least") {
  Ready r;
  r.set_image(R"("min_slots": {"cpu": "2", "mem": "256m"})");
  invalid(r.w, r.request,
          "Slot \"cpu\": 1 is less than what image cr.test/stable/python:3 needs (2)");
  r.request.slots.set("cpu", Amount{4000});
  r.w.create(r.request);
  r.set_image(R"("min_slots": {"cpu": "1", "mem": "2g"})");
  r.request.name = "other";
  invalid(r.w, r.request, "Slot \"mem\": 1g is less");
  r.set_image(R"("min_slots": {"cpu": "1", "mem": "1g"})");  // and the shared memory on top
  invalid(r.w, r.request, "(1088m)");
}

TEST_CASE("I14, I31: shared memory") {
  Ready r;
  r.request.resource_opts.set("shmem", "64m");
  r.w.create(r.request);
  r.request.name = "other";
  for (const char* wrong : {"2g", "1g", "inf"}) {
    r.request.resource_opts.set("shmem", wrong);
    invalid(r.w, r.request, "must be smaller than the memory");
  }
  r.request.resource_opts.set("shmem", "much");
  invalid(r.w, r.request, "resource_opts.shmem");
  // The request decides over the image's label.
  r.set_image(R"("labels": {"ai.backend.resource.preferred.shmem": "2g"})");
  r.request.slots = {};
  r.request.resource_opts = Json::object({{"shmem", "4g"}});
  const SessionId id = r.w.create(r.request);
  CHECK(r.w.session(id).requested_slots.get("mem").units == (4LL << 30) + (256LL << 20));
  r.request.name = "third";
  r.request.resource_opts = Json::object();
  const SessionId labelled = r.w.create(r.request);
  CHECK(r.w.session(labelled).requested_slots.get("mem").units == (2LL << 30) + (256LL << 20));
}

TEST_CASE("labels that agents must have") {
  Ready r;
  Json models = Json::array();
  models.push_back("A100");
  const Json good[] = {Json::object({{"rack", "r1"}}), Json::object({{"gpu-model", models}})};
  for (const char* rule : {"agent_labels", "preferred_agent_labels"}) {
    for (const Json& one : good) {
      r.request.resource_opts = Json::object({{rule, one}});
      r.request.name += "x";
      r.w.create(r.request);
    }
    r.request.name += "y";
    for (const Json& wrong :
         {Json("r1"), Json::object({{"rack", 1}}), Json::object({{"rack", Json::array()}})}) {
      r.request.resource_opts = Json::object({{rule, wrong}});
      invalid(r.w, r.request, rule);
    }
  }
}

TEST_CASE("I16, I17: ports") {
  Ready r;
  for (const std::int64_t port : {2000, 2001, 2200, 7681}) {
    r.request.preopen_ports = {port};
    invalid(r.w, r.request, "reserved");
  }
  for (const std::int64_t port : {0, -1, 65536}) {
    r.request.preopen_ports = {port};
    invalid(r.w, r.request, "is no port");
  }
  r.request.preopen_ports = {9000, 9000};
  invalid(r.w, r.request, "9000 stands twice");
  r.set_image(R"("labels": {"ai.backend.service-ports":
                           "notebook:http:80801,app-9001:http:[8070,8071],jupyter:http:8080"})");
  for (const std::int64_t port : {8080, 8070, 8071}) {
    r.request.preopen_ports = {port};
    invalid(r.w, r.request, "is a service port of image");
  }
  r.request.preopen_ports = {1, 9001, 65535};
  r.w.create(r.request);
}

TEST_CASE("I25, I26: slots that nobody serves") {
  Ready r;
  r.set_image(R"("min_slots": {"cpu": "1", "mem": "256m", "cuda.device": "0"})");
  r.w.create(r.request);
  r.request.name = "other";
  r.request.slots.set("cuda.device", Amount{1000});
  invalid(r.w, r.request, "No agent of resource group \"default\" offers slot \"cuda.device\"");
  r.request.slots.set("cuda.device", Amount{0});
  const SessionId id = r.w.create(r.request);
  CHECK_FALSE(r.w.session(id).requested_slots.contains("cuda.device"));
  r.set_image(R"("min_slots": {"cpu": "1", "mem": "256m", "cuda.device": "1"})");
  r.request.name = "third";
  invalid(r.w, r.request, "needs slot \"cuda.device\", which no agent");
}

TEST_CASE("I28: a resource group without agents that take sessions") {
  World w;
  const CreateSession request = World::request("sess");
  invalid(w, request, "has no agent that could run a session");
  w.add_agent("a1");
  w.event("a1", AgentTerminated{"shutdown"});
  invalid(w, request, "has no agent");
  w.event("a1", World::beat("a1"));
  REQUIRE(w.ask(ModifyAgent{AgentId("a1"), false}, "system").has_value());
  invalid(w, request, "has no agent");
  REQUIRE(w.ask(ModifyAgent{AgentId("a1"), true}, "system").has_value());
  w.create(request);
  CHECK(w.ask(ModifyAgent{AgentId("a2"), true}, "system").error().code == ErrorCode::NotFound);
}

TEST_CASE("I29: nothing asked for means what the image needs") {
  Ready r;
  r.set_image(R"("min_slots": {"cpu": "1", "mem": "512m"})");
  r.request.slots = {};
  const SessionId id = r.w.create(r.request);
  CHECK(r.w.session(id).requested_slots == slots({{"cpu", "1"}, {"mem", "576m"}}));
  r.set_image(R"("min_slots": {})");
  r.request.name = "other";
  const SessionId bare = r.w.create(r.request);
  CHECK(r.w.session(bare).requested_slots == slots({{"cpu", "1"}, {"mem", "1088m"}}));
}

TEST_CASE("I32: names and numbers of a cluster's kernels") {
  Ready r;
  const SessionId id = r.w.create(World::request("sess", kLocalImage, 3));
  const auto kernels = r.w.kernels(id);
  REQUIRE(kernels.size() == 3);
  const std::vector<std::string> hosts = {"main1", "sub1", "sub2"};
  const std::vector<std::int64_t> indexes = {1, 1, 2};
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(kernels[i]->cluster_hostname == hosts[i]);
    CHECK(kernels[i]->cluster_idx == indexes[i]);
    CHECK(kernels[i]->local_rank == static_cast<std::int64_t>(i));
    CHECK(kernels[i]->cluster_role == (i == 0 ? "main" : "sub"));
  }
  CHECK(r.w.session(id).requested_slots == slots({{"cpu", "3"}, {"mem", "3g"}}));
}

TEST_CASE("amounts must be finite, positive, and small enough to be added up") {
  Ready r;
  r.request.slots.set("cpu", Amount{-1});
  invalid(r.w, r.request, "cannot be negative");
  r.request.slots.set("cpu", kMinusInfiniteAmount);
  invalid(r.w, r.request, "cannot be negative");
  r.request.slots.set("cpu", kInfiniteAmount);
  invalid(r.w, r.request, "finite");
  r.request.slots.set("cpu", Amount{1000});
  r.request.slots.set("mem", core::kReportedMax + Amount{1});
  invalid(r.w, r.request, "at most");
  r.request.slots.set("mem", core::kReportedMax);
  r.request.cluster_size = 2;
  invalid(r.w, r.request, "at most");
  r.request.cluster_size = 1;
  r.w.create(r.request);
}

TEST_CASE("pending sums stop before they could be wrong") {
  Ready r;
  r.w.is_stored = false;
  const SessionId id = r.w.create(r.request);
  r.w.put_session(id, [](Session& s) { s.requested_slots.set("mem", core::kPendingMax); });
  over_quota(r.w, World::request("next"), "of mem together");
  r.w.terminate(id);
  r.w.create(World::request("next"));
}

TEST_CASE("P1: names") {
  Ready r;
  for (const std::string& good :
       {std::string("abcd"), std::string("ab.cd"), std::string("a-_b"), std::string(64, 'x')}) {
    r.request.name = good;
    r.w.create(r.request);
  }
  for (const std::string& bad : {std::string(), std::string("abc"), std::string("-abcd"),
                                 std::string("abcd."), std::string(65, 'x'), std::string("ab cd"),
                                 std::string("ab\0cd", 5), std::string("äbcd")}) {
    r.request.name = bad;
    invalid(r.w, r.request, "4 to 64 characters");
  }
}

TEST_CASE("a name that is in use: reuse, another image, without reuse, another owner") {
  Ready r;
  r.w.add_user("other");
  const SessionId id = r.w.create(r.request);
  auto again = r.w.ask(r.request);
  REQUIRE(again.has_value());
  CHECK(again->id == id);
  CHECK_FALSE(again->created);
  r.request.image = "python";  // an alias of the same image
  again = r.w.ask(r.request);
  REQUIRE(again.has_value());
  CHECK(again->id == id);
  r.request.reuse = false;
  refused(r.w, r.request, ErrorCode::AlreadyExists, "A live session named \"sess\" exists");
  const auto error = r.w.ask(r.request).error();
  CHECK(error.kind == "session-already-exists");
  REQUIRE(error.data.size() == 1);
  CHECK(error.data[0] == std::pair<std::string, std::string>{"existingSessionId", to_string(id)});
  r.request.reuse = true;
  r.request.image = kOtherImage;
  refused(r.w, r.request, ErrorCode::AlreadyExists, "made from another image");
  const SessionId theirs = r.w.create(r.request, "other");
  CHECK(theirs != id);
  r.w.terminate(id);
  CHECK(r.w.create(r.request) != id);  // the name is free once the session has ended
}

TEST_CASE("a session that is being ended still has its name") {
  Ready r;
  const SessionId id = r.w.run(r.request, {"a1"});
  r.w.terminate(id);
  REQUIRE(r.w.status(id) == SessionStatus::Terminating);
  r.request.reuse = false;
  refused(r.w, r.request, ErrorCode::AlreadyExists, "exists");
}

TEST_CASE("renaming: only while it runs, to a good name, that no live session of the owner has") {
  Ready r;
  const SessionId id = r.w.create(r.request);
  const auto rename = [&](const SessionId& which, const char* name) {
    const auto result = r.w.ask(RenameSession{which, name});
    return result ? std::string() : result.error().message;
  };
  CHECK(rename(id, "better") == "Only a running session can be renamed");
  r.w.place(id, {"a1"});
  r.w.started(id);
  r.w.create(World::request("taken"));
  CHECK(rename(id, "taken").find("\"taken\" exists") != std::string::npos);
  CHECK(rename(id, "bad").find("4 to 64") != std::string::npos);
  CHECK(rename(SessionId{}, "better") == "No such session.");
  CHECK(rename(id, "sess") == "");  // its own name
  CHECK(rename(id, "better") == "");
  CHECK(r.w.session(id).name == "better");
  CHECK(r.w.state().find_live_session(AccessKey("USER"), "better")->id == id);
  CHECK(r.w.state().find_live_session(AccessKey("USER"), "sess") == nullptr);
  r.w.create(World::request("sess"));
}

TEST_CASE("batch sessions need a command; times belong to them alone") {
  Ready r;
  CreateSession batch = World::batch("job-1", "");
  invalid(r.w, batch, "startup_command: a batch session needs one");
  batch.startup_command = "true";
  batch.batch_timeout = Duration{};
  invalid(r.w, batch, "batch_timeout: must be longer than 0");
  batch.batch_timeout = seconds(1);
  batch.starts_at = r.w.now + seconds(60);
  const SessionId id = r.w.create(batch);
  CHECK(r.w.session(id).requested_starts_at == batch.starts_at);
  r.request.starts_at = batch.starts_at;
  invalid(r.w, r.request, "starts_at: only batch sessions");
  r.request.starts_at = {};
  r.request.batch_timeout = seconds(1);
  invalid(r.w, r.request, "batch_timeout: only batch sessions");
}

TEST_CASE("a callback that nobody would make is refused") {
  Ready r;
  r.request.callback_url = "http://x/";
  invalid(r.w, r.request, "callback_url: this manager calls nobody back");
}

TEST_CASE("limits of texts, environment and cluster size") {
  Ready r;
  r.w.options.environ_max = 100;
  r.w.options.script_max = 50;
  r.w.options.cluster_size_max = 4;
  r.request.environ.set("A", std::string(80, 'x'));
  r.w.create(r.request);
  r.request.name = "other";
  r.request.environ.set("A", std::string(100, 'x'));
  invalid(r.w, r.request, "environ: is larger than 100 bytes");
  r.request.environ = Json::array();
  invalid(r.w, r.request, "environ: must be an object");
  r.request.environ = Json::object();
  r.request.resource_opts = 3;
  invalid(r.w, r.request, "resource_opts: must be an object");
  r.request.resource_opts = Json::object();
  r.request.bootstrap_script = std::string(51, 'x');
  invalid(r.w, r.request, "50 bytes at most");
  r.request.bootstrap_script = std::string(50, 'x');
  r.request.startup_command = std::string(51, 'x');
  invalid(r.w, r.request, "50 bytes at most");
  r.request.startup_command.clear();
  for (const std::int64_t wrong : {0, -1, 5}) {
    r.request.cluster_size = wrong;
    invalid(r.w, r.request, "cluster_size: must be 1 to 4");
  }
  r.request.cluster_size = 4;
  r.w.create(r.request);
}

TEST_CASE("images: by alias, by architecture, not found") {
  Ready r;
  r.request.image = "python";
  CHECK(r.w.session(r.w.create(r.request)).image == kLocalImage);
  r.request.name = "other";
  r.request.image = "none";
  refused(r.w, r.request, ErrorCode::NotFound, "There is no image \"none\" for x86_64");
  r.request.image = kLocalImage;
  r.request.architecture = "aarch64";
  refused(r.w, r.request, ErrorCode::NotFound, "for aarch64");
}

TEST_CASE("projects and their members") {
  Ready r;
  r.request.project = "none";
  refused(r.w, r.request, ErrorCode::NotFound,
          "There is no project \"none\" in domain \"default\"");
  r.w.load(R"({"projects": [{"id": "00000000-0000-0000-0000-0000000000a2", "name": "closed",
                             "domain_name": "default", "is_active": false},
                            {"id": "00000000-0000-0000-0000-0000000000a3", "name": "open",
                             "domain_name": "default"}]})");
  r.request.project = "closed";
  refused(r.w, r.request, ErrorCode::NotFound, "closed");
  r.request.project = "open";
  refused(r.w, r.request, ErrorCode::PermissionDenied, "is not a member of project \"open\"");
  r.w.add_user("root", "superadmin");
  r.w.create(r.request, "root");
}

TEST_CASE("resource groups: which are open, which take this type (P13)") {
  Ready r;
  r.w.load(
      R"({"resource_groups": [{"name": "alpha"}, {"name": "batch", "allowed_session_types": ["batch"]},
                                   {"name": "closed", "is_active": false}],
               "resource_group_grants": [
                 {"resource_group": "batch", "scope_kind": "project",
                  "scope": "00000000-0000-0000-0000-0000000000a1"},
                 {"resource_group": "closed", "scope_kind": "keypair", "scope": "USER"}]})");
  r.request.resource_group =
      ResourceGroupName("alpha");  // it exists, but is not open to anybody here
  invalid(r.w, r.request, "does not exist or is not open to you; there are: batch, default");
  r.request.resource_group = ResourceGroupName("closed");
  invalid(r.w, r.request, "there are: batch, default");
  r.request.resource_group = ResourceGroupName("batch");
  invalid(r.w, r.request, "Resource group \"batch\" does not take interactive sessions");
  r.request.resource_group.reset();
  CHECK(r.w.session(r.w.create(r.request)).resource_group == ResourceGroupName("default"));
  CreateSession batch = World::batch("job-1");
  invalid(r.w, batch, "Resource group \"batch\" has no agent");  // the first that takes it
  r.w.load(R"({"resource_groups": [{"name": "default", "allowed_session_types": []},
                                   {"name": "batch", "allowed_session_types": []}]})");
  invalid(r.w, batch, "None of the resource groups batch, default takes batch sessions");
  CreateSession system = World::request("sftp");
  system.type = SessionType::System;  // private sessions go anywhere
  system.resource_group = ResourceGroupName("default");
  r.w.create(system);
}

TEST_CASE("acting for somebody else") {
  Ready r;
  r.w.add_user("other");
  r.w.add_user("admin", "admin");
  r.w.add_user("root", "superadmin");
  r.request.owner = AccessKey("OTHER");
  refused(r.w, r.request, ErrorCode::PermissionDenied, "Only an administrator");
  const SessionId id = r.w.create(r.request, "admin");
  CHECK(to_string(r.w.session(id).user) == World::id_of("other"));
  CHECK(r.w.session(id).access_key == AccessKey("OTHER"));
  r.request.name = "for-root";
  r.request.owner = AccessKey("ROOT");
  refused(r.w, r.request, ErrorCode::PermissionDenied, "Only an administrator", "admin");
  r.w.create(r.request, "system");
  r.request.owner = AccessKey("NONE");
  refused(r.w, r.request, ErrorCode::InvalidArgument, "there is no active keypair \"NONE\"",
          "root");
  r.w.load(R"({"keypairs": [{"access_key": "OTHER", "is_active": false}]})");
  r.request.owner = AccessKey("OTHER");
  refused(r.w, r.request, ErrorCode::InvalidArgument, "no active keypair", "root");
  r.w.load(R"({"users": [{"uuid": ")" + World::id_of("user") + R"(", "status": "inactive"}]})");
  r.request.owner.reset();
  refused(r.w, r.request, ErrorCode::PermissionDenied, "not active");
}

TEST_CASE("an administrator of one domain does not act for users of another") {
  Ready r;
  r.w.load(R"({"domains": [{"name": "far"}]})");
  r.w.add_user("other");
  r.w.add_user("admin", "admin");
  r.w.load(R"({"users": [{"uuid": ")" + World::id_of("other") + R"(", "domain_name": "far"}]})");
  r.request.owner = AccessKey("OTHER");
  refused(r.w, r.request, ErrorCode::PermissionDenied, "Only an administrator", "admin");
}

}  // namespace bai::test

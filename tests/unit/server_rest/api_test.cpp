// The REST layer over a whole manager on virtual time, with simulated agents and failing storage.
#include "rest/api.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "auth/jwt.hpp"
#include "auth/signature.hpp"
#include "bai_manager/manual_env.hpp"
#include "bai_manager/sim_agents.hpp"
#include "bai_manager/storage.hpp"
#include "http/text.hpp"
#include "rest/session_view.hpp"

using namespace bai;
using namespace bai::server;

namespace {

struct Keys {
  std::string access, secret;
};
const Keys kAdmin{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};
const Keys kUser{"AKIANABBDUSEREXAMPLE", "C8qnIo29EZvXkPK_MXcuAakYTy4NYrxwmCEyNPlf"};

Json example_fixture() {
  std::ifstream in(BAI_SOURCE_DIR "/examples/fixture.json");
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  auto json = Json::parse(text);
  REQUIRE(json.has_value());
  return std::move(*json);
}

class World {
 public:
  explicit World(RestOptions options = {}, Json fixture = example_fixture()) {
    storage = std::shared_ptr<FaultyStorage>(
        make_faulty_storage(std::shared_ptr<Storage>(make_memory_storage())));
    cluster = std::make_shared<SimulatedCluster>(env.env().clock, env.outside(), 7);
    Ports ports;
    ports.storage = storage;
    ports.agents = cluster;
    auto opened = Manager::open({}, env.env(), std::move(ports));
    REQUIRE(opened.has_value());
    manager = std::move(*opened);
    cluster->set_sink([this](AgentEvent event, std::move_only_function<void(bool)> done) {
      manager->deliver(std::move(event), std::move(done));
    });
    auto made = RestApi::create(std::move(options), *manager, metrics);
    REQUIRE(made.has_value());
    api = std::move(*made);
    bool loaded = false;
    manager->submit(Caller::system(), LoadFixture{std::move(fixture)},
                    [&](Result<LoadFixture::Result> result) { loaded = result.has_value(); });
    env.run();
    REQUIRE(loaded);
  }
  ~World() {
    cluster->set_sink({});
    manager.reset();  // before the API: it may hold replies
  }

  void add_agent(std::string_view cpu = "4") {
    SimAgentSpec spec;
    spec.id = AgentId("a1");
    spec.capacity = {{"cpu", *parse_amount(SlotType::Count, cpu)}, {"mem", Amount{8LL << 30}}};
    cluster->add(std::move(spec), {});
    env.run();
  }

  static std::shared_ptr<http::Request> request(std::string method, std::string target,
                                                std::string body = {}) {
    auto out = std::make_shared<http::Request>();
    out->method = std::move(method);
    const auto question = target.find('?');
    out->raw_path = target.substr(0, question);
    out->path = http::percent_decode(out->raw_path).value();
    if (question != std::string::npos) out->query = http::parse_query(target.substr(question + 1));
    out->target = std::move(target);
    out->body = std::move(body);
    out->peer_ip = "127.0.0.1";
    out->headers.add("Host", "manager:8080");
    return out;
  }

  // Starts a signed request; the answer arrives when the world has run far enough.
  std::shared_ptr<std::optional<http::Response>> start(const Keys& keys, std::string method,
                                                       std::string target, Json body = {}) {
    auto out = request(std::move(method), std::move(target), body.is_null() ? "" : body.dump());
    out->headers.add("Content-Type", "application/json");
    auth::SignRequest sign;
    sign.method = out->method;
    sign.target = out->target;
    sign.host = "manager:8080";
    sign.access_key = keys.access;
    sign.secret_key = keys.secret;
    sign.content_type = "application/json";
    for (auto& [name, value] : auth::sign(sign, env.now())) out->headers.add(name, value);
    return start(std::move(out));
  }
  std::shared_ptr<std::optional<http::Response>> start(std::shared_ptr<http::Request> out) {
    out->arrival = env.now();
    auto answer = std::make_shared<std::optional<http::Response>>();
    api->handle(std::move(out), http::Responder::to_function([answer](http::Response response) {
                  *answer = std::move(response);
                }));
    return answer;
  }
  http::Response call(const Keys& keys, std::string method, std::string target, Json body = {}) {
    const auto answer = start(keys, std::move(method), std::move(target), std::move(body));
    env.run();
    REQUIRE(answer->has_value());
    return **answer;
  }
  Json json(const Keys& keys, std::string method, std::string target, Json body = {}) {
    return Json::parse(call(keys, std::move(method), std::move(target), std::move(body)).body)
        .value();
  }
  static Json create(std::string name, bool enqueue_only = true, std::string cpu = "1") {
    return Json::object(
        {{"name", std::move(name)},
         {"image", "local/python:3"},
         {"enqueueOnly", enqueue_only},
         {"config",
          Json::object({{"resources", Json::object({{"cpu", std::move(cpu)}, {"mem", "1g"}})}})}});
  }

  ManualEnv env;
  Metrics metrics;
  std::shared_ptr<FaultyStorage> storage;
  std::shared_ptr<SimulatedCluster> cluster;
  std::unique_ptr<RestApi> api;
  std::unique_ptr<Manager> manager;
};

}  // namespace

TEST_CASE("a session from submission to its end") {
  World world;
  world.add_agent();
  const auto created = world.call(kUser, "POST", "/session", World::create("unit-life"));
  CHECK(created.status == 201);
  const auto body = Json::parse(created.body).value();
  CHECK(body["status"].as_string() == "PENDING");
  CHECK(body["created"].as_bool());
  const std::string id(body["sessionId"].as_string());
  world.env.advance(seconds(1));
  auto info = world.json(kUser, "GET", "/session/" + id);
  CHECK(info["status"].as_string() == "RUNNING");
  CHECK(info.size() == 24);
  CHECK(info["statusInfo"].as_string() == "None");
  CHECK(info["occupyingSlots"].as_string() == R"({"cpu":"1","mem":"1073741824"})");
  CHECK(world.json(kUser, "GET", "/session/unit-life")["status"].as_string() == "RUNNING");
  const auto again = world.json(kUser, "POST", "/session/_/create", World::create("unit-life"));
  CHECK_FALSE(again["created"].as_bool(true));
  CHECK(again["sessionId"].as_string() == id);
  CHECK(world.call(kUser, "DELETE", "/session/unit-life").status == 200);
  world.env.advance(seconds(1));
  CHECK(world.json(kUser, "GET", "/session/" + id)["status"].as_string() == "TERMINATED");
  CHECK(world.call(kUser, "GET", "/session/unit-life").status == 404);
}

TEST_CASE("requested slots: what was asked for, zeros of what else is served, by their types") {
  World world;
  SimAgentSpec spec;
  spec.id = AgentId("a1");
  spec.slot_types = SlotTypes();
  REQUIRE(spec.slot_types.add("npu.memory", SlotType::Size).has_value());
  spec.capacity = {{"cpu", Amount{4000}},
                   {"mem", Amount{8LL << 30}},
                   {"cuda.shares", Amount{2000}},
                   {"npu.memory", Amount{4LL << 30}}};
  world.cluster->add(spec, {});
  world.env.run();
  Json body = World::create("asks-for-much");
  body.set("config", Json::parse(R"({"resources": {"cpu": "0.5", "mem": "1g", "npu.memory": "2g",
                                                   "cuda.device": 0}})")
                         .value());
  const Json created = world.json(kUser, "POST", "/session", body);
  const std::string id(created["sessionId"].as_string());
  // A 0 of what nobody here serves is as good as not named.
  const std::string_view requested =
      R"({"cpu":"0.5","cuda.shares":"0","mem":"1073741824","npu.memory":"2147483648"})";
  const std::string_view held = R"({"cpu":"0.5","mem":"1073741824","npu.memory":"2147483648"})";
  world.env.advance(seconds(1));
  const Json info = world.json(kUser, "GET", "/session/" + id);
  CHECK(info["requestedSlots"].as_string() == requested);
  CHECK(info["occupiedSlots"].as_string() == held);
  CHECK(info["occupyingSlots"].as_string() == held);
  // What a search lists.
  const SnapshotPtr snapshot = world.manager->snapshot();
  const Session* session = snapshot->find<Session>(*parse_uuid<SessionId>(id));
  REQUIRE(session != nullptr);
  const Json item = session_item(*snapshot, *session, true);
  CHECK(item["resource_slots"].dump() == requested);
  CHECK(item["occupied_slots"].dump() == held);
  CHECK(item["containers"].items()[0]["resource_usage"].dump() == held);
}

TEST_CASE("a creation answers when the session runs, or says TIMEOUT") {
  World world;
  world.add_agent("1");
  const auto first = world.start(kUser, "POST", "/session", World::create("wait-1", false));
  world.env.advance(seconds(1));
  REQUIRE(first->has_value());
  CHECK(Json::parse((*first)->body).value()["status"].as_string() == "RUNNING");

  Json body = World::create("wait-2", false);
  body.set("maxWaitSeconds", 5);
  const auto second = world.start(kUser, "POST", "/session", body);
  world.env.advance(seconds(4));
  CHECK_FALSE(second->has_value());
  world.env.advance(seconds(2));
  REQUIRE(second->has_value());
  CHECK((*second)->status == 201);
  CHECK(Json::parse((*second)->body).value()["status"].as_string() == "TIMEOUT");

  const auto third = world.start(kUser, "POST", "/session", World::create("wait-3", false));
  world.env.advance(seconds(1));
  CHECK(world.call(kUser, "DELETE", "/session/wait-3").status == 200);
  REQUIRE(third->has_value());
  CHECK((*third)->status == 404);
  CHECK((*third)->body.find("Session terminated during scheduling") != std::string::npos);
}

TEST_CASE("a session that waits says why, in its own words and in its info") {
  World world;
  world.add_agent("2");
  CHECK(world.call(kUser, "POST", "/session", World::create("too-big", true, "64")).status == 201);
  world.env.advance(seconds(1));
  const auto why = world.json(kUser, "GET", "/session/too-big/why");
  CHECK(why["status"].as_string() == "PENDING");
  CHECK(why["pending"]["code"].as_string() == "never");
  CHECK(why["pending"]["violations"].dump() == R"([{"code":"capacity","kind":""}])");
  CHECK(why["pending"]["rejected"]["slots"].as_int() == 1);
  CHECK(why["pending"]["missing"].size() > 0);
  const auto info = world.json(kUser, "GET", "/session/too-big");
  CHECK(info["statusInfo"].as_string() == why["pending"]["message"].as_string());
  CHECK(info["statusData"]["pending"] == why["pending"]);
}

TEST_CASE(
    "what-if answers without creating, and takes agents that would be there from superadmins") {
  World world;
  world.add_agent("2");
  Json body = World::create("maybe", true, "2");
  const auto yes = world.json(kUser, "POST", "/session/_/what-if", body);
  CHECK(yes["starts_now"].as_bool());
  CHECK(yes["pending"].is_null());
  CHECK(yes["agents"].members().size() == 1);
  CHECK(world.call(kUser, "GET", "/session/maybe").status == 404);
  body = World::create("maybe", true, "64");
  const auto no = world.json(kUser, "POST", "/session/_/what-if", body);
  CHECK_FALSE(no["starts_now"].as_bool(true));
  CHECK_FALSE(no["pending"]["code"].as_string().empty());
  CHECK(no["pending"]["missing"].size() > 0);
  Json agents = Json::array();
  agents.push_back(
      Json::object({{"id", "i-new"},
                    {"resource_group", "default"},
                    {"architecture", "x86_64"},
                    {"available_slots", Json::object({{"cpu", "64"}, {"mem", "1t"}})}}));
  body.set("agents", agents);
  CHECK(world.call(kUser, "POST", "/session/_/what-if", body).status == 403);
  CHECK(world.call(kUser, "POST", "/session/_/what-if", Json::object()).status == 400);
}

TEST_CASE("what-if names the sessions that would be ended, and they go on") {
  Json fixture = example_fixture();
  Json groups = Json::array();
  for (Json group : fixture["resource_groups"].items()) {
    group.set("policy_options", Json::object({{"preemption", Json::object({{"enabled", true}})}}));
    groups.push_back(std::move(group));
  }
  fixture.set("resource_groups", std::move(groups));
  World world({}, std::move(fixture));
  world.add_agent("2");
  const auto victim = world.json(kUser, "POST", "/session", World::create("victim", true, "2"));
  world.env.advance(seconds(30));
  REQUIRE(world.json(kUser, "GET", "/session/victim")["status"].as_string() == "RUNNING");

  Json body = World::create("urgent", true, "1");
  CHECK_FALSE(world.json(kUser, "POST", "/session/_/what-if", body)["starts_now"].as_bool(true));
  body.set("job_priority", 5);
  const auto answer = world.json(kUser, "POST", "/session/_/what-if", body);
  CHECK(answer["starts_now"].as_bool());
  CHECK(answer["pending"].is_null());
  REQUIRE(answer["victims"].size() == 1);
  CHECK(answer["victims"].items()[0] == victim["sessionId"]);
  CHECK(answer["agents"].members().size() == 1);
  world.env.advance(seconds(30));
  CHECK(world.json(kUser, "GET", "/session/victim")["status"].as_string() == "RUNNING");
}

TEST_CASE("a failing commit is a 503, nothing half-done is visible, service resumes") {
  World world;
  world.add_agent();
  world.storage->fail_next_commits(FaultyStorage::Fault::Refuse, 1);
  const auto refused = world.start(kUser, "POST", "/session", World::create("lost-one"));
  world.env.run();
  REQUIRE(refused->has_value());
  CHECK((*refused)->status == 503);
  CHECK((*refused)->headers.get("Content-Type") == "application/problem+json");
  CHECK(world.call(kUser, "GET", "/session/lost-one").status == 404);
  world.env.advance(seconds(5));
  CHECK(world.call(kUser, "POST", "/session", World::create("lost-one")).status == 201);
  CHECK(world.call(kUser, "GET", "/session/lost-one").status == 200);
}

TEST_CASE("users see their own sessions, superadmins all; names are per owner") {
  World world;
  world.add_agent();
  const auto mine = world.json(kUser, "POST", "/session", World::create("same-name"));
  const auto theirs = world.json(kAdmin, "POST", "/session", World::create("same-name"));
  CHECK(mine["sessionId"] != theirs["sessionId"]);
  const std::string foreign = "/session/" + std::string(theirs["sessionId"].as_string());
  for (const char* method : {"GET", "DELETE"}) {
    const int status = world.call(kUser, method, foreign).status;
    CAPTURE(method);
    CHECK((status == 403 || status == 404));
  }
  const auto own = world.json(kUser, "GET", "/session/same-name");
  CHECK(own["userId"].as_string() == "dfa9da54-4b28-432f-be29-c0d680c7a412");
  const auto by_owner = world.json(
      kAdmin, "GET", "/session/same-name/status-history?owner_access_key=" + kUser.access);
  CHECK(by_owner.find("PENDING") != nullptr);
  CHECK(
      world
          .call(kUser, "GET", "/session/same-name/status-history?owner_access_key=" + kAdmin.access)
          .status == 403);
  const auto match = world.json(kUser, "GET", "/session/_/match?id=same");
  REQUIRE(match["matches"].size() == 1);
  CHECK(match["matches"].items()[0]["id"] == mine["sessionId"]);
}

TEST_CASE("agents are hidden where the configuration says so") {
  RestOptions options;
  options.hide_agents = true;
  World world(options);
  world.add_agent();
  CHECK(world.json(kUser, "GET", "/cluster/agents")["items"].items()[0]["id"].is_null());
  CHECK(world.json(kAdmin, "GET", "/cluster/agents")["items"].items()[0]["id"].as_string() == "a1");
  Json body = World::create("designated");
  body.set("config", Json::object({{"agent_list", Json(Json::Array{Json("a1")})}}));
  const auto refused = world.call(kUser, "POST", "/session", body);
  CHECK(refused.status == 403);
  CHECK(refused.body.find("insufficient-privilege") != std::string::npos);
  CHECK(world.call(kAdmin, "POST", "/session", body).status == 201);
}

TEST_CASE("superadmins take agents out of scheduling and back") {
  World world;
  world.add_agent();
  const Json off = Json::object({{"schedulable", false}});
  CHECK(world.call(kUser, "PATCH", "/cluster/agents/a1", off).status == 403);
  CHECK(world.call(kAdmin, "PATCH", "/cluster/agents/nosuch", off).status == 404);
  CHECK(world.call(kAdmin, "PATCH", "/cluster/agents/a1", off).status == 204);
  const auto agents = world.json(kUser, "GET", "/cluster/agents?status=alive");
  REQUIRE(agents["total"].as_int() == 1);
  CHECK_FALSE(agents["items"].items()[0]["schedulable"].as_bool(true));
}

TEST_CASE("a token signed with the secret key is as good as a signature") {
  World world;
  const auto ask = [&](const std::string& token) {
    auto request = World::request("GET", "/auth/role");
    request->headers.add("X-BackendAI-Token", token);
    request->headers.add("X-BackendAI-Version", "v9.20250722");
    const auto answer = world.start(std::move(request));
    REQUIRE(answer->has_value());
    return **answer;
  };
  const auto now = world.env.now();
  const auto good = auth::make_token(kAdmin.access, "superadmin", kAdmin.secret, now);
  CHECK(ask(good).body.find("superadmin") != std::string::npos);
  CHECK(ask(auth::make_token(kAdmin.access, "superadmin", "wrong", now)).status == 401);
  CHECK(ask(auth::make_token(kAdmin.access, "superadmin", kAdmin.secret, now - seconds(2000)))
            .status == 401);
}

TEST_CASE("an inactive keypair or user does not come in") {
  Json fixture = example_fixture();
  Json keypairs = *fixture.find("keypairs"), users = *fixture.find("users");
  Json::Array pairs = keypairs.items(), people = users.items();
  pairs[1].set("is_active", false);
  people[0].set("status", "inactive");
  fixture.set("keypairs", Json(std::move(pairs)));
  fixture.set("users", Json(std::move(people)));
  World world({}, std::move(fixture));
  CHECK(world.call(kUser, "GET", "/auth").status == 401);
  CHECK(world.call(kAdmin, "GET", "/auth").status == 401);
}

TEST_CASE("trusted proxies must be addresses") {
  World world;
  RestOptions options;
  options.trusted_proxies = {"not-an-address"};
  CHECK_FALSE(RestApi::create(options, *world.manager, world.metrics).has_value());
}

TEST_CASE("of resource groups that there are not, or not for them, callers learn nothing") {
  Json fixture = example_fixture();
  Json::Array groups = fixture.find("resource_groups")->items();
  groups.push_back(Json::object({{"name", "closed"}}));
  fixture.set("resource_groups", Json(std::move(groups)));
  World world({}, std::move(fixture));
  const auto list = [&](const Keys& keys, const char* group) {
    return world.call(keys, "GET", std::string("/resource-groups/") + group + "/reservations");
  };
  CHECK(list(kUser, "default").status == 200);
  CHECK(list(kAdmin, "closed").status == 200);
  const auto hidden = list(kUser, "closed");
  for (const auto& answer : {list(kUser, "nowhere"), list(kAdmin, "nowhere"), hidden}) {
    CHECK(answer.status == 404);
    CHECK(answer.body.find("scaling-group_read_not-found") != std::string::npos);
  }
  CHECK(list(kUser, "nowhere").body.find("There is no resource group \\\"nowhere\\\"") !=
        std::string::npos);
  Json body = Json::object({{"name", "course"},
                            {"agents", Json::object({{"a1", Json::object({{"cpu", 3}})}})},
                            {"owners", Json(Json::Array{Json("domain/default")})},
                            {"starts_at", to_iso8601(world.env.now())},
                            {"ends_at", to_iso8601(world.env.now() + seconds(3600))}});
  const auto made = world.call(kAdmin, "POST", "/resource-groups/nowhere/reservations", body);
  CHECK(made.status == 404);
  CHECK(made.body.find("scaling-group_read_not-found") != std::string::npos);
}

TEST_CASE("operators reserve amounts; owners see theirs and run in them") {
  World world;
  world.add_agent();
  const std::string all = "/resource-groups/default/reservations";
  const auto window = [&](int from, int to) {
    return std::pair(to_iso8601(world.env.now() + seconds(from)),
                     to_iso8601(world.env.now() + seconds(to)));
  };
  const auto [from, to] = window(0, 3600);
  Json body = Json::object({{"name", "course"},
                            {"agents", Json::object({{"a1", Json::object({{"cpu", 3}})}})},
                            {"owners", Json(Json::Array{Json("keypair/" + kUser.access)})},
                            {"starts_at", from},
                            {"ends_at", to}});
  CHECK(world.call(kUser, "POST", all, body).status == 403);
  CHECK(world.call(kAdmin, "POST", all, body).status == 201);
  CHECK(world.call(kAdmin, "POST", all, body).status == 409);
  Json wrong = body;
  for (const char* time : {"noon", "9999-12-31T00:00:00Z"}) {
    wrong.set("starts_at", time);
    const auto refused = world.call(kAdmin, "POST", all, wrong);
    CHECK(refused.status == 400);
    CHECK(refused.body.find("starts_at") != std::string::npos);
    CHECK(refused.body.find("of the years 1678 to 2261") != std::string::npos);
  }
  const auto listed = world.json(kUser, "GET", all);
  REQUIRE(listed["total"].as_int() == 1);
  CHECK(listed["items"].items()[0]["name"].as_string() == "course");
  CHECK(listed["items"].items()[0]["agents"]["a1"]["cpu"].as_int() == 3);
  CHECK(listed["items"].items()[0]["missing"].size() == 0);
  const auto has_cores = [&](int cores) {
    const Json row = Json::object(
        {{"id", "a1"}, {"available_slots", Json::object({{"cpu", cores}, {"mem", "8g"}})}});
    world.manager->submit(Caller::system(),
                          LoadFixture{Json::object({{"agents", Json(Json::Array{row})}})},
                          [](const auto& result) { CHECK(result.has_value()); });
    world.env.run();
  };
  has_cores(2);
  CHECK(world.json(kUser, "GET", all + "/course")["missing"]["a1"]["cpu"].as_string() == "1");
  has_cores(4);
  CHECK(world.json(kUser, "GET", all + "/course")["ends_at"].as_string() == to);
  Json session = World::create("in-course");
  session.set("type", "batch");
  session.set("startupCommand", "true");
  session.set("batch_timeout", "10m");
  Json config = session["config"];
  config.set("resource_opts", Json::object({{"reservation", "course"}}));
  session.set("config", config);
  CHECK(world.call(kUser, "POST", "/session", session).status == 201);
  session.set("name", "not-yours");
  CHECK(world.call(kAdmin, "POST", "/session", session).status == 403);
  CHECK(world.call(kUser, "DELETE", all + "/course").status == 403);
  CHECK(world.call(kAdmin, "DELETE", all + "/course").status == 204);
  CHECK(world.call(kAdmin, "DELETE", all + "/course").status == 404);
  CHECK(world.call(kUser, "GET", all + "/course").status == 404);
  SUBCASE("who owns nothing sees nothing; users may be named by their email") {
    body.set("owners", Json(Json::Array{Json("user/admin@lablup.com")}));
    const auto made = world.call(kAdmin, "POST", all, body);
    CHECK_MESSAGE(made.status == 201, made.body);
    CHECK(world.json(kUser, "GET", all)["total"].as_int() == 0);
    CHECK(world.call(kUser, "GET", all + "/course").status == 404);
  }
}

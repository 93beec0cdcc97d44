// Groups of sessions: who may make, alter and use which, and what a change does to those that wait.
#include <fmt/format.h>

#include "action/table.hpp"
#include "harness.hpp"
#include "manager_site.hpp"

namespace bai::test {

namespace {

constexpr const char* kProject = "00000000-0000-0000-0000-0000000000a1";

std::string group_row(std::string_view owner, std::string_view domain = "default") {
  return fmt::format(R"({{"session_groups": [{{"id": "g1", "domain_name": "{}",
             "project": "{}", "owner": "{}", "placement_direction": "spread",
             "placement_enforcement": "strict"}}]}})",
                     domain, kProject, owner);
}

}  // namespace

TEST_CASE("a session joins a group of its owner in its project") {
  World w;
  w.add_agent("a1");
  w.add_user("other");
  w.add_user("root", "superadmin");
  w.load(group_row(World::id_of("user")));
  CreateSession request = World::request("sess");
  request.session_group = "g1";
  const SessionId id = w.create(request);
  CHECK(w.session(id).session_group == "g1");

  SUBCASE("nobody else's") {
    const auto result = w.ask(request, "other");
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == ErrorCode::NotFound);
    CHECK(result.error().kind == "session-group-not-found");
  }
  SUBCASE("a superadmin's may be in anybody's") {
    w.load(fmt::format(R"({{"project_members": [{{"project": "{}", "user": "{}"}}]}})", kProject,
                       World::id_of("root")));
    w.create(request, "root");
  }
  SUBCASE("none that is not there") {
    request.name = "sess-2";
    request.session_group = "g2";
    CHECK(w.ask(request).error().code == ErrorCode::NotFound);
  }
  SUBCASE("none of another project") {
    constexpr const char* kOther = "00000000-0000-0000-0000-0000000000a7";
    w.load(fmt::format(R"({{"projects": [{{"id": "{0}", "name": "lab", "domain_name": "default"}}],
                            "project_members": [{{"project": "{0}", "user": "{1}"}}]}})",
                       kOther, World::id_of("user")));
    request.name = "sess-2";
    request.project = "lab";
    CHECK(w.ask(request).error().code == ErrorCode::NotFound);
    request.session_group = "";
    w.create(request);
  }
}

TEST_CASE("a fixture's session groups belong to a project of their domain and to a user") {
  World w;
  const auto error = [&](const std::string& document) {
    const auto result = w.ask(LoadFixture{*Json::parse(document)}, "system");
    return result ? std::string() : result.error().message;
  };
  CHECK(error(group_row(World::id_of("nobody"))) == "session group g1: there is no such owner");
  CHECK(error(group_row(World::id_of("user"), "other")) ==
        "session group g1: domain \"other\" has no such project");
  CHECK(error(group_row(World::id_of("user"))) == "");
}

namespace {

CreateSessionGroup new_group(std::string id) {
  CreateSessionGroup action;
  action.id = std::move(id);
  action.direction = PlacementDirection::Pack;
  action.enforcement = PlacementEnforcement::Strict;
  return action;
}

// Two domains, each with an administrator; "user" and "other" are users of the first one.
struct Tenants {
  World w;
  Tenants() {
    for (const auto& [name, role] :
         {std::pair{"other", "user"}, {"admin", "admin"}, {"root", "superadmin"}}) {
      w.add_user(name, role);
    }
    w.load(fmt::format(
        R"({{"domains": [{{"name": "lab"}}],
             "projects": [{{"id": "00000000-0000-0000-0000-0000000000b1", "name": "default",
                            "domain_name": "lab"}}],
             "users": [{{"uuid": "{0}", "email": "stranger@test", "username": "stranger",
                         "domain_name": "lab", "role": "admin", "main_access_key": "STRANGER"}}],
             "keypairs": [{{"access_key": "STRANGER", "secret_key": "s", "user": "{0}",
                            "resource_policy": "default"}}],
             "project_members": [{{"project": "00000000-0000-0000-0000-0000000000b1",
                                   "user": "{0}"}}]}})",
        World::id_of("stranger")));
  }
  const SessionGroup* find(const char* id) const { return w.state().find<SessionGroup>(id); }
};

template <class R>
ErrorCode code_of(const R& result) {
  REQUIRE_FALSE(result.has_value());
  return result.error().code;
}

}  // namespace

TEST_CASE("a session group is made, altered, kept over a restart and deleted by its owner") {
  World w;
  const auto made = w.ask(new_group("replicas"));
  REQUIRE(made.has_value());
  CHECK(made->id == "replicas");
  const auto row = [&] { return *w.state().find<SessionGroup>("replicas"); };
  CHECK(to_string(row().owner) == World::id_of("user"));
  CHECK(to_string(row().project) == kProject);
  CHECK(row().domain.view() == "default");
  CHECK(row().created_at == w.now);
  CHECK(row().direction == PlacementDirection::Pack);

  ModifySessionGroup change{"replicas", PlacementDirection::Spread, {}};
  CHECK(w.ask(change).has_value());
  w.restart();
  CHECK(row().direction == PlacementDirection::Spread);
  CHECK(row().enforcement == PlacementEnforcement::Strict);
  change = {"replicas", {}, PlacementEnforcement::Preferred};
  CHECK(w.ask(change).has_value());
  CHECK(row().direction == PlacementDirection::Spread);
  CHECK(row().enforcement == PlacementEnforcement::Preferred);
  CHECK(code_of(w.ask(ModifySessionGroup{"replicas", {}, {}})) == ErrorCode::InvalidArgument);

  CHECK(w.ask(DeleteSessionGroup{"replicas"}).has_value());
  w.restart();
  CHECK(w.state().table<SessionGroup>().size() == 0);
  CHECK(code_of(w.ask(DeleteSessionGroup{"replicas"})) == ErrorCode::NotFound);
  const auto unnamed = w.ask(new_group(""));
  REQUIRE(unnamed.has_value());
  CHECK(w.state().find<SessionGroup>(unnamed->id) != nullptr);
}

TEST_CASE("session groups that cannot be made") {
  Tenants t;
  REQUIRE(t.w.ask(new_group("taken"), "other").has_value());
  CHECK(code_of(t.w.ask(new_group("taken"))) == ErrorCode::AlreadyExists);
  for (const char* id : {"with space", "a/b", "caf\xc3\xa9"}) {
    CHECK(code_of(t.w.ask(new_group(id))) == ErrorCode::InvalidArgument);
  }
  CHECK(code_of(t.w.ask(new_group(std::string(65, 'x')))) == ErrorCode::InvalidArgument);
  auto action = new_group("g");
  action.project = "nowhere";
  CHECK(t.w.ask(action).error().kind == "group-not-found");
  action = new_group("g");
  action.domain = DomainName("lab");
  CHECK(code_of(t.w.ask(action)) == ErrorCode::PermissionDenied);  // no member there
  action = new_group("g");
  action.owner = UserId{};
  CHECK(code_of(t.w.ask(action)) == ErrorCode::PermissionDenied);
  CHECK(t.w.ask(action, "root").error().kind == "user-not-found");
  std::string rows;
  for (int i = 0; i < 999; ++i) {
    rows += fmt::format(R"({}{{"id": "many-{}", "domain_name": "default", "project": "{}",
                               "owner": "{}"}})",
                        i == 0 ? "" : ",", i, kProject, World::id_of("user"));
  }
  t.w.load(R"({"session_groups": [)" + rows + "]}");
  CHECK(t.w.ask(new_group("last")).has_value());
  CHECK(code_of(t.w.ask(new_group("one-more"))) == ErrorCode::QuotaExceeded);
  CHECK(t.w.ask(new_group("one-more"), "other").has_value());
}

TEST_CASE("who may make and alter whose session groups") {
  Tenants t;
  auto for_user = new_group("g1");
  for_user.owner = *parse_uuid<UserId>(World::id_of("user"));
  CHECK(code_of(t.w.ask(for_user, "other")) == ErrorCode::PermissionDenied);
  CHECK(code_of(t.w.ask(for_user, "stranger")) == ErrorCode::PermissionDenied);
  REQUIRE(t.w.ask(for_user, "admin").has_value());
  CHECK(to_string(t.find("g1")->owner) == World::id_of("user"));
  for_user.id = "g2";
  CHECK(t.w.ask(for_user, "root").has_value());

  const ModifySessionGroup change{"g1", PlacementDirection::None, {}};
  CHECK(code_of(t.w.ask(change, "other")) == ErrorCode::NotFound);
  CHECK(code_of(t.w.ask(change, "stranger")) == ErrorCode::NotFound);
  CHECK(code_of(t.w.ask(DeleteSessionGroup{"g1"}, "other")) == ErrorCode::NotFound);
  CHECK(code_of(t.w.ask(DeleteSessionGroup{"g1"}, "stranger")) == ErrorCode::NotFound);
  CHECK(t.find("g1")->direction == PlacementDirection::Pack);
  for (const char* who : {"user", "admin", "root"}) {
    CHECK(t.w.ask(change, who).has_value());
  }
  CHECK(t.w.ask(DeleteSessionGroup{"g1"}, "admin").has_value());
  CHECK(t.w.ask(DeleteSessionGroup{"g2"}, "root").has_value());

  Caller monitor = t.w.caller();
  monitor.role = UserRole::Monitor;
  for (const char* name :
       {"create_session_group", "modify_session_group", "delete_session_group"}) {
    const action::ActionInfo* info = action::find_action(name);
    REQUIRE(info != nullptr);
    CHECK_FALSE(action::check_permission(*info, monitor, nullptr, {}).has_value());
    CHECK(action::check_permission(*info, t.w.caller(), nullptr, {}).has_value());
  }
}

TEST_CASE("a session group stays while a session of it lives") {
  World w;
  w.add_agent("a1");
  REQUIRE(w.ask(new_group("g1")).has_value());
  CreateSession request = World::request("sess");
  request.session_group = "g1";
  const SessionId running = w.run(request, {"a1"});
  request.name = "waits";
  w.now = w.now + seconds(1);
  const SessionId waiting = w.create(request);
  w.create(World::request("alone"));
  const auto members = w.state().live_members("g1");
  REQUIRE(members.size() == 2);
  CHECK(members[0]->id == running);
  CHECK(members[1]->id == waiting);
  const auto refused = w.ask(DeleteSessionGroup{"g1"});
  CHECK(code_of(refused) == ErrorCode::Conflict);
  CHECK(refused.error().message.find("2 of them") != std::string::npos);
  w.terminate(waiting);
  CHECK(code_of(w.ask(DeleteSessionGroup{"g1"})) == ErrorCode::Conflict);
  w.terminate(running, true);
  CHECK(w.ask(DeleteSessionGroup{"g1"}).has_value());
  CHECK(w.session(running).session_group == "g1");  // what has ended says where it was
}

TEST_CASE("live members of a group are known through statuses, what is undone, and a restart") {
  World w;
  w.add_agent("a1");
  for (const char* id : {"g1", "g2", "g"}) REQUIRE(w.ask(new_group(id)).has_value());
  const auto in = [&](const char* name, const char* group) {
    w.now = w.now + seconds(1);  // ids of one instant have no order
    CreateSession request = World::request(name);
    request.session_group = group;
    return request;
  };
  const auto members = [&](std::string_view group) {
    std::vector<SessionId> ids;
    for (const Session* session : w.state().live_members(group)) ids.push_back(session->id);
    return ids;
  };
  using Ids = std::vector<SessionId>;
  const SessionId first = w.creating(in("first", "g1"), {"a1"});
  const SessionId second = w.create(in("second", "g1"));
  const SessionId other = w.create(in("other", "g2"));
  w.create(World::request("in-none"));
  CHECK(members("g1") == Ids{first, second});
  CHECK(members("g2") == Ids{other});
  CHECK(members("g").empty());
  CHECK(members("").empty());
  w.started(first);
  REQUIRE(w.status(first) == SessionStatus::Running);
  CHECK(members("g1") == Ids{first, second});
  SUBCASE("what has ended is none") {
    w.terminate(first);
    REQUIRE(w.status(first) == SessionStatus::Terminating);
    CHECK(members("g1") == Ids{first, second});
    w.terminate(first, true);
    w.terminate(second);
    CHECK(members("g1").empty());
    CHECK(members("g2") == Ids{other});
    w.restart();
    CHECK(members("g1").empty());
    w.now = w.now + w.options.keep_ended;
    w.input([](core::Context& ctx) { core::evict_ended(ctx); });
    CHECK(w.state().find<Session>(second) == nullptr);
    CHECK(members("g1").empty());
    CHECK(members("g2") == Ids{other});
  }
  SUBCASE("an input that fails") {
    const auto failed = w.input([&](core::Context& ctx) -> Status {
      core::terminate(ctx, second, "user-requested", false);
      CHECK(members("g1") == Ids{first});
      REQUIRE(service::handle(ctx, w.caller(), in("third", "g2")).has_value());
      CHECK(members("g2").size() == 2);
      return fail(ErrorCode::Unavailable, "no");
    });
    CHECK_FALSE(failed.has_value());
    CHECK(members("g1") == Ids{first, second});
    CHECK(members("g2") == Ids{other});
  }
  SUBCASE("back to an earlier state") {
    const State then = w.freeze();
    w.terminate(second);
    const SessionId third = w.create(in("third", "g2"));
    CHECK(members("g1") == Ids{first});
    CHECK(members("g2") == Ids{other, third});
    CHECK(then.live_members("g1").size() == 2);
    w.go_back(then);
    CHECK(members("g1") == Ids{first, second});
    CHECK(members("g2") == Ids{other});
  }
  SUBCASE("a restart") {
    w.restart();
    CHECK(members("g1") == Ids{first, second});
    CHECK(members("g2") == Ids{other});
    w.terminate(other);
    CHECK(members("g2").empty());
  }
}

TEST_CASE("who waits for a strict group is placed by its new rule, also after a restart") {
  Site site;
  auto action = new_group("g1");
  action.direction = PlacementDirection::Spread;
  REQUIRE(site.ask(action).has_value());
  const auto member = [&](const char* name) {
    CreateSession request = World::request(name);
    request.session_group = "g1";
    return site.ask(request)->id;
  };
  const SessionId first = member("first"), second = member("second");
  CHECK(site.becomes(first, SessionStatus::Running));
  site.env.advance(seconds(30));
  CHECK(site.status(second) == SessionStatus::Pending);
  ModifySessionGroup change{"g1", {}, PlacementEnforcement::Preferred};
  SUBCASE("no longer strict") {}
  SUBCASE("together") { change = {"g1", PlacementDirection::Pack, {}}; }
  SUBCASE("after a restart") {
    site.crash();
    site.open();
    site.env.advance(seconds(30));
    CHECK(site.status(second) == SessionStatus::Pending);
  }
  REQUIRE(site.ask(change).has_value());
  CHECK(site.becomes(second, SessionStatus::Running, seconds(10)));
}

}  // namespace bai::test

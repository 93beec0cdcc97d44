// Ending through the action: results, recursion over dependents, permissions of the action table.
#include "action/table.hpp"
#include "harness.hpp"

namespace bai::test {

namespace {

SessionId waiting(World& w, const char* name, std::vector<SessionId> on,
                  const char* user = "user") {
  CreateSession request = World::request(name);
  request.dependencies = std::move(on);
  return w.create(request, user);
}

std::vector<std::string> ended(const Result<DestroySession::Result>& result) {
  REQUIRE(result.has_value());
  std::vector<std::string> outcomes;
  for (const auto& [id, outcome] : result->ended) outcomes.push_back(outcome);
  return outcomes;
}

}  // namespace

TEST_CASE("the result says what this call ended") {
  World w;
  w.add_agent("a1");
  const SessionId pending = w.create(World::request("sess-1"));
  const SessionId running = w.run(World::request("sess-2"), {"a1"});
  CHECK(ended(w.ask(DestroySession{pending})) == std::vector<std::string>{"cancelled"});
  CHECK(ended(w.ask(DestroySession{pending})).empty());
  CHECK(ended(w.ask(DestroySession{running})).empty());  // under way
  CHECK(ended(w.ask(DestroySession{.id = running, .forced = true, .recursive = false})) ==
        std::vector<std::string>{"terminated"});
  CHECK(w.session(running).status_info == "force-terminated");
  CHECK(w.ask(DestroySession{}).error().code == ErrorCode::NotFound);
}

TEST_CASE("dependencies must exist") {
  World w;
  w.add_agent("a1");
  CreateSession request = World::request("sess");
  request.dependencies = {SessionId{}};
  const auto result = w.ask(request);
  REQUIRE_FALSE(result.has_value());
  CHECK(result.error().code == ErrorCode::NotFound);
  CHECK(result.error().message ==
        "dependencies: there is no session 00000000-0000-0000-0000-000000000000");
  CHECK(w.state().table<Session>().size() == 0);
}

TEST_CASE("recursive: everything that depends on it, however far, and nothing else") {
  World w;
  w.add_agent("a1");
  const SessionId root = w.run(World::request("root"), {"a1"});
  const SessionId left = waiting(w, "left", {root});
  const SessionId right = waiting(w, "right", {root});
  const SessionId both = waiting(w, "both", {left, right});
  const SessionId leaf = waiting(w, "leaf", {both});
  const SessionId after = waiting(w, "after", {left});
  const SessionId other = waiting(w, "other", {});
  DestroySession action;
  action.id = left;
  CHECK(ended(w.ask(action)).size() == 1);  // not recursive: those who wait for it go on waiting
  for (const SessionId& id : {both, after}) CHECK(w.status(id) == SessionStatus::Pending);
  action.id = root;
  action.recursive = true;
  CHECK(ended(w.ask(action)).size() == 3);
  CHECK(w.status(root) == SessionStatus::Terminating);
  for (const SessionId& id : {right, both, leaf}) CHECK(w.status(id) == SessionStatus::Cancelled);
  CHECK(w.status(after) == SessionStatus::Pending);  // reached only through what has ended already
  CHECK(w.status(other) == SessionStatus::Pending);
}

TEST_CASE("a very long chain of dependents ends in one go") {
  constexpr int kLength = 100;
  World w;
  w.is_stored = false;
  w.add_agent("a1");
  const SessionId root = waiting(w, "root", {});
  SessionId last = root;
  for (int i = 0; i < kLength; ++i)
    last = waiting(w, ("chain-" + std::to_string(i)).c_str(), {last});
  CHECK(ended(w.ask(DestroySession{root, false, true, "user-requested"})).size() == kLength + 1);
  CHECK(w.status(last) == SessionStatus::Cancelled);
}

TEST_CASE("recursion ends at sessions that the caller may not end") {
  World w;
  w.add_agent("a1");
  w.add_user("other");
  w.add_user("admin", "admin");
  const SessionId root = w.create(World::request("root"));
  const SessionId theirs = waiting(w, "theirs", {root}, "other");
  const SessionId mine = waiting(w, "mine", {root});
  CHECK(ended(w.ask(DestroySession{root, false, true, "user-requested"})).size() == 2);
  CHECK(w.status(mine) == SessionStatus::Cancelled);
  CHECK(w.status(theirs) == SessionStatus::Pending);
  const SessionId again = w.create(World::request("again"));
  const SessionId also = waiting(w, "also", {again}, "other");
  CHECK(ended(w.ask(DestroySession{again, false, true, "user-requested"}, "admin")).size() == 2);
  CHECK(w.status(also) == SessionStatus::Cancelled);
}

// ---- permissions
// ---------------------------------------------------------------------------------

namespace {

std::optional<ErrorCode> permission(const World& w, std::string_view name, const char* user,
                                    const void* action) {
  const action::ActionInfo* info = action::find_action(name);
  REQUIRE(info != nullptr);
  const auto find = [&](const SessionId& id) { return w.state().find<Session>(id); };
  const Status status = action::check_permission(*info, w.caller(user), action, find);
  if (status) return {};
  return status.error().code;
}

}  // namespace

TEST_CASE("every action has a name of its own, and exactly one way to be carried out") {
  std::set<std::string_view> names;
  for (const action::ActionInfo& info : action::all_actions()) {
    CHECK(names.insert(info.name).second);
    CHECK((info.write != nullptr) + (info.call != nullptr) + (info.ask != nullptr) == 1);
    CHECK((info.permission == action::Permission::SessionOwner) == (info.session != nullptr));
    CHECK(action::find_action(info.name) == &info);
    CHECK_FALSE(info.entity.empty());
    CHECK_FALSE(info.operation.empty());
  }
  CHECK(action::find_action("no such action") == nullptr);
}

TEST_CASE("who may do what") {
  World w;
  w.add_agent("a1");
  w.add_user("other");
  w.add_user("admin", "admin");
  w.add_user("root", "superadmin");
  w.add_user("monitor", "monitor");
  const SessionId id = w.create(World::request("sess"));
  for (const action::ActionInfo& info : action::all_actions()) {
    CAPTURE(info.name);
    if (info.permission != action::Permission::SessionOwner) continue;
    // Every action about a session keeps its id first.
    const DestroySession stand_in{id, false, false, ""};
    if (info.name != DestroySession::kName) continue;
    CHECK_FALSE(permission(w, info.name, "user", &stand_in).has_value());
    CHECK(permission(w, info.name, "other", &stand_in) == ErrorCode::NotFound);
    CHECK_FALSE(permission(w, info.name, "admin", &stand_in).has_value());
    CHECK_FALSE(permission(w, info.name, "root", &stand_in).has_value());
    CHECK_FALSE(permission(w, info.name, "system", &stand_in).has_value());
    CHECK(permission(w, info.name, "monitor", &stand_in) == ErrorCode::PermissionDenied);
    const DestroySession unknown{SessionId{}, false, false, ""};
    CHECK(permission(w, info.name, "root", &unknown) == ErrorCode::NotFound);
  }
  const CreateSession create = World::request("new-1");
  CHECK_FALSE(permission(w, CreateSession::kName, "other", &create).has_value());
  CHECK(permission(w, CreateSession::kName, "monitor", &create) == ErrorCode::PermissionDenied);
  const LoadFixture load{Json::object()};
  const ModifyAgent modify{AgentId("a1"), false};
  for (const char* user : {"user", "admin", "monitor"}) {
    CHECK(permission(w, LoadFixture::kName, user, &load) == ErrorCode::PermissionDenied);
    CHECK(permission(w, ModifyAgent::kName, user, &modify) == ErrorCode::PermissionDenied);
  }
  for (const char* user : {"root", "system"}) {
    CHECK_FALSE(permission(w, LoadFixture::kName, user, &load).has_value());
    CHECK_FALSE(permission(w, ModifyAgent::kName, user, &modify).has_value());
  }
}

TEST_CASE("an administrator of another domain does not see the session") {
  World w;
  w.add_agent("a1");
  w.load(R"({"domains": [{"name": "far"}]})");
  w.add_user("admin", "admin");
  w.load(R"({"users": [{"uuid": ")" + World::id_of("admin") + R"(", "domain_name": "far"}]})");
  const DestroySession action{w.create(World::request("sess")), false, false, ""};
  CHECK(permission(w, DestroySession::kName, "admin", &action) == ErrorCode::NotFound);
}

}  // namespace bai::test

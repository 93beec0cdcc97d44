// Who may put a session into which group.
#include <fmt/format.h>

#include "harness.hpp"

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

}  // namespace bai::test

// "What if" as callers see it: the same checks as a creation, and nothing left behind.
#include "harness.hpp"
#include "manager_site.hpp"

namespace bai::test {

namespace {

WhatIf about(CreateSession session) {
  WhatIf action;
  action.session = std::move(session);
  return action;
}

WhatIf about(const SessionId& waiting) {
  WhatIf action;
  action.waiting = waiting;
  return action;
}

CreateSession of_cores(std::string name, std::int64_t cores) {
  CreateSession request = World::request(std::move(name));
  request.slots.set("cpu", Amount{cores * 1000});
  return request;
}

}  // namespace

TEST_CASE("what-if: a session that would start, host by host, and nothing is created") {
  Site site;
  const StateVersion before = site.manager->snapshot()->version();
  CreateSession request = World::request("maybe", kLocalImage, 2);
  const auto answer = site.ask(about(request));
  REQUIRE(answer.has_value());
  CHECK(answer->starts_now);
  using Where = std::vector<std::pair<std::string, AgentId>>;
  CHECK(answer->agents == Where{{"main1", AgentId("a1")}, {"sub1", AgentId("a1")}});
  CHECK(answer->version == before);
  CHECK(site.manager->snapshot()->version() == before);
  CHECK(site.manager->snapshot()->count_sessions(SessionStatus::Pending) == 0);
  CHECK(site.manager->check_invariants() == "");
  // The name is still free.
  CHECK(site.ask(request).has_value());
}

TEST_CASE("what-if: why not, and what a session that waits gets to hear") {
  Site site;
  REQUIRE(site.becomes(site.ask(of_cores("running", 7))->id, SessionStatus::Running));
  const auto no = site.ask(about(of_cores("large", 4)));
  REQUIRE(no.has_value());
  CHECK_FALSE(no->starts_now);
  CHECK(no->reason.code == "capacity");
  CHECK(no->reason.missing.get("cpu") == Amount{3000});
  CHECK(no->reason.position == 1);
  CHECK_FALSE(no->reason.expected_basis.empty());

  const SessionId first = site.ask(of_cores("first", 4))->id;
  const SessionId second = site.ask(of_cores("second", 5))->id;
  site.env.advance(seconds(1));
  const auto why = site.ask(about(second));
  REQUIRE(why.has_value());
  CHECK(why->reason.position == 2);
  CHECK(site.ask(about(first))->reason.position == 1);
}

TEST_CASE("what-if fails as a creation does") {
  Site site;
  const auto refused = site.ask(about(World::request("x")));
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == ErrorCode::InvalidArgument);
  CHECK(site.ask(about(World::request("fine", "no-such-image"))).error().code ==
        ErrorCode::NotFound);
  const SessionId id = site.create("taken", kLocalImage);
  REQUIRE(site.becomes(id, SessionStatus::Running));
  CHECK(site.ask(about(id)).error().code == ErrorCode::Conflict);
  CHECK(site.ask(about(World::request("taken"))).error().code == ErrorCode::Conflict);
  CHECK(site.ask(about(SessionId{})).error().code == ErrorCode::NotFound);
  CHECK(site.ask(WhatIf{}).error().code == ErrorCode::InvalidArgument);
  WhatIf both = about(World::request("fine"));
  both.waiting = id;
  CHECK(site.ask(both).error().code == ErrorCode::InvalidArgument);
}

TEST_CASE("what-if: a session that would start names who would be ended for it, and ends nobody") {
  for (const char* mode : {"terminate", "reschedule"}) {
    CAPTURE(mode);
    Site site;
    auto loaded = std::make_shared<std::optional<Result<LoadFixture::Result>>>();
    const Json rules = Json::object({{"enabled", true}, {"mode", mode}, {"order", "newest"}});
    Json group = Json::object({{"name", "default"}});
    group.set("policy_options", Json::object({{"preemption", rules}}));
    Json groups = Json::array();
    groups.push_back(group);
    site.manager->submit(Caller::system(),
                         LoadFixture{Json::object({{"resource_groups", std::move(groups)}})},
                         [loaded](auto result) { *loaded = std::move(result); });
    site.env.run();
    REQUIRE((loaded->has_value() && (*loaded)->has_value()));

    std::vector<SessionId> running;
    for (const char* name : {"first", "second", "third"}) {
      running.push_back(site.ask(of_cores(name, 2))->id);
      REQUIRE(site.becomes(running.back(), SessionStatus::Running));
      site.env.advance(seconds(1));
    }
    const StateVersion before = site.manager->snapshot()->version();
    // Two cores are free; without a higher job priority nobody leaves.
    CHECK(site.ask(about(of_cores("modest", 4)))->reason.code == "capacity");
    CreateSession urgent = of_cores("urgent", 6);
    urgent.job_priority = 5;
    const auto answer = site.ask(about(urgent));
    REQUIRE(answer.has_value());
    CHECK(answer->starts_now);
    CHECK(answer->victims == std::vector<SessionId>{running[2], running[1]});
    REQUIRE(answer->agents.size() == 1);
    CHECK(answer->agents.front().second == AgentId("a1"));
    // Of a small one that finds room there are none.
    CreateSession small = of_cores("small", 2);
    small.job_priority = 5;
    CHECK(site.ask(about(small))->victims.empty());

    site.env.advance(seconds(2));
    CHECK(site.manager->snapshot()->version() == before);
    for (const SessionId& id : running) CHECK(site.status(id) == SessionStatus::Running);
    CHECK(site.manager->check_invariants() == "");

    // Who is named is who goes.
    const SessionId id = site.ask(urgent)->id;
    REQUIRE(site.becomes(id, SessionStatus::Running));
    CHECK(site.status(running[0]) == SessionStatus::Running);
    for (const SessionId& victim : {running[1], running[2]}) {
      const bool again = std::string_view(mode) == "reschedule";
      CHECK(site.becomes(victim, again ? SessionStatus::Pending : SessionStatus::Terminated));
    }
  }
}

TEST_CASE("what-if: agents that would be there are for superadmins") {
  Site site;
  WhatIf action = about(of_cores("large", 8));
  REQUIRE(site.becomes(site.ask(of_cores("running", 7))->id, SessionStatus::Running));
  action.agents = Json::array();
  action.agents.push_back(
      Json::object({{"id", "a2"},
                    {"resource_group", "default"},
                    {"architecture", "x86_64"},
                    {"available_slots", Json::object({{"cpu", "8"}, {"mem", "64g"}})}}));
  const auto refused = site.ask(action);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == ErrorCode::PermissionDenied);

  Caller admin = site.caller();
  admin.role = UserRole::Superadmin;
  const auto ask_as_admin = [&](WhatIf question) {
    auto answer = std::make_shared<std::optional<Result<WhatIf::Result>>>();
    site.manager->submit<WhatIf>(admin, std::move(question),
                                 [answer](auto result) { *answer = std::move(result); });
    site.env.advance_until([&] { return answer->has_value(); }, seconds(60));
    REQUIRE(answer->has_value());
    return std::move(**answer);
  };
  const auto answer = ask_as_admin(action);
  REQUIRE(answer.has_value());
  CHECK(answer->starts_now);
  REQUIRE(answer->agents.size() == 1);
  CHECK(answer->agents.front().second == AgentId("a2"));
  CHECK(site.manager->snapshot()->find<Agent>(AgentId("a2")) == nullptr);
  action.agents = Json::array();
  action.agents.push_back(Json::object({{"id", "a2"}, {"no_such_member", 1}}));
  CHECK(ask_as_admin(action).error().code == ErrorCode::InvalidArgument);
}

TEST_CASE("questions are answered in order, bounded, and at the latest when the manager closes") {
  Site site;
  std::vector<std::shared_ptr<std::optional<Result<WhatIf::Result>>>> answers;
  for (int i = 0; i < 100; ++i) answers.push_back(site.submit(about(World::request("maybe"))));
  site.env.advance_until([&] { return answers.back()->has_value(); }, seconds(60));
  site.env.advance(seconds(1));
  std::size_t refused = 0;
  for (const auto& answer : answers) {
    REQUIRE(answer->has_value());
    if (!(*answer)->has_value()) {
      ++refused;
      CHECK((*answer)->error().code == ErrorCode::Unavailable);
    }
  }
  CHECK(refused == 100 - 64);
  CHECK(site.ask(about(World::request("maybe"))).has_value());

  const auto late = site.submit(about(World::request("maybe")));
  CHECK(site.manager->close(seconds(5)).has_value());
  CHECK(late->has_value());
  const auto never = site.submit(about(World::request("maybe")));
  REQUIRE(never->has_value());
  CHECK((*never)->error().code == ErrorCode::Unavailable);
}

}  // namespace bai::test

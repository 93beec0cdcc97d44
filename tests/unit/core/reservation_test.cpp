// Advance reservations: what may be reserved, who may use it, and when it goes away.
#include <fmt/format.h>

#include <limits>

#include "core/reservations.hpp"
#include "harness.hpp"
#include "manager_site.hpp"

namespace bai::test {

namespace {

struct Ready {
  World w;
  Ready() {
    w.add_agent("a1", "8", "16g");
    w.add_agent("a2", "4", "8g");
  }

  CreateReservation request(std::string name = "course", const char* cpu = "4") const {
    CreateReservation action;
    action.resource_group = ResourceGroupName("default");
    action.name = std::move(name);
    action.agents = Json::object({{"a1", Json::object({{"cpu", cpu}})}});
    action.owners = {"user/" + World::id_of("user")};
    action.starts_at = w.now + seconds(100);
    action.ends_at = w.now + seconds(200);
    return action;
  }
  void refused(const CreateReservation& action, ErrorCode code, std::string_view part) {
    const auto result = w.ask(action);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == code);
    CHECK_MESSAGE(result.error().message.find(part) != std::string::npos, result.error().message);
    CHECK(w.state().table<Reservation>().size() == 1);  // "kept" of the fixture below
  }
  CreateSession session(const char* name, const char* reservation) const {
    CreateSession action = World::batch(name);
    action.batch_timeout = seconds(10);
    action.resource_opts.set("reservation", reservation);
    return action;
  }
};

}  // namespace

TEST_CASE("a reservation is stored, listed by its id and deleted") {
  Ready r;
  const auto made = r.w.ask(r.request());
  REQUIRE(made.has_value());
  CHECK(made->id == "default/course");
  CHECK(r.w.state().find<Reservation>("default/course")->created_at == r.w.now);
  r.w.restart();
  REQUIRE(r.w.state().find<Reservation>("default/course") != nullptr);
  CHECK(r.w.ask(DeleteReservation{"default/course"}).has_value());
  CHECK(r.w.state().find<Reservation>("default/course") == nullptr);
  CHECK(r.w.ask(DeleteReservation{"default/course"}).error().code == ErrorCode::NotFound);
}

TEST_CASE("what cannot be reserved") {
  Ready r;
  REQUIRE(r.w.ask(r.request("kept", "5")).has_value());
  const auto with = [&](auto&& edit) {
    auto action = r.request("other", "3");
    edit(action);
    return action;
  };
  const auto invalid = ErrorCode::InvalidArgument;
  SUBCASE("a name that is taken") {
    r.refused(r.request("kept"), ErrorCode::AlreadyExists, "already a reservation");
  }
  SUBCASE("names that are none") {
    for (const char* name : {"", "with space", "a/b", "caf\xc3\xa9"}) {
      r.refused(with([&](auto& a) { a.name = name; }), invalid, "name:");
    }
    r.refused(with([&](auto& a) { a.name = std::string(65, 'x'); }), invalid, "1 to 64");
  }
  SUBCASE("a group, an agent, an owner that is not there") {
    r.refused(with([](auto& a) { a.resource_group = ResourceGroupName("gold"); }),
              ErrorCode::NotFound, "resource group \"gold\"");
    r.refused(with([](auto& a) { a.agents = Json::object({{"a9", Json::object({{"cpu", 1}})}}); }),
              ErrorCode::NotFound, "agent \"a9\"");
    r.refused(with([](auto& a) { a.owners = {"domain/nowhere"}; }), ErrorCode::NotFound,
              "domain \"nowhere\"");
    r.refused(with([](auto& a) { a.owners = {"someone"}; }), invalid, "owners: \"someone\"");
    r.refused(with([](auto& a) { a.owners.clear(); }), invalid, "owners:");
  }
  SUBCASE("an owner that stands twice, or is not written as it is compared") {
    r.refused(with([](auto& a) { a.owners = {"domain/default", a.owners[0], "domain/default"}; }),
              invalid, "owners: \"domain/default\" stands twice; name each owner once");
    std::string joined = World::id_of("user");
    std::erase(joined, '-');
    r.refused(with([&](auto& a) { a.owners = {"user/" + joined}; }), invalid,
              "should be written \"user/" + World::id_of("user") + "\"");
  }
  SUBCASE("a window that is reversed, over or endless") {
    r.refused(with([](auto& a) { std::swap(a.starts_at, a.ends_at); }), invalid, "not after");
    r.refused(with([](auto& a) { a.ends_at = a.starts_at; }), invalid, "not after");
    r.refused(with([&](auto& a) {
                a.starts_at = r.w.now - seconds(9);
                a.ends_at = r.w.now;
              }),
              invalid, "is over");
    r.refused(with([](auto& a) { a.ends_at = a.starts_at + seconds(367LL * 86'400); }), invalid,
              "366 days");
    constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max();
    for (const std::int64_t from : {std::int64_t{0}, -kFar, -kFar - 1}) {
      r.refused(with([&](auto& a) {
                  a.starts_at = Timestamp{from};
                  a.ends_at = Timestamp{kFar};
                }),
                invalid, "366 days");
    }
  }
  SUBCASE("amounts that the agent does not have") {
    const auto amounts = [&](Json slots) {
      return with([&](auto& a) { a.agents = Json::object({{"a1", std::move(slots)}}); });
    };
    r.refused(amounts(Json::object({{"cuda.device", 1}})), invalid, "no slot \"cuda.device\"");
    r.refused(amounts(Json::object({{"warp.core", 1}})), invalid, "warp.core");
    r.refused(amounts(Json::object({{"cpu", -1}})), invalid, "cpu");
    r.refused(amounts(Json::object({{"cpu", 0}})), invalid, "positive");
    r.refused(amounts(Json::object({{"cpu", 9}})), invalid, "it has 8");
    r.refused(amounts(Json::object()), invalid, "names no slot");
    r.refused(with([](auto& a) { a.agents = Json::object(); }), invalid, "1 to 10000 agents");
    r.refused(with([](auto& a) { a.agents = Json::array(); }), invalid, "1 to 10000 agents");
  }
  SUBCASE("more than the agent has together with another of that time") {
    r.refused(
        with([](auto& a) { a.agents = Json::object({{"a1", Json::object({{"cpu", "3.001"}})}}); }),
        invalid, "together");
    const auto ends_before = with([](auto& a) {
      a.agents = Json::object({{"a1", Json::object({{"cpu", 8}})}});
      a.ends_at = a.starts_at;
      a.starts_at = a.ends_at - seconds(50);
    });
    CHECK(r.w.ask(ends_before).has_value());
  }
}

TEST_CASE("overlaps are counted where they are, not over the whole window") {
  Ready r;
  const auto window = [&](const char* name, const char* cpu, int from, int to) {
    auto action = r.request(name, cpu);
    action.starts_at = r.w.now + seconds(from);
    action.ends_at = r.w.now + seconds(to);
    return r.w.ask(action).has_value();
  };
  CHECK(window("early", "5", 100, 200));
  CHECK(window("late", "5", 200, 300));
  CHECK(window("over-both", "3", 50, 350));
  CHECK_FALSE(window("one-more", "1", 150, 160));
  CHECK(window("before", "5", 50, 100));
}

TEST_CASE("rows of a fixture are checked the same way") {
  Ready r;
  const auto load = [&](const char* name, int from, int to, const char* cpu) {
    const auto parsed = Json::parse(fmt::format(
        R"({{"reservations": [{{"resource_group": "default", "name": "{}",
             "agents": {{"a1": {{"cpu": "{}"}}}}, "owners": ["user/{}"],
             "starts_at": "{}", "ends_at": "{}"}}]}})",
        name, cpu, World::id_of("user"), to_iso8601(r.w.now + seconds(from)),
        to_iso8601(r.w.now + seconds(to))));
    REQUIRE(parsed.has_value());
    return r.w.ask(LoadFixture{*parsed});
  };
  REQUIRE(load("course", 0, 100, "5").has_value());
  CHECK(r.w.state().find<Reservation>("default/course") != nullptr);
  const auto too_much = load("second", 50, 150, "4");
  REQUIRE_FALSE(too_much.has_value());
  CHECK(too_much.error().message.find("reservation default/") != std::string::npos);
  CHECK_FALSE(load("reversed", 100, 50, "1").has_value());
  CHECK_FALSE(load("over", -100, -50, "1").has_value());
  CHECK_FALSE(load("bad name", 0, 50, "1").has_value());
  const auto twice = r.w.ask(LoadFixture{*Json::parse(
      R"({"reservations": [{"id": "default/course", "owners": ["domain/default", "domain/default"]}]})")});
  REQUIRE_FALSE(twice.has_value());
  CHECK(
      twice.error().message ==
      "reservation default/course: owners: \"domain/default\" stands twice; name each owner once");
}

TEST_CASE("who may run in a reservation, and which") {
  Ready r;
  r.w.add_user("other");
  REQUIRE(r.w.ask(r.request()).has_value());
  CHECK(r.w.ask(r.session("sess1", "course")).has_value());
  CHECK(r.w.ask(r.session("sess2", "default/course")).has_value());
  const auto code = [&](const CreateSession& request, const char* user = "user") {
    const auto result = r.w.ask(request, user);
    return result.has_value() ? ErrorCode{} : result.error().code;
  };
  CHECK(code(r.session("sess3", "lecture")) == ErrorCode::NotFound);
  CHECK(code(r.session("sess3", "gold/course")) == ErrorCode::NotFound);
  CHECK(code(r.session("sess3", "")) == ErrorCode::InvalidArgument);
  CHECK(code(r.session("sess3", "course"), "other") == ErrorCode::PermissionDenied);
  CreateSession number = r.session("sess3", "course");
  number.resource_opts.set("reservation", 5);
  CHECK(code(number) == ErrorCode::InvalidArgument);
  SUBCASE("not when it is over") {
    r.w.now = r.w.now + seconds(200);  // nothing has looked at it yet
    CHECK(code(r.session("sess3", "course")) == ErrorCode::InvalidArgument);
  }
  SUBCASE("an owner may be a project, a domain or a keypair") {
    for (const char* scope : {"domain/default", "keypair/OTHER"}) {
      const std::string owner = scope;
      auto action = r.request("of-" + owner.substr(0, 6), "1");
      action.owners = {owner};
      REQUIRE(r.w.ask(action).has_value());
      CHECK(code(r.session(("sess-" + owner.substr(0, 6)).c_str(), action.name.c_str()), "other") ==
            ErrorCode{});
    }
  }
}

TEST_CASE("a reservation that is over goes away, and its name is free again") {
  Ready r;
  REQUIRE(r.w.ask(r.request()).has_value());
  r.w.input([](core::Context& ctx) { core::evict_ended(ctx); });
  CHECK(r.w.state().find<Reservation>("default/course") != nullptr);
  SUBCASE("with the next look at what has ended") {
    r.w.now = r.w.now + seconds(200);
    r.w.input([](core::Context& ctx) { core::evict_ended(ctx); });
    CHECK(r.w.state().find<Reservation>("default/course") == nullptr);
  }
  SUBCASE("with the next one of that name") {
    r.w.now = r.w.now + seconds(200);
    CHECK(r.w.ask(r.request()).has_value());
  }
}

TEST_CASE("a reservation that has outgrown its agent stands in nobody's way, and is named") {
  struct Lines final : LogSink {
    void write(LogLevel, std::string_view, std::string_view message) noexcept override {
      lines.emplace_back(message);
    }
    std::vector<std::string> lines;
  } log;
  Site site;
  site.crash();
  site.log = &log;
  site.open();
  Caller admin = site.caller();
  admin.role = UserRole::Superadmin;
  const auto ask = [&](auto action) {
    auto answer = std::make_shared<std::optional<Result<typename decltype(action)::Result>>>();
    site.manager->submit(admin, std::move(action),
                         [answer](auto result) { *answer = std::move(result); });
    site.env.advance_until([&] { return answer->has_value(); }, seconds(60));
    REQUIRE(answer->has_value());
    return std::move(**answer);
  };
  const auto agent = [](const char* id, const char* cores) {
    return *Json::parse(fmt::format(
        R"([{{"id": "{}", "resource_group": "default", "architecture": "x86_64",
              "available_slots": {{"cpu": "{}", "mem": "64g"}}}}])",
        id, cores));
  };
  const auto load = [&](const char* table, Json rows) {
    return ask(LoadFixture{Json::object({{table, std::move(rows)}})});
  };
  const auto reserve = [&](const char* name, const char* cores, std::int64_t from) {
    CreateReservation action;
    action.resource_group = ResourceGroupName("default");
    action.name = name;
    action.agents = Json::object({{"b1", Json::object({{"cpu", cores}})}});
    action.owners = {"domain/default"};
    action.starts_at = site.env.now() + seconds(from);
    action.ends_at = site.env.now() + seconds(from + 3600);
    return ask(action);
  };
  const auto gaps = [&] {
    std::string text;
    for (const ReservationGap& gap :
         site.manager->snapshot()->reservation_gaps(ResourceGroupName("default"))) {
      text += fmt::format("{} on {}: {} ", gap.reservation->name, gap.agent.view(),
                          gap.missing.get("cpu").units);
    }
    return text;
  };
  REQUIRE(load("agents", agent("b1", "8")).has_value());
  REQUIRE(reserve("course", "6", 7200).has_value());
  REQUIRE(reserve("exam", "2", 7200).has_value());
  REQUIRE(reserve("later", "5", 20'000).has_value());
  CHECK(gaps().empty());
  REQUIRE(load("agents", agent("b1", "5")).has_value());
  CHECK(gaps() == "course on b1: 3000 exam on b1: 2000 ");
  const auto says = [&](std::string_view part) {
    return std::ranges::count_if(log.lines, [&](const std::string& line) {
      return line.find("keeps more of agent b1") != line.npos && line.find(part) != line.npos;
    });
  };
  CHECK(says("default/course") == 1);
  CHECK(says("default/exam") == 1);
  CHECK(says("default/later") == 0);
  // What has nothing to do with it.
  CHECK(load("agents", agent("b2", "4")).has_value());
  WhatIf question;
  question.session = World::request("maybe");
  question.agents = agent("b3", "4");
  CHECK(ask(question).has_value());
  CHECK(reserve("much-later", "5", 40'000).has_value());
  // The same rows once more, but not larger ones, nor others beside it.
  const Reservation& row = *site.manager->snapshot()->find<Reservation>("default/course");
  const auto again = [&](const char* cores) {
    Json stored = Json::object({{"resource_group", "default"}, {"name", "course"}});
    stored.set("agents", Json::object({{"b1", Json::object({{"cpu", cores}})}}));
    stored.set("owners", Json(Json::Array{Json("domain/default")}));
    stored.set("starts_at", to_iso8601(row.starts_at));
    stored.set("ends_at", to_iso8601(row.ends_at));
    return load("reservations", Json(Json::Array{stored}));
  };
  CHECK(again("6").has_value());
  CHECK_FALSE(again("7").has_value());
  CHECK_FALSE(reserve("second", "1", 7200).has_value());
  site.crash();
  site.log = nullptr;
}

TEST_CASE("a placement made before a reservation does not take what it keeps") {
  Ready r;
  const auto outside = r.w.create(World::request("outside"));
  const auto two = r.w.create(World::request("second"));
  auto action = r.request("course", "7");
  action.agents = Json::object({{"a1", Json::object({{"cpu", 7}, {"mem", "4g"}})}});
  action.starts_at = r.w.now;
  REQUIRE(r.w.ask(action).has_value());
  const auto inside = r.w.create(r.session("inside", "course"));
  CHECK(r.w.place(inside, {"a2"}).refused == 1);  // keeps nothing there
  CHECK(r.w.place(outside, {"a1"}).placed == 1);
  CHECK(r.w.place(two, {"a1"}).refused == 1);
  CHECK(r.w.place(inside, {"a1"}).placed == 1);
  SUBCASE("what runs in it goes on when it is deleted") {
    CHECK(r.w.ask(DeleteReservation{"default/course"}).has_value());
    CHECK_FALSE(is_terminal(r.w.status(inside)));
    CHECK(r.w.place(two, {"a1"}).placed == 1);
  }
}

}  // namespace bai::test

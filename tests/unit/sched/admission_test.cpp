// Rules about whole resource groups, keypairs and rings of dependencies.
#include "world.hpp"

using namespace bai;
using namespace bai::test;

namespace {

Texts cpu(const std::string& amount) { return {{"cpu", amount}}; }

struct Site {
  World world;
  Site() {
    world.agent("a", cpu("64"));
    world.group().queue_discipline = QueueDiscipline::SkipAhead;
  }
  Session of_type(SessionType type) {
    Session row = world.draft();
    row.type = type;
    return row;
  }
  // Sessions that depend on each other as listed, by place.
  std::vector<SessionId> chain(const std::vector<std::vector<std::size_t>>& dependencies) {
    std::vector<Session> rows;
    for (std::size_t i = 0; i < dependencies.size(); ++i) rows.push_back(world.draft());
    std::vector<SessionId> ids;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      for (const std::size_t on : dependencies[i]) {
        rows[i].dependencies.push_back(to_string(rows[on].id));
      }
      ids.push_back(world.add(rows[i], {{cpu("1")}}));
    }
    return ids;
  }
};

}  // namespace

TEST_CASE("a resource group takes its types of sessions, and private ones always") {
  Site s;
  s.world.group().allowed_session_types = {"batch"};
  const auto batch = s.world.add(s.of_type(SessionType::Batch), {{cpu("1")}});
  const auto system = s.world.add(s.of_type(SessionType::System), {{cpu("1")}});
  const auto refused = s.world.add(s.of_type(SessionType::Interactive), {{cpu("1")}});
  CHECK(placed(s.world.plan()) == std::vector<SessionId>{batch, system});
  CHECK(s.world.reason(refused).code == "never");
  CHECK(contains(s.world.reason(refused).message, "takes no interactive sessions, only: batch"));
  s.world.group().allowed_session_types = {};
  s.world.plan();
  CHECK(contains(s.world.reason(refused).message, "only: none"));
  s.world.group().allowed_session_types = {"interactive"};
  CHECK(placed(s.world.plan()) == std::vector<SessionId>{system, refused});
}

TEST_CASE("images by name and pattern") {
  Site s;
  const auto with_image = [&](const char* image) {
    Session row = s.world.draft();
    row.image = image;
    return s.world.add(row, {{cpu("1")}});
  };
  const auto python = with_image("cr.test/stable/python:3.11"),
             torch = with_image("cr.test/ai/torch:2"), other = with_image("elsewhere/python:3.11");
  const auto allow = [&](std::vector<Json> patterns) {
    s.world.group().policy_options = Json::object(
        {{"validator_options",
          Json::object({{"images", Json::object({{"allowed", Json(std::move(patterns))}})}})}});
    return placed(s.world.plan());
  };
  using Ids = std::vector<SessionId>;
  CHECK(placed(s.world.plan()) == Ids{python, torch, other});
  CHECK(allow({}) == Ids{python, torch, other});
  CHECK(allow({"cr.test/*"}) == Ids{python, torch});
  CHECK(s.world.reason(other).code == "never");
  CHECK(contains(s.world.reason(other).message, "\"elsewhere/python:3.11\""));
  CHECK(allow({"*/python:?.*", "nothing"}) == Ids{python, other});
  CHECK(allow({"*"}) == Ids{python, torch, other});
  CHECK(allow({"cr.test/ai/torch:2"}) == Ids{torch});
  CHECK(allow({"cr.test/ai/torch:"}).empty());
  CHECK(allow({"?r.test/**:3.1?"}) == Ids{python});
  CHECK(allow({"cr*cr*"}).empty());

  s.world.group().policy_options = Json::object(
      {{"validator_options", Json::object({{"images", Json::object({{"allowed", 3}})}})}});
  CHECK(contains(s.world.plan().errors.at(0), "allowed"));
}

TEST_CASE("a session has at most as many containers as its user may") {
  Site s;
  KeypairPolicy policy;
  policy.name = PolicyName("p");
  policy.max_containers_per_session = 2;
  s.world.user_policy(policy);
  const auto two = s.world.add(s.world.draft(), {{cpu("1")}, {cpu("1")}});
  Session row = s.world.draft();
  row.cluster_mode = ClusterMode::MultiNode;
  const auto three = s.world.add(row, {{cpu("1")}, {cpu("1")}, {cpu("1")}});
  CHECK(placed(s.world.plan()) == std::vector<SessionId>{two});
  CHECK(s.world.reason(three).code == "never");
  CHECK(contains(s.world.reason(three).message, "3 containers"));
  s.world.changes.update<KeypairPolicy>(policy.name,
                                        [](KeypairPolicy& p) { p.max_containers_per_session = 0; });
  CHECK(s.world.plan().placements.size() == 2);
}

TEST_CASE("a keypair that is not its user's main one has its own limits") {
  Site s;
  KeypairPolicy wide, narrow;
  wide.name = PolicyName("wide");
  wide.max_containers_per_session = 0;
  s.world.user_policy(wide);
  narrow.name = PolicyName("narrow");
  narrow.total_resource_slots = slots({{"cpu", "4"}});
  narrow.max_concurrent_sessions = 2;
  Keypair key;
  key.access_key = AccessKey("AK1");
  key.user = numbered<UserId>(1);
  key.resource_policy = narrow.name;
  s.world.changes.insert(narrow);
  s.world.changes.insert(key);
  s.world.usage(ScopeKind::Keypair, "AK1", {{"cpu", "2"}}, 1);
  s.world.usage(ScopeKind::User, to_string(numbered<UserId>(1)), {{"cpu", "40"}}, 9);
  Session main = s.world.draft();
  main.access_key = AccessKey("MAIN1");
  const auto by_main = s.world.add(main, {{cpu("8")}});
  const auto too_much = s.world.session(cpu("3"));
  const auto fits = s.world.session(cpu("2")), one_more = s.world.session(cpu("0"));
  CHECK(placed(s.world.plan()) == std::vector<SessionId>{by_main, fits});
  CHECK(s.world.reason(too_much).code == "quota");
  CHECK(contains(s.world.reason(too_much).message, "resource limit of the keypair"));
  CHECK(s.world.reason(one_more).code == "concurrency");
  CHECK(contains(s.world.reason(one_more).message, "The keypair has 2 of at most 2"));
}

TEST_CASE("sessions that wait for each other never start, nor do those who wait for them") {
  Site s;
  //                          0     1     2     3     4    5
  const auto ids = s.chain({{1}, {2}, {0}, {0}, {3, 5}, {}});
  CHECK(placed(s.world.plan()) == std::vector<SessionId>{ids[5]});
  for (const std::size_t i : {0, 1, 2, 3, 4}) {
    CAPTURE(i);
    CHECK(s.world.reason(ids[i]).code == "never");
    CHECK(contains(s.world.reason(ids[i]).message, "wait for each other"));
    CHECK(contains(s.world.reason(ids[i]).message, to_string(ids[1])));
  }
  // When one of them goes, the others know.
  s.world.changes.update<Session>(ids[2],
                                  [](Session& row) { row.status = SessionStatus::Cancelled; });
  s.world.plan();
  CHECK(contains(s.world.reason(ids[1]).message, "ended without success"));
  CHECK(s.world.reason(ids[0]).code == "dependency");
}

TEST_CASE("a session that waits for itself") {
  Site s;
  const auto ids = s.chain({{0}});
  CHECK(s.world.plan().placements.empty());
  CHECK(s.world.reason(ids[0]).code == "never");
}

TEST_CASE("a long chain without a ring only waits, and a long ring is found and cut short") {
  for (const bool ring : {false, true}) {
    Site s;
    constexpr std::size_t kLength = 3000;
    std::vector<std::vector<std::size_t>> dependencies(kLength);
    for (std::size_t i = 0; i + 1 < kLength; ++i) dependencies[i] = {i + 1};
    dependencies[kLength - 1] = ring ? std::vector<std::size_t>{0} : std::vector<std::size_t>{};
    const auto ids = s.chain(dependencies);
    const Plan plan = s.world.plan();
    CHECK(plan.placements.size() == (ring ? 0 : 1));
    CHECK(s.world.reason(ids[0]).code == (ring ? "never" : "dependency"));
    CHECK(s.world.reason(ids[0]).message.size() < 1000);
  }
}

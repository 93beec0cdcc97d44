// A session may demand a level of its resource group's topology, and nothing else.
#include "harness.hpp"

namespace bai::test {

TEST_CASE("the level that a session demands must be one of its resource group") {
  World w;
  w.add_agent("a1");
  const auto ask = [&](Json level) {
    CreateSession request = World::request("gang");
    request.resource_opts.set("topology", std::move(level));
    return w.ask(request);
  };
  const auto none = ask("rack");
  REQUIRE_FALSE(none.has_value());
  CHECK(none.error().code == ErrorCode::InvalidArgument);
  CHECK(none.error().message.find("which has none") != std::string::npos);
  w.load(R"({"resource_groups": [{"name": "default",
             "policy_options": {"topology": ["nvlink-domain", "rack"]}}]})");
  const auto other = ask("row");
  REQUIRE_FALSE(other.has_value());
  CHECK(other.error().message.find("nvlink-domain, rack") != std::string::npos);
  CHECK_FALSE(ask(5).has_value());
  CHECK(ask("rack").has_value());
}

}  // namespace bai::test

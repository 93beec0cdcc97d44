// What a request may bring along, at its limits.
#include "harness.hpp"

namespace bai::test {

namespace {

struct Limited {
  World w;
  CreateSession request = World::request("sess");
  int made = 0;
  Limited() { w.add_agent("a1", "64", "256g"); }

  // What is wrong with the request as it is; its session gets a name of its own.
  std::string error() {
    request.name = "sess-" + std::to_string(++made);
    const auto result = w.ask(request);
    if (result) return {};
    CHECK(result.error().code == ErrorCode::InvalidArgument);
    return result.error().message;
  }
};

}  // namespace

TEST_CASE("limit: tag") {
  Limited l;
  l.request.tag = std::string(64, 'x');
  CHECK(l.error() == "");
  l.request.tag += 'x';
  CHECK(l.error() == "tag: can have 64 bytes at most");
  l.w.options.tag_max = 65;
  CHECK(l.error() == "");
}

TEST_CASE("limit: resource options") {
  Limited l;
  l.w.options.resource_opts_max = 100;
  l.request.resource_opts.set("note", "");
  const std::size_t frame = l.request.resource_opts.dump().size();
  l.request.resource_opts.set("note", std::string(100 - frame, 'x'));
  CHECK(l.error() == "");
  l.request.resource_opts.set("note", std::string(101 - frame, 'x'));
  CHECK(l.error() == "resource_opts: is larger than 100 bytes");
}

TEST_CASE("limit: entries of lists") {
  Limited l;
  l.w.options.list_max = 3;
  const SessionId other = l.w.create(World::request("other"));
  SUBCASE("dependencies") {
    l.request.dependencies = {other, other, other};
    CHECK(l.error() == "");
    l.request.dependencies.push_back(other);
    CHECK(l.error() == "dependencies: can have 3 entries at most");
  }
  SUBCASE("preopen_ports") {
    l.request.preopen_ports = {9001, 9002, 9003};
    CHECK(l.error() == "");
    l.request.preopen_ports.push_back(9004);
    CHECK(l.error() == "preopen_ports: can have 3 entries at most");
  }
  SUBCASE("agents") {
    l.request.agents = {"a1", "a2", std::string(255, 'a')};
    CHECK(l.error() == "");
    l.request.agents[2] += 'a';
    CHECK(l.error() == "agents: an id can have 255 bytes at most");
    l.request.agents[2] = "a3";
    l.request.agents.push_back("a4");
    CHECK(l.error() == "agents: can have 3 entries at most");
  }
}

TEST_CASE("limit: how long a batch may run") {
  Limited l;
  l.request = World::batch("batch");
  l.request.batch_timeout = seconds(315'360'000);
  CHECK(l.error() == "");
  l.request.batch_timeout = seconds(315'360'001);
  CHECK(l.error() == "batch_timeout: can be 315360000 seconds at most");
}

TEST_CASE("names of variables") {
  Limited l;
  for (const std::string& wrong : {std::string(), std::string("A=B"), std::string("A\0B", 3)}) {
    l.request.environ = Json::object();
    l.request.environ.set(wrong, "x");
    CHECK(l.error().find("is no name of a variable") != std::string::npos);
  }
  l.request.environ = Json::object({{"A_B.c", "x=y"}});
  CHECK(l.error() == "");
}

}  // namespace bai::test

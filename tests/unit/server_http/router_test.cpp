#include "http/router.hpp"

#include <doctest/doctest.h>

using bai::ErrorCode;
using bai::http::Router;

namespace {

Router<int> sample() {
  Router<int> router;
  CHECK(router.add("GET", "/", 1));
  CHECK(router.add("POST", "/session", 2));
  CHECK(router.add("GET", "/session/{name}", 3));
  CHECK(router.add("DELETE", "/session/{name}", 4));
  CHECK(router.add("GET", "/session/_/match", 5));
  CHECK(router.add("GET", "/session/{name}/logs", 6));
  CHECK(router.add("POST", "/session/{name}/{verb}", 7));
  CHECK(router.add("GET", "/container-registries/", 8));
  CHECK(router.add("GET", "/static/{path...}", 9));
  return router;
}

int found(const Router<int>& router, std::string_view method, std::string_view path) {
  const auto match = router.find(method, path);
  return match.route ? *match.route : -static_cast<int>(match.allowed.size());
}

}  // namespace

TEST_CASE("the router finds literal, parameter and rest segments") {
  const auto router = sample();
  CHECK(found(router, "GET", "/") == 1);
  CHECK(found(router, "POST", "/session") == 2);
  CHECK(found(router, "DELETE", "/session/abc") == 4);
  CHECK(found(router, "GET", "/session/_/match") == 5);
  CHECK(found(router, "GET", "/session/_/logs") == 6);    // the literal branch does not hide it
  CHECK(found(router, "POST", "/session/_/match") == 7);  // nor for another method
  CHECK(found(router, "GET", "/static/a/b%2Fc.js") == 9);
  CHECK(router.find("GET", "/static/a/b%2Fc.js").params.get("path") == "a/b/c.js");
}

TEST_CASE("path parameters are percent-decoded after splitting") {
  const auto router = sample();
  const auto match = router.find("GET", "/session/a%2Fb%20c/logs");
  REQUIRE(match.route);
  CHECK(*match.route == 6);
  CHECK(match.params.get("name") == "a/b c");
  CHECK(match.params.get("other").empty());
  CHECK(found(router, "GET", "/sess%69on/x") == 3);
}

TEST_CASE("a path with other methods is 405 with their names, an unknown one 404") {
  const auto router = sample();
  const auto other = router.find("PUT", "/session/abc");
  CHECK(other.method_not_allowed());
  CHECK(other.allowed == std::vector<std::string>{"DELETE", "GET", "HEAD"});
  CHECK(router.find("GET", "/nowhere").not_found());
  CHECK(router.find("GET", "/session/a/b/c").not_found());
  CHECK(router.find("GET", "/session/%zz").not_found());
  CHECK(router.find("GET", "nowhere").not_found());
}

TEST_CASE("slashes are significant and parameters are not empty") {
  const auto router = sample();
  CHECK(found(router, "GET", "/container-registries/") == 8);
  CHECK(router.find("GET", "/container-registries").not_found());
  CHECK(router.find("GET", "/session/").not_found());
  CHECK(router.find("GET", "//session/x").not_found());
}

TEST_CASE("HEAD falls to GET") {
  const auto router = sample();
  CHECK(found(router, "HEAD", "/session/x/logs") == 6);
  CHECK(router.find("HEAD", "/session").method_not_allowed());
}

TEST_CASE("malformed and repeated patterns are refused") {
  Router<int> router;
  CHECK(router.add("GET", "/a/{x}", 1));
  CHECK(router.add("GET", "/a/{x}", 2).error().code == ErrorCode::AlreadyExists);
  for (const char* bad : {"a", "/{}", "/a{x}", "/{x...}/b", "/{x}/{x}", "/{...}"}) {
    CAPTURE(bad);
    CHECK(router.add("GET", bad, 3).error().code == ErrorCode::InvalidArgument);
  }
}

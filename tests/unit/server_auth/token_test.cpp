#include <doctest/doctest.h>

#include "auth/client_ip.hpp"
#include "auth/jwt.hpp"
#include "auth/signature.hpp"
#include "auth/version.hpp"

using namespace bai;
using namespace bai::auth;

namespace {
constexpr Timestamp kNow{1'785'587'696'000'000'000};
constexpr std::string_view kSecret = "cWbsM_vB4CzTW7JdORRMx8SjGI3-wEXAMPLEKEY";

std::string hand_made(std::string_view header, std::string_view payload,
                      std::string_view secret = kSecret) {
  const std::string head = base64url_encode(header) + "." + base64url_encode(payload);
  return head + "." + base64url_encode(hmac(HashAlgorithm::Sha256, secret, head).view());
}
}  // namespace

TEST_CASE("a token made by another library verifies") {
  const auto claims = verify_token(
      "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3ODU1ODg1OTYsImlhdCI6MTc4NTU4NzY"
      "5NiwiYWNjZXNzX2tleSI6IkFLSUFJT1NGT0ROTjdFWEFNUExFIiwicm9sZSI6InN1cGVyYWRtaW4ifQ."
      "W6OlQ1xf87EyY_R9gxqODmYPnp1elVKigSgAwU2te8k",
      kSecret, kNow);
  REQUIRE(claims);
  CHECK(claims->access_key == "AKIAIOSFODNN7EXAMPLE");
  CHECK(claims->role == "superadmin");
  CHECK(claims->issued_s == 1'785'587'696);
  CHECK(claims->expires_s == 1'785'588'596);
}

TEST_CASE("tokens round-trip, expire, and break with any change") {
  const std::string token = make_token("AK", "user", kSecret, kNow);
  CHECK(*claimed_access_key(token) == "AK");
  CHECK(verify_token(token, kSecret, kNow));
  CHECK(verify_token(token, kSecret, kNow + seconds(899)));
  CHECK(!verify_token(token, kSecret, kNow + seconds(900)));
  CHECK(!verify_token(token, "another secret", kNow));
  for (std::size_t i = 0; i < token.size(); ++i) {
    std::string changed = token;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    CAPTURE(i);
    CHECK(!verify_token(changed, kSecret, kNow));
  }
}

TEST_CASE("tokens that are not what they should be") {
  const std::string header = R"({"alg":"HS256","typ":"JWT"})";
  const std::string good = R"({"access_key":"AK","role":"user","iat":1,"exp":99999999999})";
  CHECK(verify_token(hand_made(header, good), kSecret, kNow));
  CHECK(!verify_token(hand_made(R"({"alg":"none"})", good), kSecret, kNow));
  CHECK(!verify_token(hand_made(R"({"alg":"HS512"})", good), kSecret, kNow));
  CHECK(!verify_token(hand_made("{}", good), kSecret, kNow));
  for (const char* payload : {"[]", "", "nonsense", R"({"role":"user","iat":1,"exp":99999999999})",
                              R"({"access_key":"AK","iat":1,"exp":99999999999})",
                              R"({"access_key":"AK","role":"root","iat":1,"exp":99999999999})",
                              R"({"access_key":"AK","role":"user","exp":99999999999})",
                              R"({"access_key":"AK","role":"user","iat":1})",
                              R"({"access_key":"AK","role":"user","iat":1,"exp":"99999999999"})",
                              R"({"access_key":7,"role":"user","iat":1,"exp":99999999999})"}) {
    CAPTURE(payload);
    const auto refused = verify_token(hand_made(header, payload), kSecret, kNow);
    REQUIRE(!refused);
    CHECK(refused.error().kind == kAuthFailed);
    CHECK(refused.error().code == ErrorCode::Unauthenticated);
  }
  for (const char* text : {"", ".", "..", "a.b", "a.b.c.d", "a.b.c", "====.====.===="}) {
    CAPTURE(text);
    CHECK(!claimed_access_key(text));
    CHECK(!verify_token(text, kSecret, kNow));
  }
  CHECK(!claimed_access_key(
      hand_made(header, R"({"access_key":")" + std::string(kMaxTokenBytes, 'x') + "\"}")));
}

TEST_CASE("the verifier takes a token in place of a signature") {
  Verifier verifier;
  const std::string token = make_token("AK", "admin", kSecret, kNow);
  AuthInput input;
  input.method = "POST";
  input.target = "/admin/gql";
  input.token = token;
  const auto lookup = [](std::string_view key) {
    return key == "AK" ? std::optional(std::string(kSecret)) : std::nullopt;
  };
  const auto identity = verifier.verify(input, kNow, lookup);
  REQUIRE(identity);
  CHECK(identity->scheme == Scheme::Token);
  CHECK(identity->access_key == "AK");
  const auto nobody = [](std::string_view) { return std::optional<std::string>(); };
  CHECK(verifier.verify(input, kNow, nobody).error().kind == kAuthFailed);
}

TEST_CASE("base64url is canonical") {
  for (std::string_view text : {"", "f", "fo", "foo", "\xff\xfe\xfd\xfc"}) {
    CHECK(*base64url_decode(base64url_encode(text)) == text);
  }
  CHECK(base64url_encode("\xff\xff") == "__8");
  for (const char* bad : {"A", "AB==", "A+", "A/", "AB C", "AC"}) {
    CAPTURE(bad);
    CHECK((!base64url_decode(bad) || base64url_encode(*base64url_decode(bad)) == bad));
  }
  CHECK(!base64url_decode("__9"));  // its last bits belong to no byte
}

TEST_CASE("versions parse, compare and negotiate") {
  CHECK(parse_version("v9.20250722") == ApiVersion{9, 20250722});
  for (const char* bad : {"", "9.20250722", "v9", "v9.2025072", "v9.202507222", "v.20250722",
                          "v9.2025072x", "v9.20250722 ", "va.20250722"}) {
    CAPTURE(bad);
    CHECK(!parse_version(bad));
  }
  CHECK(to_string(ApiVersion{9, 20250722}) == kCurrentVersion);
  CHECK(accepted_versions().size() == 14);
  for (const auto text : accepted_versions()) {
    CHECK(to_string(*parse_version(text)) == text);
    CHECK(requested_version(text, std::nullopt));
  }
  CHECK(accepted_versions().back() == kCurrentVersion);
  CHECK(*requested_version(std::nullopt, std::nullopt) == ApiVersion{5, 20191215});
  CHECK(*requested_version(std::nullopt, "v4.20190615") == ApiVersion{4, 20190615});
  CHECK(*requested_version("v9.20250722", "v4.20190615") == ApiVersion{9, 20250722});
  const auto refused = requested_version("v9.20250723", std::nullopt);
  REQUIRE(!refused);
  CHECK(refused.error().message == "Unsupported API version.");
  CHECK(refused.error().kind == "generic-bad-request");
  CHECK(negotiate({9, 20250722}, {8, 20991231}) == ApiVersion{8, 20991231});
  CHECK(negotiate({9, 20250722}, {9, 20260101}) == ApiVersion{9, 20250722});
}

TEST_CASE("the client's address behind proxies") {
  const AddressList none;
  CHECK(client_ip(std::nullopt, "10.0.0.1", none) == "10.0.0.1");
  CHECK(client_ip(" ", "10.0.0.1", none) == "10.0.0.1");
  CHECK(client_ip("1.2.3.4, 5.6.7.8", "10.0.0.1", none) == "1.2.3.4");
  const auto proxies = AddressList::parse({"10.0.0.0/8"});
  REQUIRE(proxies);
  CHECK(client_ip("1.2.3.4, 5.6.7.8, 10.9.9.9", "10.0.0.1", *proxies) == "5.6.7.8");
  CHECK(client_ip("1.2.3.4", "192.168.0.1", *proxies) == "192.168.0.1");  // not a proxy of ours
  CHECK(client_ip("10.1.1.1,10.2.2.2", "10.0.0.1", *proxies) == "10.1.1.1");
  CHECK(trusts_forwarded("192.168.0.1", none));
  CHECK(trusts_forwarded("10.0.0.1", *proxies));
  CHECK(!trusts_forwarded("192.168.0.1", *proxies));
}

TEST_CASE("address lists: single, network, wildcard, both families") {
  const auto list =
      AddressList::parse({"192.168.1.7", "10.0.0.0/9", "172.16.*.5", "fd00::/8", "::1"});
  REQUIRE(list);
  for (const char* in : {"192.168.1.7", "10.127.255.255", "172.16.99.5", "fd12::1", "::1",
                         "::ffff:192.168.1.7", " 10.1.1.1 "}) {
    CAPTURE(in);
    CHECK(list->contains(in));
  }
  for (const char* out : {"192.168.1.8", "10.128.0.0", "172.16.99.6", "fe80::1", "::2", "", "x"}) {
    CAPTURE(out);
    CHECK(!list->contains(out));
  }
  for (const char* bad : {"10.0.0.0/33", "10.0.0", "10.*", "300.*.*.*", "fd00::/129", "host", ""}) {
    CAPTURE(bad);
    const auto refused = AddressList::parse({bad});
    REQUIRE(!refused);
    CHECK(refused.error().message.find("'" + std::string(bad) + "'") != std::string::npos);
  }
}

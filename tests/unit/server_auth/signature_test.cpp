#include "auth/signature.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <map>
#include <thread>

using namespace bai;
using namespace bai::auth;

namespace {

constexpr std::string_view kAccess = "AKIAIOSFODNN7EXAMPLE";
constexpr std::string_view kSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
constexpr std::string_view kHost = "127.0.0.1:8081";
constexpr std::string_view kDate = "2026-08-01T12:34:56.789012+00:00";
const Timestamp kNow = parse_time(kDate)->at;

// A request as the front would have it, with the signature of the first published vector.
struct Sample {
  std::string method = "GET";
  std::string target = "/folders/_/hosts";
  std::string body;
  std::map<std::string, std::string, std::less<>> headers = {
      {"Host", std::string(kHost)},
      {"Date", std::string(kDate)},
      {"Content-Type", "text/plain"},
      {"X-BackendAI-Version", "v9.20250722"},
      {"Authorization",
       "BackendAI signMethod=HMAC-SHA256, credential=AKIAIOSFODNN7EXAMPLE:"
       "3f50f7abbc00af13419e3c1b339750de96cd1aac3840ed937c0a2449309f92d6"}};

  void credential(std::string_view signature) {
    headers["Authorization"] =
        "BackendAI signMethod=HMAC-SHA256, credential=" + std::string(kAccess) + ":" +
        std::string(signature);
  }
  // Signs what the headers say by now.
  void sign_with(HashAlgorithm algorithm, std::string_view day = "20260801") {
    const auto text = [&](std::string_view name) -> std::string_view {
      const auto at = headers.find(name);
      return at == headers.end() ? std::string_view{} : std::string_view(at->second);
    };
    const auto type_header = headers.find("Content-Type");
    const std::string type = media_type(type_header == headers.end()
                                            ? std::nullopt
                                            : std::optional<std::string_view>(type_header->second));
    const bool sorna = !headers.contains("X-BackendAI-Version");
    const std::string_view version = text(sorna ? "X-Sorna-Version" : "X-BackendAI-Version");
    const std::string_view date = headers.contains("Date")               ? text("Date")
                                  : headers.contains("X-BackendAI-Date") ? text("X-BackendAI-Date")
                                                                         : text("X-Sorna-Date");
    const std::string hashed = body_hash(algorithm, version, type, body);
    const std::string signing =
        canonical_string({method, target, date, text("Host"), type,
                          sorna ? "x-sorna-version" : "x-backendai-version", version, hashed});
    const Digest key = signing_key(algorithm, kSecret, day, text("Host"));
    headers["Authorization"] = "BackendAI signMethod=HMAC-" + std::string(to_string(algorithm)) +
                               ", credential=" + std::string(kAccess) + ":" +
                               hmac(algorithm, key.view(), signing).hex();
  }
  AuthInput input() const {
    return collect(method, target, body, [this](std::string_view name) -> const std::string* {
      const auto at = headers.find(name);
      return at == headers.end() ? nullptr : &at->second;
    });
  }
};

std::optional<std::string> lookup(std::string_view access_key) {
  if (access_key == kAccess) return std::string(kSecret);
  return std::nullopt;
}

// "ok", or the kind and the message of the error.
std::string outcome(const Sample& sample, Timestamp now = kNow, bool trust = true) {
  Verifier verifier;
  const auto identity = verifier.verify(sample.input(), now, lookup, trust);
  if (!identity) return identity.error().kind + ": " + identity.error().message;
  CHECK(identity->access_key == kAccess);
  return "ok";
}

}  // namespace

TEST_CASE("the published vectors: keys, text and signatures") {
  const auto k1 = hmac(HashAlgorithm::Sha256, kSecret, "20260801");
  CHECK(k1.hex() == "7db99ca0e43921b8e9835560bec30ffcd400b5303bc8c0bdd851938393ecd4b3");
  CHECK(signing_key(HashAlgorithm::Sha256, kSecret, "20260801", kHost).hex() ==
        "7c98884fbce3054e14d90ede7f34396a00eece75e77af60901f19fde23f0a29e");
  CHECK(canonical_string(
            {"GET", "/folders/_/hosts", kDate, kHost, "text/plain", "x-backendai-version",
             "v9.20250722",
             body_hash(HashAlgorithm::Sha256, "v9.20250722", "text/plain", "ignored")}) ==
        "GET\n/folders/_/hosts\n2026-08-01T12:34:56.789012+00:00\nhost:127.0.0.1:8081\n"
        "content-type:text/plain\nx-backendai-version:v9.20250722\n"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  struct Vector {
    const char* method;
    const char* target;
    std::optional<std::string_view> type;
    const char* signature;
  };
  const Vector vectors[] = {
      {"GET", "/folders/_/hosts", "text/plain",
       "3f50f7abbc00af13419e3c1b339750de96cd1aac3840ed937c0a2449309f92d6"},
      {"POST", "/session", "application/json",
       "5635a730bb11aba82009cdca5904be737cf2ba19be4fdf3a4b7f584872d630b4"},
      {"DELETE", "/session/mysess?forced=true&recursive=true", "text/plain",
       "43499136a71196288574343fa26a86ca1ca5e1768a9d405eb1aeb58df0a27b2f"},
      {"GET", "/stream/session/mysess/pty", std::nullopt,
       "820aecc89bb8c18cf081bbc804b5b98b086714d17f8c5c4f6c51d202452dd644"},
  };
  for (const Vector& vector : vectors) {
    CAPTURE(vector.target);
    const auto headers = sign({.method = vector.method,
                               .target = vector.target,
                               .host = kHost,
                               .access_key = kAccess,
                               .secret_key = kSecret,
                               .content_type = vector.type},
                              kNow);
    REQUIRE(headers.size() == 3);
    CHECK(headers[0] == std::pair<std::string, std::string>("Date", kDate));
    CHECK(headers[1] == std::pair<std::string, std::string>("X-BackendAI-Version", "v9.20250722"));
    CHECK(headers[2].first == "Authorization");
    CHECK(headers[2].second == "BackendAI signMethod=HMAC-SHA256, credential=" +
                                   std::string(kAccess) + ":" + vector.signature);
    Sample sample;
    sample.method = vector.method;
    sample.target = vector.target;
    sample.headers.erase("Content-Type");
    if (vector.type) sample.headers["Content-Type"] = std::string(*vector.type) + "; charset=utf-8";
    sample.credential(vector.signature);
    CHECK(outcome(sample) == "ok");
  }
}

TEST_CASE("anything under the signature breaks it") {
  const auto broken = [](auto change) {
    Sample sample;
    change(sample);
    return outcome(sample);
  };
  constexpr std::string_view kMismatch = "auth-failed: HMAC signature mismatch";
  CHECK(outcome({}) == "ok");
  CHECK(broken([](Sample& s) { s.method = "POST"; }) == kMismatch);
  CHECK(broken([](Sample& s) { s.target += "?x"; }) == kMismatch);
  CHECK(broken([](Sample& s) { s.headers["Host"] = "127.0.0.1"; }) == kMismatch);
  CHECK(broken([](Sample& s) { s.headers["Content-Type"] = "text/html"; }) == kMismatch);
  CHECK(broken([](Sample& s) { s.headers["X-BackendAI-Version"] = "v8.20240915"; }) == kMismatch);
  CHECK(broken([](Sample& s) { s.headers["Date"] = "2026-08-01T12:34:56.789012Z"; }) == kMismatch);
  CHECK(broken([](Sample& s) { s.credential("3F50"); }) == kMismatch);
  CHECK(broken([](Sample& s) { s.credential(""); }) == kMismatch);
  CHECK(broken([](Sample& s) { s.body = "not signed since v4.20181215"; }) == "ok");
}

TEST_CASE("the date must be within fifteen minutes, exclusively") {
  const Duration window = seconds(15 * 60);
  CHECK(outcome({}, kNow + window - nanoseconds(1)) == "ok");
  CHECK(outcome({}, kNow - window + nanoseconds(1)) == "ok");
  CHECK(outcome({}, kNow + window) == "invalid-auth-params: Date/time sync error");
  CHECK(outcome({}, kNow - window) == "invalid-auth-params: Date/time sync error");
  Sample sample;
  sample.headers["Date"] = "yesterday";
  sample.headers["Authorization"] = "nonsense";  // the date is looked at first
  CHECK(outcome(sample) == "invalid-auth-params: Date/time sync error");
  sample.headers.erase("Date");
  CHECK(outcome(sample) == "invalid-auth-params: Date/time sync error");
}

TEST_CASE("the date may come in three headers and in its own zone") {
  Sample sample;
  sample.headers.erase("Date");
  sample.headers["X-Sorna-Date"] = "1999-01-01T00:00:00Z";
  sample.headers["X-BackendAI-Date"] = "Sat, 01 Aug 2026 12:34:56 GMT";
  sample.sign_with(HashAlgorithm::Sha256);
  CHECK(outcome(sample) == "ok");
  sample.headers.erase("X-BackendAI-Date");
  sample.headers["X-Sorna-Date"] = "2026-08-02T02:34:56+14:00";  // the same instant, a day later
  sample.sign_with(HashAlgorithm::Sha256, "20260802");
  CHECK(outcome(sample) == "ok");
  sample.sign_with(HashAlgorithm::Sha256, "20260801");
  CHECK(outcome(sample) == "auth-failed: HMAC signature mismatch");
  sample.headers["X-Sorna-Date"] = "2026-08-01 12:34:56";  // no zone is UTC
  sample.sign_with(HashAlgorithm::Sha256);
  CHECK(outcome(sample) == "ok");
}

TEST_CASE("malformed Authorization headers are 400") {
  const char* malformed[] = {
      "",
      "BackendAI",
      "Bearer abc",
      "backendai signMethod=HMAC-SHA256, credential=a:b",
      "BackendAI signMethod=HMAC-SHA256",
      "BackendAI credential=a:b",
      "BackendAI signMethod=HMAC-SHA256, credential=ab",
      "BackendAI signMethod=HMAC-SHA256, credential",
      "BackendAI signMethod=HMAC-SHA256,, credential=a:b",
  };
  for (const char* text : malformed) {
    CAPTURE(text);
    Sample sample;
    sample.headers["Authorization"] = text;
    CHECK(outcome(sample).starts_with("invalid-auth-params: "));
  }
}

TEST_CASE("the other scheme name, spacing and parameters are tolerated") {
  Sample sample;
  const std::string credential =
      std::string(kAccess) + ":3f50f7abbc00af13419e3c1b339750de96cd1aac3840ed937c0a2449309f92d6";
  sample.headers["Authorization"] =
      "Sorna  credential = " + credential + " ,x=y=z,  signMethod=hmac-sha256";
  CHECK(outcome(sample) == "ok");
}

TEST_CASE("an unknown key is 401 even when the method is nonsense; the method comes next") {
  Sample sample;
  sample.headers["Authorization"] = "BackendAI signMethod=ROT13-X, credential=NOBODY:00";
  CHECK(outcome(sample) == "auth-failed: Access key not found");
  const auto with_method = [&](std::string_view method) {
    sample.headers["Authorization"] = "BackendAI signMethod=" + std::string(method) +
                                      ", credential=" + std::string(kAccess) + ":00";
    return outcome(sample);
  };
  CHECK(with_method("ROT13-SHA256").starts_with("invalid-auth-params"));
  CHECK(with_method("HMAC-CRC32").starts_with("invalid-auth-params"));
  CHECK(with_method("HMAC-shake_128").starts_with("invalid-auth-params"));
  CHECK(with_method("HMAC") == "auth-failed: Invalid signature");
  CHECK(with_method("HMAC-SHA-256") == "auth-failed: Invalid signature");
  CHECK(with_method("HMAC-SHA256") == "auth-failed: HMAC signature mismatch");
}

TEST_CASE("every hash algorithm signs and verifies") {
  for (std::size_t i = 0; i < kHashAlgorithmCount; ++i) {
    const auto algorithm = static_cast<HashAlgorithm>(i);
    CAPTURE(to_string(algorithm));
    CHECK(parse_hash(to_string(algorithm)) == algorithm);
    Sample sample;
    sample.sign_with(algorithm);
    CHECK(outcome(sample) == "ok");
    sample.target += "/";
    CHECK(outcome(sample) == "auth-failed: HMAC signature mismatch");
  }
}

TEST_CASE("keyed digests agree with an independent implementation") {
  // Computed with another library's hmac(key="key", msg="The quick brown fox ...").
  constexpr std::string_view kText = "The quick brown fox jumps over the lazy dog";
  CHECK(hmac(HashAlgorithm::Md5, "key", kText).hex() == "80070713463e7749b90c2dc24911e275");
  CHECK(hmac(HashAlgorithm::Sha1, "key", kText).hex() ==
        "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9");
  CHECK(hmac(HashAlgorithm::Sha3_256, "key", kText).hex() ==
        "8c6e0683409427f8931711b10ca92a506eb1fafa48fadd66d76126f47ac2c333");
  CHECK(hmac(HashAlgorithm::Blake2b, "key", kText).hex() ==
        "92294f92c0dfb9b00ec9ae8bd94d7e7d8a036b885a499f149dfe2fd2199394aaaf6b8894a1730cccb2cd050f9b"
        "cf5062a38b51b0dab33207f8ef35ae2c9df51b");
  CHECK(hmac(HashAlgorithm::Blake2s, "key", kText).hex() ==
        "f93215bb90d4af4c3061cd932fb169fb8bb8a91d0b4022baea1271e1323cd9a0");
  CHECK(hmac(HashAlgorithm::Sha256, "", "").hex() ==
        "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST_CASE("the version header is required; the older name signs under its own name") {
  Sample sample;
  sample.headers.erase("X-BackendAI-Version");
  CHECK(outcome(sample) == "invalid-auth-params: API version missing in request headers");
  sample.headers["X-Sorna-Version"] = "v4.20190615";
  sample.sign_with(HashAlgorithm::Sha256);
  CHECK(outcome(sample) == "ok");
  sample.headers["X-BackendAI-Version"] = "v4.20190615";
  CHECK(outcome(sample) == "auth-failed: HMAC signature mismatch");
}

TEST_CASE("the body counts only before v4.20181215, compared as text, and never for multipart") {
  Sample sample;
  sample.body = "payload";
  sample.headers["X-BackendAI-Version"] = "v3.20170615";
  sample.sign_with(HashAlgorithm::Sha256);
  CHECK(outcome(sample) == "ok");
  sample.body = "changed";
  CHECK(outcome(sample) == "auth-failed: HMAC signature mismatch");
  sample.headers["X-BackendAI-Version"] = "v10.20300101";  // less as a text
  sample.sign_with(HashAlgorithm::Sha256);
  sample.body = "changed again";
  CHECK(outcome(sample) == "auth-failed: HMAC signature mismatch");
  sample.headers["Content-Type"] = "Multipart/Form-Data; boundary=x";
  sample.sign_with(HashAlgorithm::Sha256);
  sample.body = "and again";
  CHECK(outcome(sample) == "ok");
  sample.headers["Content-Type"] = "application/json";
  sample.headers["X-BackendAI-Version"] = "v4.20181215";
  sample.sign_with(HashAlgorithm::Sha256);
  sample.body = "once more";
  CHECK(outcome(sample) == "ok");
}

TEST_CASE("X-Forwarded-URL replaces path and host when it is trusted") {
  Sample sample;
  sample.target = "/behind/proxy?x=1";
  sample.headers["Host"] = "internal:1";
  sample.headers["X-Forwarded-URL"] = "http://127.0.0.1:8081/folders/_/hosts?dropped=1#f";
  CHECK(outcome(sample) == "ok");
  CHECK(outcome(sample, kNow, false) == "auth-failed: HMAC signature mismatch");
}

TEST_CASE("nothing presented is anonymous; a token wins over a signature") {
  Verifier verifier;
  Sample sample;
  sample.headers.erase("Authorization");
  sample.headers.erase("Date");
  const auto nobody = verifier.verify(sample.input(), kNow, lookup);
  REQUIRE(nobody);
  CHECK(nobody->scheme == Scheme::Anonymous);
  CHECK(nobody->access_key.empty());
  Sample both;
  both.headers["X-BackendAI-Token"] = "garbage";
  const auto refused = verifier.verify(both.input(), kNow, lookup);
  REQUIRE(!refused);
  CHECK(refused.error().kind == kAuthFailed);
}

TEST_CASE("derived keys are cached, bounded, and only for right signatures") {
  VerifierOptions options;
  options.cached_keys = 8;
  Verifier verifier(options);
  Sample sample;
  CHECK(verifier.verify(sample.input(), kNow, lookup));
  CHECK(verifier.cached_keys() == 1);
  CHECK(verifier.verify(sample.input(), kNow, lookup));
  CHECK(verifier.cached_keys() == 1);
  sample.headers["Host"] = "elsewhere";
  CHECK(!verifier.verify(sample.input(), kNow, lookup));
  CHECK(verifier.cached_keys() == 1);
  for (int i = 0; i < 100; ++i) {
    sample.headers["Host"] = "h" + std::to_string(i);
    sample.sign_with(HashAlgorithm::Sha256);
    CHECK(verifier.verify(sample.input(), kNow, lookup));
    CHECK(verifier.verify(sample.input(), kNow, lookup));
  }
  CHECK(verifier.cached_keys() <= 16);
  // A changed secret is another key at once.
  const auto other = [](std::string_view) { return std::optional<std::string>("changed"); };
  CHECK(!verifier.verify(sample.input(), kNow, other));
}

TEST_CASE("verification from many threads") {
  Verifier verifier;
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      const Sample sample;
      for (int i = 0; i < 500; ++i) {
        if (verifier.verify(sample.input(), kNow, lookup)) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(good == 2000);
}

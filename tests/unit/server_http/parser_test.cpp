#include "http/parser.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "fuzz/http_check.hpp"
#include "unit/server_http/hostile_requests.hpp"

using namespace bai::http;
using namespace bai::http::test;
using fuzz::check_bytes;
using fuzz::Outcome;
using fuzz::run_parser;

namespace {

Outcome parse(std::string_view bytes, const ParserLimits& limits = {}) {
  CHECK(check_bytes(bytes) == "");
  return run_parser(bytes, limits, [&] { return bytes.size(); });
}

}  // namespace

TEST_CASE("a plain request, in all its parts") {
  const auto out = parse(
      "PUT /a%2Fb/%EC%84%B8?x=1&x=2&e=%20+ HTTP/1.1\r\nHost: h:80\r\nX-A:\t v w \t\r\n"
      "x-a: second\r\nContent-Length: 5\r\n\r\nhello");
  REQUIRE(out.requests.size() == 1);
  const Request& r = out.requests[0];
  CHECK(r.method == "PUT");
  CHECK(r.target == "/a%2Fb/%EC%84%B8?x=1&x=2&e=%20+");
  CHECK(r.raw_path == "/a%2Fb/%EC%84%B8");
  CHECK(r.path == "/a/b/\xec\x84\xb8");
  CHECK(r.query.all("x") == std::vector<std::string_view>{"1", "2"});
  CHECK(r.query.get("e") == "  ");
  CHECK(r.headers.get("X-A") == "v w");
  CHECK(r.headers.count("X-A") == 2);
  CHECK(r.body == "hello");
  CHECK(r.keep_alive);
  CHECK(!out.in_request);
}

TEST_CASE("chunked bodies with extensions and trailers") {
  const auto out = parse(
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
      "5;name=\"v\"\r\nhello\r\n00A\r\n 123456789\r\n0;last\r\nX-Sum: 1\r\nY: z\r\n\r\n"
      "GET / HTTP/1.0\r\n\r\n");
  REQUIRE(out.requests.size() == 2);
  CHECK(out.requests[0].body == "hello 123456789");
  CHECK(!out.requests[0].headers.has("X-Sum"));
  CHECK(!out.requests[1].keep_alive);
  CHECK(out.requests[1].version_minor == 0);
}

TEST_CASE("forms that are allowed") {
  for (const char* bytes : {
           "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
           "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
           "GET http://h:1/x?y HTTP/1.1\r\nHost: H:1\r\n\r\n",
           "GET HTTPS://h HTTP/1.1\r\nHost: h\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
           "DELETE /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
           "POST /x HTTP/1.1\r\nHost: h\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
           "GET / HTTP/1.1\r\nHost: h\r\nEmpty:\r\nLatin: \xe9\r\n\r\n",
           "M-SEARCH /%25 HTTP/1.1\r\nHost: h\r\n\r\n",
           "GET /?%zz=%ff&a[]=1 HTTP/1.1\r\nHost: h\r\n\r\n",
           "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: whatever\r\n\r\nx",
       }) {
    CAPTURE(bytes);
    const auto out = parse(bytes);
    CHECK(out.requests.size() == 1);
    CHECK(!out.error);
    CHECK(!out.in_request);
  }
  CHECK(parse("GET http://h:1/x?y HTTP/1.1\r\nHost: h:1\r\n\r\n").requests[0].path == "/x");
  CHECK(parse("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n").requests[0].raw_path == "/");
}

TEST_CASE("every hostile form is refused for its own reason") {
  std::set<FramingError> seen;
  for (const Hostile& hostile : hostile_requests()) {
    CAPTURE(hostile.name);
    const auto out = parse(hostile.bytes);
    CHECK(out.requests.empty());
    REQUIRE(out.error);
    CHECK(to_string(*out.error) == to_string(hostile.error));
    CHECK(status_of(*out.error) == hostile.status);
    CHECK(!describe(*out.error).empty());
    seen.insert(*out.error);
    // The same behind a good request: that one still comes out.
    const auto second = parse("GET / HTTP/1.1\r\nHost: h\r\n\r\n" + hostile.bytes);
    CHECK(second.requests.size() == 1);
    CHECK(second.error == out.error);
  }
  CHECK(seen.size() == kFramingErrorCount);  // no reason without a case
}

TEST_CASE("each limit lets its value through and refuses one more") {
  const ParserLimits limits = fuzz::small_limits();
  const std::string host = "Host: h\r\n";
  const auto error = [&](const std::string& bytes) { return parse(bytes, limits).error; };
  const auto line = [&](std::size_t size) {  // a request line of `size` bytes, its CR included
    return "GET /" + std::string(size - 15, 'x') + " HTTP/1.1\r\n" + host + "\r\n";
  };
  CHECK(!error(line(200)));
  CHECK(error(line(201)) == FramingError::RequestLineTooLong);
  const auto header = [&](std::size_t size) {
    return "GET / HTTP/1.1\r\n" + host + "X:" + std::string(size - 3, 'x') + "\r\n\r\n";
  };
  CHECK(!error(header(120)));
  CHECK(error(header(121)) == FramingError::HeaderLineTooLong);
  const auto headers = [&](std::size_t last) {  // 9 + 3 * 111 + last bytes of lines
    std::string out = "GET / HTTP/1.1\r\n" + host;
    for (int i = 0; i < 3; ++i) out += "X:" + std::string(107, 'x') + "\r\n";
    return out + "Y:" + std::string(last - 4, 'y') + "\r\n\r\n";
  };
  CHECK(!error(headers(400 - 9 - 333 - 2)));
  CHECK(error(headers(400 - 9 - 333 + 2)) == FramingError::HeadersTooLarge);
  const auto count = [&](int more) {
    std::string out = "GET / HTTP/1.1\r\n" + host;
    for (int i = 0; i < more; ++i) out += "X: y\r\n";
    return out + "\r\n";
  };
  CHECK(!error(count(5)));
  CHECK(error(count(6)) == FramingError::TooManyHeaders);
  const auto body = [&](std::size_t size) {
    return "POST / HTTP/1.1\r\n" + host + "Content-Length: " + std::to_string(size) + "\r\n\r\n" +
           std::string(size, 'b');
  };
  CHECK(!error(body(64)));
  CHECK(error(body(65)) == FramingError::BodyTooLarge);
  const auto chunks = [&](int n) {
    std::string out = "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n";
    for (int i = 0; i < n; ++i) out += "8\r\n12345678\r\n";
    return out + "0\r\n\r\n";
  };
  CHECK(!error(chunks(8)));
  CHECK(error(chunks(9)) == FramingError::BodyTooLarge);
}

TEST_CASE("the body limit hook sees the request and decides") {
  std::string asked;
  RequestParser parser({}, [&](const Request& request) {
    asked += request.path + " ";
    return request.path == "/upload" ? std::size_t{100} : std::size_t{10};
  });
  const auto error_for = [&](std::string_view path, int size) {
    parser = RequestParser({}, [&](const Request& request) {
      asked += request.path + " ";
      return request.path == "/upload" ? std::size_t{100} : std::size_t{10};
    });
    parser.feed("POST " + std::string(path) +
                " HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n");
    return parser.error();
  };
  CHECK(!error_for("/upload", 100));
  CHECK(error_for("/upload", 101) == FramingError::BodyTooLarge);
  CHECK(!error_for("/x", 10));
  CHECK(error_for("/x", 11) == FramingError::BodyTooLarge);
  CHECK(!error_for("/x", 0));
  CHECK(asked == "/upload /upload /x /x ");  // not asked when there is no body
}

TEST_CASE("the parser's states show what the connection needs to know") {
  RequestParser parser;
  CHECK(!parser.started());
  parser.feed("P");
  CHECK(parser.started());
  CHECK(!parser.in_body());
  parser.feed("OST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  CHECK(parser.in_body());
  CHECK(parser.expects_continue());
  CHECK(parser.current().path == "/");
  CHECK(parser.feed("abGET") == 2);
  CHECK(parser.done());
  CHECK(!parser.expects_continue());
  CHECK(parser.feed("GET") == 0);
  CHECK(parser.take().body == "ab");
  CHECK(!parser.started());
}

TEST_CASE("the corpus of the fuzz target holds") {
  const std::filesystem::path folder =
      std::filesystem::path(BAI_SOURCE_DIR) / "tests/fuzz/corpus/http";
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    CAPTURE(entry.path().string());
    CHECK(check_bytes(bytes) == "");
    ++files;
  }
  CHECK(files >= 20);
}

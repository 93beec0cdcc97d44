#include "http/multipart.hpp"

#include <doctest/doctest.h>

#include "http/text.hpp"

using namespace bai;
using namespace bai::http;

namespace {

constexpr std::string_view kType = "multipart/form-data; boundary=XX";

std::string part(std::string_view disposition, std::string_view data) {
  return "--XX\r\nContent-Disposition: " + std::string(disposition) + "\r\n\r\n" +
         std::string(data) + "\r\n";
}

std::string kind_of(std::string_view type, std::string_view body,
                    const MultipartLimits& limits = {}) {
  const auto parts = parse_form_data(type, body, limits);
  return parts ? "ok" : parts.error().kind;
}

}  // namespace

TEST_CASE("fields and files of a form are found with their data untouched") {
  const std::string binary = std::string("\r\n--X\0\r\n--XXY\r\n", 15);
  const std::string body =
      "preamble\r\n" + part("form-data; name=\"a\"", "1") +
      "--XX \t\r\ncontent-type: text/x-python\r\nContent-Disposition: form-data; name=src; "
      "filename=\"main \\\"1\\\".py\"\r\n\r\n" +
      binary + "\r\n" + part("form-data; name=\"empty\"; filename=\"\"", "") +
      part("form-data; name=u; filename=\"x\"; filename*=UTF-8''%ED%95%9C%20.txt", "z") +
      "--XX--\r\nepilogue";
  const auto parts = parse_form_data(kType, body);
  REQUIRE(parts);
  REQUIRE(parts->size() == 4);
  CHECK((*parts)[0].name == "a");
  CHECK(!(*parts)[0].has_filename);
  CHECK((*parts)[0].data == "1");
  CHECK((*parts)[1].name == "src");
  CHECK((*parts)[1].filename == "main \"1\".py");
  CHECK((*parts)[1].content_type == "text/x-python");
  CHECK((*parts)[1].data == binary);
  CHECK((*parts)[2].has_filename);
  CHECK((*parts)[2].data.empty());
  CHECK((*parts)[3].filename == "\xed\x95\x9c .txt");
}

TEST_CASE("a part without data may share its line break with the boundary") {
  const auto parts =
      parse_form_data(kType, "--XX\r\nContent-Disposition: form-data; name=a\r\n\r\n--XX--\r\n");
  REQUIRE(parts);
  REQUIRE(parts->size() == 1);
  CHECK((*parts)[0].data.empty());
}

TEST_CASE("no parts at all is a form too") {
  const auto parts = parse_form_data(kType, "--XX--\r\n");
  REQUIRE(parts);
  CHECK(parts->empty());
}

TEST_CASE("malformed forms are refused") {
  const std::string good = part("form-data; name=a", "1") + "--XX--\r\n";
  CHECK(kind_of(kType, good) == "ok");
  CHECK(kind_of("Multipart/Form-Data; charset=utf-8; boundary=\"XX\"", good) == "ok");
  struct Case {
    std::string type;
    std::string body;
  };
  const std::string type(kType);
  const Case cases[] = {
      {"multipart/mixed; boundary=XX", good},
      {"multipart/form-data", good},
      {"multipart/form-data; boundary=", good},
      {"multipart/form-data; boundary=\"X", good},
      {"multipart/form-data; boundary=" + std::string(71, 'x'), good},
      {"multipart/form-data; boundary=\"a\tb\"", good},
      {type, ""},
      {type, "--YY\r\n"},
      {type, part("form-data; name=a", "1")},
      {type, part("attachment; name=a", "1") + "--XX--"},
      {type, part("form-data", "1") + "--XX--"},
      {type, part("form-data; name=a; name=b", "1") + "--XX--"},
      {type, part("form-data; name=\"a", "1") + "--XX--"},
      {type, part("form-data; name=\"\xff\"", "1") + "--XX--"},
      {type, part("form-data; name=a; filename*=latin1''x", "1") + "--XX--"},
      {type, "--XX\r\n\r\nno headers\r\n--XX--"},
      {type, "--XX\r\nX: y\r\n\r\nno disposition\r\n--XX--"},
      {type, "--XX\r\nno colon\r\n\r\n1\r\n--XX--"},
      {type, "--XX\r\nContent-Disposition: form-data; name=a\r\nheaders do not end"},
      {type,
       "--XX\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: form-data; "
       "name=a\r\n\r\nMQ==\r\n--XX--"},
      {type,
       "--XX\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; "
       "name=b\r\n\r\n1\r\n--XX--"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.type);
    CAPTURE(c.body);
    CHECK(kind_of(c.type, c.body) == "malformed-multipart");
  }
}

TEST_CASE("the limits of a form hold") {
  MultipartLimits limits;
  limits.parts = 3;
  limits.part_headers = 2;
  limits.part_header_bytes = 200;
  std::string body;
  for (int i = 0; i < 3; ++i) body += part("form-data; name=a", "1");
  CHECK(kind_of(kType, body + "--XX--", limits) == "ok");
  CHECK(kind_of(kType, body + part("form-data; name=a", "1") + "--XX--", limits) ==
        "multipart-limit");
  const std::string head = "--XX\r\nContent-Disposition: form-data; name=a\r\n";
  CHECK(kind_of(kType, head + "A: b\r\n\r\n1\r\n--XX--", limits) == "ok");
  CHECK(kind_of(kType, head + "A: b\r\nC: d\r\n\r\n1\r\n--XX--", limits) == "multipart-limit");
  CHECK(kind_of(kType, head + "A: " + std::string(300, 'x') + "\r\n\r\n1\r\n--XX--", limits) ==
        "multipart-limit");
}

TEST_CASE("what the builder writes is what the parser reads") {
  MultipartBuilder builder("form-data");
  builder.add_field("a", "1");
  builder.add_field("src", "x\r\ny", "we\"ird\\\r\nname.py", "text/x-python");
  const std::string type = builder.content_type();
  const std::string body = builder.finish();
  const auto parts = parse_form_data(type, body);
  REQUIRE(parts);
  REQUIRE(parts->size() == 2);
  CHECK((*parts)[0].data == "1");
  CHECK((*parts)[1].filename == "we\"ird\\__name.py");
  CHECK((*parts)[1].content_type == "text/x-python");
  CHECK((*parts)[1].data == "x\r\ny");
  CHECK(MultipartBuilder().content_type() != MultipartBuilder().content_type());
}

TEST_CASE("a multipart/mixed body, byte for byte") {
  MultipartBuilder builder("mixed", "B");
  builder.add({{"Content-Type", "application/x-tar"}, {"X", "a\r\nb"}}, "DATA");
  CHECK(builder.content_type() == "multipart/mixed; boundary=B");
  CHECK(builder.finish() ==
        "--B\r\nContent-Type: application/x-tar\r\nX: a  b\r\nContent-Length: 4\r\n\r\nDATA\r\n"
        "--B--\r\n");
}

TEST_CASE("small text helpers") {
  CHECK(percent_decode("a%2fB%00+") == std::string("a/B\0+", 5));
  for (const char* bad : {"%", "%2", "%2g", "a%"}) CHECK(!percent_decode(bad));
  CHECK(query_decode("a+b%20c%zz%ff") == "a b c%zz\xef\xbf\xbd");
  CHECK(percent_encode("a b/\xed~") == "a%20b%2F%ED~");
  const Query query = parse_query("a=1&b&a=2&&=3&c=x=y");
  CHECK(query.all("a") == std::vector<std::string_view>{"1", "2"});
  CHECK(query.get("b", "?").empty());
  CHECK(query.get("c") == "x=y");
  CHECK(query.get("") == "3");
  CHECK(!query.has("d"));
  CHECK(http_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT");
  CHECK(content_type_of("/a.b/index.HTML") == "text/html");
  CHECK(content_type_of("/a.tar/noextension") == "application/octet-stream");
  CHECK(status_text(431) == "Request Header Fields Too Large");
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\xff"}) {
    CHECK(!is_utf8(bad));
  }
  CHECK(is_utf8("a\xc2\xa2\xe2\x82\xac\xf0\x90\x8d\x88"));
}

TEST_CASE("byte ranges") {
  ByteRange range;
  CHECK(parse_range("bytes=0-4", 10, range) == RangeKind::Part);
  CHECK(range == ByteRange{0, 4});
  CHECK(parse_range("bytes=5-", 10, range) == RangeKind::Part);
  CHECK(range == ByteRange{5, 9});
  CHECK(parse_range("bytes=-3", 10, range) == RangeKind::Part);
  CHECK(range == ByteRange{7, 9});
  CHECK(parse_range("bytes=-30", 10, range) == RangeKind::Part);
  CHECK(range == ByteRange{0, 9});
  CHECK(parse_range("bytes=8-99", 10, range) == RangeKind::Part);
  CHECK(range == ByteRange{8, 9});
  CHECK(parse_range("bytes=10-", 10, range) == RangeKind::Unsatisfiable);
  CHECK(parse_range("bytes=-0", 10, range) == RangeKind::Unsatisfiable);
  for (const char* whole : {"", "items=0-1", "bytes=", "bytes=1", "bytes=4-2", "bytes=0-1,3-4",
                            "bytes=a-b", "bytes=--1"}) {
    CAPTURE(whole);
    CHECK(parse_range(whole, 10, range) == RangeKind::Whole);
  }
}

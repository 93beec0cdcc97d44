#include "bai_manager/json.hpp"

#include <limits>

using namespace bai;

namespace {

Json parse(std::string_view text) {
  auto parsed = Json::parse(text);
  INFO(text);
  REQUIRE(parsed.has_value());
  return std::move(*parsed);
}

std::string nested(int depth) {
  return std::string(static_cast<std::size_t>(depth), '[') +
         std::string(static_cast<std::size_t>(depth), ']');
}

}  // namespace

TEST_CASE("a document survives parse and dump") {
  const char* text = R"({"b":[1,-2,2.5,true,false,null,"x"],"a":{"":"y"},"c":[],"d":{}})";
  const Json doc = parse(text);
  CHECK(doc.dump() == text);
  CHECK(parse(doc.dump_pretty()) == doc);
  CHECK(doc["b"].size() == 7);
  CHECK(doc["a"][""].as_string() == "y");
  CHECK(doc["missing"]["deeper"].is_null());
  CHECK(doc.find("missing") == nullptr);
}

TEST_CASE("pretty text is indented by two") {
  CHECK(Json::object({{"a", Json(Json::Array{1, 2})}, {"b", Json::object()}}).dump_pretty() ==
        "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {}\n}");
}

TEST_CASE("numbers keep their kind and their value") {
  CHECK(parse("9223372036854775807").as_int() == std::numeric_limits<std::int64_t>::max());
  CHECK(parse("-9223372036854775808").as_int() == std::numeric_limits<std::int64_t>::min());
  const Json beyond = parse("9223372036854775808");
  CHECK(!beyond.is_int());
  CHECK(beyond.as_double() == 9223372036854775808.0);
  CHECK(beyond.as_int() == std::numeric_limits<std::int64_t>::max());
  CHECK(parse("1.0").dump() == "1.0");
  CHECK(!parse("1.0").is_int());
  for (double value : {0.1, 1e22, -1.5e-300, 4.9e-324, 1.7976931348623157e308, 123456789.125}) {
    CHECK(parse(Json(value).dump()).as_double() == value);
  }
  for (const char* zero : {"0e-45", "0e45", "0.0e-99", "0.000e300", "0E+23", "[1,0.0e-99]"}) {
    CAPTURE(zero);
    const Json read = parse(zero);
    CHECK((read.is_array() ? read.items().back() : read).dump() == "0.0");
  }
  CHECK(parse("-0e-45").dump() == "-0.0");
  CHECK(parse("-0").is_int());
  CHECK(parse("18446744073709551616").as_double() == 18446744073709551616.0);
  CHECK(parse("[-1e-400,2]").dump() == "[-0.0,2]");  // smaller than the smallest
  CHECK(parse("1e-99999999999999999999").dump() == "0.0");
  CHECK(parse("0." + std::string(400, '0') + "1e5").dump() == "0.0");
  CHECK(parse("0." + std::string(400, '0') + "1e401").as_double() == 1.0);
  for (const char* large : {"1e309", "-1e400", "17976931348623159e292", "0.9e309", "0e999"}) {
    CAPTURE(large);
    CHECK(!Json::parse(large));
  }
  CHECK(parse("[10e-45]").items()[0].as_double() == 1e-44);
  CHECK(parse("{\"0e1\":0.01e-45}")["0e1"].as_double() == 1e-47);
  CHECK(Json(std::numeric_limits<double>::quiet_NaN()).dump() == "null");
  CHECK(Json(-std::numeric_limits<double>::infinity()).dump() == "null");
  CHECK(Json(-2.9).as_int() == -2);
  CHECK(Json(std::numeric_limits<double>::quiet_NaN()).as_int(7) == 7);
}

TEST_CASE("typed reads fall back") {
  CHECK(Json("x").as_int(5) == 5);
  CHECK(Json(1).as_string("none") == "none");
  CHECK(Json(1).as_bool(true));
  CHECK(Json("x").as_double(0.5) == 0.5);
  CHECK(Json("x").items().empty());
  CHECK(Json("x").members().empty());
}

TEST_CASE("members keep their order; a repeated key replaces the earlier value") {
  Json doc;
  doc.set("z", 1);
  doc.set("a", 2);
  doc.set("z", 3);
  CHECK(doc.dump() == R"({"z":3,"a":2})");
  doc.erase("z");
  doc.erase("z");
  CHECK(doc.dump() == R"({"a":2})");
  CHECK(parse(R"({"k":1,"j":2,"k":3,"k":4,"i":5})").dump() == R"({"k":4,"j":2,"i":5})");
  CHECK(Json::object({{"a", 1}, {"a", 2}}).dump() == R"({"a":2})");
  Json list;
  list.push_back("x");
  CHECK(list.dump() == R"(["x"])");
}

TEST_CASE("an object with very many keys does not take quadratic time") {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += "\"k" + std::to_string(i % 150'000) + "\":1,";
  text.back() = '}';
  CHECK(parse(text).size() == 150'000);
}

TEST_CASE("text is escaped, and malformed UTF-8 is replaced on the way out") {
  const std::string controls("\x01\x1F\"\\/\b\f\n\r\t\x7F\0end", 15);
  CHECK(parse(Json(controls).dump()).as_string() == controls);
  CHECK(Json("\x01").dump() == "\"\\u0001\"");
  const std::string korean = "\xED\x95\x9C\xEA\xB8\x80 \xF0\x9F\x98\x80";
  CHECK(Json(korean).dump() == '"' + korean + '"');
  CHECK(Json("a\xFFz\xE2\x82").dump() == "\"a\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD\"");
  CHECK(parse("\"\\ud83d\\ude00\"").as_string() == "\xF0\x9F\x98\x80");
}

TEST_CASE("what is not JSON is refused with the place") {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1,]",
                           "{\"a\":1,}",
                           "{a:1}",
                           "'a'",
                           "01",
                           "+1",
                           "1.",
                           ".5",
                           "nan",
                           "Infinity",
                           "1 2",
                           "[1] x",
                           "\"\x01\"",
                           "\"\\x\"",
                           "tru",
                           "/*c*/1",
                           "\"\\ud83d\"",
                           "\"\\ude00\"",
                           "\"\xFF\"",
                           "\"\xC0\x80\"",
                           "\"\xED\xA0\x80\"",
                           "{\"\\udc00\":1}",
                           "1e999"}) {
    INFO(text);
    const auto parsed = Json::parse(text);
    REQUIRE(!parsed.has_value());
    CHECK(parsed.error().code == ErrorCode::InvalidArgument);
  }
  CHECK(Json::parse("[1, x]").error().message.find("byte 4") != std::string::npos);
  CHECK(!Json::parse(std::string_view("1\0", 2)).has_value());
  CHECK(!Json::parse(std::string_view("1\0{}", 4)).has_value());
}

TEST_CASE("depth is limited") {
  CHECK(Json::parse(nested(Json::kMaxDepth)).has_value());
  const auto deep = Json::parse(nested(Json::kMaxDepth + 1));
  REQUIRE(!deep.has_value());
  CHECK(deep.error().message.find("nested") != std::string::npos);
  CHECK(!Json::parse(std::string(1'000'000, '[')).has_value());
}

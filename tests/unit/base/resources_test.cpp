// Slots and sizes. Cases named J<n> carry the id of the conformance list they come from.
#include "bai_manager/resources.hpp"

#include "bai_manager/json.hpp"

using namespace bai;

namespace {

constexpr std::int64_t kKi = 1024, kMi = kKi * 1024, kGi = kMi * 1024;

std::int64_t size_of(std::string_view text) {
  const auto parsed = parse_binary_size(text);
  INFO(text);
  REQUIRE(parsed.has_value());
  return *parsed;
}

Amount counted(std::string_view text) {
  const auto parsed = parse_amount(SlotType::Count, text);
  INFO(text);
  REQUIRE(parsed.has_value());
  return *parsed;
}

// Two slots as in the reference cases: "a" is counted, "b" is a size.
SlotTypes two_types() {
  SlotTypes types;
  REQUIRE(types.add("a", SlotType::Count).has_value());
  REQUIRE(types.add("b", SlotType::Size).has_value());
  return types;
}

Json json(std::string_view text) {
  auto parsed = Json::parse(text);
  REQUIRE(parsed.has_value());
  return std::move(*parsed);
}

}  // namespace

TEST_CASE("J1 sizes with a unit letter") {
  CHECK(size_of("1g") == 1073741824);
  CHECK(size_of("1m") == 1048576);
  CHECK(size_of("512k") == 524288);
  CHECK(size_of("0.5m") == 524288);
}

TEST_CASE("J2 a fraction is cut at the byte") { CHECK(size_of("1.1k") == 1126); }

TEST_CASE("J4 plain bytes") {
  CHECK(size_of("11_021_204") == 11021204);
  CHECK(size_of("12_345 bytes") == 12345);
  CHECK(size_of("12345 B") == 12345);
  CHECK(size_of("1 byte") == 1);
}

TEST_CASE("J5 binary units") { CHECK(size_of("2 KiBytes") == 2048); }

TEST_CASE("J7 infinite sizes") {
  CHECK(size_of("inf") == kInfiniteAmount.units);
  CHECK(size_of("Infinite") == kInfiniteAmount.units);
}

TEST_CASE("J8 sizes as long text") {
  CHECK(format_binary_size_long(1) == "1 byte");
  CHECK(format_binary_size_long(2) == "2 bytes");
  CHECK(format_binary_size_long(1024) == "1 KiB");
  CHECK(format_binary_size_long(2048) == "2 KiB");
  CHECK(format_binary_size_long(105935) == "103.45 KiB");
  CHECK(format_binary_size_long(127303) == "124.32 KiB");
  CHECK(format_binary_size_long(1048576) == "1 MiB");
  CHECK(format_binary_size_long(1048576123) == "1000 MiB");
}

TEST_CASE("J10 sizes in a fixed unit") {
  CHECK(format_binary_size_as(1048576, 'k').value() == "1024k");
  CHECK(format_binary_size_as(524288, 'm').value() == "0.5m");
  CHECK(format_binary_size_as(1048576123, 'm').value() == "1000m");
  CHECK(format_binary_size_as(1, 'x').error().code == ErrorCode::InvalidArgument);
}

TEST_CASE("J11 a slot that is not given is zero") {
  const SlotMap slots = parse_slots(two_types(), json(R"({"a":"1"})")).value();
  CHECK(slots.equivalent(SlotMap{{"a", {1000}}, {"b", {0}}}));
  CHECK(slots.get("b") == Amount{0});
}

TEST_CASE("J13 an unknown slot is refused, with a hint for shmem") {
  const auto parsed = parse_slots(SlotTypes{}, json(R"({"cpu":"1","shmem":"2g"})"));
  REQUIRE(!parsed.has_value());
  CHECK(parsed.error().code == ErrorCode::InvalidArgument);
  CHECK(parsed.error().kind == "unknown-slot-type");
  CHECK(parsed.error().message.find("Unknown slot type") != std::string::npos);
  CHECK(parsed.error().message.find("resource_opts.shmem") != std::string::npos);
}

TEST_CASE("J14 slots as JSON, exact and humanized") {
  const SlotTypes types = two_types();
  const SlotMap slots = parse_slots(types, json(R"({"a":1,"b":"2g"})")).value();
  CHECK(slots_to_json(types, slots).dump() == R"({"a":"1","b":"2147483648"})");
  CHECK(slots_to_json_humanized(types, slots).dump() == R"({"a":"1","b":"2g"})");
}

TEST_CASE("J16 difference of slots") {
  const SlotMap left{{"a", {2000}}, {"b", {kGi}}};
  const SlotMap right{{"a", {1000}}, {"b", {0}}};
  CHECK(left - right == SlotMap{{"a", {1000}}, {"b", {kGi}}});
}

TEST_CASE("J17 infinite amounts of both signs; as text a negative one is refused like any other") {
  const SlotTypes types = two_types();
  const SlotMap slots{{"a", kInfiniteAmount}, {"b", kMinusInfiniteAmount}};
  CHECK_FALSE(slots.get("a").is_finite());
  CHECK_FALSE(slots.get("b").is_finite());
  CHECK(slots.get("a") > Amount{0});
  CHECK(slots.get("b") < Amount{0});
  CHECK(slots_to_json_humanized(types, slots).dump() == R"({"a":"Infinity","b":"-Infinity"})");
  CHECK(slots_to_json(types, slots).dump() == R"({"a":"Infinity","b":"-Infinity"})");
  CHECK(counted("Infinity").is_infinite());
  for (const char* slot : {"a", "b"}) {
    const auto parsed = parse_slots(types, Json::object({{slot, "-Infinity"}}));
    REQUIRE(!parsed.has_value());
    CHECK(parsed.error().kind == "negative-quantity");
    CHECK(parsed.error().message.find("cannot be negative") != std::string::npos);
  }
}

TEST_CASE("J19 an exponent is written out") {
  CHECK(format_amount(SlotType::Count, counted("2E+1")) == "20");
}

TEST_CASE("J20 a null amount is dropped") {
  const SlotMap slots = parse_slots(SlotTypes{}, json(R"({"cpu":null,"mem":"1g"})")).value();
  CHECK(slots == SlotMap{{"mem", {kGi}}});
}

TEST_CASE("J22 a size is no count, whether its slot has a type or not") {
  SlotTypes types;
  REQUIRE(types.add("cuda.smp", SlotType::Count).has_value());
  const Json object = json(R"({"cuda.smp":"2g"})");
  for (const auto& parsed : {parse_untyped_slots(object), parse_slots(types, object)}) {
    REQUIRE(!parsed.has_value());
    CHECK(parsed.error().code == ErrorCode::InvalidArgument);
    CHECK(parsed.error().message.find("Cannot convert") != std::string::npos);
    CHECK(parsed.error().message.find("cuda.smp") != std::string::npos);
  }
  const auto guessed = parse_untyped_slots(json(R"({"a":"1","cuda.mem":"2g","cuda.smp":"inf"})"));
  REQUIRE(guessed.has_value());
  CHECK(*guessed == SlotMap{{"a", {1000}}, {"cuda.mem", {2 * kGi}}, {"cuda.smp", kInfiniteAmount}});
  CHECK(parse_untyped_slots(json(R"({"cpu":"-1"})")).error().kind == "negative-quantity");
}

TEST_CASE("J23 negative amounts are refused") {
  for (const char* text :
       {R"({"cpu":"-1"})", R"({"cpu":-1})", R"({"mem":-1})", R"({"mem":"-1"})"}) {
    INFO(text);
    const auto parsed = parse_slots(SlotTypes{}, json(text));
    REQUIRE(!parsed.has_value());
    CHECK(parsed.error().kind == "negative-quantity");
    CHECK(parsed.error().message.find("cannot be negative") != std::string::npos);
  }
}

TEST_CASE("J25 amounts by slot type") {
  CHECK(parse_amount(SlotType::Count, "0.5").value() == Amount{500});
  CHECK(parse_amount(SlotType::Size, "4294967296").value() == Amount{4 * kGi});
  CHECK(parse_amount(SlotType::Size, "4g").value() == Amount{4 * kGi});
}

TEST_CASE("J26 two maps can be incomparable") {
  const SlotMap left{{"a", {4000}}, {"b", {100}}};
  const SlotMap right{{"a", {3000}}, {"b", {200}}};
  CHECK(!left.fits_in(right));
  CHECK(!right.fits_in(left));
  CHECK(!left.equivalent(right));
}

TEST_CASE("J28 the order of entries does not matter") {
  CHECK(SlotMap{{"a", {4000}}, {"b", {100}}} == SlotMap{{"b", {100}}, {"a", {4000}}});
}

TEST_CASE("J29 equality on the listed slots only") {
  const SlotMap small{{"a", {3000}}};
  const SlotMap large{{"a", {3000}}, {"b", {200}}};
  CHECK(small.equal_within(large));
  CHECK(!large.equal_within(small));
  CHECK(SlotMap{{"a", {3000}}, {"b", {0}}}.equal_within(small));
}

TEST_CASE("J31 at most two decimals, no trailing zeros") {
  CHECK(format_binary_size_as(1536, 'k').value() == "1.5k");
  CHECK(format_binary_size_as(256, 'k').value() == "0.25k");
  CHECK(format_binary_size_as(10240, 'k').value() == "10k");
  CHECK(format_binary_size_as(1264, 'k').value() == "1.23k");
}

TEST_CASE("J32 parts of a slot name") {
  CHECK(split_slot_name("cuda.shares").is_accelerator());
  CHECK(split_slot_name("cuda.device").is_accelerator());
  CHECK(!split_slot_name("cpu").is_accelerator());
  CHECK(!split_slot_name("mem").is_accelerator());
  const SlotName mig = split_slot_name("cuda.device:mig-10g");
  CHECK(mig.is_accelerator());
  CHECK(mig.device == "cuda");
  CHECK(mig.major == "device");
  CHECK(mig.minor == "mig-10g");
  CHECK(split_slot_name("cuda.shares").major == "shares");
  CHECK(split_slot_name("cpu").device == "cpu");
  CHECK(split_slot_name("cpu").major.empty());
}

TEST_CASE("sizes: every way to be wrong is refused with the text in the message") {
  for (const char* text : {"",
                           "  ",
                           "g",
                           "1.5",
                           "1.5 bytes",
                           "1x",
                           "1gg",
                           "1 g b x",
                           "1ib",
                           "1ki",
                           "0x10",
                           "1__0",
                           "_1",
                           "1_",
                           "1_k",
                           "-1",
                           "-1g",
                           "8e",
                           "1z",
                           "9223372036854775807",
                           "99999999999999999999",
                           "1e3k",
                           "1,5g",
                           "."}) {
    INFO(text);
    const auto parsed = parse_binary_size(text);
    REQUIRE(!parsed.has_value());
    CHECK(parsed.error().code == ErrorCode::InvalidArgument);
  }
  CHECK(parse_binary_size("12 parsecs").error().message.find("12 parsecs") != std::string::npos);
}

TEST_CASE("sizes: spelling variants") {
  CHECK(size_of(" 1 G ") == kGi);
  CHECK(size_of("1GB") == kGi);
  CHECK(size_of("1GiB") == kGi);
  CHECK(size_of("+1k") == kKi);
  CHECK(size_of("1.0") == 1);
  CHECK(size_of("0.000z") == 0);
  CHECK(size_of("0.0000000000000000001z") == 118);  // 2^70 / 10^19 = 118.05...
  CHECK(size_of("7.5e") == 8646911284551352320);
  CHECK(size_of("9223372036854775806") == 9223372036854775806);
}

TEST_CASE("sizes: the largest exact unit, and it reads back") {
  CHECK(format_binary_size(0) == "0");
  CHECK(format_binary_size(2000) == "2000");
  CHECK(format_binary_size(524288) == "512k");
  CHECK(format_binary_size(kGi) == "1g");
  CHECK(format_binary_size(1536 * kMi) == "1536m");
  CHECK(format_binary_size(-2 * kKi) == "-2k");
  for (std::int64_t bytes = 1; bytes < (std::int64_t{1} << 61); bytes = bytes * 3 + 1) {
    CHECK(size_of(format_binary_size(bytes)) == bytes);
  }
}

TEST_CASE("counted amounts are exact thousandths") {
  CHECK(counted("4") == Amount{4000});
  CHECK(counted("0.001") == Amount{1});
  CHECK(counted("0.1000") == Amount{100});
  CHECK(counted("1_000") == Amount{1'000'000});
  CHECK(counted("15e-1") == Amount{1500});
  CHECK(counted("-0") == Amount{0});
  CHECK(counted("0E+999999999999") == Amount{0});
  CHECK(counted("9223372036854775.806").units == kInfiniteAmount.units - 1);
  for (const char* text : {"", "0.0001", "1e-4", "abc", "1e", "1e+", "--1", "1 2", "2g", "0x1",
                           "nan", "1E+1000000", "9223372036854775.807", "99999999999999999999"}) {
    INFO(text);
    CHECK(!parse_amount(SlotType::Count, text).has_value());
  }
  CHECK(format_amount(SlotType::Count, {500}) == "0.5");
  CHECK(format_amount(SlotType::Count, {-1050}) == "-1.05");
  CHECK(format_amount(SlotType::Count, {7000}) == "7");
}

TEST_CASE("amounts saturate and infinity absorbs") {
  const Amount near{kInfiniteAmount.units - 1};
  CHECK((near + Amount{5}).is_infinite());
  CHECK((kInfiniteAmount - Amount{5}).is_infinite());
  CHECK((kInfiniteAmount - kInfiniteAmount).is_infinite());
  CHECK(Amount{-5} - near < Amount{0});
  CHECK(kMinusInfiniteAmount - Amount{1} == kMinusInfiniteAmount);
  CHECK(kMinusInfiniteAmount + Amount{1} == kMinusInfiniteAmount);
  CHECK((kMinusInfiniteAmount + kInfiniteAmount).is_infinite());
  CHECK((Amount{1} - kMinusInfiniteAmount).is_infinite());
}

TEST_CASE("a slot map stays ordered by name") {
  SlotMap slots{{"mem", {5}}, {"cpu", {1}}};
  slots.set("cuda.device", {2});
  slots.set("cpu", {3});
  std::string names;
  for (const auto& [name, amount] : slots) names += name + ",";
  CHECK(names == "cpu,cuda.device,mem,");
  CHECK(slots.get("cpu") == Amount{3});
  slots.erase("mem");
  slots.erase("mem");
  slots.set("cpu", {0});
  slots.prune_zeros();
  CHECK(slots == SlotMap{{"cuda.device", {2}}});
  slots += slots;
  CHECK(slots == SlotMap{{"cuda.device", {4}}});
  slots -= slots;
  CHECK(slots == SlotMap{{"cuda.device", {0}}});
  CHECK(SlotMap{}.fits_in(slots));
  CHECK(!SlotMap{}.fits_in(SlotMap{{"cpu", {-1}}}));
}

TEST_CASE("the first report of a slot decides its type") {
  SlotTypes types;
  CHECK(types.type_of("mem") == SlotType::Size);
  CHECK(types.type_of("cpu") == SlotType::Count);
  CHECK(types.type_of("never.seen") == SlotType::Count);
  CHECK(!types.knows("npu.device"));
  CHECK(types.add("npu.device", SlotType::Unique).has_value());
  CHECK(types.add("npu.device", SlotType::Unique).has_value());
  CHECK(types.add("npu.device", SlotType::Count).error().code == ErrorCode::Conflict);
  CHECK(types.add("", SlotType::Count).error().code == ErrorCode::InvalidArgument);
  CHECK(types.type_of("npu.device") == SlotType::Unique);
  CHECK(std::is_sorted(types.begin(), types.end()));
  for (SlotType type : {SlotType::Count, SlotType::Size, SlotType::Unique, SlotType::Unified}) {
    CHECK(parse_slot_type(to_string(type)).value() == type);
  }
  CHECK(!parse_slot_type("counts").has_value());
}

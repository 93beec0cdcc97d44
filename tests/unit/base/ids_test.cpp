#include "bai_manager/ids.hpp"

using namespace bai;

namespace {

class Counting : public Entropy {
 public:
  std::uint64_t next() override {
    return state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
  }

 private:
  std::uint64_t state_ = 1;
};

class Ones : public Entropy {
 public:
  std::uint64_t next() override { return ~std::uint64_t{0}; }
};

}  // namespace

TEST_CASE("ids read and write") {
  const char* text = "01989f3a-0b5c-7def-8abc-0123456789ab";
  const auto id = parse_uuid<SessionId>(text);
  REQUIRE(id.has_value());
  CHECK(to_string(*id) == text);
  CHECK(parse_uuid<SessionId>("01989F3A0B5C7DEF8ABC0123456789AB") == id);
  CHECK(!id->is_nil());
  CHECK(SessionId{}.is_nil());
  for (const char* bad :
       {"", "01989f3a-0b5c-7def-8abc-0123456789a", "01989f3a-0b5c-7def-8abc-0123456789abc",
        "01989f3a-0b5c-7def-8abc-0123456789ag", "01989f3a00b5c-7def-8abc-0123456789ab",
        "01989f3a-0b5c-7def-8abc0-123456789ab", "01989f3a0b5c7def8abc0123456789a-"}) {
    INFO(bad);
    CHECK(!parse_uuid<SessionId>(bad).has_value());
  }
}

TEST_CASE("minted ids are version 7 and ordered by time") {
  Counting entropy;
  KernelId before{};
  for (std::int64_t ms = 1; ms < 2'000'000'000'000; ms = ms * 5 / 4 + 1) {
    const auto id = mint<KernelId>({ms * 1'000'000}, entropy);
    CHECK(before < id);
    CHECK(to_string(id)[14] == '7');
    CHECK(std::string("89ab").find(to_string(id)[19]) != std::string::npos);
    before = id;
  }
  CHECK(to_string(mint<KernelId>({0x0123456789AB * 1'000'000}, entropy))
            .starts_with("01234567-89ab-7"));
  Ones ones;
  CHECK(to_string(mint<KernelId>({0}, ones)) == "00000000-0000-7000-803f-ffffffffffff");
  CHECK(to_string(mint<KernelId>({999'999}, ones)) == "00000000-0000-7f42-8fff-ffffffffffff");
}

TEST_CASE("ids that are minted a nanosecond apart are ordered by time") {
  Counting entropy;
  KernelId before{};
  for (std::int64_t ns = 5'999'000; ns < 6'001'000; ++ns) {
    const auto id = mint<KernelId>({ns}, entropy);
    CHECK(before < id);
    before = id;
  }
}

TEST_CASE("ids minted at the same moment differ and spread in a hash table") {
  Counting entropy;
  std::set<KernelId> seen;
  std::set<std::size_t> buckets;
  for (int i = 0; i < 10'000; ++i) {
    const auto id = mint<KernelId>({1'000'000'000}, entropy);
    seen.insert(id);
    buckets.insert(std::hash<KernelId>{}(id) >> 48);
  }
  CHECK(seen.size() == 10'000);
  CHECK(buckets.size() > 8'000);
}

#include "storage/predicate.hpp"

#include <cmath>
#include <limits>
#include <random>

using namespace bai;
using storage::make_predicates;

namespace {

const TableSpec kTable{
    "t", {{"id", ColumnType::Int, false, {}}, {"real", ColumnType::Real, true, {}}}, {}};

bool holds(std::uint16_t column, Compare op, const Value& value, const Row& row) {
  const auto made = make_predicates(kTable, {{column, op, value}});
  REQUIRE(made.has_value());
  return storage::matches(made->front(), row);
}

// Exact, by another way than the code under test: long double has 64 bits of mantissa here.
int order(std::int64_t whole, double real) {
  static_assert(std::numeric_limits<long double>::digits >= 64);
  const auto a = static_cast<long double>(whole);
  const auto b = static_cast<long double>(real);
  return a < b ? -1 : a > b ? 1 : 0;
}

bool expected(Compare op, int sign) {
  switch (op) {
    case Compare::Eq:
      return sign == 0;
    case Compare::Ne:
      return sign != 0;
    case Compare::Lt:
      return sign < 0;
    case Compare::Le:
      return sign <= 0;
    case Compare::Gt:
      return sign > 0;
    case Compare::Ge:
      return sign >= 0;
    case Compare::Prefix:
      return false;
  }
  return false;
}

}  // namespace

TEST_CASE("integers and reals compare exactly at every magnitude") {
  constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::vector<std::int64_t> wholes = {kMin, kMin + 1, -1, 0, 1, kMax - 1, kMax};
  std::vector<double> reals = {-kInfinity,
                               -9223372036854777856.0,
                               -1.5,
                               -0.0,
                               0.5,
                               9223372036854774784.0,
                               9223372036854775808.0,
                               kInfinity};
  std::mt19937_64 random(7);
  for (int i = 0; i < 200; ++i) {
    const auto whole = static_cast<std::int64_t>(random()) >> (random() % 60);
    const auto near = static_cast<double>(whole);
    wholes.push_back(whole);
    for (const double real :
         {near, std::nextafter(near, kInfinity), std::nextafter(near, -kInfinity), near + 0.5}) {
      reals.push_back(real);
    }
  }
  using enum Compare;
  std::size_t wrong = 0;
  for (const std::int64_t whole : wholes) {
    for (const double real : reals) {
      for (const Compare op : {Eq, Ne, Lt, Le, Gt, Ge}) {
        const int sign = order(whole, real);
        if (holds(0, op, real, {whole, real}) != expected(op, sign)) ++wrong;
        if (holds(1, op, whole, {whole, real}) != expected(op, -sign)) ++wrong;
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("null matches nothing but equality with null") {
  using enum Compare;
  for (const Compare op : {Eq, Ne, Lt, Le, Gt, Ge}) {
    CHECK(!holds(1, op, std::int64_t{1}, {std::int64_t{1}, Value{}}));
    CHECK(!holds(1, op, std::numeric_limits<std::int64_t>::max(), {std::int64_t{1}, Value{}}));
    CHECK(!holds(1, op, Value{}, {std::int64_t{1}, 0.5}));
    CHECK(holds(1, op, Value{}, {std::int64_t{1}, Value{}}) == (op == Eq));
  }
}

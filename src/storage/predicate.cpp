#include "storage/predicate.hpp"

#include <fmt/core.h>

#include <cmath>
#include <limits>

#include "storage/catalog.hpp"

namespace bai::storage {

namespace {

constexpr double kTwo63 = 9223372036854775808.0;

using Kind = Predicate::Kind;

// `column op x`, where x lies strictly between two neighbouring values of the column's type.
Predicate between(std::uint16_t column, Compare op, Value below, Value above) {
  switch (op) {
    case Compare::Ne:
      return {column, Kind::NotNull, op, {}};
    case Compare::Lt:
    case Compare::Le:
      return {column, Kind::Compare, Compare::Le, std::move(below)};
    case Compare::Gt:
    case Compare::Ge:
      return {column, Kind::Compare, Compare::Ge, std::move(above)};
    case Compare::Eq:
    case Compare::Prefix:
      break;
  }
  return {column, Kind::Never, op, {}};
}

Predicate int_against_real(std::uint16_t column, Compare op, double value) {
  const bool too_large = value >= kTwo63;
  const bool too_small = value < -kTwo63;
  if (too_large || too_small) {
    const bool holds = op == Compare::Ne ||
                       (too_large && (op == Compare::Lt || op == Compare::Le)) ||
                       (too_small && (op == Compare::Gt || op == Compare::Ge));
    return {column, holds ? Kind::NotNull : Kind::Never, op, {}};
  }
  const double whole = std::floor(value);
  if (whole == value) return {column, Kind::Compare, op, static_cast<std::int64_t>(whole)};
  const auto below = static_cast<std::int64_t>(whole);
  return between(column, op, below, below + 1);
}

Predicate real_against_int(std::uint16_t column, Compare op, std::int64_t value) {
  const auto nearest = static_cast<double>(value);
  const bool above = nearest >= kTwo63 || static_cast<std::int64_t>(nearest) > value;
  if (!above && static_cast<std::int64_t>(nearest) == value) {
    return {column, Kind::Compare, op, nearest};
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return above ? between(column, op, std::nextafter(nearest, -kInfinity), nearest)
               : between(column, op, nearest, std::nextafter(nearest, kInfinity));
}

Result<Predicate> make_predicate(const TableSpec& table, const Condition& condition) {
  const std::uint16_t column = condition.column;
  if (column >= table.columns.size()) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("Table {} has no column {}", table.name, column));
  }
  const ColumnType type = table.columns[column].type;
  if (condition.op == Compare::Prefix && type != ColumnType::Text) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("{}.{} is no text, it cannot be searched by prefix", table.name,
                            table.columns[column].name));
  }
  if (condition.value.index() == 0) {
    const bool is_null = condition.op == Compare::Eq;
    return Predicate{column, is_null ? Kind::IsNull : Kind::Never, condition.op, {}};
  }
  const auto* real = std::get_if<double>(&condition.value);
  if (type == ColumnType::Int && real && !std::isnan(*real)) {
    return int_against_real(column, condition.op, *real);
  }
  const auto* whole = std::get_if<std::int64_t>(&condition.value);
  if (type == ColumnType::Real && whole) return real_against_int(column, condition.op, *whole);
  if (auto ok = check_value(table, column, condition.value); !ok)
    return std::unexpected(ok.error());
  return Predicate{column, Kind::Compare, condition.op, condition.value};
}

}  // namespace

Result<std::vector<Predicate>> make_predicates(const TableSpec& table,
                                               const std::vector<Condition>& conditions) {
  if (conditions.size() > kMaxConditions) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("A scan of {} has {} conditions; at most {} are allowed", table.name,
                            conditions.size(), kMaxConditions));
  }
  std::vector<Predicate> out;
  out.reserve(conditions.size());
  for (const Condition& condition : conditions) {
    auto predicate = make_predicate(table, condition);
    if (!predicate) return std::unexpected(std::move(predicate.error()));
    out.push_back(std::move(*predicate));
  }
  return out;
}

bool matches(const Predicate& predicate, const Row& row) noexcept {
  const Value& value = row[predicate.column];
  switch (predicate.kind) {
    case Kind::Never:
      return false;
    case Kind::NotNull:
      return value.index() != 0;
    case Kind::IsNull:
      return value.index() == 0;
    case Kind::Compare:
      break;
  }
  if (value.index() == 0) return false;
  switch (predicate.op) {
    case Compare::Eq:
      return value == predicate.value;
    case Compare::Ne:
      return value != predicate.value;
    case Compare::Lt:
      return value < predicate.value;
    case Compare::Le:
      return value <= predicate.value;
    case Compare::Gt:
      return value > predicate.value;
    case Compare::Ge:
      return value >= predicate.value;
    case Compare::Prefix:
      return std::get<std::string>(value).starts_with(std::get<std::string>(predicate.value));
  }
  return false;
}

}  // namespace bai::storage

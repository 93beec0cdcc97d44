// Conditions reduced to what needs no thought any more: same-typed comparisons and three constants.
// Doing it once, here, is what makes all backends answer alike.
#pragma once

#include <vector>

#include "bai_manager/storage.hpp"

namespace bai::storage {

struct Predicate {
  enum class Kind : std::uint8_t { Never, NotNull, IsNull, Compare };
  std::uint16_t column = 0;
  Kind kind = Kind::Never;
  Compare op = Compare::Eq;  // with Kind::Compare; Prefix compares text by its first bytes
  Value value;               // with Kind::Compare: not null, of the column's own type
};

// InvalidArgument for a column that does not exist, a value of another class (text against a
// number), NaN, a prefix on anything but text, or too many conditions.
Result<std::vector<Predicate>> make_predicates(const TableSpec& table,
                                               const std::vector<Condition>& conditions);

bool matches(const Predicate& predicate, const Row& row) noexcept;

}  // namespace bai::storage

// Seeded randomness for tests, and random rows of every entity made from its description.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "bai_manager/schema.hpp"

namespace bai::test {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  std::uint64_t next() { return engine_(); }
  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : engine_() % n; }
  std::int64_t between(std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(most - least) + 1));
  }
  bool chance(int percent) { return below(100) < static_cast<std::uint64_t>(percent); }
  // Letters, quotes, control characters (NUL included) and a few multi-byte ones.
  std::string text(std::size_t longest = 12);

 private:
  std::mt19937_64 engine_;
};

// A valid stored value for the field; times have whole microseconds and spans whole milliseconds,
// which is what their JSON forms can tell.
Value random_value(Dice& dice, const FieldInfo& field);

// A row with every field random.
std::shared_ptr<void> random_row(Dice& dice, const EntityInfo& info);

}  // namespace bai::test

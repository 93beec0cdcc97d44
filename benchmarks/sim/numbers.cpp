#include "sim/numbers.hpp"

#include <fmt/format.h>

#include <charconv>

namespace bai::sim {

std::string Fnv64::hex() const { return fmt::format("{:016x}", hash_); }

double rounded(double value, int decimals) {
  const std::string text = fmt::format("{:.{}f}", value, decimals);
  double read = 0;
  std::from_chars(text.data(), text.data() + text.size(), read);
  return read;
}

}  // namespace bai::sim

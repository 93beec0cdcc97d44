// Checksums, random numbers and rounding.
#pragma once

#include <cstdint>
#include <string>

namespace bai::sim {

// FNV-1a over 32-bit words, least significant byte first.
class Fnv64 {
 public:
  void add(std::uint32_t word) noexcept {
    for (int shift = 0; shift < 32; shift += 8) {
      hash_ ^= (word >> shift) & 0xff;
      hash_ *= 0x100000001b3ULL;
    }
  }
  std::string hex() const;  // 16 digits

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325ULL;
};

// The same numbers on every machine.
class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() noexcept {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t bound) noexcept { return next() % bound; }
  double unit() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)

 private:
  std::uint64_t state_;
};

// The nearest number with so many decimals, as it would be read back from text.
double rounded(double value, int decimals);

}  // namespace bai::sim

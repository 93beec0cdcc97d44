// Amounts rounded down to 15 bits, eight side by side, so that one comparison tells whether an
// agent may have enough of everything. Rounding keeps the order: who has enough also has the level.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace bai::sched {

using Level = std::int16_t;

inline constexpr std::size_t kLanes = 8;
inline constexpr Level kNoNeed = std::numeric_limits<Level>::min();  // below every level

struct alignas(16) Levels {
  std::array<Level, kLanes> lane{};
  friend bool operator==(const Levels&, const Levels&) = default;
};

// Nine bits behind the highest one; what is not above 1 is 0.
inline Level level_of(std::int64_t amount) noexcept {
  // As a floating-point number an amount is its width and what follows the highest bit.
  constexpr unsigned kCut = 52 - 9;
  constexpr auto kOne = std::bit_cast<std::uint64_t>(1.0) >> kCut;
  const auto value = static_cast<double>(std::max<std::int64_t>(amount, 1));
  return static_cast<Level>((std::bit_cast<std::uint64_t>(value) >> kCut) - kOne);
}

#if defined(__SSE2__)

inline __m128i loaded(const Levels& levels) noexcept {
  return _mm_load_si128(reinterpret_cast<const __m128i*>(levels.lane.data()));
}
// Whether no lane of `has` is below that of `need`.
inline bool covers(const Levels& has, const Levels& need) noexcept {
  return _mm_movemask_epi8(_mm_cmplt_epi16(loaded(has), loaded(need))) == 0;
}
inline void raise(Levels& top, const Levels& by) noexcept {
  _mm_store_si128(reinterpret_cast<__m128i*>(top.lane.data()),
                  _mm_max_epi16(loaded(top), loaded(by)));
}

#else

inline bool covers(const Levels& has, const Levels& need) noexcept {
  bool all = true;
  for (std::size_t i = 0; i < kLanes; ++i) all &= has.lane[i] >= need.lane[i];
  return all;
}
inline void raise(Levels& top, const Levels& by) noexcept {
  for (std::size_t i = 0; i < kLanes; ++i) top.lane[i] = std::max(top.lane[i], by.lane[i]);
}

#endif

}  // namespace bai::sched

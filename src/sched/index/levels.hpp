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

// Exact up to 1023, then the ten highest bits. What is not positive is 0.
inline Level level_of(std::int64_t amount) noexcept {
  const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(amount, 0));
  const auto width = static_cast<unsigned>(std::bit_width(value | 1023U));
  const unsigned shift = width - 10;
  return static_cast<Level>((shift << 9U) + static_cast<unsigned>(value >> shift));
}

#if defined(__SSE2__)

inline __m128i loaded(const Levels& levels) noexcept {
  return _mm_load_si128(reinterpret_cast<const __m128i*>(levels.lane.data()));
}
// Whether no lane of `has` is below that of `need`.
inline bool covers(const Levels& has, const Levels& need) noexcept {
  return _mm_movemask_epi8(_mm_cmplt_epi16(loaded(has), loaded(need))) == 0;
}
// Whether some lane of `part`, which is nowhere above `top`, reaches it.
inline bool reaches(const Levels& part, const Levels& top) noexcept {
  return _mm_movemask_epi8(_mm_cmpeq_epi16(loaded(part), loaded(top))) != 0;
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
inline bool reaches(const Levels& part, const Levels& top) noexcept {
  bool any = false;
  for (std::size_t i = 0; i < kLanes; ++i) any |= part.lane[i] == top.lane[i];
  return any;
}
inline void raise(Levels& top, const Levels& by) noexcept {
  for (std::size_t i = 0; i < kLanes; ++i) top.lane[i] = std::max(top.lane[i], by.lane[i]);
}

#endif

}  // namespace bai::sched

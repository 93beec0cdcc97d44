// Ids that carry the number of what they name: they grow with it, so that ties go by number.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bai {

template <class Id>
Id numbered(std::uint64_t number) {
  Id id;
  for (std::size_t i = 0; i < 8; ++i) {
    id.bytes[15 - i] = static_cast<std::uint8_t>(number >> (8 * i));
  }
  return id;
}

}  // namespace bai

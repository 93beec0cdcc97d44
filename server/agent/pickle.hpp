// The few Python pickles that cross the agent wire. Nothing is ever executed or looked up: global
// names are compared as text.
#pragma once

#include <optional>
#include <string>

#include "agent/value.hpp"

namespace bai::server::wire {

struct ImageRef {
  std::string name, project, tag, registry, architecture;  // empty project: None
  bool is_local = false;
  friend bool operator==(const ImageRef&, const ImageRef&) = default;
};

inline constexpr std::size_t kMaxPickleBytes = 16384;
inline constexpr std::size_t kMaxPickleOps = 2000;

// Protocol 2 with memo operations, as CPython writes it.
Bytes pickle_image_ref(const ImageRef& ref);
// Any protocol up to 5. Corruption: not such a pickle.
Result<ImageRef> unpickle_image_ref(ByteView bytes);

// `Class(text)` and `Class(integer)`: enumerators, Decimal, BinarySize, SlotName. None for others.
std::optional<Json> unpickle_scalar(ByteView bytes);

}  // namespace bai::server::wire

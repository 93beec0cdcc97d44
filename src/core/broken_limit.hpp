// A limit that stands against a session's start.
#pragma once

#include <string>

#include "bai_manager/entities.hpp"

namespace bai::core {

struct BrokenLimit {
  std::string kind;            // the reference system's error code
  std::string text;            // whose limit, and by how much
  SlotMap over = {};           // by how much
  std::string code = "quota";  // PendingReason::code

  // Of a slot `used` and `requested` are together more than `limit`.
  void add(SlotType type, const std::string& slot, Amount used, Amount requested, Amount limit);
};

}  // namespace bai::core

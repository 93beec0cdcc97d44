// What of a requirement decides where there is room for it, whatever numbers it has in the mirror.
#pragma once

#include <cstdint>

#include "bai_manager/policy.hpp"

namespace bai::sched {

// Labels aside: numbers of rules are used again.
bool asks_alike(const Requirement& a, const Requirement& b);

std::uint64_t content_hash(const Requirement& requirement, const LabelRule& labels);

}  // namespace bai::sched

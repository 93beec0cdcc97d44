#include "core/broken_limit.hpp"

#include <fmt/format.h>

namespace bai::core {

void BrokenLimit::add(SlotType type, const std::string& slot, Amount used, Amount requested,
                      Amount limit) {
  const auto amount = [&](Amount a) { return format_amount_humanized(type, a); };
  const Amount beyond = used + requested - limit;
  text +=
      fmt::format("{} {}: used {} + requested {} > limit {} (over by {})", over.empty() ? ":" : ";",
                  slot, amount(used), amount(requested), amount(limit), amount(beyond));
  over.set(slot, beyond);
}

}  // namespace bai::core

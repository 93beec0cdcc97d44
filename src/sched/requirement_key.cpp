#include "sched/requirement_key.hpp"

#include <functional>
#include <string>

namespace bai::sched {

bool asks_alike(const Requirement& a, const Requirement& b) {
  return a.architecture == b.architecture && a.containers == b.containers && a.slots == b.slots &&
         a.parts == b.parts;
}

std::uint64_t content_hash(const Requirement& requirement, const LabelRule& labels) {
  std::uint64_t hash = 0;
  const auto add = [&](std::uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 29;
  };
  const auto add_slots = [&](const std::vector<SlotRequest>& slots) {
    add(slots.size());
    for (const SlotRequest& r : slots) {
      add(r.slot);
      add(static_cast<std::uint64_t>(r.units));
    }
  };
  add(requirement.architecture);
  add(requirement.containers);
  add_slots(requirement.slots);
  for (const auto& part : requirement.parts) add_slots(part);
  for (const auto& [name, texts] : labels) {
    add(std::hash<std::string>{}(name));
    for (const std::string& text : texts) add(std::hash<std::string>{}(text));
  }
  return hash;
}

}  // namespace bai::sched

#include "sched/index/scan.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace bai::sched {

namespace {

constexpr std::size_t kBlock = 256;  // agents matched at a time: fits the first-level cache

}  // namespace

std::int64_t key_value(const AgentTable& agents, const Requirement& requirement, AgentIndex agent,
                       const KeyPart& part) noexcept {
  if (part.what == KeyPart::What::UnusedCapabilities) {
    return std::ranges::count_if(requirement.slots, [&](const SlotRequest& r) {
      return r.units == 0 && agents.observed(agent, r.slot) > 0;
    });
  }
  if (!agents.has_slot(agent, part.slot)) return std::numeric_limits<std::int64_t>::max();
  const std::int64_t free = agents.free(agent, part.slot);
  return part.what == KeyPart::What::LeastFree ? free : -free;
}

bool comes_before(const AgentTable& agents, const Requirement& requirement, AgentIndex a,
                  AgentIndex b, std::span<const KeyPart> key) noexcept {
  for (const KeyPart& part : key) {
    const std::int64_t mine = key_value(agents, requirement, a, part);
    const std::int64_t its = key_value(agents, requirement, b, part);
    if (mine != its) return mine < its;
  }
  return a < b;
}

std::optional<AgentIndex> scan_best(const AgentTable& agents, const Requirement& requirement,
                                    std::span<const KeyPart> key, std::uint32_t container_limit,
                                    const AgentTest& test) {
  std::array<std::uint8_t, kBlock> match{};
  std::optional<AgentIndex> best;
  for (std::size_t first = 0; first < agents.size(); first += kBlock) {
    const std::size_t count = std::min(kBlock, agents.size() - first);
    agents.match(static_cast<AgentIndex>(first), count, requirement, container_limit, match.data());
    for (std::size_t i = 0; i < count; ++i) {
      if (match[i] == 0) continue;
      const auto agent = static_cast<AgentIndex>(first + i);
      if (best && (key.empty() || !comes_before(agents, requirement, agent, *best, key))) continue;
      if (!test(agent)) continue;
      best = agent;
      if (key.empty()) return best;
    }
  }
  return best;
}

}  // namespace bai::sched

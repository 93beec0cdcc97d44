// Explanations for those who are too far behind in the queue to be told numbers.
#include <algorithm>

#include "sched/explain.hpp"

namespace bai::sched {

namespace {

std::int64_t most_of(const std::vector<std::int64_t>& observed, std::size_t block) {
  const auto first = observed.begin() + static_cast<std::ptrdiff_t>(block * CoarseMemo::kBlock);
  const auto left = static_cast<std::size_t>(observed.end() - first);
  return *std::max_element(first,
                           first + static_cast<std::ptrdiff_t>(std::min(CoarseMemo::kBlock, left)));
}

const CoarseMemo::Compatible& compatible_with(const AgentTable& agents,
                                              const Requirement& requirement,
                                              const LabelRule& labels, CoarseMemo& memo) {
  const auto [it, is_new] = memo.compatible.try_emplace({requirement.architecture, labels});
  CoarseMemo::Compatible& counts = it->second;
  if (!is_new) return counts;
  for (AgentIndex a = 0; a < agents.size(); ++a) {
    if (!agents.takes_sessions(a)) continue;
    ++counts.agents;
    if (agents.architecture(a) != requirement.architecture) {
      ++counts.other_architecture;
    } else if (!agents.labels_match(a, requirement.labels)) {
      ++counts.other_labels;
    }
  }
  return counts;
}

// Whether it asks for more of a slot than any agent has.
bool exceeds_all(const AgentTable& agents, const Requirement& requirement, CoarseMemo& memo) {
  if (memo.largest.size() < agents.column_count()) {
    memo.largest.assign(agents.column_count(), kAbsentSlot);
    for (SlotIndex slot = 0; slot < agents.column_count(); ++slot) {
      const SlotColumn* column = agents.column(slot);
      if (column != nullptr) memo.largest[slot] = std::ranges::max(column->capacity);
    }
  }
  return std::ranges::any_of(requirement.slots, [&](const SlotRequest& r) {
    return r.units != 0 && (agents.column(r.slot) == nullptr || memo.largest[r.slot] < r.units);
  });
}

struct WithAmounts {  // compatible agents that have the amounts, by what they lack
  std::size_t containers = 0, devices = 0;
};

WithAmounts count_with_amounts(const AgentTable& agents, const Requirement& requirement,
                               std::uint32_t container_limit, CoarseMemo& memo) {
  struct Wanted {
    const std::int64_t *most, *free;
    std::int64_t units;
  };
  std::vector<Wanted> wanted;
  for (const SlotRequest& r : requirement.slots) {
    if (r.units == 0) continue;
    wanted.push_back(
        {memo.most_by_block(agents, r.slot).data(), agents.column(r.slot)->free.data(), r.units});
  }
  WithAmounts counts;
  constexpr std::size_t kBlock = CoarseMemo::kBlock;
  for (std::size_t block = 0, first = 0; first < agents.size(); ++block, first += kBlock) {
    if (std::ranges::any_of(wanted, [&](const Wanted& w) { return w.most[block] < w.units; })) {
      continue;
    }
    const std::size_t end = std::min(first + kBlock, agents.size());
    for (auto a = static_cast<AgentIndex>(first); a < end; ++a) {
      if (!std::ranges::all_of(wanted, [&](const Wanted& w) { return w.free[a] >= w.units; }) ||
          !agents.takes_sessions(a) || agents.architecture(a) != requirement.architecture ||
          !agents.labels_match(a, requirement.labels)) {
        continue;
      }
      if (std::uint64_t{agents.containers(a)} + requirement.containers > container_limit) {
        ++counts.containers;
      } else if (!agents.devices_fit(a, requirement)) {
        ++counts.devices;
      }
    }
  }
  return counts;
}

}  // namespace

void CoarseMemo::begin_pass(const AgentTable& agents) {
  const auto& changed = agents.changed();
  if (std::exchange(agents_epoch_, agents.epoch()) != agents.epoch() ||
      changed.size() - followed_ > kBlock + agents.size() / kBlock) {
    most_.clear();
  }
  const std::size_t from = std::exchange(followed_, changed.size());
  for (SlotIndex slot = 0; slot < most_.size(); ++slot) {
    if (most_[slot].empty()) continue;
    const std::vector<std::int64_t>& observed = agents.column(slot)->observed;
    for (std::size_t i = from; i < changed.size(); ++i) {
      const std::size_t block = changed[i] / kBlock;
      most_[slot][block] = most_of(observed, block);
    }
  }
}

const std::vector<std::int64_t>& CoarseMemo::most_by_block(const AgentTable& agents,
                                                           SlotIndex slot) {
  if (most_.size() < agents.column_count()) most_.resize(agents.column_count());
  auto& most = most_[slot];
  if (most.empty()) {
    const std::vector<std::int64_t>& observed = agents.column(slot)->observed;
    most.resize((observed.size() + kBlock - 1) / kBlock);
    for (std::size_t block = 0; block < most.size(); ++block)
      most[block] = most_of(observed, block);
  }
  return most;
}

void CoarseMemo::follow(const AgentTable& agents) {
  if (std::exchange(kinds_version_, agents.kinds_version()) != agents.kinds_version() ||
      compatible.size() >= kKindsMax) {
    compatible.clear();
  }
  if (std::exchange(settings_epoch_, agents.settings_epoch()) != agents.settings_epoch()) {
    largest.clear();
  }
}

Failure explain_coarsely(const ViewSource& source, const Request& request, std::size_t which,
                         const AgentFilter& filter, CoarseMemo& memo, KeptSurveys& surveys) {
  const AgentTable& agents = source.group.agents;
  const Requirement& requirement = request.requirements[which];
  memo.follow(agents);
  const LabelRule& labels = source.mirror.label_rule(requirement.labels);
  const auto& counts = compatible_with(agents, requirement, labels, memo);
  const std::size_t compatible = counts.agents - counts.other_architecture - counts.other_labels;
  if (filter.may_exclude() || !filter.barred.empty() || compatible == 0) {
    return explain_failure(source, request, which, filter, surveys);
  }
  const bool is_too_large = exceeds_all(agents, requirement, memo);
  WithAmounts lacking;
  if (!is_too_large &&
      (agents.has_devices() || filter.container_limit != AgentFilter{}.container_limit)) {
    lacking = count_with_amounts(agents, requirement, filter.container_limit, memo);
  }
  Failure failure;
  failure.code = lacking.containers > 0 ? "container-limit" : "capacity";
  failure.blocks = true;
  const auto add = [&](const char* name, std::size_t count) {
    if (count > 0) failure.rejected.emplace_back(name, static_cast<std::int64_t>(count));
  };
  add("architecture", counts.other_architecture);
  add("containers", lacking.containers);
  add("devices", lacking.devices);
  add("labels", counts.other_labels);
  add("slots", compatible - lacking.containers - lacking.devices);
  say_infeasible(
      source, requirement,
      is_too_large ? too_large(source, requirement) : infeasible(source, request, filter), failure);
  failure.detailed = failure.coarse;
  return failure;
}

}  // namespace bai::sched

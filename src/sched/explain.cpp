#include "sched/explain.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

namespace bai::sched {

namespace {

constexpr std::size_t kTalliesTold = 4;  // classes of rejected agents named in a message
constexpr std::size_t kMaskBits = 62;    // slots told apart in a class

// Why one agent is none.
enum class Rejection : std::uint8_t {
  Architecture,
  Labels,
  Designation,
  Devices,
  SessionGroup,
  Reserved,  // there is room, but it is promised or kept; or its own reservation has none there
  Topology,
  Shortage
};
using Tallies = std::map<std::pair<Rejection, std::uint64_t>, std::size_t>;
constexpr std::uint64_t kContainersBit = std::uint64_t{1} << kMaskBits;

struct Survey {
  std::size_t agents = 0, compatible = 0;
  bool large_enough = false;  // some compatible agent, if it were empty
  bool amounts_free = false;  // some compatible agent lacks container places only
  Tallies tallies;
  std::optional<AgentIndex> closest;
  Int128 closest_total = 0;
  std::uint32_t closest_containers = 0;  // places lacking on it
};

class Surveyor {
 public:
  Surveyor(const ViewSource& source, const Requirement& requirement, const AgentFilter& filter)
      : mirror_(source.mirror),
        agents_(source.group.agents),
        requirement_(requirement),
        filter_(filter) {
    // Totals compare counted slots and bytes by their written numbers, as the reference does.
    for (const SlotRequest& r : requirement_.slots) {
      const SlotType type = mirror_.slot_types().type_of(mirror_.slots()[r.slot]);
      const std::size_t at = static_cast<std::size_t>(&r - requirement_.slots.data());
      const SlotColumn* column = agents_.column(r.slot);
      if (r.units == 0) continue;
      wanted_.push_back({column != nullptr ? column->free.data() : nullptr,
                         column != nullptr ? column->capacity.data() : nullptr, r.units,
                         type == SlotType::Size ? 1000 : 1,
                         std::uint64_t{1} << std::min(at, kMaskBits - 1)});
    }
  }

  Survey run() {
    for (AgentIndex a = 0; a < agents_.size(); ++a) {
      if (agents_.takes_sessions(a)) look_at(a);
    }
    for (std::size_t lacking = 0; lacking < shortages_.size(); ++lacking) {
      if (shortages_[lacking] == 0) continue;
      survey_.tallies[{Rejection::Shortage, lacking}] = shortages_[lacking];
    }
    return std::move(survey_);
  }

 private:
  struct Wanted {
    const std::int64_t *free, *capacity;  // columns; null: no agent has the slot
    std::int64_t units, weight;
    std::uint64_t bit;
  };

  void look_at(AgentIndex a) {
    ++survey_.agents;
    if (agents_.architecture(a) != requirement_.architecture) {
      ++survey_.tallies[{Rejection::Architecture, 0}];
      return;
    }
    if (!agents_.labels_match(a, requirement_.labels)) {
      ++survey_.tallies[{Rejection::Labels, 0}];
      return;
    }
    if (filter_.strict && !std::ranges::binary_search(filter_.designated, a)) {
      ++survey_.tallies[{Rejection::Designation, 0}];
      return;
    }
    if (filter_.neighbours != nullptr && filter_.neighbours->excludes(a)) {
      ++survey_.tallies[{Rejection::SessionGroup, 0}];
      return;
    }
    if (filter_.within != nullptr && !std::ranges::binary_search(*filter_.within, a)) {
      ++survey_.tallies[{filter_.is_domain ? Rejection::Topology : Rejection::Reserved, 0}];
      return;
    }
    ++survey_.compatible;
    Int128 total = 0;
    std::uint64_t lacking = 0;
    bool large_enough = requirement_.containers <= filter_.container_limit;
    for (const Wanted& w : wanted_) {
      large_enough = large_enough && w.capacity != nullptr && w.capacity[a] >= w.units;
      const std::int64_t free = w.free == nullptr ? 0 : std::max<std::int64_t>(0, w.free[a]);
      if (free >= w.units) continue;
      total += Int128{w.units - free} * w.weight;
      lacking |= w.bit;
    }
    survey_.large_enough = survey_.large_enough || large_enough;
    const std::uint64_t containers = std::uint64_t{agents_.containers(a)} + requirement_.containers;
    const std::uint64_t over =
        containers > filter_.container_limit ? containers - filter_.container_limit : 0;
    if (lacking == 0 && over > 0) survey_.amounts_free = true;
    if (over > 0) lacking |= kContainersBit;
    if (lacking == 0) {
      const bool is_kept = std::ranges::binary_search(filter_.barred, a);
      ++survey_.tallies[{is_kept ? Rejection::Reserved : Rejection::Devices, 0}];
    } else if (lacking < shortages_.size()) {
      ++shortages_[lacking];
    } else {
      ++survey_.tallies[{Rejection::Shortage, lacking}];
    }
    keep_closest(a, total, static_cast<std::uint32_t>(std::min<std::uint64_t>(over, 0xffff'ffff)));
  }

  void keep_closest(AgentIndex a, Int128 total, std::uint32_t containers) {
    if (survey_.closest &&
        (total > survey_.closest_total ||
         (total == survey_.closest_total && containers >= survey_.closest_containers))) {
      return;
    }
    survey_.closest = a;
    survey_.closest_total = total;
    survey_.closest_containers = containers;
  }

  const Mirror& mirror_;
  const AgentTable& agents_;
  const Requirement& requirement_;
  const AgentFilter& filter_;
  std::vector<Wanted> wanted_;
  Survey survey_;
  std::array<std::size_t, 64> shortages_{};  // by what is lacking: the usual classes
};

std::string shortage_class(const Mirror& mirror, const Requirement& requirement,
                           std::uint64_t lacking, std::size_t count) {
  std::vector<std::string> words;
  for (std::size_t i = 0; i < requirement.slots.size() && i < kMaskBits; ++i) {
    if ((lacking >> i & 1) != 0) words.push_back(mirror.slots()[requirement.slots[i].slot]);
  }
  if ((lacking & kContainersBit) != 0) words.emplace_back("places for containers");
  return fmt::format("{} {} {}", count, count == 1 ? "lacks" : "lack", join_words(words));
}

std::string class_text(const Mirror& mirror, const Requirement& requirement,
                       const std::pair<Rejection, std::uint64_t>& which, std::size_t count) {
  const char* verb = count == 1 ? "is" : "are";
  switch (which.first) {
    case Rejection::Architecture:
      return fmt::format("{} {} of another architecture than {}", count, verb,
                         mirror.architectures()[requirement.architecture]);
    case Rejection::Labels:
      return fmt::format("{} {} without the labels it asks for", count, verb);
    case Rejection::Devices:
      return fmt::format("{} {} the amounts only in pieces of several devices", count,
                         count == 1 ? "has" : "have");
    case Rejection::Designation:
      return fmt::format("{} {} not designated", count, verb);
    case Rejection::SessionGroup:
      return fmt::format("{} {} ruled out by its session group", count, verb);
    case Rejection::Reserved:
      return fmt::format("{} {} reserved", count, verb);
    case Rejection::Topology:
      return fmt::format("{} {} outside the domain", count, verb);
    case Rejection::Shortage:
      break;
  }
  return shortage_class(mirror, requirement, which.second, count);
}

// "12 agents: 9 lack cpu, 3 are of another architecture than x86_64"
std::string tally_text(const Mirror& mirror, const Requirement& requirement, const Survey& survey) {
  std::vector<std::pair<std::size_t, std::pair<Rejection, std::uint64_t>>> classes;
  for (const auto& [which, count] : survey.tallies) classes.emplace_back(count, which);
  std::ranges::stable_sort(classes, std::greater<>{}, [](const auto& c) { return c.first; });
  std::string text = fmt::format("{} agent{}: ", survey.agents, survey.agents == 1 ? "" : "s");
  std::size_t rest = 0;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    if (i >= kTalliesTold) {
      rest += classes[i].first;
      continue;
    }
    if (i > 0) text += ", ";
    text += class_text(mirror, requirement, classes[i].second, classes[i].first);
  }
  if (rest > 0) text += fmt::format(", {} lack other combinations", rest);
  return text;
}

std::vector<SlotRequest> missing_on(const AgentTable& agents, AgentIndex agent,
                                    const Requirement& requirement) {
  std::vector<SlotRequest> missing;
  for (const SlotRequest& r : requirement.slots) {
    const std::int64_t free = std::max<std::int64_t>(0, agents.free(agent, r.slot));
    if (r.units > free) missing.push_back({r.slot, r.units - free});
  }
  return missing;
}

std::string closest_text(const ViewSource& source, const Survey& survey,
                         const std::vector<SlotRequest>& missing) {
  std::vector<std::string> words;
  if (!missing.empty()) words.push_back(slots_text(source.mirror, missing));
  if (survey.closest_containers > 0) {
    words.push_back(fmt::format("{} place{} for containers", survey.closest_containers,
                                survey.closest_containers == 1 ? "" : "s"));
  }
  if (words.empty()) words.emplace_back("a device with enough left");
  const AgentIndex closest = *survey.closest;
  return fmt::format("{}, lacks {}", source.group.agents.id(closest).str(), join_words(words));
}

std::vector<std::pair<std::string, std::int64_t>> rejected_of(const Survey& survey) {
  std::map<std::string, std::int64_t> counts;
  for (const auto& [which, count] : survey.tallies) {
    const char* name = "slots";
    switch (which.first) {
      case Rejection::Architecture:
        name = "architecture";
        break;
      case Rejection::Labels:
        name = "labels";
        break;
      case Rejection::Designation:
        name = "designated";
        break;
      case Rejection::Devices:
        name = "devices";
        break;
      case Rejection::SessionGroup:
        name = "session-group";
        break;
      case Rejection::Reserved:
        name = "reserved";
        break;
      case Rejection::Topology:
        name = "topology";
        break;
      case Rejection::Shortage:
        if (which.second == kContainersBit) name = "containers";
        break;
    }
    counts[name] += static_cast<std::int64_t>(count);
  }
  return {counts.begin(), counts.end()};
}

}  // namespace

std::string join_words(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " and " : ", ";
    text += words[i];
  }
  return text;
}

std::string slots_text(const Mirror& mirror, std::span<const SlotRequest> amounts) {
  std::vector<std::string> words;
  for (const SlotRequest& r : amounts) {
    if (r.units == 0) continue;
    const std::string& name = mirror.slots()[r.slot];
    words.push_back(
        fmt::format("{} {}", name,
                    format_amount_humanized(mirror.slot_types().type_of(name), Amount{r.units})));
  }
  return words.empty() ? "nothing" : join_words(words);
}

namespace {

const char* lack_text(bool large_enough) {
  return large_enough ? "has room" : "is large enough, even when empty";
}

std::string coarse_text(const ViewSource& source, const Requirement& requirement,
                        bool large_enough) {
  return fmt::format("No agent of resource group {} {} for {}.", source.group.name.str(),
                     lack_text(large_enough), slots_text(source.mirror, requirement.slots));
}

}  // namespace

Failure explain_failure(const ViewSource& source, const Request& request, std::size_t which,
                        const AgentFilter& filter) {
  const Requirement& requirement = request.requirements[which];
  const std::string& group = source.group.name.str();
  const Survey survey = Surveyor(source, requirement, filter).run();
  Failure failure;
  std::string tally = tally_text(source.mirror, requirement, survey);
  if (filter.neighbours != nullptr && filter.neighbours->strict) {
    tally += fmt::format("; session group {} asks for strict {}", filter.neighbours->session_group,
                         to_string(filter.neighbours->direction));
  }
  if (survey.agents == 0) {
    failure.code = "no-agents";
    failure.detailed = failure.coarse =
        fmt::format("Resource group {} has no agent that takes sessions now.", group);
    return failure;
  }
  if (survey.compatible == 0) {
    failure.code = "no-compatible-agent";
    failure.rejected = rejected_of(survey);
    failure.coarse = fmt::format("No agent of resource group {} can run this session.", group);
    failure.detailed =
        fmt::format("No agent of resource group {} can run this session ({}).", group, tally);
    return failure;
  }
  failure.code = survey.amounts_free ? "container-limit" : "capacity";
  failure.blocks = true;
  const std::string what =
      request.requirements.size() == 1
          ? std::string()
          : fmt::format(" for kernel {} of {}", which + 1, request.requirements.size());
  const char* lack = lack_text(survey.large_enough);
  const auto missing = missing_on(source.group.agents, *survey.closest, requirement);
  for (const SlotRequest& r : missing) {
    failure.missing.set(source.mirror.slots()[r.slot], Amount{r.units});
  }
  failure.rejected = rejected_of(survey);
  failure.detailed = fmt::format("No agent of resource group {} {}{}: the closest, {} ({}).", group,
                                 lack, what, closest_text(source, survey, missing), tally);
  failure.coarse = coarse_text(source, requirement, survey.large_enough);
  return failure;
}

namespace {

const CoarseMemo::Compatible& compatible_with(const AgentTable& agents,
                                              const Requirement& requirement, CoarseMemo& memo) {
  const auto [it, is_new] =
      memo.compatible.try_emplace({requirement.architecture, requirement.labels});
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

// Whether some agent that may run it has the capacity.
bool is_large_enough(const AgentTable& agents, const Requirement& requirement, CoarseMemo& memo) {
  if (memo.largest.size() < agents.column_count()) {
    memo.largest.assign(agents.column_count(), kAbsentSlot);
    for (SlotIndex slot = 0; slot < agents.column_count(); ++slot) {
      const SlotColumn* column = agents.column(slot);
      if (column != nullptr) memo.largest[slot] = std::ranges::max(column->capacity);
    }
  }
  const auto wanted = [](const SlotRequest& r) { return r.units != 0; };
  if (std::ranges::any_of(requirement.slots, [&](const SlotRequest& r) {
        return wanted(r) && (agents.column(r.slot) == nullptr || memo.largest[r.slot] < r.units);
      })) {
    return false;
  }
  for (AgentIndex a = 0; a < agents.size(); ++a) {
    if (agents.takes_sessions(a) && agents.architecture(a) == requirement.architecture &&
        agents.labels_match(a, requirement.labels) &&
        std::ranges::all_of(requirement.slots, [&](const SlotRequest& r) {
          return !wanted(r) || agents.column(r.slot)->capacity[a] >= r.units;
        })) {
      return true;
    }
  }
  return false;
}

}  // namespace

Failure explain_coarsely(const ViewSource& source, const Request& request, std::size_t which,
                         const AgentFilter& filter, CoarseMemo& memo) {
  const AgentTable& agents = source.group.agents;
  const Requirement& requirement = request.requirements[which];
  const auto& counts = compatible_with(agents, requirement, memo);
  const std::size_t compatible = counts.agents - counts.other_architecture - counts.other_labels;
  // Without limits of containers and without devices only amounts can be short.
  if (filter.may_exclude() || !filter.barred.empty() || agents.has_devices() || compatible == 0 ||
      filter.container_limit != AgentFilter{}.container_limit) {
    return explain_failure(source, request, which, filter);
  }
  Failure failure;
  failure.code = "capacity";
  failure.blocks = true;
  const auto add = [&](const char* name, std::size_t count) {
    if (count > 0) failure.rejected.emplace_back(name, static_cast<std::int64_t>(count));
  };
  add("architecture", counts.other_architecture);
  add("labels", counts.other_labels);
  add("slots", compatible);
  failure.coarse = coarse_text(source, requirement, is_large_enough(agents, requirement, memo));
  return failure;
}

Failure classify_failure(const ViewSource& source, const Request& request, std::size_t which,
                         const AgentFilter& filter) {
  const AgentTable& agents = source.group.agents;
  const Requirement& requirement = request.requirements[which];
  Failure failure;
  for (AgentIndex a = 0; a < agents.size() && !failure.blocks; ++a) {
    failure.blocks = agents.takes_sessions(a) &&
                     agents.architecture(a) == requirement.architecture &&
                     agents.labels_match(a, requirement.labels) && !filter.excludes(a);
  }
  failure.code = failure.blocks ? "capacity" : "no-compatible-agent";
  return failure;
}

Failure explain_backfill(const ViewSource& source) {
  Failure failure;
  failure.code = "backfill";
  failure.coarse = failure.detailed = fmt::format(
      "There is room in resource group {}, but it is promised: starting now would delay a session "
      "before it in the queue.",
      source.group.name.str());
  return failure;
}

Failure explain_reserved(const ViewSource& source, const Request& request, std::size_t which,
                         const AgentFilter& filter) {
  const Requirement& requirement = request.requirements[which];
  const Survey survey = Surveyor(source, requirement, filter).run();
  Failure failure;
  failure.code = "reserved";
  failure.blocks = true;
  failure.rejected = rejected_of(survey);
  failure.coarse = fmt::format(
      "There is room in resource group {}, but a reservation keeps it for others before this "
      "session would end.",
      source.group.name.str());
  failure.detailed =
      fmt::format("{} {}.", failure.coarse, tally_text(source.mirror, requirement, survey));
  return failure;
}

Failure explain_used_up(const ViewSource& source, const Request& request, std::size_t which,
                        const AgentFilter& filter, const std::string& reservation) {
  const Requirement& requirement = request.requirements[which];
  const Survey survey = Surveyor(source, requirement, filter).run();
  Failure failure;
  failure.code = "reservation";
  failure.rejected = rejected_of(survey);
  failure.coarse = fmt::format(
      "What reservation {} keeps is in use by its sessions, or not free yet.", reservation);
  failure.detailed =
      fmt::format("{} {}.", failure.coarse, tally_text(source.mirror, requirement, survey));
  return failure;
}

Failure explain_topology(const ViewSource& source, const Request& request, const std::string& level,
                         const Topology::Domain* roomiest, AgentFilter filter) {
  Failure failure;
  failure.code = "topology";
  failure.coarse = failure.detailed =
      fmt::format("No single {} of resource group {} has room for its {} kernels together.", level,
                  source.group.name.str(), request.requirements.size());
  if (roomiest == nullptr) {
    failure.detailed = fmt::format("No agent of resource group {} has the label {}.",
                                   source.group.name.str(), level);
    return failure;
  }
  failure.blocks = true;
  const Requirement& requirement = request.requirements.front();
  filter.within = &roomiest->agents;
  filter.is_domain = true;
  const Survey survey = Surveyor(source, requirement, filter).run();
  failure.rejected = rejected_of(survey);
  failure.detailed += fmt::format(" The one with the most room is {} ({}).", roomiest->name,
                                  tally_text(source.mirror, requirement, survey));
  return failure;
}

Failure explain_selector_refusal(const ViewSource& source, std::size_t candidates) {
  Failure failure;
  failure.code = "capacity";
  failure.coarse = fmt::format("The agent selector of resource group {} left it waiting.",
                               source.group.name.str());
  failure.detailed = fmt::format(
      "The agent selector of resource group {} left it waiting, although {} agent{} "
      "room.",
      source.group.name.str(), candidates, candidates == 1 ? " has" : "s have");
  return failure;
}

std::shared_ptr<const PendingReason> make_reason(PendingReason reason, std::uint64_t position,
                                                 std::uint32_t positions_max) {
  reason.message += reason.message.find('\n') == std::string::npos ? ' ' : '\n';
  if (position <= positions_max) {
    reason.position = static_cast<std::int64_t>(position);
    reason.message += fmt::format("Position {} in the queue.", position);
  } else {
    reason.message +=
        fmt::format("More than {} sessions are before it in the queue.", positions_max);
  }
  return std::make_shared<const PendingReason>(std::move(reason));
}

}  // namespace bai::sched

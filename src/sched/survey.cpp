#include "sched/survey.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace bai::sched {

namespace {

constexpr std::size_t kTalliesTold = 4;  // classes of rejected agents named in a message
constexpr std::size_t kMaskBits = 62;    // slots told apart in a class

constexpr std::uint64_t kContainersBit = std::uint64_t{1} << kMaskBits;

class Surveyor {
 public:
  Surveyor(const ViewSource& source, const Requirement& requirement, const AgentFilter& filter,
           Rejection otherwise)
      : mirror_(source.mirror),
        agents_(source.group.agents),
        requirement_(requirement),
        filter_(filter),
        otherwise_(otherwise) {
    // Totals compare counted slots and bytes by their written numbers, as the reference does.
    for (const SlotRequest& r : requirement_.slots) {
      const SlotType type = mirror_.slot_types().type_of(mirror_.slots()[r.slot]);
      const std::size_t at = static_cast<std::size_t>(&r - requirement_.slots.data());
      const SlotColumn* column = agents_.column(r.slot);
      if (r.units == 0) continue;
      wanted_.push_back({column != nullptr ? column->free.data() : nullptr, r.units,
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
    const std::int64_t* free;  // a column; null: no agent has the slot
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
      ++survey_.tallies[{Rejection::OtherLabels, 0}];
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
    for (const Wanted& w : wanted_) {
      const std::int64_t free = w.free == nullptr ? 0 : std::max<std::int64_t>(0, w.free[a]);
      if (free >= w.units) continue;
      total += Int128{w.units - free} * w.weight;
      lacking |= w.bit;
    }
    survey_.large_enough =
        survey_.large_enough || (requirement_.containers <= filter_.container_limit &&
                                 agents_.fits_when_empty(a, requirement_));
    const std::uint64_t containers = std::uint64_t{agents_.containers(a)} + requirement_.containers;
    const std::uint64_t over =
        containers > filter_.container_limit ? containers - filter_.container_limit : 0;
    if (lacking == 0 && over > 0) survey_.amounts_free = true;
    if (over > 0) lacking |= kContainersBit;
    if (lacking == 0) {
      ++survey_.tallies[{class_with_amounts(a), 0}];
    } else if (lacking < shortages_.size()) {
      ++shortages_[lacking];
    } else {
      ++survey_.tallies[{Rejection::Shortage, lacking}];
    }
    keep_closest(a, total, static_cast<std::uint32_t>(std::min<std::uint64_t>(over, 0xffff'ffff)));
  }

  Rejection class_with_amounts(AgentIndex a) const {
    if (!agents_.devices_fit(a, requirement_)) return Rejection::Devices;
    return std::ranges::binary_search(filter_.barred, a) ? Rejection::Reserved : otherwise_;
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
  Rejection otherwise_;
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
  const char* has = count == 1 ? "has" : "have";
  switch (which.first) {
    case Rejection::Architecture:
      return fmt::format("{} {} of another architecture than {}", count, verb,
                         mirror.architectures()[requirement.architecture]);
    case Rejection::OtherLabels:
      return fmt::format("{} {} without the labels it asks for", count, verb);
    case Rejection::Devices:
      return fmt::format("{} {} the amounts only in pieces of several devices", count, has);
    case Rejection::Designation:
      return fmt::format("{} {} not designated", count, verb);
    case Rejection::SessionGroup:
      return fmt::format("{} {} ruled out by its session group", count, verb);
    case Rejection::Reserved:
      return fmt::format("{} {} reserved", count, verb);
    case Rejection::Topology:
      return fmt::format("{} {} outside the domain", count, verb);
    case Rejection::Domain:
      return fmt::format("{} {} room for a part of it", count, has);
    case Rejection::Quota:
      return fmt::format("{} {} room that its limits forbid", count, has);
    case Rejection::Selector:
      return fmt::format("{} {} room that the selector does not use", count, has);
    case Rejection::Shortage:
      break;
  }
  return shortage_class(mirror, requirement, which.second, count);
}

}  // namespace

Survey survey_agents(const ViewSource& source, const Requirement& requirement,
                     const AgentFilter& filter, Rejection otherwise) {
  return Surveyor(source, requirement, filter, otherwise).run();
}

std::string join_words(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " and " : ", ";
    text += words[i];
  }
  return text;
}

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

namespace {

const char* name_of(Rejection rejection) {
  switch (rejection) {
    case Rejection::Architecture:
      return "architecture";
    case Rejection::OtherLabels:
      return "labels";
    case Rejection::Designation:
      return "designated";
    case Rejection::Devices:
      return "devices";
    case Rejection::SessionGroup:
      return "session-group";
    case Rejection::Reserved:
      return "reserved";
    case Rejection::Topology:
    case Rejection::Domain:
      return "topology";
    case Rejection::Quota:
      return "quota";
    case Rejection::Selector:
      return "selector";
    case Rejection::Shortage:
      break;
  }
  return "slots";
}

}  // namespace

std::vector<std::pair<std::string, std::int64_t>> rejected_of(const Survey& survey) {
  std::map<std::string, std::int64_t> counts;
  for (const auto& [which, count] : survey.tallies) {
    const char* name = name_of(which.first);
    if (which == std::pair{Rejection::Shortage, kContainersBit}) name = "containers";
    counts[name] += static_cast<std::int64_t>(count);
  }
  return {counts.begin(), counts.end()};
}

}  // namespace bai::sched

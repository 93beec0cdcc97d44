#include "sched/survey.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace bai::sched {

namespace {

constexpr std::size_t kTalliesTold = 4;  // classes of rejected agents named in a message
constexpr std::size_t kMaskBits = 62;    // slots told apart in a class

constexpr std::uint64_t kContainersBit = std::uint64_t{1} << kMaskBits;

// For wishes of the session or its place in the queue; nothing: it may go there.
std::optional<Rejection> excluded(const AgentFilter& filter, AgentIndex a) {
  if (filter.strict && !std::ranges::binary_search(filter.designated, a)) {
    return Rejection::Designation;
  }
  if (filter.neighbours != nullptr && filter.neighbours->excludes(a)) {
    return Rejection::SessionGroup;
  }
  if (filter.within != nullptr && !std::ranges::binary_search(*filter.within, a)) {
    return filter.is_domain ? Rejection::Topology : Rejection::Reserved;
  }
  return std::nullopt;
}

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

Examiner::Examiner(const ViewSource& source, const Requirement& requirement,
                   std::uint32_t container_limit)
    : agents_(source.group.agents), requirement_(requirement), container_limit_(container_limit) {
  // Totals compare counted slots and bytes by their written numbers, as the reference does.
  for (const SlotRequest& r : requirement_.slots) {
    const SlotType type = source.mirror.slot_types().type_of(source.mirror.slots()[r.slot]);
    const std::size_t at = static_cast<std::size_t>(&r - requirement_.slots.data());
    if (r.units == 0) continue;
    wanted_.push_back({r.slot, r.units, type == SlotType::Size ? 1000 : 1,
                       std::uint64_t{1} << std::min(at, kMaskBits - 1)});
  }
}

Verdict Examiner::look_at(AgentIndex a) const {
  Verdict verdict;
  if (agents_.architecture(a) != requirement_.architecture) {
    return {Verdict::Kind::Incompatible, {Rejection::Architecture, 0}};
  }
  if (!agents_.labels_match(a, requirement_.labels)) {
    return {Verdict::Kind::Incompatible, {Rejection::OtherLabels, 0}};
  }
  const std::int64_t* row = agents_.free_row(a);
  std::uint64_t lacking = 0;
  for (const Wanted& w : wanted_) {
    const bool is_known = w.slot < agents_.column_count();
    const std::int64_t free = is_known ? std::max<std::int64_t>(0, row[w.slot]) : 0;
    if (free >= w.units) continue;
    verdict.total += Int128{w.units - free} * w.weight;
    lacking |= w.bit;
  }
  const std::uint64_t containers = std::uint64_t{agents_.containers(a)} + requirement_.containers;
  if (containers > container_limit_) {
    verdict.containers = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(containers - container_limit_, 0xffff'ffff));
    lacking |= kContainersBit;
  }
  if (lacking != 0) {
    verdict.kind = Verdict::Kind::Short;
    verdict.which = {Rejection::Shortage, lacking};
  } else if (!agents_.devices_fit(a, requirement_)) {
    verdict.kind = Verdict::Kind::Short;
    verdict.which = {Rejection::Devices, 0};
  }
  return verdict;
}

Int128 Examiner::most_total() const noexcept {
  Int128 total = 0;
  for (const Wanted& w : wanted_) total += Int128{w.units} * w.weight;
  return total;
}

Survey survey_agents(const ViewSource& source, const Requirement& requirement,
                     const AgentFilter& filter, Rejection otherwise) {
  const AgentTable& agents = source.group.agents;
  const Examiner examiner(source, requirement, filter.container_limit);
  std::array<std::size_t, 64> shortages{};  // by what is lacking: the usual classes
  Survey survey;
  for (AgentIndex a = 0; a < agents.size(); ++a) {
    if (!agents.takes_sessions(a)) continue;
    ++survey.agents;
    Verdict verdict = examiner.look_at(a);
    if (verdict.kind == Verdict::Kind::Incompatible) {
      ++survey.tallies[verdict.which];
      continue;
    }
    if (const auto why = excluded(filter, a)) {
      ++survey.tallies[{*why, 0}];
      continue;
    }
    ++survey.compatible;
    survey.large_enough = survey.large_enough || examiner.is_large_enough(a);
    if (verdict.kind == Verdict::Kind::Room) {
      const bool barred = std::ranges::binary_search(filter.barred, a);
      verdict.which = {barred ? Rejection::Reserved : otherwise, 0};
    }
    const auto& [rejection, lacking] = verdict.which;
    if (rejection == Rejection::Shortage && lacking < shortages.size()) {
      ++shortages[lacking];
    } else {
      ++survey.tallies[verdict.which];
    }
    if (!survey.closest || verdict.total < survey.closest_total ||
        (verdict.total == survey.closest_total && verdict.containers < survey.closest_containers)) {
      survey.closest = a;
      survey.closest_total = verdict.total;
      survey.closest_containers = verdict.containers;
    }
  }
  for (std::size_t lacking = 0; lacking < shortages.size(); ++lacking) {
    if (shortages[lacking] > 0) survey.tallies[{Rejection::Shortage, lacking}] = shortages[lacking];
  }
  survey.amounts_free = lacks_places_only(survey);
  return survey;
}

bool lacks_places_only(const Survey& survey) {
  return survey.tallies.contains({Rejection::Shortage, kContainersBit});
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

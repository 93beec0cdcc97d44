#include "sched/explain.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "sched/survey.hpp"

namespace bai::sched {

namespace {

std::vector<SlotRequest> missing_on(const AgentTable& agents, AgentIndex agent,
                                    const Requirement& requirement) {
  std::vector<SlotRequest> missing;
  for (const SlotRequest& r : requirement.slots) {
    const std::int64_t free = std::max<std::int64_t>(0, agents.free(agent, r.slot));
    if (r.units > free) missing.push_back({r.slot, r.units - free});
  }
  return missing;
}

std::string lacks_text(const ViewSource& source, const Survey& survey,
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

}  // namespace

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

constexpr const char* kNever = "Can never start on the agents that there are: ";

std::string closest_text(const ViewSource& source, const Request& request, std::size_t which,
                         const Survey& survey, const std::vector<SlotRequest>& missing) {
  const std::string what =
      request.requirements.size() == 1
          ? std::string()
          : fmt::format(" for kernel {} of {}", which + 1, request.requirements.size());
  const std::string lacks = lacks_text(source, survey, missing);
  return survey.large_enough
             ? fmt::format("agent of resource group {} has room{}: the closest, {}",
                           source.group.name.str(), what, lacks)
             : fmt::format(
                   "agent of resource group {} is large enough, even when empty{}; as "
                   "things are the closest, {}",
                   source.group.name.str(), what, lacks);
}

}  // namespace

void say_infeasible(const ViewSource& source, const Requirement& requirement,
                    const std::optional<Infeasible>& hopeless, Failure& failure) {
  failure.coarse =
      fmt::format("No agent of resource group {} has room for {}.", source.group.name.str(),
                  slots_text(source.mirror, requirement.slots));
  if (!hopeless) return;
  failure.never = hopeless->never;
  failure.hopeless = hopeless->why;
  if (failure.never) failure.coarse = fmt::format("{}{}.", kNever, hopeless->why);
}

Failure explain_failure(const ViewSource& source, const Request& request, std::size_t which,
                        const AgentFilter& filter, KeptSurveys& surveys) {
  const Requirement& requirement = request.requirements[which];
  const std::string& group = source.group.name.str();
  const Survey survey = surveys.survey(source, requirement, filter, Rejection::Selector);
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
  const auto missing = missing_on(source.group.agents, *survey.closest, requirement);
  for (const SlotRequest& r : missing) {
    failure.missing.set(source.mirror.slots()[r.slot], Amount{r.units});
  }
  failure.rejected = rejected_of(survey);
  std::optional<Infeasible> hopeless;
  if (!survey.large_enough || request.requirements.size() > 1) {
    hopeless = infeasible(source, request, filter);
  }
  say_infeasible(source, requirement, hopeless, failure);
  const std::string closest = closest_text(source, request, which, survey, missing);
  if (!failure.never) {
    failure.detailed = fmt::format("No {} ({}).", closest, tally);
  } else if (survey.large_enough) {
    failure.detailed = fmt::format("{}{} ({}).", kNever, hopeless->why, tally);
  } else {
    failure.detailed = fmt::format("{}no {} ({}).", kNever, closest, tally);
  }
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

Failure explain_backfill(const ViewSource& source, const Request& request, std::size_t which,
                         const AgentFilter& filter, bool in_full, KeptSurveys& surveys) {
  Failure failure;
  failure.code = "backfill";
  failure.promised = true;
  failure.coarse = failure.detailed = fmt::format(
      "There is room in resource group {}, but it is promised: starting now would delay a session "
      "before it in the queue.",
      source.group.name.str());
  if (in_full) {
    const Requirement& requirement = request.requirements[which];
    const Survey survey = surveys.survey(source, requirement, filter, Rejection::Reserved);
    failure.rejected = rejected_of(survey);
    failure.detailed += fmt::format(" {}.", tally_text(source.mirror, requirement, survey));
  }
  return failure;
}

Failure explain_reserved(const ViewSource& source, const Request& request, std::size_t which,
                         const AgentFilter& filter, KeptSurveys& surveys) {
  const Requirement& requirement = request.requirements[which];
  const Survey survey = surveys.survey(source, requirement, filter, Rejection::Selector);
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
  const Survey survey = survey_agents(source, requirement, filter, Rejection::Selector);
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
                         const Topology::Domain* roomiest,
                         const std::optional<Infeasible>& hopeless, AgentFilter filter,
                         bool in_full) {
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
  if (hopeless) {
    failure.never = hopeless->never;
    failure.hopeless = hopeless->why;
  }
  if (failure.never) {
    failure.coarse = failure.detailed = fmt::format(
        "{}no single {} of resource group {} has room for its {} kernels together, even when "
        "empty.",
        kNever, level, source.group.name.str(), request.requirements.size());
  }
  failure.blocks = true;
  if (!in_full) return failure;
  const Requirement& requirement = request.requirements.front();
  filter.within = &roomiest->agents;
  filter.is_domain = true;
  const Survey survey = survey_agents(source, requirement, filter, Rejection::Domain);
  failure.rejected = rejected_of(survey);
  failure.detailed += fmt::format(" The one with the most room is {} ({}).", roomiest->name,
                                  tally_text(source.mirror, requirement, survey));
  return failure;
}

Failure explain_selector_refusal(const ViewSource& source, const Request& request,
                                 std::size_t which, const AgentFilter& filter,
                                 std::size_t candidates, KeptSurveys& surveys) {
  Failure failure;
  failure.code = "capacity";
  failure.rejected =
      rejected_of(surveys.survey(source, request.requirements[which], filter, Rejection::Selector));
  failure.coarse = fmt::format("The agent selector of resource group {} left it waiting.",
                               source.group.name.str());
  failure.detailed = fmt::format(
      "The agent selector of resource group {} left it waiting, although {} agent{} "
      "room.",
      source.group.name.str(), candidates, candidates == 1 ? " has" : "s have");
  return failure;
}

PendingReason reason_of(const Failure& failure, std::string message) {
  PendingReason reason;
  reason.code = failure.never ? "never" : failure.code;
  reason.message = std::move(message);
  reason.rejected = failure.rejected;
  if (failure.code != kBehindHead) reason.violations.emplace_back(failure.code, "");
  return reason;
}

void say_unforeseen(PendingReason& reason) {
  if (reason.expected_start != Timestamp{} || !reason.expected_basis.empty()) return;
  reason.expected_basis = reason.code == "never" ? "unknown: waiting does not help, as things are"
                          : reason.code == kBehindHead
                              ? "unknown: it was not looked at; whoever asks about it is told"
                              : "unknown: what it waits for is not foreseen, only room is";
}

std::shared_ptr<const PendingReason> make_reason(PendingReason reason, std::uint64_t position,
                                                 std::uint32_t positions_max) {
  say_unforeseen(reason);
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

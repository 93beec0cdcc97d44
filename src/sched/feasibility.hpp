// Whether a request could ever have room on the agents that there are.
#pragma once

#include <optional>
#include <string>

#include "sched/search.hpp"
#include "sched/view_source.hpp"

namespace bai::sched {

// It has no room even when nothing runs.
struct Infeasible {
  bool never = true;  // false: agents that take no sessions now could take it
  std::string why;    // part of a sentence
};

// Looks at amounts, devices, container places, architecture, labels, strict designation and
// `filter.within`; not at where the members of a session group are. Nothing: it may have room some
// day, as far as amounts tell. Labels are prepared.
std::optional<Infeasible> infeasible(const ViewSource& source, const Request& request,
                                     const AgentFilter& filter);
// Of one that is larger than any agent.
Infeasible too_large(const ViewSource& source, const Requirement& requirement);

}  // namespace bai::sched

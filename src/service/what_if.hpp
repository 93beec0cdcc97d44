// What would become of a session: the question that the planner gets, and the answer to the caller.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bai_manager/actions.hpp"
#include "core/broken_limit.hpp"
#include "core/handlers.hpp"

namespace bai::service {

struct Question {
  std::vector<Change> changes;  // on top of the state that it was made from
  SessionId session;
  std::vector<std::pair<KernelId, std::string>> hosts;  // host name of each kernel, by rank
  std::optional<core::BrokenLimit> broken_limit;        // unless others are ended for it
};

// `ctx` works on a copy of the state, which the hypothetical rows go into.
Result<Question> ask(core::Context& ctx, const Caller& caller, const WhatIf& action);
Result<WhatIf::Result> answer(const Question& question, const Prospect& prospect);

}  // namespace bai::service

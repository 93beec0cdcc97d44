#include "service/what_if.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/accounting.hpp"
#include "service/service.hpp"

namespace bai::service {

namespace {

using core::Context;

std::unexpected<Error> not_waiting(const SessionId& id, std::string_view status) {
  return fail(ErrorCode::Conflict,
              fmt::format("Session {} does not wait: it is {}", to_string(id), status),
              "session-not-pending");
}

// Agents as a fixture gives them.
Status suppose_agents(Context& ctx, const Caller& caller, const Json& agents) {
  if (agents.is_null()) return {};
  if (!agents.is_array()) {
    return fail(ErrorCode::InvalidArgument,
                R"(agents: must be an array of agents as in a fixture: [{"id": "i-1", ...}])",
                "invalid-api-parameters");
  }
  if (agents.size() == 0) return {};
  if (!caller.is_system && caller.role != UserRole::Superadmin) {
    return fail(ErrorCode::PermissionDenied, "Only a superadmin may suppose other agents",
                "generic-forbidden");
  }
  const auto loaded = handle(ctx, caller, LoadFixture{Json::object({{"agents", agents}})});
  if (!loaded) return std::unexpected(loaded.error());
  return {};
}

Result<SessionId> asked_about(Context& ctx, const Caller& caller, const WhatIf& action) {
  if (action.session.has_value() == action.waiting.has_value()) {
    return fail(ErrorCode::InvalidArgument,
                "what_if: asks about either a session that is described or one that waits",
                "invalid-api-parameters");
  }
  if (action.waiting) {
    const Session* session = ctx.state().find<Session>(*action.waiting);
    if (session == nullptr || (!caller.is_system && !may_access(caller, *session))) {
      return fail(ErrorCode::NotFound, "No such session.", "session-not-found");
    }
    return *action.waiting;
  }
  if (!caller.is_system && caller.role == UserRole::Monitor) {
    return fail(ErrorCode::PermissionDenied, "The monitor role may only look", "generic-forbidden");
  }
  const auto created = handle(ctx, caller, *action.session);
  if (!created) return std::unexpected(created.error());
  return created->id;
}

}  // namespace

Result<Question> ask(Context& ctx, const Caller& caller, const WhatIf& action) {
  if (auto ok = suppose_agents(ctx, caller, action.agents); !ok) return std::unexpected(ok.error());
  const auto id = asked_about(ctx, caller, action);
  if (!id) return std::unexpected(id.error());
  const Session& session = *ctx.state().find<Session>(*id);
  if (session.status != SessionStatus::Pending) {
    return not_waiting(*id, to_string(session.status));
  }
  Question question;
  question.session = *id;
  question.broken_limit = core::broken_limit(ctx.state(), session);
  auto kernels = ctx.state().kernels_of(*id);
  std::ranges::sort(kernels, {}, [](const auto& kernel) { return kernel->local_rank; });
  for (const auto& kernel : kernels)
    question.hosts.emplace_back(kernel->id, kernel->cluster_hostname);
  question.changes = coalesce(ctx.changes.take());
  std::erase_if(question.changes, [](const Change& change) { return change.is_volatile; });
  return question;
}

Result<WhatIf::Result> answer(const Question& question, const Prospect& prospect) {
  WhatIf::Result result;
  result.version = prospect.based_on;
  if (prospect.placement && prospect.placement->victims.empty() && question.broken_limit) {
    result.reason = core::reason_of_limit(*question.broken_limit);
    return result;
  }
  if (prospect.placement) {
    result.starts_now = true;
    result.victims = prospect.placement->victims;
    for (const auto& [kernel, host] : question.hosts) {
      const auto placed = std::ranges::find(prospect.placement->kernels, kernel,
                                            [](const auto& entry) { return entry.first; });
      if (placed != prospect.placement->kernels.end()) {
        result.agents.emplace_back(host, placed->second);
      }
    }
    return result;
  }
  if (prospect.reason == nullptr) return not_waiting(question.session, "being started");
  result.reason = *prospect.reason;
  return result;
}

}  // namespace bai::service

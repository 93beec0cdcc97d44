// The one table of actions: what each is called, what it acts on, who may do it, what does it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "core/context.hpp"
#include "service/service.hpp"
#include "service/what_if.hpp"

namespace bai::action {

// Every action names one; there is no default.
enum class Permission : std::uint8_t {
  AnyUser,       // whoever is authenticated; the handler looks at whom it acts for
  SessionOwner,  // the session's owner, an admin of its domain, a superadmin
  Superadmin,
};

using ErasedResult = Result<std::shared_ptr<void>>;
using ErasedReply = std::move_only_function<void(ErasedResult)>;

struct ActionInfo {
  std::string_view name, entity, operation;
  Permission permission;
  // Exactly one of these three. Writers run on the loop; calls go to an agent, off the loop; what
  // asks the planner works on a copy of the state.
  ErasedResult (*write)(core::Context&, const Caller&, const void* action) = nullptr;
  void (*call)(service::CallContext, const void* action, ErasedReply) = nullptr;
  Result<service::Question> (*ask)(core::Context&, const Caller&, const void* action) = nullptr;
  // The session that an action is about; null where it is about none.
  SessionId (*session)(const void* action) = nullptr;
};

std::span<const ActionInfo> all_actions();
const ActionInfo* find_action(std::string_view name);

// `find` gives the session by id, or null. Answers the refusal, if any; a session that the caller
// may not see is not found.
Status check_permission(const ActionInfo& info, const Caller& caller, const void* action,
                        const std::function<const Session*(const SessionId&)>& find);

}  // namespace bai::action

#include <fmt/format.h>

#include <map>
#include <set>

#include "core/accounting.hpp"
#include "core/fair_share.hpp"
#include "core/lifecycle.hpp"
#include "service/service.hpp"
#include "service/session_request.hpp"

namespace bai::service {

namespace {

using core::Context;

// The keypair that will own the session: the caller's, or the one an administrator acts for.
Result<const Keypair*> owner_keypair(const State& state, const Caller& caller,
                                     const CreateSession& request) {
  const AccessKey& key = request.owner ? *request.owner : caller.access_key;
  const Keypair* keypair = state.find<Keypair>(key);
  if (keypair == nullptr || !keypair->is_active) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("owner_access_key: there is no active keypair \"{}\"", key.view()),
                "invalid-api-parameters");
  }
  if (caller.is_system || key == caller.access_key) return keypair;
  const User* user = state.find<User>(keypair->user);
  const bool allowed = caller.role == UserRole::Superadmin ||
                       (caller.role == UserRole::Admin && user != nullptr &&
                        user->domain == caller.domain && user->role != UserRole::Superadmin);
  if (!allowed) {
    return fail(ErrorCode::PermissionDenied, "Only an administrator may act for another keypair",
                "generic-forbidden");
  }
  return keypair;
}

// `id` and the live sessions that would never run without it, as far as the caller may end them.
std::vector<SessionId> with_dependents(const State& state, const Caller& caller,
                                       const SessionId& id) {
  std::map<std::string, std::vector<SessionId>> waiting_for;
  state.table<Session>().for_each([&](const Session& session) {
    if (is_terminal(session.status) || !may_access(caller, session)) return true;
    for (const std::string& on : session.dependencies) waiting_for[on].push_back(session.id);
    return true;
  });
  std::vector<SessionId> found{id};
  std::set<SessionId> seen{id};
  for (std::size_t next = 0; next < found.size(); ++next) {
    const auto dependents = waiting_for.find(to_string(found[next]));
    if (dependents == waiting_for.end()) continue;
    for (const SessionId& dependent : dependents->second) {
      if (seen.insert(dependent).second) found.push_back(dependent);
    }
  }
  return found;
}

std::unexpected<Error> no_such_session() {
  return fail(ErrorCode::NotFound, "No such session.", "session-not-found");
}

}  // namespace

Result<CreateSession::Result> handle(Context& ctx, const Caller& caller,
                                     const CreateSession& action) {
  const auto owner = owner_keypair(ctx.state(), caller, action);
  if (!owner) return std::unexpected(owner.error());
  if (const Session* live = ctx.state().find_live_session((*owner)->access_key, action.name)) {
    const Image* image = find_image(ctx.state(), action.image, action.architecture);
    if (action.reuse && image != nullptr && image->canonical == live->image) {
      return CreateSession::Result{live->id, false};
    }
    Error error{ErrorCode::AlreadyExists,
                fmt::format("A live session named \"{}\" exists{}", action.name,
                            action.reuse ? ", made from another image" : ""),
                "session-already-exists",
                {{"existingSessionId", to_string(live->id)}}};
    return std::unexpected(std::move(error));
  }
  auto draft = draft_session(ctx, caller, action, **owner);
  if (!draft) return std::unexpected(draft.error());
  const SessionId id = draft->session.id;
  core::ensure_fair_shares(ctx.changes, draft->session);
  core::insert_session(ctx.changes, std::move(draft->session));
  for (Kernel& kernel : draft->kernels) core::insert_kernel(ctx.changes, std::move(kernel));
  return CreateSession::Result{id, true};
}

Result<DestroySession::Result> handle(Context& ctx, const Caller& caller,
                                      const DestroySession& action) {
  if (ctx.state().find<Session>(action.id) == nullptr) return no_such_session();
  std::vector<SessionId> doomed{action.id};
  if (action.recursive) doomed = with_dependents(ctx.state(), caller, action.id);
  const std::string reason = action.forced ? "force-terminated" : action.reason;
  DestroySession::Result result;
  for (const SessionId& id : doomed) {
    const auto outcome = core::terminate(ctx, id, reason, action.forced);
    if (!outcome.empty()) result.ended.emplace_back(id, outcome);
  }
  return result;
}

Result<RenameSession::Result> handle(Context& ctx, const Caller&, const RenameSession& action) {
  const Session* session = ctx.state().find<Session>(action.id);
  if (session == nullptr) return no_such_session();
  if (!is_valid_session_name(action.name)) {
    return fail(
        ErrorCode::InvalidArgument,
        fmt::format("name: \"{}\" must have 4 to 64 characters out of letters, digits and '_', "
                    "inside also '.' and '-'",
                    action.name),
        "invalid-api-parameters");
  }
  if (session->status != SessionStatus::Running) {
    return fail(ErrorCode::InvalidArgument, "Only a running session can be renamed",
                "invalid-api-parameters");
  }
  const Session* taken = ctx.state().find_live_session(session->access_key, action.name);
  if (taken != nullptr && taken->id != action.id) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("A live session named \"{}\" exists", action.name),
                "invalid-api-parameters");
  }
  core::update_session(ctx.changes, action.id, [&](Session& s) { s.name = action.name; });
  return RenameSession::Result{};
}

}  // namespace bai::service

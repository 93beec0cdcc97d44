#include <fmt/format.h>

#include "bai_manager/manager.hpp"

namespace bai {

Result<Caller> identify(const Snapshot& snapshot, const AccessKey& key) {
  const auto refuse = [](std::string message) {
    return fail(ErrorCode::Unauthenticated, std::move(message), "auth-failed");
  };
  const Keypair* keypair = snapshot.find<Keypair>(key);
  if (keypair == nullptr || !keypair->is_active)
    return refuse("Access key not found or not active");
  const User* user = snapshot.find<User>(keypair->user);
  if (user == nullptr || user->status != UserStatus::Active)
    return refuse("The user is not active");
  Caller caller;
  caller.user = user->id;
  caller.access_key = keypair->access_key;
  caller.domain = user->domain;
  caller.role = user->role;
  return caller;
}

namespace {

bool may_access(const Caller& caller, const UserId& owner, const DomainName& domain) {
  if (caller.is_system || caller.role == UserRole::Superadmin || owner == caller.user) return true;
  return caller.role == UserRole::Admin && domain == caller.domain;
}

}  // namespace

bool may_access(const Caller& caller, const Session& session) {
  return may_access(caller, session.user, session.domain);
}

bool may_access(const Caller& caller, const SessionGroup& group) {
  return may_access(caller, group.owner, group.domain);
}

Result<const Session*> resolve_session(const Snapshot& snapshot, const Caller& caller,
                                       std::string_view name_or_id) {
  if (const auto id = parse_uuid<SessionId>(name_or_id)) {
    const Session* session = snapshot.find<Session>(*id);
    if (session != nullptr && may_access(caller, *session)) return session;
  }
  if (const Session* session = snapshot.find_live_session(caller.access_key, name_or_id))
    return session;
  return fail(ErrorCode::NotFound, "No such session.", "session-not-found");
}

}  // namespace bai

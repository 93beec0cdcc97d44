// Groups of sessions that are to be apart or together.
#include <fmt/format.h>

#include <algorithm>

#include "bai_manager/manager.hpp"
#include "service/service.hpp"
#include "service/session_request.hpp"

namespace bai::service {

namespace {

using core::Context;

constexpr std::size_t kIdMax = 64;
constexpr std::size_t kGroupsOfOwnerMax = 1'000;

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorCode::InvalidArgument, std::move(message), "invalid-api-parameters");
}

bool is_valid_id(std::string_view id) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return id.size() <= kIdMax && std::ranges::all_of(id, fits);
}

// Who owns the group that the caller makes. Whom users may not act for they learn nothing about.
Result<const User*> find_owner(const State& state, const Caller& caller,
                               const std::optional<UserId>& named) {
  const UserId& id = named ? *named : caller.user;
  const bool is_admin =
      caller.is_system || caller.role == UserRole::Superadmin || caller.role == UserRole::Admin;
  if (id != caller.user && !is_admin) {
    return fail(ErrorCode::PermissionDenied, "owner: only administrators may act for others",
                "generic-forbidden");
  }
  const User* user = state.find<User>(id);
  if (user == nullptr || user->status != UserStatus::Active) {
    return fail(ErrorCode::NotFound,
                fmt::format("owner: there is no active user {}", to_string(id)), "user-not-found");
  }
  return user;
}

Status check_count(const State& state, const User& owner) {
  std::size_t count = 0;
  state.table<SessionGroup>().for_each([&](const SessionGroup& group) {
    count += group.owner == owner.id ? 1 : 0;
    return true;
  });
  if (count < kGroupsOfOwnerMax) return {};
  return fail(ErrorCode::QuotaExceeded,
              fmt::format("{} has {} session groups already", owner.email, count),
              "quota-exceeded");
}

// What the caller may alter, as somebody else's is as unknown as what is not there.
Status check_access(const State& state, const Caller& caller, const std::string& id) {
  const SessionGroup* group = state.find<SessionGroup>(id);
  if (group != nullptr && may_access(caller, *group)) return {};
  return fail(ErrorCode::NotFound, fmt::format("There is no session group \"{}\"", id),
              "session-group-not-found");
}

}  // namespace

Result<CreateSessionGroup::Result> handle(Context& ctx, const Caller& caller,
                                          const CreateSessionGroup& action) {
  const State& state = ctx.state();
  const auto owner = find_owner(state, caller, action.owner);
  if (!owner) return std::unexpected(owner.error());
  const auto project = find_project(state, **owner, action.domain, action.project);
  if (!project) return std::unexpected(project.error());
  if (!is_valid_id(action.id)) {
    return invalid(
        fmt::format("id: \"{}\" must have 1 to {} characters out of letters, digits, '-', '_' and "
                    "'.'",
                    action.id, kIdMax));
  }
  SessionGroup row;
  row.id = action.id.empty() ? to_string(mint<SessionId>(ctx.now, ctx.entropy)) : action.id;
  row.domain = (*project)->domain;
  row.project = (*project)->id;
  row.owner = (*owner)->id;
  row.direction = action.direction;
  row.enforcement = action.enforcement;
  row.created_at = ctx.now;
  if (!may_access(caller, row)) {
    return fail(ErrorCode::PermissionDenied,
                fmt::format("Domain \"{}\" is not yours to administrate", row.domain.view()),
                "generic-forbidden");
  }
  if (state.find<SessionGroup>(row.id) != nullptr) {
    return fail(ErrorCode::AlreadyExists,
                fmt::format("There is already a session group \"{}\"", row.id),
                "session-group-already-exists");
  }
  if (auto ok = check_count(state, **owner); !ok) return std::unexpected(ok.error());
  CreateSessionGroup::Result result{row.id};
  ctx.changes.insert(std::move(row));
  return result;
}

Result<ModifySessionGroup::Result> handle(Context& ctx, const Caller& caller,
                                          const ModifySessionGroup& action) {
  if (auto ok = check_access(ctx.state(), caller, action.id); !ok) {
    return std::unexpected(ok.error());
  }
  if (!action.direction && !action.enforcement) {
    return invalid("Nothing to modify: neither a direction nor an enforcement is given");
  }
  ctx.changes.update<SessionGroup>(action.id, [&](SessionGroup& group) {
    group.direction = action.direction.value_or(group.direction);
    group.enforcement = action.enforcement.value_or(group.enforcement);
  });
  return ModifySessionGroup::Result{};
}

Result<DeleteSessionGroup::Result> handle(Context& ctx, const Caller& caller,
                                          const DeleteSessionGroup& action) {
  if (auto ok = check_access(ctx.state(), caller, action.id); !ok) {
    return std::unexpected(ok.error());
  }
  const auto members = ctx.state().live_members(action.id);
  if (!members.empty()) {
    return fail(ErrorCode::Conflict,
                fmt::format("Session group \"{}\" has live sessions, {} of them; end them first",
                            action.id, members.size()),
                "session-group-in-use");
  }
  ctx.changes.erase<SessionGroup>(action.id);
  return DeleteSessionGroup::Result{};
}

}  // namespace bai::service

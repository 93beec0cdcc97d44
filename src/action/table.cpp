#include "action/table.hpp"

#include <array>

namespace bai::action {

namespace {

template <class A>
constexpr auto session_of() -> SessionId (*)(const void*) {
  if constexpr (requires(const A& a) {
                  { a.id } -> std::convertible_to<SessionId>;
                }) {
    return [](const void* action) { return static_cast<const A*>(action)->id; };
  } else {
    return nullptr;
  }
}

template <Action A>
constexpr ActionInfo write(std::string_view entity, std::string_view operation,
                           Permission permission) {
  ActionInfo info{A::kName, entity, operation, permission};
  info.session = session_of<A>();
  info.write = [](core::Context& ctx, const Caller& caller, const void* action) -> ErasedResult {
    auto result = service::handle(ctx, caller, *static_cast<const A*>(action));
    if (!result) return std::unexpected(std::move(result.error()));
    return std::make_shared<typename A::Result>(std::move(*result));
  };
  return info;
}

template <Action A>
constexpr ActionInfo call(std::string_view entity, std::string_view operation,
                          Permission permission) {
  ActionInfo info{A::kName, entity, operation, permission};
  info.session = session_of<A>();
  info.call = [](service::CallContext ctx, const void* action, ErasedReply reply) {
    service::call(std::move(ctx), *static_cast<const A*>(action),
                  [reply = std::move(reply)](Result<typename A::Result> result) mutable {
                    if (!result) return reply(std::unexpected(std::move(result.error())));
                    reply(std::make_shared<typename A::Result>(std::move(*result)));
                  });
  };
  return info;
}

template <Action A>
constexpr ActionInfo ask(std::string_view entity, std::string_view operation,
                         Permission permission) {
  ActionInfo info{A::kName, entity, operation, permission};
  info.ask = [](core::Context& ctx, const Caller& caller, const void* action) {
    return service::ask(ctx, caller, *static_cast<const A*>(action));
  };
  return info;
}

constexpr std::array kActions = {
    write<CreateSession>("session", "create", Permission::AnyUser),
    write<DestroySession>("session", "terminate", Permission::SessionOwner),
    ask<WhatIf>("session", "what_if", Permission::AnyUser),
    write<RenameSession>("session", "rename", Permission::SessionOwner),
    call<ExecuteCode>("session", "execute", Permission::SessionOwner),
    call<InterruptSession>("session", "interrupt", Permission::SessionOwner),
    call<CompleteCode>("session", "complete", Permission::SessionOwner),
    call<SessionLogs>("session", "get_logs", Permission::SessionOwner),
    call<ListSessionFiles>("session", "list_files", Permission::SessionOwner),
    call<UploadSessionFile>("session", "upload_files", Permission::SessionOwner),
    call<DownloadSessionFile>("session", "download_files", Permission::SessionOwner),
    write<LoadFixture>("fixture", "load", Permission::Superadmin),
    write<ModifyAgent>("agent", "modify", Permission::Superadmin),
    write<CreateReservation>("reservation", "create", Permission::Superadmin),
    write<DeleteReservation>("reservation", "delete", Permission::Superadmin),
    write<CreateSessionGroup>("session_group", "create", Permission::AnyUser),
    write<ModifySessionGroup>("session_group", "modify", Permission::AnyUser),
    write<DeleteSessionGroup>("session_group", "delete", Permission::AnyUser),
};

}  // namespace

std::span<const ActionInfo> all_actions() { return kActions; }

const ActionInfo* find_action(std::string_view name) {
  for (const ActionInfo& info : kActions) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

Status check_permission(const ActionInfo& info, const Caller& caller, const void* action,
                        const std::function<const Session*(const SessionId&)>& find) {
  if (caller.is_system) return {};
  if (caller.role == UserRole::Monitor && info.write != nullptr) {
    return fail(ErrorCode::PermissionDenied, "The monitor role may only look", "generic-forbidden");
  }
  switch (info.permission) {
    case Permission::AnyUser:
      return {};
    case Permission::Superadmin:
      if (caller.role == UserRole::Superadmin) return {};
      return fail(ErrorCode::PermissionDenied, "Insufficient privileges", "generic-forbidden");
    case Permission::SessionOwner: {
      const Session* session = find(info.session(action));
      if (session != nullptr && may_access(caller, *session)) return {};
      return fail(ErrorCode::NotFound, "No such session.", "session-not-found");
    }
  }
  return fail(ErrorCode::PermissionDenied, "Insufficient privileges", "generic-forbidden");
}

}  // namespace bai::action

// The handlers behind actions. Writers run on the loop with a Context; callers of agents run off
// the loop with a snapshot. Permission to do it has been checked when they run.
#pragma once

#include <functional>
#include <memory>

#include "bai_manager/actions.hpp"
#include "bai_manager/snapshot.hpp"
#include "core/context.hpp"

namespace bai::service {

Result<CreateSession::Result> handle(core::Context& ctx, const Caller& caller,
                                     const CreateSession& action);
Result<DestroySession::Result> handle(core::Context& ctx, const Caller& caller,
                                      const DestroySession& action);
Result<RenameSession::Result> handle(core::Context& ctx, const Caller& caller,
                                     const RenameSession& action);
Result<LoadFixture::Result> handle(core::Context& ctx, const Caller& caller,
                                   const LoadFixture& action);
Result<ModifyAgent::Result> handle(core::Context& ctx, const Caller& caller,
                                   const ModifyAgent& action);
Result<CreateReservation::Result> handle(core::Context& ctx, const Caller& caller,
                                         const CreateReservation& action);
Result<DeleteReservation::Result> handle(core::Context& ctx, const Caller& caller,
                                         const DeleteReservation& action);
Result<CreateSessionGroup::Result> handle(core::Context& ctx, const Caller& caller,
                                          const CreateSessionGroup& action);
Result<ModifySessionGroup::Result> handle(core::Context& ctx, const Caller& caller,
                                          const ModifySessionGroup& action);
Result<DeleteSessionGroup::Result> handle(core::Context& ctx, const Caller& caller,
                                          const DeleteSessionGroup& action);

// What a call to an agent works with. Any thread; copies are cheap.
struct CallContext {
  SnapshotPtr snapshot;
  std::shared_ptr<AgentGateway> agents;
  std::shared_ptr<Storage> storage;
  const Options& options;
  std::function<void(Task)> blocking;    // runs a task where reading storage may block
  std::function<void(SessionId)> touch;  // somebody has used the session
  std::function<std::uint64_t()> random;
};
template <class A>
using Reply = std::move_only_function<void(Result<typename A::Result>)>;

void call(CallContext ctx, const ExecuteCode& action, Reply<ExecuteCode> reply);
void call(CallContext ctx, const InterruptSession& action, Reply<InterruptSession> reply);
void call(CallContext ctx, const CompleteCode& action, Reply<CompleteCode> reply);
void call(CallContext ctx, const SessionLogs& action, Reply<SessionLogs> reply);
void call(CallContext ctx, const ListSessionFiles& action, Reply<ListSessionFiles> reply);
void call(CallContext ctx, const UploadSessionFile& action, Reply<UploadSessionFile> reply);
void call(CallContext ctx, const DownloadSessionFile& action, Reply<DownloadSessionFile> reply);

}  // namespace bai::service

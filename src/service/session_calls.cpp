#include <fmt/format.h>

#include "repo/repo.hpp"
#include "service/service.hpp"

namespace bai::service {

namespace {

std::unexpected<Error> no_such_session() {
  return fail(ErrorCode::NotFound, "No such session.", "session-not-found");
}

struct Target {
  const Session* session = nullptr;
  const Kernel* kernel = nullptr;
  AgentEndpoint agent;
};

// The main kernel of a running session and how to reach it.
Result<Target> running_target(const CallContext& ctx, const SessionId& id) {
  Target target;
  target.session = ctx.snapshot->find<Session>(id);
  if (target.session == nullptr) return no_such_session();
  if (target.session->status != SessionStatus::Running) {
    return fail(ErrorCode::Conflict,
                fmt::format("The session is {}, not RUNNING", to_string(target.session->status)),
                "session-not-running");
  }
  const auto kernels = ctx.snapshot->kernels_of(id);
  target.kernel = kernels.front();
  const Agent* agent = ctx.snapshot->find<Agent>(target.kernel->agent);
  if (agent == nullptr || agent->status != AgentStatus::Alive) {
    return fail(ErrorCode::Unavailable, "The agent of the session cannot be reached now",
                "agent-unavailable");
  }
  target.agent = {agent->id, agent->addr, agent->public_key};
  return target;
}

// Agents answer with exception classes; what they mean for the user.
Error translate(Error error) {
  if (error.code != ErrorCode::Internal) return error;
  if (error.kind == "PermissionError") {
    error.code = ErrorCode::PermissionDenied;
  } else if (error.kind == "FileNotFoundError") {
    error.code = ErrorCode::NotFound;
  } else if (error.kind == "ValueError" || error.kind == "IsADirectoryError" ||
             error.kind == "NotADirectoryError") {
    error.code = ErrorCode::InvalidArgument;
  } else if (error.kind == "ResourceError") {  // its queue is full
    error.code = ErrorCode::Unavailable;
  } else if (error.kind == "KeyError") {
    error.code = ErrorCode::NotFound;
    error.message = "The agent does not know the session's kernel (any more)";
  }
  return error;
}

// Sends `request` and gives `convert(AgentReply)` to the reply.
template <class R, class Convert>
void ask(CallContext& ctx, const Target& target, AgentRequest request, Duration timeout,
         std::move_only_function<void(Result<R>)> reply, Convert convert) {
  ctx.touch(target.session->id);
  ctx.agents->request(target.agent, std::move(request), timeout,
                      [reply = std::move(reply), convert](Result<AgentReply> answer) mutable {
                        if (!answer)
                          return reply(std::unexpected(translate(std::move(answer.error()))));
                        reply(convert(std::move(*answer)));
                      });
}

Json value_of(AgentReply answer) { return std::move(answer.value); }

constexpr std::size_t kPathMax = 4096;

Status check_path(std::string_view path) {
  if (path.empty() || path.size() > kPathMax || path.find('\0') != std::string_view::npos) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("A path has 1 to {} bytes and no NUL", kPathMax),
                "invalid-api-parameters");
  }
  return {};
}

}  // namespace

void call(CallContext ctx, const ExecuteCode& action, Reply<ExecuteCode> reply) {
  const auto target = running_target(ctx, action.id);
  if (!target) return reply(std::unexpected(target.error()));
  constexpr auto kModes = std::to_array<std::string_view>({"query", "batch", "continue", "input"});
  if (std::find(kModes.begin(), kModes.end(), action.mode) == kModes.end()) {
    return reply(
        fail(ErrorCode::InvalidArgument,
             fmt::format("mode: \"{}\" is none of query, batch, continue, input", action.mode),
             "invalid-api-parameters"));
  }
  const bool follows = action.mode == "continue" || action.mode == "input";
  if (follows && action.run_id.empty()) {
    return reply(
        fail(ErrorCode::InvalidArgument,
             fmt::format("runId: mode {} needs the one of the run it belongs to", action.mode),
             "invalid-api-parameters"));
  }
  const std::string run_id =
      action.run_id.empty() ? fmt::format("{:016x}", ctx.random()) : action.run_id;
  Execute request{action.id,      target->kernel->id,  run_id, action.mode, action.code,
                  action.options, action.flush_timeout};
  ask<Json>(ctx, *target, std::move(request), ctx.options.call_timeout + action.flush_timeout,
            std::move(reply), value_of);
}

void call(CallContext ctx, const InterruptSession& action, Reply<InterruptSession> reply) {
  const auto target = running_target(ctx, action.id);
  if (!target) return reply(std::unexpected(target.error()));
  ask<Json>(ctx, *target, InterruptKernel{target->kernel->id}, ctx.options.call_timeout,
            std::move(reply), value_of);
}

void call(CallContext ctx, const CompleteCode& action, Reply<CompleteCode> reply) {
  const auto target = running_target(ctx, action.id);
  if (!target) return reply(std::unexpected(target.error()));
  ask<Json>(ctx, *target, GetCompletions{target->kernel->id, action.code, action.options},
            ctx.options.call_timeout, std::move(reply), [](const AgentReply& answer) {
              const Json* result = answer.value.find("result");
              return result ? *result : answer.value;
            });
}

void call(CallContext ctx, const SessionLogs& action, Reply<SessionLogs> reply) {
  const Session* session = ctx.snapshot->find<Session>(action.id);
  if (session == nullptr) return reply(no_such_session());
  const Kernel* kernel = nullptr;
  for (const Kernel* k : ctx.snapshot->kernels_of(action.id)) {
    if (action.kernel ? k->id == *action.kernel : k->cluster_role == "main") kernel = k;
  }
  if (kernel == nullptr) {
    return reply(fail(ErrorCode::NotFound, "The session has no such kernel", "kernel-not-found"));
  }
  const bool on_agent =
      kernel->status == KernelStatus::Running || kernel->status == KernelStatus::Terminating;
  if (!on_agent) {
    const KernelId id = kernel->id;
    return ctx.blocking([storage = ctx.storage, id, reply = std::move(reply)]() mutable {
      reply(repo::load_kernel_log(*storage, id));
    });
  }
  const Agent* agent = ctx.snapshot->find<Agent>(kernel->agent);
  if (agent == nullptr || agent->status != AgentStatus::Alive) {
    return reply(fail(ErrorCode::Unavailable, "The agent of the session cannot be reached now",
                      "agent-unavailable"));
  }
  ask<std::string>(
      ctx, {session, kernel, {agent->id, agent->addr, agent->public_key}}, GetLogs{kernel->id},
      ctx.options.call_timeout, std::move(reply),
      [](const AgentReply& answer) { return std::string(answer.value["logs"].as_string()); });
}

void call(CallContext ctx, const ListSessionFiles& action, Reply<ListSessionFiles> reply) {
  const auto target = running_target(ctx, action.id);
  if (!target) return reply(std::unexpected(target.error()));
  if (auto ok = check_path(action.path); !ok) return reply(std::unexpected(ok.error()));
  ask<Json>(ctx, *target, ListFiles{target->kernel->id, action.path}, ctx.options.call_timeout,
            std::move(reply), value_of);
}

void call(CallContext ctx, const UploadSessionFile& action, Reply<UploadSessionFile> reply) {
  const auto target = running_target(ctx, action.id);
  if (!target) return reply(std::unexpected(target.error()));
  if (auto ok = check_path(action.name); !ok) return reply(std::unexpected(ok.error()));
  if (action.data.size() > ctx.options.upload_max) {
    return reply(
        fail(ErrorCode::InvalidArgument,
             fmt::format("A file to upload can have {} bytes at most", ctx.options.upload_max),
             "invalid-api-parameters"));
  }
  ask<UploadSessionFile::Result>(ctx, *target,
                                 UploadFile{target->kernel->id, action.name, action.data},
                                 ctx.options.call_timeout, std::move(reply),
                                 [](const AgentReply&) { return UploadSessionFile::Result{}; });
}

void call(CallContext ctx, const DownloadSessionFile& action, Reply<DownloadSessionFile> reply) {
  const auto target = running_target(ctx, action.id);
  if (!target) return reply(std::unexpected(target.error()));
  if (auto ok = check_path(action.path); !ok) return reply(std::unexpected(ok.error()));
  AgentRequest request = DownloadFile{target->kernel->id, action.path};
  if (action.single) request = DownloadSingle{target->kernel->id, action.path};
  ask<Bytes>(ctx, *target, std::move(request), ctx.options.call_timeout, std::move(reply),
             [](AgentReply answer) { return std::move(answer.data); });
}

}  // namespace bai::service

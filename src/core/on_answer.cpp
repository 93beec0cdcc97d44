#include <fmt/format.h>

#include "core/accounting.hpp"
#include "core/handlers.hpp"
#include "core/lifecycle.hpp"

namespace bai::core {

namespace {

// The agent itself said no; everything else leaves open what has happened there.
bool is_refusal(const Result<AgentReply>& answer) {
  return !answer && answer.error().code == ErrorCode::Internal;
}

bool says_unknown_kernel(const Error& error) { return error.kind == "KeyError"; }

std::string sentence(const AgentId& agent, const Error& error) {
  return fmt::format("agent {}: {}{}{}", agent.view(), error.kind, error.kind.empty() ? "" : ": ",
                     error.message);
}

// Looks at the session again soon instead of at the next regular time.
void look_again(Context& ctx, const SessionId& id) {
  const Session* session = ctx.state().find<Session>(id);
  if (session == nullptr || is_terminal(session->status)) return;
  update_session(ctx.changes, id,
                 [&](Session& s) { s.retry_at = ctx.now + ctx.options.retry_backoff; });
}

// The kernel of an errand when the session still waits for it on that agent.
const Kernel* awaited(const Context& ctx, const AgentId& agent, const KernelId& id) {
  const Kernel* kernel = ctx.state().find<Kernel>(id);
  return kernel != nullptr && kernel->agent == agent && !is_terminal(kernel->status) ? kernel
                                                                                     : nullptr;
}

void on_create(Context& ctx, const AgentId& agent, const Errand& errand,
               const Result<AgentReply>& answer) {
  bool waiting = false;
  for (const KernelId& id : errand.kernels) {
    const Kernel* kernel = awaited(ctx, agent, id);
    if (kernel == nullptr) {
      // Given up meanwhile. The destroy that was owed then may have come before the creation.
      if (answer) owe_destroy(ctx, agent, id, errand.session, "not-found-in-manager");
    } else if (is_pre_running(kernel->status)) {
      waiting = true;
    }
  }
  const Session* session = ctx.state().find<Session>(errand.session);
  if (!waiting || session->status != SessionStatus::Creating) return;
  if (is_refusal(answer)) {
    fail_attempt(ctx, errand.session, agent, "start-sessions", sentence(agent, answer.error()));
  } else if (!answer) {
    look_again(ctx, errand.session);
  }  // success: the started events carry the rest; a lost one is noticed by the recheck
}

void on_destroy(Context& ctx, const AgentId& agent, const Errand& errand,
                const Result<AgentReply>& answer) {
  const Kernel* kernel = awaited(ctx, agent, errand.kernels.front());
  if (kernel == nullptr || kernel->status != KernelStatus::Terminating) return;
  if (answer || says_unknown_kernel(answer.error())) {
    kernel_ended(ctx, kernel->id, kernel->status_info, std::nullopt);
  } else {
    look_again(ctx, errand.session);
  }
}

void on_superseded(Context& ctx, const Errand& errand, const Result<AgentReply>& answer) {
  if (ctx.state().find<Operation>(errand.operation) == nullptr) return;
  if (answer || says_unknown_kernel(answer.error())) {
    ctx.changes.erase<Operation>(errand.operation);
    return;
  }
  ctx.changes.update<Operation>(errand.operation, [&](Operation& row) {
    row.message = answer.error().message;
    const std::int64_t factor = std::int64_t{1} << std::min<std::int64_t>(row.attempts, 5);
    row.retry_at = ctx.now + ctx.options.retry_backoff * factor;
  });
}

void on_running(Context& ctx, const AgentId& agent, const Errand& errand,
                const Result<AgentReply>& answer) {
  const Kernel* kernel = awaited(ctx, agent, errand.kernels.front());
  if (kernel == nullptr || kernel->status != KernelStatus::Running) return;
  if (!answer || !answer->value.is_bool() || answer->value.as_bool()) return;
  kernel_ended(ctx, kernel->id, "container-not-found", std::nullopt);
}

// A "no" may have been said before the start whose event has come meanwhile: it is taken for an
// answer only while the kernel is still waited for.
void on_started(Context& ctx, const AgentId& agent, const Errand& errand,
                const Result<AgentReply>& answer) {
  const Kernel* kernel = awaited(ctx, agent, errand.kernels.front());
  if (kernel == nullptr || !answer || !answer->value.is_bool()) return;
  const Session& session = *ctx.state().find<Session>(kernel->session);
  if (session.status != SessionStatus::Creating || !is_pre_running(kernel->status)) return;
  if (answer->value.as_bool()) {
    // Its started event is lost or late; the session need not wait for it.
    set_kernel_status(ctx, kernel->id, KernelStatus::Running, "");
    advance(ctx, errand.session);
    return;
  }
  send(ctx, agent, CheckCreating{kernel->id}, ctx.options.command_timeout,
       {Purpose::AskCreating, errand.session, {kernel->id}, {}, false});
}

void on_creating(Context& ctx, const AgentId& agent, const Errand& errand,
                 const Result<AgentReply>& answer) {
  const Kernel* kernel = awaited(ctx, agent, errand.kernels.front());
  if (kernel == nullptr || !answer || !answer->value.is_bool() || answer->value.as_bool()) return;
  const Session& session = *ctx.state().find<Session>(errand.session);
  if (session.status != SessionStatus::Creating || !is_pre_running(kernel->status)) return;
  // The request never arrived, its failure was not heard of, or it has brought the agent down: the
  // last must not go on for ever, and cannot be told from the others.
  fail_attempt(ctx, errand.session, agent, "start-sessions",
               fmt::format("agent {} knows nothing of the kernel", agent.view()));
}

void on_triggered(Context& ctx, const Errand& errand, const Result<AgentReply>& answer) {
  const Session* session = ctx.state().find<Session>(errand.session);
  if (session == nullptr || session->status != SessionStatus::Running ||
      session->result != SessionResult::Undefined ||
      ctx.state().kernels_of(errand.session).front()->id != errand.kernels.front()) {
    return;
  }
  // "It is under way": the answer to our own repeat, or to a copy that the network has made.
  const bool known = is_refusal(answer) && (errand.repeat || answer.error().kind == "RuntimeError");
  if (answer || known) {
    update_session(ctx.changes, errand.session, [](Session& s) { s.retry_at = {}; });
  } else if (is_refusal(answer)) {
    update_session(ctx.changes, errand.session, [&](Session& s) {
      s.result = SessionResult::Failure;
      s.status_data.set("error", Json::object({{"src", "agent"},
                                               {"name", answer.error().kind},
                                               {"repr", answer.error().message}}));
    });
    terminate(ctx, errand.session, "failed-to-start", false);
  }  // no answer: asked again by the session's timer
}

void on_prepared(Context& ctx, const AgentId& agent, const Errand& errand,
                 const Result<AgentReply>& answer) {
  const Session* session = ctx.state().find<Session>(errand.session);
  if (answer || session == nullptr || session->status != SessionStatus::Preparing) return;
  const auto kernels = ctx.state().kernels_of(errand.session);
  const bool waits = std::any_of(kernels.begin(), kernels.end(), [&](const auto& kernel) {
    return kernel->agent == agent && is_pre_prepared(kernel->status);
  });
  if (!waits) return;  // it is about an earlier attempt, or too late
  if (is_refusal(answer)) {
    fail_attempt(ctx, errand.session, agent, "check-precondition", sentence(agent, answer.error()));
  } else {
    look_again(ctx, errand.session);
  }
}

}  // namespace

void on_answer(Context& ctx, const AgentId& agent, const Errand& errand,
               const Result<AgentReply>& answer) {
  switch (errand.purpose) {
    case Purpose::PrepareImages:
      return on_prepared(ctx, agent, errand, answer);
    case Purpose::CreateKernels:
      return on_create(ctx, agent, errand, answer);
    case Purpose::DestroyKernel:
      return on_destroy(ctx, agent, errand, answer);
    case Purpose::DestroySuperseded:
      return on_superseded(ctx, errand, answer);
    case Purpose::AskRunning:
      return on_running(ctx, agent, errand, answer);
    case Purpose::AskStarted:
      return on_started(ctx, agent, errand, answer);
    case Purpose::AskCreating:
      return on_creating(ctx, agent, errand, answer);
    case Purpose::TriggerBatch:
      return on_triggered(ctx, errand, answer);
  }
}

}  // namespace bai::core

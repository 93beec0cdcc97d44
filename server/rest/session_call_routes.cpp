// What passes through to the agent of a session: execute, completion, logs, interrupt.
#include <fmt/format.h>

#include "rest/context.hpp"
#include "rest/fields.hpp"

namespace bai::server {
namespace {

// An exception inside the agent is the failure of the call, not of the manager.
Error as_execution_error(Error error) {
  if (error.code == ErrorCode::Internal) error.kind = "kernel-execution-failed";
  return error;
}

void complete(RestContext& api, const ExchangePtr& exchange, SessionId id, std::string code,
              Json options) {
  api.manager.submit(exchange->caller, CompleteCode{id, std::move(code), std::move(options)},
                     [exchange](Result<Json> result) {
                       if (!result) return exchange->fail(as_execution_error(result.error()));
                       exchange->ok(Json::object({{"result", std::move(*result)}}));
                     });
}

void execute(RestContext& api, ExchangePtr exchange) {
  const auto body = parse_body(exchange->request());
  if (!body) return exchange->fail(body.error());
  Fields fields(*body);
  const std::string mode = fields.required_text({"mode"});
  ExecuteCode action;
  action.code = fields.text_or({"code"}, "");
  action.run_id = fields.text_or({"run_id", "runId"}, "");
  action.options = fields.object_or_empty({"options"});
  if (auto ok = fields.status(); !ok) return exchange->fail(ok.error());
  const Session* session = find_session(exchange);
  if (!session) return;
  if (mode == "complete") {
    return complete(api, exchange, session->id, std::move(action.code), std::move(action.options));
  }
  action.id = session->id;
  action.mode = mode;
  api.manager.submit(exchange->caller, std::move(action), [exchange](Result<Json> result) {
    if (!result) return exchange->fail(as_execution_error(result.error()));
    exchange->ok(Json::object({{"result", std::move(*result)}}));
  });
}

void complete_code(RestContext& api, ExchangePtr exchange) {
  const auto body = parse_body(exchange->request());
  if (!body) return exchange->fail(body.error());
  Fields fields(*body);
  std::string code = fields.text_or({"code"}, "");
  Json options = fields.object_or_empty({"options"});
  if (auto ok = fields.status(); !ok) return exchange->fail(ok.error());
  const Session* session = find_session(exchange);
  if (!session) return;
  complete(api, exchange, session->id, std::move(code), std::move(options));
}

void interrupt(RestContext& api, ExchangePtr exchange) {
  const Session* session = find_session(exchange);
  if (!session) return;
  api.manager.submit(exchange->caller, InterruptSession{session->id},
                     [exchange](Result<Json> result) {
                       if (!result) return exchange->fail(as_execution_error(result.error()));
                       exchange->respond(http::Response::empty());
                     });
}

void logs(RestContext& api, ExchangePtr exchange) {
  const auto& query = exchange->request().query;
  const std::string* kernel = query.find("kernel_id");
  if (!kernel) kernel = query.find("kernelId");
  SessionLogs action;
  if (kernel && !kernel->empty()) {
    action.kernel = parse_uuid<KernelId>(*kernel);
    if (!action.kernel) {
      return exchange->fail({ErrorCode::InvalidArgument,
                             fmt::format("kernel_id: '{}' is no UUID", kernel->substr(0, 64)),
                             "body-invalid",
                             {}});
    }
  }
  const Session* session = find_session(exchange, true);
  if (!session) return;
  action.id = session->id;
  api.manager.submit(exchange->caller, std::move(action), [exchange](Result<std::string> result) {
    if (!result) return exchange->fail(result.error());
    exchange->ok(Json::object({{"result", Json::object({{"logs", std::move(*result)}})}}));
  });
}

}  // namespace

void add_session_call_routes(RouteList& routes) {
  routes.insert(routes.end(), {{"POST", "/session/{session}", Guard::User, execute},
                               {"POST", "/session/{session}/complete", Guard::User, complete_code},
                               {"POST", "/session/{session}/interrupt", Guard::User, interrupt},
                               {"GET", "/session/{session}/logs", Guard::User, logs}});
}

}  // namespace bai::server

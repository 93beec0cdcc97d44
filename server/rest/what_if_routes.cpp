// Ours: what would become of a session, and why one waits and until when.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "rest/context.hpp"
#include "rest/create_request.hpp"
#include "rest/fields.hpp"
#include "rest/session_view.hpp"

namespace bai::server {
namespace {

bool sees_agents(const RestContext& api, const Exchange& exchange) {
  return !api.options.hide_agents || exchange.caller.role == UserRole::Superadmin;
}

// Adds what the planner said: "pending" is null for a session that starts now.
void put_answer(Json& body, const WhatIf::Result& answer, const Snapshot& snapshot,
                bool with_agents) {
  body.set("starts_now", answer.starts_now);
  body.set("version", static_cast<std::int64_t>(answer.version.value));
  Json agents = Json::object(), victims = Json::array();
  if (with_agents) {
    for (const auto& [host, agent] : answer.agents) agents.set(host, agent.str());
  }
  for (const SessionId& id : answer.victims) victims.push_back(to_string(id));
  body.set("agents", std::move(agents));
  body.set("victims", std::move(victims));
  body.set("pending", answer.starts_now ? Json() : reason_view(snapshot, answer.reason));
}

// The body of a creation, and "agents" that would be there, as in a fixture.
void what_if(RestContext& api, ExchangePtr exchange) {
  const auto body = parse_body(exchange->request());
  if (!body) return exchange->fail(body.error());
  WhatIf action;
  Json creation = Json::object();
  for (const auto& [name, value] : body->members()) {
    if (name == "agents") {
      action.agents = value;
    } else {
      creation.set(name, value);
    }
  }
  auto request =
      parse_create_request(creation, exchange->snapshot->slot_types(), exchange->request().arrival);
  if (!request) return exchange->fail(request.error());
  // No client of the reference system asks this: an answer that leaves out something is a wrong
  // one.
  if (!request->ignored.empty()) {
    return exchange->fail({ErrorCode::InvalidArgument,
                           fmt::format("Unknown: {}. Right would be what creates a session, and "
                                       "\"agents\" for those that would be there, too.",
                                       fmt::join(request->ignored, ", ")),
                           "body-invalid",
                           {}});
  }
  if (request->names_agents && !sees_agents(api, *exchange)) {
    return exchange->fail({ErrorCode::PermissionDenied,
                           "Agents are hidden here: only superadmins may choose them",
                           "insufficient-privilege",
                           {}});
  }
  action.session = std::move(request->action);
  api.manager.submit(exchange->caller, std::move(action),
                     [&api, exchange](Result<WhatIf::Result> answer) {
                       if (!answer) return exchange->fail(answer.error());
                       Json out = Json::object();
                       put_answer(out, *answer, *exchange->snapshot, sees_agents(api, *exchange));
                       exchange->ok(out);
                     });
}

// Asked when it is read. Where the planner does not answer: what its last pass said.
void get_why(RestContext& api, ExchangePtr exchange) {
  const Session* session = find_session(exchange);
  if (!session) return;
  const Snapshot& snapshot = *exchange->snapshot;
  Json body = Json::object({{"id", to_string(session->id)},
                            {"name", session->name},
                            {"status", to_string(session->status)},
                            {"status_info", session->status_info},
                            {"resource_group", session->resource_group.str()},
                            {"requested_slots", slots_to_json_humanized(snapshot.slot_types(),
                                                                        session->requested_slots)},
                            {"pending", pending_reason(snapshot, *session)}});
  if (session->status != SessionStatus::Pending) return exchange->ok(body);
  WhatIf action;
  action.waiting = session->id;
  api.manager.submit(
      exchange->caller, std::move(action),
      [&api, exchange, body = std::move(body)](Result<WhatIf::Result> answer) mutable {
        if (answer) put_answer(body, *answer, *exchange->snapshot, sees_agents(api, *exchange));
        exchange->ok(body);
      });
}

}  // namespace

void add_what_if_routes(RouteList& routes) {
  routes.insert(routes.end(), {{"POST", "/session/_/what-if", Guard::User, what_if},
                               {"GET", "/session/{session}/why", Guard::User, get_why}});
}

}  // namespace bai::server

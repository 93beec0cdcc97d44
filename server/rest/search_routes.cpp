// Lists of sessions and agents: filter, order, page.
#include <fmt/format.h>

#include <algorithm>

#include "http/text.hpp"
#include "rest/context.hpp"
#include "rest/fields.hpp"
#include "rest/search.hpp"
#include "rest/session_view.hpp"

namespace bai::server {
namespace {

struct Page {
  std::int64_t offset = 0, limit = 50;
};

Page read_page(Fields& fields) {
  Page page;
  page.limit = fields.integer({"limit"}, 1, kSearchLimitMax).value_or(page.limit);
  page.offset = fields.integer({"offset"}, 0).value_or(page.offset);
  return page;
}

struct SessionSearch {
  std::vector<SessionStatus> statuses;  // empty: any
  TextFilter name, access_key, domain, group;
  bool by_id = false, descending = true;
  Page page;
};

void read_order(Fields& fields, SessionSearch& out) {
  const Json* order = fields.find({"order"});
  if (!order) return;
  if (!order->is_array()) return fields.complain("should be an array");
  if (order->size() == 0) return;
  if (order->size() > 1)
    return fields.complain("one criterion is enough: ids are unique and ordered by time");
  const Json& first = order->items().front();
  const auto field = first["field"].as_string();
  const auto direction = first["direction"].as_string("desc");
  if (field != "created_at" && field != "id") {
    return fields.complain(fmt::format("field '{}' is none of created_at, id", field));
  }
  if (!http::iequals(direction, "asc") && !http::iequals(direction, "desc")) {
    return fields.complain(fmt::format("direction '{}' is none of asc, desc", direction));
  }
  out.by_id = field == "id";
  out.descending = http::iequals(direction, "desc");
}

Result<SessionSearch> read_session_search(const Json& body) {
  SessionSearch out;
  Fields fields(body);
  const Json filter = fields.object_or_empty({"filter"});
  Fields inner(filter);
  for (const auto& text : inner.texts({"status"})) {
    if (const auto status = parse_enum<SessionStatus>(text)) {
      out.statuses.push_back(*status);
    } else {
      inner.complain_choice(text, EnumText<SessionStatus>::names);
    }
  }
  out.name = TextFilter::read(inner, {"name"});
  out.access_key = TextFilter::read(inner, {"access_key"});
  out.domain = TextFilter::read(inner, {"domain_name"});
  out.group = TextFilter::read(inner, {"scaling_group_name", "resource_group_name"});
  if (!inner.complaints().empty()) fields.complain("filter", inner.complaints());
  read_order(fields, out);
  out.page = read_page(fields);
  if (auto ok = fields.status(); !ok) return std::unexpected(ok.error());
  return out;
}

bool matches(const SessionSearch& search, const Session& session) {
  if (!search.statuses.empty() &&
      std::ranges::find(search.statuses, session.status) == search.statuses.end()) {
    return false;
  }
  return search.name.matches(session.name) &&
         search.access_key.matches(session.access_key.view()) &&
         search.domain.matches(session.domain.view()) &&
         search.group.matches(session.resource_group.view());
}

// Sorts only as much as the page needs.
template <class T, class Less>
std::vector<const T*> cut_page(std::vector<const T*> all, const Page& page, Less less) {
  const auto size = static_cast<std::int64_t>(all.size());
  const auto first = std::min(page.offset, size);
  const auto last = std::min(size, first + page.limit);
  std::partial_sort(all.begin(), all.begin() + last, all.end(), less);
  return {all.begin() + first, all.begin() + last};
}

Json pagination(std::size_t total, const Page& page) {
  return Json::object({{"total", static_cast<std::int64_t>(total)},
                       {"offset", page.offset},
                       {"limit", page.limit}});
}

void answer_sessions(RestContext& api, Exchange& exchange, const SessionSearch& search) {
  const Snapshot& snapshot = *exchange.snapshot;
  const Caller& caller = exchange.caller;
  std::vector<const Session*> found;
  snapshot.for_each<Session>([&](const Session& session) {
    if (may_access(caller, session) && matches(search, session)) found.push_back(&session);
    return true;
  });
  const auto total = found.size();
  const auto key = [&](const Session* s) {
    return std::pair(search.by_id ? Timestamp{} : s->created_at, s->id);
  };
  const auto page =
      cut_page(std::move(found), search.page, [&](const Session* a, const Session* b) {
        return search.descending ? key(b) < key(a) : key(a) < key(b);
      });
  const bool show_agents = !api.options.hide_agents || caller.role == UserRole::Superadmin;
  Json items = Json::array();
  for (const Session* session : page) {
    items.push_back(session_item(snapshot, *session, show_agents));
  }
  exchange.ok(
      Json::object({{"items", std::move(items)}, {"pagination", pagination(total, search.page)}}));
}

void search_sessions(RestContext& api, ExchangePtr exchange) {
  const auto body = parse_body(exchange->request(), true);
  if (!body) return exchange->fail(body.error());
  auto search = read_session_search(*body);
  if (!search) return exchange->fail(search.error());
  run_in_background(api, exchange, [&api, exchange, search = std::move(*search)] {
    answer_sessions(api, *exchange, search);
  });
}

// ---- agents -------------------------------------------------------------------------------------

struct AgentSearch {
  TextFilter status, group;
  bool descending = false;
  Page page;
};

TextFilter read_status_filter(Fields& filter) {
  const Json* value = filter.find({"status"});
  if (!value || !value->is_array()) return TextFilter::read(filter, {"status"});
  return TextFilter::any_of(filter.texts({"status"}));
}

Result<AgentSearch> read_agent_search(const Json& body) {
  AgentSearch out;
  Fields fields(body);
  const Json filter = fields.object_or_empty({"filter"});
  Fields inner(filter);
  out.status = read_status_filter(inner);
  out.group = TextFilter::read(inner, {"resource_group"});
  if (!inner.complaints().empty()) fields.complain("filter", inner.complaints());
  if (const Json* order = fields.find({"order"})) {
    if (!order->is_array()) {
      fields.complain("should be an array");
    } else if (order->size() > 0) {
      out.descending = http::iequals(order->items().front()["direction"].as_string("asc"), "desc");
    }
  }
  out.page = read_page(fields);
  if (auto ok = fields.status(); !ok) return std::unexpected(ok.error());
  return out;
}

void search_agents(RestContext&, ExchangePtr exchange) {
  const auto body = parse_body(exchange->request(), true);
  if (!body) return exchange->fail(body.error());
  const auto search = read_agent_search(*body);
  if (!search) return exchange->fail(search.error());
  const Snapshot& snapshot = *exchange->snapshot;
  std::vector<const Agent*> found;
  snapshot.for_each<Agent>([&](const Agent& agent) {
    if (search->status.matches(to_string(agent.status)) &&
        search->group.matches(agent.resource_group.view())) {
      found.push_back(&agent);
    }
    return true;
  });
  const auto total = found.size();
  const auto page = cut_page(std::move(found), search->page, [&](const Agent* a, const Agent* b) {
    return search->descending ? b->id < a->id : a->id < b->id;
  });
  Json items = Json::array();
  for (const Agent* agent : page) items.push_back(agent_item(snapshot, *agent));
  exchange->ok(
      Json::object({{"items", std::move(items)}, {"pagination", pagination(total, search->page)}}));
}

}  // namespace

void add_search_routes(RouteList& routes) {
  routes.insert(routes.end(),
                {{"POST", "/compute-sessions/search", Guard::Superadmin, search_sessions},
                 {"POST", "/cluster/sessions/search", Guard::User, search_sessions},
                 {"POST", "/agents/search", Guard::Superadmin, search_agents}});
}

}  // namespace bai::server

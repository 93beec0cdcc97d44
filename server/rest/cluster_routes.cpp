// Ours: what there is to run on, for everybody who may use the cluster.
#include <fmt/format.h>

#include <set>

#include "http/text.hpp"
#include "rest/context.hpp"
#include "rest/fields.hpp"
#include "rest/group_access.hpp"
#include "rest/session_view.hpp"

namespace bai::server {
namespace {

void list_agents(RestContext& api, ExchangePtr exchange) {
  const Snapshot& snapshot = *exchange->snapshot;
  const auto& query = exchange->request().query;
  const bool all = exchange->caller.role == UserRole::Superadmin;
  const auto groups = all ? std::set<ResourceGroupName>{} : groups_of(snapshot, exchange->caller);
  const auto status = query.get("status");
  const auto group = query.get("resource_group");
  Json items = Json::array();
  snapshot.for_each<Agent>([&](const Agent& agent) {
    if (!all && !groups.contains(agent.resource_group)) return true;
    if (!status.empty() && !http::iequals(status, to_string(agent.status))) return true;
    if (!group.empty() && group != agent.resource_group.view()) return true;
    Json item = agent_item(snapshot, agent);
    if (!all && api.options.hide_agents) {
      item.set("id", Json());
      item.set("addr", Json());
    }
    items.push_back(std::move(item));
    return true;
  });
  const auto total = static_cast<std::int64_t>(items.size());
  exchange->ok(Json::object({{"items", std::move(items)}, {"total", total}}));
}

void modify_agent(RestContext& api, ExchangePtr exchange) {
  const auto body = parse_body(exchange->request());
  if (!body) return exchange->fail(body.error());
  Fields fields(*body);
  ModifyAgent action;
  action.id = AgentId(exchange->params.get("agent"));
  if (fields.has({"schedulable"})) action.schedulable = fields.flag_or({"schedulable"}, true);
  if (auto ok = fields.status(); !ok) return exchange->fail(ok.error());
  api.manager.submit(exchange->caller, std::move(action),
                     [exchange](Result<ModifyAgent::Result> result) {
                       if (!result) return exchange->fail(result.error());
                       exchange->respond(http::Response::empty());
                     });
}

void list_images(RestContext&, ExchangePtr exchange) {
  const Snapshot& snapshot = *exchange->snapshot;
  Json items = Json::array();
  snapshot.for_each<Image>([&](const Image& image) {
    Json aliases = Json::array();
    for (const auto& alias : image.aliases) aliases.push_back(alias);
    items.push_back(Json::object(
        {{"id", to_string(image.id)},
         {"name", image.canonical},
         {"architecture", image.architecture},
         {"is_local", image.is_local},
         {"aliases", std::move(aliases)},
         {"min_slots", slots_to_json_humanized(snapshot.slot_types(), image.min_slots)}}));
    return true;
  });
  exchange->ok(Json::object({{"items", std::move(items)}}));
}

// The contract's list of resource groups open to a project, by its id or its name.
void list_groups(RestContext&, ExchangePtr exchange) {
  const Snapshot& snapshot = *exchange->snapshot;
  const auto& query = exchange->request().query;
  std::string_view name;
  for (const std::string_view key : {"group", "group_id", "group_name"}) {
    if (name.empty()) name = query.get(key);
  }
  if (name.empty()) name = "default";
  const auto id = parse_uuid<ProjectId>(name);
  const Project* project =
      id ? snapshot.find<Project>(*id) : snapshot.find_project(exchange->caller.domain, name);
  if (!project) {
    return exchange->fail({ErrorCode::NotFound,
                           fmt::format("There is no project '{}'", name),
                           "project-not-found",
                           {}});
  }
  Json groups = Json::array();
  for (const auto* group :
       snapshot.accessible_groups(project->domain, project->id, exchange->caller.access_key)) {
    groups.push_back(Json::object({{"name", group->name.str()}}));
  }
  exchange->ok(Json::object({{"scaling_groups", std::move(groups)}}));
}

void list_slot_types(RestContext&, ExchangePtr exchange) {
  Json types = Json::object();
  for (const auto& [name, type] : exchange->snapshot->slot_types()) {
    types.set(name, to_string(type));
  }
  exchange->ok(types);
}

}  // namespace

void add_cluster_routes(RouteList& routes) {
  routes.insert(routes.end(),
                {{"GET", "/cluster/agents", Guard::User, list_agents},
                 {"PATCH", "/cluster/agents/{agent}", Guard::Superadmin, modify_agent},
                 {"GET", "/cluster/images", Guard::User, list_images},
                 {"GET", "/scaling-groups", Guard::User, list_groups},
                 {"GET", "/config/resource-slots", Guard::User, list_slot_types}});
}

}  // namespace bai::server

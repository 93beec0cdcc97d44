#include "rest/session_view.hpp"

namespace bai::server {
namespace {

const Kernel* main_kernel(const std::vector<const Kernel*>& kernels) {
  return kernels.empty() ? nullptr : kernels.front();
}

SlotMap occupied(const std::vector<const Kernel*>& kernels) {
  SlotMap sum;
  for (const Kernel* kernel : kernels) sum += kernel->occupied_slots;
  return sum;
}

std::string slots_text(const Snapshot& snapshot, const SlotMap& slots) {
  return slots_to_json(snapshot.slot_types(), slots).dump();
}

const Session* waiting(const Session& session) {
  return session.status == SessionStatus::Pending && session.pending_reason ? &session : nullptr;
}

// The contract's text for "no information" is Python's.
std::string status_info(const Session& session) {
  if (waiting(session)) return session.pending_reason->message;
  return session.status_info.empty() ? "None" : session.status_info;
}

Json status_data(const Snapshot& snapshot, const Session& session) {
  Json data = session.status_data.is_object() ? session.status_data : Json::object();
  if (waiting(session)) data.set("pending", pending_reason(snapshot, session));
  return data;
}

std::string_view registry_of(std::string_view image) {
  const auto slash = image.find('/');
  return slash == std::string_view::npos ? std::string_view{} : image.substr(0, slash);
}

}  // namespace

Json time_or_null(Timestamp time) { return time.ns == 0 ? Json() : Json(to_iso8601(time)); }

Json pending_reason(const Snapshot& snapshot, const Session& session) {
  return waiting(session) ? reason_view(snapshot, *session.pending_reason) : Json();
}

Json reason_view(const Snapshot& snapshot, const PendingReason& reason) {
  Json rejected = Json::object();
  for (const auto& [what, agents] : reason.rejected) rejected.set(what, agents);
  Json violations = Json::array();
  for (const auto& [code, kind] : reason.violations) {
    violations.push_back(Json::object({{"code", code}, {"kind", kind}}));
  }
  return Json::object({{"code", reason.code},
                       {"kind", reason.kind},
                       {"violations", std::move(violations)},
                       {"message", reason.message},
                       {"missing", slots_to_json(snapshot.slot_types(), reason.missing)},
                       {"position", reason.position},
                       {"rejected", std::move(rejected)},
                       {"expected_start", time_or_null(reason.expected_start)},
                       {"expected_basis", reason.expected_basis}});
}

Json service_ports(const Snapshot& snapshot, const Session& session) {
  Json out = Json::array();
  const auto kernels = snapshot.kernels_of(session.id);
  const Kernel* kernel = main_kernel(kernels);
  if (!kernel) return out;
  for (const auto& port : kernel->service_ports.items()) {
    Json item = Json::object({{"name", port["name"]},
                              {"protocol", port["protocol"]},
                              {"ports", port["container_ports"]}});
    for (const std::string_view name : {"url_template", "allowed_arguments", "allowed_envs"}) {
      if (const Json* extra = port.find(name)) item.set(std::string(name), *extra);
    }
    out.push_back(std::move(item));
  }
  return out;
}

Json session_info(const Snapshot& snapshot, const Session& session, Timestamp now) {
  const auto kernels = snapshot.kernels_of(session.id);
  const Kernel* kernel = main_kernel(kernels);
  const Timestamp end = session.terminated_at.ns != 0 ? session.terminated_at : now;
  const std::string held = slots_text(snapshot, occupied(kernels));
  return Json::object(
      {{"domainName", session.domain.str()},
       {"groupId", to_string(session.project)},
       {"userId", to_string(session.user)},
       {"lang", session.image},
       {"image", session.image},
       {"architecture", session.architecture},
       {"registry", registry_of(session.image)},
       {"tag", session.tag.empty() ? Json() : Json(session.tag)},
       {"containerId",
        kernel && !kernel->container_id.empty() ? Json(kernel->container_id) : Json()},
       {"occupiedSlots", kernel ? slots_text(snapshot, kernel->occupied_slots) : "{}"},
       {"occupyingSlots", held},
       {"requestedSlots", slots_text(snapshot, session.requested_slots)},
       {"occupiedShares", "{}"},
       {"environ", session.environ.dump()},
       {"resourceOpts", session.resource_opts.dump()},
       {"status", to_string(session.status)},
       {"statusInfo", status_info(session)},
       {"statusData", status_data(snapshot, session)},
       {"age", (end - session.created_at).ms()},
       {"creationTime", to_iso8601(session.created_at)},
       {"terminationTime", time_or_null(session.terminated_at)},
       {"numQueriesExecuted", session.num_queries},
       {"lastStat", Json::object()},
       {"idleChecks", Json::object()}});
}

Json session_item(const Snapshot& snapshot, const Session& session, bool show_agents) {
  const auto& types = snapshot.slot_types();
  const auto kernels = snapshot.kernels_of(session.id);
  Json containers = Json::array();
  for (const Kernel* kernel : kernels) {
    const bool placed = !kernel->agent.empty() && show_agents;
    containers.push_back(
        Json::object({{"id", to_string(kernel->id)},
                      {"agent_id", placed ? Json(kernel->agent.str()) : Json()},
                      {"status", to_string(kernel->status)},
                      {"resource_usage", slots_to_json(types, kernel->occupied_slots)},
                      {"cluster_role", kernel->cluster_role},
                      {"exit_code", kernel->exit_code ? Json(*kernel->exit_code) : Json()}}));
  }
  return Json::object({{"id", to_string(session.id)},
                       {"name", session.name},
                       {"type", to_string(session.type)},
                       {"status", to_string(session.status)},
                       {"image", Json(Json::Array{Json(session.image)})},
                       {"scaling_group", session.resource_group.str()},
                       {"resource_slots", slots_to_json(types, session.requested_slots)},
                       {"occupied_slots", slots_to_json(types, occupied(kernels))},
                       {"created_at", to_iso8601(session.created_at)},
                       {"terminated_at", time_or_null(session.terminated_at)},
                       {"starts_at", time_or_null(session.starts_at)},
                       {"containers", std::move(containers)},
                       {"access_key", session.access_key.str()},
                       {"domain_name", session.domain.str()},
                       {"result", to_string(session.result)},
                       {"status_info", status_info(session)},
                       {"pending", pending_reason(snapshot, session)}});
}

Json agent_item(const Snapshot& snapshot, const Agent& agent) {
  const auto& types = snapshot.slot_types();
  return Json::object({{"id", agent.id.str()},
                       {"status", to_string(agent.status)},
                       {"region", agent.region},
                       {"resource_group", agent.resource_group.str()},
                       {"schedulable", agent.schedulable},
                       {"available_slots", slots_to_json(types, agent.available_slots)},
                       {"occupied_slots", slots_to_json(types, agent.occupied_slots)},
                       {"addr", agent.addr},
                       {"architecture", agent.architecture},
                       {"version", agent.version},
                       {"kernel_count", agent.kernel_count},
                       {"first_contact", time_or_null(agent.first_contact)},
                       {"last_seen", time_or_null(agent.last_seen)},
                       {"lost_at", time_or_null(agent.lost_at)}});
}

}  // namespace bai::server

#include "rest/create_request.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "rest/fields.hpp"

namespace bai::server {
namespace {

constexpr double kMaxDurationSeconds = 100.0 * 365 * 24 * 3600;

void read_durations(Fields& fields, CreateSession& action, Timestamp now) {
  if (const Json* value = fields.find({"batch_timeout", "batchTimeout"})) {
    Result<Duration> parsed = value->is_number()
                                  ? parse_duration(fmt::format("{}", value->as_double()))
                              : value->is_string() ? parse_duration(value->as_string())
                                                   : fail(ErrorCode::InvalidArgument,
                                                          "should be a number of seconds or text "
                                                          "such as \"30s\" or \"1h\"");
    if (parsed) {
      action.batch_timeout = *parsed;
    } else {
      fields.complain(parsed.error().message);
    }
  }
  if (const auto text = fields.text({"starts_at", "startsAt"})) {
    if (const auto time = parse_time(*text)) {
      action.starts_at = time->at;
    } else if (const auto delay = parse_duration(*text)) {
      action.starts_at = now + *delay;
    } else {
      fields.complain("should be an ISO-8601 time or a duration such as \"30m\"");
    }
  }
}

void read_dependencies(Fields& fields, CreateSession& action) {
  for (const auto& text : fields.texts({"dependencies"})) {
    if (const auto id = parse_uuid<SessionId>(text)) {
      action.dependencies.push_back(*id);
    } else {
      fields.complain(fmt::format("'{}' is no session id", text.substr(0, 64)));
    }
  }
}

void read_slots(Fields& config, const SlotTypes& slots, CreateSession& action) {
  const Json resources = config.object_or_empty({"resources"});
  auto parsed = parse_slots(slots, resources);
  if (parsed) {
    action.slots = std::move(*parsed);
  } else {
    config.complain("resources", "Invalid resource allocation: " + parsed.error().message);
  }
}

// "kernels": [{"resources": {...}}, ...], one for each kernel, where they differ.
void read_kernels(Fields& config, const SlotTypes& slots, CreateSession& action) {
  const Json* kernels = config.find({"kernels"});
  if (kernels == nullptr) return;
  if (!kernels->is_array()) {
    return config.complain("should be an array of objects with \"resources\"");
  }
  for (std::size_t rank = 0; rank < kernels->size(); ++rank) {
    const std::string name = fmt::format("kernels[{}].resources", rank);
    const Json& resources = kernels->items()[rank]["resources"];
    auto parsed = parse_slots(slots, resources);
    if (!resources.is_object()) {
      config.complain(name, "should be an object");
    } else if (!parsed) {
      config.complain(name, "Invalid resource allocation: " + parsed.error().message);
    } else {
      action.kernel_slots.push_back(std::move(*parsed));
    }
  }
}

void read_environ(Fields& config, CreateSession& action) {
  action.environ = config.object_or_empty({"environ"});
  for (const auto& [name, value] : action.environ.members()) {
    if (!value.is_string()) config.complain("environ." + name, "should be a string");
  }
}

// Things that ask for a part of the system that this server does not have are refused, not ignored.
void refuse_unsupported(Fields& config) {
  for (const std::string_view name :
       {"mounts", "mount_ids", "mountIds", "mount_map", "mountMap", "mount_id_map", "mountIdMap",
        "mount_options", "mountOptions"}) {
    const Json* value = config.find({name});
    if (value && !((value->is_array() || value->is_object()) && value->size() == 0)) {
      config.complain("this server has no virtual folders; leave it out or empty");
    }
  }
  if (config.has({"attach_network", "attachNetwork"})) {
    config.complain("this server has no networks to attach");
  }
}

Status read_config(const Json& body, const SlotTypes& slots, CreateRequest& out) {
  const Json* object = body.find("config");
  if (!object || object->is_null()) return {};
  if (!object->is_object()) {
    return fail(ErrorCode::InvalidArgument, "config: should be an object", "body-invalid");
  }
  Fields config(*object);
  CreateSession& action = out.action;
  refuse_unsupported(config);
  read_environ(config, action);
  read_slots(config, slots, action);
  read_kernels(config, slots, action);
  action.session_group = config.text_or({"session_group", "sessionGroup"}, "");
  action.resource_opts = config.object_or_empty({"resource_opts", "resourceOpts"});
  if (auto group = config.text({"scaling_group", "scalingGroup"}); group && !group->empty()) {
    action.resource_group = ResourceGroupName(std::move(*group));
  }
  action.preopen_ports = config.integers({"preopen_ports", "preopenPorts"});
  action.agents = config.texts({"agent_list", "agentList"});
  out.names_agents = !action.agents.empty();
  for (const std::string& name : config.unread()) out.ignored.push_back("config." + name);
  if (config.complaints().empty()) return {};
  return std::unexpected(Error{ErrorCode::InvalidArgument,
                               "Input validation error: config." + config.complaints(),
                               "invalid-api-parameters",
                               {{"config", config.complaints()}}});
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  double unit = 1;
  bool known = error == std::errc{} && end - rest <= 1;
  if (known && rest != end) {
    switch (*rest) {
      case 's':
        break;
      case 'm':
        unit = 60;
        break;
      case 'h':
        unit = 3600;
        break;
      case 'd':
        unit = 24 * 3600;
        break;
      case 'w':
        unit = 7 * 24 * 3600;
        break;
      default:
        known = false;
    }
  }
  value *= unit;
  if (!known || !(value >= 0) || value > kMaxDurationSeconds) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("'{}' is no duration: seconds, or a number with s, m, h, d or w",
                            text.substr(0, 64)));
  }
  return nanoseconds(std::llround(value * 1e9));
}

Result<CreateRequest> parse_create_request(const Json& body, const SlotTypes& slots,
                                           Timestamp now) {
  CreateRequest out;
  CreateSession& action = out.action;
  Fields fields(body);
  action.name = fields.required_text({"session_name", "name", "clientSessionToken"});
  action.image = fields.required_text({"image", "lang"});
  action.architecture = fields.text_or({"architecture", "arch"}, action.architecture);
  action.type = fields.choice_or({"session_type", "type", "sessionType"}, action.type);
  action.project = fields.text_or({"group", "groupName", "group_name"}, action.project);
  action.domain =
      DomainName(fields.text_or({"domain", "domainName", "domain_name"}, action.domain.view()));
  action.cluster_size = fields.integer({"cluster_size", "clusterSize"}, 1).value_or(1);
  action.cluster_mode = fields.choice_or({"cluster_mode", "clusterMode"}, action.cluster_mode);
  action.tag = fields.text_or({"tag"}, "");
  out.enqueue_only = fields.flag_or({"enqueue_only", "enqueueOnly"}, false);
  out.max_wait = seconds(
      fields.integer({"max_wait_seconds", "maxWaitSeconds"}, 0, 10L * 365 * 24 * 3600).value_or(0));
  action.reuse = fields.flag_or({"reuse", "reuseIfExists"}, true);
  action.startup_command = fields.text_or({"startup_command", "startupCommand"}, "");
  action.bootstrap_script = fields.text_or({"bootstrap_script", "bootstrapScript"}, "");
  action.callback_url = fields.text_or({"callback_url", "callbackUrl", "callbackURL"}, "");
  action.priority = fields.integer({"priority"}, 0, 100).value_or(action.priority);
  action.job_priority = fields.integer({"job_priority"}).value_or(action.job_priority);
  action.is_preemptible = fields.flag_or({"is_preemptible"}, true);
  if (auto owner = fields.text({"owner_access_key"}); owner && !owner->empty()) {
    action.owner = AccessKey(std::move(*owner));
  }
  read_durations(fields, action, now);
  read_dependencies(fields, action);
  if (action.name == "from-template") fields.complain("session_name", "is a reserved name");
  if (auto ok = fields.status(); !ok) return std::unexpected(ok.error());
  const bool is_sized = fields.has({"cluster_size", "clusterSize"});
  fields.has({"config"});
  out.ignored = fields.unread();
  if (auto ok = read_config(body, slots, out); !ok) return std::unexpected(ok.error());
  if (!is_sized && !action.kernel_slots.empty()) {
    action.cluster_size = static_cast<std::int64_t>(action.kernel_slots.size());
  }
  return out;
}

}  // namespace bai::server

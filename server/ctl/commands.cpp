#include "ctl/commands.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <random>

#include "bai_manager/status.hpp"
#include "ctl/output.hpp"

namespace bai::ctl {

namespace {

constexpr std::int64_t kClusterSizeMax = 10'000;  // that it spells out; the server has a limit too

int print_json(const Json& json) {
  fmt::print("{}\n", json.dump_pretty());
  return kOk;
}

// "name=value" pairs as an object.
Result<Json> pairs(const std::vector<std::string>& texts, std::string_view what) {
  Json out = Json::object();
  for (const std::string& text : texts) {
    const auto equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      return fail(ErrorCode::InvalidArgument,
                  fmt::format("{} \"{}\": should be name=value, e.g. {}", what, text,
                              what == "resource" ? "cpu=2 or mem=4g" : "MODE=fast"));
    }
    out.set(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

// Amounts of all kernels alike, or of each of them.
Status set_resources(const NewSession& session, Json& config) {
  auto resources = pairs(session.resources, "resource");
  if (!resources) return std::unexpected(resources.error());
  if (session.sub_resources.empty()) {
    config.set("resources", std::move(*resources));
    return {};
  }
  const auto sub = pairs(session.sub_resources, "resource");
  if (!sub) return std::unexpected(sub.error());
  if (session.cluster_size < 2 || session.cluster_size > kClusterSizeMax) {
    return fail(
        ErrorCode::InvalidArgument,
        fmt::format("--sub-resources: needs a --cluster-size from 2 to {}", kClusterSizeMax));
  }
  Json kernels = Json::array();
  kernels.push_back(Json::object({{"resources", std::move(*resources)}}));
  for (std::int64_t rank = 1; rank < session.cluster_size; ++rank) {
    kernels.push_back(Json::object({{"resources", *sub}}));
  }
  config.set("kernels", std::move(kernels));
  return {};
}

std::string text_or_dash(const Json& value) {
  const std::string_view text = value.as_string();
  return text.empty() || text == "None" ? "-" : std::string(text);
}

std::string shorten(std::string text, std::size_t width) {
  if (text.size() > width) text = text.substr(0, width - 3) + "...";
  return text;
}

}  // namespace

std::string made_up_name() {
  std::random_device random;
  return fmt::format("baictl-{:08x}", random());
}

Result<Json> creation_body(const NewSession& session) {
  auto environ = pairs(session.environ, "environment");
  if (!environ) return environ;
  Json config = Json::object({{"environ", std::move(*environ)}, {"resource_opts", Json::object()}});
  if (auto ok = set_resources(session, config); !ok) return std::unexpected(ok.error());
  if (!session.session_group.empty()) config.set("session_group", session.session_group);
  if (!session.resource_group.empty()) config.set("scalingGroup", session.resource_group);
  if (!session.reservation.empty()) {
    config.set("resource_opts", Json::object({{"reservation", session.reservation}}));
  }
  Json body = Json::object({{"name", session.name},
                            {"image", session.image},
                            {"architecture", session.architecture},
                            {"type", session.type},
                            {"group", session.project},
                            {"domain", session.domain},
                            {"priority", session.priority},
                            {"job_priority", session.job_priority},
                            {"clusterSize", session.cluster_size},
                            {"clusterMode", session.multi_node ? "multi-node" : "single-node"},
                            {"config", std::move(config)}});
  if (!session.startup_command.empty()) body.set("startupCommand", session.startup_command);
  if (!session.batch_timeout.empty()) body.set("batch_timeout", session.batch_timeout);
  return body;
}

int login(Profile profile) {
  auto client = Client::open(profile);
  if (!client) return report(client.error()), kUsage;
  const auto answer =
      client->call("POST", "/auth", Json::object({{"echo", "baictl"}}), seconds(10));
  if (!answer) return report(answer.error());
  if (auto saved = save_profile(profile); !saved) return report(saved.error());
  fmt::print("Logged in at {} as {}. Kept in {}.\n", profile.endpoint, profile.access_key,
             profile_path());
  return kOk;
}

int session_create(Client& client, NewSession session, bool enqueue_only, std::int64_t wait_s,
                   bool json) {
  if (session.name.empty()) session.name = made_up_name();
  auto body = creation_body(session);
  if (!body) return report(body.error()), kUsage;
  body->set("enqueueOnly", enqueue_only);
  body->set("maxWaitSeconds", wait_s);
  const auto answer =
      client.call("POST", "/session", *body, seconds(std::max<std::int64_t>(wait_s + 30, 3600)));
  if (!answer) return report(answer.error());
  if (json) return print_json(*answer);
  fmt::print("{} {} ({}{})\n", (*answer)["sessionId"].as_string(), session.name,
             (*answer)["status"].as_string(),
             (*answer)["created"].as_bool(true) ? "" : ", existed before");
  return kOk;
}

int session_list(Client& client, bool all, bool json) {
  constexpr std::int64_t kPage = 100, kMost = 10'000;
  Json filter = Json::object();
  if (!all) {
    Json statuses = Json::array();
    for (std::size_t i = 0; i < EnumText<SessionStatus>::names.size(); ++i) {
      if (!is_terminal(static_cast<SessionStatus>(i)))
        statuses.push_back(EnumText<SessionStatus>::names[i]);
    }
    filter.set("status", std::move(statuses));
  }
  Json items = Json::array();
  std::int64_t total = 0;
  do {
    const auto offset = static_cast<std::int64_t>(items.size());
    const auto answer =
        client.call("POST", "/cluster/sessions/search",
                    Json::object({{"filter", filter}, {"limit", kPage}, {"offset", offset}}));
    if (!answer) return report(answer.error());
    total = (*answer)["pagination"]["total"].as_int();
    const auto& page = (*answer)["items"].items();
    if (page.empty()) break;
    for (const Json& item : page) items.push_back(item);
  } while (static_cast<std::int64_t>(items.size()) < std::min(total, kMost));
  if (json) return print_json(items);
  Table table({"NAME", "STATUS", "TYPE", "IMAGE", "RESOURCES", "AGE", "INFO"});
  for (const Json& item : items.items()) {
    table.add(
        {std::string(item["name"].as_string()), std::string(item["status"].as_string()),
         std::string(item["type"].as_string()),
         std::string(item["image"].items().empty() ? "" : item["image"].items()[0].as_string()),
         slots_text(item["resource_slots"]), age_text(item["created_at"]),
         shorten(text_or_dash(item["status_info"]), 60)});
  }
  fmt::print("{}", table.str());
  if (total > static_cast<std::int64_t>(items.size()))
    fmt::print("({} of {} are shown)\n", items.size(), total);
  return kOk;
}

int session_info(Client& client, const std::string& session, bool json) {
  const auto answer = client.call("GET", "/session/" + encode(session));
  if (!answer) return report(answer.error());
  if (json) return print_json(*answer);
  Table table({"FIELD", "VALUE"});
  for (const auto& [name, value] : answer->members()) {
    table.add({name, value.is_string() ? std::string(value.as_string()) : value.dump()});
  }
  fmt::print("{}", table.str());
  return kOk;
}

int session_logs(Client& client, const std::string& session, bool json) {
  const auto answer = client.call("GET", "/session/" + encode(session) + "/logs");
  if (!answer) return report(answer.error());
  if (json) return print_json((*answer)["result"]);
  fmt::print("{}", (*answer)["result"]["logs"].as_string());
  return kOk;
}

int session_exec(Client& client, const std::string& session, const std::string& code, bool json) {
  Json console = Json::array();
  const auto status = execute(client, session, code, json ? &console : nullptr);
  if (!status) return report(status.error());
  if (json) print_json(Json::object({{"exit_code", *status}, {"console", std::move(console)}}));
  return *status;
}

int session_remove(Client& client, const std::vector<std::string>& sessions, bool forced,
                   bool recursive, bool json) {
  int worst = kOk;
  Json results = Json::object();
  for (const std::string& session : sessions) {
    const auto answer = client.call("DELETE", fmt::format("/session/{}?forced={}&recursive={}",
                                                          encode(session), forced, recursive));
    if (!answer) {
      worst = std::max(worst, report(answer.error()));
      continue;
    }
    const std::string_view status = (*answer)["stats"]["status"].as_string("terminating");
    results.set(session, status);
    if (!json) fmt::print("{}: {}\n", session, status);
  }
  if (json) print_json(results);
  return worst;
}

int agent_list(Client& client, bool json) {
  const auto answer = client.call("GET", "/cluster/agents");
  if (!answer) return report(answer.error());
  const Json& items = (*answer)["items"];
  if (json) return print_json(items);
  Table table({"ID", "STATUS", "GROUP", "ARCH", "KERNELS", "IN USE", "CAPACITY"});
  for (const Json& item : items.items()) {
    table.add({text_or_dash(item["id"]),
               std::string(item["status"].as_string()) +
                   (item["schedulable"].as_bool(true) ? "" : " (closed)"),
               std::string(item["resource_group"].as_string()),
               std::string(item["architecture"].as_string()),
               std::to_string(item["kernel_count"].as_int()), slots_text(item["occupied_slots"]),
               slots_text(item["available_slots"])});
  }
  fmt::print("{}", table.str());
  return kOk;
}

}  // namespace bai::ctl

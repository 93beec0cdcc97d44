// `baictl session-group`.
#include <fmt/format.h>

#include <algorithm>

#include "ctl/commands.hpp"
#include "ctl/output.hpp"

namespace bai::ctl {

namespace {

constexpr const char* kAll = "/session-groups";

std::string path_of(const std::string& id) { return std::string(kAll) + "/" + encode(id); }

std::string text_of(const Json& item, std::string_view member) {
  return std::string(item[member].as_string());
}

void set_unless_empty(Json& body, const char* member, const std::string& text) {
  if (!text.empty()) body.set(member, text);
}

Json placement_body(const GroupPlacement& placement) {
  Json body = Json::object();
  set_unless_empty(body, "placement_direction", placement.direction);
  set_unless_empty(body, "placement_enforcement", placement.enforcement);
  return body;
}

}  // namespace

int session_group_create(Client& client, const NewSessionGroup& group, bool json) {
  Json body = placement_body(group.placement);
  set_unless_empty(body, "id", group.id);
  set_unless_empty(body, "project", group.project);
  set_unless_empty(body, "domain", group.domain);
  set_unless_empty(body, "owner", group.owner);
  const auto answer = client.call("POST", kAll, body);
  if (!answer) return report(answer.error());
  if (json) {
    fmt::print("{}\n", answer->dump_pretty());
  } else {
    fmt::print("{}\n", text_of(*answer, "id"));
  }
  return kOk;
}

int session_group_list(Client& client, bool json) {
  const auto answer = client.call("GET", kAll);
  if (!answer) return report(answer.error());
  const Json& items = (*answer)["items"];
  if (json) {
    fmt::print("{}\n", items.dump_pretty());
    return kOk;
  }
  Table table({"ID", "PROJECT", "OWNER", "PLACEMENT", "ENFORCEMENT"});
  for (const Json& item : items.items()) {
    table.add({text_of(item, "id"), text_of(item, "project"), text_of(item, "owner_email"),
               text_of(item, "placement_direction"), text_of(item, "placement_enforcement")});
  }
  fmt::print("{}", table.str());
  return kOk;
}

int session_group_show(Client& client, const std::string& id, bool json) {
  const auto answer = client.call("GET", path_of(id));
  if (!answer) return report(answer.error());
  if (json) {
    fmt::print("{}\n", answer->dump_pretty());
    return kOk;
  }
  fmt::print("{}: {} {}, project {} of domain {}, owner {}\n", text_of(*answer, "id"),
             text_of(*answer, "placement_enforcement"), text_of(*answer, "placement_direction"),
             text_of(*answer, "project"), text_of(*answer, "domain"),
             text_of(*answer, "owner_email"));
  Table table({"SESSION", "NAME", "STATUS"});
  for (const Json& session : (*answer)["sessions"].items()) {
    table.add({text_of(session, "id"), text_of(session, "name"), text_of(session, "status")});
  }
  fmt::print("{}", table.str());
  return kOk;
}

int session_group_modify(Client& client, const std::string& id, const GroupPlacement& placement) {
  const auto answer = client.call("PATCH", path_of(id), placement_body(placement));
  if (!answer) return report(answer.error());
  fmt::print("{}: modified\n", id);
  return kOk;
}

int session_group_remove(Client& client, const std::vector<std::string>& ids) {
  int worst = kOk;
  for (const std::string& id : ids) {
    const auto answer = client.call("DELETE", path_of(id));
    if (!answer) {
      worst = std::max(worst, report(answer.error()));
    } else {
      fmt::print("{}: deleted\n", id);
    }
  }
  return worst;
}

}  // namespace bai::ctl

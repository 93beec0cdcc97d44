// What would become of a session, and why one waits.
#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "ctl/commands.hpp"
#include "ctl/output.hpp"

namespace bai::ctl {

namespace {

int print_json(const Json& json) {
  fmt::print("{}\n", json.dump_pretty());
  return kOk;
}

// Rows of agents as in a fixture: an array, or an object with the member "agents".
Result<Json> agents_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(ErrorCode::InvalidArgument, fmt::format("{}: cannot be read", path));
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  auto json = Json::parse(text);
  if (!json) {
    return fail(ErrorCode::InvalidArgument, fmt::format("{}: {}", path, json.error().message));
  }
  Json agents = json->is_object() ? (*json)["agents"] : *json;
  if (!agents.is_array()) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format(R"({}: should be like [{{"id": "i-new", "available_slots": )"
                            R"({{"cpu": "8", "mem": "64g"}}, ...}}])",
                            path));
  }
  return agents;
}

void print_prospect(const Json& answer) {
  if (answer["starts_now"].as_bool(false)) {
    if (!answer["agents"].members().empty()) {
      Table table({"KERNEL", "AGENT"});
      for (const auto& [host, agent] : answer["agents"].members()) {
        table.add({host, std::string(agent.as_string())});
      }
      fmt::print("{}", table.str());
    }
    for (const Json& victim : answer["victims"].items()) {
      fmt::print("would end: {}\n", victim.as_string());
    }
    return;
  }
  const Json& pending = answer["pending"];
  if (!pending.is_object()) return;
  fmt::print("{}\n", pending["message"].as_string());
  Table table({"WHAT", "VALUE"});
  table.add({"reason", std::string(pending["code"].as_string())});
  for (const Json& rule : pending["violations"].items()) {
    const std::string_view code = rule["code"].as_string(), kind = rule["kind"].as_string();
    table.add({"rule", kind.empty() ? std::string(code) : fmt::format("{} ({})", code, kind)});
  }
  if (pending["position"].as_int() > 0) {
    table.add({"position", std::to_string(pending["position"].as_int())});
  }
  if (pending["missing"].size() > 0) table.add({"missing", slots_text(pending["missing"])});
  for (const auto& [what, agents] : pending["rejected"].members()) {
    table.add({fmt::format("agents: {}", what), std::to_string(agents.as_int())});
  }
  const std::string_view start = pending["expected_start"].as_string(),
                         basis = pending["expected_basis"].as_string();
  if (start.empty()) {  // then the basis is why
    table.add({"expected start", basis.empty() ? "unknown" : std::string(basis)});
  } else {
    table.add({"expected start", std::string(start)});
    if (!basis.empty()) table.add({"if", std::string(basis)});
  }
  fmt::print("{}", table.str());
}

}  // namespace

int what_if(Client& client, NewSession session, const std::string& agents_file, bool json) {
  if (session.name.empty()) session.name = made_up_name();
  auto body = creation_body(session);
  if (!body) return report(body.error()), kUsage;
  if (!agents_file.empty()) {
    auto agents = agents_of(agents_file);
    if (!agents) return report(agents.error()), kUsage;
    body->set("agents", std::move(*agents));
  }
  const auto answer = client.call("POST", "/session/_/what-if", *body);
  if (!answer) return report(answer.error());
  if (json) return print_json(*answer);
  fmt::print("{}\n", (*answer)["starts_now"].as_bool(false) ? "It would start now."
                                                            : "It would not start now.");
  print_prospect(*answer);
  return kOk;
}

int session_why(Client& client, const std::string& session, bool json) {
  const auto answer = client.call("GET", "/session/" + encode(session) + "/why");
  if (!answer) return report(answer.error());
  if (json) return print_json(*answer);
  const std::string_view info = (*answer)["status_info"].as_string();
  fmt::print("{} is {}{}\n", (*answer)["name"].as_string(), (*answer)["status"].as_string(),
             info.empty() ? "" : fmt::format(" ({})", info));
  if ((*answer)["starts_now"].as_bool(false)) fmt::print("It starts with the next pass.\n");
  print_prospect(*answer);
  return kOk;
}

}  // namespace bai::ctl

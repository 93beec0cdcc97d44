// `baictl reservation`.
#include <fmt/format.h>

#include <algorithm>

#include "ctl/commands.hpp"
#include "ctl/output.hpp"

namespace bai::ctl {

namespace {

std::string path_of(const std::string& resource_group) {
  return "/resource-groups/" + encode(resource_group) + "/reservations";
}

std::unexpected<Error> malformed(const std::string& text) {
  return fail(ErrorCode::InvalidArgument,
              fmt::format("agent \"{}\": should be <agent>:<slot>=<amount>[,...], e.g. "
                          "a1:cpu=4,mem=8g",
                          text));
}

std::string agents_text(const Json& agents) {
  std::string text;
  for (const auto& [agent, slots] : agents.members()) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", agent, slots_text(slots));
  }
  return text;
}

std::string list_text(const Json& texts) {
  std::string all;
  for (const Json& text : texts.items()) {
    all += (all.empty() ? "" : ", ") + std::string(text.as_string());
  }
  return all;
}

}  // namespace

Result<Json> reserved_amounts(const std::vector<std::string>& agents) {
  Json out = Json::object();
  for (const std::string& text : agents) {
    const auto colon = text.rfind(':');  // slots have none, agents may
    if (colon == std::string::npos || colon == 0) return malformed(text);
    Json slots = Json::object();
    std::string_view rest = std::string_view(text).substr(colon + 1);
    while (true) {
      const std::size_t end = std::min(rest.find(','), rest.size());
      const std::string_view one = rest.substr(0, end);
      const auto equals = one.find('=');
      if (equals == std::string_view::npos || equals == 0 || equals + 1 == one.size()) {
        return malformed(text);
      }
      slots.set(std::string(one.substr(0, equals)), std::string(one.substr(equals + 1)));
      if (end == rest.size()) break;
      rest.remove_prefix(end + 1);
    }
    out.set(text.substr(0, colon), std::move(slots));
  }
  return out;
}

int reservation_create(Client& client, const NewReservation& reservation, bool json) {
  auto agents = reserved_amounts(reservation.agents);
  if (!agents) return report(agents.error()), kUsage;
  Json owners = Json::array();
  for (const std::string& owner : reservation.owners) owners.push_back(owner);
  const auto answer = client.call("POST", path_of(reservation.resource_group),
                                  Json::object({{"name", reservation.name},
                                                {"agents", std::move(*agents)},
                                                {"owners", std::move(owners)},
                                                {"starts_at", reservation.starts_at},
                                                {"ends_at", reservation.ends_at}}));
  if (!answer) return report(answer.error());
  if (json) {
    fmt::print("{}\n", answer->dump_pretty());
  } else {
    fmt::print("{}\n", (*answer)["id"].as_string());
  }
  return kOk;
}

int reservation_list(Client& client, const std::string& resource_group, bool json) {
  const auto answer = client.call("GET", path_of(resource_group));
  if (!answer) return report(answer.error());
  const Json& items = (*answer)["items"];
  if (json) {
    fmt::print("{}\n", items.dump_pretty());
    return kOk;
  }
  Table table({"NAME", "FROM", "TO", "KEEPS", "MISSING", "FOR"});
  for (const Json& item : items.items()) {
    table.add({std::string(item["name"].as_string()), std::string(item["starts_at"].as_string()),
               std::string(item["ends_at"].as_string()), agents_text(item["agents"]),
               agents_text(item["missing"]), list_text(item["owners"])});
  }
  fmt::print("{}", table.str());
  return kOk;
}

int reservation_remove(Client& client, const std::string& resource_group,
                       const std::vector<std::string>& names) {
  int worst = kOk;
  for (const std::string& name : names) {
    const auto answer = client.call("DELETE", path_of(resource_group) + "/" + encode(name));
    if (!answer) {
      worst = std::max(worst, report(answer.error()));
    } else {
      fmt::print("{}: deleted\n", name);
    }
  }
  return worst;
}

}  // namespace bai::ctl

// baictl: sessions from the command line, for people without Python.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>

#include "ctl/commands.hpp"
#include "ctl/output.hpp"
#include "ctl/terminal.hpp"

using namespace bai::ctl;

namespace {

// Opens the client of the stored profile and runs the command with it.
int with_client(const std::function<int(Client&)>& command) {
  auto profile = load_profile();
  if (!profile) return report(profile.error());
  auto client = Client::open(std::move(*profile));
  if (!client) return report(client.error()), kUsage;
  return command(*client);
}

void add_session_options(CLI::App& app, NewSession& session) {
  app.add_option("-t,--name", session.name, "Name of the session (4-64 characters)");
  // One value each: what follows may be the program or the image.
  app.add_option("-r,--resources", session.resources, "Amounts, e.g. -r cpu=2 -r mem=4g")
      ->allow_extra_args(false);
  app.add_option("-e,--env", session.environ, "Environment, e.g. -e MODE=fast")
      ->allow_extra_args(false);
  app.add_option("--session-group", session.session_group,
                 "Id of a group whose sessions are to be apart or together");
  app.add_option("--architecture", session.architecture, "Of the image, as agents call it")
      ->capture_default_str();
  app.add_option("-g,--project", session.project, "Project")->capture_default_str();
  app.add_option("--domain", session.domain, "Domain")->capture_default_str();
  app.add_option("--resource-group", session.resource_group, "Resource group");
  app.add_option("--reservation", session.reservation, "Reservation to run in");
  app.add_option("--priority", session.priority, "0 to 100, higher goes first")
      ->capture_default_str();
  app.add_option("--job-priority", session.job_priority,
                 "It may preempt sessions whose own is lower, where that is allowed")
      ->capture_default_str();
}

// `session-group` and what its options are read into; outlives the parsing.
struct SessionGroupCommands {
  NewSessionGroup grouping;
  std::string group;
  std::vector<std::string> group_ids;
  bool json = false;

  void add_to(CLI::App& app, int& status) {
    auto* groups = app.add_subcommand("session-group", "Sessions that are to be apart or together")
                       ->require_subcommand(1);
    const auto add_placement = [this](CLI::App* command) {
      command->add_option("--placement", grouping.placement.direction,
                          "On different agents or on one: spread, pack or none");
      command->add_option("--enforcement", grouping.placement.enforcement,
                          "preferred, or strict: who cannot be placed so waits");
    };
    auto* group_command = groups->add_subcommand("create", "Make a group; prints its id");
    group_command->add_option("id", grouping.id,
                              "Its id, of the whole cluster; made up if left out");
    add_placement(group_command);
    group_command->add_option("-g,--project", grouping.project, "Project")->capture_default_str();
    group_command->add_option("--domain", grouping.domain, "Domain of the project");
    group_command->add_option("--owner", grouping.owner, "Email or id of its owner (admins)");
    group_command->add_flag("--json", json, "JSON output");
    group_command->callback([this, &status] {
      status = with_client(
          [this, &status](Client& c) { return session_group_create(c, grouping, json); });
    });
    auto* groups_command = groups->add_subcommand("list", "List groups")->alias("ls");
    groups_command->add_flag("--json", json, "JSON output");
    groups_command->callback([this, &status] {
      status = with_client([this, &status](Client& c) { return session_group_list(c, json); });
    });
    auto* show_command = groups->add_subcommand("show", "A group and its live sessions");
    show_command->add_option("id", group, "Its id")->required();
    show_command->add_flag("--json", json, "JSON output");
    show_command->callback([this, &status] {
      status =
          with_client([this, &status](Client& c) { return session_group_show(c, group, json); });
    });
    auto* modify_command =
        groups->add_subcommand("modify", "Change how sessions that still wait are placed");
    modify_command->add_option("id", group, "Its id")->required();
    add_placement(modify_command);
    modify_command->callback([this, &status] {
      status = with_client([this, &status](Client& c) {
        return session_group_modify(c, group, grouping.placement);
      });
    });
    auto* ungroup_command =
        groups->add_subcommand("delete", "Delete groups that have no live sessions")->alias("rm");
    ungroup_command->add_option("ids", group_ids, "Their ids")->required();
    ungroup_command->callback([this, &status] {
      status =
          with_client([this, &status](Client& c) { return session_group_remove(c, group_ids); });
    });
  }
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Sessions on a bai_manager (or compatible) server"};
  app.require_subcommand(1);
  int status = kOk;
  bool json = false;

  Profile profile;
  profile.endpoint = "http://127.0.0.1:8080";
  auto* login_command = app.add_subcommand("login", "Check the keys and remember them");
  login_command->add_option("--endpoint", profile.endpoint, "Where the server is")
      ->capture_default_str();
  login_command->add_option("--access-key", profile.access_key, "Access key")->required();
  login_command->add_option("--secret-key", profile.secret_key,
                            "Secret key; asked for when left out");
  login_command->add_option("--ca-cert", profile.ca_cert,
                            "PEM file of the authority behind an https endpoint; without it those "
                            "that this host trusts");
  login_command->callback([&] {
    if (profile.secret_key.empty()) {
      std::fputs("Secret key: ", stderr);
      profile.secret_key = read_line(true);
    }
    status = login(profile);
  });

  RunOptions run_options;
  auto* run_command = app.add_subcommand("run", "Run a program in a new session and remove it");
  run_command->add_option("file", run_options.file, "Program text; - reads standard input");
  run_command->add_option("-c,--code", run_options.code, "Program text itself");
  run_command->add_option("-i,--image", run_options.session.image, "Image")->capture_default_str();
  run_command->add_flag("--keep", run_options.keep, "Keep the session afterwards");
  run_command->add_flag("--json", run_options.json, "JSON output, when the program has ended");
  add_session_options(*run_command, run_options.session);
  run_command->callback([&] {
    if (run_options.file.empty() == run_options.code.empty()) {
      std::fputs("error: give a file or -c CODE\n", stderr);
      status = kUsage;
      return;
    }
    status = with_client([&](Client& client) { return run(client, run_options); });
  });

  auto* session = app.add_subcommand("session", "Sessions")->require_subcommand(1);
  NewSession create;
  bool enqueue_only = false;
  std::int64_t wait_s = 0;
  auto* create_command =
      session->add_subcommand("create", "Create a session and wait until it runs");
  const auto add_creation = [&create, &json](CLI::App* command) {
    command->add_option("image", create.image, "Image")->capture_default_str();
    command->add_option("--type", create.type, "interactive or batch")->capture_default_str();
    command->add_option("--startup-command", create.startup_command, "What a batch session runs");
    command->add_option("--timeout", create.batch_timeout, "Limit of a batch session, e.g. 30m");
    command->add_option("--cluster-size", create.cluster_size, "Kernels")->capture_default_str();
    command
        ->add_option("--sub-resources", create.sub_resources,
                     "Amounts of the kernels beside the main one, if others than -r")
        ->allow_extra_args(false);
    command->add_flag("--multi-node", create.multi_node, "Kernels may be on several agents");
    command->add_flag("--json", json, "JSON output");
    add_session_options(*command, create);
  };
  add_creation(create_command);
  create_command->add_flag("--enqueue-only", enqueue_only, "Do not wait");
  create_command->add_option("--max-wait", wait_s, "Seconds to wait; 0: until it runs");
  create_command->callback([&] {
    status = with_client(
        [&](Client& c) { return session_create(c, create, enqueue_only, wait_s, json); });
  });

  std::string supposed_agents;
  auto* what_if_command =
      app.add_subcommand("what-if", "Whether a session would start now, and if not why and when");
  add_creation(what_if_command);
  what_if_command->add_option("--agents", supposed_agents,
                              "JSON file with agents that would be there, too (superadmins)");
  what_if_command->callback([&] {
    status = with_client([&](Client& c) { return what_if(c, create, supposed_agents, json); });
  });

  bool all = false;
  auto* list_command = session->add_subcommand("ls", "List your sessions");
  list_command->add_flag("-a,--all", all, "Also those that have ended");
  list_command->add_flag("--json", json, "JSON output");
  list_command->callback(
      [&] { status = with_client([&](Client& c) { return session_list(c, all, json); }); });

  std::string name, code;
  const auto one_of = [&](CLI::App& parent, const char* verb, const char* help,
                          std::function<int(Client&)> command) {
    auto* sub = parent.add_subcommand(verb, help);
    sub->add_option("session", name, "Name or id")->required();
    sub->callback([&status, command] { status = with_client(command); });
    return sub;
  };
  const auto one = [&](const char* verb, const char* help, std::function<int(Client&)> command) {
    return one_of(*session, verb, help, std::move(command));
  };
  one("info", "Everything about a session", [&](Client& c) {
    return session_info(c, name, json);
  })->add_flag("--json", json, "JSON output");
  for (CLI::App* parent : {session, &app}) {  // "baictl why" is what one tries first
    one_of(*parent, "why", "Why a session waits", [&](Client& c) {
      return session_why(c, name, json);
    })->add_flag("--json", json, "JSON output");
  }
  one("logs", "Console output", [&](Client& c) {
    return session_logs(c, name, json);
  })->add_flag("--json", json, "JSON output");
  auto* exec_command = one("exec", "Execute code in a running session",
                           [&](Client& c) { return session_exec(c, name, code, json); });
  exec_command->add_option("-c,--code", code, "Program text")->required();
  exec_command->add_flag("--json", json, "JSON output, when it has ended");

  std::vector<std::string> names;
  bool forced = false, recursive = false;
  auto* remove_command = session->add_subcommand("rm", "End sessions");
  remove_command->add_option("sessions", names, "Names or ids")->required();
  remove_command->add_flag("-f,--forced", forced, "At once, whatever its agent says");
  remove_command->add_flag("-r,--recursive", recursive, "Also sessions that depend on it");
  remove_command->add_flag("--json", json, "JSON output");
  remove_command->callback([&] {
    status =
        with_client([&](Client& c) { return session_remove(c, names, forced, recursive, json); });
  });

  auto* agent = app.add_subcommand("agent", "Agents")->require_subcommand(1);
  auto* agents_command = agent->add_subcommand("ls", "List the agents");
  agents_command->add_flag("--json", json, "JSON output");
  agents_command->callback(
      [&] { status = with_client([&](Client& c) { return agent_list(c, json); }); });

  auto* reservation =
      app.add_subcommand("reservation", "Amounts kept on agents for a time")->require_subcommand(1);
  NewReservation reserve;
  std::vector<std::string> reservations;
  auto* reserve_command = reservation->add_subcommand("create", "Keep amounts on agents");
  reserve_command->add_option("name", reserve.name, "Name in its resource group")->required();
  reserve_command->add_option("-a,--agent", reserve.agents, "E.g. -a a1:cpu=4,mem=8g")
      ->required()
      ->allow_extra_args(false);
  reserve_command
      ->add_option("-o,--owner", reserve.owners,
                   "user/<email>, project/<name>, domain/<name> or keypair/<access key>")
      ->required()
      ->allow_extra_args(false);
  reserve_command->add_option("--from", reserve.starts_at, "E.g. 2026-08-01T12:00:00Z")->required();
  reserve_command->add_option("--to", reserve.ends_at, "When it ends")->required();
  reserve_command->callback([&] {
    status = with_client([&](Client& c) { return reservation_create(c, reserve, json); });
  });
  auto* reservations_command = reservation->add_subcommand("ls", "List reservations");
  reservations_command->callback([&] {
    status =
        with_client([&](Client& c) { return reservation_list(c, reserve.resource_group, json); });
  });
  auto* unreserve_command =
      reservation->add_subcommand("rm", "Delete reservations; what runs in them goes on");
  unreserve_command->add_option("names", reservations, "Names")->required();
  unreserve_command->callback([&] {
    status = with_client(
        [&](Client& c) { return reservation_remove(c, reserve.resource_group, reservations); });
  });
  for (CLI::App* command : {reserve_command, reservations_command, unreserve_command}) {
    command->add_option("--resource-group", reserve.resource_group, "Resource group")
        ->capture_default_str();
    if (command != unreserve_command) command->add_flag("--json", json, "JSON output");
  }

  SessionGroupCommands group_commands;
  group_commands.add_to(app, status);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  return status;
}

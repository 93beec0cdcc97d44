// The commands behind the command line. Each answers an exit status (output.hpp).
#pragma once

#include <string>
#include <vector>

#include "ctl/client.hpp"

namespace bai::ctl {

struct NewSession {
  std::string image = "local/python:3";
  std::string architecture = "x86_64";
  std::string name;                        // empty: one is made up
  std::vector<std::string> resources;      // "cpu=1", "mem=2g"
  std::vector<std::string> sub_resources;  // of every kernel but the main one; empty: the same
  std::vector<std::string> environ;        // "NAME=value"
  std::string type = "interactive";
  std::string startup_command;
  std::string resource_group, project = "default", domain = "default";
  std::string batch_timeout;
  std::string reservation;    // to run in
  std::string session_group;  // id
  std::int64_t priority = 10, job_priority = 0;
  std::int64_t cluster_size = 1;
  bool multi_node = false;
};

int login(Profile profile);

struct RunOptions {
  NewSession session;
  std::string code;  // -c
  std::string file;  // or a file; "-": standard input
  bool keep = false;
  bool json = false;
};
int run(Client& client, RunOptions options);

int session_create(Client& client, NewSession session, bool enqueue_only, std::int64_t wait_s,
                   bool json);
int session_list(Client& client, bool all, bool json);
int session_info(Client& client, const std::string& session, bool json);
int session_logs(Client& client, const std::string& session, bool json);
int session_exec(Client& client, const std::string& session, const std::string& code, bool json);
int session_remove(Client& client, const std::vector<std::string>& sessions, bool forced,
                   bool recursive, bool json);
int session_why(Client& client, const std::string& session, bool json);
// `agents_file`: of agents that would be there; empty: none.
int what_if(Client& client, NewSession session, const std::string& agents_file, bool json);
int agent_list(Client& client, bool json);

struct NewReservation {
  std::string name, resource_group = "default";
  std::vector<std::string> agents;  // "a1:cpu=4,mem=8g"
  std::vector<std::string> owners;  // "user/<email>", "project/<name>", "domain/<name>", ...
  std::string starts_at, ends_at;
};
int reservation_create(Client& client, const NewReservation& reservation, bool json);
int reservation_list(Client& client, const std::string& resource_group, bool json);
int reservation_remove(Client& client, const std::string& resource_group,
                       const std::vector<std::string>& names);
// "a1:cpu=4,mem=8g" as a member of "agents", or what is wrong with it.
Result<Json> reserved_amounts(const std::vector<std::string>& agents);

struct GroupPlacement {     // empty: as it is, or the server's default for a new one
  std::string direction;    // "spread", "pack" or "none"
  std::string enforcement;  // "preferred" or "strict"
};
struct NewSessionGroup {
  std::string id;                           // empty: the server makes one
  std::string project = "default", domain;  // domain empty: the caller's
  std::string owner;                        // email or id; empty: the caller
  GroupPlacement placement;
};
int session_group_create(Client& client, const NewSessionGroup& group, bool json);
int session_group_list(Client& client, bool json);
int session_group_show(Client& client, const std::string& id, bool json);
int session_group_modify(Client& client, const std::string& id, const GroupPlacement& placement);
int session_group_remove(Client& client, const std::vector<std::string>& ids);

// Shared by run and exec: executes `code` and asks for input when it wants some. Its output is
// passed on as it comes, or collected in `console` as [kind, text] where one is given. The
// program's exit status, or an error.
Result<int> execute(Client& client, const std::string& session, const std::string& code,
                    Json* console = nullptr);
// The body of a creation, or what is wrong with the options.
Result<Json> creation_body(const NewSession& session);
std::string made_up_name();

}  // namespace bai::ctl

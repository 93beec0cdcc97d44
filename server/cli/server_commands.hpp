// The subcommands of bai-manager-server. Each returns the exit code of the process: 0 done,
// 1 failed, 2 wrong usage or configuration. They explain failures on stderr.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.hpp"

namespace bai::server {

inline constexpr int kExitOk = 0, kExitFailed = 1, kExitUsage = 2;

struct ServeArguments {
  std::string config_file;
  std::string data_dir;  // the arguments win over the file
  std::string database;  // a path, or ":memory:"
  std::string listen, internal_listen;
  std::string event_listen;
  std::string log_level;
  std::vector<std::string> fixtures;
  bool with_local_agent = false;
  bool no_internal = false;  // no second port
};

int serve(const ServeArguments& arguments);

int show_schema();
int migrate_schema(const ServeArguments& arguments);
int load_fixtures(const ServeArguments& arguments);
int print_example_fixture();
int check_config(const std::string& path);
int show_config(const ServeArguments& arguments);
int print_version();

// File and arguments together; warnings go to stderr. Nothing when it cannot be: it has said why.
std::optional<ServerConfig> effective_config(const ServeArguments& arguments);
// Loads one file; the message of an error begins with its name.
Result<LoadFixture::Result> load_fixture_file(Manager& manager, const std::string& path);
// Where the rows go, with the directory made. Errors as the storage gives them.
Result<std::shared_ptr<Storage>> open_storage(const ServerConfig& config);

}  // namespace bai::server

// bai-manager-server: the manager behind its wire interfaces.
#include <CLI/CLI.hpp>

#include "local_agent/supervisor.hpp"
#include "server_commands.hpp"

namespace {

using bai::server::ServeArguments;

void add_config_options(CLI::App& app, ServeArguments& arguments) {
  app.add_option("-f,--config", arguments.config_file, "TOML configuration file");
  app.add_option("--data", arguments.data_dir,
                 "directory for the database and the local agent's kernels (bai-data)");
  app.add_option("--database", arguments.database,
                 "SQLite file, made when missing, or ':memory:' (DATA/manager.db)");
}

void add_serve_options(CLI::App& app, ServeArguments& arguments) {
  add_config_options(app, arguments);
  app.add_option("--listen", arguments.listen, "public API, host:port (0.0.0.0:8080)");
  app.add_option("--internal-listen", arguments.internal_listen,
                 "metrics and health, host:port (0.0.0.0:18080)");
  app.add_flag("--no-internal", arguments.no_internal, "do not open the internal port");
  app.add_option("--event-listen", arguments.event_listen,
                 "agents' events (tcp://127.0.0.1:16011)");
  app.add_option("--fixture", arguments.fixtures, "JSON file of entities to load at the start");
  app.add_flag("--with-local-agent", arguments.with_local_agent,
               "also run kernels as processes of this host");
  app.add_option("--log-level", arguments.log_level, "trace, debug, info, warning or error");
}

}  // namespace

int main(int argc, char** argv) {
  if (bai::server::is_supervisor_invocation(argc, argv)) {
    return bai::server::supervisor_main(argc, argv);
  }
  CLI::App app("Control plane for compute sessions", "bai-manager-server");
  app.require_subcommand(1);
  ServeArguments arguments;
  std::string file;

  auto* serve = app.add_subcommand("serve", "Run the manager until SIGTERM or SIGINT");
  add_serve_options(*serve, arguments);
  auto* schema = app.add_subcommand("schema", "The tables of the database");
  auto* schema_show = schema->add_subcommand("show", "Print them (the default)");
  auto* schema_migrate = schema->add_subcommand("migrate", "Bring a database to this version");
  add_config_options(*schema_migrate, arguments);
  auto* fixture = app.add_subcommand("fixture", "Rows from JSON files");
  fixture->require_subcommand(1);
  auto* fixture_load = fixture->add_subcommand("load", "Insert or update rows; all or nothing");
  add_config_options(*fixture_load, arguments);
  fixture_load->add_option("files", arguments.fixtures, "JSON files")->required();
  auto* fixture_example = fixture->add_subcommand("example", "Print a fixture to start with");
  auto* config = app.add_subcommand("config", "The configuration");
  config->require_subcommand(1);
  auto* config_check = config->add_subcommand("check", "Say what is wrong with a file");
  config_check->add_option("file", file, "TOML file")->required();
  auto* config_show = config->add_subcommand("show", "Print every key as it would be in effect");
  add_serve_options(*config_show, arguments);
  auto* version = app.add_subcommand("version", "Print the version");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? bai::server::kExitOk : bai::server::kExitUsage;
  }
  (void)schema_show;
  if (serve->parsed()) return bai::server::serve(arguments);
  if (schema_migrate->parsed()) return bai::server::migrate_schema(arguments);
  if (schema->parsed()) return bai::server::show_schema();
  if (fixture_load->parsed()) return bai::server::load_fixtures(arguments);
  if (fixture_example->parsed()) return bai::server::print_example_fixture();
  if (config_check->parsed()) return bai::server::check_config(file);
  if (config_show->parsed()) return bai::server::show_config(arguments);
  if (version->parsed()) return bai::server::print_version();
  return bai::server::kExitUsage;
}

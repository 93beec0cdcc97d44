// Everything but `serve`.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <future>

#include "bai_manager/runtime.hpp"
#include "bai_manager/schema.hpp"
#include "bai_manager/storage_sqlite.hpp"
#include "rest/api.hpp"
#include "server_commands.hpp"
#include "server_example_fixture.hpp"

namespace bai::server {
namespace {

int complain(const Error& error, int code = kExitFailed) {
  fmt::print(stderr, "bai-manager-server: {}\n", error.message);
  return code;
}

// A manager that is opened without a cluster.
class NoAgents : public AgentGateway {
 public:
  void request(const AgentEndpoint&, AgentRequest, Duration, AgentReplyHandler reply) override {
    reply(fail(ErrorCode::Unavailable, "no agents are connected here", "gateway-stopped"));
  }
  void forget(const AgentId&) override {}
};

class QuietLog : public LogSink {
 public:
  void write(LogLevel level, std::string_view, std::string_view message) noexcept override {
    if (level == LogLevel::Error) fmt::print(stderr, "{}\n", message);
  }
};

// Opens the database of the configuration, lets `work` use it and closes it again.
int with_manager(const ServeArguments& arguments, const std::function<int(Manager&)>& work) {
  const auto config = effective_config(arguments);
  if (!config) return kExitUsage;
  auto storage = open_storage(*config);
  if (!storage) return complain(storage.error());
  QuietLog log;
  Runtime runtime(&log);
  Ports ports;
  ports.storage = *storage;
  ports.agents = std::make_shared<NoAgents>();
  auto manager = Manager::open(config->options, runtime.env(), std::move(ports));
  if (!manager) return complain(manager.error());
  const int code = work(**manager);
  if (auto closed = (*manager)->close(seconds(5)); !closed && code == kExitOk) {
    return complain(closed.error());
  }
  return code;
}

std::string_view column_type(const FieldInfo& field) {
  switch (field.type) {
    case FieldType::Bool:
    case FieldType::Int:
    case FieldType::Time:
    case FieldType::Span:
      return "INTEGER";
    default:
      return "TEXT";
  }
}

void print_table(const EntityInfo& entity) {
  fmt::print("-- {}\nCREATE TABLE {} (\n", entity.name, entity.table);
  bool first = true;
  for (const auto& field : entity.fields) {
    if (field.is(kVolatile)) continue;
    fmt::print("{}  {} {}{}{}{}", first ? "" : ",\n", field.name, column_type(field),
               field.is(kKey) ? " PRIMARY KEY" : "", field.is(kOptional) ? "" : " NOT NULL",
               field.is(kUnique) ? " UNIQUE" : "");
    if (!field.enum_names.empty()) {
      fmt::print(" /* {} */", fmt::join(field.enum_names, " "));
    }
    first = false;
  }
  fmt::print("\n);\n");
  for (const auto& index : entity.indexes) {
    if (index.sparse) continue;
    fmt::print("CREATE {}INDEX {}_{} ON {} (", index.unique ? "UNIQUE " : "", entity.table,
               index.name, entity.table);
    first = true;
    for (const auto at : index.fields) {
      fmt::print("{}{}", first ? "" : ", ", entity.fields[at].name);
      first = false;
    }
    fmt::print(");\n");
  }
  fmt::print("\n");
}

Result<Json> read_json_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail(ErrorCode::NotFound, fmt::format("cannot read '{}'", path));
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  auto json = Json::parse(text);
  if (!json) return fail(ErrorCode::InvalidArgument, path + ": " + json.error().message);
  return json;
}

}  // namespace

Result<LoadFixture::Result> load_fixture_file(Manager& manager, const std::string& path) {
  auto document = read_json_file(path);
  if (!document) return std::unexpected(document.error());
  std::promise<Result<LoadFixture::Result>> promise;
  auto future = promise.get_future();
  manager.submit(Caller::system(), LoadFixture{std::move(*document)},
                 [&promise](auto result) { promise.set_value(std::move(result)); });
  auto result = future.get();
  if (!result) result.error().message = path + ": " + result.error().message;
  return result;
}

std::optional<ServerConfig> effective_config(const ServeArguments& arguments) {
  ServerConfig config;
  if (!arguments.config_file.empty()) {
    std::vector<ConfigWarning> warnings;
    auto loaded = load_config(arguments.config_file, warnings);
    for (const auto& warning : warnings) {
      fmt::print(stderr, "{}:{}: warning: {}: {}\n", arguments.config_file, warning.line,
                 warning.key, warning.message);
    }
    if (!loaded) {
      complain(loaded.error());
      return std::nullopt;
    }
    config = std::move(*loaded);
  }
  for (const auto& [text, target] :
       {std::pair{&arguments.listen, &config.service_addr},
        std::pair{&arguments.internal_listen, &config.internal_addr}}) {
    if (text->empty()) continue;
    auto parsed = parse_host_port(*text);
    if (!parsed) {
      complain(parsed.error());
      return std::nullopt;
    }
    *target = std::move(*parsed);
  }
  if (!arguments.data_dir.empty()) config.data_dir = arguments.data_dir;
  if (!arguments.database.empty()) {
    config.db_type = arguments.database == ":memory:" ? "memory" : "sqlite";
    config.db_path = arguments.database;
  }
  if (config.db_path.empty()) config.db_path = config.data_dir + "/manager.db";
  if (!arguments.event_listen.empty()) config.event_listen_addr = arguments.event_listen;
  if (!arguments.log_level.empty()) config.log_level = arguments.log_level;
  if (arguments.with_local_agent) config.local_agent = true;
  return config;
}

Result<std::shared_ptr<Storage>> open_storage(const ServerConfig& config) {
  if (config.db_type == "memory") return std::shared_ptr<Storage>(make_memory_storage());
  const auto parent = std::filesystem::path(config.db_path).parent_path();
  std::error_code error;
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (error) {
    return fail(ErrorCode::Unavailable,
                fmt::format("cannot make the directory '{}': {}; choose another one with --data",
                            parent.string(), error.message()));
  }
  SqliteOptions options;
  options.path = config.db_path;
  options.synchronous_full = config.db_synchronous_full;
  options.cache_mib = static_cast<std::uint32_t>(config.db_cache_mib);
  auto storage = open_sqlite_storage(std::move(options));
  if (!storage) return std::unexpected(std::move(storage.error()));
  return std::shared_ptr<Storage>(std::move(*storage));
}

int show_schema() {
  fmt::print(
      "-- Slots, lists, times of statuses and free-form data are JSON text; times are\n"
      "-- nanoseconds since the epoch. Each table also has the row's revision.\n\n");
  for (const EntityInfo* entity : all_entities()) {
    if (entity->residence != Residence::Derived) print_table(*entity);
  }
  return kExitOk;
}

int migrate_schema(const ServeArguments& arguments) {
  return with_manager(arguments, [](Manager&) {
    fmt::print("The database has the schema of this version.\n");
    return kExitOk;
  });
}

int load_fixtures(const ServeArguments& arguments) {
  return with_manager(arguments, [&](Manager& manager) {
    for (const auto& path : arguments.fixtures) {
      const auto result = load_fixture_file(manager, path);
      if (!result) return complain(result.error());
      fmt::print("{}: {} rows inserted, {} replaced\n", path, result->inserted, result->replaced);
    }
    return kExitOk;
  });
}

int print_example_fixture() {
  fmt::print("{}", kExampleFixture);
  return kExitOk;
}

int check_config(const std::string& path) {
  ServeArguments arguments;
  arguments.config_file = path;
  if (!effective_config(arguments)) return kExitUsage;
  fmt::print("{}: ok\n", path);
  return kExitOk;
}

int show_config(const ServeArguments& arguments) {
  const auto config = effective_config(arguments);
  if (!config) return kExitUsage;
  fmt::print("{}", config_to_toml(*config));
  return kExitOk;
}

int print_version() {
  fmt::print("bai-manager-server {} (wire {})\n", kServerVersion, kWireManagerVersion);
  return kExitOk;
}

}  // namespace bai::server

// What the server can be told in its TOML file. Sections and keys are those of the reference
// manager where they apply; what is ours is in the table [bai].
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/manager.hpp"
#include "bai_manager/result.hpp"

namespace bai::server {

struct HostPort {
  std::string host;
  std::uint16_t port = 0;
  friend bool operator==(const HostPort&, const HostPort&) = default;
};
std::string to_string(const HostPort& address);  // "127.0.0.1:8080", "[::1]:8080"
// "host:port", "[v6]:port" or ":port" (all interfaces). "localhost" becomes 127.0.0.1.
Result<HostPort> parse_host_port(std::string_view text);

struct ServerConfig {
  // [manager]
  HostPort service_addr{"0.0.0.0", 8080};
  HostPort internal_addr{"0.0.0.0", 18080};
  std::string manager_id;  // empty: "i-" and the host name
  bool ssl_enabled = false;
  std::string ssl_cert, ssl_privkey;  // PEM files
  std::string
      rpc_auth_manager_keypair;  // file with the CURVE secret; empty: agents without keys only
  std::string pid_file;
  bool hide_agents = false;
  std::vector<std::string> trusted_proxies;
  // [db]
  std::string db_type = "sqlite";  // or "memory"
  std::string db_path;             // empty: bai.data-dir / "manager.db"
  bool db_synchronous_full = true;
  std::int64_t db_cache_mib = 64;
  // [logging]
  std::string log_level = "info";  // trace, debug, info, warning, error
  // [api]
  std::string allow_origins = "*";
  // [network.rpc]
  double rpc_keepalive_timeout = 60.0;
  // [bai]
  std::string data_dir = "bai-data";
  std::string event_listen_addr = "tcp://127.0.0.1:16011";
  std::int64_t io_threads = 1;
  std::int64_t max_connections = 10'000;
  std::int64_t max_body_bytes = 32 * 1024 * 1024;
  double drain_seconds = 5.0;  // how long requests in flight may take at shutdown
  // [bai.local-agent]
  bool local_agent = false;
  std::string local_agent_id = "i-local";
  std::string local_agent_resource_group = "default";
  std::string local_agent_cpu, local_agent_mem;  // offered; empty: all of this host
  // [manager] heartbeat-timeout, [bai.limits] and [bai.timeouts]
  Options options;
};

struct ConfigWarning {
  std::string key;  // dotted
  std::uint32_t line = 0;
  std::string message;
};

// Defaults where the file says nothing. NotFound when it cannot be read; InvalidArgument with file,
// line, key and what would be right for TOML errors, wrong types, values out of range, and what a
// server could not be started with: no addresses, files that cannot be read. Keys that are unknown,
// or known but without effect here, are warnings.
Result<ServerConfig> load_config(const std::string& path, std::vector<ConfigWarning>& warnings);
Result<ServerConfig> parse_config(std::string_view text, std::string_view file_name,
                                  std::vector<ConfigWarning>& warnings);

// The configuration in effect, as TOML with every key.
std::string config_to_toml(const ServerConfig& config);

}  // namespace bai::server

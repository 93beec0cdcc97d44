// Internal to server/config: every key in one place, walked by the reader and by the printer.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "config/config.hpp"

namespace bai::server {

inline constexpr std::int64_t kMaxInt = std::numeric_limits<std::int64_t>::max();
inline constexpr double kMaxSeconds = 10.0 * 365 * 24 * 3600;

// `v` offers flag, text, choice, integer, number, time, address and list. Keys of one table
// stand together: the printer opens a table when the part before the last dot changes.
template <class Visitor>
void visit_fields(ServerConfig& c, Visitor& v) {
  v.address("manager.service-addr", c.service_addr);
  v.address("manager.internal-addr", c.internal_addr);
  v.text("manager.id", c.manager_id);
  v.time("manager.heartbeat-timeout", c.options.agent_timeout, 1.0, kMaxSeconds);
  v.flag("manager.ssl-enabled", c.ssl_enabled);
  v.text("manager.ssl-cert", c.ssl_cert);
  v.text("manager.ssl-privkey", c.ssl_privkey);
  v.text("manager.rpc-auth-manager-keypair", c.rpc_auth_manager_keypair);
  v.text("manager.pid-file", c.pid_file);
  v.flag("manager.hide-agents", c.hide_agents);
  v.list("manager.trusted-proxies", c.trusted_proxies);
  v.choice("db.type", c.db_type, {"sqlite", "memory"});
  v.text("db.path", c.db_path);
  v.flag("db.synchronous-full", c.db_synchronous_full);
  v.integer("db.cache-mib", c.db_cache_mib, 1, 65'536);
  v.choice("logging.level", c.log_level,
           {"trace", "debug", "info", "warning", "error", "critical"});
  v.text("api.allow-origins", c.allow_origins);
  v.number("network.rpc.keepalive-timeout", c.rpc_keepalive_timeout, 1.0, 86'400.0);

  v.text("bai.data-dir", c.data_dir);
  v.text("bai.event-listen-addr", c.event_listen_addr);
  v.integer("bai.io-threads", c.io_threads, 1, 64);
  v.integer("bai.max-connections", c.max_connections, 1, 1'000'000);
  v.integer("bai.max-body-bytes", c.max_body_bytes, 1024, std::int64_t{1} << 32);
  v.number("bai.drain-seconds", c.drain_seconds, 0.0, 3600.0);
  v.flag("bai.local-agent.enabled", c.local_agent);
  v.text("bai.local-agent.id", c.local_agent_id);
  v.text("bai.local-agent.resource-group", c.local_agent_resource_group);
  v.text("bai.local-agent.cpu", c.local_agent_cpu);
  v.text("bai.local-agent.mem", c.local_agent_mem);

  Options& o = c.options;
  v.integer("bai.limits.batch-max", o.batch_max, 1, 1'000'000);
  v.integer("bai.limits.queue-max", o.queue_max, 1, 100'000'000);
  v.integer("bai.limits.placements-max", o.placements_max, 1, 1'000'000);
  v.integer("bai.limits.planner-threads", o.planner_threads, 1, 64);
  v.integer("bai.limits.attempts-max", o.attempts_max, 1, 1000);
  v.integer("bai.limits.tag-max", o.tag_max, 0, std::int64_t{1} << 20);
  v.integer("bai.limits.environ-max", o.environ_max, 0, std::int64_t{1} << 30);
  v.integer("bai.limits.resource-opts-max", o.resource_opts_max, 2, std::int64_t{1} << 30);
  v.integer("bai.limits.list-max", o.list_max, 0, 1'000'000);
  v.integer("bai.limits.script-max", o.script_max, 0, std::int64_t{1} << 30);
  v.integer("bai.limits.upload-max", o.upload_max, 1, std::int64_t{1} << 32);
  v.integer("bai.limits.cluster-size-max", o.cluster_size_max, 1, 1'000'000);
  v.integer("bai.limits.kernel-log-max", o.kernel_log_max, 0, std::int64_t{1} << 30);
  v.time("bai.timeouts.lost-grace", o.lost_grace, 0.0, kMaxSeconds);
  v.time("bai.timeouts.prepare", o.prepare_timeout, 0.001, kMaxSeconds);
  v.time("bai.timeouts.create", o.create_timeout, 0.001, kMaxSeconds);
  v.time("bai.timeouts.terminate", o.terminate_timeout, 0.001, kMaxSeconds);
  v.time("bai.timeouts.recheck-interval", o.recheck_interval, 0.001, kMaxSeconds);
  v.time("bai.timeouts.running-recheck", o.running_recheck, 1.0, kMaxSeconds);
  v.time("bai.timeouts.command", o.command_timeout, 0.001, kMaxSeconds);
  v.time("bai.timeouts.create-call", o.create_call_timeout, 0.001, kMaxSeconds);
  v.time("bai.timeouts.call", o.call_timeout, 0.001, kMaxSeconds);
  v.time("bai.timeouts.retry-backoff", o.retry_backoff, 0.001, kMaxSeconds);
  v.time("bai.timeouts.owed-destroy", o.owed_destroy_timeout, 0.001, kMaxSeconds);
  v.time("bai.timeouts.storage-backoff", o.storage_backoff, 0.001, kMaxSeconds);
}

// Keys of the reference manager that are accepted and have no effect here: exact keys, and whole
// tables ending in ".*".
inline constexpr std::string_view kWithoutEffect[] = {
    "manager.num-proc",
    "manager.secret",
    "manager.ipc-base-path",
    "manager.user",
    "manager.group",
    "manager.announce-addr",
    "manager.announce-internal-addr",
    "manager.event-loop",
    "manager.distributed-lock",
    "manager.pg-advisory-config.*",
    "manager.filelock-config.*",
    "manager.redlock-config.*",
    "manager.etcdlock-config.*",
    "manager.session-schedule-lock-lifetime",
    "manager.session-check-precondition-lock-lifetime",
    "manager.session-start-lock-lifetime",
    "manager.allowed-plugins",
    "manager.disabled-plugins",
    "manager.agent-selection-resource-priority",
    "manager.importer-image",
    "manager.max-wsmsg-size",
    "manager.aiomonitor-port",
    "manager.aiomonitor-termui-port",
    "manager.aiomonitor-webui-port",
    "manager.status-update-interval",
    "manager.status-lifetime",
    "manager.public-metrics-port",
    "manager.rbac.*",
    "db.addr",
    "db.addr.*",
    "db.name",
    "db.user",
    "db.password",
    "db.pool-size",
    "db.pool-recycle",
    "db.pool-pre-ping",
    "db.max-overflow",
    "db.lock-conn-timeout",
    "auth.*",
    "docker-registry.*",
    "reporter.*",
    "audit-log.*",
    "debug.*",
    "system.*",
    "api.allow-graphql-schema-introspection",
    "api.allow-openapi-schema-introspection",
    "api.max-gql-query-depth",
    "api.max-gql-connection-page-size",
    "api.resources.*",
    "docker.*",
    "plugins.*",
    "network.inter-container.*",
    "network.subnet.*",
    "watcher.*",
    "session.*",
    "metric.*",
    "idle.*",
    "volumes.*",
    "reservoir.*",
    "artifact-registry.*",
    "export.*",
    "retention.*",
    "deployment.*",
    "etcd.*",
    "redis.*",
    "otel.*",
    "pyroscope.*",
    "service-discovery.*",
    "jwt.*",
    "resource-slots.*",
    "logging.drivers",
    "logging.pkg-ns.*",
    "logging.console.*",
    "logging.file.*",
    "logging.logstash.*",
    "logging.graylog.*",
};

}  // namespace bai::server

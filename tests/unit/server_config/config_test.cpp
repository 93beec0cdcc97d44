#include "config/config.hpp"

#include <doctest/doctest.h>

#include <cstdio>
#include <fstream>

using namespace bai;
using namespace bai::server;

namespace {

Result<ServerConfig> parse(std::string_view text) {
  std::vector<ConfigWarning> warnings;
  return parse_config(text, "test.toml", warnings);
}
std::string error_of(std::string_view text) {
  const auto config = parse(text);
  REQUIRE_FALSE(config.has_value());
  CHECK(config.error().code == ErrorCode::InvalidArgument);
  return config.error().message;
}
std::vector<ConfigWarning> warnings_of(std::string_view text) {
  std::vector<ConfigWarning> warnings;
  REQUIRE(parse_config(text, "test.toml", warnings).has_value());
  return warnings;
}

}  // namespace

TEST_CASE("an empty file gives the defaults of the reference") {
  const auto config = parse("");
  REQUIRE(config.has_value());
  CHECK(config->service_addr == HostPort{"0.0.0.0", 8080});
  CHECK(config->internal_addr == HostPort{"0.0.0.0", 18080});
  CHECK(config->options.agent_timeout == seconds(40));
  CHECK_FALSE(config->ssl_enabled);
  CHECK(config->event_listen_addr == "tcp://127.0.0.1:16011");
}

TEST_CASE("keys of the reference, kebab and snake, and both forms of an address") {
  const auto config = parse(R"(
[manager]
service-addr = { host = "127.0.0.1", port = 8081 }
internal_addr = "localhost:18081"
heartbeat-timeout = 12.5
hide_agents = true
trusted-proxies = ["10.0.0.0/8"]
[db]
type = "sqlite"
path = "/var/lib/bai/m.db"
[logging]
level = "DEBUG"
[bai.limits]
queue_max = 5
[bai.timeouts]
lost-grace = 0.25
[bai.local-agent]
enabled = true
cpu = "2"
mem = "4g"
)");
  REQUIRE(config.has_value());
  CHECK(config->service_addr == HostPort{"127.0.0.1", 8081});
  CHECK(config->internal_addr == HostPort{"127.0.0.1", 18081});
  CHECK(config->options.agent_timeout == milliseconds(12'500));
  CHECK(config->hide_agents);
  CHECK(config->trusted_proxies == std::vector<std::string>{"10.0.0.0/8"});
  CHECK(config->db_path == "/var/lib/bai/m.db");
  CHECK(config->log_level == "debug");
  CHECK(config->options.queue_max == 5);
  CHECK(config->options.lost_grace == milliseconds(250));
  CHECK(config->local_agent);
  CHECK(config->local_agent_mem == "4g");
}

TEST_CASE("errors name file, line, key and what would be right") {
  CHECK(error_of("[manager]\n\nheartbeat-timeout = \"forty\"\n") ==
        "test.toml:3: manager.heartbeat-timeout: expected a number, found a string");
  CHECK(error_of("[manager]\nheartbeat-timeout = 0.5\n")
            .starts_with("test.toml:2: manager.heartbeat-timeout: 0.5 is not within 1 to "));
  CHECK(error_of("[manager]\nssl-enabled = 1\n") ==
        "test.toml:2: manager.ssl-enabled: expected true or false, found an integer");
  CHECK(error_of("[manager]\nservice-addr = { host = \"0.0.0.0\", port = 70000 }\n") ==
        "test.toml:2: manager.service-addr.port: 70000 is not within 0 to 65535");
  CHECK(error_of("[manager]\nservice-addr = { host = \"0.0.0.0\", prt = 1 }\n") ==
        "test.toml:2: manager.service-addr.prt: an address has only host and port");
  CHECK(error_of("[manager]\nservice-addr = \"nowhere\"\n").find("write \"host:port\"") !=
        std::string::npos);
  CHECK(error_of("[db]\ntype = \"postgresql\"\n") ==
        "test.toml:2: db.type: 'postgresql' is none of sqlite, memory");
  CHECK(error_of("[manager]\ntrusted-proxies = [1]\n") ==
        "test.toml:2: manager.trusted-proxies: expected an array of strings, found an integer");
  CHECK(error_of("[bai.limits]\nbatch-max = 0\n") ==
        "test.toml:2: bai.limits.batch-max: 0 is not within 1 to 1000000");
  CHECK(error_of("[manager\n").starts_with("test.toml:1: "));
  CHECK(error_of("a = 1\na = 2\n").starts_with("test.toml:2: "));
}

TEST_CASE("what does not fit together is refused") {
  CHECK(error_of("[manager]\nssl-enabled = true\n").find("manager.ssl-cert") != std::string::npos);
  CHECK(error_of("[manager]\nservice-addr = \"127.0.0.1:1\"\ninternal-addr = \"127.0.0.1:1\"\n")
            .find("are both 127.0.0.1:1") != std::string::npos);
}

TEST_CASE("a table that is none is refused, not ignored") {
  CHECK(error_of("manager = 3\n") == "test.toml:1: manager: expected a table, found an integer");
  CHECK(error_of("\n[[manager]]\n") == "test.toml:2: manager: expected a table, found an array");
  CHECK(error_of("[bai]\nlimits = true\n") ==
        "test.toml:2: bai.limits: expected a table, found true or false");
}

TEST_CASE("what a server could not be started with is refused") {
  CHECK(error_of("[manager]\ntrusted-proxies = [\"not-an-address\"]\n")
            .starts_with("test.toml: manager.trusted-proxies: "));
  for (const char* addr : {"nonsense", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:x",
                           "ipc://socket", "tcp://127.0.0.1:99999"}) {
    CAPTURE(addr);
    CHECK(error_of("[bai]\nevent-listen-addr = \"" + std::string(addr) + "\"\n")
              .find("should be tcp://host:port") != std::string::npos);
  }
  CHECK(parse("[bai]\nevent-listen-addr = \"tcp://127.0.0.1:*\"\n").has_value());
  const std::string agent = "[bai.local-agent]\n";
  CHECK(error_of(agent + "cpu = \"2\"\n").find("both cpu and mem") != std::string::npos);
  CHECK(error_of(agent + "cpu = \"four\"\nmem = \"4g\"\n").find("bai.local-agent.cpu: ") !=
        std::string::npos);
  CHECK(error_of(agent + "cpu = \"4\"\nmem = \"lots\"\n").find("bai.local-agent.mem: ") !=
        std::string::npos);
}

TEST_CASE("files that cannot be read are named with their key") {
  const std::string tls = "[manager]\nssl-enabled = true\nssl-cert = \"/dev/null\"\nssl-privkey = ";
  CHECK(error_of(tls + "\"/no/such.pem\"\n") ==
        "test.toml: manager.ssl-privkey: the file '/no/such.pem' cannot be read");
  CHECK(error_of(tls + "\"/tmp\"\n").find("'/tmp' cannot be read") != std::string::npos);
  CHECK(parse(tls + "\"/dev/null\"\n").has_value());
  CHECK(error_of("[manager]\nrpc-auth-manager-keypair = \"/no/such.key\"\n") ==
        "test.toml: manager.rpc-auth-manager-keypair: the file '/no/such.key' cannot be read");
}

TEST_CASE("unknown keys and keys without effect are warnings with their line") {
  CHECK(warnings_of("[manager]\nsecret = \"s3cret\"\n")[0].message ==
        "accepted, but has no effect in this server");
  const auto warnings = warnings_of(
      "[manager]\nnum-proc = 4\nservise-addr = \"x\"\n[redis]\naddr = \"h:1\"\n[bai]\nfoo = 1\n");
  REQUIRE(warnings.size() == 4);
  CHECK(warnings[0].key == "manager.num-proc");
  CHECK(warnings[0].line == 2);
  CHECK(warnings[0].message == "accepted, but has no effect in this server");
  CHECK(warnings[1].key == "manager.servise-addr");
  CHECK(warnings[1].line == 3);
  CHECK(warnings[1].message == "unknown key; it is ignored");
  CHECK(warnings[2].key == "redis");
  CHECK(warnings[3].key == "bai.foo");
  CHECK(warnings_of("[db]\naddr = { host = \"h\", port = 1 }\n")[0].message.find("no effect") !=
        std::string::npos);
}

TEST_CASE("what is printed reads back as the same") {
  auto config = parse("[manager]\nid = \"a\\\"b\\\\c\"\nservice-addr = \"[::1]:1\"");
  REQUIRE(config.has_value());
  CHECK(config->service_addr == HostPort{"::1", 1});
  CHECK(to_string(config->service_addr) == "[::1]:1");
  const std::string text = config_to_toml(*config);
  std::vector<ConfigWarning> warnings;
  auto again = parse_config(text, "again.toml", warnings);
  REQUIRE(again.has_value());
  CHECK(warnings.empty());
  CHECK(again->manager_id == "a\"b\\c");
  CHECK(config_to_toml(*again) == config_to_toml(*config));
}

TEST_CASE("a file that is missing or too large") {
  std::vector<ConfigWarning> warnings;
  const auto missing = load_config("/nonexistent/x.toml", warnings);
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().code == ErrorCode::NotFound);
  CHECK(missing.error().message.find("/nonexistent/x.toml") != std::string::npos);
  const std::string path = std::tmpnam(nullptr);
  std::ofstream(path) << std::string(1024 * 1024 + 1, '#');
  const auto large = load_config(path, warnings);
  std::remove(path.c_str());
  REQUIRE_FALSE(large.has_value());
  CHECK(large.error().message.find("at most 1048576 bytes") != std::string::npos);
}

TEST_CASE("addresses") {
  CHECK(parse_host_port("127.0.0.1:80").value() == HostPort{"127.0.0.1", 80});
  CHECK(parse_host_port(":80").value() == HostPort{"0.0.0.0", 80});
  CHECK(parse_host_port("[::]:0").value() == HostPort{"::", 0});
  for (const char* bad : {"", "80", "h:", "h:x", "h:65536", "h:-1", "a:b:1", "h:1 "}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_host_port(bad).has_value());
  }
}

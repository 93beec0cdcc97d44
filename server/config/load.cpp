// Reads TOML into a ServerConfig.
#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <set>
#include <sstream>

#include "auth/client_ip.hpp"
#include "bai_manager/resources.hpp"
#include "config/config.hpp"
#include "config/fields.hpp"

namespace bai::server {
namespace {

constexpr std::size_t kMaxFileBytes = 1024 * 1024;

std::string kebab(std::string_view key) {
  std::string out(key);
  for (char& c : out) {
    if (c == '_') c = '-';
  }
  return out;
}

std::string_view type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

class Reader {
 public:
  Reader(const toml::table& root, std::string_view file) : root_(root), file_(file) {}

  void flag(std::string_view key, bool& out) {
    const auto* node = take(key);
    if (!node) return;
    if (const auto value = node->value_exact<bool>()) {
      out = *value;
    } else {
      wrong_type(key, *node, "true or false");
    }
  }
  void text(std::string_view key, std::string& out) {
    const auto* node = take(key);
    if (!node) return;
    if (auto value = node->value_exact<std::string>()) {
      out = std::move(*value);
    } else {
      wrong_type(key, *node, "a string");
    }
  }
  void choice(std::string_view key, std::string& out,
              std::initializer_list<std::string_view> allowed) {
    const auto* node = find(key);
    std::string value = out;
    text(key, value);
    if (!node || error_) return;
    for (char& c : value) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    for (const auto name : allowed) {
      if (value == name) {
        out = value;
        return;
      }
    }
    fail_at(key, *node, fmt::format("'{}' is none of {}", value, fmt::join(allowed, ", ")));
  }
  template <class Int>
  void integer(std::string_view key, Int& out, std::int64_t min, std::int64_t max) {
    const auto* node = take(key);
    if (!node) return;
    const auto value = node->value_exact<std::int64_t>();
    if (!value) return wrong_type(key, *node, "an integer");
    if (*value < min || *value > max) {
      return fail_at(key, *node, fmt::format("{} is not within {} to {}", *value, min, max));
    }
    out = static_cast<Int>(*value);
  }
  void number(std::string_view key, double& out, double min, double max) {
    const auto* node = take(key);
    if (!node) return;
    if (!node->is_number()) return wrong_type(key, *node, "a number");
    const double value = *node->value<double>();
    if (!(value >= min && value <= max)) {
      return fail_at(key, *node, fmt::format("{} is not within {} to {}", value, min, max));
    }
    out = value;
  }
  void time(std::string_view key, Duration& out, double min, double max) {
    double value = out.seconds();
    number(key, value, min, max);
    out = nanoseconds(std::llround(value * 1e9));
  }
  void address(std::string_view key, HostPort& out);
  void list(std::string_view key, std::vector<std::string>& out) {
    const auto* node = take(key);
    if (!node) return;
    const auto* array = node->as_array();
    if (!array) return wrong_type(key, *node, "an array of strings");
    std::vector<std::string> values;
    for (const auto& item : *array) {
      const auto value = item.value_exact<std::string>();
      if (!value) return wrong_type(key, item, "an array of strings");
      values.push_back(*value);
    }
    out = std::move(values);
  }

  void warn_about_rest(std::vector<ConfigWarning>& warnings) { walk(root_, "", warnings); }
  std::optional<Error> error() && { return std::move(error_); }

 private:
  const toml::node* find(std::string_view key) const {
    const toml::table* table = &root_;
    for (;;) {
      const auto dot = key.find('.');
      const toml::node* found = nullptr;
      for (const auto& [name, node] : *table) {
        if (kebab(name.str()) == key.substr(0, dot)) found = &node;
      }
      if (!found || dot == std::string_view::npos) return found;
      table = found->as_table();
      if (!table) return nullptr;
      key.remove_prefix(dot + 1);
    }
  }
  const toml::node* take(std::string_view key) {
    known_.emplace(key);
    return error_ ? nullptr : find(key);
  }
  void fail_at(std::string_view key, const toml::node& node, std::string_view what) {
    if (error_) return;
    error_ = Error{ErrorCode::InvalidArgument,
                   fmt::format("{}:{}: {}: {}", file_, node.source().begin.line, key, what),
                   "invalid-config",
                   {{"key", std::string(key)}, {"line", std::to_string(node.source().begin.line)}}};
  }
  void wrong_type(std::string_view key, const toml::node& node, std::string_view wanted) {
    fail_at(key, node, fmt::format("expected {}, found {}", wanted, type_name(node)));
  }
  bool has_no_effect(const std::string& key) const {
    for (std::string_view pattern : kWithoutEffect) {
      if (pattern.ends_with(".*")) {
        pattern.remove_suffix(1);
        if (key.starts_with(pattern) || key + "." == pattern) return true;
      } else if (key == pattern) {
        return true;
      }
    }
    return false;
  }
  bool is_table_of_known(const std::string& key) const {
    const auto below = known_.lower_bound(key + ".");
    return below != known_.end() && below->starts_with(key + ".");
  }
  void walk(const toml::table& table, const std::string& prefix,
            std::vector<ConfigWarning>& warnings) {
    for (const auto& [name, node] : table) {
      const std::string key = prefix + kebab(name.str());
      if (known_.contains(key)) continue;
      const auto line = static_cast<std::uint32_t>(node.source().begin.line);
      if (has_no_effect(key)) {
        warnings.push_back({key, line, "accepted, but has no effect in this server"});
      } else if (is_table_of_known(key)) {
        if (!node.is_table()) return wrong_type(key, node, "a table");
        walk(*node.as_table(), key + ".", warnings);
      } else {
        warnings.push_back({key, line, "unknown key; it is ignored"});
      }
    }
  }

  const toml::table& root_;
  std::string_view file_;
  std::set<std::string, std::less<>> known_;
  std::optional<Error> error_;
};

void Reader::address(std::string_view key, HostPort& out) {
  const auto* node = take(key);
  if (!node) return;
  if (const auto text = node->value_exact<std::string>()) {
    auto parsed = parse_host_port(*text);
    if (!parsed) return fail_at(key, *node, parsed.error().message);
    out = std::move(*parsed);
    return;
  }
  const auto* table = node->as_table();
  if (!table) return wrong_type(key, *node, R"("host:port" or { host = "...", port = ... })");
  HostPort value = out;
  for (const auto& [name, item] : *table) {
    const std::string full = fmt::format("{}.{}", key, name.str());
    if (name == "host") {
      const auto host = item.value_exact<std::string>();
      if (!host) return wrong_type(full, item, "a string");
      value.host = *host == "localhost" ? "127.0.0.1" : host->empty() ? "0.0.0.0" : *host;
    } else if (name == "port") {
      const auto port = item.value_exact<std::int64_t>();
      if (!port) return wrong_type(full, item, "an integer");
      if (*port < 0 || *port > 65'535) {
        return fail_at(full, item, fmt::format("{} is not within 0 to 65535", *port));
      }
      value.port = static_cast<std::uint16_t>(*port);
    } else {
      return fail_at(full, item, "an address has only host and port");
    }
  }
  out = std::move(value);
}

void sort_by_line(std::vector<ConfigWarning>& warnings) {
  std::ranges::stable_sort(warnings, {}, &ConfigWarning::line);
}

std::optional<std::string> unreadable(std::string_view key, const std::string& path) {
  if (std::ifstream(path).good() && !std::filesystem::is_directory(path)) return std::nullopt;
  return fmt::format("{}: the file '{}' cannot be read", key, path);
}

// "tcp://host:port", where the port may be `*`: any free one.
bool is_event_addr(std::string_view text) {
  constexpr std::string_view kScheme = "tcp://";
  if (!text.starts_with(kScheme)) return false;
  text.remove_prefix(kScheme.size());
  return parse_host_port(text.ends_with(":*") ? std::string(text.substr(0, text.size() - 1)) + "0"
                                              : std::string(text))
      .has_value();
}

// Why no local agent can be started that offers this; nothing when one can.
std::optional<std::string> wrong_local_slots(const ServerConfig& config) {
  const std::string &cpu = config.local_agent_cpu, &mem = config.local_agent_mem;
  if (cpu.empty() != mem.empty()) {
    return "bai.local-agent: set both cpu and mem, or neither to offer the whole host";
  }
  if (cpu.empty()) return std::nullopt;
  if (const auto cores = parse_amount(SlotType::Count, cpu); !cores) {
    return "bai.local-agent.cpu: " + cores.error().message;
  }
  if (const auto bytes = parse_binary_size(mem); !bytes) {
    return "bai.local-agent.mem: " + bytes.error().message;
  }
  return std::nullopt;
}

// What is wrong with it as a whole, or with a value that one line alone does not tell.
std::optional<std::string> wrong_whole(const ServerConfig& config) {
  if (config.ssl_enabled) {
    if (config.ssl_cert.empty() || config.ssl_privkey.empty()) {
      return "manager.ssl-enabled needs manager.ssl-cert and manager.ssl-privkey (PEM files)";
    }
    if (auto wrong = unreadable("manager.ssl-cert", config.ssl_cert)) return wrong;
    if (auto wrong = unreadable("manager.ssl-privkey", config.ssl_privkey)) return wrong;
  }
  if (!config.rpc_auth_manager_keypair.empty()) {
    if (auto wrong =
            unreadable("manager.rpc-auth-manager-keypair", config.rpc_auth_manager_keypair)) {
      return wrong;
    }
  }
  if (const auto proxies = auth::AddressList::parse(config.trusted_proxies); !proxies) {
    return "manager.trusted-proxies: " + proxies.error().message;
  }
  if (!is_event_addr(config.event_listen_addr)) {
    return fmt::format("bai.event-listen-addr: '{}' should be tcp://host:port or tcp://host:*",
                       config.event_listen_addr);
  }
  if (config.service_addr.port != 0 && config.service_addr == config.internal_addr) {
    return fmt::format("manager.service-addr and manager.internal-addr are both {}",
                       to_string(config.service_addr));
  }
  return wrong_local_slots(config);
}

Status check_whole(const ServerConfig& config, std::string_view file) {
  const auto wrong = wrong_whole(config);
  if (!wrong) return {};
  return fail(ErrorCode::InvalidArgument, fmt::format("{}: {}", file, *wrong), "invalid-config");
}

}  // namespace

Result<ServerConfig> parse_config(std::string_view text, std::string_view file_name,
                                  std::vector<ConfigWarning>& warnings) {
  toml::table table;
  try {  // the packaged library reports syntax errors only by throwing
    table = toml::parse(text, file_name);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("{}:{}: {}", file_name, error.source().begin.line,
                            std::string_view(error.description())),
                "invalid-config");
  }
  ServerConfig config;
  Reader reader(table, file_name);
  visit_fields(config, reader);
  reader.warn_about_rest(warnings);
  sort_by_line(warnings);
  if (auto error = std::move(reader).error()) return std::unexpected(std::move(*error));
  if (auto ok = check_whole(config, file_name); !ok) return std::unexpected(ok.error());
  return config;
}

Result<ServerConfig> load_config(const std::string& path, std::vector<ConfigWarning>& warnings) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    return fail(ErrorCode::NotFound, fmt::format("cannot read the configuration file '{}'", path),
                "invalid-config");
  }
  std::string text(kMaxFileBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kMaxFileBytes) {
    return fail(
        ErrorCode::InvalidArgument,
        fmt::format("{}: a configuration file may have at most {} bytes", path, kMaxFileBytes),
        "invalid-config");
  }
  return parse_config(text, path, warnings);
}

}  // namespace bai::server

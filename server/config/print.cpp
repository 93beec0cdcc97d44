// Addresses as text, and the configuration in effect as TOML.
#include <fmt/format.h>

#include <charconv>
#include <initializer_list>

#include "config/config.hpp"
#include "config/fields.hpp"

namespace bai::server {

std::string to_string(const HostPort& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", address.host, address.port)
            : fmt::format("{}:{}", address.host, address.port);
}

Result<HostPort> parse_host_port(std::string_view text) {
  const auto bad = [&] {
    return fail(
        ErrorCode::InvalidArgument,
        fmt::format("'{}' is no address: write \"host:port\" with a port of 0 to 65535", text));
  };
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad();
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad();
  }
  HostPort out{std::string(host), 0};
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (port.empty() || error != std::errc{} || end != port.data() + port.size()) return bad();
  if (out.host.empty() || out.host == "*") out.host = "0.0.0.0";
  if (out.host == "localhost") out.host = "127.0.0.1";
  return out;
}

namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

class Printer {
 public:
  void flag(std::string_view key, bool value) { line(key, value ? "true" : "false"); }
  void text(std::string_view key, const std::string& value) { line(key, quoted(value)); }
  void choice(std::string_view key, const std::string& value,
              std::initializer_list<std::string_view>) {
    line(key, quoted(value));
  }
  template <class Int>
  void integer(std::string_view key, Int value, std::int64_t, std::int64_t) {
    line(key, fmt::format("{}", value));
  }
  void number(std::string_view key, double value, double, double) {
    auto out = fmt::format("{}", value);
    if (out.find_first_of(".e") == std::string::npos) out += ".0";
    line(key, out);
  }
  void time(std::string_view key, Duration value, double min, double max) {
    number(key, value.seconds(), min, max);
  }
  void address(std::string_view key, const HostPort& value) {
    line(key, fmt::format("{{ host = {}, port = {} }}", quoted(value.host), value.port));
  }
  void list(std::string_view key, const std::vector<std::string>& values) {
    std::string out = "[";
    for (const auto& value : values) out += (out.size() > 1 ? ", " : "") + quoted(value);
    line(key, out + "]");
  }
  std::string take() { return std::move(out_); }

 private:
  void line(std::string_view key, std::string_view value) {
    const auto dot = key.rfind('.');
    if (key.substr(0, dot) != table_) {
      table_ = key.substr(0, dot);
      out_ += fmt::format("{}[{}]\n", out_.empty() ? "" : "\n", table_);
    }
    out_ += fmt::format("{} = {}\n", key.substr(dot + 1), value);
  }
  std::string out_;
  std::string_view table_;
};

}  // namespace

std::string config_to_toml(const ServerConfig& config) {
  Printer printer;
  ServerConfig copy = config;
  visit_fields(copy, printer);
  return printer.take();
}

}  // namespace bai::server

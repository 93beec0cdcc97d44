// What travels over one HTTP connection: header lists, requests and responses as plain values.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bai_manager/json.hpp"
#include "bai_manager/time.hpp"

namespace bai::http {

struct Header {
  std::string name;  // as written by the sender
  std::string value;
  friend bool operator==(const Header&, const Header&) = default;
};

// Ordered; names compare without regard to ASCII case; repeats are kept.
class Headers {
 public:
  Headers() = default;
  Headers(std::initializer_list<Header> list) : list_(list) {}

  const std::string* find(std::string_view name) const noexcept;  // the first one, or null
  std::string_view get(std::string_view name, std::string_view fallback = {}) const noexcept;
  bool has(std::string_view name) const noexcept { return find(name) != nullptr; }
  std::size_t count(std::string_view name) const noexcept;
  // Whether a comma-separated list header names `token` in any of its lines, in any case.
  bool has_token(std::string_view name, std::string_view token) const noexcept;

  void add(std::string name, std::string value);
  void set(std::string name, std::string value);  // replaces every earlier one
  void remove(std::string_view name);

  std::size_t size() const noexcept { return list_.size(); }
  bool empty() const noexcept { return list_.empty(); }
  auto begin() const noexcept { return list_.begin(); }
  auto end() const noexcept { return list_.end(); }
  friend bool operator==(const Headers&, const Headers&) = default;

 private:
  std::vector<Header> list_;
};

// The decoded query string, in the order written; a name may occur several times.
class Query {
 public:
  const std::string* find(std::string_view name) const noexcept;  // the first one, or null
  std::string_view get(std::string_view name, std::string_view fallback = {}) const noexcept;
  std::vector<std::string_view> all(std::string_view name) const;
  bool has(std::string_view name) const noexcept { return find(name) != nullptr; }

  void add(std::string name, std::string value);
  std::size_t size() const noexcept { return list_.size(); }
  bool empty() const noexcept { return list_.empty(); }
  auto begin() const noexcept { return list_.begin(); }
  auto end() const noexcept { return list_.end(); }
  friend bool operator==(const Query&, const Query&) = default;

 private:
  std::vector<std::pair<std::string, std::string>> list_;
};

struct Request {
  std::string method;     // as written; methods are case-sensitive
  std::string target;     // exactly as on the request line: what a signature covers
  std::string raw_path;   // the path of `target`, still percent-encoded: what a router walks
  std::string path;       // percent-decoded, valid UTF-8
  Query query;            // percent-decoded, '+' is a space, invalid UTF-8 becomes U+FFFD
  int version_minor = 1;  // HTTP/1.<minor>: 0 or 1
  Headers headers;
  std::string body;        // transfer coding removed; trailers are checked and dropped
  bool keep_alive = true;  // what the client asked for
  std::string peer_ip;     // of the socket; forwarding headers are not applied
  std::uint16_t peer_port = 0;
  bool secure = false;  // came over TLS
  Timestamp arrival;    // wall clock when the last byte was there

  friend bool operator==(const Request&, const Request&) = default;
};

// The server owns framing: it writes Content-Length, Transfer-Encoding, Connection, Date and
// `Server: BackendAI` itself and drops such headers (Date and Server: keeps) when set here.
// Control characters in header values are sent as spaces.
struct Response {
  int status = 200;
  Headers headers;
  std::string body;

  static Response json(int status, const Json& body);
  static Response text(int status, std::string body);
  static Response empty(int status = 204) { return Response{status, {}, {}}; }
};

// An error body of the wire contract: `type` is https://api.backend.ai/probs/<slug>; `error_code`
// and `msg` are left out when empty, `data` when null.
Json problem_json(std::string_view slug, std::string_view title, std::string_view error_code = {},
                  std::string_view msg = {}, Json data = {});
// The same as a response of type application/problem+json.
Response problem(int status, std::string_view slug, std::string_view title,
                 std::string_view error_code = {}, std::string_view msg = {}, Json data = {});

}  // namespace bai::http

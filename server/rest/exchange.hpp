// One request on its way through the handlers, and the right to answer it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "bai_manager/manager.hpp"
#include "http/message.hpp"
#include "http/responder.hpp"
#include "http/router.hpp"
#include "metrics/metrics.hpp"

namespace bai::server {

class RestContext;

// Shared by the handler and the callbacks that answer later; any thread, one at a time. Never
// answered: the responder's 500.
class Exchange {
 public:
  Exchange(std::shared_ptr<http::Request> request, http::Responder responder, Metrics& metrics)
      : request_(std::move(request)), responder_(std::move(responder)), metrics_(metrics) {}

  const http::Request& request() const noexcept { return *request_; }
  http::Request& mutable_request() noexcept { return *request_; }

  // Set on the way in, before the handler runs.
  http::PathParams params;
  Caller caller;  // of guarded routes
  SnapshotPtr snapshot;
  std::string_view endpoint = "(unmatched)";  // the route's pattern
  std::vector<http::Header> rate_headers;
  bool shares_with_origin = false;  // the Origin of the request is one that may read the answer
  std::string client_ip;

  // Each of them answers; the first one counts.
  void ok(const Json& body) { respond(http::Response::json(200, body)); }
  // `error_code` is for the metrics; error responses carry no rate limit headers.
  void respond(http::Response response, std::string_view error_code = {});
  void fail(const Error& error);

 private:
  void add_cors(http::Response& response) const;

  std::shared_ptr<http::Request> request_;
  http::Responder responder_;
  Metrics& metrics_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};
using ExchangePtr = std::shared_ptr<Exchange>;

enum class Guard : std::uint8_t {
  Public,      // no authentication at all
  User,        // an active keypair
  Superadmin,  // of a superadmin
};

using RouteHandler = std::function<void(RestContext&, ExchangePtr)>;
struct Route {
  std::string_view method, pattern;
  Guard guard = Guard::User;
  RouteHandler handle;
};
using RouteList = std::vector<Route>;

}  // namespace bai::server

#include "rest/exchange.hpp"

#include "rest/problem.hpp"

namespace bai::server {

void Exchange::respond(http::Response response, std::string_view error_code) {
  if (responder_.answered()) return;
  const auto took = std::chrono::steady_clock::now() - started_;
  metrics_.api_done(request_->method, endpoint, response.status, error_code,
                    nanoseconds(std::chrono::nanoseconds(took).count()));
  if (error_code.empty()) {
    for (const auto& header : rate_headers) response.headers.add(header.name, header.value);
  }
  add_cors(response);
  responder_.respond(std::move(response));
}

void Exchange::fail(const Error& error) {
  respond(to_response(error), problem_of(error).error_code);
}

void Exchange::add_cors(http::Response& response) const {
  if (!shares_with_origin) return;
  std::string exposed;
  for (const auto& header : response.headers) {
    if (!exposed.empty()) exposed += ',';
    exposed += header.name;
  }
  response.headers.set("Access-Control-Allow-Origin", std::string(request_->headers.get("Origin")));
  response.headers.set("Access-Control-Expose-Headers", std::move(exposed));
}

}  // namespace bai::server

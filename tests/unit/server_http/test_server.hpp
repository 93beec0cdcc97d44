// A running server with a handler that covers what the tests ask of one.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "http/server.hpp"
#include "unit/server_http/socket_client.hpp"

namespace bai::http::test {

inline constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

class TestServer {
 public:
  explicit TestServer(ServerOptions options = {}) {
    options.port = 0;
    auto started = Server::start(std::move(options), [this](auto request, Responder responder) {
      handle(*request, std::move(responder));
    });
    if (!started) throw std::runtime_error(started.error().message);
    server_ = std::move(*started);
  }
  ~TestServer() { server_.reset(); }

  Server* operator->() { return server_.get(); }
  std::uint16_t port() const { return server_->port(); }
  void destroy() { server_.reset(); }

  // Polls a condition; false when it does not come true in time.
  template <class F>
  bool wait_for(F condition, Millis patience = kPatience) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::sleep_for(Millis(2));
    }
    return true;
  }

  std::size_t held() {
    std::scoped_lock lock(mutex_);
    return held_.size();
  }
  Responder take_held() {
    std::scoped_lock lock(mutex_);
    Responder responder = std::move(held_.back());
    held_.pop_back();
    return responder;
  }

 private:
  static Response echo(const Request& request) {
    Json body = Json::object();
    body.set("method", Json(request.method));
    body.set("target", Json(request.target));
    body.set("path", Json(request.path));
    body.set("peer", Json(request.peer_ip));
    body.set("body", Json(request.body.size() < 1000 ? request.body : "long"));
    body.set("body_bytes", Json(static_cast<std::int64_t>(request.body.size())));
    body.set("secure", Json(request.secure));
    for (const auto& [name, value] : request.query) body.set(name, Json(value));
    if (const auto* thing = request.headers.find("x-thing")) body.set("x-thing", Json(*thing));
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto now_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
    body.set("age_ms", Json((now_ns - request.arrival.ns) / 1'000'000));
    return Response::json(200, body);
  }

  void handle(const Request& request, Responder responder) {
    const std::string_view path = request.path;
    if (path == "/later") {
      std::scoped_lock lock(mutex_);
      held_.push_back(std::move(responder));
      return;
    }
    if (path == "/drop") return;
    if (path == "/throw") throw std::runtime_error("planned");
    if (path == "/nothing") return responder.respond(Response::empty());
    if (path == "/big")
      return responder.respond(Response::text(200, std::string(1024 * 1024, 'x')));
    if (path == "/huge") {
      return responder.respond(Response::text(200, std::string(32 * 1024 * 1024, 'x')));
    }
    if (path == "/says-close") {
      return responder.respond({200, {{"Connection", "close"}}, "bye"});
    }
    if (path == "/evil") {
      return responder.respond({200,
                                {{"X-Evil", "a\r\nInjected: 1"},
                                 {"Bad Name", "x"},
                                 {"Content-Length", "99"},
                                 {"Transfer-Encoding", "chunked"}},
                                "ok"});
    }
    responder.respond(echo(request));
  }

  std::mutex mutex_;
  std::vector<Responder> held_;
  std::unique_ptr<Server> server_;
};

}  // namespace bai::http::test

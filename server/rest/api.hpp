// The REST API: routes of the wire contract bound to a Manager.
//
// Beside the contract's routes there are ours, below /cluster, /session-groups and
// /resource-groups/{group}/reservations, and at the end of a session's path:
//   POST /cluster/sessions/search  as /compute-sessions/search for everybody: a user gets his own
//                                  sessions, an admin those of the domain, a superadmin all
//   GET  /cluster/agents           {"items": [...], "total": n}; ?status=ALIVE&resource_group=NAME
//   PATCH /cluster/agents/{id}     {"schedulable": bool}, superadmin
//   GET  /cluster/images           images with their aliases and least slots
//   GET  /session-groups           {"items": [...], "total": n}; whose they see is as of sessions
//   POST /session-groups           {"id", "project", "domain", "owner", "placement_direction",
//                                  "placement_enforcement"}, all optional; 201 {"id"}
//   GET  /session-groups/{id}      with its live "sessions"
//   PATCH /session-groups/{id}     {"placement_direction", "placement_enforcement"}; 204
//   DELETE /session-groups/{id}    204, or 409 while a session of it lives
//   GET  /session/{X}/why          why it waits: {"status", "pending": {...} or null, ...}
//   GET  /session/{X}/history      scheduling phases, oldest first
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bai_manager/manager.hpp"
#include "http/message.hpp"
#include "http/responder.hpp"
#include "metrics/metrics.hpp"

namespace bai::server {

// What GET / says of the manager's version, for clients that compare it with their own.
inline constexpr std::string_view kWireManagerVersion = "26.8.0rc1";
inline constexpr std::string_view kServerVersion = "0.1.0";

struct RestOptions {
  bool hide_agents = false;         // agent ids and addresses are shown to superadmins only
  std::string allow_origins = "*";  // for browsers: "*" or origins separated by commas
  std::vector<std::string> trusted_proxies;
  std::string manager_id = "i-manager";
  std::string service_addr;
  std::size_t background_max = 1000;     // requests waiting for storage or a walk; more get 503
  std::size_t download_files_max = 100;  // in one request
  std::size_t download_bytes_max = 256U * 1024 * 1024;  // bytes of one multi-file answer
};

class RestContext;

// Thread-safe. Destroy it after the http servers that call it and after the manager, which may
// still hold replies; the destructor does not touch the manager.
class RestApi {
 public:
  // InvalidArgument for trusted proxies that are no addresses.
  static Result<std::unique_ptr<RestApi>> create(RestOptions options, Manager& manager,
                                                 Metrics& metrics);
  ~RestApi();
  RestApi(const RestApi&) = delete;
  RestApi& operator=(const RestApi&) = delete;

  // The public port. Does not block.
  void handle(std::shared_ptr<http::Request> request, http::Responder responder);
  // The internal port: /metrics, /metrics/service_discovery and /health*.
  void handle_internal(std::shared_ptr<http::Request> request, http::Responder responder);

 private:
  explicit RestApi(std::unique_ptr<RestContext> context);
  std::unique_ptr<RestContext> context_;
};

}  // namespace bai::server

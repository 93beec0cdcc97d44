// Internal to server/rest: what all handlers work with.
#pragma once

#include <memory>

#include "auth/client_ip.hpp"
#include "auth/signature.hpp"
#include "bai_manager/manager.hpp"
#include "http/router.hpp"
#include "metrics/metrics.hpp"
#include "rest/api.hpp"
#include "rest/exchange.hpp"
#include "rest/offload.hpp"
#include "rest/rate_limit.hpp"

namespace bai::server {

class RestContext {
 public:
  RestContext(RestOptions options_in, Manager& manager_in, Metrics& metrics_in,
              auth::AddressList proxies_in)
      : options(std::move(options_in)),
        manager(manager_in),
        metrics(metrics_in),
        proxies(std::move(proxies_in)),
        offload(options.background_max) {}

  const RestOptions options;
  Manager& manager;
  Metrics& metrics;
  const auth::AddressList proxies;
  auth::Verifier verifier;
  RateLimiter rates;
  http::Router<Route> router, internal;
  Offload offload;  // last: its thread uses the others
};

// Runs `task` off the io thread; 503 when too much is waiting.
void run_in_background(RestContext& api, const ExchangePtr& exchange, Task task);

// The session named by the path, as its caller may see it; with `owner_access_key` (of the query,
// for admins) as that keypair sees it. Answers the exchange itself when there is none.
const Session* find_session(const ExchangePtr& exchange, bool honour_owner = false);

// One function per file of routes.
void add_system_routes(RouteList& routes);
void add_session_routes(RouteList& routes);
void add_session_call_routes(RouteList& routes);
void add_session_file_routes(RouteList& routes);
void add_search_routes(RouteList& routes);
void add_cluster_routes(RouteList& routes);
void add_reservation_routes(RouteList& routes);
void add_session_group_routes(RouteList& routes);
void add_what_if_routes(RouteList& routes);
void add_internal_routes(RouteList& routes);

}  // namespace bai::server

// Counters of the parts as metric samples, read at each scrape.
#pragma once

#include <vector>

#include "agent/event_channel.hpp"
#include "agent/gateway.hpp"
#include "bai_manager/manager.hpp"
#include "http/server.hpp"
#include "metrics/metrics.hpp"

namespace bai::server {

void collect_manager(const Manager& manager, std::vector<Sample>& out);
void collect_http(const http::ServerCounters& counters, std::vector<Sample>& out);
void collect_agents(const GatewayStats& gateway, const EventListenerStats& events,
                    std::vector<Sample>& out);

}  // namespace bai::server

// Sessions, kernels and agents as the wire shows them.
#pragma once

#include "bai_manager/entities.hpp"
#include "bai_manager/snapshot.hpp"

namespace bai::server {

// The flat object of GET /session/{X}: 24 members of the contract.
Json session_info(const Snapshot& snapshot, const Session& session, Timestamp now);
// {"code", "message", "missing", "position", "expected_start", ...}; null when nothing is known.
Json pending_reason(const Snapshot& snapshot, const Session& session);
// The same of a reason by itself, e.g. of an answer to what-if.
Json reason_view(const Snapshot& snapshot, const PendingReason& reason);
// What clients see of the main kernel's services: {name, protocol, ports, ...} each.
Json service_ports(const Snapshot& snapshot, const Session& session);
// An element of a session search: the contract's members and status_info, pending, ...
Json session_item(const Snapshot& snapshot, const Session& session, bool show_agents);
Json agent_item(const Snapshot& snapshot, const Agent& agent);

Json time_or_null(Timestamp time);

}  // namespace bai::server

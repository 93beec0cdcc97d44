// Which reservation a session runs in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/entities.hpp"
#include "bai_manager/snapshot.hpp"

namespace bai {

// The id of the reservation that a session's resource options name, or empty. A bare name stands
// for one of its resource group.
std::string session_reservation(const Json& resource_opts, const ResourceGroupName& group);
inline std::string session_reservation(const Session& session) {
  return session_reservation(session.resource_opts, session.resource_group);
}

std::vector<ReservationGap> reservation_gaps(const State& state, const ResourceGroupName& group);

}  // namespace bai

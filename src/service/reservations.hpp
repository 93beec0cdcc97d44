// What a reservation must be, and who may use one.
#pragma once

#include "core/context.hpp"

namespace bai::service {

// Every reservation of the state: NotFound for what it names and is not there, InvalidArgument for
// the rest. For rows that were loaded.
Status check_reservations(const State& state, Timestamp now);

// For a session that is about to be queued; fine when it names none.
Status check_own_reservation(const State& state, const Session& session, Timestamp now);

}  // namespace bai::service

// What a reservation must be, and who may use one.
#pragma once

#include "core/context.hpp"

namespace bai::service {

// The reservations that `changes` have brought or altered: NotFound for what they name and is not
// there, InvalidArgument for the rest. Others may have outgrown their agents meanwhile.
Status check_reservations(const State& state, std::span<const Change> changes, Timestamp now);

// For a session that is about to be queued; fine when it names none.
Status check_own_reservation(const State& state, const Session& session, Timestamp now);

}  // namespace bai::service

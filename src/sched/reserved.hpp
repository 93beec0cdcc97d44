// A resource group's advance reservations as one pass sees them: what each has left, who may use
// it, and what is kept from everybody else.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sched/future.hpp"

namespace bai::sched {

// Holds nothing and costs nothing where a group has no reservations.
class Reserved {
 public:
  // Everything outlives it.
  Reserved(const Mirror& mirror, const Group& group, Timestamp now);

  bool any() const noexcept { return !entries_.empty(); }
  // Promises what is kept: what each has left, from its start, or now, until its end. What its
  // sessions hold is theirs already; when they give it back it stays with the reservation.
  void keep(Future& future) const;

  // Why the session may not start in its reservation now; nothing: where there is room.
  std::optional<Refusal> check(const PendingSession& session, const Request& request) const;
  // In order: where the reservation has enough left for the requirement.
  void candidates(const std::string& id, const Requirement& requirement,
                  std::vector<AgentIndex>& agents) const;
  // For a session of the reservation: `sign` is 1 to take and -1 to give back.
  void take(const std::string& id, AgentIndex agent, const Requirement& requirement, int sign);
  // When the next of them begins or ends.
  std::optional<Timestamp> next_edge() const;

 private:
  struct OnAgent {
    AgentIndex agent = 0;
    std::vector<SlotRequest> reserved, left;  // the same slots
  };
  struct Entry {
    const ReservationRecord* record;
    std::vector<OnAgent> agents;  // in order; those that are in the group
  };
  void add(const Mirror& mirror, const Group& group, const ReservationRecord& record);

  const Mirror& mirror_;
  Timestamp now_;
  std::map<std::string, Entry> entries_;  // by id; none is over
};

}  // namespace bai::sched

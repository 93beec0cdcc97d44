// A resource group's advance reservations as one pass sees them: what each has left, who may use
// it, and what is kept from everybody else.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sched/kept_amounts.hpp"
#include "sched/mirror.hpp"

namespace bai::sched {

// What is remembered of a resource group's reservations between passes.
struct ReservedMemory {
  struct Entry {
    const ReservationRecord* record = nullptr;
    std::uint64_t version = 0, held_version = 0;  // of the record
    bool is_active = false, is_taken = false;     // what is held counts; a pass has taken
    std::int64_t from = 0, to = 0;
    std::vector<KeptOnAgent> agents;  // in order; those that are in the group
  };
  std::map<std::string, Entry> entries;  // by id; none is over
  KeptAmounts kept;
  std::uint64_t epoch = 0;  // of the agents
  std::uint64_t edits = 0;  // grows when something is kept that was not, or no longer
};

// Holds nothing and costs nothing where a group has no reservations.
class Reserved {
 public:
  // Everything outlives it. Only what has changed since the last pass is made anew.
  Reserved(const Mirror& mirror, const Group& group, Timestamp now, ReservedMemory& memory,
           std::uint32_t container_limit = kNoContainerLimit);

  bool any() const noexcept { return !memory_.entries.empty(); }
  // What is kept: what each has left, and places for containers, from its start until its end. What
  // its sessions hold is theirs already; when they give it back it stays with the reservation.
  const KeptAmounts& kept() const noexcept { return memory_.kept; }

  // Why the session may not start in its reservation now; nothing: where there is room.
  std::optional<Refusal> check(const PendingSession& session, const Request& request) const;
  // In order: where the reservation has enough left for the requirement.
  void candidates(const std::string& id, const Requirement& requirement,
                  std::vector<AgentIndex>& agents) const;
  // For a session of the reservation: `sign` is 1 to take and -1 to give back. How many of its
  // containers are on places that are not kept for it.
  std::int64_t take(const std::string& id, AgentIndex agent, const Requirement& requirement,
                    int sign);
  // How many containers would be on such places there.
  std::int64_t places_beyond(const std::string& id, AgentIndex agent,
                             const Requirement& requirement) const;
  std::int64_t end_of(const std::string& id) const { return memory_.entries.find(id)->second.to; }
  // What a session that this pass has placed gives back.
  struct Ending {
    std::int64_t at = 0;
    AgentIndex agent = 0;
    const std::vector<SlotRequest>* slots = nullptr;
    std::uint32_t containers = 1;
    bool in_reservation = false;  // the one that is asked about
  };
  // When all requirements have room in the reservation that has begun, if what runs ends as
  // estimated and nobody else takes it; nothing: not in time to end with it, as far as is known.
  std::optional<Timestamp> earliest(const std::string& id, const Request& request,
                                    Duration estimate, std::span<const Ending> placed) const;
  // When the next of them begins or ends.
  std::optional<Timestamp> next_edge() const;

 private:
  void refresh(const ReservationRecord& record);
  void drop(const ReservedMemory::Entry& entry);

  const Mirror& mirror_;
  const Group& group_;
  Timestamp now_;
  std::uint32_t container_limit_;
  ReservedMemory& memory_;
};

}  // namespace bai::sched

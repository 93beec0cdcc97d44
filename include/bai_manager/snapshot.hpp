// The last committed state, immutable. Hold the pointer as long as you like; it costs memory only
// for what has changed since.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "bai_manager/entities.hpp"

namespace bai {

class State;

// Amounts that a reservation keeps and its agent does not have, or no longer: beside the others of
// its time, where there are some. It is honoured as far as the agent goes.
struct ReservationGap {
  const Reservation* reservation = nullptr;
  AgentId agent;
  SlotMap missing;  // all of it where the agent is not in the resource group
};

// Thread-safe. References and pointers into it are valid while the snapshot is held.
class Snapshot {
 public:
  explicit Snapshot(std::unique_ptr<const State> state);  // made by the manager
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  StateVersion version() const noexcept;
  const SlotTypes& slot_types() const noexcept;

  template <Entity E>
  const E* find(const KeyOf<E>& key) const;  // null when there is none
  template <Entity E>
  std::size_t count() const;
  // In key order; stops when `visit` returns false.
  template <Entity E>
  void for_each(const std::function<bool(const E&)>& visit) const;

  // Indexed look-ups.
  const Project* find_project(const DomainName& domain, std::string_view name) const;
  const Image* find_image(std::string_view name_or_alias, std::string_view architecture) const;
  const User* find_user_by_email(std::string_view email) const;
  // The owner's live (not terminal) session of that name.
  const Session* find_live_session(const AccessKey& owner, std::string_view name) const;
  std::vector<const Session*> live_sessions(const AccessKey& owner) const;  // by name
  std::vector<const Session*> sessions_in(SessionStatus status) const;      // oldest first
  std::size_t count_sessions(SessionStatus status) const;
  // Those of the session group that have not ended, oldest first.
  std::vector<const Session*> live_members(std::string_view session_group) const;
  std::vector<const Kernel*> kernels_of(const SessionId& session) const;  // by local rank
  std::vector<const Kernel*> kernels_on(const AgentId& agent) const;  // those that hold resources
  bool is_member(const ProjectId& project, const UserId& user) const;
  std::vector<const ResourceGroup*> accessible_groups(const DomainName& domain,
                                                      const ProjectId& project,
                                                      const AccessKey& key) const;
  // Of a resource group: by agent, then by reservation.
  std::vector<ReservationGap> reservation_gaps(const ResourceGroupName& group) const;

  const State& state() const noexcept { return *state_; }  // for the library's own use

 private:
  std::unique_ptr<const State> state_;
};

using SnapshotPtr = std::shared_ptr<const Snapshot>;

}  // namespace bai

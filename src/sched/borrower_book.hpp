// The sessions of projects that have borrowed quota, in the order in which a resource group's rules
// end them, from pass to pass.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/change_log.hpp"
#include "sched/policy_set.hpp"
#include "sched/victims.hpp"

namespace bai::sched {

class Mirror;

// A project that holds more of these slots than its own.
struct Borrower {
  ProjectId project;
  std::vector<SlotIndex> slots;  // ordered, not empty
  friend auto operator<=>(const Borrower&, const Borrower&) = default;
};

// One resource group's; sessions of all of them. Knows a project from the first time that somebody
// asks about it; from then on it follows the log of sessions that may be ended. So it has no more
// entries than there are such sessions.
// Belongs to the thread that plans the group.
class BorrowerBook {
 public:
  using Sessions = std::set<VictimKey>;

  // Before anything is asked in a pass. `magnitudes`: what sessions are weighed by, where they are.
  void follow(const Mirror& mirror, const PreemptionRules& rules, const Magnitudes& magnitudes);
  // Who may be ended and has something of the slot, in order. Until the next call of any kind.
  const Sessions& sessions(const Mirror& mirror, const ProjectId& project, SlotIndex slot);

  std::size_t size() const noexcept { return entries_.size(); }
  // Sessions that it has put into their places, so far.
  std::uint64_t looked_at() const noexcept { return looked_at_; }

 private:
  struct Entry {
    ProjectId project;
    VictimKey key;
    std::uint64_t holds = 0;  // slots, as bit_of() says
  };
  using Projects = std::map<ProjectId, std::map<SlotIndex, Sessions>>;

  void clear();
  void enter(const Mirror& mirror, const Tenant& tenant);
  void remove(const SessionId& session);
  void refresh(const Mirror& mirror, const SessionId& session);

  PreemptionRules rules_;
  Magnitudes magnitudes_;
  ChangeLog<SessionId>::Place seen_;
  Projects projects_;
  std::unordered_map<SessionId, Entry> entries_;
  std::uint64_t looked_at_ = 0;
};

}  // namespace bai::sched

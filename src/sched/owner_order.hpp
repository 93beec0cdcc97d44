// Owners of pending sessions in the order in which they take their turns, kept from pass to pass:
// what has changed is put into its place, the rest is not looked at.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bai_manager/policy.hpp"
#include "sched/change_log.hpp"
#include "sched/owner_queue.hpp"

namespace bai::sched {

class Mirror;
struct Group;

struct OwnerRank {  // a fraction; the smallest goes first
  std::int64_t part = 0, whole = 1;
  friend bool operator<(const OwnerRank& a, const OwnerRank& b);
};

// Owners that move together, by (domain, project) or all in one; the smallest goes first.
using TeamRank = std::pair<std::int32_t, std::int32_t>;

// How a sequencer ranks owners in one pass.
class OwnerRanks {
 public:
  virtual ~OwnerRanks() = default;
  // Who ranks, which fixes the teams, and by what: when the latter differs all ranks may.
  virtual std::uint64_t kind() const = 0;
  virtual std::array<std::uint64_t, 3> basis() const = 0;
  // The same basis at an earlier moment: all ranks may differ, too.
  virtual Timestamp moment() const = 0;
  // Adds the owners whose rank may have changed since; false: anybody's.
  virtual bool changed_since(ChangeLog<std::uint32_t>::Place& since,
                             std::vector<std::uint32_t>& owners) const = 0;
  virtual std::uint64_t team(std::uint32_t owner) = 0;
  virtual TeamRank team_rank(std::uint64_t team) = 0;  // stays while sessions are placed
  // Of that the first part, which is the same for all teams whose number begins alike (the upper
  // half), and what is not above the second, at this moment and later.
  virtual std::int32_t upper_rank(std::uint64_t team) { return team_rank(team).first; }
  virtual std::int32_t team_floor(std::uint64_t team) { return team_rank(team).second; }
  // Adds the teams whose floor may have changed since; false: anybody's.
  virtual bool teams_changed_since(ChangeLog<std::uint64_t>::Place&,
                                   std::vector<std::uint64_t>&) const {
    return true;
  }
  virtual OwnerRank rank(std::uint32_t owner) = 0;  // now; may grow while sessions are placed
  // Not above its rank, at this moment and later.
  virtual OwnerRank floor(std::uint32_t owner) = 0;
  // Whether a rank that is above the floor will be so in the next pass.
  virtual bool rises() const = 0;
};

class OwnerOrder {
 public:
  struct Team;
  struct Spot {  // where an owner is
    Team* team = nullptr;
    std::uint32_t at = 0;
  };
  struct Place {  // an owner with its oldest session in the band
    OwnerRank rank;
    Timestamp created_at;
    SessionId id;
    PendingIndex session = 0;
    std::uint32_t owner = 0;
    Spot* spot = nullptr;
    friend bool operator<(const Place& a, const Place& b);
  };
  // A heap: what is at i is not after what is at 2i+1 and 2i+2. Never empty between calls.
  struct Team {
    std::uint64_t number = 0;
    std::vector<Place> places;
    std::uint32_t at = 0;  // in Band::floors
  };
  struct TeamFloor {
    std::uint64_t number = 0;
    std::int32_t floor = 0;  // OwnerRanks::team_floor
    Team* team = nullptr;
  };
  struct Band {
    std::unordered_map<std::uint64_t, Team> teams;
    std::vector<TeamFloor> floors;                  // of all of them, side by side
    std::unordered_map<std::uint32_t, Spot> spots;  // by owner
  };

  // Brings the order up to date with the mirror, by the floors of `ranks`.
  void follow(const Mirror& mirror, const Group& group, OwnerRanks& ranks);
  // Null: nobody waits there.
  const Band* band(std::int32_t priority) const noexcept {
    const auto it = bands_.find(priority);
    return it == bands_.end() ? nullptr : &it->second;
  }
  // The next call of follow() looks at the owner again.
  void rate_again(std::uint32_t owner) { due_.push_back(owner); }
  void rate_team_again(std::uint64_t team) { due_teams_.push_back(team); }

 private:
  void build(const Mirror& mirror, const Group& group, OwnerRanks& ranks);
  void refresh(std::int32_t priority, std::uint32_t owner, const Mirror& mirror, const Group& group,
               OwnerRanks& ranks);
  void rate(std::uint32_t owner, OwnerRanks& ranks);
  void rate_team(std::uint64_t team, OwnerRanks& ranks);
  void rate_all(OwnerRanks& ranks);
  void enter(Band& band, const OwnerHead& head, const Mirror& mirror, OwnerRanks& ranks);
  void erase(std::int32_t priority, std::uint32_t owner);

  std::map<std::int32_t, Band> bands_;  // none is empty
  std::uint64_t kind_ = 0;
  std::array<std::uint64_t, 3> basis_{};
  Timestamp moment_;
  ChangeLog<OwnerChange>::Place queue_place_;
  ChangeLog<std::uint32_t>::Place rank_place_;
  ChangeLog<std::uint64_t>::Place team_place_;
  std::vector<std::uint32_t> due_;
  std::vector<std::uint64_t> due_teams_;
  std::size_t owners_ = 0;  // in all bands
};

}  // namespace bai::sched

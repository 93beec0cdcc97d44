#include "sched/owner_order.hpp"

#include <algorithm>

#include "sched/mirror.hpp"

namespace bai::sched {

namespace {

using Place = OwnerOrder::Place;
using Team = OwnerOrder::Team;

void put(Team& team, std::size_t at, Place place) {
  place.spot->at = static_cast<std::uint32_t>(at);
  team.places[at] = place;
}

// `place` goes to `at`, or to where it belongs above or below.
void settle(Team& team, std::size_t at, const Place& place) {
  auto& places = team.places;
  while (at > 0 && place < places[(at - 1) / 2]) {
    put(team, at, places[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
  for (std::size_t child = 2 * at + 1; child < places.size(); child = 2 * at + 1) {
    if (child + 1 < places.size() && places[child + 1] < places[child]) ++child;
    if (!(places[child] < place)) break;
    put(team, at, places[child]);
    at = child;
  }
  put(team, at, place);
}

void make_heap(Team& team) {
  std::ranges::make_heap(team.places, [](const Place& a, const Place& b) { return b < a; });
  for (std::size_t at = 0; at < team.places.size(); ++at) {
    team.places[at].spot->at = static_cast<std::uint32_t>(at);
  }
}

}  // namespace

bool operator<(const OwnerRank& a, const OwnerRank& b) {
  return Int128{a.part} * b.whole < Int128{b.part} * a.whole;
}

bool operator<(const OwnerOrder::Place& a, const OwnerOrder::Place& b) {
  if (a.rank < b.rank) return true;
  if (b.rank < a.rank) return false;
  if (a.created_at != b.created_at) return a.created_at < b.created_at;
  return a.id < b.id;
}

void OwnerOrder::follow(const Mirror& mirror, const Group& group, OwnerRanks& ranks) {
  const bool is_other_kind = kind_ != ranks.kind();
  if (is_other_kind) {  // in other logs
    rank_place_ = {};
    team_place_ = {};
  }
  const auto queues = group.owner_changes.since(queue_place_);
  bool all = !ranks.changed_since(rank_place_, due_);
  all = !ranks.teams_changed_since(team_place_, due_teams_) || all;
  if (is_other_kind || !queues || queues->size() > owners_) {
    build(mirror, group, ranks);
  } else {
    all = all || basis_ != ranks.basis() || ranks.moment() < moment_ || due_.size() > owners_ / 4;
    for (const OwnerChange& change : *queues) {
      refresh(change.priority, change.owner, mirror, group, ranks);
    }
    if (all) {
      rate_all(ranks);
    } else {
      for (const std::uint32_t owner : due_) rate(owner, ranks);
      for (const std::uint64_t team : due_teams_) rate_team(team, ranks);
    }
  }
  due_.clear();
  due_teams_.clear();
  kind_ = ranks.kind();
  basis_ = ranks.basis();
  moment_ = ranks.moment();
}

void OwnerOrder::build(const Mirror& mirror, const Group& group, OwnerRanks& ranks) {
  bands_.clear();
  owners_ = 0;
  for (const auto& [priority, owners] : group.owners) {
    Band& band = bands_[priority];
    band.spots.reserve(owners.heads().size());
    for (const OwnerHead& head : owners.heads()) enter(band, head, mirror, ranks);
    for (auto& [number, team] : band.teams) make_heap(team);
  }
}

// At the end of its team's heap, which is in order no longer.
void OwnerOrder::enter(Band& band, const OwnerHead& head, const Mirror& mirror, OwnerRanks& ranks) {
  const std::uint64_t number = ranks.team(head.owner);
  const auto [known, is_new] = band.teams.try_emplace(number);
  Team& team = known->second;
  if (is_new) {
    team.number = number;
    team.at = static_cast<std::uint32_t>(band.floors.size());
    band.floors.push_back({number, ranks.team_floor(number), &team});
  }
  Spot& spot = band.spots[head.owner];
  spot = {&team, static_cast<std::uint32_t>(team.places.size())};
  team.places.push_back({ranks.floor(head.owner), head.created_at,
                         mirror.waiting(head.session).session.id, head.session, head.owner, &spot});
  ++owners_;
}

void OwnerOrder::erase(std::int32_t priority, std::uint32_t owner) {
  const auto at = bands_.find(priority);
  if (at == bands_.end()) return;
  Band& band = at->second;
  const auto spot = band.spots.find(owner);
  if (spot == band.spots.end()) return;
  Team& team = *spot->second.team;
  const std::size_t hole = spot->second.at;
  const Place last = team.places.back();
  team.places.pop_back();
  if (hole < team.places.size()) settle(team, hole, last);
  band.spots.erase(spot);
  --owners_;
  if (!team.places.empty()) return;
  band.floors[team.at] = band.floors.back();
  band.floors[team.at].team->at = team.at;
  band.floors.pop_back();
  band.teams.erase(team.number);
  if (band.teams.empty()) bands_.erase(at);
}

void OwnerOrder::refresh(std::int32_t priority, std::uint32_t owner, const Mirror& mirror,
                         const Group& group, OwnerRanks& ranks) {
  const auto owners = group.owners.find(priority);
  const OwnerHead* head = owners != group.owners.end() ? owners->second.head(owner) : nullptr;
  if (head == nullptr) return erase(priority, owner);
  Band& band = bands_[priority];
  const auto spot = band.spots.find(owner);
  if (spot == band.spots.end()) {
    enter(band, *head, mirror, ranks);
    Team& team = *band.spots.find(owner)->second.team;
    settle(team, team.places.size() - 1, Place(team.places.back()));
    return;
  }
  Place place = spot->second.team->places[spot->second.at];
  place.created_at = head->created_at;
  place.id = mirror.waiting(head->session).session.id;
  place.session = head->session;
  settle(*spot->second.team, spot->second.at, place);
}

void OwnerOrder::rate(std::uint32_t owner, OwnerRanks& ranks) {
  for (auto& [priority, band] : bands_) {
    const auto spot = band.spots.find(owner);
    if (spot == band.spots.end()) continue;
    Place place = spot->second.team->places[spot->second.at];
    place.rank = ranks.floor(owner);
    settle(*spot->second.team, spot->second.at, place);
  }
}

void OwnerOrder::rate_team(std::uint64_t number, OwnerRanks& ranks) {
  for (auto& [priority, band] : bands_) {
    const auto team = band.teams.find(number);
    if (team != band.teams.end()) band.floors[team->second.at].floor = ranks.team_floor(number);
  }
}

void OwnerOrder::rate_all(OwnerRanks& ranks) {
  for (auto& [priority, band] : bands_) {
    for (TeamFloor& floor : band.floors) floor.floor = ranks.team_floor(floor.number);
    for (auto& [number, team] : band.teams) {
      for (Place& place : team.places) place.rank = ranks.floor(place.owner);
      make_heap(team);
    }
  }
}

}  // namespace bai::sched

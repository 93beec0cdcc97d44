// What agents have free after all that conservative backfill has promised on them, from pass to
// pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>

#include "sched/profile.hpp"

namespace bai::sched {

// A profile is kept as long as all that it rests on is as it was: the agent, what is held there and
// until when, the promises on it, and that none of its times has come: what was to end by then and
// has not is expected to end later.
class Timetable {
 public:
  // At the beginning of a pass: drops what has changed since the pass before, and moves the rest on
  // to `now`. What has become of promises is up to the caller.
  void follow(const Group& group, Timestamp now);

  void put(AgentIndex agent, Profile profile) {
    profiles_.insert_or_assign(agent, std::move(profile));
  }
  void drop(std::span<const AgentIndex> agents);
  void drop_all() { profiles_.clear(); }
  bool has(AgentIndex agent) const { return profiles_.contains(agent); }
  // All, which it keeps no longer.
  std::unordered_map<AgentIndex, Profile> take() { return std::exchange(profiles_, {}); }

 private:
  std::unordered_map<AgentIndex, Profile> profiles_;
  // As of the beginning of the last pass.
  std::uint64_t epoch_ = 0, settings_epoch_ = 0, ends_epoch_ = 0;
  std::size_t changes_ = 0, ends_ = 0;
  std::shared_ptr<const ResourceGroup> settings_;
};

}  // namespace bai::sched

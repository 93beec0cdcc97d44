// Starts that were promised to waiting sessions and are kept from pass to pass.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/future.hpp"

namespace bai::sched {

// The session will start then, there, or earlier.
struct KeptPromise {
  PendingIndex session = 0;
  // What it was promised for; when one of these differs it is another wish.
  std::uint32_t generation = 0, request = 0, request_generation = 0;
  Duration estimate;
  Future::Start start;
  std::vector<AgentId> agents;  // as in `start`, whose numbers may be from an older pass
};

KeptPromise keep_promise(const Mirror& mirror, const Group& group, PendingIndex session,
                         Future::Start start);
// Whether the session still wants what it was promised for.
bool is_wanted(const Mirror& mirror, const Group& group, const KeptPromise& promise);
// Brings numbers of agents up to date. False: one of them has left.
bool renumber(const Group& group, KeptPromise& promise);

// What a resource group remembers of its promises between passes.
struct PromiseMemory {
  std::vector<KeptPromise> kept;  // in the order in which they were made
  std::vector<AgentIndex> freed;  // by promises, after others had been looked at; in numbers of
                                  // that `epoch`
  std::uint64_t epoch = 0, settings_epoch = 0, estimates_epoch = 0;
  std::size_t changes_seen = 0;  // of AgentTable::changed
  bool had_reservations = false;
  std::shared_ptr<const ResourceGroup> settings;
};

// One pass of conservative backfill. What was promised before is promised again before anything
// else happens, as long as the agents still have room for it; so nobody is ever promised a later
// start than before unless capacity was lost or something ran longer than it said.
//
// A session can only be better off than before on an agent that has changed since, or that another
// promise has left: `improved` ones. All others need not be looked at for it.
class Promises {
 public:
  // Everything outlives it. `has_reservations`: what they keep changes with time.
  Promises(const Mirror& mirror, const Group& group, PromiseMemory& memory, Future& future,
           bool has_reservations);
  // What is to be remembered: promises that this pass has made or not looked at. `is_whole`: all
  // were looked at that may be better off now.
  void remember(bool is_whole);

  // Those of the last pass, to be laid down again one by one.
  std::vector<KeptPromise> take_old() { return std::move(old_); }
  // Whether the session still wants what it was promised for; numbers of agents are brought up to
  // date. False: the promise is void and its agents are free.
  bool is_valid(KeptPromise& promise);

  std::size_t size() const noexcept { return laid_.size(); }
  bool has(PendingIndex session) const noexcept { return laid_.contains(session); }
  std::vector<PendingIndex> undrawn() const;  // not looked at in this pass, in order

  KeptPromise make(PendingIndex session, Future::Start start) const {
    return keep_promise(mirror_, group_, session, std::move(start));
  }
  void lay(KeptPromise promise);
  // The same for one that `future` knows already.
  void lay_known(KeptPromise promise);
  // Takes the session's promise back while it is looked at; nothing: it has none.
  std::optional<KeptPromise> lift(PendingIndex session);
  // The session's promise; null: it has none.
  const KeptPromise* find(PendingIndex session) const;
  // It was looked at and keeps its promise as it is: what lift() and lay() come to.
  void stand(PendingIndex session);
  // It is not laid down again: its agents may be of use to others.
  void free(const KeptPromise& promise);
  // The session starts now, if all goes well: kept once more, for the case that it does not.
  void started(KeptPromise promise);

  // Agents that promises have left in this pass.
  const std::vector<AgentIndex>& freed() const noexcept { return freed_; }
  bool improves_all() const noexcept { return all_improved_; }
  bool improves_none() const noexcept { return !all_improved_ && improved_.empty(); }
  const std::vector<AgentIndex>& improved() const noexcept { return improved_; }

 private:
  struct Laid {
    KeptPromise promise;
    std::uint64_t number = 0;  // in the order in which they are laid
    bool is_drawn = false;
  };
  void improve(AgentIndex agent);

  const Mirror& mirror_;
  const Group& group_;
  PromiseMemory& memory_;
  Future& future_;
  bool all_improved_ = false;
  std::vector<AgentIndex> improved_;  // ordered
  std::vector<KeptPromise> old_;
  std::unordered_map<PendingIndex, Laid> laid_;
  std::vector<KeptPromise> started_;
  std::vector<AgentIndex> freed_;
  std::uint64_t next_number_ = 0;
  bool laying_old_ = true;
  bool has_reservations_;
};

}  // namespace bai::sched

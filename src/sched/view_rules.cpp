// What a view says about others' sessions: who waits for whom, who has used how much.
#include <algorithm>
#include <limits>

#include "sched/view_source.hpp"

namespace bai {

namespace {

// Whether a session waits for a ring of dependencies. A walk in depth that visits each session once
// in a pass, however long the chains are.
class RingFinder {
 public:
  RingFinder(const sched::Mirror& mirror, std::unordered_map<PendingIndex, bool>& known)
      : mirror_(mirror), known_(known) {}

  bool waits_for_ring(PendingIndex session) {
    if (const auto it = known_.find(session); it != known_.end()) return it->second;
    enter(session);
    while (!path_.empty()) step();
    return known_.at(session);
  }

  std::vector<PendingIndex> dependencies(PendingIndex session) const {
    std::vector<PendingIndex> waits_for;
    const auto& details = mirror_.waiting(session).details;
    if (details == nullptr) return waits_for;
    for (const std::string& text : details->dependencies) {
      const auto id = parse_uuid<SessionId>(text);
      const auto at = id ? mirror_.find_waiting(*id) : std::nullopt;
      if (at) waits_for.push_back(*at);
    }
    return waits_for;
  }

 private:
  struct Frame {
    PendingIndex session;
    std::vector<PendingIndex> dependencies;
    std::size_t next = 0;
    bool in_ring = false;
  };

  void enter(PendingIndex session) {
    path_.push_back({session, dependencies(session)});
    on_path_.insert_or_assign(session, true);
  }
  void step() {
    Frame& frame = path_.back();
    if (frame.next == frame.dependencies.size() || frame.in_ring) {
      const bool in_ring = frame.in_ring;
      known_[frame.session] = in_ring;
      on_path_.erase(frame.session);
      path_.pop_back();
      if (!path_.empty()) path_.back().in_ring = path_.back().in_ring || in_ring;
      return;
    }
    const PendingIndex next = frame.dependencies[frame.next++];
    if (on_path_.contains(next)) {
      frame.in_ring = true;
    } else if (const auto it = known_.find(next); it != known_.end()) {
      frame.in_ring = it->second;
    } else {
      enter(next);
    }
  }

  const sched::Mirror& mirror_;
  std::unordered_map<PendingIndex, bool>& known_;
  std::vector<Frame> path_;
  std::unordered_map<PendingIndex, bool> on_path_;
};

}  // namespace

std::optional<PendingIndex> OwnerQueue::front() const noexcept {
  return queue_->at({block_, entry_});
}

void OwnerQueue::pop() noexcept {
  const auto next = queue_->after({block_, entry_});
  block_ = next.block;
  entry_ = next.entry;
}

std::span<const OwnerHead> SchedView::owner_heads(std::int32_t priority) const noexcept {
  const auto band = source_->group.owners.find(priority);
  if (band == source_->group.owners.end()) return {};
  return band->second.heads();
}

OwnerQueue SchedView::owner_queue(std::int32_t priority, std::uint32_t owner) const noexcept {
  const auto band = source_->group.owners.find(priority);
  if (band == source_->group.owners.end()) return {};
  const sched::AgeQueue* queue = band->second.queue(owner);
  return queue != nullptr ? OwnerQueue(*queue) : OwnerQueue();
}

const std::string& SchedView::image(const PendingSession& session) const noexcept {
  return source_->mirror.image(session.image);
}

const ResourceGroup& SchedView::settings() const noexcept { return *source_->group.row; }

std::vector<SessionId> SchedView::dependency_ring(const PendingSession& session) const {
  const sched::Mirror& mirror = source_->mirror;
  const auto start = mirror.find_waiting(session.id);
  if (!start) return {};
  RingFinder finder(mirror, source_->memo.rings);
  if (!finder.waits_for_ring(*start)) return {};
  // From one that waits for the ring to the next, until one comes again.
  std::vector<PendingIndex> path{*start};
  std::vector<SessionId> ids;
  while (path.size() < kRingShown) {
    const auto dependencies = finder.dependencies(path.back());
    const auto next = std::ranges::find_if(
        dependencies, [&](PendingIndex at) { return finder.waits_for_ring(at); });
    const auto seen = std::ranges::find(path, *next);
    if (seen == path.end()) {
      path.push_back(*next);
      continue;
    }
    path.erase(path.begin(), seen);
    break;
  }
  for (const PendingIndex at : path) ids.push_back(mirror.waiting(at).session.id);
  return ids;
}

DominantShare SchedView::dominant_share(std::uint32_t owner, bool with_granted) const {
  const sched::Mirror& mirror = source_->mirror;
  sched::ShareCache& cache = sched::shares_of(*source_);
  const auto largest = [&](auto&& held) {
    DominantShare share;
    for (const auto& [slot, capacity] : cache.capacities) {
      if (sched::Int128{share.held} * capacity < sched::Int128{held(slot)} * share.capacity) {
        share = {held(slot), capacity};
      }
    }
    return share;
  };
  const std::uint32_t scope = mirror.user_scope(owner);
  if (with_granted && source_->ledger.has_granted() && source_->ledger.granted(scope) != nullptr) {
    const HeldAmounts amounts = held(ScopeKind::User, owner);
    return largest([&](SlotIndex slot) { return amounts.of(slot); });
  }
  if (owner >= cache.by_owner.size()) cache.by_owner.resize(owner + 1);
  sched::ShareCache::Entry& entry = cache.by_owner[owner];
  if (entry.version != mirror.scope_version(scope)) {
    const auto& units = mirror.scope(scope).units;
    entry = {largest([&](SlotIndex slot) { return slot < units.size() ? units[slot] : 0; }),
             mirror.scope_version(scope)};
  }
  return entry.share;
}

HeldAmounts SchedView::held(ScopeKind kind, std::uint32_t owner) const noexcept {
  const std::uint32_t at = source_->mirror.owner(owner).scopes[static_cast<std::size_t>(kind)];
  const sched::Scope& scope = source_->mirror.scope(at);
  HeldAmounts held{scope.units, {}, scope.sessions, scope.sftp_sessions};
  if (const sched::Scope* granted = source_->ledger.granted(at)) {
    held.granted = granted->units;
    held.sessions += granted->sessions;
    held.sftp_sessions += granted->sftp_sessions;
  }
  return held;
}

const sched::ViewSource& sched::source_of(const SchedView& view) noexcept { return *view.source_; }

FairShareFactors SchedView::fair_share(std::uint32_t owner,
                                       const FairShareSettings& settings) const {
  const sched::Mirror& mirror = source_->mirror;
  sched::GroupShares* shares = mirror.tenancy().shares(source_->group.name);
  if (shares == nullptr) return {};
  const sched::FairShareMoment moment = sched::moment_of(*source_);
  return shares->factors(owner, mirror.owner(owner).owner, settings, moment, mirror.slots());
}

const KeypairPolicy* SchedView::other_key_policy(const PendingSession& session) const noexcept {
  const Owner& names = owner(session);
  if (source_->mirror.is_main_key(names.user, names.access_key)) return nullptr;
  return source_->mirror.key_policy(names.access_key);
}

namespace sched {

ShareCache& shares_of(const ViewSource& source) {
  ShareCache& cache = source.group.shares;
  const std::uint64_t version = source.mirror.version().value;
  if (cache.capacity_version == version) return cache;
  const SchedView view(source);
  std::vector<std::pair<SlotIndex, std::int64_t>> capacities;
  for (SlotIndex slot = 0; slot < view.slot_count(); ++slot) {
    if (const std::int64_t c = view.group_capacity(slot); c > 0) capacities.emplace_back(slot, c);
  }
  if (capacities != cache.capacities) {
    cache.by_owner.clear();
    ++cache.revision;
  }
  cache.capacities = std::move(capacities);
  cache.capacity_version = version;
  return cache;
}

FairShareMoment moment_of(const ViewSource& source) {
  const SchedView view(source);
  ViewMemo& memo = source.memo;
  for (auto slot = static_cast<SlotIndex>(memo.capacities.size()); slot < view.slot_count();
       ++slot) {
    memo.capacities.push_back(view.group_capacity(slot));
    memo.types.push_back(view.slot_type(slot));
  }
  return {source.now, source.mirror.version().value, memo.capacities, memo.types};
}

std::optional<PendingIndex> Mirror::find_waiting(const SessionId& id) const noexcept {
  const auto it = sessions_.find(id);
  if (it == sessions_.end() || it->second.waiting == kNone) return std::nullopt;
  return waiting_[it->second.waiting].has_row ? std::optional(it->second.waiting) : std::nullopt;
}

const KeypairPolicy* Mirror::key_policy(const AccessKey& key) const noexcept {
  const auto name = key_policies_.find(key);
  if (name == key_policies_.end()) return nullptr;
  const auto policy = policies_.find(name->second);
  return policy == policies_.end() ? nullptr : policy->second.get();
}

bool Mirror::is_main_key(const UserId& user, const AccessKey& key) const noexcept {
  const auto main = main_keys_.find(user);
  return main != main_keys_.end() && main->second == key;
}

}  // namespace sched

}  // namespace bai

#include "sched/domain_rooms.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include "sched/requirement_key.hpp"

namespace bai::sched {

namespace {

constexpr std::int64_t kCopiesOnAgent = 1 << 20;  // counted at most

bool suits(const AgentTable& agents, AgentIndex agent, const Requirement& requirement) {
  return agents.takes_sessions(agent) && agents.architecture(agent) == requirement.architecture &&
         agents.labels_match(agent, requirement.labels);
}

}  // namespace

std::uint32_t copies_on(const AgentTable& agents, AgentIndex agent, const Requirement& requirement,
                        std::uint32_t container_limit) {
  if (!suits(agents, agent, requirement)) return 0;
  std::int64_t most = kCopiesOnAgent;
  if (container_limit != kNoContainerLimit) {
    const std::int64_t places =
        std::int64_t{container_limit} - std::int64_t{agents.containers(agent)};
    most = std::min(most, places / std::max<std::int64_t>(1, requirement.containers));
  }
  for (const SlotRequest& r : requirement.slots) {
    if (r.units > 0) most = std::min(most, agents.free(agent, r.slot) / r.units);
  }
  if (most <= 0 || !agents.fits(agent, requirement)) return 0;
  return static_cast<std::uint32_t>(most);
}

namespace {

// The same when those have left who may be ended there, at most.
std::uint32_t copies_at_most(const AgentTable& agents, AgentIndex agent,
                             const Requirement& requirement, std::uint32_t container_limit,
                             const VictimIndex::Stakes& stakes) {
  if (!suits(agents, agent, requirement)) return 0;
  std::int64_t most = kCopiesOnAgent;
  const VictimIndex::Stakes::On on = stakes.on(agent);
  if (container_limit != kNoContainerLimit) {
    const std::int64_t places =
        std::int64_t{container_limit} + on.containers() - std::int64_t{agents.containers(agent)};
    most = std::min(most, places / std::max<std::int64_t>(1, requirement.containers));
  }
  for (const SlotRequest& r : requirement.slots) {
    if (r.units <= 0) continue;
    if (!agents.has_slot(agent, r.slot)) return 0;
    const Int128 units = Int128{agents.free(agent, r.slot)} + on.units(r.slot);
    most = static_cast<std::int64_t>(std::min<Int128>(most, units / r.units));
  }
  return static_cast<std::uint32_t>(std::max<std::int64_t>(0, most));
}

}  // namespace

void DomainRooms::set(const Topology& topology, const Stakes* stakes, AgentIndex agent,
                      std::uint32_t copies) {
  const std::uint32_t before = std::exchange(copies_[agent], copies);
  if (before == copies && stakes == nullptr) return;
  for (std::size_t level = 0; level < sums_.size(); ++level) {
    const std::uint32_t domain = topology.domain_of(level, agent);
    if (domain == Topology::kNoDomain) continue;
    sums_[level][domain] += std::uint64_t{copies} - std::uint64_t{before};  // wraps and back
    if (stakes == nullptr) continue;
    First& first = firsts_[level][domain];
    const VictimKey& here = first_on(*stakes, agent);
    if (here <= first.key) {
      first = {here, agent};
    } else if (first.on == agent) {
      first.on = AgentLog::kGone;
      stale_.emplace_back(level, domain);
    }
  }
}

DomainRooms::First DomainRooms::first_of(const Topology::Domain& domain,
                                         const Stakes& stakes) const {
  First first;
  for (const AgentIndex agent : domain.agents) {
    if (const VictimKey& here = first_on(stakes, agent); here < first.key) first = {here, agent};
  }
  return first;
}

void DomainRooms::settle(const Topology& topology, const Stakes* stakes) {
  for (const auto& [level, domain] : stale_) {
    firsts_[level][domain] = first_of(topology.domains(level)[domain], *stakes);
  }
  stale_.clear();
}

void DomainRooms::sum_up(const Topology& topology, const Stakes* stakes) {
  sums_.resize(topology.levels());
  firsts_.resize(stakes != nullptr ? topology.levels() : 0);
  for (std::size_t level = 0; level < firsts_.size(); ++level) {
    firsts_[level].clear();
    for (const Topology::Domain& domain : topology.domains(level)) {
      firsts_[level].push_back(first_of(domain, *stakes));
    }
  }
  for (std::size_t level = 0; level < sums_.size(); ++level) {
    const auto domains = topology.domains(level);
    sums_[level].assign(domains.size(), 0);
    for (std::size_t d = 0; d < domains.size(); ++d) {
      for (const AgentIndex agent : domains[d].agents) sums_[level][d] += copies_[agent];
    }
  }
}

void RoomsCache::drop_unused(std::size_t agents) {
  while (!known_.empty() &&
         (known_.size() >= kKindsMax || (known_.size() + 1) * agents > kCopiesMax)) {
    known_.erase(
        std::ranges::min_element(known_, {}, [](const auto& known) { return known.second.used_; }));
  }
}

const DomainRooms& RoomsCache::refreshed(const Topology& topology, const AgentTable& agents,
                                         const Requirement& requirement, const LabelRule& labels,
                                         std::uint32_t container_limit,
                                         const VictimIndex::Stakes* stakes) {
  ++calls_;
  const std::uint64_t kind = stakes != nullptr ? stakes->kind() : 0;
  const std::uint64_t built = stakes != nullptr ? stakes->built() : 0;
  const std::uint64_t key = content_hash(requirement, labels) ^ kind * 0x9e3779b97f4a7c15ULL;
  auto it = known_.find(key);
  if (it == known_.end()) {
    drop_unused(agents.size());
    it = known_.try_emplace(key).first;
  }
  DomainRooms& rooms = it->second;
  rooms.used_ = calls_;
  const auto copies = [&](AgentIndex agent) {
    ++looked_at_;
    return stakes == nullptr ? copies_on(agents, agent, requirement, container_limit)
                             : copies_at_most(agents, agent, requirement, container_limit, *stakes);
  };
  const auto& changed = agents.changed();
  const auto read = stakes != nullptr ? stakes->changed().since(rooms.read_)
                                      : std::optional(std::span<const AgentIndex>());
  if (rooms.epoch_ != agents.epoch() || rooms.container_limit_ != container_limit ||
      !asks_alike(rooms.requirement_, requirement) || rooms.labels_ != labels ||
      rooms.stakes_ != kind || rooms.built_ != built || !read ||
      changed.size() - rooms.followed_ > agents.size()) {
    rooms.requirement_ = requirement;
    rooms.labels_ = labels;
    rooms.container_limit_ = container_limit;
    rooms.stakes_ = kind;
    rooms.built_ = built;
    rooms.copies_.resize(agents.size());
    for (AgentIndex a = 0; a < agents.size(); ++a) rooms.copies_[a] = copies(a);
    rooms.sum_up(topology, stakes);
  } else {
    if (rooms.topology_ != topology.version()) rooms.sum_up(topology, stakes);
    // An agent that changed several times is looked at once.
    seen_.resize(agents.size(), 0);
    const auto look_at = [&](std::span<const AgentIndex> some) {
      for (const AgentIndex agent : some) {
        if (std::exchange(seen_[agent], calls_) == calls_) continue;
        rooms.set(topology, stakes, agent, copies(agent));
      }
    };
    look_at(std::span(changed).subspan(rooms.followed_));
    look_at(*read);
    rooms.settle(topology, stakes);
  }
  rooms.epoch_ = agents.epoch();
  rooms.followed_ = changed.size();
  rooms.topology_ = topology.version();
  return rooms;
}

GangRooms::GangRooms(const Topology& topology, std::size_t levels)
    : topology_(topology), levels_(levels), sums_(levels) {
  for (std::size_t level = 0; level < levels; ++level) {
    levels_[level].resize(topology.domains(level).size());
  }
}

void GangRooms::add(const DomainRooms& rooms, std::span<const AgentIndex> without,
                    std::uint64_t wanted, Copies instead) {
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    const auto in = rooms.in(level);
    sums_[level].assign(in.begin(), in.end());
    for (const AgentIndex agent : without) {
      const std::uint32_t domain = topology_.domain_of(level, agent);
      if (domain != Topology::kNoDomain) sums_[level][domain] -= rooms.on(agent);
    }
    for (const auto& [agent, copies] : instead) {
      const std::uint32_t domain = topology_.domain_of(level, agent);
      if (domain == Topology::kNoDomain || std::ranges::binary_search(without, agent)) continue;
      sums_[level][domain] += std::uint64_t{copies} - rooms.on(agent);  // wraps and back
    }
    if (!rooms.has_stakes()) continue;
    firsts_.resize(levels_.size());
    firsts_[level].resize(levels_[level].size(), kNobody);
    for (std::size_t d = 0; d < firsts_[level].size(); ++d) {
      firsts_[level][d] = std::min(firsts_[level][d], rooms.first(level, d));
    }
  }
  count(wanted);
}

void GangRooms::add(Copies copies, std::uint64_t wanted) {
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    sums_[level].assign(levels_[level].size(), 0);
    for (const auto& [agent, count] : copies) {
      const std::uint32_t domain = topology_.domain_of(level, agent);
      if (domain != Topology::kNoDomain) sums_[level][domain] += count;
    }
  }
  count(wanted);
}

void GangRooms::count(std::uint64_t wanted) {
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    for (std::size_t d = 0; d < sums_[level].size(); ++d) {
      Room& room = levels_[level][d];
      room.total += sums_[level][d];
      room.missing += wanted - std::min(wanted, sums_[level][d]);
    }
  }
}

const Topology::Domain* GangRooms::roomiest(std::size_t level) const {
  const auto most = std::ranges::max_element(levels_[level], {}, &Room::total);
  if (most == levels_[level].end()) return nullptr;
  return &topology_.domains(level)[static_cast<std::size_t>(most - levels_[level].begin())];
}

FittingDomains::FittingDomains(const Topology& topology, std::size_t level, const GangRooms& rooms)
    : domains_(topology.domains(level)) {
  for (std::size_t d = 0; d < domains_.size(); ++d) {
    const GangRooms::Room& room = rooms.room(level, d);
    if (room.missing == 0) heap_.emplace_back(room.total, d);
  }
  std::ranges::make_heap(heap_, std::greater<>());
}

const Topology::Domain* FittingDomains::next() {
  if (heap_.empty()) return nullptr;
  std::ranges::pop_heap(heap_, std::greater<>());
  const std::size_t domain = heap_.back().second;
  heap_.pop_back();
  return &domains_[domain];
}

}  // namespace bai::sched

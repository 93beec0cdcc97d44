#include "sched/domain_starts.hpp"

#include <algorithm>

#include "sched/profile.hpp"
#include "sched/requirement_key.hpp"

namespace bai::sched {

std::int64_t DomainStartsCache::find_time(const Group& group, const Started& started,
                                          const Topology::Domain& domain, const Kind& kind) {
  const AgentTable& agents = group.agents;
  const Requirement& requirement = kind.requirement;
  const std::size_t slots = agents.column_count();
  std::size_t room = 0;  // now
  gains_.clear();        // of room, by time
  for (const AgentIndex agent : domain.agents) {
    ++looked_at_;
    if (!agents.takes_sessions(agent) || agents.architecture(agent) != requirement.architecture ||
        !agents.labels_match(agent, requirement.labels)) {
      continue;
    }
    free_.resize(slots + 1);
    for (SlotIndex slot = 0; slot < slots; ++slot) free_[slot] = agents.free(agent, slot);
    free_[slots] = kind.container_limit == kNoContainerLimit
                       ? kManyPlaces
                       : std::int64_t{kind.container_limit} - agents.containers(agent);
    // Devices are known for what is there now only.
    std::size_t here =
        agents.fits(agent, requirement) ? copies(free_, requirement, kind.wanted) : 0;
    room += here;
    if (room >= kind.wanted) return StartTimes::kAtOnce;
    const auto release = [&](std::int64_t at, std::span<const SlotRequest> held,
                             std::int64_t containers) {
      give(free_, held, containers, 1);
      const std::size_t then = copies(free_, requirement, kind.wanted);
      if (then > here) gains_.emplace_back(at, then - std::exchange(here, then));
    };
    auto ours = started.on(agent);
    const auto release_ours = [&](std::int64_t before) {
      for (; !ours.empty() && ours.front().at < before; ours = ours.subspan(1)) {
        release(ours.front().at, *ours.front().slots, ours.front().containers);
      }
    };
    for (const auto& [key, held] : group.held_on(agent)) {
      if (key.first == kNeverEnds || here >= kind.wanted) break;
      release_ours(key.first);
      release(key.first, held->slots, 1);
    }
    release_ours(kNeverEnds);
  }
  std::ranges::sort(gains_);
  for (const auto& [at, more] : gains_) {
    room += more;
    if (room >= kind.wanted) return at;
  }
  return kNeverEnds;
}

std::span<const std::int64_t> DomainStartsCache::refreshed(const Mirror& mirror, const Group& group,
                                                           const Topology& topology,
                                                           const Started& started,
                                                           const Kind& kind) {
  const AgentTable& agents = group.agents;
  const auto domains = topology.domains(kind.level);
  const LabelRule& labels = mirror.label_rule(kind.requirement.labels);
  const std::uint64_t key = content_hash(kind.requirement, labels) ^
                            (kind.wanted << 8U | kind.level) * 0x9e3779b97f4a7c15ULL;
  auto it = known_.find(key);
  if (it == known_.end()) {
    if (kept_ + domains.size() > kTimesMax) {
      known_.clear();
      kept_ = 0;
    }
    it = known_.try_emplace(key).first;
  }
  Known& known = it->second;
  // What an older pass had started was taken back when it ended, so that its agents have changed.
  if (std::exchange(known.pass, pass_) != pass_) known.started = 0;
  const auto since = [](const std::vector<AgentIndex>& log, std::size_t from) {
    return std::span(log).subspan(std::min(from, log.size()));
  };
  const auto changes = since(agents.changed(), known.changes);
  const auto ends = since(group.ends.agents(), known.ends);
  const auto ours = since(started.log(), known.started);
  if (known.epoch != agents.epoch() || known.ends_epoch != group.ends.epoch() ||
      known.topology != topology.version() || !asks_alike(known.requirement, kind.requirement) ||
      known.labels != labels || known.wanted != kind.wanted || known.level != kind.level ||
      known.container_limit != kind.container_limit ||
      changes.size() + ends.size() + ours.size() > agents.size() + 8) {
    kept_ += domains.size() - known.times.size();
    known.requirement = kind.requirement;
    known.labels = labels;
    known.wanted = kind.wanted;
    known.level = kind.level;
    known.container_limit = kind.container_limit;
    known.times.resize(domains.size());
    for (std::size_t d = 0; d < domains.size(); ++d) {
      known.times[d] = find_time(group, started, domains[d], kind);
    }
  } else {
    seen_.resize(std::max(seen_.size(), domains.size()), 0);
    ++calls_;
    for (const auto log : {changes, ends, ours}) {
      for (const AgentIndex agent : log) {
        const std::uint32_t domain = topology.domain_of(kind.level, agent);
        if (domain == Topology::kNoDomain || std::exchange(seen_[domain], calls_) == calls_) {
          continue;
        }
        known.times[domain] = find_time(group, started, domains[domain], kind);
      }
    }
  }
  known.epoch = agents.epoch();
  known.ends_epoch = group.ends.epoch();
  known.topology = topology.version();
  known.changes = agents.changed().size();
  known.ends = group.ends.agents().size();
  known.started = started.log().size();
  return known.times;
}

}  // namespace bai::sched

#include "sched/start_times.hpp"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/assert.hpp"
#include "sched/requirement_key.hpp"

namespace bai::sched {

void Started::add(AgentIndex agent, Release release) {
  auto& on_agent = releases_[agent];
  on_agent.insert(std::ranges::upper_bound(on_agent, release.at, {}, &Release::at), release);
  log_.push_back(agent);
}

void Started::remove(AgentIndex agent, Release release) {
  auto& on_agent = releases_[agent];
  const auto it = std::ranges::find_if(on_agent, [&](const Release& other) {
    return other.at == release.at && other.slots == release.slots;
  });
  BAI_ASSERT(it != on_agent.end(), "what is withdrawn was placed");
  on_agent.erase(it);
  if (on_agent.empty()) releases_.erase(agent);
  log_.push_back(agent);
}

std::span<const Started::Release> Started::on(AgentIndex agent) const {
  const auto it = releases_.find(agent);
  if (it == releases_.end()) return {};
  return it->second;
}

StartTimes::InOrder::InOrder(const StartTimes& times, std::int64_t now, std::int64_t from,
                             std::int64_t limit)
    : times_(times), now_(now), from_(std::max(now, from)), limit_(limit) {
  if (times.tree_.width() > 0) push(1, 0);
}

void StartTimes::InOrder::push(std::size_t number, std::size_t first) {
  std::int64_t at = times_.tree_[number];
  if (at == kNeverEnds) return;
  at = std::max(from_, at == kAtOnce ? now_ : std::max(at, now_ + 1));
  if (at >= limit_) return;
  heap_.push_back({at, first, number});
  std::ranges::push_heap(heap_, std::greater<>());
}

std::optional<std::pair<std::int64_t, AgentIndex>> StartTimes::InOrder::next() {
  while (!heap_.empty()) {
    std::ranges::pop_heap(heap_, std::greater<>());
    const Node node = heap_.back();
    heap_.pop_back();
    if (node.number >= times_.tree_.width()) {
      return std::pair(node.at, static_cast<AgentIndex>(node.first));
    }
    const auto level = static_cast<unsigned>(std::bit_width(node.number));
    const std::size_t half = times_.tree_.width() >> level;
    push(2 * node.number, node.first);
    push(2 * node.number + 1, node.first + half);
  }
  return std::nullopt;
}

std::optional<AgentIndex> StartTimes::first_by(std::int64_t at, std::int64_t now,
                                               AgentIndex from) const {
  if (from >= rough_.size()) return std::nullopt;
  const std::int64_t latest = at > now ? at : kAtOnce;
  const std::size_t width = tree_.width();
  for (std::size_t number = width + from;;) {
    if (tree_[number] <= latest) {
      while (number < width) {
        number *= 2;
        if (tree_[number] > latest) ++number;
      }
      return static_cast<AgentIndex>(number - width);
    }
    while (number % 2 != 0) number /= 2;
    if (number == 0) return std::nullopt;
    ++number;
  }
}

namespace {

struct Found {
  std::int64_t time = kNeverEnds;
  bool is_rough = false;
};

// `missing`: working space.
Found find_time(const Mirror& mirror, const Group& group, const Started& started, AgentIndex agent,
                const Requirement& requirement, std::uint32_t container_limit,
                std::vector<SlotRequest>& missing) {
  const AgentTable& agents = group.agents;
  if (!agents.takes_sessions(agent) || agents.architecture(agent) != requirement.architecture ||
      !agents.labels_match(agent, requirement.labels)) {
    return {};
  }
  std::int64_t places = std::int64_t{agents.containers(agent)} + requirement.containers -
                        std::int64_t{container_limit};  // that are missing
  if (agents.fits(agent, requirement) && places <= 0) return {StartTimes::kAtOnce, false};
  // Where only the devices do not fit, any release may change that.
  missing.clear();
  for (const SlotRequest& r : requirement.slots) {
    if (r.units == 0) continue;
    if (r.slot >= agents.column_count()) return {};
    const std::int64_t units = r.units - agents.free(agent, r.slot);
    if (units > 0) missing.push_back({r.slot, units});
  }
  const bool has_reservations = !mirror.reservations().empty();
  Found found;
  const auto release = [&](std::int64_t at, const std::vector<SlotRequest>& slots,
                           std::int64_t containers) {
    found.time = at;
    places -= containers;
    for (const SlotRequest& r : slots) {
      const auto lacks = std::ranges::find(missing, r.slot, &SlotRequest::slot);
      if (lacks == missing.end()) continue;
      lacks->units -= r.units;
      if (lacks->units <= 0) missing.erase(lacks);
    }
    return missing.empty() && places <= 0;
  };
  auto ours = started.on(agent);
  for (const auto& [key, held] : group.held_on(agent)) {
    if (key.first == kNeverEnds) break;
    for (; !ours.empty() && ours.front().at < key.first; ours = ours.subspan(1)) {
      if (release(ours.front().at, *ours.front().slots, ours.front().containers)) return found;
    }
    if (has_reservations && mirror.reservation_of(held->session) != nullptr) found.is_rough = true;
    if (release(key.first, held->slots, 1)) return found;
  }
  for (const Started::Release& one : ours) {
    if (one.at == kNeverEnds) break;
    if (release(one.at, *one.slots, one.containers)) return found;
  }
  return {};
}

}  // namespace

const StartTimes& StartTimesCache::refreshed(const Mirror& mirror, const Group& group,
                                             const Started& started, const Requirement& requirement,
                                             std::uint32_t container_limit) {
  const AgentTable& agents = group.agents;
  const LabelRule& labels = mirror.label_rule(requirement.labels);
  const std::uint64_t key = content_hash(requirement, labels);
  auto it = known_.find(key);
  if (it == known_.end()) {
    if ((known_.size() + 1) * agents.size() > kTimesMax) known_.clear();
    it = known_.try_emplace(key).first;
  }
  StartTimes& times = it->second;
  // What an older pass had started was taken back when it ended, so that its agents have changed.
  if (std::exchange(times.pass_, pass_) != pass_) times.started_ = 0;
  const auto since = [](const std::vector<AgentIndex>& log, std::size_t known) {
    return std::span(log).subspan(std::min(known, log.size()));
  };
  const auto look_at = [&](AgentIndex agent) {
    return find_time(mirror, group, started, agent, requirement, container_limit, missing_);
  };
  const auto changes = since(agents.changed(), times.changes_);
  const auto ends = since(group.ends.agents(), times.ends_);
  const auto ours = since(started.log(), times.started_);
  if (times.epoch_ != agents.epoch() || times.ends_epoch_ != group.ends.epoch() ||
      !asks_alike(times.requirement_, requirement) || times.labels_ != labels ||
      times.container_limit_ != container_limit ||
      changes.size() + ends.size() + ours.size() > agents.size() + 8) {
    times.requirement_ = requirement;
    times.labels_ = labels;
    times.container_limit_ = container_limit;
    times.tree_.assign(agents.size(), kNeverEnds);
    times.rough_.assign(agents.size(), 0);
    for (AgentIndex a = 0; a < agents.size(); ++a) {
      const Found found = look_at(a);
      times.tree_.put(a, found.time);
      times.rough_[a] = found.is_rough ? 1 : 0;
    }
    times.tree_.settle();
  } else {
    seen_.resize(agents.size(), 0);
    ++calls_;
    for (const auto log : {changes, ends, ours}) {
      for (const AgentIndex agent : log) {
        if (std::exchange(seen_[agent], calls_) == calls_) continue;
        const Found found = look_at(agent);
        times.tree_.set(agent, found.time);
        times.rough_[agent] = found.is_rough ? 1 : 0;
      }
    }
  }
  times.epoch_ = agents.epoch();
  times.ends_epoch_ = group.ends.epoch();
  times.changes_ = agents.changed().size();
  times.ends_ = group.ends.agents().size();
  times.started_ = started.log().size();
  return times;
}

}  // namespace bai::sched

#include "sched/search.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace bai::sched {

namespace {

constexpr std::size_t kBlock = 256;  // agents matched at a time: fits the first-level cache

bool among(const std::vector<AgentIndex>& ordered, AgentIndex agent) {
  return std::ranges::binary_search(ordered, agent);
}

// Keeps those that `better` holds for, if any.
template <class Better>
void prefer(std::vector<AgentIndex>& found, Better&& better) {
  if (std::ranges::any_of(found, better)) {
    std::erase_if(found, [&](AgentIndex agent) { return !better(agent); });
  }
}

}  // namespace

void AgentSearch::scan() {
  if (scanned_) return;
  scanned_ = true;
  found_.clear();
  if (filter_.strict) {
    scan_those(filter_.designated);
    if (filter_.within != nullptr) {
      std::erase_if(found_, [&](AgentIndex agent) { return !among(*filter_.within, agent); });
    }
  } else if (filter_.within != nullptr) {
    scan_those(*filter_.within);
  } else {
    scan_all();
  }
  narrow();
}

void AgentSearch::scan_those(const std::vector<AgentIndex>& agents) {
  for (const AgentIndex agent : agents) {
    std::uint8_t match = 0;
    agents_.match(agent, 1, requirement_, filter_.container_limit, &match);
    if (match != 0) found_.push_back(agent);
  }
}

void AgentSearch::scan_all() {
  std::array<std::uint8_t, kBlock> match{};
  for (std::size_t first = 0; first < agents_.size(); first += kBlock) {
    const std::size_t count = std::min(kBlock, agents_.size() - first);
    agents_.match(static_cast<AgentIndex>(first), count, requirement_, filter_.container_limit,
                  match.data());
    for (std::size_t i = 0; i < count; ++i) {
      if (match[i] != 0) found_.push_back(static_cast<AgentIndex>(first + i));
    }
  }
}

bool AgentSearch::has_wishes() const noexcept {
  return filter_.strict || !filter_.designated.empty() || !filter_.failed.empty() ||
         !filter_.barred.empty() || filter_.preferred_labels != nullptr ||
         filter_.neighbours != nullptr || filter_.within != nullptr;
}

void AgentSearch::narrow() {
  if (!filter_.barred.empty()) {
    std::erase_if(found_, [&](AgentIndex agent) { return among(filter_.barred, agent); });
  }
  const Neighbours* neighbours = filter_.neighbours;
  if (neighbours != nullptr) {
    std::erase_if(found_, [&](AgentIndex agent) { return neighbours->excludes(agent); });
  }
  // What forbids comes before what prefers.
  if (!filter_.strict && !filter_.designated.empty()) {
    prefer(found_, [&](AgentIndex agent) { return among(filter_.designated, agent); });
  }
  if (neighbours != nullptr) {
    std::int64_t best = std::numeric_limits<std::int64_t>::max();
    for (const AgentIndex agent : found_) best = std::min(best, neighbours->rank(agent));
    std::erase_if(found_, [&](AgentIndex agent) { return neighbours->rank(agent) > best; });
  }
  if (filter_.preferred_labels != nullptr) {
    prefer(found_, [&](AgentIndex agent) {
      return has_labels(agents_.labels(agent), *filter_.preferred_labels);
    });
  }
  if (!filter_.failed.empty()) {
    prefer(found_, [&](AgentIndex agent) { return !among(filter_.failed, agent); });
  }
}

// Some agents better than others: only a scan narrows to the best of them.
bool AgentSearch::asks_index() const noexcept {
  return index_ != nullptr && !filter_.strict && filter_.designated.empty() &&
         filter_.failed.empty() && filter_.preferred_labels == nullptr &&
         filter_.neighbours == nullptr && filter_.within == nullptr;
}

bool AgentSearch::may_take(AgentIndex agent) const noexcept {
  return filter_.barred.empty() || !among(filter_.barred, agent);
}

bool AgentSearch::empty() {
  if (!scanned_ && asks_index()) {
    const auto may = [this](AgentIndex agent) { return may_take(agent); };
    if (const auto any = index_->any(agents_, requirement_, filter_.container_limit, may)) {
      return !*any;
    }
    if (fits_ != nullptr && fits_->is_used()) return count() == 0;
  }
  scan();
  return found_.empty();
}

const FitSet* AgentSearch::fitting() {
  if (fits_ == nullptr || !asks_index()) return nullptr;
  return &fits_->refreshed(agents_, requirement_, *labels_, filter_.container_limit);
}

std::size_t AgentSearch::count() {
  const FitSet* fitting = this->fitting();
  if (fitting == nullptr) return list().size();
  const auto barred =
      std::ranges::count_if(filter_.barred, [&](AgentIndex agent) { return fitting->has(agent); });
  return fitting->size() - static_cast<std::size_t>(barred);
}

AgentIndex AgentSearch::at(std::size_t place) {
  const FitSet* fitting = this->fitting();
  if (fitting == nullptr) return list()[place];
  for (const AgentIndex agent : filter_.barred) {
    if (fitting->has(agent) && fitting->before(agent) <= place) ++place;
  }
  return fitting->at(place);
}

std::span<const AgentIndex> AgentSearch::list() {
  scan();
  return found_;
}

bool AgentSearch::contains(AgentIndex agent) {
  if (!scanned_ && asks_index()) {
    if (agent >= agents_.size() || !may_take(agent)) return false;
    std::uint8_t match = 0;
    agents_.match(agent, 1, requirement_, filter_.container_limit, &match);
    return match != 0;
  }
  scan();
  return among(found_, agent);
}

std::optional<AgentIndex> AgentSearch::best(std::span<const KeyPart> key) {
  if (asks_index()) {  // also after a scan: what is asked often gets an order
    const auto may = [this](AgentIndex agent) { return may_take(agent); };
    return index_->best(agents_, requirement_, key, filter_.container_limit, may);
  }
  scan();
  if (found_.empty()) return std::nullopt;
  AgentIndex best = found_.front();
  for (const AgentIndex agent : std::span(found_).subspan(1)) {
    for (const KeyPart& part : key) {
      const std::int64_t mine = key_value(agents_, requirement_, agent, part);
      const std::int64_t its = key_value(agents_, requirement_, best, part);
      if (mine == its) continue;
      if (mine < its) best = agent;
      break;
    }
  }
  return best;
}

std::optional<AgentIndex> AgentSearch::highest(const SchedView& view,
                                               const ScoreSelector& selector) {
  const auto& scores =
      scores_.refreshed(view, selector, agents_, requirement_, filter_.container_limit);
  if (!has_wishes()) return scores.highest();
  scan();
  std::optional<AgentIndex> best;
  for (const AgentIndex agent : found_) {
    if (!best || scores.of(agent) > scores.of(*best)) best = agent;
  }
  return best;
}

}  // namespace bai::sched

#include "sched/search.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

namespace bai::sched {

namespace {

// The best class of agents that no wish names.
constexpr AgentClass kUnnamed = AgentFilter::class_of_unnamed(false);

constexpr std::size_t kBlock = 256;  // agents matched at a time: fits the first-level cache

bool among(const std::vector<AgentIndex>& ordered, AgentIndex agent) {
  return std::ranges::binary_search(ordered, agent);
}

// When wishes name more agents a scan of all is no slower.
std::size_t named_max(std::size_t agents) { return 64 + agents / 16; }

}  // namespace

AgentSearch::AgentSearch(const AgentTable& agents, const Requirement& requirement,
                         const AgentFilter& filter, std::vector<AgentIndex>& buffer,
                         ScoreCache& scores, PlacementIndex* index, FitSets* fits,
                         const LabelRule* labels)
    : agents_(agents),
      requirement_(requirement),
      filter_(filter),
      found_(buffer),
      scores_(scores),
      index_(index),
      fits_(fits),
      labels_(labels) {
  if (index_ != nullptr) index_->follow(agents_);
  if (!asks_index() || !filter_.prefers()) return;
  named_ = filter_.named();
  if (named_.size() > named_max(agents_.size())) index_ = nullptr;
}

void AgentSearch::scan() {
  if (scanned_) return;
  scanned_ = true;
  found_.clear();
  if (asks_index()) {
    look_at_named();
    if (named_come_before(kUnnamed)) {
      found_ = best_named_;
      return;
    }
  }
  if (filter_.strict) {
    scan_those(filter_.designated, found_);
    if (filter_.within != nullptr) {
      std::erase_if(found_, [&](AgentIndex agent) { return !among(*filter_.within, agent); });
    }
  } else if (filter_.within != nullptr) {
    scan_those(*filter_.within, found_);
  } else {
    scan_all();
  }
  narrow(found_);
}

void AgentSearch::scan_those(std::span<const AgentIndex> agents, std::vector<AgentIndex>& found) {
  looked_at_ += agents.size();
  std::ranges::copy_if(agents, std::back_inserter(found),
                       [&](AgentIndex agent) { return fits(agent); });
}

void AgentSearch::scan_all() {
  looked_at_ += agents_.size();
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

// To those that may be taken of the best class that any of them is in.
void AgentSearch::narrow(std::vector<AgentIndex>& found) const {
  if (!filter_.barred.empty() || filter_.neighbours != nullptr) {
    std::erase_if(found, [&](AgentIndex agent) { return !may_take(agent); });
  }
  if (!filter_.prefers()) return;
  std::size_t kept = 0;
  AgentClass best;
  for (const AgentIndex agent : found) {
    const AgentClass its = filter_.class_of(agents_, agent);
    if (kept == 0 || its < best) {
      best = its;
      kept = 0;
    }
    if (its == best) found[kept++] = agent;
  }
  found.resize(kept);
}

// What looks at listed agents only is no scan of all.
bool AgentSearch::asks_index() const noexcept {
  return index_ != nullptr && !filter_.strict && filter_.within == nullptr;
}

void AgentSearch::look_at_named() {
  if (named_.empty() || std::exchange(looked_at_named_, true)) return;
  scan_those(named_, best_named_);
  narrow(best_named_);
  if (!best_named_.empty()) named_class_ = filter_.class_of(agents_, best_named_.front());
}

bool AgentSearch::named_come_before(const AgentClass& others) const noexcept {
  return (named_class_ && *named_class_ < others) ||
         (filter_.neighbours != nullptr && filter_.neighbours->is_bound());
}

bool AgentSearch::fits(AgentIndex agent) const noexcept {
  std::uint8_t match = 0;
  agents_.match(agent, 1, requirement_, filter_.container_limit, &match);
  return match != 0;
}

bool AgentSearch::may_take(AgentIndex agent) const noexcept {
  return (filter_.barred.empty() || !among(filter_.barred, agent)) &&
         (filter_.neighbours == nullptr || !filter_.neighbours->excludes(agent));
}

bool AgentSearch::is_plain(AgentIndex agent) const noexcept {
  return (filter_.barred.empty() || !among(filter_.barred, agent)) &&
         (named_.empty() || !among(named_, agent));
}

bool AgentSearch::empty() {
  if (!scanned_ && asks_index()) {
    look_at_named();
    if (named_class_ || named_come_before(kUnnamed)) return !named_class_;
    const auto may = [this](AgentIndex agent) { return is_plain(agent); };
    if (const auto any = index_->any(agents_, requirement_, filter_.container_limit, may)) {
      return !*any;
    }
    if (fits_ != nullptr && fits_->is_used()) return count() == 0;
  }
  scan();
  return found_.empty();
}

const FitSet* AgentSearch::fitting() {
  if (fits_ == nullptr || !asks_index() || filter_.preferred_labels != nullptr) return nullptr;
  look_at_named();
  if (named_come_before(kUnnamed)) return nullptr;
  const FitSet& all = fits_->refreshed(agents_, requirement_, *labels_, filter_.container_limit);
  refused_.clear();
  std::ranges::set_union(filter_.barred, named_, std::back_inserter(refused_));
  std::erase_if(refused_, [&](AgentIndex agent) { return !all.has(agent); });
  if (refused_.size() < all.size()) {
    best_class_ = kUnnamed;
    return &all;
  }
  scanned_ = true;
  found_ = best_named_;
  return nullptr;
}

std::size_t AgentSearch::count() {
  const FitSet* fitting = this->fitting();
  return fitting == nullptr ? list().size() : fitting->size() - refused_.size();
}

AgentIndex AgentSearch::at(std::size_t place) {
  const FitSet* fitting = this->fitting();
  if (fitting == nullptr) return list()[place];
  for (const AgentIndex agent : refused_) {
    if (fitting->before(agent) <= place) ++place;
  }
  return fitting->at(place);
}

std::span<const AgentIndex> AgentSearch::list() {
  scan();
  return found_;
}

bool AgentSearch::contains(AgentIndex agent) {
  if (!scanned_ && asks_index() && (best_class_ || !filter_.prefers())) {
    return agent < agents_.size() && may_take(agent) && fits(agent) &&
           (!best_class_ || filter_.class_of(agents_, agent) == *best_class_);
  }
  scan();
  return among(found_, agent);
}

template <class Ask, class BestOf>
std::optional<AgentIndex> AgentSearch::choose(const Ask& ask, const BestOf& best_of) {
  if (!asks_index()) {
    scan();
    return best_of(found_);
  }
  look_at_named();
  const auto test = [this](AgentIndex agent) { return is_plain(agent); };
  for (const bool lacks_labels : {false, true}) {
    const AgentClass others = AgentFilter::class_of_unnamed(lacks_labels);
    if (named_come_before(others) || (lacks_labels && filter_.preferred_labels == nullptr)) break;
    if (const auto found = ask(test, lacks_labels ? nullptr : filter_.preferred_labels)) {
      best_class_ = others;
      return found;
    }
  }
  best_class_ = named_class_;
  return best_of(best_named_);
}

std::optional<AgentIndex> AgentSearch::best(std::span<const KeyPart> key) {
  const auto ask = [&](const AgentTest& test, const LabelRule* labels) {
    return index_->best(agents_, requirement_, key, filter_.container_limit, test, labels);
  };
  const auto best_of = [&](std::span<const AgentIndex> agents) -> std::optional<AgentIndex> {
    const auto best = std::ranges::min_element(agents, [&](AgentIndex a, AgentIndex b) {
      return comes_before(agents_, requirement_, a, b, key);
    });
    return best == agents.end() ? std::nullopt : std::optional(*best);
  };
  return choose(ask, best_of);
}

std::optional<AgentIndex> AgentSearch::highest(const SchedView& view,
                                               const ScoreSelector& selector) {
  const auto ask = [&](const AgentTest& test, const LabelRule* labels) {
    const auto may = [&](AgentIndex agent) {
      return (labels == nullptr || has_labels(agents_.labels(agent), *labels)) && test(agent);
    };
    return scores_.highest(view, selector, agents_, requirement_, filter_.container_limit, may);
  };
  const auto best_of = [&](std::span<const AgentIndex> agents) {
    return scores_.highest_of(agents, view, selector, agents_, requirement_,
                              filter_.container_limit);
  };
  return choose(ask, best_of);
}

}  // namespace bai::sched

#include "sched/score_cache.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "sched/requirement_key.hpp"

namespace bai::sched {

std::optional<AgentIndex> Scores::highest(const AgentTest& test) const {
  std::optional<AgentIndex> found;
  std::int64_t highest = kUnfit;
  for (std::size_t block = 0; block < best_.size(); ++block) {
    if (best_[block] <= highest) continue;
    const std::size_t end = std::min(scores_.size(), (block + 1) * kBlock);
    for (std::size_t i = block * kBlock; i < end; ++i) {
      const auto agent = static_cast<AgentIndex>(i);
      if (scores_[i] <= highest || !test(agent)) continue;
      highest = scores_[i];
      found = agent;
    }
  }
  return found;
}

void Scores::assign(std::size_t count) {
  scores_.assign(count, kUnfit);
  best_.assign((count + kBlock - 1) / kBlock, kUnfit);
  stale_.assign(best_.size(), 0);
  stale_blocks_.clear();
}

void Scores::set(AgentIndex agent, std::int64_t score) {
  const std::int64_t before = scores_[agent];
  if (before == score) return;
  scores_[agent] = score;
  const std::size_t block = agent / kBlock;
  if (score >= best_[block]) {
    best_[block] = score;
  } else if (before == best_[block] && stale_[block] == 0) {
    stale_[block] = 1;
    stale_blocks_.push_back(block);
  }
}

void Scores::settle() {
  for (const std::size_t block : stale_blocks_) {
    stale_[block] = 0;
    const auto first = scores_.begin() + static_cast<std::ptrdiff_t>(block * kBlock);
    const auto last = scores_.begin() +
                      static_cast<std::ptrdiff_t>(std::min(scores_.size(), (block + 1) * kBlock));
    best_[block] = *std::max_element(first, last);
  }
  stale_blocks_.clear();
}

void ScoreCache::clear() {
  known_.clear();
  rater_.reset();
  tree_.clear();
  ratings_ = 0;
}

void ScoreCache::prepare(const SchedView& view, const ScoreSelector& selector,
                         const AgentTable& agents) {
  if (rater_ != nullptr && epoch_ == agents.settings_epoch()) return;
  clear();
  rater_ = selector.rater(view);
  if (rater_ == nullptr) throw std::runtime_error("its selector made no rater");
  epoch_ = agents.settings_epoch();
}

bool ScoreCache::keeps(std::uint64_t key, const AgentTable& agents) const {
  const auto it = known_.find(key);
  return it != known_.end() && it->second.epoch_ == agents.epoch();
}

bool ScoreCache::has_tree(const Rated& rated) {
  if (rated.agents.size() < limits_.tree_from || rated.rater.traits() == 0) return false;
  if (tree_.is_built(rated)) return true;
  if (++ratings_ <= limits_.ratings_for_tree) return false;
  ratings_ = 0;
  tree_.build(rated);
  return true;
}

std::optional<AgentIndex> ScoreCache::highest(const SchedView& view, const ScoreSelector& selector,
                                              const AgentTable& agents,
                                              const Requirement& requirement,
                                              std::uint32_t container_limit,
                                              const AgentTest& test) {
  prepare(view, selector, agents);
  const std::uint64_t key = content_hash(requirement, view.label_rule(requirement.labels));
  const Rated rated{view, *rater_, agents};
  Asked& asked = lately_[key % kLately];
  if (asked.key != key) asked = {key, 0};
  const bool is_asked_often = asked.looked_at / limits_.looks_for_scores > agents.size();
  if (keeps(key, agents) || is_asked_often || !has_tree(rated)) {
    if (!keeps(key, agents)) asked.looked_at = 0;  // who is forgotten goes by the tree again
    return refreshed(view, selector, agents, requirement, container_limit).highest(test);
  }
  const std::uint64_t before = tree_.looked_at();
  const auto found = tree_.highest(rated, requirement, container_limit, test);
  asked.looked_at += tree_.looked_at() - before;
  return found;
}

std::optional<AgentIndex> ScoreCache::highest_of(
    std::span<const AgentIndex> candidates, const SchedView& view, const ScoreSelector& selector,
    const AgentTable& agents, const Requirement& requirement, std::uint32_t container_limit) {
  prepare(view, selector, agents);
  const std::uint64_t key = content_hash(requirement, view.label_rule(requirement.labels));
  // Who describes no traits may take long for each.
  const Scores* scores = rater_->traits() == 0 || keeps(key, agents)
                             ? &refreshed(view, selector, agents, requirement, container_limit)
                             : nullptr;
  looked_at_ += candidates.size();
  std::optional<AgentIndex> best;
  std::int64_t highest = 0;
  for (const AgentIndex agent : candidates) {
    const std::int64_t score = scores != nullptr
                                   ? scores->of(agent)
                                   : std::max(rater_->score(view, requirement, agent), kScoreMin);
    if (best && score <= highest) continue;
    best = agent;
    highest = score;
  }
  return best;
}

const Scores& ScoreCache::refreshed(const SchedView& view, const ScoreSelector& selector,
                                    const AgentTable& agents, const Requirement& requirement,
                                    std::uint32_t container_limit) {
  prepare(view, selector, agents);
  const LabelRule& labels = view.label_rule(requirement.labels);
  const std::uint64_t key = content_hash(requirement, labels);
  auto it = known_.find(key);
  if (it == known_.end()) {
    if ((known_.size() + 1) * agents.size() > limits_.scores_max) known_.clear();
    it = known_.try_emplace(key).first;
  }
  Scores& scores = it->second;
  const auto rate = [&](AgentIndex agent, bool fits) {
    scores.set(agent, fits ? std::max(rater_->score(view, requirement, agent), kScoreMin)
                           : Scores::kUnfit);
  };
  const auto& changed = agents.changed();
  if (scores.epoch_ != agents.epoch() || !asks_alike(scores.requirement_, requirement) ||
      scores.labels_ != labels || changed.size() - scores.followed_ > agents.size()) {
    scores.requirement_ = requirement;
    scores.labels_ = labels;
    scores.assign(agents.size());
    looked_at_ += agents.size();
    std::array<std::uint8_t, Scores::kBlock> match{};
    for (std::size_t first = 0; first < agents.size(); first += Scores::kBlock) {
      const std::size_t count = std::min(Scores::kBlock, agents.size() - first);
      agents.match(static_cast<AgentIndex>(first), count, requirement, container_limit,
                   match.data());
      for (std::size_t i = 0; i < count; ++i) {
        rate(static_cast<AgentIndex>(first + i), match[i] != 0);
      }
    }
  } else {
    // An agent that changed several times is looked at once.
    seen_.resize(agents.size(), 0);
    ++pass_;
    looked_at_ += changed.size() - scores.followed_;
    for (std::size_t i = scores.followed_; i < changed.size(); ++i) {
      if (std::exchange(seen_[changed[i]], pass_) == pass_) continue;
      std::uint8_t match = 0;
      agents.match(changed[i], 1, requirement, container_limit, &match);
      rate(changed[i], match != 0);
    }
  }
  scores.settle();
  scores.epoch_ = agents.epoch();
  scores.followed_ = changed.size();
  return scores;
}

}  // namespace bai::sched

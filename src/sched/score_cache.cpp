#include "sched/score_cache.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "sched/requirement_key.hpp"

namespace bai::sched {

std::optional<AgentIndex> Scores::highest() const noexcept {
  const auto block = std::ranges::max_element(best_);
  if (block == best_.end() || *block == kUnfit) return std::nullopt;
  auto at = static_cast<std::size_t>(block - best_.begin()) * kBlock;
  while (scores_[at] != *block) ++at;
  return static_cast<AgentIndex>(at);
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

const Scores& ScoreCache::refreshed(const SchedView& view, const ScoreSelector& selector,
                                    const AgentTable& agents, const Requirement& requirement,
                                    std::uint32_t container_limit) {
  if (rater_ == nullptr || epoch_ != agents.settings_epoch()) {
    known_.clear();
    rater_ = selector.rater(view);
    if (rater_ == nullptr) throw std::runtime_error("its selector made no rater");
    epoch_ = agents.settings_epoch();
  }
  const LabelRule& labels = view.label_rule(requirement.labels);
  const std::uint64_t key = content_hash(requirement, labels);
  auto it = known_.find(key);
  if (it == known_.end()) {
    if ((known_.size() + 1) * agents.size() > kScoresMax) known_.clear();
    it = known_.try_emplace(key).first;
  }
  Scores& scores = it->second;
  const auto rate = [&](AgentIndex agent, bool fits) {
    scores.set(agent, fits ? std::max(rater_->score(view, requirement, agent), Scores::kUnfit + 1)
                           : Scores::kUnfit);
  };
  const auto& changed = agents.changed();
  if (scores.epoch_ != agents.epoch() || !asks_alike(scores.requirement_, requirement) ||
      scores.labels_ != labels || changed.size() - scores.followed_ > agents.size()) {
    scores.requirement_ = requirement;
    scores.labels_ = labels;
    scores.assign(agents.size());
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
